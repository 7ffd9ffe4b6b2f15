//! The least that must be read of our own client's commands over raw TCP.

use super::bare::{Ask, Publication, server_frame};

/// What a broker says of a publication with one subscriber.
pub const ANSWER: &[u8] = b":1\r\n";

/// Length of the command at the front and what it asks. Outer `None`: unreadable; inner: not whole yet.
pub fn command(bytes: &[u8]) -> Option<Option<(usize, Option<Ask>)>> {
    let Some((count, mut used)) = line(bytes, b'*')? else { return Some(None) };
    let mut arguments = [&b""[..]; 3];
    for argument in arguments.get_mut(..count)? {
        let Some(rest) = bytes.get(used..) else { return Some(None) };
        let Some((length, head)) = line(rest, b'$')? else { return Some(None) };
        let Some(text) = rest.get(head..head + length) else { return Some(None) };
        *argument = text;
        used += head + length + 2;
    }
    if used > bytes.len() {
        return Some(None);
    }
    let [b"PUBLISH", name, data] = arguments else { return Some(Some((used, None))) };
    let channel = number(name.strip_prefix(b"lt-")?)?;
    let text = [b"{\"push\":{\"channel\":\"", name, b"\",\"pub\":{\"data\":", data, b"}}}"].concat();
    let publication = Publication { channel: channel as u32, frame: server_frame(&text) };
    Some(Some((used, Some(Ask::Publish(publication)))))
}

/// The number in the line at the front, and the line's length.
fn line(bytes: &[u8], kind: u8) -> Option<Option<(usize, usize)>> {
    let Some(end) = bytes.iter().take(16).position(|&byte| byte == b'\n') else {
        return (bytes.len() < 16).then_some(None);
    };
    let digits = bytes[..end].strip_prefix(&[kind])?.strip_suffix(b"\r")?;
    Some(Some((number(digits)?, end + 1)))
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
