//! What a client is subscribed to, and how far it has heard.

use std::collections::BTreeMap;

use crate::ledger::{Broken, Ledger, Reader};

#[derive(Debug)]
pub enum State {
    Asked,
    Live(Reader),
    /// Its end is asked for, publications may still come.
    Ending(Reader),
}

/// Of one connection, by channel.
#[derive(Debug, Default)]
pub struct Subscriptions {
    states: BTreeMap<String, State>,
}

impl Subscriptions {
    pub fn clear(&mut self) {
        self.states.clear();
    }

    /// Whether anything is known of the channel.
    pub fn knows(&self, channel: &str) -> bool {
        self.states.contains_key(channel)
    }

    pub fn is_live(&self, channel: &str) -> bool {
        matches!(self.states.get(channel), Some(State::Live(_)))
    }

    pub fn asked(&mut self, channel: String) {
        self.states.insert(channel, State::Asked);
    }

    pub fn live(&mut self, channel: String, reader: Reader) {
        self.states.insert(channel, State::Live(reader));
    }

    /// The end of a live subscription is asked for.
    pub fn ending(&mut self, channel: &str) {
        if let Some(State::Live(reader)) = self.states.remove(channel) {
            self.states.insert(channel.to_owned(), State::Ending(reader));
        }
    }

    /// Whether its end was asked for.
    pub fn is_ending(&self, channel: &str) -> bool {
        matches!(self.states.get(channel), Some(State::Ending(_)))
    }

    /// Forgets a channel. `None`: there was no subscription to it.
    pub fn end(&mut self, channel: &str) -> Option<Reader> {
        match self.states.remove(channel) {
            Some(State::Live(reader) | State::Ending(reader)) => Some(reader),
            Some(State::Asked) | None => None,
        }
    }

    pub fn channels(&self) -> Vec<String> {
        self.states.keys().cloned().collect()
    }

    /// Channels that are heard, with or without a wish to end that.
    pub fn heard(&self) -> impl Iterator<Item = &str> {
        let heard = self.states.iter().filter(|(_, state)| !matches!(state, State::Asked));
        heard.map(|(channel, _)| &**channel)
    }

    pub fn reader_mut(&mut self, channel: &str) -> Result<&mut Reader, Broken> {
        match self.states.get_mut(channel) {
            Some(State::Live(reader) | State::Ending(reader)) => Ok(reader),
            Some(State::Asked) => Err(format!("a publication of {channel} before the subscribe reply")),
            None => Err(format!("a publication of {channel}, which is not subscribed")),
        }
    }

    /// A publication came.
    pub fn hear(
        &mut self,
        channel: &str,
        number: usize,
        offset: u64,
        ledger: &mut Ledger,
    ) -> Result<(), Broken> {
        ledger.heard(self.reader_mut(channel)?, channel, number, offset)
    }

    /// All is at rest: everything there was to hear must have been heard.
    pub fn settled(&self, ledger: &Ledger) -> Result<(), Broken> {
        self.states.iter().try_for_each(|(channel, state)| match state {
            State::Live(reader) => ledger.settled(reader, channel),
            State::Asked | State::Ending(_) => Ok(()),
        })
    }
}
