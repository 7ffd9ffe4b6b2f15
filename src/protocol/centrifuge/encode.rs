//! What both generations share on the way out. Zero values are left out, as upstream does.

use data_encoding::BASE64;

use crate::core::event::{Body, Recovery, Subscription};
use crate::core::ids::ClientId;
use crate::core::publication::{ClientInfo, Numbered, Payload, Position, Publication};
use crate::wire::json::{append_string, append_u64};

use super::{Generation, VERSION};

/// Opens a reply: `{"id":7,`.
pub(super) fn append_id(tag: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    append_u64(tag.into(), out);
    out.push(b',');
}

/// `"error":{…}`.
pub(super) fn append_error((code, message): (u32, &str), temporary: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"error\":{\"code\":");
    append_u64(code.into(), out);
    out.extend_from_slice(b",\"message\":");
    append_string(message, out);
    if temporary {
        out.extend_from_slice(b",\"temporary\":true");
    }
    out.push(b'}');
}

/// What answers to connect and to refresh have in common, without braces. The client takes over the id it is told.
pub(super) fn append_session(client: ClientId, expires_in_s: Option<u32>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"client\":\"");
    out.extend_from_slice(client.text().as_str().as_bytes());
    out.extend_from_slice(b"\",\"version\":");
    append_string(VERSION, out);
    append_expiry(expires_in_s, out);
}

/// What answers to connect tell besides, without braces.
pub(super) fn append_welcome(
    generation: Generation,
    data: Option<&Payload>,
    subscriptions: &[(&str, Subscription<'_>)],
    out: &mut Vec<u8>,
) {
    if let Some(data) = data {
        append_name(b"\"data\":", out);
        append_payload(data, out);
    }
    if subscriptions.is_empty() {
        return;
    }
    append_name(b"\"subs\":{", out);
    for (channel, subscription) in subscriptions {
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        append_string(channel, out);
        out.push(b':');
        append_subscription(generation, subscription, out);
    }
    out.push(b'}');
}

/// `"expires":true,"ttl":…` as members of the object that is open, if there is an expiry.
pub(super) fn append_expiry(expires_in_s: Option<u32>, out: &mut Vec<u8>) {
    if let Some(ttl_s) = expires_in_s {
        append_name(b"\"expires\":true,\"ttl\":", out);
        append_u64(ttl_s.into(), out);
    }
}

/// A SubscribeResult object.
pub(super) fn append_subscription(
    generation: Generation,
    subscription: &Subscription<'_>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    append_expiry(subscription.expires_in_s, out);
    if subscription.recoverable {
        append_name(b"\"recoverable\":true", out);
    }
    if let Some(position) = subscription.position {
        append_epoch(position, out);
    }
    if !subscription.publications.is_empty() {
        append_name(b"\"publications\":", out);
        append_publications(subscription.publications, |at| subscription.body(at), out);
    }
    if let Recovery::Recovered { .. } = subscription.recovery {
        append_name(b"\"recovered\":true", out);
    }
    let offset = told_offset(generation, subscription);
    if offset != 0 {
        append_name(b"\"offset\":", out);
        append_u64(offset, out);
    }
    if subscription.positioned {
        append_name(b"\"positioned\":true", out);
    }
    if let Some(data) = subscription.data {
        append_name(b"\"data\":", out);
        append_payload(data, out);
    }
    if generation == Generation::V2 && subscription.recovery != Recovery::NotAsked {
        append_name(b"\"was_recovering\":true", out);
    }
    if subscription.fossil_delta {
        append_name(b"\"delta\":true", out);
    }
    out.push(b'}');
}

/// The offset in an answer to subscribe. Current clients count on from where they asked as they replay what they
/// missed; legacy ones want to know where that ends. 0: none is told.
pub(super) fn told_offset(generation: Generation, subscription: &Subscription<'_>) -> u64 {
    match (generation, subscription.recovery) {
        (Generation::V2, Recovery::Recovered { since_offset }) => since_offset,
        _ => subscription.position.map_or(0, |position| position.offset),
    }
}

/// The `subscribe` push: what a client must know of a subscription it did not ask for.
pub(super) fn append_added(subscription: &Subscription<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    if subscription.recoverable {
        append_name(b"\"recoverable\":true", out);
    }
    if let Some(position) = subscription.position {
        append_epoch(position, out);
        if position.offset != 0 {
            append_name(b"\"offset\":", out);
            append_u64(position.offset, out);
        }
    }
    if subscription.positioned {
        append_name(b"\"positioned\":true", out);
    }
    if let Some(data) = subscription.data {
        append_name(b"\"data\":", out);
        append_payload(data, out);
    }
    out.push(b'}');
}

/// A PresenceResult object. The map is there even if it is empty: it is what was asked for.
pub fn append_presence(clients: &[ClientInfo], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"presence\":{");
    for info in clients {
        append_name(b"\"", out);
        out.extend_from_slice(info.client.text().as_str().as_bytes());
        out.extend_from_slice(b"\":");
        append_client_info(info, out);
    }
    out.extend_from_slice(b"}}");
}

/// A PresenceStatsResult object. Zeros are there: they are what was asked for.
pub fn append_presence_stats(clients_count: u32, users_count: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"num_clients\":");
    append_u64(clients_count.into(), out);
    out.extend_from_slice(b",\"num_users\":");
    append_u64(users_count.into(), out);
    out.push(b'}');
}

/// A HistoryResult object. All of it is there: it is what was asked for.
pub fn append_history(publications: &[Numbered], position: &Position, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"publications\":");
    append_publications(publications, |_| Body::Plain, out);
    append_epoch(position, out);
    append_name(b"\"offset\":", out);
    append_u64(position.offset, out);
    out.push(b'}');
}

/// `{"info":{…}}`, what joins and leaves consist of.
pub(super) fn append_somebody(info: &ClientInfo, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"info\":");
    append_client_info(info, out);
    out.push(b'}');
}

fn append_publications<'a>(publications: &[Numbered], body: impl Fn(usize) -> Body<'a>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (place, numbered) in publications.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        append_publication(&numbered.publication, numbered.offset, body(place), out);
    }
    out.push(b']');
}

fn append_epoch(position: &Position, out: &mut Vec<u8>) {
    if !position.epoch.is_empty() {
        append_name(b"\"epoch\":", out);
        append_string(&position.epoch, out);
    }
}

/// Begins a member of the object that is open: a comma if it is not the first, then `name`, which brings its quotes
/// and its colon.
pub(super) fn append_name(name: &[u8], out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.extend_from_slice(name);
}

/// A Publication object.
pub(super) fn append_publication(publication: &Publication, offset: u64, body: Body<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"data\":");
    let is_delta = append_body(&publication.data, body, out);
    if let Some(publisher) = &publication.publisher {
        out.extend_from_slice(b",\"info\":");
        append_client_info(publisher, out);
    }
    if offset != 0 {
        out.extend_from_slice(b",\"offset\":");
        append_u64(offset, out);
    }
    append_tags(publication, out);
    if is_delta {
        out.extend_from_slice(b",\"delta\":true");
    }
    out.push(b'}');
}

/// The data of a publication; where deltas were agreed on, in a string. Returns whether it is a delta.
fn append_body(data: &Payload, body: Body<'_>, out: &mut Vec<u8>) -> bool {
    match body {
        Body::Plain => append_payload(data, out),
        Body::Delta(delta)
            if matches!(data, Payload::Json(_))
                && let Ok(delta) = std::str::from_utf8(delta) =>
        {
            append_string(delta, out);
            return true;
        }
        Body::Base | Body::Delta(_) => match data {
            Payload::Json(json) => append_string(&String::from_utf8_lossy(json), out),
            Payload::Binary(_) => {
                // Base64 between quotes, which are quoted once more.
                out.extend_from_slice(b"\"\\");
                append_payload(data, out);
                let closing = out.pop();
                out.extend_from_slice(b"\\\"");
                out.extend(closing);
            }
        },
    }
    false
}

/// This dialect has no event names: they travel as the tag `event`.
fn append_tags(publication: &Publication, out: &mut Vec<u8>) {
    let mut opening = b",\"tags\":{".as_slice();
    for (name, value) in publication.shown_tags() {
        out.extend_from_slice(opening);
        opening = b",";
        append_string(name, out);
        out.push(b':');
        append_string(value, out);
    }
    if opening == b"," {
        out.push(b'}');
    }
}

/// A ClientInfo object.
fn append_client_info(info: &ClientInfo, out: &mut Vec<u8>) {
    out.push(b'{');
    if !info.user.is_empty() {
        out.extend_from_slice(b"\"user\":");
        append_string(&info.user, out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"client\":\"");
    out.extend_from_slice(info.client.text().as_str().as_bytes());
    out.push(b'"');
    if let Some(connection_info) = &info.connection_info {
        out.extend_from_slice(b",\"conn_info\":");
        append_payload(connection_info, out);
    }
    if let Some(channel_info) = &info.channel_info {
        out.extend_from_slice(b",\"chan_info\":");
        append_payload(channel_info, out);
    }
    out.push(b'}');
}

/// JSON as it is. Bytes that are not JSON must not end anybody's connection: they are shown as a base64 string.
fn append_payload(payload: &Payload, out: &mut Vec<u8>) {
    match payload {
        Payload::Json(json) => out.extend_from_slice(json),
        Payload::Binary(bytes) => {
            out.push(b'"');
            let start = out.len();
            out.resize(start + BASE64.encode_len(bytes.len()), 0);
            BASE64.encode_mut(bytes, &mut out[start..]);
            out.push(b'"');
        }
    }
}
