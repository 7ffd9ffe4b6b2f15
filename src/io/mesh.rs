//! Lanes between shards, and between shards and the control thread.
//!
//! One bounded lock-free queue per target shard, first in first out per source. A full lane makes letters wait at
//! their source, in order and counted; none is dropped and no shard ever waits for another. A sleeping target is
//! woken once per batch.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering, fence};

use crossbeam::queue::{ArrayQueue, SegQueue};
use tokio::sync::Notify;

use super::sys::{drain_eventfd, eventfd, ring_eventfd};
use crate::core::ids::ShardId;
use crate::shard::letter::{Letter, Notice, Order};

/// Letters one lane holds.
pub const LANE_LETTERS: usize = 4_096;

/// One shard's inbox.
#[derive(Debug)]
struct Lane {
    letters: ArrayQueue<(ShardId, Letter)>,
    orders: SegQueue<Order>,
    /// The shard is about to sleep, or sleeps, in its ring.
    is_sleeping: AtomicBool,
    /// The shard's ring, once it runs; below 0 before.
    ring_fd: AtomicI32,
    bell: OwnedFd,
}

/// All lanes of the process.
#[derive(Debug)]
pub struct Mesh {
    lanes: Vec<Lane>,
    notices: SegQueue<(ShardId, Notice)>,
    notified: Notify,
}

impl Mesh {
    pub fn new(shards: u16) -> io::Result<Arc<Self>> {
        let lanes = (0..shards).map(|_| {
            Ok(Lane {
                letters: ArrayQueue::new(LANE_LETTERS),
                orders: SegQueue::new(),
                is_sleeping: AtomicBool::new(false),
                ring_fd: AtomicI32::new(-1),
                bell: eventfd()?,
            })
        });
        let lanes = lanes.collect::<io::Result<Vec<_>>>()?;
        Ok(Arc::new(Self { lanes, notices: SegQueue::new(), notified: Notify::new() }))
    }

    pub fn shards(&self) -> u16 {
        self.lanes.len() as u16
    }

    /// From the control thread to one shard.
    pub fn order(&self, target: ShardId, order: Order) {
        let lane = &self.lanes[usize::from(target.0)];
        lane.orders.push(order);
        ring_eventfd(&lane.bell);
    }

    /// Waits for a notice. For the control thread alone.
    pub async fn next_notice(&self) -> (ShardId, Notice) {
        loop {
            if let Some(notice) = self.notices.pop() {
                return notice;
            }
            self.notified.notified().await;
        }
    }

    /// From a shard to the control thread.
    pub fn notify(&self, source: ShardId, notice: Notice) {
        self.notices.push((source, notice));
        self.notified.notify_one();
    }
}

/// A shard's end of the mesh.
#[derive(Debug)]
pub struct Postbox {
    own: ShardId,
    mesh: Arc<Mesh>,
    /// Letters whose lane was full, per target.
    spill: Vec<VecDeque<Letter>>,
    spilled: u64,
    /// Targets that got something this turn.
    posted: Vec<bool>,
}

impl Postbox {
    pub fn new(own: ShardId, mesh: Arc<Mesh>, ring_fd: RawFd) -> Self {
        let shards = mesh.lanes.len();
        mesh.lanes[usize::from(own.0)].ring_fd.store(ring_fd, Ordering::Release);
        let spill = (0..shards).map(|_| VecDeque::new()).collect();
        Self { own, mesh, spill, spilled: 0, posted: vec![false; shards] }
    }

    /// The eventfd that the control thread rings.
    pub fn bell(&self) -> RawFd {
        self.lane().bell.as_raw_fd()
    }

    pub fn drain_bell(&self) {
        drain_eventfd(&self.lane().bell);
    }

    pub fn next_letter(&self) -> Option<(ShardId, Letter)> {
        self.lane().letters.pop()
    }

    pub fn next_order(&self) -> Option<Order> {
        self.lane().orders.pop()
    }

    pub fn notify(&self, notice: Notice) {
        self.mesh.notify(self.own, notice);
    }

    /// Puts a letter into its target's lane, or behind those that wait for room there.
    pub fn post(&mut self, target: ShardId, letter: Letter) {
        let index = usize::from(target.0);
        self.posted[index] = true;
        let spill = &mut self.spill[index];
        if spill.is_empty() {
            if let Err((_, letter)) = self.mesh.lanes[index].letters.push((self.own, letter)) {
                spill.push_back(letter);
                self.spilled += 1;
            }
        } else {
            spill.push_back(letter);
            self.spilled += 1;
        }
    }

    /// Tries again for letters that wait. Returns how many still do.
    pub fn flush(&mut self) -> u64 {
        if self.spilled == 0 {
            return 0;
        }
        for (index, spill) in self.spill.iter_mut().enumerate() {
            while let Some(letter) = spill.pop_front() {
                if let Err((_, letter)) = self.mesh.lanes[index].letters.push((self.own, letter)) {
                    spill.push_front(letter);
                    break;
                }
                self.posted[index] = true;
                self.spilled -= 1;
            }
        }
        self.spilled
    }

    /// The rings of those targets that got letters since the last call and sleep: each needs one message.
    pub fn sleepers(&mut self, rings: &mut Vec<RawFd>) {
        if !self.posted.iter().any(|posted| *posted) {
            return;
        }
        // The letters must be visible before the flag is read; pairs with the fence in `may_sleep`.
        fence(Ordering::SeqCst);
        for (posted, lane) in self.posted.iter_mut().zip(&self.mesh.lanes) {
            if std::mem::take(posted)
                && lane.is_sleeping.load(Ordering::Relaxed)
                && lane.is_sleeping.swap(false, Ordering::AcqRel)
            {
                let fd = lane.ring_fd.load(Ordering::Acquire);
                if fd >= 0 {
                    rings.push(fd);
                }
            }
        }
    }

    /// Announces sleep. `false`: something has arrived; do not sleep.
    pub fn may_sleep(&self) -> bool {
        let lane = self.lane();
        lane.is_sleeping.store(true, Ordering::Relaxed);
        // The flag must be visible before the queue is looked at; pairs with the fence in `sleepers`.
        fence(Ordering::SeqCst);
        if lane.letters.is_empty() && lane.orders.is_empty() {
            return true;
        }
        self.woke();
        false
    }

    pub fn woke(&self) {
        self.lane().is_sleeping.store(false, Ordering::Release);
    }

    fn lane(&self) -> &Lane {
        &self.mesh.lanes[usize::from(self.own.0)]
    }
}
