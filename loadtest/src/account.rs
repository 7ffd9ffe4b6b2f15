//! What a server process and the kernel spend, read from /proc.
//!
//! Run time is exact (scheduler clock, nanoseconds) when the process sleeps at the moment of reading, which the load
//! loops arrange; while it runs, the value is up to one tick old. The user/kernel split of /proc is sampled by
//! that tick and only serves as a fallback for `sampler`.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

/// The process whose cost is measured.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pub pid: u32,
}

/// User and kernel time as the tick sees them.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Ticks {
    pub user: u64,
    pub kernel: u64,
}

impl Process {
    /// Run time of all threads, in nanoseconds. Source: proc(5), `/proc/pid/schedstat`.
    pub fn run_ns(self) -> u64 {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else { return 0 };
        tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// User and kernel time in units of 1/100 s, split by the kernel's sampling tick.
    pub fn ticks(self) -> Ticks {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let field = |index: usize| fields.get(index).and_then(|f| f.parse().ok()).unwrap_or(0);
        Ticks { user: field(11), kernel: field(12) }
    }

    /// Resident memory. `smaps_rollup` walks the page tables and is exact; VmRSS lags by batched counters.
    pub fn rss_bytes(self) -> u64 {
        let exact = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))
            .ok()
            .and_then(|text| kib_line(&text, "Rss:"));
        let counted = || {
            let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
            kib_line(&text, "VmRSS:")
        };
        exact.or_else(counted).unwrap_or(0)
    }
}

/// The value of a `Name:   123 kB` line, in bytes.
pub fn kib_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Kernel memory of sockets and rings. Machine-wide: both ends of every connection on this machine are in it.
#[derive(Debug, Clone, Default)]
pub struct KernelMemory {
    /// Bytes of live objects per slab cache; empty when /proc/slabinfo is not readable.
    caches: BTreeMap<String, u64>,
    /// Pages of socket buffers, TCP.
    tcp_pages: u64,
}

/// The caches a connection lives in. `dentry`, `filp` and kmalloc are shared with the rest of the machine, so builds or
/// file walks during a run disturb them.
const CACHES: [&str; 8] =
    ["TCP", "sock_inode_cache", "filp", "dentry", "io_kiocb", "skbuff_", "kmalloc-", "request_sock_TCP"];

impl KernelMemory {
    pub fn read() -> KernelMemory {
        let slabinfo = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
        let sockstat = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
        KernelMemory { caches: slab_bytes(&slabinfo), tcp_pages: tcp_pages(&sockstat).unwrap_or(0) }
    }

    pub fn readable(&self) -> bool {
        !self.caches.is_empty()
    }

    /// Growth since `before` divided by `connections`; caches with less than 8 bytes each are left out of the parts.
    pub fn per_connection(&self, before: &KernelMemory, connections: u64) -> KernelPerConnection {
        let each = |bytes: i128| bytes as f64 / connections.max(1) as f64;
        let mut parts = BTreeMap::new();
        let mut total = 0i128;
        for (name, &bytes) in &self.caches {
            let grown = i128::from(bytes) - i128::from(before.caches.get(name).copied().unwrap_or(0));
            total += grown;
            if each(grown).abs() >= 8.0 {
                parts.insert(name.clone(), each(grown).round());
            }
        }
        let pages = i128::from(self.tcp_pages) - i128::from(before.tcp_pages);
        KernelPerConnection {
            slab_bytes_both_ends: each(total),
            socket_buffer_bytes_both_ends: each(pages * 4096),
            parts,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct KernelPerConnection {
    pub slab_bytes_both_ends: f64,
    pub socket_buffer_bytes_both_ends: f64,
    pub parts: BTreeMap<String, f64>,
}

fn slab_bytes(slabinfo: &str) -> BTreeMap<String, u64> {
    let mut bytes = BTreeMap::new();
    for line in slabinfo.lines() {
        let mut fields = line.split_whitespace();
        let (Some(name), Some(active), Some(_), Some(size)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let wanted = CACHES.iter().any(|cache| match cache.strip_suffix(['_', '-']) {
            Some(_) => name.starts_with(cache),
            None => name == *cache,
        });
        if let (true, Ok(active), Ok(size)) = (wanted, active.parse::<u64>(), size.parse::<u64>()) {
            bytes.insert(name.to_owned(), active * size);
        }
    }
    bytes
}

/// Source: proc(5), `TCP: inuse 5 orphan 0 tw 0 alloc 8 mem 1`.
fn tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find(|line| line.starts_with("TCP:"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slab_lines_of_connections_are_read_and_others_are_not() {
        let text = "slabinfo - version: 2.1\n# name <active_objs>\n\
                    TCP        39     40   2368   13    8 : tunables 0\n\
                    TCPv6      26     26   2496   13    8 : tunables 0\n\
                    kmalloc-96 10     12     96   42    1 : tunables 0\n\
                    btrfs_path 99     99    100   42    1 : tunables 0\n";
        let want = BTreeMap::from([("TCP".to_owned(), 39 * 2368), ("kmalloc-96".to_owned(), 960)]);
        assert_eq!(slab_bytes(text), want);
    }

    #[test]
    fn growth_is_divided_by_connections() {
        let memory = |tcp: u64, pages| KernelMemory {
            caches: BTreeMap::from([("TCP".to_owned(), tcp), ("filp".to_owned(), 100)]),
            tcp_pages: pages,
        };
        let grown = memory(50_000, 10).per_connection(&memory(10_000, 0), 10);
        assert_eq!(grown.slab_bytes_both_ends, 4_000.0);
        assert_eq!(grown.socket_buffer_bytes_both_ends, 4_096.0);
        assert_eq!(grown.parts, BTreeMap::from([("TCP".to_owned(), 4_000.0)]));
    }

    #[test]
    fn this_process_has_run_and_resides() {
        let this = Process { pid: std::process::id() };
        assert!(this.run_ns() > 0);
        assert!(this.rss_bytes() > 100_000);
        assert_eq!(tcp_pages("sockets: used 99\nTCP: inuse 5 orphan 0 tw 0 alloc 8 mem 12\n"), Some(12));
    }
}
