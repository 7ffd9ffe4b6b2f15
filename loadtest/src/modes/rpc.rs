//! Request and reply over the client protocol.
//!
//! The broker has no handler for Centrifuge's `rpc` command, so the question here is a client's own `publish` to a channel
//! nobody is in: parsed, checked and answered like any command, and delivered to nobody. A round trip runs from the
//! intended time of the publish to its reply; replies must come in the order of the questions.

use clap::Args;

use super::slices::{self, Workload};
use crate::floor::Kind;
use crate::load::{Pace, Work};
use crate::modes::Outcome;
use crate::options::Options;

#[derive(Debug, Clone, Args)]
pub struct RpcArgs {
    #[arg(long, short = 'n', default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,
    /// Closed loop: requests without a reply, over all clients [default: one per client].
    #[arg(long, short = 'w')]
    pub in_flight: Option<u64>,
    /// Open loop instead: requests per second on a fixed schedule.
    #[arg(long, conflicts_with = "in_flight")]
    pub rate: Option<f64>,
    #[command(flatten)]
    pub options: Options,
}

pub fn run(args: &RpcArgs) -> Outcome {
    // Pusher's client events are not answered.
    args.options.needs_centrifuge()?;
    let clients = args.clients;
    let pace = match args.rate {
        Some(per_second) => Pace::Open { per_second },
        None => Pace::Closed { in_flight: args.in_flight.unwrap_or(u64::from(clients)) },
    };
    let workload = Workload {
        mode: "rpc",
        channels: clients,
        subscribers_per_channel: 1,
        publishers: 0,
        work: Work::Request { clients },
        pace,
    };
    let options = Options { clients_publish: true, ..args.options.clone() };
    slices::run(&options, workload, &[Kind::Ring, Kind::Send])
}
