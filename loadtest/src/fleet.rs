//! The client side: subscribers and publishers of one server on as many rings as they need, all on one thread.
//!
//! Invariants: a connection lives in the slot of the same number of its ring; a subscriber counts only after its subscribe
//! was confirmed; publishes of one channel leave through one connection, so their order is ours to check; a
//! connection that ends unasked is a fault of the run.

mod member;
mod subscriber;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::clock::now_ns;
use crate::dialect::centrifuge::publish_frame;
use crate::dialect::{Dialect, Reader};
use crate::entrance::{Entrance, Requests};
use crate::frames::client_frame;
use crate::http::upgrade_request;
use crate::ledger::Ledger;
use crate::ring::{Ring, RingSize};
use crate::sys;
use crate::token::Mint;
use member::{Connection, Member, Publisher};
pub use subscriber::Channels;
use subscriber::{Phase, Subscriber};

/// Numbers of a ring's targets.
const LISTENING: usize = 0;
const PUBLISHING: usize = 1;
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
    /// Where and how backends publish.
    pub publish_to: SocketAddrV4,
    pub entrance: Entrance,
    pub dialect: Dialect,
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
    dialect: Dialect,
    mint: Mint,
    entrance: Entrance,
    requests: Requests,
    reader: Reader,
}

pub struct Fleet {
    members: Vec<Member>,
    shared: Shared,
    /// Slots in the first member.
    publishers: Vec<u32>,
    /// Connections opened so far; spreads them over sources.
    opened: usize,
    /// Ring and slot of every subscriber, by number.
    seats: Vec<(u16, u32)>,
    /// Of a client's own publish.
    payload_bytes: usize,
    shares_core: bool,
}

impl Fleet {
    pub fn new(settings: FleetSettings) -> io::Result<Fleet> {
        let limit = sys::descriptors_max()?.min(1 << 20);
        let table = settings.slots_per_ring.unwrap_or(limit).clamp(64, limit) as usize;
        let rings = settings.connections_max.div_ceil(table).max(1);
        let slots = settings.connections_max.div_ceil(rings).next_multiple_of(64).min(table) as u32;
        let host = settings.target.to_string();
        let upgrade = upgrade_request(&host, &settings.dialect.path(&settings.mint));
        let sources = source_addresses(&settings);
        let size = RingSize {
            submissions: 4096,
            slots,
            buffers: if rings == 1 { 1024 } else { 256 },
            buffer_bytes: 16 * 1024,
        };
        let mut members = Vec::with_capacity(rings);
        for _ in 0..rings {
            let mut ring = Ring::new(size, &[settings.target, settings.publish_to], &sources)?;
            let mut pong = Vec::new();
            client_frame(1, settings.dialect.pong(), &mut pong);
            let (upgrade, pong) = (ring.store(upgrade.clone()), ring.store(pong));
            let connections = (0..slots).map(|_| Connection::Free).collect();
            members.push(Member { ring, connections, upgrade, pong, open: 0 });
        }
        let entrance = settings.entrance;
        let requests = entrance.requests(&host, &settings.api_key, settings.payload_bytes);
        let dialect = settings.dialect;
        let shared = Shared { dialect, mint: settings.mint, entrance, requests, reader: dialect.reader() };
        Ok(Fleet {
            members,
            shared,
            publishers: Vec::new(),
            opened: 0,
            seats: Vec::new(),
            payload_bytes: settings.payload_bytes,
            shares_core: settings.shares_core,
        })
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
            let (member, slot) = self.open_connection(PUBLISHING, 0)?;
            if member != 0 {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            let Shared { entrance, requests, .. } = &self.shared;
            let publisher = Box::new(Publisher::new(requests.greeting(), entrance.answers()));
            self.members[0].connections[slot as usize] = Connection::Publisher(publisher);
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
    /// (counted from the fleet's first) joins `channels_of(i)`.
    pub fn subscribe<C: Into<Channels>>(
        &mut self,
        count: usize,
        at_once: usize,
        channels_of: impl Fn(u32) -> C,
        ledger: &mut Ledger,
    ) -> io::Result<()> {
        let goal = ledger.counts.subscribed + count as u64;
        let mut started = 0;
        let before = ledger.counts.subscribed;
        self.turn_until(ledger, Attention::Spinning, |fleet, ledger| {
            let done = (ledger.counts.subscribed - before) as usize;
            while started < count && started - done < at_once {
                let number = fleet.seats.len() as u32;
                if let Err(error) = fleet.start_subscriber(number, channels_of(number).into()) {
                    ledger.problem(format!("a connection could not be started: {error}"));
                    return true;
                }
                started += 1;
            }
            ledger.counts.subscribed >= goal
        })
    }

    fn start_subscriber(&mut self, number: u32, channels: Channels) -> io::Result<()> {
        let (member, slot) = self.open_connection(LISTENING, self.opened)?;
        self.members[member].connections[slot as usize] =
            Connection::Subscriber(Subscriber::new(self.shared.dialect, number, channels));
        let seat = (member as u16, slot);
        match self.seats.get_mut(number as usize) {
            Some(old) => *old = seat,
            None => self.seats.push(seat),
        }
        Ok(())
    }

    /// Closes subscriber `number` and lets another of that number join `channels` at once, whatever is in flight there.
    /// `false`: it was not subscribed (any more, or yet), and nothing was done.
    pub fn replace(&mut self, number: u32, channels: Channels, ledger: &mut Ledger) -> io::Result<bool> {
        let (member, slot) = self.seats[number as usize];
        let member = &mut self.members[usize::from(member)];
        let Connection::Subscriber(subscriber) = &mut member.connections[slot as usize] else {
            return Ok(false);
        };
        if subscriber.number != number || !matches!(subscriber.phase, Phase::Subscribed) {
            return Ok(false);
        }
        subscriber.leaves(ledger);
        subscriber.phase = Phase::Closing;
        member.ring.close(slot)?;
        self.start_subscriber(number, channels)?;
        Ok(true)
    }

    /// Lets subscriber `number` publish to a channel nobody is in, which the server answers; intended for `intended_ns`.
    pub fn request(&mut self, number: u32, intended_ns: u64, ledger: &mut Ledger) -> io::Result<()> {
        let (member, slot) = self.seats[number as usize];
        let member = &mut self.members[usize::from(member)];
        match &mut member.connections[slot as usize] {
            Connection::Subscriber(subscriber) if matches!(subscriber.phase, Phase::Subscribed) => {
                let id = subscriber.request(intended_ns);
                ledger.counts.requested += 1;
                let mut frame = Vec::new();
                let channel = format!("void-{number:07}");
                publish_frame(&channel, id, self.payload_bytes, &mut frame);
                member.ring.send_owned(slot, frame)
            }
            _ => {
                ledger.problem(format!("client {number} is gone"));
                Ok(())
            }
        }
    }

    /// Starts a connection on the first ring from `preferred` on that has a free slot.
    fn open_connection(&mut self, target: usize, preferred: usize) -> io::Result<(usize, u32)> {
        let count = self.members.len();
        for offset in 0..count {
            let index = (preferred + offset) % count;
            let member = &mut self.members[index];
            if let Some(slot) = member.ring.connect(target, self.opened / count)? {
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
                let name = self.shared.dialect.channel_name(channel);
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
        ledger.tick(now_ns());
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

    /// Lets `count` subscribers, spread evenly, stop reading.
    pub fn stall(&mut self, count: usize, ledger: &mut Ledger) -> io::Result<()> {
        let every = (self.open() - self.publishers.len()) / count.max(1);
        let mut left = count;
        let mut number = 0;
        for member in &mut self.members {
            for (slot, connection) in member.connections.iter_mut().enumerate() {
                let Connection::Subscriber(subscriber) = connection else { continue };
                if left > 0 && number % every.max(1) == 0 && matches!(subscriber.phase, Phase::Subscribed) {
                    subscriber.leaves(ledger);
                    subscriber.phase = Phase::Stalled;
                    member.ring.pause(slot as u32)?;
                    member.ring.watch(slot as u32)?;
                    left -= 1;
                }
                number += 1;
            }
        }
        Ok(())
    }

    /// Lets the stalled subscribers read on, what they hear uncounted. One whose window is full does not notice that the
    /// server has reset it: the kernel takes the reset for one out of sequence. When it reads, it asks, and is told.
    pub fn let_stalled_read(&mut self) -> io::Result<()> {
        for member in &mut self.members {
            for (slot, connection) in member.connections.iter_mut().enumerate() {
                if let Connection::Subscriber(subscriber) = connection
                    && matches!(subscriber.phase, Phase::Stalled)
                {
                    member.ring.resume(slot as u32)?;
                }
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
                    subscriber.leaves(ledger);
                    subscriber.phase = Phase::Closing;
                    member.ring.close(slot as u32)?;
                }
            }
        }
        self.seats.clear();
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
