//! Publications on their way out, by hand: on the path of every message, nothing is built and nothing is copied but
//! into the output.

use prost::encoding::{WireType, decode_key, encode_key, encode_varint, encoded_len_varint};

use super::decode::next_message;
use crate::core::event::Body;
use crate::core::publication::{ClientInfo, Publication};
use crate::protocol::centrifuge::Generation;

/// Appends one publication as one message with its length. No allocation but in `out`.
pub fn append_push(
    generation: Generation,
    channel: &str,
    publication: &Publication,
    offset: u64,
    body: Body<'_>,
    out: &mut Vec<u8>,
) {
    let (push, inner) = place(generation);
    let guess = publication.data.len();
    append_sized(guess, out, |out| {
        append_nested(push, guess, out, |out| {
            append_bytes(2, channel.as_bytes(), out);
            append_nested(inner, guess, out, |out| append_publication(publication, offset, body, out));
        });
    });
}

/// The channel of what [`append_push`] wrote; `None`: it is something else. Its fields are in the order in which they
/// are written here, and other pushes have others in their place.
pub fn publication_channel(generation: Generation, mut message: &[u8]) -> Option<&str> {
    let (push, inner) = place(generation);
    let mut reply = next_message(&mut message)?;
    let mut push = next_field(push, &mut reply)?;
    let channel = next_field(2, &mut push)?;
    next_field(inner, &mut push)?;
    std::str::from_utf8(channel).ok()
}

fn next_field<'m>(field: u32, message: &mut &'m [u8]) -> Option<&'m [u8]> {
    let key = decode_key(message).ok()?;
    if key == (field, WireType::LengthDelimited) { next_message(message) } else { None }
}

/// Where in a reply a push has its place, and where in that a publication.
fn place(generation: Generation) -> (u32, u32) {
    match generation {
        Generation::V1 => (3, 3),
        Generation::V2 => (4, 4),
    }
}

/// The fields of a Publication.
pub fn append_publication(publication: &Publication, offset: u64, body: Body<'_>, out: &mut Vec<u8>) {
    let data = match body {
        Body::Plain | Body::Base => publication.data.as_bytes(),
        Body::Delta(delta) => delta,
    };
    append_bytes(4, data, out);
    if let Some(publisher) = &publication.publisher {
        append_nested(5, 0, out, |out| append_client_info(publisher, out));
    }
    append_number(6, offset, out);
    for (name, value) in publication.shown_tags() {
        append_nested(7, name.len() + value.len(), out, |out| {
            append_bytes(1, name.as_bytes(), out);
            append_bytes(2, value.as_bytes(), out);
        });
    }
    append_number(8, matches!(body, Body::Delta(_)).into(), out);
}

/// The fields of a ClientInfo.
pub fn append_client_info(info: &ClientInfo, out: &mut Vec<u8>) {
    append_bytes(1, info.user.as_bytes(), out);
    append_bytes(2, info.client.text().as_str().as_bytes(), out);
    for (field, shown) in [(3, &info.connection_info), (4, &info.channel_info)] {
        if let Some(shown) = shown {
            append_bytes(field, shown.as_bytes(), out);
        }
    }
}

/// Empty ones are left out, as the format wants it.
fn append_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

/// Zeros are left out, as the format wants it.
fn append_number(field: u32, number: u64, out: &mut Vec<u8>) {
    if number != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(number, out);
    }
}

/// A message as a field of another. `guess`: about how long it becomes.
pub fn append_nested(field: u32, guess: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(field, WireType::LengthDelimited, out);
    append_sized(guess, out, write);
}

/// What is written, behind its length. Room for the length is left by the guess; if it does not fit, what was
/// written moves by a byte or two, which is cheaper than to find the length beforehand.
pub fn append_sized(guess: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let room = encoded_len_varint(guess as u64);
    out.resize(start + room, 0);
    write(out);
    let length = out.len() - start - room;
    let needed = encoded_len_varint(length as u64);
    if needed > room {
        out.resize(out.len() + needed - room, 0);
    }
    out.copy_within(start + room..start + room + length, start + needed);
    out.truncate(start + needed + length);
    encode_varint(length as u64, &mut &mut out[start..start + needed]);
}
