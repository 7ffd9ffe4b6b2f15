//! How many connections one client address holds at this shard, and how fast it opens them.
//!
//! The kernel spreads an address's connections over the shards, so each shard grants its own share of a limit.
//! An IPv6 address stands for its /64: that is what one customer gets, and all of it costs nothing to use.
//!
//! Invariant: an address is known only while it holds a connection or was counted within the present second.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::connection::NONE;

/// What one address may do at one shard; 0: no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub connections_max: u32,
    pub handshakes_per_second_max: u32,
}

impl Share {
    /// This shard's part of limits that hold for the process, rounded up: a limit below the number of shards
    /// must not shut anybody out.
    pub fn of(connections_max: u32, handshakes_per_second_max: u32, shards: u16) -> Self {
        let part = |limit: u32| limit.div_ceil(u32::from(shards.max(1)));
        Self {
            connections_max: part(connections_max),
            handshakes_per_second_max: part(handshakes_per_second_max),
        }
    }

    pub fn is_unlimited(self) -> bool {
        self == Self { connections_max: 0, handshakes_per_second_max: 0 }
    }
}

/// Why an address gets no further connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    #[error("too many connections from this address")]
    Connections,
    #[error("too many handshakes from this address")]
    Handshakes,
}

impl AddressRefusal {
    /// The setting that decided, for the log.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Connections => "limits.connections_per_address_max",
            Self::Handshakes => "limits.handshakes_per_address_per_second",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    address: u128,
    connections: u32,
    /// Counted in `second`.
    handshakes: u32,
    second: u64,
    /// Somebody was refused in `second`.
    has_refused: bool,
    /// Among `idle`.
    is_idle: bool,
}

/// The addresses known to one shard.
#[derive(Debug)]
pub struct Addresses {
    /// Secret: peers choose their addresses, above all in IPv6.
    hash_key: (u64, u64),
    entries: Vec<Entry>,
    vacant: Vec<u32>,
    table: HashTable<u32>,
    /// Entries that held no connection when they were last touched.
    idle: Vec<u32>,
    swept_second: u64,
}

impl Addresses {
    pub fn new(hash_key: (u64, u64)) -> Self {
        Self {
            hash_key,
            entries: Vec::new(),
            vacant: Vec::new(),
            table: HashTable::new(),
            idle: Vec::new(),
            swept_second: 0,
        }
    }

    /// Counts a handshake and judges it. Amortised O(1).
    pub fn judge(&mut self, peer: SocketAddr, second: u64, share: Share) -> Result<(), AddressRefusal> {
        let at = self.find_or_insert(peer);
        let entry = &mut self.entries[at as usize];
        if entry.second != second {
            (entry.second, entry.handshakes, entry.has_refused) = (second, 0, false);
        }
        entry.handshakes = entry.handshakes.saturating_add(1);
        let exceeds = |count: u32, max: u32| max > 0 && count > max;
        if exceeds(entry.handshakes, share.handshakes_per_second_max) {
            return Err(AddressRefusal::Handshakes);
        }
        if exceeds(entry.connections.saturating_add(1), share.connections_max) {
            return Err(AddressRefusal::Connections);
        }
        Ok(())
    }

    /// Whether this refusal is the first one of its address and second: only that one is worth a log line.
    pub fn is_news(&mut self, peer: SocketAddr) -> bool {
        let at = self.find_or_insert(peer);
        !std::mem::replace(&mut self.entries[at as usize].has_refused, true)
    }

    /// Counts a connection until [`Self::release`] is called with the answer.
    pub fn hold(&mut self, peer: SocketAddr) -> u32 {
        let at = self.find_or_insert(peer);
        self.entries[at as usize].connections += 1;
        at
    }

    /// A connection is gone.
    pub fn release(&mut self, at: u32) {
        let entry = &mut self.entries[at as usize];
        assert!(entry.connections > 0, "a connection was released that was not held");
        entry.connections -= 1;
        self.note_idle(at);
    }

    /// Forgets addresses that hold nothing and were not counted in this second. Once a second O(such addresses).
    pub fn sweep(&mut self, second: u64) {
        if self.swept_second == second || self.idle.is_empty() {
            return;
        }
        self.swept_second = second;
        let mut idle = std::mem::take(&mut self.idle);
        idle.retain(|at| {
            let entry = &mut self.entries[*at as usize];
            entry.is_idle = entry.connections == 0;
            if entry.is_idle && entry.second != second {
                self.forget(*at);
                return false;
            }
            self.entries[*at as usize].is_idle
        });
        if !idle.is_empty() {
            self.idle = idle;
        }
    }

    /// Whether no address holds a connection.
    pub fn is_empty(&self) -> bool {
        self.table.iter().all(|at| self.entries[*at as usize].connections == 0)
    }

    fn find_or_insert(&mut self, peer: SocketAddr) -> u32 {
        let address = network_of(peer.ip());
        let hash = hash(self.hash_key, address);
        let entries = &self.entries;
        if let Some(at) = self.table.find(hash, |at| entries[*at as usize].address == address) {
            return *at;
        }
        let entry =
            Entry { address, connections: 0, handshakes: 0, second: 0, has_refused: false, is_idle: false };
        let at = match self.vacant.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("fewer addresses than connections")
            }
        };
        assert!(at != NONE, "the last number means none");
        let (entries, key) = (&self.entries, self.hash_key);
        self.table.insert_unique(hash, at, |at| self::hash(key, entries[*at as usize].address));
        self.note_idle(at);
        at
    }

    fn note_idle(&mut self, at: u32) {
        let entry = &mut self.entries[at as usize];
        if entry.connections == 0 && !entry.is_idle {
            entry.is_idle = true;
            self.idle.push(at);
        }
    }

    fn forget(&mut self, at: u32) {
        let hash = hash(self.hash_key, self.entries[at as usize].address);
        let entry = self.table.find_entry(hash, |entry| *entry == at);
        entry.expect("a known address is in the table").remove();
        self.vacant.push(at);
        if self.table.is_empty() {
            // After a storm of addresses nothing of it is kept.
            (self.entries, self.vacant, self.table) = (Vec::new(), Vec::new(), HashTable::new());
        }
    }
}

fn hash(key: (u64, u64), address: u128) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key.0, key.1);
    hasher.write_u128(address);
    hasher.finish()
}

/// A whole IPv4 address, also one that an IPv6 listener shows as `::ffff:a.b.c.d`; the /64 of an IPv6 address.
fn network_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn peer(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().expect(text), 1)
    }

    #[test]
    fn a_share_is_the_limit_divided_and_rounded_up() {
        let table = [(0, 4, 0), (1, 4, 1), (4, 4, 1), (5, 4, 2), (100, 1, 100), (u32::MAX, 1, u32::MAX)];
        for (limit, shards, want) in table {
            let share = Share::of(limit, limit, shards);
            assert_eq!((share.connections_max, share.handshakes_per_second_max), (want, want), "{limit}");
            assert_eq!(share.is_unlimited(), limit == 0);
        }
    }

    #[test]
    fn one_address_is_what_one_customer_gets() {
        let table = [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "0.0.0.1", false),
            ("::", "0.0.0.0", false),
        ];
        for (first, second, same) in table {
            let mut addresses = Addresses::new((1, 2));
            let holds = [addresses.hold(peer(first)), addresses.hold(peer(second))];
            assert_eq!(holds[0] == holds[1], same, "{first} {second}");
        }
    }

    #[test]
    fn handshakes_are_counted_though_each_connection_is_gone_at_once() {
        let mut addresses = Addresses::new((1, 2));
        let share = Share { connections_max: 1, handshakes_per_second_max: 3 };
        let mut outcomes = Vec::new();
        for second in [7, 7, 7, 7, 8] {
            let outcome = addresses.judge(peer("192.0.2.1"), second, share);
            match outcome {
                Ok(()) => {
                    let held = addresses.hold(peer("192.0.2.1"));
                    addresses.release(held);
                }
                Err(_) => assert!(addresses.is_news(peer("192.0.2.1")), "the first refusal is told"),
            }
            addresses.sweep(second);
            outcomes.push(outcome);
        }
        assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), Err(AddressRefusal::Handshakes), Ok(())]);
        assert!(addresses.is_news(peer("192.0.2.1")), "another second");
        assert!(!addresses.is_news(peer("192.0.2.1")));
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_map(steps in vec((0..3_u8, 0..6_u8, 0..3_u64), 0..300)) {
            let mut addresses = Addresses::new((1, 2));
            let share = Share { connections_max: 2, handshakes_per_second_max: 4 };
            let mut connections: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
            let mut handshakes: BTreeMap<u8, u32> = BTreeMap::new();
            let mut second = 1;
            for (kind, host, later) in steps {
                let address = SocketAddr::from(([192, 0, 2, host], 1));
                let held = connections.entry(host).or_default();
                match kind {
                    0 => {
                        let count = handshakes.entry(host).or_default();
                        *count += 1;
                        let want = if *count > 4 {
                            Err(AddressRefusal::Handshakes)
                        } else if held.len() >= 2 {
                            Err(AddressRefusal::Connections)
                        } else {
                            Ok(())
                        };
                        prop_assert_eq!(addresses.judge(address, second, share), want);
                        if want.is_ok() {
                            held.push(addresses.hold(address));
                        }
                    }
                    1 => if let Some(at) = held.pop() {
                        addresses.release(at);
                    },
                    _ => {
                        if later > 0 {
                            second += later;
                            handshakes.clear();
                        }
                        addresses.sweep(second);
                        let known = |host: &u8| {
                            connections.get(host).is_some_and(|held| !held.is_empty())
                                || handshakes.contains_key(host)
                        };
                        let present = (0..6).filter(known).count();
                        if later > 0 {
                            prop_assert_eq!(addresses.table.len(), present, "nobody else is remembered");
                        }
                    }
                }
            }
            let is_empty = connections.values().all(Vec::is_empty);
            prop_assert_eq!(addresses.is_empty(), is_empty);
        }
    }
}
