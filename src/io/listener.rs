//! Listening sockets: one per shard and address, sharing the port, so that the kernel spreads connections.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::sys::{ListenerOptions, listen};
use crate::shard::input::Entrance;

/// The listeners of one shard, and what is spoken there.
#[derive(Debug)]
pub struct Listeners(pub(super) Vec<(OwnedFd, Entrance)>);

impl Listeners {
    /// Adds those of another kind.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0} is already in use")]
    InUse(SocketAddr),
    #[error("cannot listen on {address}: {error}")]
    Other { address: SocketAddr, error: io::Error },
}

impl ListenError {
    pub(super) fn new(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            _ => Self::Other { address, error },
        }
    }
}

/// Listens on every address once per shard.
///
/// Each address is first bound alone: with SO_REUSEPORT two brokers would share a port without noticing.
/// An IPv6 address that this machine does not have at all is skipped if there are others, since the embedded
/// default lists both loopbacks.
pub fn bind(
    addresses: &[SocketAddr],
    entrance: Entrance,
    shards: u16,
    backlog: u32,
    write_timeout_ms: u32,
) -> Result<Vec<Listeners>, ListenError> {
    let mut usable = Vec::new();
    for address in addresses {
        let alone = ListenerOptions { backlog, reuse_port: false, user_timeout_ms: write_timeout_ms };
        match listen(*address, &alone) {
            Ok(_) => usable.push(*address),
            Err(error) if is_missing_family(&error) && address.is_ipv6() && addresses.len() > 1 => {
                tracing::warn!(%address, "this machine has no IPv6; the address is left out");
            }
            Err(error) => return Err(ListenError::new(*address, error)),
        }
    }
    let shared = ListenerOptions { backlog, reuse_port: true, user_timeout_ms: write_timeout_ms };
    let per_shard = (0..shards).map(|_| {
        let fds = usable.iter().map(|address| match listen(*address, &shared) {
            Ok(fd) => Ok((fd, entrance)),
            Err(error) => Err(ListenError::new(*address, error)),
        });
        fds.collect::<Result<Vec<_>, _>>().map(Listeners)
    });
    per_shard.collect()
}

fn is_missing_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
