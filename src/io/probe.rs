//! What this machine offers, read and tried but not judged: that is the doctor's.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, opcode, types};

use super::buffers::BufferRing;
use super::ring::{Ring, RingError};
use super::{process, sys};

/// Operations the data plane consists of. Linux has all of them since 5.19, in the forms used here since 6.1.
const OPERATIONS: [(&str, u8); 8] = [
    ("accept", opcode::Accept::CODE),
    ("receive", opcode::Recv::CODE),
    ("send", opcode::Send::CODE),
    ("cancel", opcode::AsyncCancel::CODE),
    ("shutdown", opcode::Shutdown::CODE),
    ("close", opcode::Close::CODE),
    ("poll", opcode::PollAdd::CODE),
    ("message between rings", opcode::MsgRingData::CODE),
];

/// Size of the table of descriptors that is tried.
const SLOTS_TRIED: u32 = 16;

/// A setting of the kernel that is one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    SynBacklog,
    PacketBacklog,
    TimeWaitBuckets,
    FilesOfHost,
    FilesOfProcess,
    KeepaliveTime,
    KeepaliveInterval,
    KeepaliveProbes,
    SlowStartAfterIdle,
}

impl Setting {
    pub const ALL: [Self; 9] = [
        Self::SynBacklog,
        Self::PacketBacklog,
        Self::TimeWaitBuckets,
        Self::FilesOfHost,
        Self::FilesOfProcess,
        Self::KeepaliveTime,
        Self::KeepaliveInterval,
        Self::KeepaliveProbes,
        Self::SlowStartAfterIdle,
    ];

    /// As `sysctl` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SynBacklog => "net.ipv4.tcp_max_syn_backlog",
            Self::PacketBacklog => "net.core.netdev_max_backlog",
            Self::TimeWaitBuckets => "net.ipv4.tcp_max_tw_buckets",
            Self::FilesOfHost => "fs.file-max",
            Self::FilesOfProcess => "fs.nr_open",
            Self::KeepaliveTime => "net.ipv4.tcp_keepalive_time",
            Self::KeepaliveInterval => "net.ipv4.tcp_keepalive_intvl",
            Self::KeepaliveProbes => "net.ipv4.tcp_keepalive_probes",
            Self::SlowStartAfterIdle => "net.ipv4.tcp_slow_start_after_idle",
        }
    }

    fn read(self) -> Option<u64> {
        numbers(&format!("/proc/sys/{}", self.name().replace('.', "/"))).map(|[value]| value)
    }
}

/// What was found. `None`: it could not be read.
#[derive(Debug)]
pub struct Facts {
    /// As `uname -r` says it: `6.18.1-2-generic`.
    pub kernel: Option<String>,
    pub ring: Result<RingFacts, RingError>,
    pub cpus: usize,
    /// Soft and hard limit of descriptors.
    pub descriptors: Option<(u64, u64)>,
    /// Soft and hard limit of locked memory, in bytes.
    pub locked_bytes: Option<(u64, u64)>,
    pub page_bytes: u64,
    /// Connections that a listener may let wait.
    pub somaxconn: Option<u64>,
    /// Pages of all TCP sockets: low, pressure, most.
    pub tcp_mem: Option<[u64; 3]>,
    /// Bytes of one socket's buffer: least, default, most.
    pub tcp_rmem: Option<[u64; 3]>,
    pub tcp_wmem: Option<[u64; 3]>,
    /// First and last port of outgoing connections.
    pub local_ports: Option<[u64; 2]>,
    /// The system's policy for transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    /// Whether this process could opt out of them.
    pub refused_huge_pages: bool,
    /// Each of [`Setting::ALL`].
    pub settings: Vec<(Setting, Option<u64>)>,
}

/// What a ring of the kind the shards use can do.
#[derive(Debug)]
pub struct RingFacts {
    /// Names of operations the kernel does not know.
    pub missing: Vec<&'static str>,
    /// A ring whose completions wait for its own thread, with a table of direct descriptors.
    pub deferred: Result<(), RingError>,
    /// Buffers that the kernel picks by itself; tried on the ring above.
    pub buffer_ring: Result<(), RingError>,
    /// Options of direct descriptors can be set.
    pub sets_options: bool,
}

impl Facts {
    /// Reads and tries everything. Changes nothing but this process's own policy for huge pages.
    pub fn gather() -> Self {
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            ring: try_ring(),
            cpus: process::allowed_cpus().len(),
            descriptors: sys::limits(libc::RLIMIT_NOFILE),
            locked_bytes: sys::limits(libc::RLIMIT_MEMLOCK),
            page_bytes: sys::page_bytes(),
            somaxconn: numbers("/proc/sys/net/core/somaxconn").map(|[most]| most),
            tcp_mem: numbers("/proc/sys/net/ipv4/tcp_mem"),
            tcp_rmem: numbers("/proc/sys/net/ipv4/tcp_rmem"),
            tcp_wmem: numbers("/proc/sys/net/ipv4/tcp_wmem"),
            local_ports: numbers("/proc/sys/net/ipv4/ip_local_port_range"),
            huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled").and_then(|text| chosen(&text)),
            refused_huge_pages: process::refuse_huge_pages(),
            settings: Setting::ALL.iter().map(|setting| (*setting, setting.read())).collect(),
        }
    }
}

fn try_ring() -> Result<RingFacts, RingError> {
    let mut plain = IoUring::new(8)?;
    let mut probe = Probe::new();
    plain.submitter().register_probe(&mut probe)?;
    let missing = OPERATIONS.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| *name);
    let missing = missing.collect();
    let sets_options = try_option(&mut plain).unwrap_or(false);
    let (deferred, buffer_ring) = match Ring::new(SLOTS_TRIED) {
        Ok(ring) => (Ok(()), BufferRing::register(&ring, 0, 8, 512).map(drop).map_err(RingError::from)),
        Err(error) => (Err(error), Ok(())),
    };
    Ok(RingFacts { missing, deferred, buffer_ring, sets_options })
}

/// Sets an option of a socket through the ring: the kernel has no other way to say whether it can.
fn try_option(ring: &mut IoUring) -> std::io::Result<bool> {
    static ON: libc::c_int = 1;
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let entry = opcode::SetSockOpt::new(
        types::Fd(socket.as_raw_fd()),
        libc::SOL_SOCKET as u32,
        libc::SO_KEEPALIVE as u32,
        (&raw const ON).cast(),
        size_of::<libc::c_int>() as u32,
    );
    // SAFETY: the value is static and the socket outlives the completion awaited below.
    let pushed = unsafe { ring.submission().push(&entry.build()) };
    pushed.map_err(std::io::Error::other)?;
    ring.submit_and_wait(1)?;
    Ok(ring.completion().next().is_some_and(|completion| completion.result() == 0))
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Exactly `N` numbers, parted by white space.
fn numbers<const N: usize>(path: &str) -> Option<[u64; N]> {
    let text = read(path)?;
    let numbers: Vec<u64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
    numbers.try_into().ok()
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_runs_these_tests_has_what_it_takes() {
        let facts = Facts::gather();
        let ring = facts.ring.expect("io_uring");
        assert_eq!(ring.missing, Vec::<&str>::new());
        assert!(ring.deferred.is_ok() && ring.buffer_ring.is_ok(), "{ring:?}");
        assert!(facts.kernel.is_some_and(|kernel| kernel.starts_with(|c: char| c.is_ascii_digit())));
        assert!(facts.cpus > 0 && facts.page_bytes >= 4_096 && facts.page_bytes.is_power_of_two());
        assert!(facts.descriptors.is_some_and(|(soft, hard)| 0 < soft && soft <= hard));
    }

    #[test]
    fn the_chosen_word_is_the_one_in_brackets() {
        let table = [
            ("always [madvise] never", Some("madvise")),
            ("[always] madvise never", Some("always")),
            ("never", None),
            ("[", None),
        ];
        for (text, want) in table {
            assert_eq!(chosen(text).as_deref(), want, "{text}");
        }
    }
}
