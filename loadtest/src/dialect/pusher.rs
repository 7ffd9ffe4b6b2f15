//! Pusher Channels, protocol 7: one message per frame, a greeting with a socket id, and private channels, so that each
//! subscription costs the server a signature as each connection of the other dialect costs it a token.

use std::fmt::Write;

use serde_json::Value;

use crate::frames::client_frame;
use crate::message::{Message, PublicationReader, Shape, channel_name};
use crate::token::Mint;

pub const PONG: &[u8] = br#"{"event":"pusher:pong","data":{}}"#;

/// What is published reaches clients as text.
const QUOTED: Shape =
    Shape { channel: br#""channel":"private-lt-"#, sequence: br#"{\"n\":\""#, time: br#"\",\"t\":\""# };

pub fn path(app_key: &str) -> String {
    format!("/app/{app_key}?protocol=7&client=js&version=8.4.0&flash=false")
}

/// `private-lt-0000012`
pub fn private_channel(number: u32) -> String {
    format!("private-{}", channel_name(number))
}

/// One message to join each of `channels`, as the SDKs send them once they know their socket id.
pub fn subscribe_frames(
    mint: &Mint,
    socket_id: &str,
    channels: impl IntoIterator<Item = u32>,
    out: &mut Vec<u8>,
) {
    let mut text = String::new();
    for channel in channels {
        let name = private_channel(channel);
        let auth = mint.signed(&format!("{socket_id}:{name}"));
        text.clear();
        let _ = write!(
            text,
            "{{\"event\":\"pusher:subscribe\",\"data\":{{\"auth\":\"{auth}\",\"channel\":\"{name}\"}}}}"
        );
        client_frame(1, text.as_bytes(), out);
    }
}

#[derive(Debug)]
pub struct Reader {
    publications: PublicationReader,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader { publications: PublicationReader::new(QUOTED) }
    }
}

impl Reader {
    /// One message of a text frame.
    pub fn read(&mut self, text: &[u8]) -> Message {
        if self.publications.expects(text)
            && let Some(publication) = self.publications.known(text)
        {
            return publication;
        }
        // The server's own messages are the only ones whose names begin so.
        if text.starts_with(br#"{"event":"pusher"#) {
            return own(text);
        }
        let publication = self.publications.searched(text);
        publication.unwrap_or_else(|| Message::Refused(String::from_utf8_lossy(text).into_owned()))
    }
}

/// A message of the server's own.
fn own(text: &[u8]) -> Message {
    let shown = || String::from_utf8_lossy(text).into_owned();
    let Ok(message) = serde_json::from_slice::<Value>(text) else { return Message::Refused(shown()) };
    match message["event"].as_str().unwrap_or_default() {
        "pusher:ping" => Message::Ping,
        "pusher:connection_established" => {
            let data = message["data"].as_str().and_then(|data| serde_json::from_str::<Value>(data).ok());
            match data.as_ref().and_then(|data| data["socket_id"].as_str()) {
                Some(name) => Message::Connected { name: name.to_owned() },
                None => Message::Refused(shown()),
            }
        }
        "pusher_internal:subscription_succeeded" => Message::Subscribed,
        "pusher:error" | "pusher:subscription_error" => Message::Refused(shown()),
        _ => Message::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::payload;

    fn publication(channel: u32, sequence: u64, intended_ns: u64, more: &str) -> Vec<u8> {
        let mut data = Vec::new();
        payload(sequence, intended_ns, 128, &mut data);
        let data = Value::String(String::from_utf8(data).expect("JSON"));
        let channel = private_channel(channel);
        format!(r#"{{"event":"message","channel":"{channel}","data":{data}{more}}}"#).into_bytes()
    }

    #[test]
    fn messages_are_told_apart() {
        let heard = |channel, sequence, intended_ns| Message::Publication { channel, sequence, intended_ns };
        let refused = |text: &str| Message::Refused(text.to_owned());
        let error = r#"{"event":"pusher:error","data":{"code":4200,"message":"restart"}}"#;
        let denied = r#"{"event":"pusher:subscription_error","channel":"private-a","data":"{}"}"#;
        let foreign = r#"{"event":"message","channel":"chat","data":"{}"}"#;
        let table: [(&str, Vec<u8>, Message); 10] = [
            ("one publication", publication(12, 3, 99, ""), heard(12, 3, 99)),
            ("a longer one", publication(7, u64::MAX, 1, r#","user_id":"1""#), heard(7, u64::MAX, 1)),
            (
                "the greeting",
                br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"12.34\",\"activity_timeout\":120}"}"#.to_vec(),
                Message::Connected { name: "12.34".to_owned() },
            ),
            (
                "a confirmation",
                br#"{"event":"pusher_internal:subscription_succeeded","channel":"private-lt-0000001","data":"{}"}"#.to_vec(),
                Message::Subscribed,
            ),
            ("ping", br#"{"event":"pusher:ping","data":"{}"}"#.to_vec(), Message::Ping),
            ("pong", br#"{"event":"pusher:pong","data":"{}"}"#.to_vec(), Message::Other),
            ("error", error.into(), refused(error)),
            ("a channel that is not granted", denied.into(), refused(denied)),
            ("a channel that is not ours", foreign.into(), refused(foreign)),
            ("not JSON", b"<html>".to_vec(), refused("<html>")),
        ];
        // The second reader has seen publications already, so its fast path is on.
        let mut warm = Reader::default();
        let _ = warm.read(&publication(12, 0, 0, ""));
        for (name, text, want) in table {
            assert_eq!(Reader::default().read(&text), want, "{name}");
            assert_eq!(warm.read(&text), want, "{name}, warm");
        }
    }

    #[test]
    fn a_subscribe_is_signed_as_the_published_example() {
        let mint = Mint::new("7ad3773142a6692b25b8", "278d425bdf160c739803", 0);
        let want = "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4";
        assert_eq!(mint.signed("1234.1234:private-foobar"), want);
        let mut out = Vec::new();
        subscribe_frames(&mint, "1.2", [7, 12], &mut out);
        // Both are longer than 125 bytes.
        let length = usize::from(u16::from_be_bytes([out[2], out[3]]));
        assert_eq!(out.len(), 2 * (8 + length));
        let (key, masked) = out[4..8 + length].split_at(4);
        let plain: Vec<u8> = masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        let message: Value = serde_json::from_slice(&plain).expect("JSON");
        assert_eq!(message["event"], "pusher:subscribe");
        assert_eq!(message["data"]["channel"], "private-lt-0000007");
        assert_eq!(message["data"]["auth"], mint.signed("1.2:private-lt-0000007"));
    }
}
