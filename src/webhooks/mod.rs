//! Webhooks: what backends are told by requests to them.
//!
//! What happened ([`crate::core::happening`]) passes [`Debounce`], which holds ends back in case they are taken back
//! and joins what comes too often; it becomes the text of an event ([`append_event`]), waits in a bounded [`Lane`]
//! per receiver, and leaves in a signed [`body`]. What is not accepted is tried again as [`Attempts`] says. Nothing
//! here knows a socket, a clock or a thread.

mod debounce;
mod event;
mod lane;

pub use self::debounce::Debounce;
pub use self::event::{append_event, body};
pub use self::lane::{Attempts, LANE_EVENTS_MAX, LANES, Lane, lane_of};

use crate::config::Webhook;
use crate::core::happening::Kind;

/// Whether a webhook is about that.
pub fn wants(hook: &Webhook, kind: Kind, channel: &str) -> bool {
    hook.kinds.contains(kind)
        && channel.starts_with(&*hook.channel_name_starts_with)
        && channel.ends_with(&*hook.channel_name_ends_with)
}
