//! One subscriber from the upgrade's answer to the last publication, without its socket.

use std::collections::VecDeque;

use crate::clock::now_ns;
use crate::dialect::{Dialect, Reader};
use crate::frames::{FrameCutter, Opcode};
use crate::http::upgraded;
use crate::ledger::Ledger;
use crate::message::Message;
use crate::sequence::Sequence;

/// What a subscriber listens to: a channel of its own or one shared with others, and perhaps a group's besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    pub own: u32,
    pub group: Option<u32>,
}

impl From<u32> for Channels {
    fn from(own: u32) -> Channels {
        Channels { own, group: None }
    }
}

pub struct Subscriber {
    dialect: Dialect,
    pub number: u32,
    pub phase: Phase,
    own: Membership,
    /// Boxed so that a million subscribers without one stay small.
    group: Option<Box<Membership>>,
    requests: Option<Box<Requests>>,
    cutter: FrameCutter,
    started_ns: u64,
}

struct Membership {
    channel: u32,
    sequence: Sequence,
}

/// What a client has asked and not been answered; answers must come in the order of the questions.
#[derive(Default)]
struct Requests {
    next_id: u32,
    intended_ns: VecDeque<u64>,
}

pub enum Phase {
    /// Holds what has arrived of the answer; empty until TCP is connected.
    Upgrading(Vec<u8>),
    /// How many subscriptions were confirmed.
    Authenticating(u8),
    Subscribed,
    /// Reads nothing any more; the server may let it go whenever it likes.
    Stalled,
    Closing,
}

/// What the bytes of a subscriber call for.
#[derive(Default)]
pub struct Wanted {
    /// The commands with which it joins its channels; what its connection is called, where it has a name.
    pub join: Option<String>,
    pub pongs: u32,
    pub websocket_pongs: u32,
    pub close: bool,
}

impl Subscriber {
    /// Starts now; the connection is being made.
    pub fn new(dialect: Dialect, number: u32, channels: Channels) -> Subscriber {
        let membership = |channel| Membership { channel, sequence: Sequence::default() };
        Subscriber {
            dialect,
            number,
            phase: Phase::Upgrading(Vec::new()),
            own: membership(channels.own),
            group: channels.group.map(|channel| Box::new(membership(channel))),
            requests: None,
            cutter: FrameCutter::default(),
            started_ns: now_ns(),
        }
    }

    /// The channels, as its subscribe commands are about to leave: from now on it may hear publications.
    pub fn asks_to_join(&mut self, ledger: &Ledger) -> impl Iterator<Item = u32> {
        let mut channels = [None; 2];
        for (membership, channel) in self.memberships().zip(&mut channels) {
            membership.sequence = ledger.asks_to_join(membership.channel);
            *channel = Some(membership.channel);
        }
        channels.into_iter().flatten()
    }

    /// Gives up whatever was confirmed.
    pub fn leaves(&mut self, ledger: &mut Ledger) {
        let confirmed = match self.phase {
            Phase::Authenticating(confirmed) => usize::from(confirmed),
            Phase::Subscribed => usize::MAX,
            _ => 0,
        };
        for membership in self.memberships().take(confirmed) {
            ledger.left(membership.channel, &membership.sequence);
        }
        if matches!(self.phase, Phase::Subscribed) {
            ledger.counts.subscribed -= 1;
        }
    }

    /// The id of its next request, which is noted as sent.
    pub fn request(&mut self, intended_ns: u64) -> u32 {
        let requests = self.requests.get_or_insert_with(Box::default);
        // Ids of the first frame are taken.
        let id = requests.next_id.max(4);
        requests.next_id = id + 1;
        requests.intended_ns.push_back(intended_ns);
        id
    }

    fn memberships(&mut self) -> impl Iterator<Item = &mut Membership> {
        std::iter::once(&mut self.own).chain(self.group.as_deref_mut())
    }

    /// Reads what has arrived and says what to do about it.
    pub fn received(&mut self, bytes: &[u8], reader: &mut Reader, ledger: &mut Ledger) -> Wanted {
        let mut wanted = Wanted::default();
        let mut bytes = bytes;
        let mut head;
        match &mut self.phase {
            Phase::Closing | Phase::Stalled => return wanted,
            Phase::Upgrading(arrived) => {
                arrived.extend_from_slice(bytes);
                let end = match upgraded(arrived) {
                    Ok(None) => return wanted,
                    Ok(Some(end)) => end,
                    Err(answer) => {
                        ledger.closed(format!("the upgrade was refused: {answer}"));
                        self.phase = Phase::Closing;
                        wanted.close = true;
                        return wanted;
                    }
                };
                head = std::mem::take(arrived);
                head.drain(..end);
                bytes = &head;
                wanted.join = (!self.dialect.is_greeted()).then(String::new);
                self.phase = Phase::Authenticating(0);
            }
            Phase::Authenticating(_) | Phase::Subscribed => {}
        }
        self.frames(bytes, reader, ledger, &mut wanted);
        wanted
    }

    fn frames(&mut self, bytes: &[u8], reader: &mut Reader, ledger: &mut Ledger, wanted: &mut Wanted) {
        let now = now_ns();
        let before = (ledger.counts.deliveries, ledger.counts.replied);
        let mut over = false;
        let mut cutter = std::mem::take(&mut self.cutter);
        let result = cutter.feed(bytes, |opcode, payload| match opcode {
            Opcode::Text => reader.read(payload, |message| self.message(message, now, ledger, wanted)),
            Opcode::Ping => {
                ledger.counts.pings += 1;
                wanted.websocket_pongs += 1;
            }
            Opcode::Close => {
                let code = payload.first_chunk::<2>().map_or(0, |code| u16::from_be_bytes(*code));
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                ledger.closed(format!("the server closed with {code} {reason}"));
                over = true;
            }
            Opcode::Binary | Opcode::Pong => {}
        });
        self.cutter = cutter;
        if let Err(error) = result {
            ledger.closed(format!("a subscriber's stream cannot be read: {}", error.0));
            over = true;
        }
        if over {
            self.phase = Phase::Closing;
            wanted.close = true;
        }
        if (ledger.counts.deliveries, ledger.counts.replied) != before {
            ledger.counts.receives += 1;
        }
    }

    fn message(&mut self, message: Message, now: u64, ledger: &mut Ledger, wanted: &mut Wanted) {
        match message {
            Message::Publication { channel, sequence: heard, intended_ns } => {
                match self.memberships().find(|membership| membership.channel == channel) {
                    Some(membership) => {
                        ledger.delivered(channel, &mut membership.sequence, heard, intended_ns, now);
                    }
                    None => ledger.problem(format!("a publication of {channel} came to a stranger")),
                }
            }
            Message::Ping => {
                ledger.counts.pings += 1;
                wanted.pongs += 1;
            }
            Message::Subscribed => {
                if let Phase::Authenticating(confirmed) = self.phase {
                    self.confirmed(confirmed, now, ledger);
                }
            }
            Message::Replied { id } => self.replied(id, now, ledger),
            Message::Connected { name } if self.dialect.is_greeted() => wanted.join = Some(name),
            Message::Connected { .. } | Message::Other => {}
            Message::Refused(text) => ledger.problem(text),
        }
    }

    /// Replies come in the order of the subscribe commands.
    fn confirmed(&mut self, confirmed: u8, now: u64, ledger: &mut Ledger) {
        let all = 1 + u8::from(self.group.is_some());
        if let Some(membership) = self.memberships().nth(usize::from(confirmed)) {
            ledger.joined(membership.channel, &mut membership.sequence);
        }
        self.phase = Phase::Authenticating(confirmed + 1);
        if confirmed + 1 == all {
            self.phase = Phase::Subscribed;
            ledger.subscribed(now - self.started_ns);
        }
    }

    fn replied(&mut self, id: u32, now: u64, ledger: &mut Ledger) {
        let requests = self.requests.get_or_insert_with(Box::default);
        let want = requests.next_id - requests.intended_ns.len() as u32;
        match requests.intended_ns.pop_front() {
            Some(intended_ns) if id == want => ledger.replied(intended_ns, now),
            _ => ledger.problem(format!("the reply to request {id} came where that to {want} was due")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ACCEPT;
    use crate::message::payload;

    const ALL: Channels = Channels { own: 1, group: Some(0) };

    fn text(lines: &str) -> Vec<u8> {
        let mut frame = vec![0x81, 126];
        frame.extend_from_slice(&(lines.len() as u16).to_be_bytes());
        frame.extend_from_slice(lines.as_bytes());
        frame
    }

    fn publication(channel: u32, sequence: u64) -> Vec<u8> {
        let mut data = Vec::new();
        payload(sequence, 0, 100, &mut data);
        let data = String::from_utf8(data).expect("JSON");
        text(&format!(r#"{{"push":{{"channel":"lt-{channel:07}","pub":{{"data":{data}}}}}}}"#))
    }

    /// A subscriber that was answered `lines` after its first frame.
    fn subscriber(ledger: &mut Ledger, lines: &str) -> Subscriber {
        let mut subscriber = Subscriber::new(Dialect::Centrifuge, 0, ALL);
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
        let mut reader = Dialect::Centrifuge.reader();
        let wanted = subscriber.received(answer.as_bytes(), &mut reader, ledger);
        assert!(wanted.join.is_some() && !wanted.close);
        assert_eq!(subscriber.asks_to_join(ledger).collect::<Vec<u32>>(), [1, 0]);
        subscriber.received(&text(lines), &mut reader, ledger);
        subscriber
    }

    const CONFIRMED: &str =
        "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{}}\n{\"id\":3,\"subscribe\":{}}";

    #[test]
    fn both_channels_are_heard_and_no_third() {
        let mut ledger = Ledger::new(3);
        let mut reader = Dialect::Centrifuge.reader();
        let mut subscriber = subscriber(&mut ledger, CONFIRMED);
        assert_eq!(ledger.counts.subscribed, 1);
        for channel in [1, 0, 0, 1] {
            let sequence = ledger.publish(channel);
            subscriber.received(&publication(channel, sequence), &mut reader, &mut ledger);
            ledger.counts.answered += 1;
        }
        assert_eq!((ledger.in_flight(), ledger.faults()), (0, Vec::new()));
        subscriber.received(&publication(2, 0), &mut reader, &mut ledger);
        assert!(ledger.faults().iter().any(|fault| fault.contains("a stranger")), "{:?}", ledger.faults());
    }

    #[test]
    fn it_counts_only_when_all_is_confirmed_and_gives_up_what_was() {
        let mut ledger = Ledger::new(2);
        let (one, _) = CONFIRMED.rsplit_once('\n').expect("three replies");
        let mut half = subscriber(&mut ledger, one);
        let state = |ledger: &Ledger| [0, 1].map(|channel| ledger.has_subscribers(channel));
        assert_eq!((ledger.counts.subscribed, state(&ledger)), (0, [false, true]));
        half.leaves(&mut ledger);
        assert_eq!((ledger.counts.subscribed, state(&ledger)), (0, [false, false]));
        let mut whole = subscriber(&mut ledger, CONFIRMED);
        assert_eq!((ledger.counts.subscribed, state(&ledger)), (1, [true, true]));
        ledger.publish(0);
        ledger.counts.answered = 1;
        whole.leaves(&mut ledger);
        assert_eq!((ledger.counts.subscribed, state(&ledger)), (0, [false, false]));
        assert_eq!((ledger.in_flight(), ledger.faults()), (0, Vec::new()));
    }

    #[test]
    fn replies_must_come_in_the_order_of_the_requests() {
        let table = [("in order", [4, 5], 0), ("swapped", [5, 4], 2), ("twice", [4, 4], 1)];
        for (name, replies, refused) in table {
            let mut ledger = Ledger::new(2);
            let mut reader = Dialect::Centrifuge.reader();
            let mut subscriber = subscriber(&mut ledger, CONFIRMED);
            assert_eq!([subscriber.request(10), subscriber.request(20)], [4, 5]);
            ledger.counts.requested = 2;
            for id in replies {
                let reply = text(&format!("{{\"id\":{id},\"publish\":{{}}}}"));
                subscriber.received(&reply, &mut reader, &mut ledger);
            }
            assert_eq!(ledger.counts.refused, refused, "{name}");
            assert_eq!(ledger.faults().is_empty(), refused == 0, "{name}");
        }
    }

    /// A Pusher subscriber of channel 1 that has been greeted and confirmed.
    fn pusher_subscriber(ledger: &mut Ledger, reader: &mut Reader) -> Subscriber {
        let mut subscriber = Subscriber::new(Dialect::Pusher, 0, 1.into());
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
        let wanted = subscriber.received(answer.as_bytes(), reader, ledger);
        assert_eq!(wanted.join, None, "it waits for its name");
        let greeting = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}"#;
        let wanted = subscriber.received(&text(greeting), reader, ledger);
        assert_eq!(wanted.join.as_deref(), Some("1.2"));
        assert_eq!(subscriber.asks_to_join(ledger).collect::<Vec<u32>>(), [1]);
        assert_eq!(ledger.counts.subscribed, 0);
        let confirmed = r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-lt-0000001","data":"{}"}"#;
        subscriber.received(&text(confirmed), reader, ledger);
        assert_eq!(ledger.counts.subscribed, 1);
        subscriber
    }

    #[test]
    fn a_pusher_client_notices_what_is_lost_or_out_of_order() {
        // (numbers heard, lost, gaps, out of order)
        let table: [(&str, &[u64], [u64; 3]); 4] = [
            ("all", &[0, 1, 2, 3], [0, 0, 0]),
            ("one skipped", &[0, 2, 3], [1, 1, 0]),
            ("one twice", &[0, 1, 1, 2, 3], [0, 0, 1]),
            ("two swapped", &[0, 2, 1, 3], [1, 1, 1]),
        ];
        for (name, heard, want) in table {
            let (mut ledger, mut reader) = (Ledger::new(2), Dialect::Pusher.reader());
            let mut subscriber = pusher_subscriber(&mut ledger, &mut reader);
            for _ in 0..4 {
                ledger.publish(1);
                ledger.counts.answered += 1;
            }
            for sequence in heard {
                let mut data = Vec::new();
                payload(*sequence, 0, 100, &mut data);
                let data = serde_json::Value::String(String::from_utf8(data).expect("JSON"));
                let message =
                    format!(r#"{{"event":"message","channel":"private-lt-0000001","data":{data}}}"#);
                subscriber.received(&text(&message), &mut reader, &mut ledger);
            }
            let counts = ledger.counts;
            assert_eq!([counts.lost, counts.gaps, counts.disorder], want, "{name}");
            assert_eq!(ledger.faults().is_empty(), want == [0; 3], "{name}: {:?}", ledger.faults());
        }
    }
}
