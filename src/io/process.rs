//! The process as a whole: its limits, its memory policy, its shards' threads, and how a broken one ends it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;
use std::sync::mpsc::Sender;
use std::thread;

use super::ring::RingError;
use super::sys;
use super::turn::{Parts, Runner};

/// How a process ends that has broken an invariant of its own (EX_SOFTWARE of sysexits.h): going on with half-changed
/// state would be worse.
pub const EXIT_BROKEN: i32 = 70;

/// The most slots a ring's table may have. Source: `IORING_MAX_FIXED_FILES` in Linux, io_uring/rsrc.c.
pub const SLOTS_MAX: u32 = 1 << 20;

/// Processors this process may run on, in ascending order; at least one.
pub fn allowed_cpus() -> Vec<usize> {
    sys::allowed_cpus()
}

/// The size of every shard's table of client sockets: what the kernel allows, after the limit of descriptors was
/// raised as far as this process may.
pub fn slots_per_shard() -> u32 {
    u32::try_from(sys::raise_descriptor_limit()).unwrap_or(u32::MAX).min(SLOTS_MAX)
}

/// Keeps the heap in small pages. `false`: the kernel refused.
///
/// With huge ones the resident memory of idle connections doubled: they touch a little of much. The allocator's own
/// switch for this is read before `main`, so that only the environment could set it.
pub fn refuse_huge_pages() -> bool {
    sys::refuse_huge_pages()
}

/// Logs every panic as one line; where it is not caught, the thread's end decides what follows.
///
/// The message is cut where it quotes a text: that may be a peer's.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or_default();
        let message = message.split(['`', '\n']).next().unwrap_or_default();
        match panic.location() {
            Some(place) => tracing::error!("panicked at {place}: {message}"),
            None => tracing::error!("panicked: {message}"),
        }
    }));
}

/// Starts a shard on a thread of its own, pinned to one processor.
///
/// `make` runs there, so that the shard's memory is first touched where it is used. `started` gets the outcome once;
/// after a success the thread runs until the process ends.
pub fn start_shard(
    number: u16,
    cpu: usize,
    make: impl FnOnce() -> Parts + Send + 'static,
    started: Sender<Result<(), RingError>>,
) -> io::Result<()> {
    let run = move || {
        if let Err(error) = sys::pin_to_cpu(cpu) {
            tracing::warn!(shard = number, cpu, %error, "the shard's thread is not pinned");
        }
        let mut runner = match Runner::new(make()) {
            Ok(runner) => runner,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        let _ = started.send(Ok(()));
        // Whoever waits for the outcomes of all shards waits for the last of these to go.
        drop(started);
        if let Err(error) = runner.run() {
            tracing::error!(shard = number, %error, "the shard's ring failed; the process ends");
        }
        exit(EXIT_BROKEN);
    };
    let end_on_panic = move || {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            exit(EXIT_BROKEN);
        }
    };
    thread::Builder::new().name(format!("shard {number}")).spawn(end_on_panic).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHILD: &str = "POLYCAST_TEST_BROKEN_SHARD";

    /// Not a test by itself: what the next one runs as a process of its own.
    #[test]
    fn broken_shard() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        tracing_subscriber::fmt().with_ansi(false).with_writer(io::stderr).init();
        log_panics();
        let (started, outcomes) = std::sync::mpsc::channel();
        let make = || panic!("an invariant of {} `what a peer sent`\nand more", "ours");
        start_shard(0, allowed_cpus()[0], make, started).expect("a thread");
        let _ = outcomes.recv();
        thread::sleep(std::time::Duration::from_secs(10));
    }

    #[test]
    fn a_panic_of_a_shard_is_one_line_and_the_end() {
        let program = std::env::current_exe().expect("this test");
        let child = std::process::Command::new(program)
            .args(["--exact", "io::process::tests::broken_shard", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&child.stderr);
        assert_eq!(child.status.code(), Some(EXIT_BROKEN), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        let said = text.contains("panicked at src/io/process.rs:") && text.contains("an invariant of ours");
        assert!(said && !text.contains("peer") && !text.contains("more"), "{text}");
    }

    #[test]
    fn huge_pages_are_off_for_this_process() {
        assert!(refuse_huge_pages());
        let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
        let policy = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
        assert_eq!(policy.map(str::trim), Some("0"));
    }
}
