//! The WebSocket upgrade (RFC 6455 section 4.2): judges the request, writes the 101.
//!
//! Origin, route and subprotocol are the caller's decisions, between [`judge`] and [`Upgrade::append_response`].

use std::borrow::Cow;

use data_encoding::BASE64;
use tungstenite::handshake::derive_accept_key;

use super::http::{Body, Head, HttpError, Version, append_header, append_status_line};

/// A request that may become a WebSocket connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade<'a> {
    key: &'a str,
    /// What the browser says about the page; `None`: a native client. See [`super::origin::origin_allowed`].
    pub origin: Option<&'a str>,
    /// Offered subprotocols in order, comma-separated as received; empty if there are none.
    pub subprotocols: Cow<'a, str>,
}

/// Whether the request asks for a WebSocket at all; a plain request to the same path is answered otherwise.
pub fn is_upgrade(head: &Head<'_>) -> bool {
    head.has_token("upgrade", "websocket")
}

/// Judges an upgrade request. No allocation, unless `Sec-WebSocket-Protocol` is repeated.
///
/// Errors: `MethodNotAllowed`, `WebSocketVersion`, `Upgrade` naming what is missing, `Header`.
pub fn judge<'a>(head: &Head<'a>) -> Result<Upgrade<'a>, HttpError> {
    if head.method != "GET" {
        return Err(HttpError::MethodNotAllowed { allow: "GET" });
    }
    let demand = |met: bool, missing: &'static str| met.then_some(()).ok_or(HttpError::Upgrade { missing });
    demand(head.version == Version::Http11, "HTTP/1.1")?;
    demand(is_upgrade(head), "header Upgrade: websocket")?;
    demand(head.has_token("connection", "upgrade"), "header Connection: Upgrade")?;
    // A body would be indistinguishable from the first frames.
    demand(head.body == Body::None, "no body")?;
    if head.single("sec-websocket-version")? != Some("13") {
        return Err(HttpError::WebSocketVersion);
    }
    let missing = "one Sec-WebSocket-Key of 16 bytes in base64";
    let key = head.single("sec-websocket-key").ok().flatten().filter(|key| is_key(key));
    let key = key.ok_or(HttpError::Upgrade { missing })?;
    Ok(Upgrade { key, origin: head.single("origin")?, subprotocols: subprotocols(head)? })
}

impl Upgrade<'_> {
    /// Whether the client offers `name`. Subprotocol names are case-sensitive.
    pub fn offers(&self, name: &str) -> bool {
        self.subprotocols.split(',').any(|offered| offered.trim_ascii() == name)
    }

    /// Appends the 101. `subprotocol`: the chosen one of those offered, if any.
    pub fn append_response(&self, subprotocol: Option<&str>, out: &mut Vec<u8>) {
        append_status_line(101, out);
        append_header("Upgrade", "websocket", out);
        append_header("Connection", "Upgrade", out);
        append_header("Sec-WebSocket-Accept", &derive_accept_key(self.key.as_bytes()), out);
        if let Some(subprotocol) = subprotocol {
            append_header("Sec-WebSocket-Protocol", subprotocol, out);
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn is_key(key: &str) -> bool {
    // 24 characters stand for up to 18 bytes, by their padding.
    let mut nonce = [0; 18];
    key.len() == 24 && BASE64.decode_mut(key.as_bytes(), &mut nonce) == Ok(16)
}

/// The values of all `Sec-WebSocket-Protocol` headers as one list.
fn subprotocols<'a>(head: &Head<'a>) -> Result<Cow<'a, str>, HttpError> {
    let mut list = Cow::Borrowed("");
    for value in head.values("sec-websocket-protocol") {
        let value = std::str::from_utf8(value).map_err(|_| HttpError::Header)?;
        if list.is_empty() {
            list = Cow::Borrowed(value);
        } else {
            list.to_mut().push_str(", ");
            list.to_mut().push_str(value);
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::super::http::{HeadReader, HttpLimits, append_error_response, parse_head};
    use super::*;

    const GOOD: [&str; 6] = [
        "GET /connection/websocket HTTP/1.1",
        "Host: example.com",
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ];

    /// [`GOOD`] with the lines beginning like `line` replaced by it; several lines by LF; "-X" removes.
    fn request(line: &str) -> String {
        let name = line.trim_start_matches('-').split([':', ' ']).next().expect("one part");
        let mut lines: Vec<&str> = GOOD.to_vec();
        match lines.iter().position(|good| good.starts_with(name)) {
            Some(index) if line.starts_with('-') => drop(lines.remove(index)),
            Some(index) => lines[index] = line,
            None => lines.push(line),
        }
        format!("{}\r\n\r\n", lines.join("\n").replace('\n', "\r\n"))
    }

    fn judged(request: &str) -> Result<(Option<String>, String), u16> {
        let head = parse_head(request.as_bytes(), &HttpLimits::default()).map_err(|error| error.status())?;
        let upgrade = judge(&head.expect("whole")).map_err(|error| error.status())?;
        Ok((upgrade.origin.map(str::to_owned), upgrade.subprotocols.into_owned()))
    }

    #[test]
    fn requests() {
        let plain = Ok((None, String::new()));
        let offers = |list: &str| Ok((None, list.to_owned()));
        let rows = [
            ("good", "Host: example.com", plain.clone()),
            ("names and tokens in any case", "Upgrade: WebSocket", plain.clone()),
            ("one of several tokens", "Connection: upgrade", plain.clone()),
            ("several upgrades", "Upgrade: h2c, websocket", plain.clone()),
            ("origin", "Origin: https://a.b", Ok((Some("https://a.b".to_owned()), String::new()))),
            ("subprotocols", "Sec-WebSocket-Protocol: a, b", offers("a, b")),
            ("twice", "Sec-WebSocket-Protocol: a\nSec-WebSocket-Protocol: b", offers("a, b")),
            ("T5.4 POST", "GET-POST", Err(405)),
            ("T5.4 HTTP/1.0", "GET / HTTP/1.0", Err(400)),
            ("T5.4 no Upgrade", "-Upgrade", Err(400)),
            ("T5.4 other Upgrade", "Upgrade: h2c", Err(400)),
            ("T5.4 Upgrade within a word", "Upgrade: xwebsocket", Err(400)),
            ("T5.4 no Connection", "-Connection", Err(400)),
            ("T5.4 Connection without token", "Connection: keep-alive", Err(400)),
            ("T5.4 with a body", "Content-Length: 5", Err(400)),
            ("T5.5 no key", "-Sec-WebSocket-Key", Err(400)),
            ("T5.5 empty key", "Sec-WebSocket-Key:", Err(400)),
            ("T5.5 15 bytes", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA", Err(400)),
            ("T5.5 17 bytes", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA=", Err(400)),
            ("T5.5 18 bytes", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA", Err(400)),
            ("T5.5 unused bits set", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==", Err(400)),
            ("T5.5 not base64", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=!", Err(400)),
            ("T5.5 without padding", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", Err(400)),
            (
                "T5.5 twice",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                Err(400),
            ),
            ("T5.6 no version", "-Sec-WebSocket-Version", Err(426)),
            ("T5.6 version 8", "Sec-WebSocket-Version: 8", Err(426)),
            ("T5.6 versions", "Sec-WebSocket-Version: 13, 8", Err(426)),
            ("T5.8 NUL in a subprotocol", "Sec-WebSocket-Protocol: a\0b", Err(400)),
            ("two origins", "Origin: https://a\nOrigin: https://b", Err(400)),
        ];
        for (name, line, want) in rows {
            let request = match line {
                "GET-POST" => request("Host: a").replacen("GET", "POST", 1),
                line => request(line),
            };
            assert_eq!(judged(&request), want, "{name}");
        }
    }

    #[test]
    fn t5_6_the_version_is_named_in_the_answer() {
        let mut out = Vec::new();
        append_error_response(&HttpError::WebSocketVersion, &mut out);
        let text = String::from_utf8_lossy(&out);
        assert!(text.starts_with("HTTP/1.1 426 ") && text.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    }

    #[test]
    fn t5_7_ten_thousand_separators_are_over_no_limit_but_the_heads() {
        for list in [" ".repeat(10_000), ",".repeat(10_000), ", ".repeat(5_000)] {
            let text = request(&format!("Sec-WebSocket-Protocol: {list}a"));
            let head = parse_head(text.as_bytes(), &HttpLimits::default()).expect("valid").expect("whole");
            let upgrade = judge(&head).expect("an upgrade");
            assert!(upgrade.offers("a") && !upgrade.offers("b"));
            assert_eq!(head.list("sec-websocket-protocol").count(), 1);
        }
        let text = request(&format!("Sec-WebSocket-Protocol: {}", ",".repeat(20_000)));
        let taken = HeadReader::default().take(text.as_bytes(), &HttpLimits::default());
        assert_eq!(taken.map_err(|error| error.status()), Err(431));
    }

    #[test]
    fn the_response() {
        let text = request("Sec-WebSocket-Protocol: centrifuge-json, other");
        let head = parse_head(text.as_bytes(), &HttpLimits::default()).expect("valid").expect("whole");
        let upgrade = judge(&head).expect("an upgrade");
        assert!(upgrade.offers("other") && !upgrade.offers("Other") && !upgrade.offers(""));
        let mut out = Vec::new();
        upgrade.append_response(Some("other"), &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: other\r\n\r\n"
        );
    }

    #[test]
    fn t5_11_what_follows_the_head_is_the_first_frame() {
        let mut stream = request("Host: a").into_bytes();
        let head_bytes = stream.len();
        stream.extend([0x89, 0x80, 1, 2, 3, 4]);
        let taken =
            HeadReader::default().take(&stream, &HttpLimits::default()).expect("valid").expect("whole");
        assert_eq!(taken.used_bytes, head_bytes);
    }
}
