//! One io_uring: multishot accept and receive, SENDs of shared bytes submitted in batches.
//!
//! A batch holds at most one send per socket, and the next batch waits for its completions, so order needs no queue.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::bare::{Ask, Peer, Publication, request_reply, subscribed_reply, upgrade_reply};
use crate::ring::{Event, PayloadId, Ring, RingSize};
use crate::sys;

const WAIT: Duration = Duration::from_secs(1);

struct Sender {
    ring: Ring,
    /// By slot.
    peers: Vec<Peer>,
    /// Slots by channel number.
    subscribers: Vec<Vec<u32>>,
    upgrade: PayloadId,
    subscribed: PayloadId,
    publications: VecDeque<Publication>,
    /// Publishes taken and not answered, by slot.
    answers: BTreeMap<u32, usize>,
    /// Sends whose completion has not been seen.
    sending: usize,
    /// Number of the last batch that sent to a channel; a batch takes each channel once.
    last_batch: Vec<u64>,
    batch: u64,
}

pub fn serve(address: SocketAddrV4, coalesce: bool) -> io::Result<()> {
    let slots = sys::descriptors_max()?;
    let listener = sys::listen(address)?;
    let size = RingSize { submissions: 4096, slots, buffers: 1024, buffer_bytes: 4096 };
    let mut ring = Ring::new(size, &[address], &[address])?;
    ring.accept(listener.as_raw_fd())?;
    let mut sender = Sender {
        upgrade: ring.store(upgrade_reply()),
        subscribed: ring.store(subscribed_reply()),
        ring,
        peers: (0..slots).map(|_| Peer::default()).collect(),
        subscribers: Vec::new(),
        publications: VecDeque::new(),
        answers: BTreeMap::new(),
        sending: 0,
        last_batch: Vec::new(),
        batch: 0,
    };
    loop {
        let work = sender.sending == 0 && !sender.publications.is_empty();
        sender.ring.poll(if work { None } else { Some(WAIT) })?;
        while let Some(event) = sender.ring.next_event()? {
            sender.handle(event)?;
        }
        if sender.sending == 0 {
            if coalesce {
                sender.coalesce();
            }
            sender.send_batch()?;
        }
    }
}

impl Sender {
    fn handle(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Accepted { slot } => {
                self.peers[slot as usize] = Peer::default();
                self.ring.receive(slot)
            }
            Event::Received { slot, buffer } => {
                let mut asks = Vec::new();
                let understood = self.peers[slot as usize].feed(self.ring.bytes(&buffer), &mut asks);
                self.ring.release(buffer);
                if !understood {
                    return self.gone(slot);
                }
                asks.into_iter().try_for_each(|ask| self.asked(slot, ask))
            }
            Event::Sent { .. } | Event::SendFailed { .. } => {
                self.sending -= 1;
                Ok(())
            }
            Event::Ended { slot, .. } => self.gone(slot),
            Event::Closed { .. }
            | Event::Connected { .. }
            | Event::ConnectFailed { .. }
            | Event::HungUp { .. } => Ok(()),
        }
    }

    fn gone(&mut self, slot: u32) -> io::Result<()> {
        if let Some(channel) = self.peers[slot as usize].channel {
            self.subscribers[channel as usize].retain(|&other| other != slot);
        }
        self.answers.remove(&slot);
        self.ring.close(slot)
    }

    fn asked(&mut self, slot: u32, ask: Ask) -> io::Result<()> {
        match ask {
            Ask::Upgrade => self.send(slot, self.upgrade),
            Ask::Subscribe { channel } => {
                self.peers[slot as usize].channel = Some(channel);
                let channel = channel as usize;
                if self.subscribers.len() <= channel {
                    self.subscribers.resize_with(channel + 1, Vec::new);
                    self.last_batch.resize(channel + 1, 0);
                }
                self.subscribers[channel].push(slot);
                self.send(slot, self.subscribed)
            }
            Ask::Request { id } => {
                let reply = self.ring.store(request_reply(id));
                let queued = self.send(slot, reply);
                self.ring.forget(reply);
                queued
            }
            Ask::Publish(publication) => {
                *self.answers.entry(slot).or_default() += 1;
                if (publication.channel as usize) < self.subscribers.len() {
                    self.publications.push_back(publication);
                }
                Ok(())
            }
        }
    }

    /// Joins what waits for the same channel.
    fn coalesce(&mut self) {
        let mut channels: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for publication in self.publications.drain(..) {
            channels.entry(publication.channel).or_default().extend_from_slice(&publication.frame);
        }
        self.publications.extend(channels.into_iter().map(|(channel, frame)| Publication { channel, frame }));
    }

    fn send_batch(&mut self) -> io::Result<()> {
        self.batch += 1;
        for (slot, count) in std::mem::take(&mut self.answers) {
            let answers = self.ring.store(self.peers[slot as usize].answer().repeat(count));
            self.send(slot, answers)?;
            self.ring.forget(answers);
        }
        while let Some(next) = self.publications.front() {
            let channel = next.channel as usize;
            if self.last_batch[channel] == self.batch {
                break;
            }
            self.last_batch[channel] = self.batch;
            let frame = self.publications.pop_front().map(|publication| publication.frame);
            let payload = self.ring.store(frame.unwrap_or_default());
            for index in 0..self.subscribers[channel].len() {
                self.send(self.subscribers[channel][index], payload)?;
            }
            self.ring.forget(payload);
        }
        Ok(())
    }

    fn send(&mut self, slot: u32, payload: PayloadId) -> io::Result<()> {
        self.sending += 1;
        self.ring.send(slot, payload)
    }
}
