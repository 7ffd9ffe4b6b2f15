//! What travels inside the frames: commands to the broker, its replies and publications, and our payload.

use std::fmt::Write;

use crate::frames::client_frame;

/// Shortest payload that holds the sequence number and the intended time.
pub const PAYLOAD_BYTES_MIN: usize = 54;

/// A payload begins with this; the sequence number follows as 16 hex digits.
const MARK: &[u8] = br#"{"n":""#;
const BETWEEN: &[u8] = br#"","t":""#;
const TIME_AT: usize = MARK.len() + 16 + BETWEEN.len();

/// Channels are named by their number: all names are of one length, so a publication's payload is always at the same
/// place.
const CHANNEL_MARK: &[u8] = br#""channel":"lt-"#;
const CHANNEL_DIGITS: usize = 7;

/// `lt-0000012`
pub fn channel_name(number: u32) -> String {
    format!("lt-{number:07}")
}

/// Appends a payload of exactly `bytes` (at least [`PAYLOAD_BYTES_MIN`]) of JSON.
pub fn payload(sequence: u64, intended_ns: u64, bytes: usize, out: &mut Vec<u8>) {
    assert!(bytes >= PAYLOAD_BYTES_MIN, "a payload of {bytes} bytes");
    let end = out.len() + bytes;
    out.extend_from_slice(MARK);
    hex(sequence, out);
    out.extend_from_slice(BETWEEN);
    hex(intended_ns, out);
    out.extend_from_slice(br#"","p":""#);
    out.resize(end - 2, b'x');
    out.extend_from_slice(br#""}"#);
}

/// One line of a text frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Publication {
        channel: u32,
        sequence: u64,
        intended_ns: u64,
    },
    Ping,
    Connected,
    Subscribed,
    /// The reply to a client's own publish.
    Replied {
        id: u32,
    },
    /// An error reply, a push that ends a subscription or the connection, or a publication of a foreign channel.
    Refused(String),
    /// Joins, leaves and whatever else concerns no measurement.
    Other,
}

/// Reads lines; remembers where in a publication channel and payload begin, because one server writes all alike.
#[derive(Debug, Default)]
pub struct MessageReader {
    channel_at: usize,
    payload_at: usize,
    line_bytes: usize,
}

impl MessageReader {
    /// Calls `each` with every line of a text frame.
    pub fn read(&mut self, text: &[u8], mut each: impl FnMut(Message)) {
        // Searching a long line for newlines would cost more than reading it.
        if text.len() == self.line_bytes
            && let Some(publication) = self.publication(text)
        {
            return each(publication);
        }
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            each(self.line(line));
        }
    }

    fn line(&mut self, line: &[u8]) -> Message {
        if line == b"{}" {
            return Message::Ping;
        }
        if let Some(publication) = self.publication(line) {
            return publication;
        }
        if line.starts_with(br#"{"push":"#)
            && let (Some(channel), Some(payload)) = (find(line, CHANNEL_MARK), find(line, MARK))
        {
            // A line with a newline in it cannot be: it was cut at newlines before.
            let places = (channel + CHANNEL_MARK.len(), payload, line.len());
            (self.channel_at, self.payload_at, self.line_bytes) = places;
            if let Some(publication) = self.publication(line) {
                return publication;
            }
        }
        published(line).unwrap_or_else(|| reply(line))
    }

    /// A publication with channel and payload at the places known.
    fn publication(&self, line: &[u8]) -> Option<Message> {
        let (sequence, intended_ns) = numbers(line.get(self.payload_at..)?)?;
        let digits = line.get(self.channel_at..)?.first_chunk::<CHANNEL_DIGITS>()?;
        Some(Message::Publication { channel: decimal(digits)?, sequence, intended_ns })
    }
}

/// `{"id":7,"publish":{}}`
fn published(line: &[u8]) -> Option<Message> {
    let digits = line.strip_prefix(br#"{"id":"#)?.strip_suffix(br#","publish":{}}"#)?;
    Some(Message::Replied { id: decimal(digits)? })
}

fn decimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

fn reply(line: &[u8]) -> Message {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(line) else {
        return Message::Refused(format!("not JSON: {}", String::from_utf8_lossy(line)));
    };
    let push = &value["push"];
    // A publication that was not understood above is in a channel nobody here has joined.
    let unwanted = ["unsubscribe", "disconnect", "pub"].iter().any(|kind| push.get(kind).is_some());
    if value.get("error").is_some() || unwanted {
        return Message::Refused(value.to_string());
    }
    match (value.get("connect"), value.get("subscribe")) {
        (Some(_), _) => Message::Connected,
        (_, Some(_)) => Message::Subscribed,
        _ => Message::Other,
    }
}

/// The first frame of a connection, with connect and subscribes in it as the SDKs send them.
pub fn first_frame(token: &str, channels: impl IntoIterator<Item = u32>, out: &mut Vec<u8>) {
    let mut text = format!("{{\"connect\":{{\"token\":\"{token}\"}},\"id\":1}}");
    for (channel, id) in channels.into_iter().zip(2..) {
        let name = channel_name(channel);
        let _ = write!(text, "\n{{\"subscribe\":{{\"channel\":\"{name}\"}},\"id\":{id}}}");
    }
    client_frame(1, text.as_bytes(), out);
}

/// A client's own publish. `channel`: as it is; nobody need be in it.
pub fn publish_frame(channel: &str, id: u32, payload_bytes: usize, out: &mut Vec<u8>) {
    let mut text = format!("{{\"publish\":{{\"channel\":\"{channel}\",\"data\":").into_bytes();
    payload(u64::from(id), 0, payload_bytes, &mut text);
    text.extend_from_slice(format!("}},\"id\":{id}}}").as_bytes());
    client_frame(1, &text, out);
}

/// Sequence number and intended time of a payload at the front of `bytes`.
fn numbers(bytes: &[u8]) -> Option<(u64, u64)> {
    let sequence = bytes.strip_prefix(MARK)?.first_chunk::<16>()?;
    let time = bytes.get(TIME_AT..)?.first_chunk::<16>()?;
    Some((unhex(sequence), unhex(time)))
}

fn hex(value: u64, out: &mut Vec<u8>) {
    out.extend((0..16).rev().map(|digit| b"0123456789abcdef"[(value >> (4 * digit)) as usize & 15]));
}

/// The value of 16 lower-case hex digits, eight at a time. Anything else gives some number: a payload the server has changed
/// then shows as a gap, and checking digits would double the cost of reading.
fn unhex(digits: &[u8; 16]) -> u64 {
    let half = |digits: [u8; 8]| {
        let ascii = u64::from_be_bytes(digits);
        // Letters have bit 6 set and count from 1 in their low nibble.
        let letters = (ascii >> 6) & 0x0101_0101_0101_0101;
        let nibbles = (ascii & 0x0f0f_0f0f_0f0f_0f0f) + 9 * letters;
        let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
        let pairs = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
        (pairs | pairs >> 16) & 0xffff_ffff
    };
    let [a, b, c, d, e, f, g, h, rest @ ..] = *digits;
    half([a, b, c, d, e, f, g, h]) << 32 | half(rest)
}

/// Where `needle` begins in `hay`.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(channel: u32, sequence: u64, intended_ns: u64, offset: &str) -> Vec<u8> {
        let mut line = format!(r#"{{"push":{{"channel":"lt-{channel:07}","pub":{{"data":"#).into_bytes();
        payload(sequence, intended_ns, 128, &mut line);
        line.extend_from_slice(format!("{offset}}}}}}}").as_bytes());
        line
    }

    fn read(reader: &mut MessageReader, text: &[u8]) -> Vec<Message> {
        let mut seen = Vec::new();
        reader.read(text, |message| seen.push(message));
        seen
    }

    #[test]
    fn a_payload_is_json_of_the_asked_length() {
        for bytes in [PAYLOAD_BYTES_MIN, 55, 128, 4096] {
            let mut out = b"kept".to_vec();
            payload(7, u64::MAX, bytes, &mut out);
            assert_eq!(out.len(), 4 + bytes);
            let value: serde_json::Value = serde_json::from_slice(&out[4..]).expect("JSON");
            assert_eq!(value["n"], "0000000000000007");
            assert_eq!(value["t"], "ffffffffffffffff");
        }
    }

    #[test]
    fn hex_comes_back() {
        for value in [0, 1, 9, 10, 15, 16, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            let mut digits = Vec::new();
            hex(value, &mut digits);
            assert_eq!(digits, format!("{value:016x}").into_bytes());
            assert_eq!(unhex(digits.first_chunk().expect("16 digits")), value);
        }
    }

    #[test]
    fn lines_are_told_apart() {
        let long = publication(12, 3, 99, "");
        let with_offset = publication(12, 4, 100, r#","offset":17"#);
        let foreign = r#"{"push":{"channel":"lt-x","pub":{"data":{}}}}"#.to_owned();
        let table: [(&str, Vec<u8>, Vec<Message>); 9] = [
            ("ping", b"{}".to_vec(), vec![Message::Ping]),
            (
                "both replies in one frame",
                b"{\"id\":1,\"connect\":{\"client\":\"x\",\"ping\":25}}\n{\"id\":2,\"subscribe\":{}}\n"
                    .to_vec(),
                vec![Message::Connected, Message::Subscribed],
            ),
            (
                "one publication",
                long.clone(),
                vec![Message::Publication { channel: 12, sequence: 3, intended_ns: 99 }],
            ),
            (
                "two publications, the second longer",
                [&long[..], &with_offset].join(&b'\n'),
                vec![
                    Message::Publication { channel: 12, sequence: 3, intended_ns: 99 },
                    Message::Publication { channel: 12, sequence: 4, intended_ns: 100 },
                ],
            ),
            ("join", br#"{"push":{"channel":"a","join":{"info":{}}}}"#.to_vec(), vec![Message::Other]),
            (
                "error",
                br#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#.to_vec(),
                vec![Message::Refused(
                    r#"{"error":{"code":103,"message":"permission denied"},"id":2}"#.to_owned(),
                )],
            ),
            (
                "replies to publishes",
                b"{\"id\":7,\"publish\":{}}\n{\"id\":4294967295,\"publish\":{}}".to_vec(),
                vec![Message::Replied { id: 7 }, Message::Replied { id: u32::MAX }],
            ),
            (
                "a channel that is not ours",
                br#"{"push":{"channel":"lt-x","pub":{"data":{}}}}"#.to_vec(),
                vec![Message::Refused(foreign)],
            ),
            ("not JSON", b"<html>".to_vec(), vec![Message::Refused("not JSON: <html>".to_owned())]),
        ];
        // The second reader has seen publications already, so its fast path is on.
        let mut warm = MessageReader::default();
        let _ = read(&mut warm, &publication(12, 0, 0, ""));
        for (name, text, want) in table {
            assert_eq!(read(&mut MessageReader::default(), &text), want, "{name}");
            assert_eq!(read(&mut warm, &text), want, "{name}, warm");
        }
    }

    #[test]
    fn replies_together_as_long_as_a_publication_are_still_replies() {
        let mut reader = MessageReader::default();
        let line = publication(0, 0, 0, "");
        let _ = read(&mut reader, &line);
        let mut text = b"{\"id\":2,\"subscribe\":{}}\n{}\n{\"id\":9,\"x\":\"".to_vec();
        text.resize(line.len() - 2, b'x');
        text.extend_from_slice(b"\"}");
        assert_eq!(read(&mut reader, &text), [Message::Subscribed, Message::Ping, Message::Other]);
    }

    #[test]
    fn the_first_frame_is_what_an_sdk_sends() {
        let mut out = Vec::new();
        first_frame("T", [7, 12], &mut out);
        let (key, masked) = out[2..].split_at(4);
        let plain: Vec<u8> = masked.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
        assert_eq!(
            String::from_utf8(plain).expect("UTF-8"),
            "{\"connect\":{\"token\":\"T\"},\"id\":1}\n{\"subscribe\":{\"channel\":\"lt-0000007\"},\"id\":2}\n\
             {\"subscribe\":{\"channel\":\"lt-0000012\"},\"id\":3}"
        );
    }
}
