//! What backends may ask over HTTP and over RESP, and how it is answered.
//!
//! A request becomes [`call::Call`]s, the shard carries them out, and the [`call::Answer`]s become a body. Nothing
//! here knows a socket, a clock or another shard; a new style of API is a new reader and writer of the same calls.
//!
//! Invariants:
//! - A body is read whole before any of its calls is carried out: a malformed one changes nothing.
//! - What this version does not serve is answered as such; no option that changes a call's meaning is passed over.
//! - Input never panics, and an answer is bounded by what was asked.

pub mod authorize;
pub mod call;
pub mod centrifugo;
pub mod pattern;
pub mod pusher;
pub mod resp;
mod text;
