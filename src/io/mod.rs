//! The only room with clocks, sockets, threads and unsafe code.
//!
//! Data plane: one pinned thread per shard on a raw io_uring ring ([`turn`]); every client socket is a direct
//! descriptor of that ring. Control plane: one thread on a tokio-uring runtime ([`control`]) for everything that
//! is not per message. Shards and control talk by letters ([`mesh`]); a stall on one side cannot stop the other.
//! Where backends are to be told what happens, one more thread does that ([`webhooks`]).
//!
//! Each kernel object is wrapped once in a small safe type; unsafe code lies in those files alone and every block
//! says why it is sound.

#![allow(unsafe_code)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod accept;
mod buffers;
pub mod clock;
pub mod control;
pub mod listener;
pub mod mesh;
pub mod ops;
mod outgoing;
pub mod probe;
pub mod process;
mod reports;
mod ring;
mod slots;
mod sys;
pub mod turn;
pub mod webhooks;

pub use ring::RingError;
