//! Pusher's HTTP API: what its server libraries ask.
//!
//! A request is judged in two steps. By its head alone [`Target::read`] tells who asks ([`authenticate`]) and what;
//! with its body [`parse`] makes it [`Call`](super::call::Call)s and the [`Shape`] that their answers are written in.
//! A body is read whole before any of it is carried out, so a batch with one bad event sends none. Where
//! `replay_cache` is on, a [`Mark`] is then looked for among those [`Taken`] before.
//!
//! Every body in either direction is one JSON object. Success is 200 with exactly what was asked for, `{}` if that
//! is nothing; a refusal is `{"error":"<text>","code":<status>}`.

mod answer;
mod names;
mod parse;
mod refusal;
mod replay;
mod route;
mod signed;
#[cfg(test)]
mod tests;

pub use self::answer::{append_answers, append_refusal};
pub use self::parse::{Target, Terms, parse};
pub use self::refusal::Refusal;
pub use self::replay::{Mark, Taken};
pub use self::route::{Endpoint, Route, route};
pub use self::signed::{BodyDigest, KEY, Proof, Query, Request, Unauthorized, authenticate};

use super::call::Call;

/// What a request comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    pub calls: Vec<Call>,
    pub shape: Shape,
}

/// What the answers to the calls of a request are made into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Nothing is told but that it was done.
    Done,
    /// After the publication, the occupancy of each of these channels.
    Event(Vec<(Box<str>, Info)>),
    /// After the publications, the occupancy of those of the events' channels that something is asked about.
    Batch(Vec<(Box<str>, Info)>),
    /// Of the channels, those whose names begin so.
    Channels {
        prefix: Box<str>,
        info: Info,
    },
    Channel(Info),
    Users,
    Connections,
}

/// What is to be told of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    pub user_count: bool,
    pub subscription_count: bool,
    /// The last event of a cache channel.
    pub cache: bool,
}

impl Info {
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}
