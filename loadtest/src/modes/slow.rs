//! Some subscribers stop reading: what it costs the others, whether the server's memory stays bounded and comes back.
//!
//! No floor here: a bare sender without queues waits for its slowest reader. Large payloads (`--payload 16384`) reach the
//! server's bounds within seconds; with small ones the sockets' own buffers hide the stall for minutes.

use std::io;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::account::Process;
use crate::fleet::Attention;
use crate::host::Host;
use crate::latency::Latency;
use crate::load::{Contender, Pace, Slice};
use crate::modes::Outcome;
use crate::options::{Options, explained};
use crate::report::{Curve, Report, print_deliveries, print_ratios, progress, progress_end};
use crate::sampler::Sampler;
use crate::summary::{Ratio, Row, Spread};
use crate::svg::short;

/// Turns of a millisecond in which they read on, so that those the server has dropped notice it.
const READING_TURNS: u32 = 300;
/// Turns of a millisecond after the stalled readers were closed, before memory is read again.
const SETTLE_TURNS: u32 = 1_000;

#[derive(Debug, Clone, Args)]
pub struct SlowArgs {
    #[arg(long, short = 'n', default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: u32,
    /// Deliveries per second, all readers counted.
    #[arg(long, default_value_t = 100_000.0)]
    pub rate: f64,
    /// Percent of the subscribers that stop reading.
    #[arg(long, default_value_t = 1.0)]
    pub stalled: f64,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Serialize)]
struct Settings {
    subscribers: u32,
    stalled: usize,
    deliveries_per_second: f64,
    payload_bytes: usize,
    shards: u16,
    memory: Memory,
}

/// The server's resident memory, and what became of the stalled readers.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Memory {
    before_bytes: u64,
    peak_bytes: u64,
    after_bytes: u64,
    dropped_by_server: u64,
    closed_by_us: usize,
    peak_grown_bytes_per_stalled: f64,
    /// What has not come back a second after the stalled readers were gone.
    kept_bytes_per_stalled: f64,
}

pub fn run(args: &SlowArgs) -> Outcome {
    let options = &args.options;
    if options.floor.is_some() || options.floor_only {
        return Err(io::Error::other(
            "a bare sender waits for its slowest reader: there is no floor for slow",
        ));
    }
    let host = Host::read();
    let mut sampler = options.settle_in()?;
    host.print();
    let stalled = ((f64::from(args.subscribers) * args.stalled / 100.0).round() as usize).max(1);
    let server = options.only_broker()?;
    let mut contender = options.contender(server, args.subscribers as usize + 64, 1)?;
    let (healthy, slow, memory) = phases(&mut contender, args, stalled, &mut sampler)
        .map_err(|error| explained(&contender.server.log(), &error))?;
    progress_end();
    let rows = [
        Row::of("all read", &healthy, memory.before_bytes, 0.0),
        Row::of("some stalled", &slow, memory.peak_bytes, 0.0),
    ];
    print_deliveries(&rows);
    let p99 =
        |slices: &[Slice]| Spread::of(slices.iter().map(|s| s.latency.quantiles().p99_ms).collect()).median;
    let base = p99(&healthy);
    let values = slow.iter().map(|slice| slice.latency.quantiles().p99_ms / base).collect();
    let (of, to) = ("some stalled".to_owned(), "median of all read".to_owned());
    let ratios = [Ratio { of, to, what: "p99 latency of the others", spread: Spread::of(values) }];
    print_ratios(&ratios);
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "memory    {:.1} MB before, {:.1} MB at most while stalled, {:.1} MB after; of {stalled} stalled the server \
         dropped {}",
        mb(memory.before_bytes),
        mb(memory.peak_bytes),
        mb(memory.after_bytes),
        memory.dropped_by_server
    );
    let faults = contender.ledger.faults();
    let settings = Settings {
        subscribers: args.subscribers,
        stalled,
        deliveries_per_second: args.rate,
        payload_bytes: options.payload_bytes(),
        shards: options.shards,
        memory,
    };
    let mut report = Report::new("slow", host, &settings, &rows)?;
    report.load = format!(
        "{stalled} of {} readers stall at {} deliveries/s of {} bytes",
        args.subscribers,
        short(args.rate),
        options.payload_bytes()
    );
    report.outcome = format!(
        "the others' p99 {:.2} ms, {:.3} × before; {} stalled dropped; memory {:.0} MB, at most {:.0}, afterwards {:.0}",
        rows[1].latency.p99_ms,
        ratios[0].spread.median,
        memory.dropped_by_server,
        mb(memory.before_bytes),
        mb(memory.peak_bytes),
        mb(memory.after_bytes)
    );
    report.curves =
        [("all read", &healthy), ("some stalled", &slow)].map(|(name, slices)| curve(name, slices)).into();
    report.disturbance = rows.iter().map(|row| row.disturbance).fold(0.0, f64::max);
    report.ratios = ratios.into();
    report.faults = faults;
    report.finish(options)
}

/// The rate is set, so only latency is worth drawing.
fn curve(name: &str, slices: &[Slice]) -> Curve {
    let mut latency = Latency::default();
    slices.iter().for_each(|slice| latency.add(&slice.latency));
    Curve { name: name.to_owned(), latency: latency.curve(), rate: Vec::new() }
}

fn phases(
    contender: &mut Contender,
    args: &SlowArgs,
    stalled: usize,
    sampler: &mut Option<Sampler>,
) -> io::Result<(Vec<Slice>, Vec<Slice>, Memory)> {
    let options = &args.options;
    let process = contender.server.process;
    let rss = || process.map_or(0, Process::rss_bytes);
    let pace = Pace::Open { per_second: args.rate / f64::from(args.subscribers) };
    contender.fleet.open_publishers(1, &mut contender.ledger)?;
    contender.fleet.subscribe(args.subscribers as usize, options.at_once, |_| 0, &mut contender.ledger)?;
    contender.slice(pace, Duration::from_secs_f64(options.warm_up), sampler)?;
    let (mut healthy, mut slow) = (Vec::new(), Vec::new());
    for number in 0..options.slices() {
        progress(&format!("all read: slice {}/{}", number + 1, options.slices()));
        healthy.push(contender.slice(pace, options.slice_duration(), sampler)?);
    }
    let before_bytes = rss();
    let mut memory = Memory { before_bytes, peak_bytes: before_bytes, ..Memory::default() };
    contender.fleet.stall(stalled, &mut contender.ledger)?;
    for number in 0..options.slices() {
        progress(&format!("{stalled} stalled: slice {}/{}", number + 1, options.slices()));
        slow.push(contender.slice(pace, options.slice_duration(), sampler)?);
        memory.peak_bytes = memory.peak_bytes.max(rss());
    }
    contender.fleet.let_stalled_read()?;
    for _ in 0..READING_TURNS {
        contender.fleet.turn(&mut contender.ledger, Attention::Relaxed)?;
    }
    memory.dropped_by_server = contender.ledger.counts.dropped;
    memory.closed_by_us = contender.fleet.close_stalled()?;
    for _ in 0..SETTLE_TURNS {
        contender.fleet.turn(&mut contender.ledger, Attention::Relaxed)?;
    }
    memory.after_bytes = rss();
    let each = |bytes: u64| (bytes as f64 - before_bytes as f64) / stalled as f64;
    memory.peak_grown_bytes_per_stalled = each(memory.peak_bytes);
    memory.kept_bytes_per_stalled = each(memory.after_bytes);
    Ok((healthy, slow, memory))
}
