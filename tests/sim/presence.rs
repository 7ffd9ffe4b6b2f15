//! Who is in a channel: what the engine keeps, what clients know of themselves, and what they were told of each other.

use std::collections::BTreeSet;

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
    // Entries that belong to nobody who knows its id.
    let dead: Vec<Name<'_>> = clients.iter().filter_map(Client::dead).collect();
    let is_known = |member: &Member| {
        let name = Name::Id(&member.id);
        shown.iter().any(|shown| shown.name == name) || dead.contains(&name)
    };
    let mut nameless: Vec<&Member> = members.iter().filter(|member| !is_known(member)).collect();
    for Shown { name, .. } in shown.iter().filter(|shown| !shown.is_dead) {
        let is_there = match name {
            Name::Id(id) => members.iter().any(|member| member.id == *id),
            Name::User(user) => {
                let place = nameless.iter().position(|member| member.user == *user);
                place.map(|place| nameless.swap_remove(place)).is_some()
            }
        };
        if !is_there {
            return wrong();
        }
    }
    // Whom nobody claims: who hears nothing any more may be there as its user, or else as nobody.
    nameless.sort_by_key(|member| member.user.is_empty());
    let mut dead: Vec<Name<'_>> = dead.into_iter().filter(|name| matches!(name, Name::User(_))).collect();
    for Member { user, .. } in nameless {
        let may_be = |name: &Name<'_>| user.is_empty() || *name == Name::User(user);
        let Some(place) = dead.iter().position(may_be) else { return wrong() };
        dead.swap_remove(place);
    }
    let users: BTreeSet<&str> =
        members.iter().map(|member| &*member.user).filter(|user| !user.is_empty()).collect();
    clients.iter().try_for_each(|client| client.check_users(channel, &users))?;
    if !tells {
        return Ok(());
    }
    let members: Vec<_> =
        members.iter().map(|member| (&*member.id, ledger.asked_once_ms(&member.id, channel))).collect();
    clients.iter().try_for_each(|client| client.check_others(channel, &members))
}
