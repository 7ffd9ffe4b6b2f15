//! Centrifuge, of the current generation, in JSON: commands and replies in lines, a token for the whole connection.

use std::fmt::Write;

use crate::frames::client_frame;
use crate::message::{Message, PLAIN, PublicationReader, channel_name, decimal, payload};

pub const PATH: &str = "/connection/websocket";
pub const PONG: &[u8] = b"{}";

/// Reads lines.
#[derive(Debug)]
pub struct Reader {
    publications: PublicationReader,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader { publications: PublicationReader::new(PLAIN) }
    }
}

impl Reader {
    /// Calls `each` with every line of a text frame.
    pub fn read(&mut self, text: &[u8], mut each: impl FnMut(Message)) {
        // Searching a long line for newlines would cost more than reading it.
        if self.publications.expects(text)
            && let Some(publication) = self.publications.known(text)
        {
            return each(publication);
        }
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            each(self.line(line));
        }
    }

    fn line(&mut self, line: &[u8]) -> Message {
        if line == PONG {
            return Message::Ping;
        }
        if let Some(publication) = self.publications.known(line) {
            return publication;
        }
        // A line with a newline in it cannot be: it was cut at newlines before.
        if line.starts_with(br#"{"push":"#)
            && let Some(publication) = self.publications.searched(line)
        {
            return publication;
        }
        published(line).unwrap_or_else(|| reply(line))
    }
}

/// `{"id":7,"publish":{}}`
fn published(line: &[u8]) -> Option<Message> {
    let digits = line.strip_prefix(br#"{"id":"#)?.strip_suffix(br#","publish":{}}"#)?;
    Some(Message::Replied { id: decimal(digits)? })
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
        (Some(_), _) => Message::Connected { name: String::new() },
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

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(channel: u32, sequence: u64, intended_ns: u64, offset: &str) -> Vec<u8> {
        let mut line = format!(r#"{{"push":{{"channel":"lt-{channel:07}","pub":{{"data":"#).into_bytes();
        payload(sequence, intended_ns, 128, &mut line);
        line.extend_from_slice(format!("{offset}}}}}}}").as_bytes());
        line
    }

    fn read(reader: &mut Reader, text: &[u8]) -> Vec<Message> {
        let mut seen = Vec::new();
        reader.read(text, |message| seen.push(message));
        seen
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
                vec![Message::Connected { name: String::new() }, Message::Subscribed],
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
        let mut warm = Reader::default();
        let _ = read(&mut warm, &publication(12, 0, 0, ""));
        for (name, text, want) in table {
            assert_eq!(read(&mut Reader::default(), &text), want, "{name}");
            assert_eq!(read(&mut warm, &text), want, "{name}, warm");
        }
    }

    #[test]
    fn replies_together_as_long_as_a_publication_are_still_replies() {
        let mut reader = Reader::default();
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
