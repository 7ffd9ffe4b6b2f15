//! Contenders taking turns on the same core, slice by slice, in one invocation.

use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::account::Process;
use crate::floor::Kind;
use crate::host::Host;
use crate::latency::Latency;
use crate::load::{Contender, Pace, Slice, Work};
use crate::modes::Outcome;
use crate::options::{Options, Tested, explained};
use crate::report::{Curve, Report, print_deliveries, print_ratios, progress, progress_end};
use crate::sampler::Sampler;
use crate::summary::{Ratio, Row, against, ratios};
use crate::svg::short;

/// Who listens to what, and how publications are paced.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    pub mode: &'static str,
    pub channels: u32,
    pub subscribers_per_channel: u32,
    pub publishers: usize,
    pub work: Work,
    pub pace: Pace,
}

#[derive(Serialize)]
struct Settings {
    channels: u32,
    subscribers_per_channel: u32,
    publishers: usize,
    entrance: &'static str,
    in_flight: Option<u64>,
    deliveries_per_second: Option<f64>,
    payload_bytes: usize,
    shards: u16,
    slice_seconds: f64,
    warm_up_seconds: f64,
    disturbance_max: f64,
    rounds_repeated: usize,
}

/// A contender with what it has shown so far.
struct Candidate {
    contender: Contender,
    slices: Vec<Slice>,
    rss_bytes: u64,
    rss_bytes_per_connection: f64,
}

pub fn run(options: &Options, workload: Workload, floors: &[Kind]) -> Outcome {
    let host = Host::read();
    let mut sampler = options.settle_in()?;
    host.print();
    let mut candidates = Vec::new();
    for server in options.servers(floors)? {
        candidates.push(Candidate::connect(options, workload, server)?);
    }
    let repeats = take_turns(options, workload.pace, &mut candidates, &mut sampler)?;
    progress_end();
    finish(options, workload, host, repeats, &candidates)
}

/// Returns how many rounds were repeated. Ends early when a candidate's run is no longer valid; the report then says why.
fn take_turns(
    options: &Options,
    pace: Pace,
    candidates: &mut [Candidate],
    sampler: &mut Option<Sampler>,
) -> io::Result<usize> {
    for candidate in candidates.iter_mut() {
        candidate.slice(pace, Duration::from_secs_f64(options.warm_up), sampler)?;
        candidate.slices.clear();
    }
    let (rounds, mut repeats) = (options.slices(), 0);
    let mut number = 0;
    while number < rounds {
        // Every other round runs backwards, so that a drift of the machine favours nobody.
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let candidate = &mut candidates[index];
            progress(&format!("slice {}/{rounds}: {}", number + 1, candidate.shown()));
            candidate.slice(pace, options.slice_duration(), sampler)?;
            if !candidate.contender.ledger.faults().is_empty() {
                return Ok(repeats);
            }
        }
        // Chosen by what others did, never by how the slice went; and for all, so that pairs stay pairs.
        let disturbed = |c: &Candidate| c.slices.last().map_or(0.0, |s| s.spent.samples.disturbance());
        if repeats < rounds && candidates.iter().map(disturbed).any(|share| share > options.disturbance) {
            repeats += 1;
            candidates.iter_mut().for_each(|candidate| drop(candidate.slices.pop()));
        } else {
            number += 1;
        }
    }
    Ok(repeats)
}

impl Candidate {
    fn connect(options: &Options, workload: Workload, tested: Tested) -> io::Result<Candidate> {
        let subscribers = (workload.channels * workload.subscribers_per_channel) as usize;
        let process = tested.server.process;
        let name = tested.name.clone();
        progress(&format!("connecting {subscribers} subscribers to {name}"));
        let mut contender =
            options.contender(tested, subscribers + workload.publishers + 64, workload.channels)?;
        contender.work = workload.work;
        let Contender { fleet, ledger, server, .. } = &mut contender;
        let rss = || process.map_or(0, Process::rss_bytes);
        let failed = |error: &io::Error, log: String| explained(&format!("{name}: {log}"), error);
        fleet.open_publishers(workload.publishers, ledger).map_err(|error| failed(&error, server.log()))?;
        let before = rss();
        let channel_of = |number: u32| number % workload.channels;
        fleet
            .subscribe(subscribers, options.at_once, channel_of, ledger)
            .map_err(|error| failed(&error, server.log()))?;
        let rss_bytes = rss();
        let grown = rss_bytes as f64 - before as f64;
        Ok(Candidate {
            contender,
            slices: Vec::new(),
            rss_bytes,
            rss_bytes_per_connection: grown / subscribers as f64,
        })
    }

    fn slice(&mut self, pace: Pace, duration: Duration, sampler: &mut Option<Sampler>) -> io::Result<()> {
        let name = self.contender.name.clone();
        let slice = self
            .contender
            .slice(pace, duration, sampler)
            .map_err(|error| explained(&format!("{name}: {}", self.contender.server.log()), &error))?;
        self.slices.push(slice);
        Ok(())
    }

    fn row(&self) -> Row {
        Row::of(&self.contender.name, &self.slices, self.rss_bytes, self.rss_bytes_per_connection)
    }

    fn curve(&self) -> Curve {
        let mut latency = Latency::default();
        self.slices.iter().for_each(|slice| latency.add(&slice.latency));
        self.contender.curve(&latency)
    }

    fn shown(&self) -> String {
        let rate = self.slices.last().map_or(0.0, |s| s.deliveries as f64 * 1e9 / s.wall_ns as f64);
        format!("{} {rate:.0} deliveries/s", self.contender.name)
    }
}

fn finish(
    options: &Options,
    workload: Workload,
    host: Host,
    rounds_repeated: usize,
    candidates: &[Candidate],
) -> Outcome {
    let rows: Vec<Row> = candidates.iter().map(Candidate::row).collect();
    print_deliveries(&rows);
    if rounds_repeated > 0 {
        let limit = options.disturbance * 100.0;
        println!(
            "repeated  {rounds_repeated} rounds in which others took over {limit:.0} % of the server's core"
        );
    }
    let open_loop = matches!(workload.pace, Pace::Open { .. });
    let mut all = Vec::new();
    if let [first, floors @ ..] = candidates {
        for floor in floors {
            let of = (first.contender.name.as_str(), first.slices.as_slice());
            let to = (floor.contender.name.as_str(), floor.slices.as_slice());
            all.extend(ratios(of, to, open_loop));
        }
    }
    print_ratios(&all);
    let faults: Vec<String> = candidates
        .iter()
        .flat_map(|c| {
            c.contender.ledger.faults().into_iter().map(|fault| format!("{}: {fault}", c.contender.name))
        })
        .collect();
    let (in_flight, rate) = match workload.pace {
        Pace::Closed { in_flight } => (Some(in_flight), None),
        Pace::Open { per_second } => (None, Some(per_second)),
    };
    let settings = Settings {
        channels: workload.channels,
        subscribers_per_channel: workload.subscribers_per_channel,
        publishers: workload.publishers,
        entrance: options.entrance.name(),
        in_flight,
        deliveries_per_second: rate.map(|rate| match workload.work {
            Work::Publish { .. } => rate * f64::from(workload.subscribers_per_channel),
            Work::Request { .. } => rate,
        }),
        payload_bytes: options.payload_bytes(),
        shards: options.shards,
        slice_seconds: options.slice,
        warm_up_seconds: options.warm_up,
        disturbance_max: options.disturbance,
        rounds_repeated,
    };
    let mut report = Report::new(workload.mode, host, &settings, &rows)?;
    report.load = load(&workload);
    report.outcome = outcome(&rows, &workload, &all);
    report.curves = candidates.iter().map(Candidate::curve).collect();
    report.disturbance = rows.iter().map(|row| row.disturbance).fold(0.0, f64::max);
    report.ratios = all;
    report.faults = faults;
    report.finish(options)
}

fn load(workload: &Workload) -> String {
    let (channels, each) = (workload.channels, workload.subscribers_per_channel);
    let who = match workload.work {
        Work::Request { clients } => format!("{clients} clients asking"),
        Work::Publish { .. } if channels > 1 => format!("{channels} channels with {each} subscriber"),
        Work::Publish { .. } => format!("{each} subscribers of one channel"),
    };
    match workload.pace {
        Pace::Closed { in_flight } => format!("{who}, {in_flight} in flight"),
        Pace::Open { .. } => format!("{who}, on a schedule"),
    }
}

/// Of the first contender, and its cost relative to the others'.
fn outcome(rows: &[Row], workload: &Workload, ratios: &[Ratio]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let what = match workload.work {
        Work::Request { .. } => "replies",
        Work::Publish { .. } => "deliveries",
    };
    let rate = short(first.deliveries_per_s);
    let cost = first.server_cpu_s_per_million.median;
    let user = first.user_ns_per_delivery.map_or(String::new(), |ns| format!(" ({ns:.0} ns in user mode)"));
    let p99 = first.latency.p99_ms;
    format!("{rate} {what}/s, {cost:.2} µs CPU each{user}, p99 {p99:.2} ms{}", against(ratios))
}
