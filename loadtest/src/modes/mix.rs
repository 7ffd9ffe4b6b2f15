//! Everything at once: a channel of one's own and a group's, small messages to both, people coming and going.
//!
//! The shape of a published test of a million connections, scaled to N: every connection has two channels, one its own and
//! one of a group of ten; messages of 100 bytes; 200,000 of the million come and go per minute, that is 20 %; half a
//! message per connection and second reaches the clients. Publications go to own channels and to groups in turn. Who
//! goes is closed in the middle of the traffic, and a client of the same user joins the same two channels at once:
//! what is on its way to it then may be lost, everything else may not.
//! Source: centrifugal.dev, "Million connections with Centrifugo", 2020.

use std::io;

use clap::Args;
use serde::Serialize;

use crate::account::Process;
use crate::clock::now_ns;
use crate::fleet::{Attention, Channels};
use crate::host::Host;
use crate::latency::{Latency, Quantiles};
use crate::load::Contender;
use crate::meter::{Meter, Spent};
use crate::modes::Outcome;
use crate::options::{Options, explained};
use crate::report::{Report, progress, progress_end};
use crate::sampler::Sampler;
use crate::svg::short;

const PAYLOAD_BYTES: usize = 100;
const GROUP: u32 = 10;
/// Deliveries of a publication to an own channel and of one to a group, together.
const DELIVERIES_PER_PAIR: f64 = 1.0 + GROUP as f64;

#[derive(Debug, Clone, Args)]
pub struct MixArgs {
    /// Rounded up to whole groups.
    #[arg(long, short = 'n', default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub connections: u32,
    /// Messages per second that reach each connection, on average.
    #[arg(long, default_value_t = 0.5)]
    pub rate: f64,
    /// Percent of the connections that are replaced per minute.
    #[arg(long, default_value_t = 20.0)]
    pub churn: f64,
    /// HTTP connections that publish.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub publishers: u16,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Serialize)]
struct Settings {
    connections: u32,
    group: u32,
    deliveries_per_second: f64,
    churn_percent_per_minute: f64,
    publishers: u16,
    payload_bytes: usize,
    shards: u16,
}

#[derive(Serialize)]
struct Row {
    name: String,
    connections: u32,
    seconds: f64,
    deliveries: u64,
    deliveries_per_s: f64,
    replaced: u64,
    replaced_per_s: f64,
    latency: Quantiles,
    /// Of those who came: from the start of the TCP connect to both subscriptions.
    handshake: Quantiles,
    lateness: Quantiles,
    server_cores: f64,
    user_share: Option<f64>,
    rss_bytes_per_connection: f64,
    disturbance: f64,
    spent: Spent,
}

pub fn run(args: &MixArgs) -> Outcome {
    let payload = args.options.payload.or(Some(PAYLOAD_BYTES));
    let options = &Options { payload, ..args.options.clone() };
    if options.floor.is_some() || options.floor_only {
        return Err(io::Error::other(
            "a bare sender knows one channel per connection: there is no floor for mix",
        ));
    }
    let host = Host::read();
    let mut sampler = options.settle_in()?;
    host.print();
    let connections = args.connections.next_multiple_of(GROUP);
    let server = options.only_broker()?;
    let channels = connections + connections / GROUP;
    // Who leaves holds a slot for a moment longer than who takes the place.
    let spare = connections / 50 + 128;
    let mut contender =
        options.contender(server, (connections + spare) as usize + usize::from(args.publishers), channels)?;
    let row = load(&mut contender, args, connections, &mut sampler)
        .map_err(|error| explained(&contender.server.log(), &error))?;
    progress_end();
    print(&row);
    let settings = Settings {
        connections,
        group: GROUP,
        deliveries_per_second: args.rate * f64::from(connections),
        churn_percent_per_minute: args.churn,
        publishers: args.publishers,
        payload_bytes: options.payload_bytes(),
        shards: options.shards,
    };
    let mut report = Report::new("mix", host, &settings, &[&row])?;
    report.load = format!("{connections} connections with two channels each, people coming and going");
    report.outcome = outcome(&row);
    report.curves = vec![contender.curve(&contender.ledger.latency)];
    report.disturbance = row.disturbance;
    report.faults = contender.ledger.faults();
    report.finish(options)
}

fn load(
    contender: &mut Contender,
    args: &MixArgs,
    connections: u32,
    sampler: &mut Option<Sampler>,
) -> io::Result<Row> {
    let options = &args.options;
    let process = contender.server.process;
    let Contender { fleet, ledger, .. } = contender;
    fleet.open_publishers(usize::from(args.publishers), ledger)?;
    let rss_before = process.map_or(0, Process::rss_bytes);
    progress(&format!("connecting {connections}"));
    fleet.subscribe(connections as usize, options.at_once, |number| channels(number, connections), ledger)?;
    let mut traffic = Traffic::new(args, connections);
    let warm_up_ns = (options.warm_up * 1e9) as u64;
    traffic.run(contender, warm_up_ns, &mut |_| {})?;
    contender.ledger.latency.clear();
    contender.ledger.handshake.clear();
    traffic.lateness.clear();

    let before = contender.ledger.counts;
    let mut meter = Meter::start(process, sampler);
    let start_ns = now_ns();
    contender.ledger.resume(start_ns);
    traffic.run(contender, (options.seconds * 1e9) as u64, &mut |text| {
        meter.collect(sampler);
        progress(text);
    })?;
    let wall_ns = now_ns() - start_ns;
    contender.ledger.pause(start_ns + wall_ns);
    let spent = meter.stop(sampler);
    let rss_grown = process.map_or(0, Process::rss_bytes) as f64 - rss_before as f64;
    let counts = contender.ledger.counts.since(before);
    let seconds = wall_ns as f64 / 1e9;
    Ok(Row {
        name: contender.name.clone(),
        connections,
        seconds,
        deliveries: counts.deliveries,
        deliveries_per_s: counts.deliveries as f64 / seconds,
        replaced: counts.handshakes,
        replaced_per_s: counts.handshakes as f64 / seconds,
        latency: contender.ledger.latency.quantiles(),
        handshake: contender.ledger.handshake.quantiles(),
        lateness: traffic.lateness.quantiles(),
        server_cores: spent.run_ns as f64 / wall_ns as f64,
        user_share: spent.user_share(),
        rss_bytes_per_connection: rss_grown / f64::from(connections),
        disturbance: spent.samples.disturbance(),
        spent,
    })
}

/// Own channels come first, then the groups'.
fn channels(number: u32, connections: u32) -> Channels {
    Channels { own: number, group: Some(connections + number / GROUP) }
}

/// Two fixed schedules, of publications and of people who come and go, over everybody in an order of no meaning.
struct Traffic {
    connections: u32,
    publication_ns: f64,
    replacement_ns: f64,
    random: u64,
    lateness: Latency,
}

impl Traffic {
    fn new(args: &MixArgs, connections: u32) -> Traffic {
        let everybody = f64::from(connections);
        let publications_per_second = 2.0 * args.rate * everybody / DELIVERIES_PER_PAIR;
        let replacements_per_second = args.churn / 100.0 * everybody / 60.0;
        Traffic {
            connections,
            publication_ns: 1e9 / publications_per_second,
            replacement_ns: 1e9 / replacements_per_second,
            random: 1,
            lateness: Latency::default(),
        }
    }

    /// Runs for `duration_ns` and until everything on its way has arrived. `tell`: called every second.
    fn run(
        &mut self,
        contender: &mut Contender,
        duration_ns: u64,
        tell: &mut impl FnMut(&str),
    ) -> io::Result<()> {
        let start_ns = now_ns();
        let (mut published, mut replaced, mut told_s) = (0u64, 0u64, 0);
        let Contender { fleet, ledger, .. } = contender;
        loop {
            let held_ns = now_ns() - start_ns;
            if held_ns >= duration_ns || ledger.counts.closed + ledger.counts.refused > 0 {
                break;
            }
            while (published as f64 * self.publication_ns) < held_ns as f64 {
                let due_ns = start_ns + (published as f64 * self.publication_ns) as u64;
                let number = self.number();
                let Channels { own, group } = channels(number, self.connections);
                let channel = if published.is_multiple_of(2) { Some(own) } else { group };
                published += 1;
                self.lateness.record(due_ns, start_ns + held_ns);
                // Somebody between going and coming hears nothing on a channel of one's own.
                if let Some(channel) = channel.filter(|&channel| ledger.has_subscribers(channel)) {
                    fleet.publish(channel, due_ns, ledger);
                }
            }
            while (replaced as f64 * self.replacement_ns) < held_ns as f64 {
                let number = self.number();
                fleet.replace(number, channels(number, self.connections), ledger)?;
                replaced += 1;
            }
            fleet.turn(ledger, Attention::Spinning)?;
            if held_ns / 1_000_000_000 > told_s {
                told_s = held_ns / 1_000_000_000;
                tell(&format!("{told_s} s, {published} published, {replaced} replaced"));
            }
        }
        let everybody = u64::from(self.connections);
        fleet.turn_until(ledger, Attention::Spinning, |_, ledger| {
            ledger.quiet() && ledger.counts.subscribed == everybody
        })
    }

    fn number(&mut self) -> u32 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.random >> 33) % u64::from(self.connections)) as u32
    }
}

fn outcome(row: &Row) -> String {
    format!(
        "{} messages/s to clients, {:.1} connections/s replaced: p99 {:.2} ms, {:.3} cores, \
         {:.0} B of user memory per connection",
        short(row.deliveries_per_s),
        row.replaced_per_s,
        row.latency.p99_ms,
        row.server_cores,
        row.rss_bytes_per_connection
    )
}

fn print(row: &Row) {
    let Row { latency, handshake, lateness, .. } = row;
    println!("\n{} deliveries in {:.1} s: {:.0}/s", row.deliveries, row.seconds, row.deliveries_per_s);
    for (what, quantiles) in [("latency", latency), ("handshake", handshake), ("generator late", lateness)] {
        println!(
            "{what:<16} p50 {:.3}, p99 {:.3}, p99.9 {:.3}, max {:.3} ms",
            quantiles.p50_ms, quantiles.p99_ms, quantiles.p999_ms, quantiles.max_ms
        );
    }
    println!(
        "{} replaced, {:.1}/s; server {:.3} cores, {:.0} % of it user mode; {:.0} B per connection",
        row.replaced,
        row.replaced_per_s,
        row.server_cores,
        row.user_share.unwrap_or(0.0) * 100.0,
        row.rss_bytes_per_connection
    );
}
