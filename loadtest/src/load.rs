//! Drives one contender through slices of load and says what each slice took.
//!
//! A slice begins and ends quiet: nothing in flight, the server asleep. Only then is its run time exact, and only then
//! may another contender take the same core.

use std::io;
use std::ops::Range;
use std::time::Duration;

use crate::clock::now_ns;
use crate::fleet::{Attention, Fleet};
use crate::latency::Latency;
use crate::ledger::{Counts, Ledger};
use crate::meter::{Meter, Spent};
use crate::report::Curve;
use crate::sampler::Sampler;
use crate::server::Server;
use crate::sys::thread_cpu_ns;

/// Publications on their way while every channel gets one.
const ROUND_IN_FLIGHT: u64 = 64;
/// Nothing was heard or answered for this long: it will not come.
const STALL_NS: u64 = 3_000_000_000;

/// What the load consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Publications over HTTP, to the channels in turn.
    Publish { channels: u32 },
    /// Publishes by the clients themselves, in turn, each of which is answered and goes to nobody.
    Request { clients: u32 },
}

/// One server with its clients.
pub struct Contender {
    pub name: String,
    pub fleet: Fleet,
    pub ledger: Ledger,
    pub work: Work,
    /// Held so that the server lives as long as its clients.
    pub server: Server,
    /// Channel or client.
    next: u32,
}

/// How publications (or requests) are paced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many not yet heard by everybody.
    Closed { in_flight: u64 },
    /// A fixed schedule, whatever the server does.
    Open { per_second: f64 },
}

/// Half a second of load, usually.
#[derive(Clone)]
pub struct Slice {
    /// From the first publish to the last delivery.
    pub wall_ns: u64,
    /// Deliveries, or replies where clients ask.
    pub deliveries: u64,
    pub receives: u64,
    /// Receives the client had to arm again because its buffers were all taken.
    pub starved: u64,
    pub spent: Spent,
    /// Run time of the generator.
    pub generator_ns: u64,
    pub latency: Latency,
    /// How late the generator sent, open loop only.
    pub lateness: Latency,
}

impl Contender {
    pub fn new(name: String, fleet: Fleet, ledger: Ledger, work: Work, server: Server) -> Contender {
        Contender { name, fleet, ledger, work, server, next: 0 }
    }

    /// Loads the server for `duration` and waits until everything published was heard.
    pub fn slice(
        &mut self,
        pace: Pace,
        duration: Duration,
        sampler: &mut Option<Sampler>,
    ) -> io::Result<Slice> {
        // Whatever came while another contender had its turn (pings) is dealt with outside the slice.
        self.fleet.turn(&mut self.ledger, Attention::Spinning)?;
        self.fleet.turn(&mut self.ledger, Attention::Spinning)?;
        self.ledger.latency.clear();
        let before = self.ledger.counts;
        let meter = Meter::start(self.server.process, sampler);
        let starved = self.fleet.starved();
        let generator_before = thread_cpu_ns();
        let start_ns = now_ns();
        let end_ns = start_ns + duration.as_nanos() as u64;
        self.ledger.resume(start_ns);
        let mut lateness = Latency::default();
        match pace {
            Pace::Closed { in_flight } => self.closed_loop(in_flight, end_ns)?,
            Pace::Open { per_second } => {
                self.open_loop(per_second, start_ns, end_ns, &mut lateness)?;
            }
        }
        self.drain()?;
        let wall_ns = now_ns() - start_ns;
        self.ledger.pause(start_ns + wall_ns);
        let generator_ns = thread_cpu_ns() - generator_before;
        let spent = meter.stop(sampler);
        let counts = self.ledger.counts.since(before);
        Ok(Slice {
            wall_ns,
            deliveries: counts.deliveries + counts.replied,
            receives: counts.receives,
            starved: self.fleet.starved() - starved,
            spent,
            generator_ns,
            latency: self.ledger.latency.clone(),
            lateness,
        })
    }

    /// Latency and rate, drawn. `latency`: of all that is to be shown.
    pub fn curve(&self, latency: &Latency) -> Curve {
        Curve { name: self.name.clone(), latency: latency.curve(), rate: self.ledger.timeline.segments() }
    }

    /// Publishes once to each of `channels` and waits until all was heard and answered.
    pub fn publish_to_each(&mut self, channels: Range<u32>) -> io::Result<()> {
        let Contender { fleet, ledger, .. } = self;
        let mut channels = channels.peekable();
        fleet.turn_until(ledger, Attention::Spinning, |fleet, ledger| {
            while ledger.in_flight() < ROUND_IN_FLIGHT
                && let Some(channel) = channels.next()
            {
                fleet.publish(channel, now_ns(), ledger);
            }
            channels.peek().is_none() && ledger.quiet()
        })
    }

    /// Turns until everything published was heard and answered, or until nothing comes any more: what is then missing
    /// shows in the ledger's faults.
    fn drain(&mut self) -> io::Result<()> {
        let mut moved = (self.ledger.counts, now_ns());
        while !self.ledger.quiet() && !self.broken() {
            self.fleet.turn(&mut self.ledger, Attention::Spinning)?;
            if self.stalled(&mut moved) {
                break;
            }
        }
        Ok(())
    }

    /// Nothing better can come: a connection is gone or the server refuses.
    fn broken(&self) -> bool {
        self.ledger.counts.closed + self.ledger.counts.refused > 0
    }

    /// No count has moved for three seconds. `moved`: the counts and when they last moved.
    fn stalled(&self, moved: &mut (Counts, u64)) -> bool {
        let now = now_ns();
        if self.ledger.counts != moved.0 {
            *moved = (self.ledger.counts, now);
        }
        now - moved.1 > STALL_NS
    }

    fn closed_loop(&mut self, in_flight: u64, end_ns: u64) -> io::Result<()> {
        let mut moved = (self.ledger.counts, now_ns());
        loop {
            let now = now_ns();
            if now >= end_ns || self.broken() || self.stalled(&mut moved) {
                return Ok(());
            }
            for _ in self.ledger.in_flight()..in_flight {
                self.send_next(now)?;
            }
            self.fleet.turn(&mut self.ledger, Attention::Spinning)?;
        }
    }

    /// Publishes on the schedule `start + k / rate`. What is late is sent at once, with its intended time.
    fn open_loop(
        &mut self,
        per_second: f64,
        start_ns: u64,
        end_ns: u64,
        lateness: &mut Latency,
    ) -> io::Result<()> {
        let interval_ns = 1e9 / per_second;
        let mut sent = 0u64;
        loop {
            let now = now_ns();
            loop {
                let due_ns = start_ns + (sent as f64 * interval_ns) as u64;
                if due_ns >= end_ns {
                    return Ok(());
                }
                if due_ns > now {
                    break;
                }
                lateness.record(due_ns, now);
                self.send_next(due_ns)?;
                sent += 1;
            }
            self.fleet.turn(&mut self.ledger, Attention::Spinning)?;
            if self.broken() {
                return Ok(());
            }
        }
    }

    fn send_next(&mut self, intended_ns: u64) -> io::Result<()> {
        let number = self.next;
        match self.work {
            Work::Publish { channels } => {
                self.next = (number + 1) % channels;
                self.fleet.publish(number, intended_ns, &mut self.ledger);
                Ok(())
            }
            Work::Request { clients } => {
                self.next = (number + 1) % clients;
                self.fleet.request(number, intended_ns, &mut self.ledger)
            }
        }
    }
}

#[cfg(test)]
mod tests;
