//! One run: shards, engine, network and peers under one seed and one fake clock.
//!
//! Nothing happens by itself. At each step one actor that has something to do is chosen; when none has, time goes on to
//! the next moment at which one will.

use std::collections::VecDeque;
use std::sync::Arc;

use polycast::core::ids::ShardId;
use polycast::core::time::Now;
use polycast::shard::letter::{Letter, Order};
use polycast::shard::{Founding, Shard};

use super::around::{Around, Kill, Stage};
use super::backend::Backend;
use super::client::{Centrifuge, Client, Pusher};
use super::engine::Engine;
use super::host::{Host, Outside};
use super::ledger::{Broken, Ledger};
use super::mutant::{Mutant, Saboteur};
use super::network::Socket;
use super::presence;
use super::publisher::Publisher;
use super::random::Random;
use super::scenario::{EPOCH_MS, Scenario, is_shown};
use super::trace::{Census, Trace};

/// Steps after which a run counts as one that never ends.
const STEPS_MAX: u64 = 2_000_000;
/// Letters that may wait for room at one shard. Shards pause for up to 60 ms, and publishers stop as soon as one letter
/// waits: what comes then are answers to what others had sent before. Measured: 146 at most in 3,000 seeds.
const SPILLED_MAX: u64 = 500;
/// How many more a turn makes that does all it may for publishers, some nine hundred publications, each of them for up to
/// three other shards. Measured: 533 at most in 4,000 seeds.
const SPILLED_BY_PUBLISHERS_MAX: u64 = 3 * 900;
/// Fake time within which everything under way must come to its end, in milliseconds.
const REST_MS: u64 = 60_000;
/// Fake time within which the last connection must be gone.
const END_MS: u64 = 120_000;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Of everything that happened, and how much that was.
    pub digest: (u64, u64),
    pub has_struck: bool,
    pub published: usize,
    pub received: u64,
    pub spilled_max: u64,
    pub expired_max: u64,
    pub census: Census,
}

#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    random: Random,
    now_ms: u64,
    /// How far the wall clock was set back.
    set_back_ms: u64,
    hosts: Vec<Host>,
    lanes: Vec<VecDeque<(ShardId, Letter)>>,
    engine: Engine,
    sockets: Vec<Socket>,
    connects: Vec<(usize, usize)>,
    clients: Vec<Client>,
    backends: Vec<Backend>,
    publishers: Vec<Publisher>,
    ledger: Ledger,
    kills: Vec<Kill>,
    socket_ids: Vec<String>,
    saboteur: Saboteur,
    pub trace: Trace,
    stage: Stage,
    is_reloaded: bool,
    is_draining: bool,
    steps: u64,
}

impl World {
    pub fn new(seed: u64, mutant: Option<Mutant>, keeps_lines: bool) -> Self {
        let mut random = Random::new(seed);
        let scenario = Scenario::new(&mut random);
        Self::of(scenario, random, mutant, keeps_lines)
    }

    pub fn of(scenario: Scenario, mut random: Random, mutant: Option<Mutant>, keeps_lines: bool) -> Self {
        let config = scenario.config(false);
        let hash_key = (random.next(), random.next());
        let now = Now { monotonic_ms: 0, unix_ms: EPOCH_MS };
        let hosts = (0..scenario.shards).map(|id| {
            let founding = Founding {
                shards: scenario.shards,
                hash_key,
                seal_key: [7; 16],
                seed: random.next(),
                node_uid: "sim".into(),
                index_page: Arc::from(b"<p>".as_slice()),
            };
            let shard = Shard::new(ShardId(id), &founding, Arc::clone(&config), now);
            Host::new(ShardId(id), shard, scenario.shards)
        });
        let hosts = hosts.collect();
        let engine = Engine::new(scenario.engine, scenario.shards, &mut random);
        let saboteur = Saboteur::new(mutant, if mutant.is_some() { random.below(6) } else { 0 });
        let mut world = Self {
            lanes: (0..scenario.shards).map(|_| VecDeque::new()).collect(),
            scenario,
            random,
            now_ms: 0,
            set_back_ms: 0,
            hosts,
            engine,
            sockets: Vec::new(),
            connects: Vec::new(),
            clients: Vec::new(),
            backends: Vec::new(),
            publishers: Vec::new(),
            ledger: Ledger::default(),
            kills: Vec::new(),
            socket_ids: Vec::new(),
            saboteur,
            trace: Trace::new(keeps_lines),
            stage: Stage::Active,
            is_reloaded: false,
            is_draining: false,
            steps: 0,
        };
        let (clients, pushers) = (world.scenario.clients, world.scenario.pushers);
        world.clients = world.with_around(|around| {
            let new = |name| match name {
                _ if name < clients => Client::Centrifuge(Box::new(Centrifuge::new(name, around))),
                _ => Client::Pusher(Box::new(Pusher::new(name, around))),
            };
            (0..clients + pushers).map(new).collect()
        });
        world.backends = (0..world.scenario.backends).map(Backend::new).collect();
        world.publishers = (0..world.scenario.publishers).map(Publisher::new).collect();
        world
    }

    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// From the first connection to the last, with everything that must hold at the stations between.
    pub fn run(&mut self) -> Result<Report, Broken> {
        self.be_active()?;
        self.come_to_rest()?;
        if self.scenario.waits_for_expiry {
            self.stage = Stage::Expiring;
            self.let_expire()?;
        }
        self.end()?;
        self.check_leftovers()?;
        let spilled_max = self.hosts.iter().map(|host| host.spilled_max).max().unwrap_or(0);
        let more = if self.scenario.publishers > 0 { SPILLED_BY_PUBLISHERS_MAX } else { 0 };
        if spilled_max > SPILLED_MAX + more {
            return Err(format!("{spilled_max} letters waited for room"));
        }
        Ok(Report {
            digest: self.trace.digest(),
            has_struck: self.saboteur.has_struck(),
            published: self.ledger.publications_count(),
            received: self.ledger.received,
            spilled_max,
            expired_max: self.hosts.iter().map(|host| host.expired_max).max().unwrap_or(0),
            census: self.trace.census().clone(),
        })
    }

    fn be_active(&mut self) -> Result<(), Broken> {
        loop {
            let is_enough = self.ledger.publications_count() >= self.scenario.publications_min;
            if self.now_ms >= self.scenario.active_ms && is_enough {
                return Ok(());
            }
            self.happenings();
            if !self.step()? {
                self.skip(self.scenario.active_ms);
            }
        }
    }

    /// What the operator and the machine do.
    fn happenings(&mut self) {
        if !self.is_reloaded && self.scenario.reload_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms) {
            self.is_reloaded = true;
            let config = self.scenario.config(true);
            for host in &mut self.hosts {
                host.orders.push_back(Order::Reload(Arc::clone(&config)));
            }
        }
        if let Some((at_ms, back_ms)) = self.scenario.clock_step
            && at_ms <= self.now_ms
        {
            self.set_back_ms = back_ms;
        }
        if self.scenario.storms_ms.last().is_some_and(|at_ms| *at_ms <= self.now_ms) {
            self.scenario.storms_ms.pop();
            let mut clients = std::mem::take(&mut self.clients);
            self.with_around(|around| {
                for client in &mut clients {
                    if around.random.percent(90) {
                        client.be_cut(around);
                    }
                }
            });
            self.clients = clients;
            self.trace.count("storm");
        }
        if self.scenario.has_stalls && self.random.below(2_000) == 0 {
            let stalled = self.random.index(self.hosts.len());
            self.hosts[stalled].stalled_until_ms = self.now_ms + self.random.length(60) as u64;
        }
    }

    fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.stage = Stage::Quiet;
        let mut clients = std::mem::take(&mut self.clients);
        self.with_around(|around| {
            for client in &mut clients {
                client.calm_down(around);
            }
        });
        self.clients = clients;
        self.publishers.iter_mut().for_each(Publisher::calm_down);
        self.rest()?;
        self.check_settled()
    }

    /// Until nothing is under way.
    fn rest(&mut self) -> Result<(), Broken> {
        let until_ms = self.now_ms + REST_MS;
        loop {
            if self.step()? {
                continue;
            }
            if self.is_at_rest() {
                return Ok(());
            }
            if self.now_ms >= until_ms {
                return Err("what was under way does not come to its end".to_owned());
            }
            self.skip(until_ms);
        }
    }

    /// Nobody can act now: is anything still under way but timers?
    fn is_at_rest(&self) -> bool {
        let is_resting = |host: &Host| host.spilled() == 0 && host.stalled_until_ms <= self.now_ms;
        self.hosts.iter().all(is_resting)
            && self.engine.next_ms().is_none()
            && self.clients.iter().all(|client| client.next_ms(self.stage).is_none())
            && self.backends.iter().all(|backend| backend.next_ms(self.stage).is_none())
            && self.publishers.iter().all(|publisher| publisher.next_ms(self.stage).is_none())
    }

    fn check_settled(&mut self) -> Result<(), Broken> {
        let clients = std::mem::take(&mut self.clients);
        let checked = self.with_around(|around| clients.iter().try_for_each(|client| client.settled(around)));
        self.clients = clients;
        checked?;
        self.backends.iter().try_for_each(Backend::settled)?;
        self.publishers.iter().try_for_each(Publisher::settled)?;
        self.check_presence()
    }

    fn check_presence(&mut self) -> Result<(), Broken> {
        for channel in self.scenario.channels.iter().filter(|channel| is_shown(channel)) {
            let members = self.engine.members(channel);
            presence::check(channel, &self.clients, &members, self.scenario.pushes_joins, &self.ledger)?;
        }
        Ok(())
    }

    fn let_expire(&mut self) -> Result<(), Broken> {
        let latest_ms = self.clients.iter().filter_map(Client::expires_ms).max();
        let Some(latest_ms) = latest_ms else { return Ok(()) };
        // Time for the close frame to arrive.
        let until_ms = latest_ms + self.set_back_ms + 500 - EPOCH_MS;
        while self.now_ms < until_ms {
            if !self.step()? {
                self.skip(until_ms);
            }
        }
        // A slow engine may still have to hear of the ends.
        self.rest()?;
        self.check_settled()
    }

    fn end(&mut self) -> Result<(), Broken> {
        self.stage = Stage::Ending;
        let mut clients = std::mem::take(&mut self.clients);
        let drains = self.scenario.drain_ms.is_some();
        self.with_around(|around| {
            for client in &mut clients {
                if !drains {
                    client.leave(around);
                } else if client.is_away() && around.random.percent(50) {
                    client.begin(around);
                }
            }
        });
        self.clients = clients;
        self.put_before_listeners();
        if let Some(spread_ms) = self.scenario.drain_ms {
            for _ in 0..self.random.below(60) {
                self.step()?;
            }
            self.is_draining = true;
            for host in &mut self.hosts {
                host.orders.push_back(Order::Drain { spread_ms });
            }
        } else {
            let mut backends = std::mem::take(&mut self.backends);
            self.with_around(|around| backends.iter_mut().for_each(|backend| backend.leave(around)));
            self.backends = backends;
            let mut publishers = std::mem::take(&mut self.publishers);
            self.with_around(|around| publishers.iter_mut().for_each(|publisher| publisher.leave(around)));
            self.publishers = publishers;
        }
        let until_ms = self.now_ms + END_MS;
        loop {
            if self.step()? {
                continue;
            }
            if self.is_over() {
                return Ok(());
            }
            if self.now_ms >= until_ms {
                return Err("connections are left at the end".to_owned());
            }
            self.skip(until_ms);
        }
    }

    fn is_over(&self) -> bool {
        self.is_at_rest()
            && self.clients.iter().all(Client::is_away)
            && self.backends.iter().all(Backend::is_away)
            && self.publishers.iter().all(Publisher::is_away)
            && self.hosts.iter().all(|host| host.kernel.open_count() == 0)
    }

    fn check_leftovers(&mut self) -> Result<(), Broken> {
        for (host, lane) in self.hosts.iter_mut().zip(&self.lanes) {
            let leftovers = host.shard.leftovers();
            if !leftovers.is_empty() || !lane.is_empty() {
                return Err(format!("at rest there are left: {leftovers:?}, {} letters", lane.len()));
            }
            if self.is_draining && !host.has_drained {
                return Err("a drained shard did not say so".to_owned());
            }
        }
        if self.engine.peopled_count() > 0 {
            return Err("at rest somebody is still present".to_owned());
        }
        if !self.ledger.occupied().is_empty() {
            return Err(format!("at rest these were not said to be vacated: {:?}", self.ledger.occupied()));
        }
        match self.engine.subscribed_count() {
            0 => Ok(()),
            count => Err(format!("at rest the engine still has {count} subscriptions")),
        }
    }

    /// One actor does one thing. `false`: none has anything to do.
    fn step(&mut self) -> Result<bool, Broken> {
        self.steps += 1;
        if let Some((from_ms, to_ms)) = self.scenario.standstill_ms
            && (from_ms..to_ms).contains(&self.now_ms)
        {
            self.now_ms = to_ms;
        }
        if self.steps > STEPS_MAX {
            return Err("the run does not come to its end".to_owned());
        }
        // Hundreds of clients take so many steps to read their ends that, at the usual pace, those would be late by
        // the time it takes to look.
        if self.random.percent(if self.scenario.standstill_ms.is_some() { 2 } else { 8 }) {
            self.now_ms += 1;
        }
        let hosts = self.hosts.len();
        let actors = hosts * 2 + 1 + self.clients.len() + self.backends.len() + self.publishers.len();
        let first = self.random.index(actors);
        for actor in (first..actors).chain(0..first) {
            if self.act(actor, hosts)? {
                self.put_before_listeners();
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn act(&mut self, actor: usize, hosts: usize) -> Result<bool, Broken> {
        if actor < hosts {
            return self.turn(actor);
        }
        let actor = actor - hosts;
        if actor < hosts {
            return Ok(self.hosts[actor].kernel.step(&mut self.sockets, &mut self.random));
        }
        let actor = actor - hosts;
        if actor == 0 {
            let said = self.engine.run(self.now_ms, &mut self.ledger)?;
            let has_said = said.is_some();
            if let Some((shard, answer)) = said {
                self.hosts[shard].answers.push_back(answer);
            }
            return Ok(has_said);
        }
        self.peer(actor - 1)
    }

    fn turn(&mut self, shard: usize) -> Result<bool, Broken> {
        let host = &mut self.hosts[shard];
        if !host.is_ready(self.now_ms, &self.lanes) {
            return Ok(false);
        }
        let mut outside = Outside {
            now: now(self.now_ms, self.set_back_ms),
            scenario: &self.scenario,
            lanes: &mut self.lanes,
            engine: &mut self.engine,
            sockets: &mut self.sockets,
            random: &mut self.random,
            ledger: &mut self.ledger,
            trace: &mut self.trace,
            saboteur: &mut self.saboteur,
        };
        host.turn(&mut outside)?;
        Ok(true)
    }

    fn peer(&mut self, peer: usize) -> Result<bool, Broken> {
        let mut around = Around {
            now: now(self.now_ms, self.set_back_ms),
            scenario: &self.scenario,
            sockets: &mut self.sockets,
            connects: &mut self.connects,
            random: &mut self.random,
            ledger: &mut self.ledger,
            trace: &mut self.trace,
            saboteur: &mut self.saboteur,
            kills: &mut self.kills,
            socket_ids: &mut self.socket_ids,
            stage: self.stage,
            is_reloaded: self.is_reloaded,
            is_draining: self.is_draining,
        };
        match self.clients.get_mut(peer) {
            Some(client) => client.step(&mut around),
            None => {
                let peer = peer - self.clients.len();
                match self.backends.get_mut(peer) {
                    Some(backend) => backend.step(&mut around),
                    None => self.publishers[peer - self.backends.len()].step(&mut around),
                }
            }
        }
    }

    fn with_around<R>(&mut self, work: impl FnOnce(&mut Around<'_>) -> R) -> R {
        work(&mut Around {
            now: now(self.now_ms, self.set_back_ms),
            scenario: &self.scenario,
            sockets: &mut self.sockets,
            connects: &mut self.connects,
            random: &mut self.random,
            ledger: &mut self.ledger,
            trace: &mut self.trace,
            saboteur: &mut self.saboteur,
            kills: &mut self.kills,
            socket_ids: &mut self.socket_ids,
            stage: self.stage,
            is_reloaded: self.is_reloaded,
            is_draining: self.is_draining,
        })
    }

    fn put_before_listeners(&mut self) {
        for (shard, socket) in self.connects.drain(..) {
            self.hosts[shard].kernel.connect(socket, &mut self.sockets);
        }
    }

    /// Time goes on to the next moment at which somebody has something to do, at most to `until_ms`.
    fn skip(&mut self, until_ms: u64) {
        let hosts = self.hosts.iter().flat_map(|host| {
            let stall = (host.stalled_until_ms > self.now_ms).then_some(host.stalled_until_ms);
            host.next_ms().into_iter().chain(stall)
        });
        let clients = self.clients.iter().flat_map(|client| {
            let reads = client.reads_ms().filter(|reads_ms| *reads_ms > self.now_ms);
            client.next_ms(self.stage).into_iter().chain(reads)
        });
        let backends = self.backends.iter().filter_map(|backend| backend.next_ms(self.stage));
        let publishers = self.publishers.iter().flat_map(|publisher| {
            let reads = publisher.reads_ms().filter(|reads_ms| *reads_ms > self.now_ms);
            publisher.next_ms(self.stage).into_iter().chain(reads)
        });
        let next = hosts.chain(clients).chain(backends).chain(publishers).chain(self.engine.next_ms()).min();
        self.now_ms = next.unwrap_or(until_ms).clamp(self.now_ms + 1, until_ms.max(self.now_ms + 1));
    }
}

fn now(now_ms: u64, set_back_ms: u64) -> Now {
    Now { monotonic_ms: now_ms, unix_ms: EPOCH_MS + now_ms - set_back_ms }
}
