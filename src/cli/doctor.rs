//! `polycast doctor`: what of this machine is well, what could be better, and what is in the way.
//!
//! Facts come from `io`; everything here judges them, as pure functions.

mod settings;

use std::fmt::Write as _;

use crate::config::Config;
use crate::io::RingError;
use crate::io::probe::{Facts, RingFacts};
use crate::io::process::SLOTS_MAX;

/// How a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Ok,
    /// It runs well; a host with very many connections would have it otherwise.
    Advice,
    /// It runs, but not as well as it could.
    Warn,
    /// It does not run.
    Fail,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub about: &'static str,
    /// What is, and unless it is well, what to change.
    pub text: String,
}

/// What the configuration asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// `None`: one per CPU.
    pub shards: Option<u16>,
    /// 0: as many as fit.
    pub connections: u32,
    pub accept_backlog: u32,
}

impl Wants {
    pub fn of(config: &Config) -> Self {
        Self {
            shards: config.server.shards.map(|shards| shards.get()),
            connections: config.limits.connections_max,
            accept_backlog: config.server.accept_backlog,
        }
    }
}

const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;

/// One line per fact, in a fixed order.
pub fn judge(facts: &Facts, wants: &Wants) -> Vec<Finding> {
    let shards = wants.shards.map_or(facts.cpus as u64, u64::from);
    let mut findings = vec![kernel(facts.kernel.as_deref())];
    findings.extend(ring(&facts.ring));
    findings.extend([
        cpus(facts.cpus, shards),
        descriptors(facts.descriptors, shards, wants.connections),
        locked_memory(facts.locked_bytes),
        backlog(facts.somaxconn, wants.accept_backlog),
        tcp_memory(facts.tcp_mem, facts.page_bytes),
        tcp_buffer("tcp_rmem", facts.tcp_rmem),
        tcp_buffer("tcp_wmem", facts.tcp_wmem),
        ports(facts.local_ports),
        huge_pages(facts.huge_pages.as_deref(), facts.refused_huge_pages),
    ]);
    findings.extend(settings::judge(&facts.settings));
    findings
}

/// Whether a broker can run here.
pub fn is_well(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.level != Level::Fail)
}

pub fn report(findings: &[Finding]) -> String {
    let mut report = String::new();
    for Finding { level, about, text } in findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Advice => "hint",
            Level::Warn => "warn",
            Level::Fail => "fail",
        };
        writeln!(report, "{level:<5} {about:<36} {text}").expect("a String takes all");
    }
    report
}

fn finding(level: Level, about: &'static str, text: impl Into<String>) -> Finding {
    Finding { level, about, text: text.into() }
}

fn unreadable(about: &'static str) -> Finding {
    finding(Level::Warn, about, "cannot be read here (is /proc mounted?)")
}

fn kernel(release: Option<&str>) -> Finding {
    let Some(release) = release else { return unreadable("kernel") };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= (6, 7) => {
            finding(Level::Ok, "kernel", format!("Linux {release}"))
        }
        (Some(major), Some(minor)) if (major, minor) >= (6, 1) => {
            let text = format!("Linux {release}: enough; since 6.7 sockets of stuck readers can be reset");
            finding(Level::Ok, "kernel", text)
        }
        _ => finding(Level::Fail, "kernel", format!("Linux {release}: 6.1 or later is needed")),
    }
}

fn ring(ring: &Result<RingFacts, RingError>) -> Vec<Finding> {
    let ring = match ring {
        Ok(ring) => ring,
        Err(error) => return vec![finding(Level::Fail, "io_uring", error.to_string())],
    };
    let tried = |about, result: &Result<(), RingError>, well: &str| match result {
        Ok(()) => finding(Level::Ok, about, well),
        Err(error) => finding(Level::Fail, about, error.to_string()),
    };
    let operations = match &ring.missing[..] {
        [] => finding(Level::Ok, "io_uring operations", "all there"),
        missing => {
            let text = format!("this kernel lacks: {}; Linux 6.1 or later is needed", missing.join(", "));
            finding(Level::Fail, "io_uring operations", text)
        }
    };
    let options = match ring.sets_options {
        true => finding(Level::Ok, "socket options", "can be set through the ring"),
        false => {
            let text = "cannot be set through the ring: connections of stuck readers end without a reset and \
                        keep kernel memory longer; Linux 6.7 can";
            finding(Level::Warn, "socket options", text)
        }
    };
    vec![
        finding(Level::Ok, "io_uring", "permitted"),
        operations,
        tried("deferred completions", &ring.deferred, "DEFER_TASKRUN works, with direct descriptors"),
        tried("buffer rings", &ring.buffer_ring, "can be registered"),
        options,
    ]
}

fn cpus(cpus: usize, shards: u64) -> Finding {
    let text = format!("{cpus} may be used, for {shards} shards");
    if shards > cpus as u64 {
        let advice = format!("{text}: they will share; lower server.shards, or allow more CPUs");
        return finding(Level::Warn, "CPUs", advice);
    }
    finding(Level::Ok, "CPUs", text)
}

/// Client sockets are not counted against the limit, but the table of each ring may not be larger than it.
fn descriptors(limit: Option<(u64, u64)>, shards: u64, wanted: u32) -> Finding {
    const ABOUT: &str = "RLIMIT_NOFILE";
    let Some((_, hard)) = limit else { return unreadable(ABOUT) };
    let table = hard.min(SLOTS_MAX.into());
    let connections = (table - table / 10) * shards;
    let text = format!("{hard} (hard): {shards} shards hold {connections} connections");
    if connections < u64::from(wanted) {
        let per_shard = u64::from(wanted).div_ceil(shards.max(1));
        let needed = per_shard + per_shard / 8;
        let advice = format!("{text}, {wanted} are wanted; raise it to {needed} (LimitNOFILE, ulimit -Hn)");
        return finding(Level::Warn, ABOUT, advice);
    }
    if hard < 4_096 {
        let advice = format!("{text}; raise it (LimitNOFILE=1048576, ulimit -Hn)");
        return finding(Level::Warn, ABOUT, advice);
    }
    finding(Level::Ok, ABOUT, text)
}

fn locked_memory(limit: Option<(u64, u64)>) -> Finding {
    const ABOUT: &str = "RLIMIT_MEMLOCK";
    match limit {
        None => unreadable(ABOUT),
        Some((u64::MAX, _)) => finding(Level::Ok, ABOUT, "unlimited"),
        Some((soft, _)) if soft >= 8 * MIB => finding(Level::Ok, ABOUT, size(soft)),
        Some((soft, _)) => {
            let text =
                format!("{}: some kernels count rings against it; 8 MiB are safe (LimitMEMLOCK)", size(soft));
            finding(Level::Warn, ABOUT, text)
        }
    }
}

fn backlog(somaxconn: Option<u64>, wanted: u32) -> Finding {
    const ABOUT: &str = "net.core.somaxconn";
    match somaxconn {
        None => unreadable(ABOUT),
        Some(most) if most >= u64::from(wanted) => finding(Level::Ok, ABOUT, most.to_string()),
        Some(most) => {
            let text = format!(
                "{most} cuts server.accept_backlog ({wanted}): after a restart everybody returns at once; \
                 sysctl -w net.core.somaxconn={wanted}"
            );
            finding(Level::Warn, ABOUT, text)
        }
    }
}

/// Measured: one unread message of 128 bytes on each of a million sockets is about 1 GB of the kernel's buffers.
fn tcp_memory(pages: Option<[u64; 3]>, page_bytes: u64) -> Finding {
    const ABOUT: &str = "net.ipv4.tcp_mem";
    let Some([_, pressure, most]) = pages else { return unreadable(ABOUT) };
    let [pressure, most] = [pressure, most].map(|pages| pages.saturating_mul(page_bytes));
    let text = format!("pressure from {}, at most {}", size(pressure), size(most));
    if pressure < 256 * MIB {
        let advice = format!(
            "{text}: 250,000 sockets with one unread message each fill that; raise it (tuning/sysctl.conf)"
        );
        return finding(Level::Warn, ABOUT, advice);
    }
    finding(Level::Ok, ABOUT, text)
}

/// What one peer that stalls may tie up.
fn tcp_buffer(name: &'static str, bytes: Option<[u64; 3]>) -> Finding {
    let about = if name == "tcp_rmem" { "net.ipv4.tcp_rmem" } else { "net.ipv4.tcp_wmem" };
    match bytes {
        None => unreadable(about),
        Some([_, _, most]) if most <= 8 * MIB => {
            finding(Level::Ok, about, format!("at most {} per socket", size(most)))
        }
        Some([_, _, most]) => {
            let text = format!(
                "one socket may hold {}; for many connections lower the third number (tuning/sysctl.conf)",
                size(most)
            );
            finding(Level::Warn, about, text)
        }
    }
}

/// Ports are spent by whoever connects: a proxy on this machine, or a load test.
fn ports(range: Option<[u64; 2]>) -> Finding {
    const ABOUT: &str = "local ports";
    let Some([first, last]) = range else { return unreadable(ABOUT) };
    let count = (last + 1).saturating_sub(first);
    let text = format!("{first} to {last}: a proxy or load test here opens {count} connections per address");
    if count < 16_384 {
        let advice = format!("{text}; sysctl -w net.ipv4.ip_local_port_range=\"16384 65535\"");
        return finding(Level::Warn, ABOUT, advice);
    }
    finding(Level::Ok, ABOUT, text)
}

fn huge_pages(policy: Option<&str>, refused: bool) -> Finding {
    const ABOUT: &str = "huge pages";
    match (policy, refused) {
        (Some("always"), false) => {
            let text = "always, and this process could not opt out: memory of idle connections about doubles; \
                        echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
            finding(Level::Warn, ABOUT, text)
        }
        (None, _) => finding(Level::Ok, ABOUT, "this kernel has none"),
        (Some(policy), true) => finding(Level::Ok, ABOUT, format!("{policy}; off for the broker itself")),
        (Some(policy), false) => finding(Level::Ok, ABOUT, policy),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        u64::MAX => "no limit".to_owned(),
        bytes if bytes >= 10 * MIB => format!("{} MiB", bytes / MIB),
        bytes if bytes >= 10 * KIB => format!("{} KiB", bytes / KIB),
        bytes => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;
    use crate::io::probe::Setting;

    const WANTS: Wants = Wants { shards: Some(2), connections: 0, accept_backlog: 4_096 };

    fn good() -> Facts {
        let ring =
            RingFacts { missing: Vec::new(), deferred: Ok(()), buffer_ring: Ok(()), sets_options: true };
        Facts {
            kernel: Some("6.18.1-generic".to_owned()),
            ring: Ok(ring),
            cpus: 2,
            descriptors: Some((1_024, 524_288)),
            locked_bytes: Some((8 * MIB, 8 * MIB)),
            page_bytes: 4_096,
            somaxconn: Some(4_096),
            tcp_mem: Some([285_000, 380_000, 570_000]),
            tcp_rmem: Some([4_096, 131_072, 6_291_456]),
            tcp_wmem: Some([4_096, 16_384, 4_194_304]),
            local_ports: Some([32_768, 60_999]),
            huge_pages: Some("madvise".to_owned()),
            refused_huge_pages: true,
            settings: Setting::ALL.iter().map(|setting| (*setting, Some(1_024))).collect(),
        }
    }

    fn of<'f>(findings: &'f [Finding], about: &str) -> &'f Finding {
        findings.iter().find(|finding| finding.about == about).expect(about)
    }

    #[test]
    fn a_usual_machine_is_well() {
        let findings = judge(&good(), &WANTS);
        let is_odd = |finding: &&Finding| !matches!(finding.level, Level::Ok | Level::Advice);
        let odd: Vec<_> = findings.iter().filter(is_odd).collect();
        assert!(odd.is_empty() && is_well(&findings), "{odd:?}");
        assert_eq!(of(&findings, "RLIMIT_NOFILE").text, "524288 (hard): 2 shards hold 943720 connections");
        let report = report(&findings);
        assert!(
            report.starts_with("ok    kernel                               Linux 6.18.1-generic\n"),
            "{report}"
        );
        assert_eq!(report.lines().count(), findings.len(), "one line each");
    }

    #[test]
    fn what_is_amiss_is_named_with_its_mend() {
        type Change = fn(&mut Facts);
        let table: [(&str, Change, Level, &str); 17] = [
            ("kernel", |f| f.kernel = Some("5.15.0".into()), Level::Fail, "6.1"),
            ("kernel", |f| f.kernel = Some("6.1.0-13-amd64".into()), Level::Ok, "6.7"),
            ("kernel", |f| f.kernel = Some("odd".into()), Level::Fail, "6.1"),
            ("kernel", |f| f.kernel = None, Level::Warn, "/proc"),
            ("io_uring", |f| f.ring = Err(Error::from_raw_os_error(1).into()), Level::Fail, "seccomp"),
            ("io_uring", |f| f.ring = Err(Error::from_raw_os_error(38).into()), Level::Fail, "Linux 6.1"),
            ("io_uring operations", |f| ring_of(f).missing = vec!["send"], Level::Fail, "send"),
            (
                "deferred completions",
                |f| ring_of(f).deferred = Err(Error::from_raw_os_error(22).into()),
                Level::Fail,
                "6.1",
            ),
            ("socket options", |f| ring_of(f).sets_options = false, Level::Warn, "6.7"),
            ("CPUs", |f| f.cpus = 1, Level::Warn, "server.shards"),
            ("RLIMIT_NOFILE", |f| f.descriptors = Some((256, 256)), Level::Warn, "LimitNOFILE"),
            ("RLIMIT_MEMLOCK", |f| f.locked_bytes = Some((65_536, 65_536)), Level::Warn, "LimitMEMLOCK"),
            ("net.core.somaxconn", |f| f.somaxconn = Some(128), Level::Warn, "somaxconn=4096"),
            ("net.ipv4.tcp_mem", |f| f.tcp_mem = Some([1, 2, 3]), Level::Warn, "sysctl.conf"),
            ("net.ipv4.tcp_rmem", |f| f.tcp_rmem = Some([1, 2, 33_554_432]), Level::Warn, "32 MiB"),
            ("local ports", |f| f.local_ports = Some([50_000, 50_999]), Level::Warn, "ip_local_port_range"),
            (
                "huge pages",
                |f| (f.huge_pages, f.refused_huge_pages) = (Some("always".into()), false),
                Level::Warn,
                "madvise",
            ),
        ];
        for (about, change, level, word) in table {
            let mut facts = good();
            change(&mut facts);
            let findings = judge(&facts, &WANTS);
            let finding = of(&findings, about);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.text.contains(word) && !finding.text.contains('\n'), "{finding:?}");
            assert_eq!(is_well(&findings), level != Level::Fail, "{about}");
        }
    }

    #[test]
    fn more_connections_than_fit_are_a_warning_with_the_number() {
        let wants = Wants { connections: 2_000_000, ..WANTS };
        let findings = judge(&good(), &wants);
        let finding = of(&findings, "RLIMIT_NOFILE");
        assert_eq!(finding.level, Level::Warn);
        assert!(finding.text.contains("1125000"), "{finding:?}");
    }

    fn ring_of(facts: &mut Facts) -> &mut RingFacts {
        facts.ring.as_mut().expect("good facts have a ring")
    }
}
