//! Polycast: a real-time event broker for the client SDKs people already have.
//!
//! # The map
//!
//! | room | what lives there |
//! | --- | --- |
//! | [`core`] | the broker's rules and vocabulary: ids, channels, permissions, commands, events, publications, history |
//! | [`wire`] | bytes ↔ frames without sockets: WebSocket, HTTP/1.1, guarded JSON |
//! | [`timer`] | the timer wheel |
//! | [`metrics`] | per-shard plain counters and gauges, merged on request |
//! | [`config`] | what the operator wrote, and the validated form the rest of the program sees |
//! | [`auth`] | tokens and keys: pure verification |
//! | [`protocol`] | one room per dialect: messages → [`core::command`], [`core::event`] → messages |
//! | [`engine`] | where publications and history are kept: the contract, and the memory engine |
//! | [`api`] | what backends may ask over HTTP, and how it is answered |
//! | [`webhooks`] | what backends are told: events held back, joined, written, tried again |
//! | [`admin`] | health, readiness, metrics text, the pages |
//! | [`shard`] | one core's whole world as a function of (state, input, now) |
//! | [`io`] | the only room with clocks, sockets, threads and unsafe: rings, listeners, mesh, control thread |
//! | [`server`] | composition; the only file that knows everybody |
//! | [`cli`] | the command line: running the server, making and checking tokens, judging configuration and machine |
//!
//! # Imports point one way
//!
//! ```text
//! core  wire  timer  metrics        import nothing of ours
//!   └─► auth  config  protocol  engine
//!         └─► api  webhooks
//!               └─► shard  admin
//!                     └─► io
//!                           └─► server ─► cli ─► main
//! ```
//! `tests/tidy` holds the exact table and names file and line of a violation.
//!
//! # A message's journey
//!
//! A receive completion hands `io` a buffer; `io` passes it to [`shard`] as an input. The connection's transport
//! ([`wire`]) finds frames in place, its dialect ([`protocol`]) turns each into commands, the shard carries them
//! out by the rules of [`core`]. A publication travels to the shard that owns its channel, through the
//! [`engine`], and from there as a letter to every shard with subscribers. Each of those encodes it once per
//! variant into a shared chunk and only extends a byte range on every subscriber; after the turn `io` asks for
//! each touched connection's next batch and sends it from the shared bytes.

#![deny(unsafe_code)]

pub mod admin;
pub mod api;
pub mod auth;
pub mod cli;
pub mod config;
pub mod core;
pub mod engine;
pub mod io;
pub mod metrics;
pub mod protocol;
pub mod server;
pub mod shard;
pub mod timer;
pub mod webhooks;
pub mod wire;
