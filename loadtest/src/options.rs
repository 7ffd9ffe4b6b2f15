//! Options all modes share, and how they become servers to load.

use std::io;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::clock::unix_s;
use crate::dialect::Dialect;
use crate::entrance::Entrance;
use crate::fleet::{Fleet, FleetSettings};
use crate::floor::Kind;
use crate::ledger::Ledger;
use crate::load::{Contender, Work};
use crate::message::PAYLOAD_BYTES_MIN;
use crate::sampler::Sampler;
use crate::server::{BrokerSettings, Server};
use crate::sys;
use crate::token::Mint;

/// Tokens outlive any run.
const TOKEN_LIFE_S: u64 = 24 * 3600;

const PAYLOAD_BYTES: usize = 128;

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Start this broker binary with a configuration of its own, on --server-core with one shard, on --server-cores with
    /// several.
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub spawn: Option<PathBuf>,
    /// Load a broker that runs already: 127.0.0.1:8000, ws://… or http://….
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub url: Option<SocketAddrV4>,
    /// Process to account with --url.
    #[arg(long, requires = "url")]
    pub pid: Option<u32>,
    /// What the clients speak: centrifuge, pusher. With several the first is measured, and a broker of its own for each other
    /// one, `broker-<dialect>`, in alternation with it.
    #[arg(long, value_name = "DIALECTS", value_delimiter = ',', default_value = "centrifuge")]
    pub dialect: Vec<Dialect>,
    /// How backends publish.
    #[arg(long, value_enum, default_value = "http")]
    pub entrance: Entrance,
    /// Run bare senders in alternation with the broker: send, ring, send-coalesce, ring-coalesce. They speak Centrifuge.
    #[arg(long, value_name = "KINDS", num_args = 0.., require_equals = true, value_delimiter = ',')]
    pub floor: Option<Vec<Kind>>,
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// Cores over which a broker of several shards spreads them [default: all]. More shards than cores hold what the
    /// descriptor tables of fewer would not; the client then needs a core they are kept off.
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    pub server_cores: Option<Vec<usize>>,
    #[arg(long, default_value_t = 1)]
    pub client_core: usize,
    /// Shards of the spawned broker.
    #[arg(long, default_value_t = 1)]
    pub shards: u16,
    /// Key of the HS256 tokens minted for every connection, and secret of the app that Pusher clients name.
    #[arg(long, default_value = "loadtest-token-secret-of-forty-bytes-0000")]
    pub secret: String,
    /// Public key of that app.
    #[arg(long, default_value = "loadtest-app-key")]
    pub app_key: String,
    #[arg(long, default_value = "loadtest-api-key-of-thirty-two-b")]
    pub api_key: String,
    /// TOML appended to the spawned broker's configuration.
    #[arg(long, value_name = "TOML", default_value = "")]
    pub config: String,
    /// Bytes of JSON per publication [default: 128; mix: 100].
    #[arg(long, value_parser = payload_bytes)]
    pub payload: Option<usize>,
    /// Handshakes at a time.
    #[arg(long, default_value_t = 128)]
    pub at_once: usize,
    /// Descriptor table of each client ring [default: RLIMIT_NOFILE]; smaller means more rings.
    #[arg(long, value_name = "SLOTS")]
    pub slots_per_ring: Option<u32>,
    /// Unmeasured seconds before.
    #[arg(long, default_value_t = 0.5)]
    pub warm_up: f64,
    /// Measured seconds per contender.
    #[arg(long, default_value_t = 7.5)]
    pub seconds: f64,
    /// Length of a slice in seconds; contenders alternate slice by slice.
    #[arg(long, default_value_t = 0.5)]
    pub slice: f64,
    /// Repeat a round of slices if others took more than this share of the server's core, at most as many times as there
    /// are rounds.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub disturbance: f64,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as one page with plots.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Set by the `floor` mode: no broker at all.
    #[arg(skip)]
    pub floor_only: bool,
    /// Set by the modes whose clients publish.
    #[arg(skip)]
    pub clients_publish: bool,
}

fn payload_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse::<usize>().map_err(|error| error.to_string())?;
    let allowed = PAYLOAD_BYTES_MIN..=60_000;
    if allowed.contains(&bytes) { Ok(bytes) } else { Err(format!("{allowed:?} bytes")) }
}

fn address(text: &str) -> Result<SocketAddrV4, String> {
    let bare = text.trim_start_matches("ws://").trim_start_matches("http://");
    let bare = bare.split('/').next().unwrap_or_default();
    bare.parse().map_err(|error| format!("{error}: an IPv4 address with a port is needed"))
}

impl Options {
    pub fn payload_bytes(&self) -> usize {
        self.payload.unwrap_or(PAYLOAD_BYTES)
    }

    pub fn slice_duration(&self) -> Duration {
        Duration::from_secs_f64(self.slice)
    }

    pub fn slices(&self) -> usize {
        (self.seconds / self.slice).round().max(1.0) as usize
    }

    /// Where a broker of ours may run.
    fn server_cores(&self) -> Vec<usize> {
        match &self.server_cores {
            _ if self.shards == 1 => vec![self.server_core],
            Some(cores) => cores.clone(),
            None => sys::cores().to_vec(),
        }
    }

    /// Pins this thread, gives it precedence over a server on the same core, and starts sampling the cores, as far as that is
    /// permitted.
    pub fn settle_in(&self) -> io::Result<Option<Sampler>> {
        let server_cores = self.server_cores();
        sys::pin_thread(&[self.client_core])?;
        // Beside tens of shards it would get a small part of the core and be taken for a slow reader.
        if let Err(error) = sys::take_precedence(server_cores.contains(&self.client_core)) {
            eprintln!("the client cannot go before the server's shards on its core ({error})");
        }
        let sampler = Sampler::start(&server_cores, self.client_core);
        if let Err(error) = &sampler {
            eprintln!("no perf events ({error}): user and kernel time are split by the kernel's tick only");
        }
        Ok(sampler.ok())
    }

    /// The broker (unless only floors are asked for), then the floors; `floors` are used where `--floor` names none.
    pub fn servers(&self, floors: &[Kind]) -> io::Result<Vec<Tested>> {
        let mut servers = Vec::new();
        for (place, dialect) in self.dialect.iter().copied().enumerate().filter(|_| !self.floor_only) {
            let name = if place == 0 { "broker".to_owned() } else { format!("broker-{}", dialect.name()) };
            servers.push(Tested { name, dialect, server: self.broker(dialect)? });
        }
        let kinds = match &self.floor {
            Some(kinds) if !kinds.is_empty() => kinds.as_slice(),
            Some(_) => floors,
            None if self.floor_only => floors,
            None => &[],
        };
        for kind in kinds {
            let server = Server::spawn_floor(kind.name(), self.server_core)
                .map_err(|error| explained(&format!("floor {} did not start", kind.name()), &error))?;
            let name = format!("floor-{}", kind.name());
            servers.push(Tested { name, dialect: Dialect::Centrifuge, server });
        }
        Ok(servers)
    }

    /// The broker alone, for modes that load nothing else.
    pub fn only_broker(&self) -> io::Result<Tested> {
        match *self.dialect {
            [dialect] => Ok(Tested { name: "broker".to_owned(), dialect, server: self.broker(dialect)? }),
            _ => Err(io::Error::other("this mode takes one --dialect")),
        }
    }

    /// For modes that need what only this dialect has.
    pub fn needs_centrifuge(&self) -> io::Result<()> {
        match *self.dialect {
            [Dialect::Centrifuge] => Ok(()),
            _ => Err(io::Error::other("this mode is for --dialect centrifuge only")),
        }
    }

    /// A broker for clients of a dialect.
    pub fn broker(&self, dialect: Dialect) -> io::Result<Server> {
        match (&self.spawn, self.url) {
            (Some(path), _) => {
                Server::spawn_broker(path, &self.server_cores(), &self.broker_settings(dialect))
                    .map_err(|error| explained(&format!("{} did not start", path.display()), &error))
            }
            (None, Some(address)) => Ok(Server::at(address, self.pid)),
            (None, None) => Err(io::Error::other("--spawn PATH or --url ADDRESS is needed")),
        }
    }

    fn broker_settings(&self, dialect: Dialect) -> BrokerSettings {
        BrokerSettings {
            app: dialect.app_config(&self.app_key, &self.secret),
            secret: self.secret.clone(),
            api_key: self.api_key.clone(),
            shards: self.shards,
            clients_publish: self.clients_publish,
            append: self.config.clone(),
        }
    }

    /// A server with an empty fleet for up to `connections_max` connections and `channels` channels.
    pub fn contender(
        &self,
        Tested { name, dialect, server }: Tested,
        connections_max: usize,
        channels: u32,
    ) -> io::Result<Contender> {
        let publish_to = match self.entrance {
            Entrance::Http => server.address,
            Entrance::Resp => server.tcp.ok_or_else(|| io::Error::other("--entrance resp needs --spawn"))?,
        };
        let fleet = Fleet::new(FleetSettings {
            target: server.address,
            publish_to,
            entrance: self.entrance,
            dialect,
            mint: Mint::new(&self.secret, &self.app_key, unix_s() + TOKEN_LIFE_S),
            api_key: self.api_key.clone(),
            payload_bytes: self.payload_bytes(),
            connections_max,
            slots_per_ring: self.slots_per_ring,
            shares_core: self.server_cores().contains(&self.client_core),
        })?;
        Ok(Contender::new(name, fleet, Ledger::new(channels), Work::Publish { channels }, server))
    }
}

/// A server to load, and what its clients speak.
pub struct Tested {
    pub name: String,
    pub dialect: Dialect,
    pub server: Server,
}

pub fn explained(what: &str, error: &io::Error) -> io::Error {
    io::Error::other(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_the_forms_people_paste() {
        let want: SocketAddrV4 = "127.0.0.1:8000".parse().expect("address");
        for text in ["127.0.0.1:8000", "ws://127.0.0.1:8000/connection/websocket", "http://127.0.0.1:8000"] {
            assert_eq!(address(text), Ok(want), "{text}");
        }
        assert!(address("localhost").is_err());
    }
}
