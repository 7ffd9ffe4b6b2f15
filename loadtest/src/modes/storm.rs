//! Every connection drops at once and comes back: how long until all are subscribed again.
//!
//! Clients here come back as fast as they are let in; real ones wait a random time, which only helps the server. The time
//! runs from the first drop to the last confirmed subscription, so the server's own tidying is in it. Afterwards one
//! publication to every channel shows that all are really there.

use std::io;

use clap::Args;
use serde::Serialize;

use crate::clock::now_ns;
use crate::floor::Kind;
use crate::host::Host;
use crate::latency::{Latency, Quantiles};
use crate::load::Contender;
use crate::meter::{Meter, Spent};
use crate::modes::Outcome;
use crate::options::{Options, explained};
use crate::report::{Report, print_ratios, progress, progress_end};
use crate::sampler::Sampler;
use crate::summary::{Ratio, Spread, against};
use crate::timeline::Of;

#[derive(Debug, Clone, Args)]
pub struct StormArgs {
    #[arg(long, short = 'n', default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Storms per contender.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Serialize)]
struct Settings {
    connections: u32,
    at_once: usize,
    rounds: u32,
    shards: u16,
}

struct Round {
    wall_ns: u64,
    spent: Spent,
}

#[derive(Serialize)]
struct Row {
    name: String,
    seconds_until_all_are_back: Spread,
    server_cpu_us_per_connection: Spread,
    handshake: Quantiles,
    disturbance: f64,
}

pub fn run(args: &StormArgs) -> Outcome {
    let options = &args.options;
    let host = Host::read();
    let mut sampler = options.settle_in()?;
    host.print();
    let (mut rows, mut ratios, mut faults, mut curves) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut first: Option<(String, Vec<Round>)> = None;
    // One after another: with all connected, nobody could be sure whose teardown is being measured.
    for server in options.servers(&[Kind::Ring, Kind::Send])? {
        let connections_max = args.connections as usize + 64;
        let mut contender = options.contender(server, connections_max, args.connections)?;
        let rounds = storms(&mut contender, args, &mut sampler)
            .map_err(|error| explained(&format!("{}: {}", contender.name, contender.server.log()), &error))?;
        rows.push(row(&contender.name, &contender.ledger.handshake, &rounds, args));
        faults.extend(contender.ledger.faults());
        curves.push(contender.curve(&contender.ledger.handshake));
        match &first {
            None => first = Some((contender.name.clone(), rounds)),
            Some((of, broker)) => ratios.push(ratio(of, broker, &contender.name, &rounds)),
        }
    }
    progress_end();
    print(&rows);
    print_ratios(&ratios);
    let settings = Settings {
        connections: args.connections,
        at_once: options.at_once,
        rounds: args.rounds,
        shards: options.shards,
    };
    let mut report = Report::new("storm", host, &settings, &rows)?;
    report.load = format!("{} connections drop at once", args.connections);
    report.outcome = outcome(&rows, &ratios);
    report.curves = curves;
    report.disturbance = rows.iter().map(|row| row.disturbance).fold(0.0, f64::max);
    report.ratios = ratios;
    report.faults = faults;
    report.finish(options)
}

fn outcome(rows: &[Row], ratios: &[Ratio]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    format!(
        "all back and subscribed after {:.2} s (at most {:.2}), {:.1} µs CPU each{}",
        first.seconds_until_all_are_back.median,
        first.seconds_until_all_are_back.max,
        first.server_cpu_us_per_connection.median,
        against(ratios)
    )
}

fn storms(
    contender: &mut Contender,
    args: &StormArgs,
    sampler: &mut Option<Sampler>,
) -> io::Result<Vec<Round>> {
    let (count, at_once) = (args.connections as usize, args.options.at_once);
    let channel_of = |number: u32| number % args.connections;
    contender.fleet.open_publishers(1, &mut contender.ledger)?;
    contender.fleet.subscribe(count, at_once, channel_of, &mut contender.ledger)?;
    contender.publish_to_each(0..args.connections)?;
    let mut rounds = Vec::new();
    for number in 0..args.rounds {
        progress(&format!("{}: storm {}/{}", contender.name, number + 1, args.rounds));
        contender.ledger.handshake.clear();
        let meter = Meter::start(contender.server.process, sampler);
        let start_ns = now_ns();
        contender.ledger.timeline.of = Of::Subscribers;
        contender.ledger.resume(start_ns);
        contender.fleet.close_subscribers(&mut contender.ledger)?;
        contender.fleet.subscribe(count, at_once, channel_of, &mut contender.ledger)?;
        let wall_ns = now_ns() - start_ns;
        contender.ledger.pause(start_ns + wall_ns);
        rounds.push(Round { wall_ns, spent: meter.stop(sampler) });
        contender.publish_to_each(0..args.connections)?;
    }
    Ok(rounds)
}

/// `handshake`: of the last storm.
fn row(name: &str, handshake: &Latency, rounds: &[Round], args: &StormArgs) -> Row {
    let count = f64::from(args.connections);
    let mut spent = Spent::default();
    rounds.iter().for_each(|round| spent.add(&round.spent));
    Row {
        name: name.to_owned(),
        seconds_until_all_are_back: Spread::of(rounds.iter().map(|r| r.wall_ns as f64 / 1e9).collect()),
        server_cpu_us_per_connection: Spread::of(
            rounds.iter().map(|r| r.spent.run_ns as f64 / 1e3 / count).collect(),
        ),
        handshake: handshake.quantiles(),
        disturbance: spent.samples.disturbance(),
    }
}

fn ratio(of: &str, broker: &[Round], to: &str, floor: &[Round]) -> Ratio {
    let pairs = broker.iter().zip(floor).map(|(a, b)| a.wall_ns as f64 / b.wall_ns as f64);
    let spread = Spread::of(pairs.collect());
    Ratio { of: of.to_owned(), to: to.to_owned(), what: "time until all are back", spread }
}

fn print(rows: &[Row]) {
    println!(
        "\n{:<20} {:>11} {:>9} {:>9} {:>13} {:>8} {:>8} {:>8}",
        "contender", "all back s", "min", "max", "CPU us/conn", "p50 ms", "p99 ms", "max ms"
    );
    for row in rows {
        let (seconds, cpu) = (row.seconds_until_all_are_back, row.server_cpu_us_per_connection);
        println!(
            "{:<20} {:>11.3} {:>9.3} {:>9.3} {:>13.1} {:>8.2} {:>8.2} {:>8.2}",
            row.name,
            seconds.median,
            seconds.min,
            seconds.max,
            cpu.median,
            row.handshake.p50_ms,
            row.handshake.p99_ms,
            row.handshake.max_ms
        );
    }
}
