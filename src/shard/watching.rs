//! Telling clients which users are there, and who of them comes and goes.
//!
//! A shard where somebody watches a user asks all shards whether they have connections of that user, and each of them
//! says so, and says again when its first connection of the user comes and its last goes, until nobody here watches
//! the user any more. Users whom nobody watches are looked at nowhere.
//!
//! Invariants:
//! - A user is in `watched` exactly while it has a watcher here, and then every other shard lists this one for it.
//! - A watcher is an open connection.
//! - What an answer says of a shard replaces what was known of it: letters of one shard come in order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::Shard;
use super::connection::Phase;
use super::letter::Letter;
use crate::core::event::Event;
use crate::core::ids::{AppIndex, ShardId, Slot};

/// A user who is gone may be back in a moment: a page was loaded again.
const ABSENCE_MS: u64 = 3_000;

/// Changes are told together at moments so far apart.
const BATCH_MS: u64 = 250;

type User = (AppIndex, Arc<str>);

/// Who watches whom here, and which shards are to be told of the connections here.
#[derive(Debug, Default)]
pub struct Watching {
    /// By slot.
    watchers: HashMap<u32, Watcher>,
    watched: HashMap<User, Watched>,
    /// Users who may be told of as there, or as gone, at a moment in monotonic milliseconds.
    settling: BTreeMap<u64, Vec<User>>,
    /// Other shards that want to know whether the user has connections here.
    askers: HashMap<User, Vec<ShardId>>,
    /// Names the last question that was asked, so that an answer to an older one is known.
    question: u64,
}

/// A client that watches others.
#[derive(Debug)]
struct Watcher {
    app: AppIndex,
    /// No user occurs twice.
    users: Arc<[Arc<str>]>,
    /// It was told who is there, so that from now on it is told of changes.
    is_told: bool,
}

/// A user whom somebody here watches.
#[derive(Debug)]
struct Watched {
    /// Slots.
    watchers: BTreeSet<u32>,
    question: u64,
    /// Shards that have not answered.
    unknown: u16,
    /// Where it has connections.
    shards: Vec<ShardId>,
    /// As the watchers were told.
    is_online: bool,
    /// When they are told that this has changed; 0: it has not.
    settles_ms: u64,
}

impl Watching {
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
            && self.watched.is_empty()
            && self.settling.is_empty()
            && self.askers.is_empty()
    }

    /// When the next change is told.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.settling.keys().next().copied()
    }
}

impl Shard {
    /// A client wants to hear of these users. It is told who of them is there as soon as that is known.
    pub(super) fn watch(&mut self, slot: Slot, users: Vec<Box<str>>) {
        let mut seen = HashSet::with_capacity(users.len());
        let users: Arc<[Arc<str>]> =
            users.into_iter().map(Arc::<str>::from).filter(|user| seen.insert(Arc::clone(user))).collect();
        if users.is_empty() || self.connections.hot(slot).phase != Phase::Open {
            return;
        }
        let app = self.connections.app(slot);
        let shards = self.channels.placement().shards;
        let mut asked: Vec<Arc<str>> = Vec::new();
        self.watching.question += 1;
        let question = self.watching.question;
        for user in users.iter() {
            let key = (app, Arc::clone(user));
            if let Some(watched) = self.watching.watched.get_mut(&key) {
                watched.watchers.insert(slot.0);
                continue;
            }
            let is_here = self.users.contains(&self.connections, app, user);
            let watched = Watched {
                watchers: BTreeSet::from([slot.0]),
                question,
                unknown: shards - 1,
                shards: if is_here { vec![self.id] } else { Vec::new() },
                is_online: is_here,
                settles_ms: 0,
            };
            self.watching.watched.insert(key, watched);
            asked.push(Arc::clone(user));
        }
        let asked: Arc<[Arc<str>]> = asked.into();
        for shard in self.others().filter(|_| !asked.is_empty()) {
            self.send(shard, Letter::Watch { question, app, users: Arc::clone(&asked) });
        }
        self.watching.watchers.insert(slot.0, Watcher { app, users, is_told: false });
        self.tell_watcher(slot);
    }

    /// A client goes: it watches nobody any more.
    pub(super) fn end_watch(&mut self, slot: Slot) {
        if self.watching.watchers.is_empty() {
            return;
        }
        let Some(Watcher { app, users, .. }) = self.watching.watchers.remove(&slot.0) else { return };
        let mut unwatched: Vec<Arc<str>> = Vec::new();
        for user in users.iter() {
            let key = (app, Arc::clone(user));
            let Some(watched) = self.watching.watched.get_mut(&key) else { continue };
            watched.watchers.remove(&slot.0);
            if watched.watchers.is_empty() {
                self.watching.watched.remove(&key);
                unwatched.push(Arc::clone(user));
            }
        }
        if self.watching.watched.is_empty() {
            self.watching.settling.clear();
        }
        let unwatched: Arc<[Arc<str>]> = unwatched.into();
        for shard in self.others().filter(|_| !unwatched.is_empty()) {
            self.send(shard, Letter::Unwatch { app, users: Arc::clone(&unwatched) });
        }
    }

    /// Another shard wants to know of these users from here on.
    pub(super) fn watched_by(
        &mut self,
        source: ShardId,
        question: u64,
        app: AppIndex,
        users: &Arc<[Arc<str>]>,
    ) {
        let mut are_here = Vec::with_capacity(users.len());
        for user in users.iter() {
            self.watching.askers.entry((app, Arc::clone(user))).or_default().push(source);
            are_here.push(self.users.contains(&self.connections, app, user));
        }
        let (users, are_here) = (Arc::clone(users), are_here.into());
        self.send(source, Letter::Seen { question, app, users, are_here });
    }

    /// Another shard need not know any more.
    pub(super) fn unwatched_by(&mut self, source: ShardId, app: AppIndex, users: &[Arc<str>]) {
        for user in users {
            let key = (app, Arc::clone(user));
            let Some(askers) = self.watching.askers.get_mut(&key) else { continue };
            askers.retain(|asker| *asker != source);
            if askers.is_empty() {
                self.watching.askers.remove(&key);
            }
        }
    }

    /// Another shard says who is there as it begins to tell of changes.
    pub(super) fn seen(
        &mut self,
        source: ShardId,
        (question, app): (u64, AppIndex),
        users: &[Arc<str>],
        are_here: &[bool],
    ) {
        let mut watchers = BTreeSet::new();
        for (user, is_here) in users.iter().zip(are_here) {
            let Some(watched) = self.watching.watched.get_mut(&(app, Arc::clone(user))) else { continue };
            if watched.question != question {
                continue;
            }
            watched.note(source, *is_here);
            watched.unknown -= 1;
            if watched.unknown == 0 {
                watched.is_online = !watched.shards.is_empty();
                watchers.extend(&watched.watchers);
            }
        }
        for watcher in watchers {
            self.tell_watcher(Slot(watcher));
        }
    }

    /// The first connection of the client's user came here, or the last one goes.
    pub(super) fn note_user(&mut self, slot: Slot, is_here: bool) {
        if self.watching.watched.is_empty() && self.watching.askers.is_empty() {
            return;
        }
        let (app, user) = (self.connections.app(slot), &self.connections.cold(slot).user);
        let key = (app, Arc::<str>::from(&**user));
        for target in self.watching.askers.get(&key).cloned().unwrap_or_default() {
            self.send(target, Letter::Moved { app, user: Arc::clone(&key.1), is_here });
        }
        self.user_moved(self.id, key, is_here);
    }

    /// A shard has a connection of the user from here on, or none any more.
    pub(super) fn user_moved(&mut self, source: ShardId, user: User, is_here: bool) {
        let now_ms = self.now.monotonic_ms;
        let Some(watched) = self.watching.watched.get_mut(&user) else { return };
        watched.note(source, is_here);
        if watched.unknown > 0 {
            return;
        }
        let is_online = !watched.shards.is_empty();
        if is_online == watched.is_online {
            watched.settles_ms = 0;
        } else if watched.settles_ms == 0 {
            let delay_ms = if is_online { 0 } else { ABSENCE_MS };
            watched.settles_ms = (now_ms + delay_ms).next_multiple_of(BATCH_MS);
            self.watching.settling.entry(watched.settles_ms).or_default().push(user);
        }
    }

    /// Tells of the changes that have lasted.
    pub(super) fn tell_settled(&mut self) {
        let watching = &mut self.watching;
        // By slot: who came, and who went.
        let mut news: BTreeMap<u32, [Vec<Arc<str>>; 2]> = BTreeMap::new();
        while let Some(moment) = watching.settling.first_entry() {
            if *moment.key() > self.now.monotonic_ms {
                break;
            }
            let (due_ms, users) = moment.remove_entry();
            for user in users {
                let Some(watched) = watching.watched.get_mut(&user) else { continue };
                // It came back meanwhile, perhaps to go once more.
                if watched.settles_ms != due_ms {
                    continue;
                }
                watched.settles_ms = 0;
                watched.is_online = !watched.shards.is_empty();
                for watcher in &watched.watchers {
                    if watching.watchers.get(watcher).is_some_and(|watcher| watcher.is_told) {
                        let came_and_went = news.entry(*watcher).or_default();
                        came_and_went[usize::from(!watched.is_online)].push(Arc::clone(&user.1));
                    }
                }
            }
        }
        for (watcher, [online, offline]) in news {
            self.tell(Slot(watcher), &Event::Watched { online: &online, offline: &offline });
        }
    }

    /// Tells a client who is there, once that is known of all whom it watches.
    fn tell_watcher(&mut self, slot: Slot) {
        let Some(watcher) = self.watching.watchers.get_mut(&slot.0) else { return };
        if watcher.is_told {
            return;
        }
        let (mut online, mut offline) = (Vec::new(), Vec::new());
        for user in watcher.users.iter() {
            match self.watching.watched.get(&(watcher.app, Arc::clone(user))) {
                Some(watched) if watched.unknown > 0 => return,
                Some(watched) if watched.is_online => online.push(Arc::clone(user)),
                Some(_) | None => offline.push(Arc::clone(user)),
            }
        }
        watcher.is_told = true;
        // Behind the answer to what it asked for.
        self.queue_reply(slot, &Event::Watched { online: &online, offline: &offline });
    }

    fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.id;
        (0..self.channels.placement().shards).map(ShardId).filter(move |shard| *shard != own)
    }
}

impl Watched {
    fn note(&mut self, shard: ShardId, is_here: bool) {
        self.shards.retain(|known| *known != shard);
        if is_here {
            self.shards.push(shard);
        }
    }
}
