//! Sockets: two byte streams, the ways they end, and how much the kernel holds for a peer that does not read.

use std::collections::VecDeque;

use polycast::shard::input::Entrance;

use super::random::Random;

/// One connection as both ends see it.
#[derive(Debug)]
pub struct Socket {
    /// The kind of listener it goes to.
    pub entrance: Entrance,
    /// Written by the peer, not yet received by the server.
    pub to_server: VecDeque<u8>,
    /// The peer sends no more.
    pub peer_finished: bool,
    /// The peer has closed altogether: what is sent to it is lost.
    pub peer_gone: bool,
    /// The peer reset the connection.
    pub peer_reset: bool,
    /// Taken by the server's kernel, not yet read by the peer.
    pub to_peer: VecDeque<u8>,
    /// Bytes that `to_peer` may hold before the server's sends wait.
    pub room: usize,
    /// The server sends no more.
    pub server_finished: bool,
    /// The server's socket is closed, or was never accepted.
    pub server_closed: bool,
    /// It was closed by a reset.
    pub server_reset: bool,
}

impl Socket {
    pub fn new(entrance: Entrance, room: usize) -> Self {
        Self {
            entrance,
            to_server: VecDeque::new(),
            peer_finished: false,
            peer_gone: false,
            peer_reset: false,
            to_peer: VecDeque::new(),
            room,
            server_finished: false,
            server_closed: false,
            server_reset: false,
        }
    }

    /// Bytes the peer reads in one go; empty if there are none.
    pub fn read(&mut self, random: &mut Random) -> Vec<u8> {
        if self.to_peer.is_empty() {
            return Vec::new();
        }
        let length = if random.percent(50) { self.to_peer.len() } else { random.length(self.to_peer.len()) };
        self.to_peer.drain(..length).collect()
    }

    /// Whether a read would say that the server is done, or that the connection is broken.
    pub fn has_ended(&self) -> bool {
        self.to_peer.is_empty() && (self.server_finished || self.server_closed || self.server_reset)
    }

    /// Whether the peer can learn something by reading.
    pub fn is_readable(&self) -> bool {
        !self.to_peer.is_empty() || self.has_ended()
    }

    /// The peer closes: both directions end, unread bytes turn it into a reset.
    pub fn close_by_peer(&mut self) {
        self.peer_finished = true;
        self.peer_gone = true;
        self.peer_reset |= !self.to_peer.is_empty();
        self.to_peer.clear();
    }

    /// The peer resets.
    pub fn reset_by_peer(&mut self) {
        self.close_by_peer();
        self.peer_reset = true;
        self.to_server.clear();
    }

    /// The server's kernel closes its end. Bytes it had not received make it a reset, which may overtake what the
    /// peer has not read yet.
    pub fn close_by_server(&mut self, abort: bool, random: &mut Random) {
        self.server_finished = true;
        self.server_closed = true;
        if abort || !self.to_server.is_empty() {
            self.server_reset = true;
            if random.percent(50) {
                self.to_peer.clear();
            }
        }
        self.to_server.clear();
    }
}
