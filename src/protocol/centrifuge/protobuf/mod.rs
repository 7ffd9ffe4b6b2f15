//! The same protocol in Protobuf, for clients that asked for it at the upgrade.
//!
//! One frame holds one or more messages, each behind its length as a varint. What is JSON in an event is the same
//! bytes here, and what is not JSON travels as it is. Field numbers are those of `client.proto`; what clients may
//! send and nobody reads is skipped.
//!
//! Invariants:
//! - nothing is allocated for a length that a peer announces beyond what it sent;
//! - nothing from outside is walked by recursion, except unknown groups, which the library bounds;
//! - an empty message never goes to a client of the first generation.

mod decode;
mod encode;
pub(super) mod messages;
mod publication;

pub use decode::{Envelope, next_message};
pub use encode::append_event;
pub use publication::{append_push, publication_channel};
