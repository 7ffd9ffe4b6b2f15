//! The machine under a measurement: without it a figure does not count.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::account::kib_line;
use crate::sys;

#[derive(Debug, Clone, Serialize)]
pub struct Host {
    pub cpu: String,
    pub cores: usize,
    pub virtual_machine: bool,
    pub memory_bytes: u64,
    pub kernel: String,
    pub descriptors_max: u32,
    pub somaxconn: String,
    pub ephemeral_ports: String,
    pub tcp_mem_pages: String,
    /// BBR paces, CUBIC does not: figures of the two do not compare.
    pub congestion_control: String,
    pub tick_hz: &'static str,
    /// Load average at the start: above zero, somebody else was working.
    pub load_average: String,
    pub revision: String,
    pub command: String,
}

impl Host {
    pub fn read() -> Host {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned())
        };
        let family = field("cpu family").unwrap_or_default();
        let model = field("model name").unwrap_or_else(|| "unknown".to_owned());
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Host {
            cpu: format!("{model}, family {family}, {} MHz", field("cpu MHz").unwrap_or_default()),
            cores: sys::cores().len(),
            virtual_machine: cpuinfo.contains(" hypervisor"),
            memory_bytes: kib_line(&memory, "MemTotal:").unwrap_or(0),
            kernel: proc("sys/kernel/osrelease"),
            descriptors_max: sys::descriptors_max().unwrap_or(0),
            somaxconn: proc("sys/net/core/somaxconn"),
            ephemeral_ports: proc("sys/net/ipv4/ip_local_port_range"),
            tcp_mem_pages: proc("sys/net/ipv4/tcp_mem"),
            congestion_control: proc("sys/net/ipv4/tcp_congestion_control"),
            tick_hz: "user/kernel in /proc: sampled by the tick, shown in 1/100 s",
            load_average: proc("loadavg"),
            revision: revision(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
        }
    }

    /// Three lines for the head of a report.
    pub fn print(&self) {
        let guest = if self.virtual_machine { ", virtual machine" } else { "" };
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        println!("machine   {} cores, {}{guest}; {gib:.1} GiB; Linux {}", self.cores, self.cpu, self.kernel);
        println!(
            "limits    {} descriptors, somaxconn {}, ports {}, tcp_mem {} pages, {}; load {}",
            self.descriptors_max,
            self.somaxconn,
            self.ephemeral_ports,
            self.tcp_mem_pages,
            self.congestion_control,
            self.load_average
        );
        println!("run       revision {}; {}", self.revision, self.command);
    }
}

fn proc(path: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{path}")).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Short commit id of the working directory, `+` if it differs from the commit.
fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    if changed { commit + "+" } else { commit }
}
