//! TCP, upgrade, token, subscription confirmed: how many a second, and what each costs the server.

use std::io;

use clap::Args;
use serde::Serialize;

use crate::account::{KernelMemory, KernelPerConnection, Process};
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
use crate::svg::short;
use crate::timeline::Of;

#[derive(Debug, Clone, Args)]
pub struct ConnectArgs {
    #[arg(long, short = 'n', default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Rounds per contender; all connections are closed in between, which is not counted.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// All join one channel instead of one each.
    #[arg(long)]
    pub one_channel: bool,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Serialize)]
struct Settings {
    connections: u32,
    at_once: usize,
    rounds: u32,
    one_channel: bool,
    shards: u16,
}

struct Round {
    wall_ns: u64,
    spent: Spent,
    handshake: Latency,
    rss_bytes_per_connection: f64,
    kernel: Option<KernelPerConnection>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    connections_per_s: Spread,
    server_cpu_us_per_connection: Spread,
    user_us_per_connection: Option<f64>,
    handshake: Quantiles,
    /// Of the first round: later ones reuse what the first left behind.
    rss_bytes_per_connection: f64,
    kernel_first_round: Option<KernelPerConnection>,
    disturbance: f64,
}

pub fn run(args: &ConnectArgs) -> Outcome {
    let options = &args.options;
    let host = Host::read();
    let mut sampler = options.settle_in()?;
    host.print();
    let channels = if args.one_channel { 1 } else { args.connections };
    let mut contenders = Vec::new();
    for server in options.servers(&[Kind::Ring, Kind::Send])? {
        contenders.push((options.contender(server, args.connections as usize + 64, channels)?, Vec::new()));
    }
    for number in 0..args.rounds {
        for (contender, rounds) in &mut contenders {
            progress(&format!("round {}/{}: {}", number + 1, args.rounds, contender.name));
            let round = round(contender, args, channels, &mut sampler).map_err(|error| {
                explained(&format!("{}: {}", contender.name, contender.server.log()), &error)
            })?;
            rounds.push(round);
        }
    }
    progress_end();
    let rows: Vec<Row> = contenders.iter().map(|(contender, rounds)| row(contender, rounds, args)).collect();
    let mut ratios = Vec::new();
    if let [(first, of), floors @ ..] = contenders.as_slice() {
        for (floor, to) in floors {
            let pairs = of.iter().zip(to).map(|(a, b)| a.spent.run_ns as f64 / b.spent.run_ns.max(1) as f64);
            let spread = Spread::of(pairs.collect());
            let (of, to) = (first.name.clone(), floor.name.clone());
            ratios.push(Ratio { of, to, what: "server CPU per connection", spread });
        }
    }
    print(&rows);
    print_ratios(&ratios);
    let faults: Vec<String> =
        contenders.iter().flat_map(|(contender, _)| contender.ledger.faults()).collect();
    let settings = Settings {
        connections: args.connections,
        at_once: options.at_once,
        rounds: args.rounds,
        one_channel: args.one_channel,
        shards: options.shards,
    };
    let mut report = Report::new("connect", host, &settings, &rows)?;
    report.load = format!("{} connections, {} at a time", args.connections, options.at_once);
    report.outcome = outcome(&rows, &ratios);
    report.curves =
        contenders.iter().map(|(contender, rounds)| contender.curve(&handshakes(rounds))).collect();
    report.disturbance = rows.iter().map(|row| row.disturbance).fold(0.0, f64::max);
    report.ratios = ratios;
    report.faults = faults;
    report.finish(options)
}

fn outcome(rows: &[Row], ratios: &[Ratio]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let (rate, cpu) = (short(first.connections_per_s.median), first.server_cpu_us_per_connection.median);
    format!(
        "{rate} connections/s, {cpu:.1} µs CPU each, p99 {:.2} ms{}",
        first.handshake.p99_ms,
        against(ratios)
    )
}

fn handshakes(rounds: &[Round]) -> Latency {
    let mut handshakes = Latency::default();
    rounds.iter().for_each(|round| handshakes.add(&round.handshake));
    handshakes
}

fn round(
    contender: &mut Contender,
    args: &ConnectArgs,
    channels: u32,
    sampler: &mut Option<Sampler>,
) -> io::Result<Round> {
    let count = args.connections as usize;
    let process = contender.server.process;
    let rss = || process.map_or(0, Process::rss_bytes);
    let (rss_before, kernel_before) = (rss(), KernelMemory::read());
    contender.ledger.handshake.clear();
    let meter = Meter::start(process, sampler);
    let start_ns = now_ns();
    let Contender { fleet, ledger, .. } = contender;
    ledger.timeline.of = Of::Subscribers;
    ledger.resume(start_ns);
    fleet.subscribe(count, args.options.at_once, |number| number % channels, ledger)?;
    let wall_ns = now_ns() - start_ns;
    ledger.pause(start_ns + wall_ns);
    let spent = meter.stop(sampler);
    let kernel = KernelMemory::read();
    let round = Round {
        wall_ns,
        spent,
        handshake: ledger.handshake.clone(),
        rss_bytes_per_connection: (rss() as f64 - rss_before as f64) / count as f64,
        kernel: kernel.readable().then(|| kernel.per_connection(&kernel_before, count as u64)),
    };
    fleet.close_subscribers(ledger)?;
    wait_until_asleep(process);
    Ok(round)
}

/// Closing thousands of connections keeps the server busy after the last of them is gone here; at most five seconds.
fn wait_until_asleep(process: Option<Process>) {
    let Some(process) = process else { return };
    let pause = std::time::Duration::from_millis(20);
    let mut before = process.run_ns();
    for _ in 0..250 {
        std::thread::sleep(pause);
        let now = process.run_ns();
        if now - before < 500_000 {
            return;
        }
        before = now;
    }
}

fn row(contender: &Contender, rounds: &[Round], args: &ConnectArgs) -> Row {
    let count = f64::from(args.connections);
    let mut spent = Spent::default();
    rounds.iter().for_each(|round| spent.add(&round.spent));
    let each_us = |run_ns: u64| run_ns as f64 / 1e3 / count;
    Row {
        name: contender.name.clone(),
        connections_per_s: Spread::of(rounds.iter().map(|r| count * 1e9 / r.wall_ns as f64).collect()),
        server_cpu_us_per_connection: Spread::of(rounds.iter().map(|r| each_us(r.spent.run_ns)).collect()),
        user_us_per_connection: spent
            .user_share()
            .map(|share| share * each_us(spent.run_ns) / rounds.len().max(1) as f64),
        handshake: handshakes(rounds).quantiles(),
        rss_bytes_per_connection: rounds.first().map_or(0.0, |round| round.rss_bytes_per_connection),
        kernel_first_round: rounds.first().and_then(|round| round.kernel.clone()),
        disturbance: spent.samples.disturbance(),
    }
}

fn print(rows: &[Row]) {
    println!(
        "\n{:<20} {:>8} {:>13} {:>9} {:>9} {:>8} {:>8} {:>8} {:>9} {:>17}",
        "contender",
        "conn/s",
        "CPU us/conn",
        "min",
        "max",
        "user us",
        "p50 ms",
        "p99 ms",
        "RSS/conn",
        "kernel, both ends"
    );
    for row in rows {
        let cpu = row.server_cpu_us_per_connection;
        println!(
            "{:<20} {:>8.0} {:>13.1} {:>9.1} {:>9.1} {:>8.2} {:>8.2} {:>8.2} {:>9.0} {:>17.0}",
            row.name,
            row.connections_per_s.median,
            cpu.median,
            cpu.min,
            cpu.max,
            row.user_us_per_connection.unwrap_or(0.0),
            row.handshake.p50_ms,
            row.handshake.p99_ms,
            row.rss_bytes_per_connection,
            row.kernel_first_round.as_ref().map_or(0.0, |kernel| kernel.slab_bytes_both_ends),
        );
    }
}
