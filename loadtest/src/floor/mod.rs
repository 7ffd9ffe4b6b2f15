//! The honest limit: senders with no broker in them, loaded exactly like one.
//!
//! They know nothing of tokens, channels' rules, limits, metrics or errors: canned replies, and a copy of the published
//! data to every subscriber. What a broker costs above them is its own doing. Nothing here comes from the broker.

pub mod bare;
pub mod batched;
pub mod blocking;
pub mod receiver;
mod resp;

use std::io;
use std::net::SocketAddrV4;

use clap::ValueEnum;

/// Which calls send, and whether what arrived in one turn leaves as one send per subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// epoll and one blocking `send(2)` per delivery.
    Send,
    /// One io_uring, SENDs submitted in batches, one per delivery.
    Ring,
    /// As `send`, one send per subscriber and turn.
    SendCoalesce,
    /// As `ring`, one send per subscriber and turn.
    RingCoalesce,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Send => "send",
            Kind::Ring => "ring",
            Kind::SendCoalesce => "send-coalesce",
            Kind::RingCoalesce => "ring-coalesce",
        }
    }
}

/// Serves at `address` until the process is ended.
pub fn serve(kind: Kind, address: SocketAddrV4) -> io::Result<()> {
    match kind {
        Kind::Send => blocking::serve(address, false),
        Kind::SendCoalesce => blocking::serve(address, true),
        Kind::Ring => batched::serve(address, false),
        Kind::RingCoalesce => batched::serve(address, true),
    }
}
