//! What the names of channels and events may be, and what a channel's name tells of it.

use super::refusal::Refusal;
use crate::api::call::check_channel;
use crate::config::{App, Pusher};
use crate::core::channel::{Access, access};

/// Judges a channel that a backend names.
pub fn judge_channel(app: &App, options: &Pusher, channel: &str) -> Result<(), Refusal> {
    let limit = options.channel_max_length;
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte);
    // Users of other dialects may have other ids than Pusher's, and can be sent to all the same.
    let is_right = match access(channel) {
        Access::ServerToUser(user) => !user.is_empty(),
        _ => channel.len() <= limit && channel.bytes().all(is_known),
    };
    if is_right && check_channel(app, channel).is_ok() { Ok(()) } else { Err(Refusal::Channel { limit }) }
}

/// Judges the name of an event.
pub fn judge_event(options: &Pusher, name: &str) -> Result<(), Refusal> {
    let limit = options.event_name_max_length;
    if name.is_empty() {
        return Err(Refusal::Missing { field: "name" });
    }
    if name.len() > limit && name.chars().count() > limit {
        return Err(Refusal::TooLong { field: "name", limit });
    }
    if name.starts_with("pusher:") || name.starts_with("pusher_internal:") {
        return Err(Refusal::ReservedName);
    }
    Ok(())
}
