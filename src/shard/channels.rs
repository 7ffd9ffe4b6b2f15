//! The channels a shard knows: those its clients hear, and those it owns.

use std::cell::Cell;
use std::sync::Arc;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::deltas::Deltas;
use super::handles::Handles;
use super::hearing::Part;
use super::outbox::Log;
use super::owner::Owner;
use crate::core::ids::{AppIndex, ShardId};
use crate::engine::ChannelKey;
use crate::protocol::Variant;

/// Decides which shard owns a channel. Keyed per process, so that nobody outside can aim at one shard.
#[derive(Debug, Clone, Copy)]
pub struct Placement {
    pub key: (u64, u64),
    pub shards: u16,
}

impl Placement {
    pub fn hash(&self, app: AppIndex, name: &str) -> u64 {
        use std::hash::Hasher;
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write_u16(app.0);
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    pub fn owner(&self, hash: u64) -> ShardId {
        // The high half: tables use the low bits.
        ShardId(((hash >> 32) % u64::from(self.shards)) as u16)
    }
}

/// One channel at one shard.
#[derive(Debug)]
pub struct Channel {
    pub key: ChannelKey,
    /// Slots of local subscribers that get the frames which all of them share.
    pub subscribers: Handles,
    /// Subscribers that not everything is the same for; exists only where there are some.
    pub few: Option<Box<Few>>,
    /// The owner's side, where it holds more than «the engine delivers, and only local clients hear it».
    pub owner: Option<Box<Owner>>,
    /// Joins under way for clients of this shard.
    pub joining: u32,
    /// Place in the list of channels with a log of their own; [`super::connection::NONE`]: none.
    pub log: u32,
    /// At the owner: the engine delivers. Elsewhere: the owner was asked to deliver.
    pub is_live: bool,
    /// The subscriber count changed since the owner was last told.
    pub count_changed: bool,
    /// At the owner: somebody hears the channel, and that was said.
    pub is_occupied: bool,
}

/// Subscribers of one channel at one shard that not everything is the same for.
#[derive(Debug, Default)]
pub struct Few {
    /// Slots of subscribers who are told of others' joins and leaves, whether they are among the many or not.
    pub listeners: Handles,
    /// Slots of subscribers who have been told nothing yet: what they would hear is held for them, each its own.
    pub apart: Handles,
    /// Those who hear a part, by what they want.
    pub parts: Vec<Part>,
    pub deltas: Option<Box<Deltas>>,
}

/// A channel with enough subscribers for a log of its own, while its frames are on their way.
#[derive(Debug)]
pub struct ChannelLog {
    pub channel: u32,
    pub logs: [Log; Variant::COUNT],
}

/// All channels of one shard. Handles stay valid until the channel is removed.
#[derive(Debug)]
pub struct Channels {
    placement: Placement,
    slab: Vec<Box<[Option<Channel>]>>,
    vacant: Vec<u32>,
    next: u32,
    table: HashTable<u32>,
    /// The channel found last: what happens to one publication names its channel again and again.
    latest: Cell<u32>,
    /// Handles whose count the owner should be told.
    pub counts_changed: Vec<u32>,
}

const CHUNK_ENTRIES: u32 = 1024;

impl Channels {
    pub fn new(placement: Placement) -> Self {
        Self {
            placement,
            slab: Vec::new(),
            vacant: Vec::new(),
            next: 0,
            table: HashTable::new(),
            latest: Cell::new(0),
            counts_changed: Vec::new(),
        }
    }

    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// The handle of a known channel.
    pub fn find(&self, app: AppIndex, name: &str) -> Option<u32> {
        let latest = self.latest.get();
        if self.try_get(latest).is_some_and(|channel| channel.key.is(app, name)) {
            return Some(latest);
        }
        self.find_hashed(self.placement.hash(app, name), app, name)
    }

    /// The shard that owns a channel, and its handle if it is known here.
    pub fn find_with_owner(&self, app: AppIndex, name: &str) -> (ShardId, Option<u32>) {
        let hash = self.placement.hash(app, name);
        (self.placement.owner(hash), self.find_hashed(hash, app, name))
    }

    fn find_hashed(&self, hash: u64, app: AppIndex, name: &str) -> Option<u32> {
        let slab = &self.slab;
        let handle = *self.table.find(hash, |handle| entry(slab, *handle).key.is(app, name))?;
        self.latest.set(handle);
        Some(handle)
    }

    /// The handle of a channel, which is known from now on.
    pub fn find_or_insert(&mut self, app: AppIndex, name: &str) -> u32 {
        if let Some(handle) = self.find(app, name) {
            return handle;
        }
        let handle = self.vacant.pop().unwrap_or_else(|| {
            let handle = self.next;
            self.next += 1;
            if handle.is_multiple_of(CHUNK_ENTRIES) {
                self.slab.push((0..CHUNK_ENTRIES).map(|_| None).collect());
            }
            handle
        });
        let place = &mut self.slab[(handle / CHUNK_ENTRIES) as usize][(handle % CHUNK_ENTRIES) as usize];
        debug_assert!(place.is_none());
        *place = Some(Channel {
            key: ChannelKey { app, name: Arc::from(name) },
            subscribers: Handles::None,
            few: None,
            owner: None,
            joining: 0,
            log: super::connection::NONE,
            is_live: false,
            count_changed: false,
            is_occupied: false,
        });
        let (slab, placement) = (&self.slab, self.placement);
        self.table.insert_unique(placement.hash(app, name), handle, |handle| {
            let key = &entry(slab, *handle).key;
            placement.hash(key.app, &key.name)
        });
        handle
    }

    /// Forgets a channel.
    pub fn remove(&mut self, handle: u32) -> Channel {
        let place = &mut self.slab[(handle / CHUNK_ENTRIES) as usize][(handle % CHUNK_ENTRIES) as usize];
        let channel = place.take().expect("the handle of a known channel");
        let hash = self.placement.hash(channel.key.app, &channel.key.name);
        self.table
            .find_entry(hash, |entry| *entry == handle)
            .expect("a known channel is in the table")
            .remove();
        self.vacant.push(handle);
        channel
    }

    #[inline]
    pub fn get(&self, handle: u32) -> &Channel {
        entry(&self.slab, handle)
    }

    #[inline]
    pub fn get_mut(&mut self, handle: u32) -> &mut Channel {
        self.slab[(handle / CHUNK_ENTRIES) as usize][(handle % CHUNK_ENTRIES) as usize]
            .as_mut()
            .expect("the handle of a known channel")
    }

    fn try_get(&self, handle: u32) -> Option<&Channel> {
        self.slab.get((handle / CHUNK_ENTRIES) as usize)?[(handle % CHUNK_ENTRIES) as usize].as_ref()
    }

    /// The channel behind a handle that may have been removed since.
    pub fn try_get_mut(&mut self, handle: u32) -> Option<&mut Channel> {
        self.slab.get_mut((handle / CHUNK_ENTRIES) as usize)?[(handle % CHUNK_ENTRIES) as usize].as_mut()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Every channel, in the order of handles.
    pub fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.slab.iter().flat_map(|chunk| chunk.iter().flatten())
    }

    /// Remembers to tell the owner of the channel's new count at the end of the turn.
    pub fn note_count(&mut self, handle: u32) {
        let channel = self.get_mut(handle);
        if !channel.count_changed {
            channel.count_changed = true;
            self.counts_changed.push(handle);
        }
    }
}

fn entry(slab: &[Box<[Option<Channel>]>], handle: u32) -> &Channel {
    slab[(handle / CHUNK_ENTRIES) as usize][(handle % CHUNK_ENTRIES) as usize]
        .as_ref()
        .expect("the handle of a known channel")
}
