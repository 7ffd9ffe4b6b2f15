//! Just enough RESP: `AUTH`, `PUBLISH`, and their replies.

use crate::message::payload;

/// A reply longer than this is not one of ours.
const REPLY_BYTES_MAX: usize = 512;

/// Writes publishes; everything that does not change is formatted once.
pub struct PublishCommands {
    greeting: Vec<u8>,
    /// Between the channel and the payload.
    length: Vec<u8>,
    payload_bytes: usize,
}

impl PublishCommands {
    pub fn new(api_key: &str, payload_bytes: usize) -> PublishCommands {
        let greeting = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{api_key}\r\n", api_key.len()).into_bytes();
        let length = format!("\r\n${payload_bytes}\r\n").into_bytes();
        PublishCommands { greeting, length, payload_bytes }
    }

    pub fn greeting(&self) -> Vec<u8> {
        self.greeting.clone()
    }

    /// Appends one command.
    pub fn append(&self, channel: &str, sequence: u64, intended_ns: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n$");
        out.extend_from_slice(channel.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(channel.as_bytes());
        out.extend_from_slice(&self.length);
        payload(sequence, intended_ns, self.payload_bytes, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Counts integer replies in a byte stream cut anywhere. The reply to the greeting does not count.
#[derive(Debug, Default)]
pub struct ReplyReader {
    carry: Vec<u8>,
}

impl ReplyReader {
    /// Number of whole integer replies in `bytes` and what was carried over. Errors: the first reply that refuses.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<u64, String> {
        self.carry.extend_from_slice(bytes);
        let (mut at, mut count) = (0, 0);
        while let Some(length) = self.carry[at..].iter().position(|&byte| byte == b'\n') {
            let line = &self.carry[at..at + length];
            match line.first() {
                Some(b':') => count += 1,
                Some(b'+') => {}
                _ => return Err(String::from_utf8_lossy(line).into_owned()),
            }
            at += length + 1;
        }
        self.carry.drain(..at);
        match self.carry.len() > REPLY_BYTES_MAX {
            true => Err("an endless reply".to_owned()),
            false => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_cut_anywhere_are_counted_once() {
        let stream = b"+OK\r\n:0\r\n:17\r\n:1\r\n";
        for cut in 0..=stream.len() {
            let mut reader = ReplyReader::default();
            let first = reader.feed(&stream[..cut]).expect("no refusal");
            let second = reader.feed(&stream[cut..]).expect("no refusal");
            assert_eq!(first + second, 3, "cut at {cut}");
            assert!(reader.carry.is_empty());
        }
    }

    #[test]
    fn refusals_are_shown() {
        let refused = ReplyReader::default().feed(b":1\r\n-NOAUTH Authentication required.\r\n");
        assert_eq!(refused, Err("-NOAUTH Authentication required.\r".to_owned()));
        assert!(ReplyReader::default().feed(&[b'x'; 600]).is_err());
    }
}
