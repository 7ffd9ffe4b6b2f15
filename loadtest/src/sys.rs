//! Kernel interfaces without a safe form in std: pinning, limits, epoll for the blocking floor.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::LazyLock;

/// Priority this process was started with. Read before any thread changes its own.
static NICE: LazyLock<libc::c_int> = LazyLock::new(|| {
    // SAFETY: takes no pointer; 0 is the calling thread.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
});

/// Notes what this process was given before it changes any of it.
pub fn note_start() {
    LazyLock::force(&NICE);
    cores();
}

/// Cores this process was given, ascending. Read once, before any thread is pinned.
pub fn cores() -> &'static [usize] {
    static CORES: LazyLock<Vec<usize>> = LazyLock::new(allowed_cores);
    &CORES
}

fn allowed_cores() -> Vec<usize> {
    // SAFETY: a cpu_set_t is an array of integers; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: `set` is valid for writes of the stated size; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return vec![0];
    }
    // SAFETY: every index is below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect()
}

/// Lets the calling thread, and every thread it starts, run on `cores` alone.
pub fn pin_thread(cores: &[usize]) -> io::Result<()> {
    // SAFETY: a cpu_set_t is an array of integers; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    for &core in cores {
        assert!(core < libc::CPU_SETSIZE as usize, "core {core}");
        // SAFETY: `core` is below CPU_SETSIZE.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: `set` is a valid set of the stated size; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts the calling thread before all others of ordinary priority, or back among them. Errors: that takes CAP_SYS_NICE.
pub fn take_precedence(first: bool) -> io::Result<()> {
    set_nice(if first { -20 } else { *NICE })
}

fn set_nice(nice: libc::c_int) -> io::Result<()> {
    // SAFETY: takes no pointer; 0 is the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the child run on `cores` alone, at ordinary priority or the lower one this process was started with, and end
/// when this process does.
pub fn bind_child(command: &mut Command, cores: &[usize]) {
    let cores = cores.to_vec();
    let nice = *NICE;
    let prepare = move || {
        pin_thread(&cores)?;
        set_nice(nice)?;
        // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
        let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes two system calls and allocates nothing, so it may run between fork and exec.
    unsafe { command.pre_exec(prepare) };
}

/// Asks process `pid` to end.
pub fn terminate(pid: u32) {
    // SAFETY: kill touches no memory of this process; `pid` is a child that has not been waited for.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
}

/// Raises the soft descriptor limit to the hard one and returns it.
pub fn descriptors_max() -> io::Result<u32> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit to write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid rlimit to read.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(limit.rlim_max).unwrap_or(u32::MAX))
}

/// A listener with a backlog for thousands (std stops at 128) and TCP_NODELAY, which accepted sockets inherit.
pub fn listen(address: SocketAddrV4) -> io::Result<TcpListener> {
    let on: libc::c_int = 1;
    let on_bytes = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: takes no pointer.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and nobody else owns it.
    let listener = unsafe { TcpListener::from_raw_fd(fd) };
    for (level, name) in [(libc::IPPROTO_TCP, libc::TCP_NODELAY), (libc::SOL_SOCKET, libc::SO_REUSEADDR)] {
        // SAFETY: the value is an int of the stated size.
        if unsafe { libc::setsockopt(fd, level, name, (&raw const on).cast(), on_bytes) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    };
    let address_bytes = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: a valid address of the stated size.
    if unsafe { libc::bind(fd, (&raw const address).cast(), address_bytes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes no pointer.
    if unsafe { libc::listen(fd, 4096) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(listener)
}

/// Run time of the calling thread in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to, and the clock id exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Level-triggered readiness of ordinary descriptors.
pub struct Epoll {
    epoll: OwnedFd,
    ready: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Epoll { epoll, ready: Vec::with_capacity(1024) })
    }

    /// Watches `fd` for bytes to read; closing it ends the watch.
    pub fn add(&self, fd: RawFd) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: fd as u64 };
        // SAFETY: `event` is valid for the call, which copies it.
        let result =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Blocks until something is readable, then calls `each` with the descriptors.
    pub fn wait(&mut self, mut each: impl FnMut(RawFd)) -> io::Result<()> {
        let capacity = self.ready.capacity();
        let events = self.ready.as_mut_ptr();
        // SAFETY: `events` has room for `capacity` entries.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events, capacity as i32, -1) };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        // SAFETY: the kernel has written the first `count` entries.
        unsafe { self.ready.set_len(count as usize) };
        self.ready.iter().for_each(|event| each(event.u64 as RawFd));
        Ok(())
    }
}
