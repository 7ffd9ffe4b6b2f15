//! What a peer sees of the run it takes part in.

use polycast::core::time::Now;
use polycast::shard::input::Entrance;

use super::ledger::Ledger;
use super::mutant::Saboteur;
use super::network::Socket;
use super::random::Random;
use super::scenario::Scenario;
use super::trace::Trace;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Peers come, go, subscribe and publish.
    Active,
    /// Nobody begins anything; what is under way comes to its end.
    Quiet,
    /// Connections whose tokens are not refreshed expire.
    Expiring,
    /// The broker drains, or everybody leaves.
    Ending,
}

/// A backend's request to end a user's connections.
#[derive(Debug)]
pub struct Kill {
    pub user: String,
    pub sent_ms: u64,
    pub answered_ms: Option<u64>,
}

#[derive(Debug)]
pub struct Around<'a> {
    pub now: Now,
    pub scenario: &'a Scenario,
    pub sockets: &'a mut Vec<Socket>,
    /// Sockets to be put before a shard's listener.
    pub connects: &'a mut Vec<(usize, usize)>,
    pub random: &'a mut Random,
    pub ledger: &'a mut Ledger,
    pub trace: &'a mut Trace,
    pub saboteur: &'a mut Saboteur,
    pub kills: &'a mut Vec<Kill>,
    /// By which clients were told that they are known, the latest last.
    pub socket_ids: &'a mut Vec<String>,
    pub stage: Stage,
    pub is_reloaded: bool,
    pub is_draining: bool,
}

impl Around<'_> {
    /// A socket on its way to a shard of the seed's choice.
    pub fn connect(&mut self) -> usize {
        self.connect_to(Entrance::Http)
    }

    /// Likewise, for a kind of listener.
    pub fn connect_to(&mut self, entrance: Entrance) -> usize {
        let shard = self.random.index(usize::from(self.scenario.shards));
        self.sockets.push(Socket::new(entrance, self.scenario.room));
        self.connects.push((shard, self.sockets.len() - 1));
        self.sockets.len() - 1
    }

    /// Length of the next publication's filling, in bytes.
    pub fn data_bytes(&mut self) -> usize {
        self.random.length(self.scenario.data_bytes_max)
    }

    pub fn channel(&mut self) -> String {
        self.random.pick(&self.scenario.channels).clone()
    }

    /// When the next action of a peer comes.
    pub fn pause_ms(&mut self) -> u64 {
        self.now.monotonic_ms + self.random.below(self.scenario.pace_ms * 2 + 1)
    }
}

/// Bytes on their way out, written in pieces of any length.
#[derive(Debug, Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
    due_ms: u64,
}

impl Writer {
    pub fn is_due(&self, now_ms: u64) -> bool {
        !self.bytes.is_empty() && self.due_ms <= now_ms
    }

    pub fn next_ms(&self) -> Option<u64> {
        (!self.bytes.is_empty()).then_some(self.due_ms)
    }

    /// Writes a piece. Nothing reaches a server that has closed.
    pub fn write(&mut self, socket: usize, around: &mut Around<'_>) {
        let random = &mut *around.random;
        let length = if random.percent(60) { self.bytes.len() } else { random.length(self.bytes.len()) };
        let piece = self.bytes.drain(..length);
        let socket = &mut around.sockets[socket];
        if socket.server_closed {
            socket.server_reset = true;
        } else {
            socket.to_server.extend(piece);
        }
        self.due_ms = around.now.monotonic_ms + if random.percent(70) { 0 } else { random.below(5) };
    }
}
