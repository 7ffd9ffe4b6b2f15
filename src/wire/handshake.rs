//! The WebSocket upgrade (RFC 6455 section 4.2): judges the request, writes the 101.
//!
//! Origin, route and subprotocol are the caller's decisions, between [`judge`] and [`Upgrade::append_response`].

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
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
    let mut nonce = [0; 16];
    Base64::decode(key, &mut nonce).is_ok_and(|nonce| nonce.len() == 16)
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
