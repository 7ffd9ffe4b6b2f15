//! Kernel settings of one number each: what `tuning/sysctl.conf` would change on this host.
//!
//! None of them keeps a broker from running, and the kernel's defaults suit a host with some ten thousand clients, so
//! a setting that is as it came is advice, not a warning.

use super::{Finding, Level, finding, unreadable};
use crate::io::probe::Setting;

/// What a setting should be.
#[derive(Debug, Clone, Copy)]
enum Want {
    AtLeast(u64),
    AtMost(u64),
    Exactly(u64),
}

/// A setting, what it should be, and what happens otherwise.
type Rule = (Setting, Want, &'static str);

const RULES: [Rule; 9] = [
    (Setting::SynBacklog, Want::AtLeast(4_096), "half-open connections beyond it lose TCP options"),
    (Setting::PacketBacklog, Want::AtLeast(4_096), "packets beyond it are dropped on their way to a core"),
    (Setting::TimeWaitBuckets, Want::AtLeast(262_144), "a drain of more connections overflows it"),
    (Setting::FilesOfHost, Want::AtLeast(1_048_576), "each client is a file to the kernel"),
    (Setting::FilesOfProcess, Want::AtLeast(1_048_576), "LimitNOFILE cannot be above it"),
    (
        Setting::KeepaliveTime,
        Want::AtMost(300),
        "silent peers behind NAT are noticed late where no pings run",
    ),
    (Setting::KeepaliveInterval, Want::AtMost(60), "a silent peer is asked again late"),
    (Setting::KeepaliveProbes, Want::AtMost(9), "a silent peer is asked too often before it is given up"),
    (Setting::SlowStartAfterIdle, Want::Exactly(0), "a burst to a quiet client takes several round trips"),
];

/// One finding per setting, in a fixed order.
pub fn judge(settings: &[(Setting, Option<u64>)]) -> Vec<Finding> {
    let value = |wanted: Setting| settings.iter().find(|(setting, _)| *setting == wanted);
    RULES
        .iter()
        .map(|(setting, want, otherwise)| match value(*setting).and_then(|(_, value)| *value) {
            None => unreadable(setting.name()),
            Some(value) => rule(*setting, value, *want, otherwise),
        })
        .collect()
}

fn rule(setting: Setting, value: u64, want: Want, otherwise: &str) -> Finding {
    let (is_met, advice) = match want {
        Want::AtLeast(least) => (value >= least, format!("at least {least}")),
        Want::AtMost(most) => (value <= most, format!("at most {most}")),
        Want::Exactly(exactly) => (value == exactly, format!("{exactly}")),
    };
    if is_met {
        return finding(Level::Ok, setting.name(), value.to_string());
    }
    let text = format!("{value}; {advice} for many connections: {otherwise} (tuning/sysctl.conf)");
    finding(Level::Advice, setting.name(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of `tuning/sysctl.conf` with their values.
    fn tuned() -> Vec<(&'static str, &'static str)> {
        let lines = include_str!("../../../tuning/sysctl.conf").lines();
        lines.filter_map(|line| line.split_once(" = ")).filter(|(key, _)| !key.starts_with('#')).collect()
    }

    #[test]
    fn a_host_tuned_by_our_file_needs_no_advice() {
        let value = |setting: Setting| {
            let line = tuned().into_iter().find(|(key, _)| *key == setting.name());
            let (_, value) = line.unwrap_or_else(|| panic!("{} is not set", setting.name()));
            value.parse().expect("a number")
        };
        let settings: Vec<_> = RULES.iter().map(|(setting, ..)| (*setting, Some(value(*setting)))).collect();
        let odd: Vec<_> = judge(&settings).into_iter().filter(|finding| finding.level != Level::Ok).collect();
        assert!(odd.is_empty(), "{odd:?}");
    }

    #[test]
    fn whatever_our_file_sets_is_looked_at() {
        let elsewhere = ["net.core.somaxconn", "net.ipv4.tcp_mem", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"];
        for (key, _) in tuned() {
            let here = RULES.iter().any(|(setting, ..)| setting.name() == key);
            // The ring is tried instead of asking whether it is permitted.
            assert!(here || elsewhere.contains(&key) || key == "kernel.io_uring_disabled", "{key}");
        }
    }

    #[test]
    fn advice_names_value_bound_and_reason() {
        let settings = [(Setting::KeepaliveTime, Some(7_200)), (Setting::SlowStartAfterIdle, Some(1))];
        let findings = judge(&settings);
        let of = |name: &str| findings.iter().find(|finding| finding.about == name).expect("a finding");
        let keepalive = of("net.ipv4.tcp_keepalive_time");
        assert_eq!(keepalive.level, Level::Advice);
        assert!(keepalive.text.starts_with("7200; at most 300 ") && keepalive.text.contains("NAT"));
        assert_eq!(of("net.ipv4.tcp_slow_start_after_idle").level, Level::Advice);
        assert_eq!(of("fs.file-max").level, Level::Warn, "nothing was read");
    }
}
