//! Connections held with pings: memory per connection as the slope between loads, and the server's idle CPU.
//!
//! Every connection has one subscription of its own and has received one publication before memory is read, so that what
//! is lazily allocated is there.

use std::io;

use clap::Args;
use serde::Serialize;

use crate::account::{KernelMemory, KernelPerConnection, Process};
use crate::clock::now_ns;
use crate::fleet::Attention;
use crate::floor::Kind;
use crate::host::Host;
use crate::load::Contender;
use crate::meter::{Meter, Spent};
use crate::modes::Outcome;
use crate::options::{Options, explained};
use crate::report::{Report, progress, progress_end};
use crate::sampler::Sampler;

/// Connections between two lines of progress.
const CONNECT_STEP: usize = 10_000;

#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    /// Loads to hold one after another, ascending.
    #[arg(long, short = 'n', value_delimiter = ',', default_values_t = [5_000, 15_000])]
    pub connections: Vec<u32>,
    /// Pings every connection must have received at each load before it is measured (with --seconds as the least
    /// time).
    #[arg(long, default_value_t = 0)]
    pub pings: u64,
    /// All join one channel instead of one each, so that one broadcast reaches everybody.
    #[arg(long)]
    pub one_channel: bool,
    /// Give up waiting for pings after this many seconds.
    #[arg(long, default_value_t = 120.0)]
    pub patience: f64,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Serialize)]
struct Settings {
    connections: Vec<u32>,
    pings: u64,
    one_channel: bool,
    hold_seconds: f64,
    shards: u16,
}

/// One contender at one load.
#[derive(Clone, Serialize)]
struct Row {
    name: String,
    connections: u32,
    rss_bytes: u64,
    /// Over the step from the load before (from no connections at the first).
    rss_bytes_per_connection: f64,
    kernel: Option<KernelPerConnection>,
    connect_seconds: f64,
    /// Until everybody had heard one publication.
    publish_seconds: f64,
    hold_seconds: f64,
    pings: u64,
    /// Cores used while nothing but pings happened.
    idle_cores: f64,
    /// The same per ping and its answer.
    server_us_per_ping: Option<f64>,
    disturbance: f64,
}

pub fn run(args: &IdleArgs) -> Outcome {
    let options = &args.options;
    let ascending = args.connections.windows(2).all(|pair| pair[0] < pair[1]);
    let Some(&most) = args.connections.last().filter(|_| ascending) else {
        return Err(io::Error::other("--connections needs one or more ascending counts"));
    };
    let host = Host::read();
    let mut sampler = options.settle_in()?;
    host.print();
    let mut rows = Vec::new();
    let mut faults = Vec::new();
    // One after another: their connections together might not fit the machine.
    for server in options.servers(&[Kind::Ring])? {
        let mut contender = options.contender(server, most as usize + 64, most)?;
        hold_all(&mut contender, args, &mut sampler, &mut rows)
            .map_err(|error| explained(&format!("{}: {}", contender.name, contender.server.log()), &error))?;
        faults.extend(contender.ledger.faults());
    }
    progress_end();
    print(&rows);
    let settings = Settings {
        connections: args.connections.clone(),
        pings: args.pings,
        one_channel: args.one_channel,
        hold_seconds: options.seconds,
        shards: options.shards,
    };
    let mut report = Report::new("idle", host, &settings, &rows)?;
    let whose = if args.one_channel { "one for all" } else { "its own" };
    report.load = format!("{most} idle connections with a subscription each, {whose}");
    report.outcome = outcome(&rows, args.one_channel);
    report.disturbance = rows.iter().map(|row| row.disturbance).fold(0.0, f64::max);
    report.faults = faults;
    report.finish(options)
}

/// Of the first contender's last step.
fn outcome(rows: &[Row], one_channel: bool) -> String {
    let name = rows.first().map(|row| row.name.clone());
    let Some(last) = rows.iter().rfind(|row| Some(&row.name) == name.as_ref()) else { return String::new() };
    let published = if one_channel { "one publication heard by all" } else { "one publication to each" };
    let kernel = last.kernel.as_ref().map_or(String::new(), |kernel| {
        format!(", {:.1} kB of kernel memory for both ends", kernel.slab_bytes_both_ends / 1e3)
    });
    format!(
        "{:.0} B of user memory per connection{kernel}; connected in {:.1} s, {published} in {:.2} s; {:.3} cores for {:.0} pings/s",
        last.rss_bytes_per_connection,
        last.connect_seconds,
        last.publish_seconds,
        last.idle_cores,
        last.pings as f64 / last.hold_seconds
    )
}

fn hold_all(
    contender: &mut Contender,
    args: &IdleArgs,
    sampler: &mut Option<Sampler>,
    rows: &mut Vec<Row>,
) -> io::Result<()> {
    let process = contender.server.process;
    let rss = || process.map_or(0, Process::rss_bytes);
    let mut before = (0, rss(), KernelMemory::read());
    for &connections in &args.connections {
        let added = connections - before.0;
        let start_ns = now_ns();
        let Contender { fleet, ledger, name, .. } = contender;
        let channel_of = |number| if args.one_channel { 0 } else { number };
        for done in (0..added).step_by(CONNECT_STEP) {
            progress(&format!("{name}: {} of {connections} connected", before.0 + done));
            let step = CONNECT_STEP.min((added - done) as usize);
            fleet.subscribe(step, args.options.at_once, channel_of, ledger)?;
        }
        let connect_seconds = seconds_since(start_ns);
        let publish_ns = now_ns();
        contender.fleet.open_publishers(1, &mut contender.ledger)?;
        contender.publish_to_each(if args.one_channel { 0..1 } else { before.0..connections })?;
        let publish_seconds = seconds_since(publish_ns);
        contender.fleet.close_publishers(&mut contender.ledger)?;
        let (hold_seconds, pings, spent) = hold(contender, args, u64::from(connections), sampler)?;
        let (rss_now, kernel_now) = (rss(), KernelMemory::read());
        rows.push(Row {
            name: contender.name.clone(),
            connections,
            rss_bytes: rss_now,
            rss_bytes_per_connection: (rss_now as f64 - before.1 as f64) / f64::from(added),
            kernel: kernel_now.readable().then(|| kernel_now.per_connection(&before.2, u64::from(added))),
            connect_seconds,
            publish_seconds,
            hold_seconds,
            pings,
            idle_cores: spent.run_ns as f64 / 1e9 / hold_seconds,
            server_us_per_ping: (pings > 0).then(|| spent.run_ns as f64 / 1e3 / pings as f64),
            disturbance: spent.samples.disturbance(),
        });
        before = (connections, rss_now, kernel_now);
    }
    Ok(())
}

/// Holds still for the asked time and pings; returns seconds, pings seen and what the server spent.
fn hold(
    contender: &mut Contender,
    args: &IdleArgs,
    connections: u64,
    sampler: &mut Option<Sampler>,
) -> io::Result<(f64, u64, Spent)> {
    let pings_before = contender.ledger.counts.pings;
    let wanted = args.pings * connections;
    let mut meter = Meter::start(contender.server.process, sampler);
    let start_ns = now_ns();
    let mut shown_s = 0;
    loop {
        contender.fleet.turn(&mut contender.ledger, Attention::Relaxed)?;
        let held = seconds_since(start_ns);
        let pings = contender.ledger.counts.pings - pings_before;
        if held as u64 > shown_s {
            shown_s = held as u64;
            meter.collect(sampler);
            progress(&format!("{}: {connections} held for {shown_s} s, {pings} pings", contender.name));
        }
        if contender.ledger.counts.closed + contender.ledger.counts.refused > 0 {
            break;
        }
        if held >= args.options.seconds && (pings >= wanted || held >= args.patience) {
            if pings < wanted {
                contender.ledger.problem(format!("{pings} of {wanted} pings came within {held:.0} s"));
            }
            break;
        }
    }
    let (held, pings) = (seconds_since(start_ns), contender.ledger.counts.pings - pings_before);
    Ok((held, pings, meter.stop(sampler)))
}

fn seconds_since(start_ns: u64) -> f64 {
    (now_ns() - start_ns) as f64 / 1e9
}

fn print(rows: &[Row]) {
    println!(
        "\n{:<20} {:>9} {:>9} {:>15} {:>20} {:>10} {:>10} {:>8} {:>9} {:>10}",
        "contender",
        "conns",
        "RSS MB",
        "RSS B per conn",
        "kernel B, both ends",
        "connect s",
        "publish s",
        "held s",
        "pings",
        "idle cores"
    );
    for row in rows {
        println!(
            "{:<20} {:>9} {:>9.1} {:>15.0} {:>20.0} {:>10.2} {:>10.2} {:>8.1} {:>9} {:>10.4}",
            row.name,
            row.connections,
            row.rss_bytes as f64 / 1e6,
            row.rss_bytes_per_connection,
            row.kernel.as_ref().map_or(0.0, |kernel| kernel.slab_bytes_both_ends),
            row.connect_seconds,
            row.publish_seconds,
            row.hold_seconds,
            row.pings,
            row.idle_cores,
        );
    }
    println!("(per connection: over the step from the load before, so the second row on is a slope)");
    if let Some(parts) = rows.last().and_then(|row| row.kernel.as_ref()).map(|kernel| &kernel.parts) {
        let parts: Vec<String> = parts.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
        println!("kernel    {} (bytes per connection, both ends, last step)", parts.join(", "));
    }
}
