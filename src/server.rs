//! Composition: how a configuration becomes a running broker. The only file that knows everybody.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;

use ring::rand::{SecureRandom, SystemRandom};

use crate::config::Config;
use crate::core::ids::{ClientId, ShardId};
use crate::engine::memory::Memory;
use crate::io::RingError;
use crate::io::clock::Clock;
use crate::io::control::{self, Control, Reread};
use crate::io::listener::{self, ListenError, Listeners};
use crate::io::mesh::Mesh;
use crate::io::ops::OpsListener;
use crate::io::webhooks::{Said, Webhooks};
use crate::io::{process, turn};
use crate::shard::input::Entrance;
use crate::shard::{Founding, Shard};

/// The version of this program, as metrics and `--version` tell it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Room in a table beyond the connections it is for: those that are being closed still hold their slots.
const SPARE_SLOTS: u32 = 64;

/// What a broker starts from.
pub struct Settings {
    pub config: Config,
    /// Reads the configuration again, at SIGHUP.
    pub reread: Reread,
    /// What clients' listeners answer at `/`.
    pub index_page: Arc<[u8]>,
}

/// Why a broker cannot start. Each text is one line and says what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{error}; end what uses it, or choose another address in {key}")]
    Listen { key: &'static str, error: ListenError },
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error("{what}: {error}")]
    System { what: &'static str, error: io::Error },
    #[error("the kernel gave no random bytes; is getrandom(2) allowed?")]
    Random,
}

/// Runs a broker until it is drained. Returns at the latest when a second signal asks for it.
///
/// `announce` is called once, when everything is there but nobody is served yet. The calling thread becomes the
/// control thread. After the return the process must end: shards are still running.
pub fn run(settings: Settings, announce: impl FnOnce()) -> Result<(), StartError> {
    let Settings { config, reread, index_page } = settings;
    let config = Arc::new(config);
    let cpus = process::allowed_cpus();
    let shards = config.server.shards.map_or(u16::try_from(cpus.len()).unwrap_or(u16::MAX), |n| n.get());
    let (ops, listeners) = bind(&config, shards)?;
    let control = Control::new()?;
    let mesh = Mesh::new(shards)
        .map_err(|error| StartError::System { what: "too few descriptors for the shards", error })?;
    let rooms = Rooms::of(process::slots_per_shard(), config.limits.connections_max, shards);
    let seeds = Seeds::draw(index_page, shards)?;
    let clock = Clock::start();
    let webhooks = Webhooks::start(&config, clock)
        .map_err(|error| StartError::System { what: "no thread for webhooks", error })?;
    let said = webhooks.as_ref().map(|webhooks| Arc::clone(&webhooks.said));
    let common = Common { config: Arc::clone(&config), mesh: Arc::clone(&mesh), said, clock, rooms };
    start_shards(&common, listeners, &cpus, &seeds)?;

    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    rooms.warn_if_short(config.limits.connections_max, shards);
    announce();
    let parts = control::Parts { mesh, ops, config, reread, webhooks, version: VERSION };
    control.run(parts).map_err(|error| StartError::System { what: "signals cannot be followed", error })
}

/// All listeners, before any thread runs: an address in use must be the first thing that happens.
fn bind(config: &Config, shards: u16) -> Result<(OpsListener, Vec<Listeners>), StartError> {
    let server = &config.server;
    let ops =
        OpsListener::bind(server.ops).map_err(|error| StartError::Listen { key: "server.ops", error })?;
    let bind = |addresses, entrance, key| {
        let timeout_ms = config.limits.write_timeout_ms;
        listener::bind(addresses, entrance, shards, server.accept_backlog, timeout_ms)
            .map_err(|error| StartError::Listen { key, error })
    };
    let mut listeners = bind(&server.http, Entrance::Http, "server.http")?;
    let publishers = bind(&server.tcp, Entrance::Resp, "server.tcp")?;
    for (listeners, publishers) in listeners.iter_mut().zip(publishers) {
        listeners.extend(publishers);
    }
    Ok((ops, listeners))
}

/// What all shards have in common.
#[derive(Clone)]
struct Common {
    config: Arc<Config>,
    mesh: Arc<Mesh>,
    said: Option<Arc<Said>>,
    clock: Clock,
    rooms: Rooms,
}

/// Starts every shard and waits until each has its ring.
fn start_shards(
    common: &Common,
    listeners: Vec<Listeners>,
    cpus: &[usize],
    seeds: &Seeds,
) -> Result<(), StartError> {
    let (started, outcomes) = channel();
    for (number, listeners) in (0_u16..).zip(listeners) {
        let Common { config, mesh, said, clock, rooms } = common.clone();
        let (founding, memory_seed) = seeds.of(number);
        let make = move || turn::Parts {
            id: ShardId(number),
            shard: Shard::new(ShardId(number), &founding, config, clock.now()),
            memory: Memory::new(memory_seed),
            mesh,
            listeners,
            clock,
            said,
            slots: rooms.slots,
            connections_max: rooms.connections_max,
        };
        let cpu = cpus[usize::from(number) % cpus.len()];
        process::start_shard(number, cpu, make, started.clone())
            .map_err(|error| StartError::System { what: "no thread for a shard", error })?;
    }
    drop(started);
    // Ends when every shard has said how it went: a thread that could not has ended the process.
    for outcome in outcomes {
        outcome?;
    }
    Ok(())
}

/// How many connections each shard has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rooms {
    /// Size of the table of client sockets.
    slots: u32,
    connections_max: u32,
}

impl Rooms {
    /// `slots`: the largest table the kernel allows. `wanted`: connections of all shards; 0: as many as fit.
    ///
    /// A table is never filled: the tenth that stays free takes what is still closing.
    fn of(slots: u32, wanted: u32, shards: u16) -> Self {
        let fits = |slots: u32| (slots - slots / 10).max(1);
        if wanted == 0 {
            return Self { slots, connections_max: fits(slots) };
        }
        // Rounded up, so that the whole is not less than what was wanted.
        let wanted = wanted.div_ceil(shards.into()).min(fits(slots));
        let slots = slots.min(wanted.saturating_add(wanted / 8).saturating_add(SPARE_SLOTS));
        Self { slots, connections_max: wanted }
    }

    fn warn_if_short(self, wanted: u32, shards: u16) {
        let there = u64::from(self.connections_max) * u64::from(shards);
        if u64::from(wanted) > there {
            tracing::warn!(
                wanted,
                there,
                "limits.connections_max exceeds what RLIMIT_NOFILE lets the rings hold: raise it (LimitNOFILE)"
            );
        }
    }
}

/// Everything random of a process's life.
struct Seeds {
    common: Founding,
    /// Two per shard: its jitter's and its epochs'.
    own: Vec<(u64, u64)>,
}

impl Seeds {
    fn draw(index_page: Arc<[u8]>, shards: u16) -> Result<Self, StartError> {
        let system = SystemRandom::new();
        let draw = || {
            let mut bytes = [0_u8; 16];
            system.fill(&mut bytes).map(|()| bytes).map_err(|_| StartError::Random)
        };
        let pair = |bytes: [u8; 16]| {
            let both = u128::from_ne_bytes(bytes);
            (both as u64, (both >> 64) as u64)
        };
        let common = Founding {
            shards,
            hash_key: pair(draw()?),
            seal_key: draw()?,
            seed: 0,
            node_uid: ClientId(draw()?).text().as_str().into(),
            index_page,
        };
        let own = (0..shards).map(|_| draw().map(pair)).collect::<Result<_, _>>()?;
        Ok(Self { common, own })
    }

    /// What one shard starts from, and the seed of its epochs.
    fn of(&self, shard: u16) -> (Founding, u64) {
        let (seed, memory_seed) = self.own[usize::from(shard)];
        (Founding { seed, ..self.common.clone() }, memory_seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_room_and_a_tenth_to_spare() {
        let table = [
            ("all that fit", 20_000, 0, 2, (20_000, 18_000)),
            ("half of what was wanted each", 20_000, 1_000, 2, (626, 500)),
            ("an odd number rounds up", 20_000, 1_001, 2, (627, 501)),
            ("more than fit", 256, 1_000_000, 1, (256, 231)),
            ("one for each of four", 1_024, 1, 4, (65, 1)),
            ("a tiny table", 1, 0, 1, (1, 1)),
            ("a hopeless one", 0, 0, 1, (0, 1)),
            ("the largest", process::SLOTS_MAX, u32::MAX, 1, (1 << 20, 943_719)),
        ];
        for (name, slots, wanted, shards, (want_slots, want_connections)) in table {
            let want = Rooms { slots: want_slots, connections_max: want_connections };
            assert_eq!(Rooms::of(slots, wanted, shards), want, "{name}");
        }
    }

    #[test]
    fn lives_and_shards_differ_in_what_is_random() {
        let draw = || Seeds::draw(Arc::from(&b""[..]), 2).expect("random bytes");
        let (one, other) = (draw(), draw());
        assert_ne!(one.common.seal_key, other.common.seal_key);
        assert_ne!(one.common.hash_key, other.common.hash_key);
        assert_ne!(one.common.node_uid, other.common.node_uid);
        let ((first, first_epochs), (second, second_epochs)) = (one.of(0), one.of(1));
        assert_ne!((first.seed, first_epochs), (second.seed, second_epochs));
        assert_eq!((first.seal_key, first.hash_key), (second.seal_key, second.hash_key));
        assert_eq!(one.common.node_uid.len(), 36);
    }
}
