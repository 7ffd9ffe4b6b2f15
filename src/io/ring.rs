//! One io_uring instance: entries in, completions out.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, squeue};

/// Submission entries. A turn's sends fit; with 64 the same sends cost 5–10 % more.
const SUBMISSION_ENTRIES: u32 = 2_048;

/// Completion entries: room for every receive that may fire while a turn runs.
const COMPLETION_ENTRIES: u32 = 32_768;

/// Calls that let deferred work complete, per [`Ring::submit`] or [`Ring::wait`]. Since Linux 6.13 one call runs about 20
/// pieces of it (`IO_LOCAL_TW_DEFAULT_MAX`) and leaves the rest: with one call a turn a shard read 20 connections a turn,
/// and a burst of publications was taken, and sent, in parts. As many as fill a turn.
const DEFERRED_ROUNDS_MAX: usize = 50;

/// What an operation was, packed with the slot and its life into the 64 bits that come back with the completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Accept = 1,
    Receive,
    Send,
    Cancel,
    Shutdown,
    Linger,
    Close,
    /// A ring message to another shard has been delivered.
    Rang,
    /// Another shard has letters for this one.
    Letters,
    /// The control thread rang the eventfd.
    Orders,
}

/// Names one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    /// 24 bits.
    pub generation: u32,
    pub slot: u32,
}

impl Token {
    pub fn of(kind: Kind) -> Self {
        Self { kind, generation: 0, slot: 0 }
    }

    /// kind (8) | generation (24) | slot (32).
    pub fn pack(self) -> u64 {
        u64::from(self.kind as u8) << 56
            | u64::from(self.generation & 0x00FF_FFFF) << 32
            | u64::from(self.slot)
    }

    pub fn unpack(bits: u64) -> Option<Self> {
        const KINDS: [Kind; 10] = [
            Kind::Accept,
            Kind::Receive,
            Kind::Send,
            Kind::Cancel,
            Kind::Shutdown,
            Kind::Linger,
            Kind::Close,
            Kind::Rang,
            Kind::Letters,
            Kind::Orders,
        ];
        let kind = *KINDS.get(((bits >> 56) as usize).checked_sub(1)?)?;
        Some(Self { kind, generation: (bits >> 32) as u32 & 0x00FF_FFFF, slot: bits as u32 })
    }
}

/// One finished (or, for multishot operations, one more) operation.
#[derive(Debug, Clone, Copy)]
pub struct Completion {
    pub token: Token,
    /// Bytes or a descriptor; below 0: the negated error number.
    pub result: i32,
    /// The operation goes on and will complete again.
    pub has_more: bool,
    /// The shared buffer that holds the received bytes.
    pub buffer: Option<u16>,
}

/// Why no ring could be made.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    #[error(
        "io_uring is not permitted here ({0}): allow the io_uring system calls in the seccomp profile and set \
         kernel.io_uring_disabled=0"
    )]
    NotPermitted(io::Error),
    #[error("this kernel has no io_uring or lacks a feature of it ({0}): Linux 6.1 or later is needed")]
    NotSupported(io::Error),
    #[error("the memory for io_uring was refused ({0}): raise RLIMIT_MEMLOCK (LimitMEMLOCK=infinity)")]
    NoMemory(io::Error),
    #[error("io_uring cannot be set up: {0}")]
    Other(io::Error),
}

impl From<io::Error> for RingError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted(error),
            Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP) => Self::NotSupported(error),
            Some(libc::ENOMEM) => Self::NoMemory(error),
            _ => Self::Other(error),
        }
    }
}

/// A ring used by exactly one thread.
///
/// Deferred task work: completions appear only inside [`Self::submit`] and [`Self::wait`], on this thread.
pub struct Ring {
    uring: IoUring,
    enters: u64,
}

impl Ring {
    /// `slots`: size of the table of direct descriptors; the kernel caps it at RLIMIT_NOFILE.
    pub fn new(slots: u32) -> Result<Self, RingError> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            // Without it `submit` would not know that work was deferred, and would not run it.
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(SUBMISSION_ENTRIES)?;
        uring.submitter().register_files_sparse(slots)?;
        Ok(Self { uring, enters: 0 })
    }

    /// # Safety
    /// `address` must be the page-aligned start of `entries` ring entries that outlive this ring's use of them.
    pub unsafe fn register_buffer_ring(&self, address: u64, entries: u16, group: u16) -> io::Result<()> {
        // SAFETY: promised by the caller.
        unsafe { self.uring.submitter().register_buf_ring_with_flags(address, entries, group, 0) }
    }

    /// Queues one entry; if the queue is full, submits it first.
    ///
    /// # Safety
    /// Memory that the entry names must stay valid, and its descriptor open, until its last completion.
    pub unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: promised by the caller.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.submit()?;
        }
    }

    /// Hands over what is queued and lets finished work complete, without waiting.
    pub fn submit(&mut self) -> io::Result<()> {
        self.enters += 1;
        passed(self.uring.submitter().submit())?;
        self.run_deferred()
    }

    /// As [`Self::submit`], then sleeps until something completes or the time is over.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.enters += 1;
        let timespec = Timespec::new().sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
        let arguments = SubmitArgs::new().timespec(&timespec);
        passed(self.uring.submitter().submit_with_args(1, &arguments))?;
        self.run_deferred()
    }

    /// Lets the deferred work complete that one call leaves.
    fn run_deferred(&mut self) -> io::Result<()> {
        for _ in 0..DEFERRED_ROUNDS_MAX {
            if !self.uring.submission().taskrun() {
                break;
            }
            self.enters += 1;
            passed(self.uring.submitter().submit())?;
        }
        Ok(())
    }

    /// Takes one completion.
    pub fn next_completion(&mut self) -> Option<Completion> {
        loop {
            let entry = self.uring.completion().next()?;
            // Every entry of ours carries a token, so there are no others.
            let Some(token) = Token::unpack(entry.user_data()) else { continue };
            return Some(Completion {
                token,
                result: entry.result(),
                has_more: io_uring::cqueue::more(entry.flags()),
                buffer: io_uring::cqueue::buffer_select(entry.flags()),
            });
        }
    }

    /// Whether a completion lies ready.
    pub fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }

    /// Calls of `io_uring_enter` so far.
    pub fn enters(&self) -> u64 {
        self.enters
    }
}

/// The time was over, a signal came, or completions must be read first: all of that is well.
fn passed(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Ring({})", self.uring.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io_uring::{opcode, types};

    #[test]
    fn all_that_is_ready_completes_in_one_submit() {
        const READY: usize = 500;
        let mut ring = Ring::new(8).expect("io_uring");
        // SAFETY: a plain system call.
        let event = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK) };
        assert!(event >= 0, "{}", io::Error::last_os_error());
        let poll = opcode::PollAdd::new(types::Fd(event), libc::POLLIN as u32).build();
        let poll = poll.user_data(Token::of(Kind::Orders).pack());
        for _ in 0..READY {
            // SAFETY: the entry names no memory, and the descriptor stays open until the end.
            unsafe { ring.push(&poll) }.expect("pushed");
        }
        ring.submit().expect("submitted");
        assert!(!ring.has_completions(), "nothing is ready");
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes are read from where they lie.
        assert_eq!(unsafe { libc::write(event, one.as_ptr().cast(), one.len()) }, 8);
        ring.submit().expect("submitted");
        let completed = std::iter::from_fn(|| ring.next_completion()).count();
        assert_eq!(completed, READY);
        // SAFETY: nothing names it any more.
        unsafe { libc::close(event) };
    }

    #[test]
    fn tokens_round_trip_and_foreign_ones_are_recognised() {
        for kind in [Kind::Accept, Kind::Receive, Kind::Orders] {
            let token = Token { kind, generation: 0x00AB_CDEF, slot: 0xFFFF_FFFE };
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(0), None);
        assert_eq!(Token::unpack(u64::MAX), None);
    }
}
