//! What operators see of a running broker, what they may want to read, and the page for trying it: state in, text out.
//!
//! No socket and no question to a shard: whoever serves the operations listener brings what is known, and this
//! room words it.
//!
//! Invariants:
//! - No answer names a user or a channel, and none contains a secret. The page alone holds a token, and only one
//!   that was made for it.
//! - Names of metrics are the stable part of the interface; each is introduced once and its samples stand together.

pub mod docs;
pub mod exposition;
pub mod operations;
pub mod pages;
