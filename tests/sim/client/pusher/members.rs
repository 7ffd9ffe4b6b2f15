//! Of which users a client was told: at first all that are in a channel, then those who come and go.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::ledger::Broken;

/// By channel, for as long as a subscription lasts.
#[derive(Debug, Default)]
pub struct Members {
    told: BTreeMap<String, BTreeSet<String>>,
}

impl Members {
    pub fn clear(&mut self) {
        self.told.clear();
    }

    pub fn ended(&mut self, channel: &str) {
        self.told.remove(channel);
    }

    /// The answer to a subscribe of `user`, who must be in it.
    pub fn subscribed(&mut self, channel: &str, user: &str, presence: &Value) -> Result<(), Broken> {
        let wrong = || format!("{user} subscribed to {channel} and is told of {presence}");
        let ids = presence["ids"].as_array().ok_or_else(wrong)?;
        let hash = presence["hash"].as_object().ok_or_else(wrong)?;
        let users: BTreeSet<String> = ids.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let is_whole = users.len() == ids.len()
            && users.len() == hash.len()
            && presence["count"].as_u64() == Some(users.len() as u64)
            && users.iter().all(|user| hash.get(user).is_some_and(|info| info["of"] == **user))
            && users.contains(user);
        if !is_whole {
            return Err(wrong());
        }
        self.told.insert(channel.to_owned(), users);
        Ok(())
    }

    /// A user came or went. `own`: the client's own user, who is there.
    pub fn passage(&mut self, channel: &str, user: &str, enters: bool, own: &str) -> Result<(), Broken> {
        let told = self.told.get_mut(channel);
        let told = told.ok_or_else(|| format!("{user} came or went in {channel}, not subscribed"))?;
        let is_news = if enters { told.insert(user.to_owned()) } else { told.remove(user) };
        if is_news && user != own {
            return Ok(());
        }
        Err(format!("told that {user} entered {channel}: {enters}; so far {told:?} were there"))
    }

    /// All is at rest: does what was told lead to who is there?
    pub fn check(&self, channel: &str, users: &BTreeSet<&str>) -> Result<(), Broken> {
        match self.told.get(channel) {
            Some(told) if !told.iter().map(String::as_str).eq(users.iter().copied()) => {
                Err(format!("was told that {told:?} are in {channel}; {users:?} are"))
            }
            _ => Ok(()),
        }
    }
}
