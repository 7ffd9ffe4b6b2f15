//! The broker's vocabulary and rules, free of clocks, sockets, threads and protocols.
//!
//! Nothing here knows which dialect a client speaks; nothing here imports another room.

pub mod attendance;
pub mod channel;
pub mod command;
pub mod disconnect;
pub mod error;
pub mod event;
pub mod filter;
pub mod fossil;
pub mod happening;
pub mod history;
pub mod ids;
pub mod members;
pub mod namespace;
pub mod permission;
pub mod publication;
pub mod rates;
pub mod recovery;
pub mod sequence;
pub mod time;
