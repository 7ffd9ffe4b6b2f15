//! Samples the cores of a run a few thousand times a second, to tell user from kernel time and the run from others.
//!
//! The kernel's own split of utime and stime rests on its tick (4 ms at 250 Hz), far too coarse for a server that spends
//! 4 % of its time in user mode; guests often have no hardware counters. A CPU-wide `cpu-clock` event samples
//! finer, and also says how much of a core others took. Exact run time comes from `account`; this gives shares.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::clock::now_ns;

/// Samples per second of run time on the core.
pub const SAMPLES_PER_SECOND: u64 = 2_000;
/// Not a round number: a loop of the server whose length divides the period would be sampled at one phase only.
pub const PERIOD_NS: u64 = 499_979;

const PAGE_BYTES: usize = 4096;
const DATA_BYTES: usize = 128 * PAGE_BYTES;
const HEAD_AT: usize = 1024;
const TAIL_AT: usize = 1032;

const TYPE_SOFTWARE: u32 = 1;
const SAMPLE_TID: u64 = 1 << 1;
const EXCLUDE_IDLE: u64 = 1 << 7;
const RECORD_SAMPLE: u32 = 9;
const MISC_MODE: u16 = 7;
const MISC_USER: u16 = 2;

/// `struct perf_event_attr`, version 0 (64 bytes).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u64,
    config1: u64,
}

/// Samples by whose they were.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Samples {
    pub user: u64,
    pub kernel: u64,
    /// Of the softirq threads of the server's cores: network work the kernel put off, nearly all of it the server's doing
    /// though not in its run time.
    pub softirq_thread: u64,
    /// Of other processes on the server's cores, and of interrupts that hit them.
    pub others: u64,
    /// The same on the client's core, where that is not one of the server's.
    pub client_others: u64,
    /// Time the server's cores were watched, all together.
    pub server_core_ns: u64,
    pub client_core_ns: u64,
}

impl Samples {
    /// Share of the server's cores or of the client's core, whichever is larger, that others took. 0 to 1.
    pub fn disturbance(self) -> f64 {
        let share = |samples: u64, core_ns: u64| (samples * PERIOD_NS) as f64 / core_ns.max(1) as f64;
        share(self.others, self.server_core_ns).max(share(self.client_others, self.client_core_ns))
    }

    /// Share of the process's samples that were in user mode, 0 to 1.
    pub fn user_share(self) -> Option<f64> {
        let total = self.user + self.kernel;
        (total > 0).then(|| self.user as f64 / total as f64)
    }

    pub fn add(&mut self, other: &Samples) {
        self.user += other.user;
        self.kernel += other.kernel;
        self.softirq_thread += other.softirq_thread;
        self.others += other.others;
        self.client_others += other.client_others;
        self.server_core_ns += other.server_core_ns;
        self.client_core_ns += other.client_core_ns;
    }
}

/// Whose a sample was.
#[derive(Clone, Copy)]
enum Whose {
    Server,
    Generator,
    Others,
}

/// A running sampler of the server's cores and the client's.
pub struct Sampler {
    watches: Vec<Watch>,
    collected_ns: u64,
}

impl Sampler {
    /// Errors: no permission (perf_event_paranoid, no CAP_PERFMON) or no perf events at all.
    pub fn start(server_cores: &[usize], client_core: usize) -> io::Result<Sampler> {
        let mut watches = Vec::new();
        for &core in server_cores {
            watches.push(Watch::start(core, true)?);
        }
        if !server_cores.contains(&client_core) {
            watches.push(Watch::start(client_core, false)?);
        }
        Ok(Sampler { watches, collected_ns: now_ns() })
    }

    /// Forgets what was sampled since the last call.
    pub fn skip(&mut self) {
        self.collect(0, &mut Samples::default());
    }

    /// Adds what was sampled since the last call; call at least every ten seconds.
    pub fn collect(&mut self, pid: u32, samples: &mut Samples) {
        let this = std::process::id();
        self.collect_of(
            |sampled, _| match sampled {
                _ if sampled == pid => Whose::Server,
                _ if sampled == this => Whose::Generator,
                _ => Whose::Others,
            },
            samples,
        );
    }

    /// `whose`: of a process and thread id.
    fn collect_of(&mut self, whose: impl Fn(u32, u32) -> Whose, samples: &mut Samples) {
        let now = now_ns();
        let watched_ns = now - self.collected_ns;
        self.collected_ns = now;
        for watch in &mut self.watches {
            watch.collect(&whose, samples);
            let core_ns =
                if watch.serves { &mut samples.server_core_ns } else { &mut samples.client_core_ns };
            *core_ns += watched_ns;
        }
    }
}

/// One core's event and its buffer.
struct Watch {
    /// Held open: closing it ends the sampling.
    _event: OwnedFd,
    area: NonNull<u8>,
    /// The server runs here.
    serves: bool,
    softirq_thread: Option<u32>,
    /// Position in the data area, counted up for ever.
    tail: u64,
}

impl Watch {
    fn start(core: usize, serves: bool) -> io::Result<Watch> {
        let attributes = Attributes {
            kind: TYPE_SOFTWARE,
            size: size_of::<Attributes>() as u32,
            sample_period: PERIOD_NS,
            sample_type: SAMPLE_TID,
            flags: EXCLUDE_IDLE,
            ..Attributes::default()
        };
        // SAFETY: `attributes` is a valid perf_event_attr of the stated size; -1 means every process.
        let fd = unsafe {
            libc::syscall(libc::SYS_perf_event_open, &raw const attributes, -1, core as libc::c_int, -1, 8u64)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened (close-on-exec) and nobody else owns it.
        let event = unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let bytes = PAGE_BYTES + DATA_BYTES;
        let nowhere = std::ptr::null_mut();
        // SAFETY: a new shared mapping of the event's buffer, of one control page and a power of two of data pages.
        let area = unsafe { libc::mmap(nowhere, bytes, protection, libc::MAP_SHARED, event.as_raw_fd(), 0) };
        if area == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let area = NonNull::new(area.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Watch { _event: event, area, serves, softirq_thread: softirq_thread(core), tail: 0 })
    }

    fn collect(&mut self, whose: impl Fn(u32, u32) -> Whose, samples: &mut Samples) {
        let head = self.counter(HEAD_AT).load(Ordering::Acquire);
        while self.tail < head {
            let kind = self.word(0);
            let misc_and_size = self.word(4);
            let (misc, size) = (misc_and_size as u16, misc_and_size >> 16);
            if size < 8 {
                break;
            }
            if kind == RECORD_SAMPLE {
                let pid = self.word(8);
                let user = misc & MISC_MODE == MISC_USER;
                match (whose(pid, self.word(12)), self.serves) {
                    (Whose::Server, true) if user => samples.user += 1,
                    (Whose::Server, true) => samples.kernel += 1,
                    (Whose::Server | Whose::Generator, _) => {}
                    (Whose::Others, true) if Some(pid) == self.softirq_thread => samples.softirq_thread += 1,
                    (Whose::Others, true) => samples.others += 1,
                    // What the kernel puts off on the client's core is the client's own doing.
                    (Whose::Others, false) => {
                        samples.client_others += u64::from(Some(pid) != self.softirq_thread);
                    }
                }
            }
            self.tail += u64::from(size);
        }
        self.counter(TAIL_AT).store(head, Ordering::Release);
        self.tail = head;
    }

    /// The aligned word `offset` bytes into the record at `tail`.
    fn word(&self, offset: u64) -> u32 {
        let at = PAGE_BYTES + (self.tail + offset) as usize % DATA_BYTES;
        // SAFETY: `at` is below the mapping's size.
        let address = unsafe { self.area.as_ptr().add(at) };
        // SAFETY: records are 8-byte aligned, `offset` is a multiple of 4, and bytes below the head are not written
        // until the tail passes them.
        unsafe { address.cast::<u32>().read_volatile() }
    }

    fn counter(&self, at: usize) -> &AtomicU64 {
        // SAFETY: both positions lie in the control page.
        let address = unsafe { self.area.as_ptr().add(at) };
        // SAFETY: an aligned u64 shared with the kernel that lives as long as the mapping.
        unsafe { AtomicU64::from_ptr(address.cast()) }
    }
}

/// Process id of `ksoftirqd/{core}`.
fn softirq_thread(core: usize) -> Option<u32> {
    let name = format!("ksoftirqd/{core}\n");
    let pids = std::fs::read_dir("/proc").ok()?.flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == name))
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: mapped in `start` with this size, unmapped only here, and no reference outlives `self`.
        unsafe { libc::munmap(self.area.as_ptr().cast(), PAGE_BYTES + DATA_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Alternates user work of known length with kernel work; the shares must come out as timed from inside. Other
    /// tests may run on the same core, so only this thread's samples count.
    #[test]
    fn user_shares_are_measured_as_they_are() {
        assert!(softirq_thread(0).is_some(), "every core has one");
        crate::sys::pin_thread(&[0]).expect("core 0 exists");
        // SAFETY: takes no argument and cannot fail.
        let tid = unsafe { libc::gettid() } as u32;
        let mut zeroes = std::fs::File::open("/dev/zero").expect("/dev/zero");
        let mut buffer = vec![0u8; 256 * 1024];
        for (name, spin_ns) in [("mostly kernel", 500), ("mostly user", 50_000)] {
            let Ok(mut sampler) = Sampler::start(&[0], 0) else {
                eprintln!("perf events are not permitted here; nothing to test");
                return;
            };
            let begin = now_ns();
            let (mut user_ns, mut kernel_ns) = (0, 0);
            let mut random = 1u64;
            while now_ns() - begin < 1_000_000_000 {
                // Passes of equal length would beat with the sampling period.
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let pass_ns = spin_ns / 2 + (random >> 33) % spin_ns;
                let start = now_ns();
                let mut spun = 0;
                while spun < pass_ns {
                    spun = now_ns() - start;
                }
                zeroes.read_exact(&mut buffer).expect("zeroes");
                let whole = now_ns() - start;
                // A pass during which somebody else had the core tells nothing about either share.
                if whole < 4 * spin_ns + 100_000 {
                    user_ns += spun;
                    kernel_ns += whole - spun;
                }
            }
            let mut samples = Samples::default();
            let mine = |_, sampled| if sampled == tid { Whose::Server } else { Whose::Others };
            sampler.collect_of(mine, &mut samples);
            let want = user_ns as f64 / (user_ns + kernel_ns) as f64;
            let got = samples.user_share().expect("samples");
            assert!((got - want).abs() < 0.08, "{name}: timed {want:.3}, sampled {got:.3}, {samples:?}");
        }
    }
}
