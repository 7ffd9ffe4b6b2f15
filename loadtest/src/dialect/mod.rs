//! What clients speak: how they come in, what they are called by, and how what they hear is read.
//!
//! A dialect is one file; the rest of the harness knows them by [`Dialect`] alone. What is published comes in alike for
//! all of them, so that runs differ in nothing but the clients.

pub mod centrifuge;
pub mod pusher;

use clap::ValueEnum;

use crate::message::{Message, channel_name};
use crate::token::Mint;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// Protocol 2 in JSON: a token per connection.
    Centrifuge,
    /// Protocol 7: a signature per subscription of a private channel.
    Pusher,
}

impl Dialect {
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Centrifuge => "centrifuge",
            Dialect::Pusher => "pusher",
        }
    }

    /// Path and query of the upgrade.
    pub fn path(self, mint: &Mint) -> String {
        match self {
            Dialect::Centrifuge => centrifuge::PATH.to_owned(),
            Dialect::Pusher => pusher::path(mint.app_key()),
        }
    }

    /// All names of a dialect are of one length.
    pub fn channel_name(self, number: u32) -> String {
        match self {
            Dialect::Centrifuge => channel_name(number),
            Dialect::Pusher => pusher::private_channel(number),
        }
    }

    /// Clients ask for nothing before the server has told them what their connection is called.
    pub fn is_greeted(self) -> bool {
        self == Dialect::Pusher
    }

    /// Appends the frames with which client `number` joins `channels`. `name`: what its connection is called.
    pub fn join(
        self,
        mint: &Mint,
        (number, name): (u32, &str),
        channels: impl IntoIterator<Item = u32>,
        out: &mut Vec<u8>,
    ) {
        match self {
            Dialect::Centrifuge => centrifuge::first_frame(&mint.token(number), channels, out),
            Dialect::Pusher => pusher::subscribe_frames(mint, name, channels, out),
        }
    }

    /// The answer to a ping.
    pub fn pong(self) -> &'static [u8] {
        match self {
            Dialect::Centrifuge => centrifuge::PONG,
            Dialect::Pusher => pusher::PONG,
        }
    }

    /// What a broker's app needs beyond what it always has.
    pub fn app_config(self, app_key: &str, secret: &str) -> String {
        match self {
            Dialect::Centrifuge => String::new(),
            Dialect::Pusher => format!("key = {app_key:?}\nsecret = {secret:?}\n"),
        }
    }

    pub fn reader(self) -> Reader {
        match self {
            Dialect::Centrifuge => Reader::Centrifuge(centrifuge::Reader::default()),
            Dialect::Pusher => Reader::Pusher(pusher::Reader::default()),
        }
    }
}

/// Reads text frames of one server.
#[derive(Debug)]
pub enum Reader {
    Centrifuge(centrifuge::Reader),
    Pusher(pusher::Reader),
}

impl Reader {
    /// Calls `each` with every message of a text frame.
    pub fn read(&mut self, text: &[u8], mut each: impl FnMut(Message)) {
        match self {
            Reader::Centrifuge(reader) => reader.read(text, each),
            Reader::Pusher(reader) => each(reader.read(text)),
        }
    }
}
