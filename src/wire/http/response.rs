//! Responses, whole: status line, headers, body.

use tungstenite::http::StatusCode;

use super::error::HttpError;
use crate::wire::json::append_u64;

/// Appends a whole response. `content_type` empty: no such header. No `Date`: the origin has no use for it here.
///
/// Control bytes in header values become spaces, so that nothing taken from a request can begin a new header.
/// Status 204 and 304 carry no body, and neither `Content-Length`.
pub fn append_response(
    status: u16,
    content_type: &str,
    extra_headers: &[(&str, &str)],
    body: &[u8],
    keep_alive: bool,
    out: &mut Vec<u8>,
) {
    out.reserve(256 + body.len());
    append_response_head(status, content_type, extra_headers, body.len(), keep_alive, out);
    if may_have_body(status) {
        out.extend_from_slice(body);
    }
}

/// Appends a response without its body of `content_bytes`: the answer to HEAD, or a body that follows.
pub fn append_response_head(
    status: u16,
    content_type: &str,
    extra_headers: &[(&str, &str)],
    content_bytes: usize,
    keep_alive: bool,
    out: &mut Vec<u8>,
) {
    append_status_line(status, out);
    if may_have_body(status) {
        if !content_type.is_empty() {
            append_header("Content-Type", content_type, out);
        }
        out.extend_from_slice(b"Content-Length: ");
        append_u64(content_bytes as u64, out);
        out.extend_from_slice(b"\r\n");
    }
    if !keep_alive {
        append_header("Connection", "close", out);
    }
    for (name, value) in extra_headers {
        append_header(name, value, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the answer to a refused request: its status and text, and the end of the connection.
pub fn append_error_response(error: &HttpError, out: &mut Vec<u8>) {
    let text = format!("{error}\n");
    append_response(
        error.status(),
        "text/plain; charset=utf-8",
        error.headers(),
        text.as_bytes(),
        false,
        out,
    );
}

/// The interim answer to `Expect: 100-continue`.
pub fn append_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

pub(in crate::wire) fn append_status_line(status: u16, out: &mut Vec<u8>) {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    out.extend_from_slice(b"HTTP/1.1 ");
    append_u64(status.into(), out);
    out.push(b' ');
    out.extend_from_slice(reason.unwrap_or("").as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(in crate::wire) fn append_header(name: &str, value: &str, out: &mut Vec<u8>) {
    let clean = |byte: u8| if byte < b' ' || byte == 0x7f { b' ' } else { byte };
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().map(clean));
    out.extend_from_slice(b"\r\n");
}

fn may_have_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}
