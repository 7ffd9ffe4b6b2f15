//! Just enough HTTP/1.1: the upgrade, pipelined publishes over keep-alive, and their answers.

use crate::message::{find, payload};

/// Key and answer of RFC 6455 section 1.3. A constant key is allowed and saves a SHA-1 per connection.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Longest header block believed.
const HEADER_BYTES_MAX: usize = 16 * 1024;

pub fn upgrade_request(host: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nOrigin: http://{host}\r\n\r\n"
    )
    .into_bytes()
}

/// Where the upgrade's answer ends. `None`: more bytes are needed. Errors: the answer, if it is no upgrade.
pub fn upgraded(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEADER_BYTES_MAX { Err("endless header".to_owned()) } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    if !head.starts_with("HTTP/1.1 101 ") || !head.contains(ACCEPT) {
        return Err(String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned());
    }
    Ok(Some(end + 4))
}

/// Writes publishes; everything that does not change is formatted once.
pub struct PublishRequests {
    head: Vec<u8>,
    payload_bytes: usize,
}

impl PublishRequests {
    pub fn new(host: &str, api_key: &str, payload_bytes: usize) -> PublishRequests {
        let head = format!(
            "POST /api/publish HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {api_key}\r\n\
             Content-Type: application/json\r\nContent-Length: "
        );
        PublishRequests { head: head.into_bytes(), payload_bytes }
    }

    /// Appends one request.
    pub fn append(&self, channel: &str, sequence: u64, intended_ns: u64, out: &mut Vec<u8>) {
        const PARTS: [&[u8]; 3] = [br#"{"channel":""#, br#"","data":"#, b"}"];
        let parts_bytes: usize = PARTS.iter().map(|part| part.len()).sum();
        let length = parts_bytes + channel.len() + self.payload_bytes;
        out.extend_from_slice(&self.head);
        out.extend_from_slice(length.to_string().as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(PARTS[0]);
        out.extend_from_slice(channel.as_bytes());
        out.extend_from_slice(PARTS[1]);
        payload(sequence, intended_ns, self.payload_bytes, out);
        out.extend_from_slice(PARTS[2]);
    }
}

/// Counts answers in a byte stream cut anywhere.
#[derive(Debug, Default)]
pub struct AnswerReader {
    carry: Vec<u8>,
}

impl AnswerReader {
    /// Number of whole answers in `bytes` and what was carried over. Errors: the first answer that refuses.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<u64, String> {
        self.carry.extend_from_slice(bytes);
        let mut at = 0;
        let mut count = 0;
        while let Some(end) = answer(&self.carry[at..])? {
            at += end;
            count += 1;
        }
        self.carry.drain(..at);
        Ok(count)
    }
}

/// Where the answer at the front of `bytes` ends, if it is there whole and says yes.
fn answer(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(head_end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = &bytes[..head_end];
    let length = content_length(head).ok_or_else(|| shown(bytes))?;
    let body_start = head_end + 4;
    let Some(body) = bytes.get(body_start..body_start + length) else { return Ok(None) };
    if !head.starts_with(b"HTTP/1.1 200") || find(body, br#""error""#).is_some() {
        return Err(shown(bytes));
    }
    Ok(Some(body_start + length))
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|&byte| byte == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    let length: usize = std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()?;
    (length <= 1 << 20).then_some(length)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_cut_anywhere_are_counted_once() {
        let one =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"result\":{}}";
        let other = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let stream = format!("{one}{other}{one}");
        let bytes = stream.as_bytes();
        for cut in 0..=bytes.len() {
            let mut reader = AnswerReader::default();
            let first = reader.feed(&bytes[..cut]).expect("answers say yes");
            let second = reader.feed(&bytes[cut..]).expect("answers say yes");
            assert_eq!(first + second, 3, "cut at {cut}");
            assert!(reader.carry.is_empty());
        }
    }

    #[test]
    fn refusals_are_shown() {
        for refusal in [
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n{\"error\":{\"code\":102,\"message\":\"unknown\"}}  ",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            let error = AnswerReader::default().feed(refusal.as_bytes()).expect_err(refusal);
            assert!(error.starts_with("HTTP/1.1 "), "{error}");
        }
    }

    #[test]
    fn a_request_states_its_length() {
        let mut out = Vec::new();
        PublishRequests::new("h", "k", 128).append("fan-000000", 5, 6, &mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        assert!(head.contains("X-API-Key: k"), "{head}");
        assert_eq!(content_length(head.as_bytes()), Some(body.len()));
        let value: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(value["channel"], "fan-000000");
        assert_eq!(value["data"]["n"], "0000000000000005");
    }

    #[test]
    fn an_upgrade_is_told_from_its_refusal() {
        let yes = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n\u{1}");
        assert_eq!(upgraded(yes.as_bytes()), Ok(Some(yes.len() - 1)));
        assert_eq!(upgraded(&yes.as_bytes()[..20]), Ok(None));
        assert!(upgraded(b"HTTP/1.1 403 Forbidden\r\n\r\n").is_err());
        let wrong_key = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n";
        assert!(upgraded(wrong_key.as_bytes()).is_err());
    }
}
