//! The few system calls that neither the standard library nor a crate in use offers safely.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Pins the calling thread to one processor.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    // SAFETY: an all-zero `cpu_set_t` is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: `cpu` is below `CPU_SETSIZE`, so the bit lies within the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is a valid, initialised `cpu_set_t` of the given size; 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) }).map(|_| ())
}

/// Processors this process may run on, in ascending order.
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: an all-zero `cpu_set_t` is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the given size into the set.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    if result != 0 {
        return vec![0];
    }
    // SAFETY: the index is below `CPU_SETSIZE`, so the bit lies within the set.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// The soft limit of open descriptors, raised to the hard one as far as allowed.
pub fn raise_descriptor_limit() -> u64 {
    let Some((soft, hard)) = limits(libc::RLIMIT_NOFILE) else { return 1024 };
    let raised = libc::rlimit { rlim_cur: hard, rlim_max: hard };
    // SAFETY: the struct is initialised; a refusal changes nothing.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 { hard } else { soft }
}

/// The soft and the hard limit of a resource (`RLIMIT_…`); the largest number stands for none.
pub fn limits(resource: libc::__rlimit_resource_t) -> Option<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the struct it is given.
    let is_known = unsafe { libc::getrlimit(resource, &mut limit) } == 0;
    is_known.then_some((limit.rlim_cur, limit.rlim_max))
}

/// Bytes of a page of memory.
pub fn page_bytes() -> u64 {
    // SAFETY: plain library call without pointers.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4_096)
}

/// Keeps this process's memory in small pages, whatever the system's policy for transparent huge ones. `false`: the
/// kernel refused.
pub fn refuse_huge_pages() -> bool {
    // SAFETY: plain system call without pointers.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 }
}

/// An eventfd that never blocks.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: plain system call without pointers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel has just handed out this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Rings an eventfd. It cannot fail but for an overflow of 2^64 rings nobody read.
pub fn ring_eventfd(fd: &OwnedFd) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the buffer is 8 readable bytes, as eventfd demands.
    let _ = unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Takes back all rings so far.
pub fn drain_eventfd(fd: &OwnedFd) {
    let mut count = [0_u8; 8];
    // SAFETY: the buffer is 8 writable bytes, as eventfd demands.
    let _ = unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}

/// Options every listener of ours has; accepted sockets inherit those that concern them.
#[derive(Debug, Clone, Copy)]
pub struct ListenerOptions {
    pub backlog: u32,
    /// Several sockets may listen on the address, and the kernel spreads connections over them.
    pub reuse_port: bool,
    /// Milliseconds that sent bytes may stay unacknowledged.
    pub user_timeout_ms: u32,
}

/// The kernel's send buffer per connection. A slow reader is noticed by our own bound, so this only has to cover
/// the bandwidth-delay product of ordinary clients; the default of megabytes would hide it.
const SEND_BUFFER_BYTES: libc::c_int = 256 * 1024;

/// Unsent bytes in the kernel above which a socket does not count as writable.
const NOT_SENT_LOW_WATER_BYTES: libc::c_int = 16 * 1024;

/// A listening TCP socket.
pub fn listen(address: SocketAddr, options: &ListenerOptions) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: plain system call without pointers.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just handed out this descriptor and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if options.reuse_port {
        set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    if address.is_ipv6() {
        set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUF, SEND_BUFFER_BYTES)?;
    set_option(&fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set_option(&fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set_option(&fd, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, NOT_SENT_LOW_WATER_BYTES)?;
    set_option(&fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, to_int(options.user_timeout_ms))?;
    bind(&fd, address)?;
    // SAFETY: plain system call on a descriptor we own.
    check(unsafe { libc::listen(fd.as_raw_fd(), to_int(options.backlog)) })?;
    Ok(fd)
}

fn bind(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let port = address.port().to_be();
    let result = match address.ip() {
        IpAddr::V4(ip) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: port,
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the name is initialised and of the length given.
            unsafe {
                libc::bind(fd.as_raw_fd(), (&raw const name).cast(), size_of_val(&name) as libc::socklen_t)
            }
        }
        IpAddr::V6(ip) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: port,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: ip.octets() },
                sin6_scope_id: 0,
            };
            // SAFETY: the name is initialised and of the length given.
            unsafe {
                libc::bind(fd.as_raw_fd(), (&raw const name).cast(), size_of_val(&name) as libc::socklen_t)
            }
        }
    };
    check(result).map(|_| ())
}

fn set_option(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value is an initialised `int` of the length given.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), length) })
        .map(|_| ())
}

fn to_int(value: u32) -> libc::c_int {
    libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
