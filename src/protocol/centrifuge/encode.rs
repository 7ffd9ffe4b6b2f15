//! What both generations share on the way out. Zero values are left out, as upstream does.

use data_encoding::BASE64;

use crate::core::ids::ClientId;
use crate::core::publication::{ClientInfo, Payload, Publication};
use crate::wire::json::{append_string, append_u64};

use super::VERSION;

/// Opens a reply: `{"id":7,`.
pub(super) fn append_id(tag: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    append_u64(tag.into(), out);
    out.push(b',');
}

/// `"error":{…}`.
pub(super) fn append_error((code, message): (u64, &str), temporary: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"error\":{\"code\":");
    append_u64(code, out);
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
    if let Some(ttl_s) = expires_in_s {
        out.extend_from_slice(b",\"expires\":true,\"ttl\":");
        append_u64(ttl_s.into(), out);
    }
}

/// A Publication object.
pub(super) fn append_publication(publication: &Publication, offset: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"data\":");
    append_payload(&publication.data, out);
    if let Some(publisher) = &publication.publisher {
        out.extend_from_slice(b",\"info\":");
        append_client_info(publisher, out);
    }
    if offset != 0 {
        out.extend_from_slice(b",\"offset\":");
        append_u64(offset, out);
    }
    append_tags(publication, out);
    out.push(b'}');
}

/// This dialect has no event names: they travel as the tag `event`, which wins over one of the publisher's.
fn append_tags(publication: &Publication, out: &mut Vec<u8>) {
    let event = publication.event.as_deref();
    let tags = publication.tags.iter().map(|(name, value)| (&**name, &**value));
    let tags = tags.filter(|(name, _)| event.is_none() || *name != "event");
    let mut opening = b",\"tags\":{".as_slice();
    for (name, value) in event.map(|event| ("event", event)).into_iter().chain(tags) {
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
