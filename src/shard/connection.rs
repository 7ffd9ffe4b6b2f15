//! What a shard keeps of each connection, split by how often it is touched.
//!
//! A delivery touches only [`Hot`]; everything else lies in [`Cold`]. Both tables are indexed by the slot, grow
//! by whole chunks and never move: growth costs neither a copy nor twice the memory.

use std::net::SocketAddr;
use std::sync::Arc;

use super::handles::Handles;
use super::http::HttpConnection;
use super::outbox::Outbox;
use super::preface::Fresh;
use super::resp::RespConnection;
use super::special::Special;
use super::waiting::Waiting;
use crate::core::ids::{AppIndex, ConnectionId, GENERATION_MASK, Slot};
use crate::core::publication::Payload;
use crate::protocol::Codec;
use crate::wire::websocket::Assembler;

/// No slot, no channel, no place.
pub const NONE: u32 = u32::MAX;

/// Touched by every delivery.
#[derive(Debug, Default)]
pub struct Hot {
    pub outbox: Outbox,
    /// 24 bits: which life of the slot this is.
    pub generation: u32,
    /// Place in a table per variant; meaningful once the client is subscribed.
    pub variant: u8,
    pub listed: Listed,
    pub phase: Phase,
    /// The peer will send no more, or what it sends is no longer looked at.
    pub deaf: bool,
}

/// Whether a connection is listed for the flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listed {
    #[default]
    No,
    Yes,
    /// And a ping is in what waits: the time for its answer begins when it leaves.
    WithPing,
    /// Not listed before the batch in flight is sent, behind which a ping waits.
    PingBehind,
}

/// Where a connection stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Nobody uses the slot.
    #[default]
    Vacant,
    Open,
    /// Its end is decided: the close frame is queued, the peer's answer or a deadline is awaited.
    Closing,
    /// Handed over for closing; the slot is not yet free.
    Closed,
}

/// How the connection speaks.
#[derive(Debug, Default)]
pub enum Transport {
    #[default]
    None,
    /// From a trusted proxy, whose first bytes may say for whom it speaks.
    Fresh(Box<Fresh>),
    /// Also every connection of an HTTP listener before its first request is known.
    Http(Box<HttpConnection>),
    Resp(Box<RespConnection>),
    WebSocket(Codec),
}

impl Transport {
    /// Whether what it sends is read into large buffers; `None`: that of a client never is.
    pub fn reads_bulk(&mut self) -> Option<&mut bool> {
        match self {
            Self::Http(http) => Some(&mut http.reads_bulk),
            Self::Resp(resp) => Some(&mut resp.reads_bulk),
            Self::None | Self::Fresh(_) | Self::WebSocket(_) => None,
        }
    }

    /// Whether the peer asks and is answered, so that the last answers are due even after it has ended its side.
    pub fn answers_requests(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Resp(_))
    }
}

/// Everything that is not needed per delivery.
#[derive(Debug, Default)]
pub struct Cold {
    pub transport: Transport,
    /// An unfinished WebSocket frame or message.
    pub assembler: Assembler,
    pub app: u16,
    /// Authenticated: commands other than connect are served.
    pub is_client: bool,
    /// Connect was answered with an error: whatever comes next ends the connection, unless it came in the same message.
    pub is_refused: bool,
    /// A ping was sent and its pong is awaited until `heartbeat_at`.
    pub awaits_pong: bool,
    /// The pong deadline was extended once because the shard itself ran late.
    pub pong_extended: bool,
    /// Something arrived since the silence was last judged.
    pub has_spoken: bool,
    /// The client is to prove something by `phase_at`.
    pub must_prove: bool,
    /// The connection is to end at `phase_at` because the broker drains.
    pub is_draining: bool,
    /// Of the second that `counted_second` names (its low bits): WebSocket pings, subscribe and unsubscribe commands,
    /// and publications where the dialect bounds them.
    pub pings: u16,
    pub subscribes: u16,
    pub publishes: u16,
    pub counted_second: u8,
    /// The deadline for the request head that is arriving is set.
    pub is_head_timed: bool,
    /// The peer will send no more, but may still read.
    pub peer_ended: bool,
    /// After our last byte the peer gets time to read it: FIN first, then CLOSE.
    pub lingers: bool,
    /// Bytes read since our close frame.
    pub closing_bytes: u32,
    /// Refused commands in a row.
    pub errors: u8,
    /// Empty: anonymous.
    pub user: Box<str>,
    /// The token's `info`; shared where many connections carry the same.
    pub info: Option<Arc<Payload>>,
    /// For the log until the client has authenticated; idle connections do not keep it.
    pub client_address: Option<Box<SocketAddr>>,
    /// Place among the addresses that are counted; [`NONE`]: this connection is not.
    pub address: u32,
    /// Subscribed channels.
    pub subscriptions: Handles,
    /// What some of them need beyond that; exists only where there is something.
    #[allow(clippy::box_collection)]
    pub specials: Option<Box<Vec<Special>>>,
    /// Exists only while answers are awaited or commands held back.
    pub waiting: Option<Box<Waiting>>,
    /// Neighbours in the list of the user's connections.
    pub user_next: u32,
    pub user_previous: u32,
    /// Unix seconds at which the connection expires; 0: it does not.
    pub expires_s: u32,
    /// Deadlines in ticks of [`TICK_MS`] since the shard began; 0: none.
    pub heartbeat_at: u32,
    /// Handshake, first authentication, fragment or close.
    pub phase_at: u32,
}

impl Cold {
    /// Counts begin anew with every second.
    pub fn count_within(&mut self, second: u8) {
        if self.counted_second != second {
            (self.counted_second, self.pings, self.subscribes, self.publishes) = (second, 0, 0, 0);
        }
    }
}

/// Milliseconds per tick of the deadlines kept per connection: pings fall into slices of this length, and 32
/// bits last for eight years.
pub const TICK_MS: u64 = 64;

const CHUNK_ENTRIES: usize = 1024;

/// A table indexed by slot that grows by chunks.
#[derive(Debug)]
struct Table<T>(Vec<Box<[T]>>);

impl<T: Default> Table<T> {
    fn reserve(&mut self, index: usize) {
        while self.0.len() * CHUNK_ENTRIES <= index {
            self.0.push((0..CHUNK_ENTRIES).map(|_| T::default()).collect());
        }
    }

    #[inline]
    fn get(&self, index: u32) -> &T {
        &self.0[index as usize / CHUNK_ENTRIES][index as usize % CHUNK_ENTRIES]
    }

    #[inline]
    fn get_mut(&mut self, index: u32) -> &mut T {
        &mut self.0[index as usize / CHUNK_ENTRIES][index as usize % CHUNK_ENTRIES]
    }
}

/// All connections of one shard, by slot.
#[derive(Debug)]
pub struct Connections {
    hot: Table<Hot>,
    cold: Table<Cold>,
    open: u32,
}

impl Default for Connections {
    fn default() -> Self {
        Self { hot: Table(Vec::new()), cold: Table(Vec::new()), open: 0 }
    }
}

impl Connections {
    /// Begins a new life of a slot.
    pub fn open(&mut self, slot: Slot) {
        self.hot.reserve(slot.0 as usize);
        self.cold.reserve(slot.0 as usize);
        let hot = self.hot.get_mut(slot.0);
        assert_eq!(hot.phase, Phase::Vacant, "slot {} was accepted into while in use", slot.0);
        assert!(hot.outbox.is_empty(), "slot {} has bytes of its previous life", slot.0);
        let generation = (hot.generation + 1) & GENERATION_MASK;
        *hot = Hot { generation, phase: Phase::Open, ..Hot::default() };
        *self.cold.get_mut(slot.0) =
            Cold { user_next: NONE, user_previous: NONE, address: NONE, ..Cold::default() };
        self.open += 1;
    }

    /// The slot is free again.
    pub fn vacate(&mut self, slot: Slot) {
        let hot = self.hot.get_mut(slot.0);
        assert_eq!(hot.phase, Phase::Closed, "slot {} was freed before it was closed", slot.0);
        assert!(hot.outbox.is_empty(), "slot {} was freed with bytes queued", slot.0);
        hot.phase = Phase::Vacant;
        self.open -= 1;
    }

    /// Sockets that are not vacant.
    pub fn count(&self) -> u32 {
        self.open
    }

    #[inline]
    pub fn hot(&self, slot: Slot) -> &Hot {
        self.hot.get(slot.0)
    }

    #[inline]
    pub fn hot_mut(&mut self, slot: Slot) -> &mut Hot {
        self.hot.get_mut(slot.0)
    }

    #[inline]
    pub fn cold(&self, slot: Slot) -> &Cold {
        self.cold.get(slot.0)
    }

    #[inline]
    pub fn cold_mut(&mut self, slot: Slot) -> &mut Cold {
        self.cold.get_mut(slot.0)
    }

    /// The name of the slot's present life.
    pub fn id(&self, slot: Slot) -> ConnectionId {
        ConnectionId { slot, generation: self.hot(slot).generation }
    }

    /// Whether that life of the slot is still open (not closing).
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.exists(id.slot) && {
            let hot = self.hot(id.slot);
            hot.generation == id.generation && hot.phase == Phase::Open
        }
    }

    /// Whether the slot was ever in use.
    pub fn exists(&self, slot: Slot) -> bool {
        (slot.0 as usize) < self.hot.0.len() * CHUNK_ENTRIES
    }

    /// Every slot whose connection is open, in slot order.
    pub fn open_slots(&self) -> impl Iterator<Item = Slot> + '_ {
        let hots = self.hot.0.iter().flat_map(|chunk| chunk.iter());
        (0..).zip(hots).filter(|(_, hot)| hot.phase == Phase::Open).map(|(slot, _)| Slot(slot))
    }

    pub fn app(&self, slot: Slot) -> AppIndex {
        AppIndex(self.cold(slot).app)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_stay_small() {
        assert_eq!((size_of::<Hot>(), size_of::<Cold>()), (48, 136));
    }
}
