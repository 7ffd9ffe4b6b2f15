//! What reaches a shard, and what it wants done.

use std::net::SocketAddr;

use super::letter::{Letter, Notice, Order};
use crate::core::happening::Happening;
use crate::core::ids::{ShardId, Slot};
use crate::engine::{Answer, Ask};

/// One thing that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection was accepted into a slot that was free.
    Accepted { slot: Slot, peer: SocketAddr, entrance: Entrance },
    /// Bytes arrived. They may be changed in place and are gone after the call.
    Received { slot: Slot, bytes: &'a mut [u8] },
    /// The peer will send no more (end of stream or a receive error).
    ReceiveEnded { slot: Slot },
    /// The send of the last batch taken from this slot is over: so many bytes were taken by the kernel, or the
    /// connection is broken.
    Sent { slot: Slot, result: Result<u32, SendFailed> },
    /// Nothing in the kernel names the slot any more; it may be reused.
    Closed { slot: Slot },
    /// From another shard, in the order it was sent.
    Letter { source: ShardId, letter: Letter },
    /// From the control thread.
    Order(Order),
    /// From the engine.
    Engine(Answer),
    /// Deadlines may be due. `pending_receives`: completions are still unread, so silence proves nothing.
    Timers { pending_receives: bool },
    /// All other inputs of this turn were handled; what is gathered per turn goes out now.
    TurnEnd,
}

/// Which kind of listener accepted a connection: what it speaks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// HTTP/1.1, and WebSocket by its upgrade.
    Http,
    /// Commands of Redis clients.
    Resp,
}

/// The peer is gone or the socket is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendFailed;

/// Bytes that a small buffer holds.
pub const STREAM_BYTES: usize = 512;

/// How a connection is read; in the beginning: [`ReadMode::Stream`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMode {
    /// Whatever arrives, into small shared buffers of [`STREAM_BYTES`].
    Stream,
    /// What a backend sends in one go, into large buffers, one receive at a time.
    Bulk,
    /// Nothing for now: the peer feels back-pressure.
    Paused,
}

/// One thing the shard wants done.
#[derive(Debug)]
pub enum Effect {
    Read {
        slot: Slot,
        mode: ReadMode,
    },
    /// Send FIN after what is in flight; go on reading until the peer does the same.
    Finish {
        slot: Slot,
    },
    /// End the connection: FIN after what is in flight, then free the slot. `abort`: reset it, because the peer
    /// does not read. Answered by [`Input::Closed`].
    Close {
        slot: Slot,
        abort: bool,
    },
    Send {
        target: ShardId,
        letter: Letter,
    },
    Ask(Ask),
    /// Something for the control thread.
    Notify(Notice),
    /// Something that somebody outside wants to be told of.
    Happened(Happening),
}
