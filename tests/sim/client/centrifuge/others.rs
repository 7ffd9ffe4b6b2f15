//! Of whom a client was told: joins and leaves in the channels it is subscribed to.

use std::collections::BTreeMap;

/// By channel, for as long as a subscription lasts.
#[derive(Debug, Default)]
pub struct Others {
    told: BTreeMap<String, Told>,
}

#[derive(Debug)]
struct Told {
    /// When the subscription was there.
    answered_ms: u64,
    /// By client id: whether they were last told to be there.
    people: BTreeMap<String, bool>,
}

impl Others {
    pub fn subscribed(&mut self, channel: &str, now_ms: u64) {
        self.told.insert(channel.to_owned(), Told { answered_ms: now_ms, people: BTreeMap::new() });
    }

    pub fn ended(&mut self, channel: &str) {
        self.told.remove(channel);
    }

    /// Somebody came or went, by turns. `asked_ms`: when the client asked to be there, if it did so once.
    pub fn passage(
        &mut self,
        channel: &str,
        client: &str,
        enters: bool,
        asked_ms: Option<u64>,
    ) -> Result<(), String> {
        let told = self.told.get_mut(channel);
        let told = told.ok_or_else(|| format!("a join or leave of {channel}, not subscribed"))?;
        match told.people.insert(client.to_owned(), enters) {
            Some(was_there) if was_there == enters => {
                Err(format!("{client} of {channel} joined or left twice: {was_there}, then {enters}"))
            }
            None if !enters && asked_ms.is_some_and(|asked_ms| asked_ms > told.answered_ms) => {
                Err(format!("{client} left {channel} without having joined"))
            }
            _ => Ok(()),
        }
    }

    /// All is at rest: does what was told lead to who is there? `members`: client ids, and when they asked to be there,
    /// if they did so once.
    pub fn check(&self, channel: &str, members: &[(&str, Option<u64>)]) -> Result<(), String> {
        let Some(told) = self.told.get(channel) else { return Ok(()) };
        for (client, is_there) in &told.people {
            if members.iter().any(|(member, _)| member == client) != *is_there {
                return Err(format!("was told that {client} is in {channel}: {is_there}; {members:?} are"));
            }
        }
        let came_later =
            |(_, asked_ms): &&(&str, Option<u64>)| asked_ms.is_some_and(|ms| ms > told.answered_ms);
        match members.iter().filter(came_later).find(|(member, _)| !told.people.contains_key(*member)) {
            Some((member, _)) => Err(format!("was not told that {member} joined {channel}")),
            None => Ok(()),
        }
    }
}
