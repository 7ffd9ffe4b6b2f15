//! M channels with one subscriber each: the cost of taking a publish and making one delivery of it.

use clap::Args;

use super::slices::{self, Workload};
use crate::floor::Kind;
use crate::load::{Pace, Work};
use crate::modes::Outcome;
use crate::options::Options;

#[derive(Debug, Clone, Args)]
pub struct ManyArgs {
    #[arg(long, short = 'm', default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub channels: u32,
    /// Connections that publish; a channel always uses the same one.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub publishers: u16,
    /// Closed loop: publications not yet delivered.
    #[arg(long, short = 'w', default_value_t = 64)]
    pub in_flight: u64,
    /// Open loop instead: publications per second on a fixed schedule.
    #[arg(long, conflicts_with = "in_flight")]
    pub rate: Option<f64>,
    #[command(flatten)]
    pub options: Options,
}

pub fn run(args: &ManyArgs) -> Outcome {
    let pace = match args.rate {
        Some(rate) => Pace::Open { per_second: rate },
        None => Pace::Closed { in_flight: args.in_flight },
    };
    let workload = Workload {
        mode: "many",
        channels: args.channels,
        subscribers_per_channel: 1,
        publishers: usize::from(args.publishers),
        work: Work::Publish { channels: args.channels },
        pace,
    };
    slices::run(&args.options, workload, &[Kind::Ring, Kind::Send])
}
