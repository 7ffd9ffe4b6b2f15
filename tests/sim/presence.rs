//! Who is in a channel: what the engine keeps, what clients know of themselves, and what they were told of each other.

use super::client::Client;
use super::ledger::{Broken, Ledger};

/// All is at rest: presence equals the clients that are subscribed, and joins and leaves have led to it.
///
/// `members`: what the engine keeps; `tells`: everybody is told of joins and leaves.
pub fn check(
    channel: &str,
    clients: &[Client],
    members: &[String],
    tells: bool,
    ledger: &Ledger,
) -> Result<(), Broken> {
    let shown: Vec<_> =
        clients.iter().flat_map(Client::shown_in).filter(|(name, ..)| *name == channel).collect();
    let is_missing =
        |(_, id, is_dead): &&(&str, &str, bool)| !is_dead && !members.iter().any(|got| got == id);
    let missing = shown.iter().find(is_missing);
    // Who hears nothing any more does not know of its latest subscriptions.
    let is_known = |got: &str| {
        shown.iter().any(|(_, id, _)| *id == got)
            || clients.iter().any(|client| client.dead_id() == Some(got))
    };
    let strange = members.iter().find(|got| !is_known(got));
    if missing.is_some() || strange.is_some() {
        return Err(format!("in {channel} are {shown:?}, its presence says {members:?}"));
    }
    if !tells {
        return Ok(());
    }
    let members: Vec<_> = members.iter().map(|id| (&**id, ledger.asked_once_ms(id, channel))).collect();
    clients.iter().try_for_each(|client| client.check_others(channel, &members))
}
