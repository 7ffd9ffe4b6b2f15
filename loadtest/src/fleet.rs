//! The client side: subscribers and publishers of one server on as many rings as they need, all on one thread.
//!
//! Invariants: a connection lives in the slot of the same number of its ring; a subscriber counts only after its subscribe
//! was confirmed; publishes of one channel leave through one HTTP connection, so their order is ours to check; a
//! connection that ends unasked is a fault of the run.

mod subscriber;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::clock::now_ns;
use crate::frames::client_frame;
use crate::http::{AnswerReader, PublishRequests, upgrade_request};
use crate::ledger::Ledger;
use crate::message::{MessageReader, first_frame};
use crate::ring::{Event, Filled, PayloadId, Ring, RingSize};
use crate::sys;
use crate::token::Mint;
use subscriber::{Phase, Subscriber, Wanted};

const PATH: &str = "/connection/websocket";
/// Far below the 28,000 ephemeral ports of an address: the kernel's search for a free one slows down as they fill.
const CONNECTIONS_PER_SOURCE: usize = 12_000;
/// Nothing happened for this long while something should: give up.
const STALL_NS: u64 = 10_000_000_000;
/// Sleep of a caller that need not see arrivals at once.
const RELAXED_PAUSE: Duration = Duration::from_millis(1);
/// Sleep after a turn that brought nothing, where the server runs on the client's core too. Latencies then are this
/// much coarser.
const SHARED_PAUSE: Duration = Duration::from_micros(50);

/// Whether the client spins (arrivals seen at once, and the server never pays for waking it) or saves its core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    Spinning,
    Relaxed,
}

pub struct FleetSettings {
    pub target: SocketAddrV4,
    pub mint: Mint,
    pub api_key: String,
    pub payload_bytes: usize,
    /// Upper bound of connections, publishers included.
    pub connections_max: usize,
    /// Descriptor table of each ring; `None`: as large as RLIMIT_NOFILE allows.
    pub slots_per_ring: Option<u32>,
    /// The server runs on this thread's core too, which therefore must not be kept busy with nothing.
    pub shares_core: bool,
}

/// What every connection needs and none owns.
struct Shared {
    mint: Mint,
    requests: PublishRequests,
    reader: MessageReader,
}

/// One ring and the connections in its slots.
struct Member {
    ring: Ring,
    connections: Vec<Connection>,
    upgrade: PayloadId,
    pong: PayloadId,
    open: usize,
}

enum Connection {
    Free,
    Subscriber(Subscriber),
    Publisher(Box<Publisher>),
}

#[derive(Default)]
struct Publisher {
    connected: bool,
    closing: bool,
    sending: bool,
    pending: Vec<u8>,
    answers: AnswerReader,
}

pub struct Fleet {
    members: Vec<Member>,
    shared: Shared,
    /// Slots in the first member.
    publishers: Vec<u32>,
    /// Connections opened so far; spreads them over sources.
    opened: usize,
    next_number: u32,
    shares_core: bool,
}

/// `lt-0000012`: all names are of one length, so a publication's payload is always at the same place.
pub fn channel_name(number: u32) -> String {
    format!("lt-{number:07}")
}

impl Fleet {
    pub fn new(settings: FleetSettings) -> io::Result<Fleet> {
        let limit = sys::descriptors_max()?.min(1 << 20);
        let table = settings.slots_per_ring.unwrap_or(limit).clamp(64, limit) as usize;
        let rings = settings.connections_max.div_ceil(table).max(1);
        let slots = settings.connections_max.div_ceil(rings).next_multiple_of(64).min(table) as u32;
        let host = settings.target.to_string();
        let upgrade = upgrade_request(&host, PATH);
        let sources = source_addresses(&settings);
        let size = RingSize {
            submissions: 4096,
            slots,
            buffers: if rings == 1 { 1024 } else { 256 },
            buffer_bytes: 16 * 1024,
        };
        let mut members = Vec::with_capacity(rings);
        for _ in 0..rings {
            let mut ring = Ring::new(size, settings.target, &sources)?;
            let mut pong = Vec::new();
            client_frame(1, b"{}", &mut pong);
            let (upgrade, pong) = (ring.store(upgrade.clone()), ring.store(pong));
            let connections = (0..slots).map(|_| Connection::Free).collect();
            members.push(Member { ring, connections, upgrade, pong, open: 0 });
        }
        let requests = PublishRequests::new(&host, &settings.api_key, settings.payload_bytes);
        let shared = Shared { mint: settings.mint, requests, reader: MessageReader::default() };
        let shares_core = settings.shares_core;
        Ok(Fleet { members, shared, publishers: Vec::new(), opened: 0, next_number: 0, shares_core })
    }

    /// Connections that are not free, in whatever phase.
    pub fn open(&self) -> usize {
        self.members.iter().map(|member| member.open).sum()
    }

    /// Times a receive had to be armed again because all buffers were taken.
    pub fn starved(&self) -> u64 {
        self.members.iter().map(|member| member.ring.starved).sum()
    }

    /// Opens `count` keep-alive connections for publishing and waits until they are connected.
    pub fn open_publishers(&mut self, count: usize, ledger: &mut Ledger) -> io::Result<()> {
        for _ in 0..count {
            let (member, slot) = self.open_connection(0)?;
            if member != 0 {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            self.members[0].connections[slot as usize] = Connection::Publisher(Box::default());
            self.publishers.push(slot);
        }
        self.turn_until(ledger, Attention::Spinning, |fleet, _| {
            fleet.publishers.iter().all(|&slot| match &fleet.members[0].connections[slot as usize] {
                Connection::Publisher(publisher) => publisher.connected,
                _ => false,
            })
        })
    }

    /// Adds `count` subscribers, `at_once` handshakes at a time, and waits until all are subscribed. Subscriber `i`
    /// (counted from the fleet's first) joins channel `channel_of(i)`.
    pub fn subscribe(
        &mut self,
        count: usize,
        at_once: usize,
        channel_of: impl Fn(u32) -> u32,
        ledger: &mut Ledger,
    ) -> io::Result<()> {
        let goal = ledger.counts.subscribed + count as u64;
        let mut started = 0;
        let before = ledger.counts.subscribed;
        self.turn_until(ledger, Attention::Spinning, |fleet, ledger| {
            let done = (ledger.counts.subscribed - before) as usize;
            while started < count && started - done < at_once {
                if let Err(error) = fleet.start_subscriber(&channel_of) {
                    ledger.problem(format!("a connection could not be started: {error}"));
                    return true;
                }
                started += 1;
            }
            ledger.counts.subscribed >= goal
        })
    }

    fn start_subscriber(&mut self, channel_of: &impl Fn(u32) -> u32) -> io::Result<()> {
        let (member, slot) = self.open_connection(self.opened)?;
        let number = self.next_number;
        self.members[member].connections[slot as usize] =
            Connection::Subscriber(Subscriber::new(number, channel_of(number)));
        self.next_number += 1;
        Ok(())
    }

    /// Starts a connection on the first ring from `preferred` on that has a free slot.
    fn open_connection(&mut self, preferred: usize) -> io::Result<(usize, u32)> {
        let count = self.members.len();
        for offset in 0..count {
            let index = (preferred + offset) % count;
            let member = &mut self.members[index];
            if let Some(slot) = member.ring.connect(self.opened / count)? {
                member.open += 1;
                self.opened += 1;
                return Ok((index, slot));
            }
        }
        Err(io::ErrorKind::QuotaExceeded.into())
    }

    /// Publishes the next message of `channel`, intended for `intended_ns`; it leaves with the next turn.
    pub fn publish(&mut self, channel: u32, intended_ns: u64, ledger: &mut Ledger) {
        let sequence = ledger.publish(channel);
        let slot = self.publishers[channel as usize % self.publishers.len()];
        match &mut self.members[0].connections[slot as usize] {
            Connection::Publisher(publisher) => {
                let name = channel_name(channel);
                self.shared.requests.append(&name, sequence, intended_ns, &mut publisher.pending);
            }
            _ => ledger.problem("the publishing connection is gone".to_owned()),
        }
    }

    /// Sends what is pending and handles what has arrived on every ring.
    pub fn turn(&mut self, ledger: &mut Ledger, attention: Attention) -> io::Result<()> {
        for &slot in &self.publishers {
            self.members[0].flush(slot)?;
        }
        let mut quiet = true;
        for member in &mut self.members {
            member.ring.poll(None)?;
            while let Some(event) = member.ring.next_event()? {
                member.handle(event, &mut self.shared, ledger)?;
                quiet = false;
            }
        }
        match attention {
            Attention::Relaxed => std::thread::sleep(RELAXED_PAUSE),
            Attention::Spinning if quiet && self.shares_core => std::thread::sleep(SHARED_PAUSE),
            Attention::Spinning => {}
        }
        Ok(())
    }

    /// Turns until `done`; an error if ten seconds pass in which no count of the ledger moves.
    pub fn turn_until(
        &mut self,
        ledger: &mut Ledger,
        attention: Attention,
        mut done: impl FnMut(&mut Fleet, &mut Ledger) -> bool,
    ) -> io::Result<()> {
        let mut moved_ns = now_ns();
        let mut seen = (ledger.counts, self.open());
        while !done(self, ledger) {
            self.turn(ledger, attention)?;
            let now = (ledger.counts, self.open());
            if now != seen {
                (seen, moved_ns) = (now, now_ns());
            } else if now_ns() - moved_ns > STALL_NS {
                let faults = ledger.faults().join("; ");
                return Err(io::Error::other(format!("nothing moved for ten seconds: {faults}")));
            }
            if ledger.counts.closed + ledger.counts.refused > 0 {
                return Err(io::Error::other(ledger.faults().join("; ")));
            }
        }
        Ok(())
    }

    /// Lets `count` subscribers, spread evenly, stop reading. Nothing may be in flight to them.
    pub fn stall(&mut self, count: usize, ledger: &mut Ledger) -> io::Result<()> {
        let every = (self.open() - self.publishers.len()) / count.max(1);
        let mut left = count;
        let mut number = 0;
        for member in &mut self.members {
            for (slot, connection) in member.connections.iter_mut().enumerate() {
                let Connection::Subscriber(subscriber) = connection else { continue };
                if left > 0 && number % every.max(1) == 0 && matches!(subscriber.phase, Phase::Subscribed) {
                    subscriber.phase = Phase::Stalled;
                    ledger.left(subscriber.channel);
                    member.ring.pause(slot as u32)?;
                    member.ring.watch(slot as u32)?;
                    left -= 1;
                }
                number += 1;
            }
        }
        Ok(())
    }

    /// Closes the stalled subscribers that are still connected and returns how many there were.
    pub fn close_stalled(&mut self) -> io::Result<usize> {
        let mut closed = 0;
        for member in &mut self.members {
            for (slot, connection) in member.connections.iter_mut().enumerate() {
                if let Connection::Subscriber(subscriber) = connection
                    && matches!(subscriber.phase, Phase::Stalled)
                {
                    subscriber.phase = Phase::Closing;
                    member.ring.close(slot as u32)?;
                    closed += 1;
                }
            }
        }
        Ok(closed)
    }

    /// Closes the publishing connections and waits until their slots are free: a server may close idle ones itself.
    pub fn close_publishers(&mut self, ledger: &mut Ledger) -> io::Result<()> {
        let left = self.open() - self.publishers.len();
        for slot in std::mem::take(&mut self.publishers) {
            let member = &mut self.members[0];
            if let Connection::Publisher(publisher) = &mut member.connections[slot as usize] {
                publisher.closing = true;
                member.ring.close(slot)?;
            }
        }
        self.turn_until(ledger, Attention::Spinning, |fleet, _| fleet.open() <= left)
    }

    /// Closes every subscriber and waits until their slots are free.
    pub fn close_subscribers(&mut self, ledger: &mut Ledger) -> io::Result<()> {
        for member in &mut self.members {
            for (slot, connection) in member.connections.iter_mut().enumerate() {
                if let Connection::Subscriber(subscriber) = connection {
                    if matches!(subscriber.phase, Phase::Subscribed) {
                        ledger.left(subscriber.channel);
                    }
                    subscriber.phase = Phase::Closing;
                    member.ring.close(slot as u32)?;
                }
            }
        }
        let publishers = self.publishers.len();
        self.turn_until(ledger, Attention::Spinning, |fleet, _| fleet.open() <= publishers)
    }
}

/// Loopback targets are reached from 127.0.0.2 and up, others from wherever the kernel likes.
fn source_addresses(settings: &FleetSettings) -> Vec<SocketAddrV4> {
    if !settings.target.ip().is_loopback() {
        return vec![SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)];
    }
    let count = settings.connections_max.div_ceil(CONNECTIONS_PER_SOURCE).max(1) as u32;
    let first = u32::from(Ipv4Addr::new(127, 0, 0, 2));
    (first..first + count).map(|ip| SocketAddrV4::new(Ipv4Addr::from(ip), 0)).collect()
}

impl Member {
    fn flush(&mut self, slot: u32) -> io::Result<()> {
        if let Connection::Publisher(publisher) = &mut self.connections[slot as usize]
            && publisher.connected
            && !publisher.sending
            && !publisher.pending.is_empty()
        {
            publisher.sending = true;
            let bytes = std::mem::take(&mut publisher.pending);
            self.ring.send_owned(slot, bytes)?;
        }
        Ok(())
    }

    fn handle(&mut self, event: Event, shared: &mut Shared, ledger: &mut Ledger) -> io::Result<()> {
        match event {
            Event::Received { slot, buffer } => self.received(slot, buffer, shared, ledger),
            Event::Sent { slot } => {
                if let Connection::Publisher(publisher) = &mut self.connections[slot as usize] {
                    publisher.sending = false;
                }
                Ok(())
            }
            Event::Connected { slot } => self.connected(slot),
            Event::Closed { slot } => {
                self.connections[slot as usize] = Connection::Free;
                self.open -= 1;
                Ok(())
            }
            Event::ConnectFailed { slot, errno } => self.ended(slot, "connect", errno, ledger),
            Event::Ended { slot, errno } => self.ended(slot, "receive", errno, ledger),
            Event::SendFailed { slot, errno } => self.ended(slot, "send", errno, ledger),
            Event::HungUp { slot } => self.ended(slot, "a stall", 0, ledger),
            Event::Accepted { .. } => unreachable!("a fleet does not listen"),
        }
    }

    fn connected(&mut self, slot: u32) -> io::Result<()> {
        match &mut self.connections[slot as usize] {
            Connection::Publisher(publisher) => publisher.connected = true,
            Connection::Subscriber(Subscriber { phase: Phase::Closing, .. }) => return Ok(()),
            Connection::Subscriber(_) => self.ring.send(slot, self.upgrade)?,
            Connection::Free => unreachable!("slot {slot} is free"),
        }
        self.ring.receive(slot)
    }

    fn ended(&mut self, slot: u32, during: &str, errno: i32, ledger: &mut Ledger) -> io::Result<()> {
        let asked = match &mut self.connections[slot as usize] {
            Connection::Subscriber(subscriber) => {
                let phase = std::mem::replace(&mut subscriber.phase, Phase::Closing);
                ledger.counts.dropped += u64::from(matches!(phase, Phase::Stalled));
                matches!(phase, Phase::Closing | Phase::Stalled)
            }
            Connection::Publisher(publisher) => std::mem::replace(&mut publisher.closing, true),
            Connection::Free => true,
        };
        if !asked {
            let why = if errno == 0 {
                "the server closed it".to_owned()
            } else {
                io::Error::from_raw_os_error(errno).to_string()
            };
            ledger.closed(format!("a connection ended during {during}: {why}"));
        }
        self.ring.close(slot)
    }

    fn received(
        &mut self,
        slot: u32,
        buffer: Filled,
        shared: &mut Shared,
        ledger: &mut Ledger,
    ) -> io::Result<()> {
        let bytes = self.ring.bytes(&buffer);
        let wanted = match &mut self.connections[slot as usize] {
            Connection::Subscriber(subscriber) => subscriber.received(bytes, &mut shared.reader, ledger),
            Connection::Publisher(publisher) => {
                match publisher.answers.feed(bytes) {
                    Ok(count) => ledger.counts.answered += count,
                    Err(answer) => ledger.problem(format!("a publish was refused: {answer}")),
                }
                Wanted::default()
            }
            Connection::Free => unreachable!("slot {slot} is free"),
        };
        self.ring.release(buffer);
        if wanted.close {
            return self.ring.close(slot);
        }
        for _ in 0..wanted.pongs {
            self.ring.send(slot, self.pong)?;
        }
        for _ in 0..wanted.websocket_pongs {
            let mut pong = Vec::new();
            client_frame(10, b"", &mut pong);
            self.ring.send_owned(slot, pong)?;
        }
        if let (true, Connection::Subscriber(subscriber)) =
            (wanted.first_frame, &self.connections[slot as usize])
        {
            let mut frame = Vec::with_capacity(320);
            let token = shared.mint.token(subscriber.number);
            first_frame(&token, &channel_name(subscriber.channel), &mut frame);
            self.ring.send_owned(slot, frame)?;
        }
        Ok(())
    }
}
