//! Clients: one connection each, and a dialect with an opinion on everything that comes back.

mod centrifuge;
mod line;
mod pusher;
mod subscriptions;

use std::collections::BTreeSet;

pub use centrifuge::Centrifuge;
use line::Line;
pub use pusher::{Pusher, id_of};

use super::around::{Around, Stage};
use super::ledger::Broken;
use super::presence::{Name, Shown};

#[derive(Debug)]
pub enum Client {
    Centrifuge(Box<Centrifuge>),
    Pusher(Box<Pusher>),
}

impl Client {
    fn line(&self) -> &Line {
        match self {
            Self::Centrifuge(client) => client.line(),
            Self::Pusher(client) => client.line(),
        }
    }

    /// When there is something to do next; `None`: only when something comes.
    pub fn next_ms(&self, stage: Stage) -> Option<u64> {
        self.line().next_ms(stage)
    }

    /// When it will read again, if there is something to read.
    pub fn reads_ms(&self) -> Option<u64> {
        self.line().reads_ms()
    }

    pub fn is_away(&self) -> bool {
        self.line().is_away()
    }

    /// One step. `false`: there was nothing to do.
    pub fn step(&mut self, around: &mut Around<'_>) -> Result<bool, Broken> {
        match self {
            Self::Centrifuge(client) => client.step(around),
            Self::Pusher(client) => client.step(around),
        }
    }

    /// Opens a connection, now.
    pub fn begin(&mut self, around: &mut Around<'_>) {
        match self {
            Self::Centrifuge(client) => client.begin(around),
            Self::Pusher(client) => client.begin(around),
        }
    }

    /// No more sleep, no more lives: the run comes to its end.
    pub fn calm_down(&mut self, around: &mut Around<'_>) {
        match self {
            Self::Centrifuge(client) => client.calm_down(around),
            Self::Pusher(client) => client.calm_down(around),
        }
    }

    /// The network takes the connection away, and the client is back as soon as it can.
    pub fn be_cut(&mut self, around: &mut Around<'_>) {
        match self {
            Self::Centrifuge(client) => client.be_cut(around),
            Self::Pusher(client) => client.be_cut(around),
        }
    }

    /// Goes, in one of the ways clients do.
    pub fn leave(&mut self, around: &mut Around<'_>) {
        match self {
            Self::Centrifuge(client) => client.leave(around),
            Self::Pusher(client) => client.leave(around),
        }
    }

    /// Everything that was under way has come to its end: nothing may be owed to this client.
    pub fn settled(&self, around: &Around<'_>) -> Result<(), Broken> {
        match self {
            Self::Centrifuge(client) => client.settled(around),
            Self::Pusher(client) => client.settled(around),
        }
    }

    /// The last moment at which it may still be connected, in Unix milliseconds.
    pub fn expires_ms(&self) -> Option<u64> {
        match self {
            Self::Centrifuge(client) => client.expires_ms(),
            Self::Pusher(_) => None,
        }
    }

    /// The channels in whose presence it must be, or may be if it hears nothing any more.
    pub fn shown_in(&self) -> Vec<Shown<'_>> {
        match self {
            Self::Centrifuge(client) => client.shown_in().collect(),
            Self::Pusher(client) => client.shown_in().collect(),
        }
    }

    /// How a client is shown that hears nothing any more.
    pub fn dead(&self) -> Option<Name<'_>> {
        match self {
            Self::Centrifuge(client) => client.dead(),
            Self::Pusher(client) => client.dead(),
        }
    }

    /// Was it told of the users that are there?
    pub fn check_users(&self, channel: &str, users: &BTreeSet<&str>) -> Result<(), Broken> {
        match self {
            Self::Centrifuge(_) => Ok(()),
            Self::Pusher(client) => client.check_users(channel, users),
        }
    }

    /// Was it told of the clients that are there? `members`: their ids, and when they asked to be there, if they did so
    /// once.
    pub fn check_others(&self, channel: &str, members: &[(&str, Option<u64>)]) -> Result<(), Broken> {
        match self {
            Self::Centrifuge(client) => client.check_others(channel, members),
            // It cannot know who is meant.
            Self::Pusher(_) => Ok(()),
        }
    }
}
