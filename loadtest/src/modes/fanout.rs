//! One channel, N subscribers.

use clap::Args;

use super::slices::{self, Workload};
use crate::floor::Kind;
use crate::load::{Pace, Work};
use crate::modes::Outcome;
use crate::options::Options;

#[derive(Debug, Clone, Args)]
pub struct FanoutArgs {
    #[arg(long, short = 'n', default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: u32,
    /// Closed loop: publications not yet heard by everybody.
    #[arg(long, short = 'w', default_value_t = 1)]
    pub in_flight: u64,
    /// Open loop instead: deliveries per second on a fixed schedule.
    #[arg(long, conflicts_with = "in_flight")]
    pub rate: Option<f64>,
    #[command(flatten)]
    pub options: Options,
}

pub fn run(args: &FanoutArgs) -> Outcome {
    let pace = match args.rate {
        Some(rate) => Pace::Open { per_second: rate / f64::from(args.subscribers) },
        None => Pace::Closed { in_flight: args.in_flight },
    };
    // With one publication in flight there is nothing to coalesce.
    let floors = match pace {
        Pace::Closed { in_flight: 0 | 1 } => [Kind::Ring, Kind::Send],
        _ => [Kind::RingCoalesce, Kind::SendCoalesce],
    };
    let workload = Workload {
        mode: "fanout",
        channels: 1,
        subscribers_per_channel: args.subscribers,
        publishers: 1,
        work: Work::Publish { channels: 1 },
        pace,
    };
    slices::run(&args.options, workload, &floors)
}
