//! Who is in a channel: what the engine keeps, what clients know of themselves, and what they were told of each other.

use std::collections::BTreeMap;

use super::client::Client;
use super::ledger::{Broken, Ledger};

/// How a client knows itself to be shown to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    /// By the id of the client.
    Id(&'a str),
    /// Only by its user: others are told another id than the client itself.
    User(&'a str),
}

/// One who should be in a channel.
#[derive(Debug)]
pub struct Shown<'a> {
    pub channel: &'a str,
    pub name: Name<'a>,
    /// It hears nothing any more, and knows nothing of its latest subscriptions.
    pub is_dead: bool,
}

/// One entry of the engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    pub id: String,
    pub user: String,
}

/// All is at rest: presence equals the clients that are subscribed, and joins and leaves have led to it.
///
/// `members`: what the engine keeps; `tells`: everybody is told of joins and leaves.
pub fn check(
    channel: &str,
    clients: &[Client],
    members: &[Member],
    tells: bool,
    ledger: &Ledger,
) -> Result<(), Broken> {
    let shown = clients.iter().flat_map(Client::shown_in).filter(|shown| shown.channel == channel);
    let shown: Vec<_> = shown.collect();
    let wrong = || Err(format!("in {channel} are {shown:?}, its presence says {members:?}"));
    // Entries that belong to nobody who knows its id, by user.
    let mut nameless: BTreeMap<&str, usize> = BTreeMap::new();
    for member in members {
        let is_known = |name| name == Name::Id(&member.id);
        let is_claimed = shown.iter().any(|shown| is_known(shown.name))
            || clients.iter().filter_map(Client::dead).any(is_known);
        if !is_claimed {
            *nameless.entry(&member.user).or_default() += 1;
        }
    }
    for Shown { name, .. } in shown.iter().filter(|shown| !shown.is_dead) {
        let is_there = match name {
            Name::Id(id) => members.iter().any(|member| member.id == *id),
            Name::User(user) => nameless.get_mut(user).is_some_and(|count| {
                let has_one = *count > 0;
                *count -= usize::from(has_one);
                has_one
            }),
        };
        if !is_there {
            return wrong();
        }
    }
    for (user, count) in nameless {
        let dead = clients.iter().filter_map(Client::dead).filter(|name| *name == Name::User(user));
        if dead.count() < count {
            return wrong();
        }
    }
    if !tells {
        return Ok(());
    }
    let members: Vec<_> =
        members.iter().map(|member| (&*member.id, ledger.asked_once_ms(&member.id, channel))).collect();
    clients.iter().try_for_each(|client| client.check_others(channel, &members))
}
