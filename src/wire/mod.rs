//! Bytes ↔ frames, requests and values, without sockets and clocks.
//!
//! Every codec here reads bytes where they lie: in a receive buffer that belongs to the kernel's ring and goes
//! back to it after the call. Invariants:
//! - What lies whole in one buffer is handed out in place: no copy, no allocation.
//! - Only what straddles buffers is gathered, in one box per connection that exists only meanwhile and grows
//!   with what has arrived, never by what a peer announces. An idle connection keeps eight bytes (`None`).
//! - Whatever way a stream is cut into buffers, the same items and the same violation come out.
//! - Input from a peer never panics; each refusal carries the code the peer gets.

pub mod forwarded;
pub mod handshake;
pub mod http;
pub mod json;
pub mod origin;
pub mod proxy;
pub mod resp;
pub mod websocket;
