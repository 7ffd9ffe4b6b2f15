//! Events as messages to clients.

use std::borrow::Cow;
use std::sync::Arc;

use data_encoding::BASE64;

use super::{DEFAULT_EVENT, about, codes, is_reserved_event};
use crate::core::channel::is_presence;
use crate::core::error::ClientError;
use crate::core::event::Event;
use crate::core::publication::{AsText, ClientInfo, Payload, Publication};
use crate::wire::json::{append_string, append_u64, leading_string};

/// See [`crate::protocol::Codec::encode`] and [`crate::protocol::Variant::encode_push`].
pub fn encode(event: &Event<'_>, out: &mut Vec<u8>) {
    match *event {
        Event::Connected { decimal, ping_interval_s, .. } => {
            let Some(id) = decimal else { return };
            let data = format!("{{\"socket_id\":\"{id}\",\"activity_timeout\":{ping_interval_s}}}");
            append_message("pusher:connection_established", None, &data, out);
        }
        Event::Subscribed { channel, subscription, .. } => {
            let data = subscription.users.map_or_else(|| "{}".to_owned(), presence);
            append_message("pusher_internal:subscription_succeeded", Some(channel), &data, out);
        }
        Event::UserJoined { channel, info } => {
            let mut data = b"{\"user_id\":".to_vec();
            append_string(&info.user, &mut data);
            if let Some(info) = user_info(info) {
                data.extend_from_slice(b",\"user_info\":");
                data.extend_from_slice(info);
            }
            data.push(b'}');
            append_message("pusher_internal:member_added", Some(channel), &text(data), out);
        }
        Event::UserLeft { channel, info } => {
            let mut data = b"{\"user_id\":".to_vec();
            append_string(&info.user, &mut data);
            data.push(b'}');
            append_message("pusher_internal:member_removed", Some(channel), &text(data), out);
        }
        Event::NothingLatest { channel } => append_message("pusher:cache_miss", Some(channel), "{}", out),
        Event::SubscribersCount { channel, count } => {
            let data = format!("{{\"subscription_count\":{count}}}");
            append_message("pusher_internal:subscription_count", Some(channel), &data, out);
        }
        Event::Watched { online, offline } => {
            append_message("pusher_internal:watchlist_events", None, &watchlist(online, offline), out);
        }
        Event::SignedIn { about_user, .. } => {
            let mut data = b"{\"user_data\":".to_vec();
            append_string(about_user, &mut data);
            data.push(b'}');
            append_message("pusher:signin_success", None, &text(data), out);
        }
        Event::Pong { .. } => append_message("pusher:pong", None, "{}", out),
        Event::Ping => append_message("pusher:ping", None, "{}", out),
        Event::Refused { tag, channel, error, reason } => append_refusal(tag, channel, error, reason, out),
        Event::Publication { channel, publication, .. } => encode_publication(channel, publication, out),
        Event::Ended { disconnect } => {
            let (code, message) = codes::close_code(disconnect);
            if code >= 4000 {
                append_error(Some(code), message, out);
            }
        }
        // The protocol has no message for these.
        Event::Unsubscribed { .. }
        | Event::Published { .. }
        | Event::Presence { .. }
        | Event::PresenceStats { .. }
        | Event::History { .. }
        | Event::Refreshed { .. }
        | Event::SubscriptionRefreshed { .. }
        | Event::Join { .. }
        | Event::Leave { .. }
        | Event::Added { .. }
        | Event::Dropped { .. }
        | Event::ExpiryMoved { .. } => {}
    }
}

/// Who is there: `{"presence":{"ids":[…],"hash":{id: info},"count":n}}`.
fn presence(users: &[Arc<ClientInfo>]) -> String {
    let mut data = b"{\"presence\":{\"ids\":[".to_vec();
    for (place, info) in users.iter().enumerate() {
        if place > 0 {
            data.push(b',');
        }
        append_string(&info.user, &mut data);
    }
    data.extend_from_slice(b"],\"hash\":{");
    for (place, info) in users.iter().enumerate() {
        if place > 0 {
            data.push(b',');
        }
        append_string(&info.user, &mut data);
        data.push(b':');
        data.extend_from_slice(user_info(info).unwrap_or(b"{}"));
    }
    data.extend_from_slice(format!("}},\"count\":{}}}}}", users.len()).as_bytes());
    text(data)
}

/// Who is there and who is not: `{"events":[{"name":"online","user_ids":[…]},…]}`.
fn watchlist(online: &[Arc<str>], offline: &[Arc<str>]) -> String {
    let mut data = b"{\"events\":[".to_vec();
    let events = [("online", online), ("offline", offline)];
    for (place, (name, users)) in events.into_iter().filter(|(_, users)| !users.is_empty()).enumerate() {
        if place > 0 {
            data.push(b',');
        }
        data.extend_from_slice(format!("{{\"name\":\"{name}\",\"user_ids\":[").as_bytes());
        for (place, user) in users.iter().enumerate() {
            if place > 0 {
                data.push(b',');
            }
            append_string(user, &mut data);
        }
        data.extend_from_slice(b"]}");
    }
    data.extend_from_slice(b"]}");
    text(data)
}

/// What is told of a user: what was said for this channel, else for its connection. Bytes that are no JSON have no
/// place here.
fn user_info(info: &ClientInfo) -> Option<&[u8]> {
    match info.channel_info.as_deref().or(info.connection_info.as_deref()) {
        Some(Payload::Json(json)) => Some(json),
        Some(Payload::Binary(_)) | None => None,
    }
}

/// JSON of our own making.
fn text(json: Vec<u8>) -> String {
    String::from_utf8(json).unwrap_or_default()
}

/// See [`crate::protocol::Variant::encode_publication`].
pub fn encode_publication(channel: &str, publication: &Publication, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"event\":");
    append_string(event_name(publication), out);
    out.extend_from_slice(b",\"channel\":");
    append_string(channel, out);
    out.extend_from_slice(b",\"data\":");
    append_data(publication, out);
    if let Some(publisher) = publication.publisher.as_ref().filter(|who| !who.user.is_empty())
        && is_presence(channel)
    {
        out.extend_from_slice(b",\"user_id\":");
        append_string(&publisher.user, out);
    }
    out.push(b'}');
}

/// The name that the publisher gave, by whatever means its own dialect has: some have only tags.
fn event_name(publication: &Publication) -> &str {
    let tag = || publication.tags.iter().find(|(name, _)| **name == *"event").map(|(_, value)| &**value);
    let name = publication.event.as_deref().or_else(tag);
    name.filter(|name| !name.is_empty() && !is_reserved_event(name)).unwrap_or(DEFAULT_EVENT)
}

fn append_data(publication: &Publication, out: &mut Vec<u8>) {
    match (&publication.as_text, &publication.data) {
        (AsText::Own(text), _) => append_string(text, out),
        (AsText::Verbatim, Payload::Json(json)) => out.extend_from_slice(json),
        (AsText::Quoted, Payload::Json(json)) => append_string(&String::from_utf8_lossy(json), out),
        // The text of a JSON string, as other dialects see it.
        (_, Payload::Binary(bytes)) => {
            out.extend_from_slice(b"\"\\\"");
            let start = out.len();
            out.resize(start + BASE64.encode_len(bytes.len()), 0);
            BASE64.encode_mut(bytes, &mut out[start..]);
            out.extend_from_slice(b"\\\"\"");
        }
    }
}

/// The channel of one of our own messages, if it is a publication.
pub fn publication_channel(message: &[u8]) -> Option<Cow<'_, str>> {
    let (event, rest) = leading_string(message.strip_prefix(b"{\"event\":")?)?;
    if is_reserved_event(&event) {
        return None;
    }
    let (channel, rest) = leading_string(rest.strip_prefix(b",\"channel\":")?)?;
    rest.starts_with(b",\"data\":").then_some(channel)
}

/// A message of the server's own, its data encoded twice.
fn append_message(event: &str, channel: Option<&str>, data: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"event\":\"");
    out.extend_from_slice(event.as_bytes());
    out.push(b'"');
    if let Some(channel) = channel {
        out.extend_from_slice(b",\"channel\":");
        append_string(channel, out);
    }
    out.extend_from_slice(b",\"data\":");
    append_string(data, out);
    out.push(b'}');
}

/// An error that closes nothing. Its data is an object, as in the official form.
fn append_error(code: Option<u16>, message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"event\":\"pusher:error\",\"data\":{\"code\":");
    match code {
        Some(code) => append_u64(code.into(), out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"message\":");
    append_string(message, out);
    out.extend_from_slice(b"}}");
}

fn append_refusal(
    tag: u32,
    channel: Option<&str>,
    error: ClientError,
    reason: Option<&str>,
    out: &mut Vec<u8>,
) {
    let mut message = match (tag, error, channel) {
        (about::SUBSCRIBE, ClientError::AlreadySubscribed, Some(channel)) => {
            return append_error(None, &format!("Existing subscription to channel {channel}"), out);
        }
        (about::SUBSCRIBE, ClientError::BadRequest, _) => "the channel's name is not possible".to_owned(),
        (about::CLIENT_EVENT, ClientError::PermissionDenied, Some(channel)) => format!(
            "Cannot broadcast client event (connection not subscribed to channel {channel}, \
             or its namespace lets no subscriber publish)"
        ),
        (about::CLIENT_EVENT, ClientError::NotAvailable, _) => {
            "client events are for private and presence channels of apps that have them switched on"
                .to_owned()
        }
        (about::CLIENT_EVENT, ClientError::TooManyRequests, _) => {
            "the client event was rejected because it exceeds the rate limit".to_owned()
        }
        (about::CLIENT_EVENT, ClientError::LimitExceeded, _) => "the client event is too large".to_owned(),
        (about::CLIENT_EVENT, ClientError::MethodNotFound, _) => {
            "unknown event: names of client events begin with client-".to_owned()
        }
        (about::SIGN_IN, ClientError::NotAvailable, _) => "users cannot sign in to this app".to_owned(),
        (about::SIGN_IN, ClientError::LimitExceeded, _) => {
            "the watchlist is too long: its first users are watched".to_owned()
        }
        (about::OTHER, ClientError::BadRequest, _) => "the message is not one of this protocol".to_owned(),
        _ => error.to_string(),
    };
    if let Some(reason) = reason {
        message.push_str(": ");
        message.push_str(reason);
    }
    let Some(channel) = channel.filter(|_| tag == about::SUBSCRIBE) else {
        return append_error(codes::error_code(tag, error), &message, out);
    };
    let (kind, status) = codes::subscription_error(error);
    let mut data = format!("{{\"type\":\"{kind}\",\"error\":").into_bytes();
    append_string(&message, &mut data);
    data.extend_from_slice(format!(",\"status\":{status}}}").as_bytes());
    append_message("pusher:subscription_error", Some(channel), &text(data), out);
}
