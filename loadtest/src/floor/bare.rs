//! The least a server must read and write for our own client; shared by all senders.

use super::resp;
use crate::http::ACCEPT;
use crate::message::find;

/// What a peer asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    Upgrade,
    Subscribe {
        channel: u32,
    },
    /// A client's own publish, to a channel nobody is in.
    Request {
        id: u32,
    },
    Publish(Publication),
}

/// A frame ready for every subscriber of `channel`.
#[derive(Debug, PartialEq, Eq)]
pub struct Publication {
    pub channel: u32,
    pub frame: Vec<u8>,
}

pub fn upgrade_reply() -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
    .into_bytes()
}

pub fn subscribed_reply() -> Vec<u8> {
    server_frame(b"{\"id\":1,\"connect\":{\"client\":\"floor\"}}\n{\"id\":2,\"subscribe\":{}}")
}

pub fn request_reply(id: u32) -> Vec<u8> {
    server_frame(format!("{{\"id\":{id},\"publish\":{{}}}}").as_bytes())
}

pub const PUBLISH_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"result\":{}}";

/// One connection's unread bytes.
#[derive(Debug, Default)]
pub struct Peer {
    carry: Vec<u8>,
    upgraded: bool,
    speaks_resp: bool,
    /// Kept for the senders, which must forget a subscriber that goes.
    pub channel: Option<u32>,
}

impl Peer {
    /// To a publication.
    pub fn answer(&self) -> &'static [u8] {
        if self.speaks_resp { resp::ANSWER } else { PUBLISH_ANSWER }
    }

    /// Appends what `bytes` ask for. `false`: unreadable, close the connection.
    pub fn feed(&mut self, bytes: &[u8], asks: &mut Vec<Ask>) -> bool {
        if self.carry.is_empty() {
            let Some(used) = self.read(bytes, asks) else { return false };
            self.carry.extend_from_slice(&bytes[used..]);
            return true;
        }
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(bytes);
        let Some(used) = self.read(&carry, asks) else { return false };
        carry.drain(..used);
        self.carry = carry;
        true
    }

    /// How many bytes were used.
    fn read(&mut self, bytes: &[u8], asks: &mut Vec<Ask>) -> Option<usize> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            self.speaks_resp |= !self.upgraded && rest.first() == Some(&b'*');
            let read = match (self.upgraded, self.speaks_resp) {
                (true, _) => masked_frame(rest)?,
                (_, true) if rest.is_empty() => None,
                (_, true) => resp::command(rest)?,
                _ => request(rest)?,
            };
            let Some((length, ask)) = read else { return Some(used) };
            used += length;
            self.upgraded |= ask == Some(Ask::Upgrade);
            asks.extend(ask);
        }
    }
}

/// Length of the request at the front and what it asks. Outer `None`: unreadable; inner: not whole yet.
fn request(bytes: &[u8]) -> Option<Option<(usize, Option<Ask>)>> {
    let Some(head_end) = find(bytes, b"\r\n\r\n") else { return Some(None) };
    let body_start = head_end + 4;
    if bytes.starts_with(b"GET ") {
        return Some(Some((body_start, Some(Ask::Upgrade))));
    }
    // Our own client writes the length last in the head.
    let digits = bytes[..head_end].rsplit(|&byte| byte == b' ').next()?;
    let length = number(digits)? as usize;
    let Some(body) = bytes.get(body_start..body_start + length) else { return Some(None) };
    let (channel, name) = channel_in(body)?;
    let data = body.get(b"{\"channel\":\"\",\"data\":".len() + name.len()..body.len() - 1)?;
    let text = [b"{\"push\":{\"channel\":\"", name, b"\",\"pub\":{\"data\":", data, b"}}}"].concat();
    let publication = Publication { channel, frame: server_frame(&text) };
    Some(Some((body_start + length, Some(Ask::Publish(publication)))))
}

fn masked_frame(bytes: &[u8]) -> Option<Option<(usize, Option<Ask>)>> {
    let (header, length) = match *bytes {
        [_, length @ 0x80..=0xfd, ..] => (6, usize::from(length & 0x7f)),
        [_, 0xfe, high, low, ..] => (8, usize::from(u16::from_be_bytes([high, low]))),
        [_, _, _, _, ..] => return None,
        _ => return Some(None),
    };
    let Some(masked) = bytes.get(header..header + length) else { return Some(None) };
    let key = &bytes[header - 4..header];
    let plain: Vec<u8> = masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    if plain.starts_with(b"{\"publish\"") {
        // Our own client writes the id last.
        let digits = plain.strip_suffix(b"}")?.rsplit(|&byte| byte == b':').next()?;
        return Some(Some((header + length, Some(Ask::Request { id: number(digits)? }))));
    }
    let subscribe = channel_in(&plain).map(|(channel, _)| Ask::Subscribe { channel });
    Some(Some((header + length, subscribe)))
}

/// Number and name of the channel that is named first; what precedes the number depends on the dialect.
fn channel_in(text: &[u8]) -> Option<(u32, &[u8])> {
    const MARK: &[u8] = b"\"channel\":\"";
    let name = text.get(find(text, MARK)? + MARK.len()..)?;
    let name = &name[..name.iter().position(|&byte| byte == b'"')?];
    Some((number(name.last_chunk::<7>()?)?, name))
}

pub fn server_frame(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    if text.len() < 126 {
        frame.push(text.len() as u8);
    } else {
        frame.push(126);
        frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
    }
    frame.extend_from_slice(text);
    frame
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::centrifuge::{first_frame, publish_frame};
    use crate::entrance::Entrance;
    use crate::http::upgrade_request;
    use crate::message::channel_name;

    #[test]
    fn what_our_client_writes_is_understood_however_it_is_cut() {
        let mut subscriber = upgrade_request("h", "/connection/websocket");
        first_frame("token", [42], &mut subscriber);
        publish_frame("void-0000042", 9, 128, &mut subscriber);
        let [over_http, over_resp] = [Entrance::Http, Entrance::Resp].map(|entrance| {
            let requests = entrance.requests("h", "key", 64);
            let mut publisher = requests.greeting();
            requests.append(&channel_name(7), 1, 2, &mut publisher);
            requests.append(&channel_name(8), 3, 4, &mut publisher);
            publisher
        });
        for (stream, want) in [(subscriber, 3), (over_http, 2), (over_resp, 2)] {
            for cut in 0..=stream.len() {
                let mut peer = Peer::default();
                let mut asks = Vec::new();
                assert!(peer.feed(&stream[..cut], &mut asks) && peer.feed(&stream[cut..], &mut asks));
                assert_eq!(asks.len(), want, "cut at {cut}: {asks:?}");
                assert!(want == 2 || asks[2] == Ask::Request { id: 9 }, "cut at {cut}: {asks:?}");
                match &asks[1] {
                    Ask::Subscribe { channel } => assert_eq!(*channel, 42),
                    Ask::Publish(publication) => assert_eq!(publication.channel, 8),
                    ask => panic!("{ask:?} comes elsewhere"),
                }
            }
        }
    }
}
