//! The timer wheel: one deadline per index, armed, moved and dropped in O(1).
//!
//! Hashed and hierarchical: eleven levels of 64 slots, a slot of one level spanning all slots of the level below.
//! Eleven levels cover every `u64` millisecond, so no deadline wraps and none is kept aside. A deadline waits in
//! the coarsest slot that tells it from the present and moves down as its time comes near.
//!
//! The room reads no clock and never wakes by itself: the caller asks [`Wheel::next_due_ms`] when to come back.
//!
//! Invariants:
//! - `position` is a tick that the caller's clock has reached; it never goes back.
//! - An entry in a slot of level `k` agrees with `position` in all 6-bit groups above `k` and is greater in group
//!   `k`. So every slot of level `k` comes before every slot of level `k + 1`, and the slot that `position` itself
//!   lies in is empty, except for entries on their way down (`cascading`) and, at level 0, for those that are due.
//! - An occupied slot has its bit set, an empty one has not.

/// Milliseconds per tick as a power of two: 8 ms. A deadline is rounded up to a whole tick.
const TICK_SHIFT: u32 = 3;
/// Ticks stay below this, so that a tick in milliseconds is a `u64` again.
const TICK_MAX: u64 = u64::MAX >> TICK_SHIFT;
/// Slots per level as a power of two: the occupied slots of a level are the bits of one `u64`.
const SLOT_SHIFT: u32 = 6;
const SLOTS: usize = 1 << SLOT_SHIFT;
/// 61 bits of ticks in groups of 6.
const LEVELS: usize = (64 - TICK_SHIFT).div_ceil(SLOT_SHIFT) as usize;
/// Entries per allocation: 16 KiB.
const CHUNK_SHIFT: u32 = 10;
const CHUNK: usize = 1 << CHUNK_SHIFT;
/// How many entries one call of `expire` may move down for each that it may expire: a slot full of a million
/// deadlines must not hold up the turn that reaches it.
const MOVES_PER_EXPIRY: usize = 16;

/// A link names an entry, or from here on the slot whose list ends there.
const FIRST_HEAD: Link = Link::MAX - 1_024;
/// The `next` of an entry that is not armed.
const UNARMED: Link = Link::MAX;

type Link = u32;

/// Indices are below this.
pub const INDEX_LIMIT: u32 = FIRST_HEAD;

/// A place in the wheel: level × 64 + slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place(u16);

impl Place {
    fn new(level: usize, slot: usize) -> Self {
        debug_assert!(level < LEVELS && slot < SLOTS);
        Self((level * SLOTS + slot) as u16)
    }

    fn level(self) -> usize {
        usize::from(self.0) / SLOTS
    }

    fn bit(self) -> u64 {
        1 << (usize::from(self.0) % SLOTS)
    }

    fn link(self) -> Link {
        FIRST_HEAD + Link::from(self.0)
    }

    fn of_link(link: Link) -> Option<Self> {
        link.checked_sub(FIRST_HEAD).map(|place| Self(place as u16))
    }
}

/// One index's deadline and its neighbours in the slot's list. 16 bytes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    tick: u64,
    previous: Link,
    next: Link,
}

const IDLE: Entry = Entry { tick: 0, previous: UNARMED, next: UNARMED };

/// Both ends of a slot's list; the slot's own link when it is empty.
#[derive(Debug, Clone, Copy)]
struct Head {
    first: Link,
    last: Link,
}

/// Deadlines of up to [`INDEX_LIMIT`] indices; one each.
///
/// Memory: 16 bytes per index up to the greatest that was ever armed, in chunks of 1,024, and 6 KiB. Chunks are
/// made when first needed and kept.
#[derive(Debug)]
pub struct Wheel {
    position: u64,
    len: usize,
    /// The place whose entries are moving down; only ever the one `position` has just reached.
    cascading: Option<Place>,
    occupied: [u64; LEVELS],
    heads: Box<[Head]>,
    chunks: Vec<Option<Box<[Entry]>>>,
}

impl Wheel {
    /// An empty wheel. `start_ms`: what the caller's monotonic clock says now.
    pub fn new(start_ms: u64) -> Self {
        let empty = |place| Head { first: FIRST_HEAD + place, last: FIRST_HEAD + place };
        Self {
            position: start_ms >> TICK_SHIFT,
            len: 0,
            cascading: None,
            occupied: [0; LEVELS],
            heads: (0..(LEVELS * SLOTS) as Link).map(empty).collect(),
            chunks: Vec::new(),
        }
    }

    /// How many indices are armed.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Arms `index` to expire at `deadline_ms`, instead of whenever it was armed for. O(1).
    ///
    /// It expires at the first multiple of 8 ms that is not before the deadline; a deadline in the past is due
    /// at once. Panics if `index` is not below [`INDEX_LIMIT`].
    pub fn arm(&mut self, index: u32, deadline_ms: u64) {
        assert!(index < INDEX_LIMIT, "index {index} is a link of the wheel's own");
        let whole = deadline_ms >> TICK_SHIFT;
        let tick = if whole << TICK_SHIFT == deadline_ms { whole } else { (whole + 1).min(TICK_MAX) };
        self.make_room(index);
        self.disarm(index);
        self.entry_mut(index).tick = tick;
        self.link_last(index, self.place_of(tick));
        self.len += 1;
    }

    /// Forgets the deadline of `index`, if it has one. O(1).
    pub fn disarm(&mut self, index: u32) {
        if self.is_armed(index) {
            self.unlink(index);
            *self.entry_mut(index) = IDLE;
            self.len -= 1;
        }
    }

    pub fn is_armed(&self, index: u32) -> bool {
        self.chunk(index).is_some_and(|chunk| chunk[index as usize % CHUNK].next != UNARMED)
    }

    /// When [`expire`](Self::expire) should be called next; `None`: nothing is armed.
    ///
    /// Never after an expiry. Before it only where entries have to move down first: at most once per level, so
    /// a deadline `t` away costs at most log64(`t` / 8 ms) extra calls, shared by all in its slot. O(levels).
    pub fn next_due_ms(&self) -> Option<u64> {
        let (_, start) = self.next_place()?;
        Some(start.max(self.position) << TICK_SHIFT)
    }

    /// Appends the indices whose deadlines have come, at most `max`, and disarms them.
    ///
    /// In order of their ticks; within a tick in the order in which they were armed, except that those armed
    /// from far away come after those armed from near. Time that goes back counts as time that stands still.
    /// What is left over stays due: as long as [`next_due_ms`](Self::next_due_ms) is not after `now_ms`, call
    /// again. Fewer than `max` do not mean that nothing is left: one call moves at most `16 × max` entries from
    /// coarse slots to finer ones.
    pub fn expire(&mut self, now_ms: u64, max: usize, due: &mut Vec<u32>) {
        let now = (now_ms >> TICK_SHIFT).max(self.position);
        let mut expiries = max;
        let mut moves = max.saturating_mul(MOVES_PER_EXPIRY);
        while expiries > 0 {
            match self.next_place() {
                None => {
                    self.position = now;
                    return;
                }
                Some((_, start)) if start > now => {
                    self.position = now;
                    return;
                }
                // Only who can begin to empty a coarse slot may step into it: entries left in the slot of `position`
                // would come after those armed from here on.
                Some((place, _)) if place.level() > 0 && moves == 0 => return,
                Some((place, start)) => {
                    self.position = self.position.max(start);
                    if place.level() > 0 {
                        self.move_down(place, &mut moves);
                    } else {
                        self.drain(place, &mut expiries, due);
                    }
                }
            }
        }
    }

    /// Hands out entries of a level 0 slot that `position` has reached.
    fn drain(&mut self, place: Place, expiries: &mut usize, due: &mut Vec<u32>) {
        while *expiries > 0 {
            let index = self.heads[usize::from(place.0)].first;
            if index >= FIRST_HEAD {
                return;
            }
            debug_assert!(self.entry(index).tick <= self.position, "{index} would expire early");
            self.disarm(index);
            due.push(index);
            *expiries -= 1;
        }
    }

    /// Moves entries of a coarse slot that `position` has reached to finer ones.
    fn move_down(&mut self, place: Place, moves: &mut usize) {
        self.cascading = Some(place);
        while *moves > 0 {
            let index = self.heads[usize::from(place.0)].first;
            if index >= FIRST_HEAD {
                return;
            }
            self.unlink(index);
            let lower = self.place_of(self.entry(index).tick);
            debug_assert!(lower.level() < place.level());
            self.link_last(index, lower);
            *moves -= 1;
        }
    }

    /// The place to be dealt with next and the tick at which it begins.
    fn next_place(&self) -> Option<(Place, u64)> {
        if let Some(place) = self.cascading {
            return Some((place, self.position));
        }
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slot = self.occupied[level].trailing_zeros();
        let shift = SLOT_SHIFT * level as u32;
        // The top level's group is cut short by the width of `u64`.
        let above = self.position.checked_shr(shift + SLOT_SHIFT).unwrap_or(0);
        let start = (above << SLOT_SHIFT | u64::from(slot)) << shift;
        Some((Place::new(level, slot as usize), start))
    }

    /// Where a tick belongs as seen from `position`.
    fn place_of(&self, tick: u64) -> Place {
        let tick = tick.max(self.position);
        let differing = tick ^ self.position;
        let level = differing.checked_ilog2().unwrap_or(0) / SLOT_SHIFT;
        let slot = tick >> (SLOT_SHIFT * level) & (SLOTS as u64 - 1);
        Place::new(level as usize, slot as usize)
    }

    fn link_last(&mut self, index: u32, place: Place) {
        let last = std::mem::replace(&mut self.heads[usize::from(place.0)].last, index);
        self.set_next(last, index);
        let entry = self.entry_mut(index);
        entry.previous = last;
        entry.next = place.link();
        self.occupied[place.level()] |= place.bit();
    }

    fn unlink(&mut self, index: u32) {
        let Entry { previous, next, .. } = *self.entry(index);
        self.set_next(previous, next);
        self.set_previous(next, previous);
        // Only the last entry of a slot lies between two links to that slot.
        if previous == next
            && let Some(place) = Place::of_link(previous)
        {
            self.occupied[place.level()] &= !place.bit();
            if self.cascading == Some(place) {
                self.cascading = None;
            }
        }
    }

    fn set_next(&mut self, link: Link, next: Link) {
        match Place::of_link(link) {
            Some(place) => self.heads[usize::from(place.0)].first = next,
            None => self.entry_mut(link).next = next,
        }
    }

    fn set_previous(&mut self, link: Link, previous: Link) {
        match Place::of_link(link) {
            Some(place) => self.heads[usize::from(place.0)].last = previous,
            None => self.entry_mut(link).previous = previous,
        }
    }

    fn make_room(&mut self, index: u32) {
        let at = (index >> CHUNK_SHIFT) as usize;
        if self.chunks.len() <= at {
            self.chunks.resize_with(at + 1, || None);
        }
        self.chunks[at].get_or_insert_with(|| vec![IDLE; CHUNK].into_boxed_slice());
    }

    fn chunk(&self, index: u32) -> Option<&[Entry]> {
        self.chunks.get((index >> CHUNK_SHIFT) as usize)?.as_deref()
    }

    fn entry(&self, index: u32) -> &Entry {
        let chunk = self.chunk(index).expect("an armed index has its chunk");
        &chunk[index as usize % CHUNK]
    }

    fn entry_mut(&mut self, index: u32) -> &mut Entry {
        let chunk = self.chunks[(index >> CHUNK_SHIFT) as usize].as_deref_mut();
        &mut chunk.expect("an armed index has its chunk")[index as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests;
