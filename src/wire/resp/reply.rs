//! Replies in both versions of the protocol.

use redis_protocol::resp2::encode as encode2;
use redis_protocol::resp2::types::BorrowedFrame as Frame2;
use redis_protocol::resp3::encode::complete as encode3;
use redis_protocol::resp3::types::{BorrowedFrame as Frame3, FrameMap};

/// Which version a connection speaks: 2 until it says `HELLO 3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RespVersion {
    #[default]
    Resp2,
    Resp3,
}

/// One reply. Texts have neither CR nor LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    Simple(&'a str),
    /// Begins with the error's class, as `ERR`.
    Error(&'a str),
    Integer(i64),
    Bulk(&'a [u8]),
    Null,
    /// The head of an array; so many replies follow by themselves.
    ArrayOf(usize),
    /// Names and values; a flat array in version 2.
    Map(&'a [(&'a str, Reply<'a>)]),
}

/// Appends one reply.
pub fn append_reply(reply: Reply<'_>, version: RespVersion, out: &mut Vec<u8>) {
    match (reply, version) {
        // The crate has no head of an array whose elements come later.
        (Reply::ArrayOf(count), _) => out.extend_from_slice(format!("*{count}\r\n").as_bytes()),
        (Reply::Map(entries), RespVersion::Resp2) => {
            out.extend_from_slice(format!("*{}\r\n", entries.len() * 2).as_bytes());
            for (name, value) in entries {
                append_reply(Reply::Bulk(name.as_bytes()), version, out);
                append_reply(*value, version, out);
            }
        }
        (reply, RespVersion::Resp2) => {
            let frame = frame2(reply);
            append(out, frame.encode_len(false), |room| encode2::encode_borrowed(room, &frame, false));
        }
        (Reply::Map(entries), RespVersion::Resp3) => {
            let entries =
                entries.iter().map(|(name, value)| (frame3(Reply::Bulk(name.as_bytes())), frame3(*value)));
            let data: FrameMap<Frame3<'_>, Frame3<'_>> = entries.collect();
            let frame = Frame3::Map { data: &data, attributes: None };
            append(out, frame.encode_len(false), |room| encode3::encode_borrowed(room, &frame, false));
        }
        (reply, RespVersion::Resp3) => {
            let frame = frame3(reply);
            append(out, frame.encode_len(false), |room| encode3::encode_borrowed(room, &frame, false));
        }
    }
}

fn append<E: std::fmt::Debug>(
    out: &mut Vec<u8>,
    bytes: usize,
    encode: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) {
    // The crate counts the digits of numbers by floating point; the spare room covers what that may round away.
    const SPARE_BYTES: usize = 24;
    let start = out.len();
    out.resize(start + bytes + SPARE_BYTES, 0);
    let written = encode(&mut out[start..]).expect("there is room for what the crate said it needs");
    out.truncate(start + written);
}

/// Maps and heads of arrays are written by [`append_reply`] itself; nested ones do not occur.
fn frame2(reply: Reply<'_>) -> Frame2<'_> {
    match reply {
        Reply::Simple(text) => Frame2::SimpleString(text.as_bytes()),
        Reply::Error(text) => Frame2::Error(text),
        Reply::Integer(number) => Frame2::Integer(number),
        Reply::Bulk(bytes) => Frame2::BulkString(bytes),
        Reply::Null => Frame2::Null,
        Reply::ArrayOf(_) | Reply::Map(_) => Frame2::Array(&[]),
    }
}

fn frame3(reply: Reply<'_>) -> Frame3<'_> {
    match reply {
        Reply::Simple(text) => Frame3::SimpleString { data: text.as_bytes(), attributes: None },
        Reply::Error(text) => Frame3::SimpleError { data: text, attributes: None },
        Reply::Integer(data) => Frame3::Number { data, attributes: None },
        Reply::Bulk(data) => Frame3::BlobString { data, attributes: None },
        Reply::Null => Frame3::Null,
        Reply::ArrayOf(_) | Reply::Map(_) => Frame3::Array { data: &[], attributes: None },
    }
}
