//! Backends that publish over raw TCP with pipelined `PUBLISH` commands, to channels that nobody hears.
//!
//! Each connection sends a batch, waits for all of its replies and sends the next; several take turns, so that the
//! server always has something. The bare receiver is loaded alike, slice by slice. Beside the broker's load another
//! connection asks a small HTTP question on a fixed schedule: what a flood of publications costs everybody else.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::clock::now_ns;
use crate::dialect::Dialect;
use crate::host::Host;
use crate::latency::{Latency, Quantiles};
use crate::meter::{Meter, Spent};
use crate::modes::Outcome;
use crate::options::Options;
use crate::report::{Report, progress, progress_end};
use crate::sampler::Sampler;
use crate::server::Server;
use crate::summary::{Ratio, Spread};

/// Between two questions of the bystander.
const QUESTION_NS: u64 = 25_000_000;

#[derive(Debug, Clone, Args)]
pub struct PublishArgs {
    /// Connections that publish.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub publishers: u16,
    /// Commands of one batch.
    #[arg(long, short = 'w', default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub pipeline: u16,
    #[arg(long, short = 'm', default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub channels: u16,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Serialize)]
struct Settings {
    publishers: u16,
    pipeline: u16,
    channels: u16,
    payload_bytes: usize,
    shards: u16,
}

#[derive(Serialize)]
struct Row {
    name: String,
    publishes_per_s: Spread,
    server_cpu_us_per_publish: Spread,
    /// Share of that in user mode, 0 to 1, where it could be sampled.
    user_share: Option<f64>,
    /// From the sending of a batch to its last reply.
    batch: Quantiles,
    /// Of the bystander's questions; only beside the broker.
    bystander: Option<Quantiles>,
}

struct Contender {
    name: String,
    server: Server,
    publishers: Vec<Publisher>,
    latency: Latency,
    /// Publications per second, and microseconds of the server's time for each, by slice.
    rates: Vec<f64>,
    costs_us: Vec<f64>,
    spent: Spent,
}

struct Publisher {
    stream: TcpStream,
    batch: Vec<u8>,
    commands: usize,
    sent_ns: u64,
    is_waiting: bool,
}

pub fn run(args: &PublishArgs) -> Outcome {
    let options = &args.options;
    // Nobody subscribes.
    options.needs_centrifuge()?;
    let host = Host::read();
    let mut sampler = options.settle_in()?;
    host.print();
    let command_bytes = command(0, options.payload_bytes()).len();
    let mut contenders = Vec::new();
    if !options.floor_only {
        let server = options.broker(Dialect::Centrifuge)?;
        let address = server.tcp.ok_or_else(|| io::Error::other("--spawn PATH is needed"))?;
        contenders.push(Contender::new("broker", server, address, Some(&options.api_key), args)?);
    }
    if options.floor_only || options.floor.is_some() {
        let server = Server::spawn_receiver(command_bytes, options.server_core)?;
        let address = server.address;
        contenders.push(Contender::new("floor-receiver", server, address, None, args)?);
    }
    for contender in &mut contenders {
        contender.run(Duration::from_secs_f64(options.warm_up), &mut sampler)?;
        contender.forget();
    }
    let mut bystander = Latency::default();
    for slice in 0..options.slices() {
        progress(&format!("slice {} of {}", slice + 1, options.slices()));
        for contender in &mut contenders {
            let watch = (contender.name == "broker").then(|| Bystander::start(contender.server.address));
            contender.run(options.slice_duration(), &mut sampler)?;
            if let Some(watch) = watch {
                bystander.add(&watch.stop()?);
            }
        }
    }
    progress_end();
    report(args, host, &contenders, &bystander)
}

fn report(args: &PublishArgs, host: Host, contenders: &[Contender], bystander: &Latency) -> Outcome {
    let rows: Vec<Row> = contenders
        .iter()
        .map(|contender| Row {
            name: contender.name.clone(),
            publishes_per_s: Spread::of(contender.rates.clone()),
            server_cpu_us_per_publish: Spread::of(contender.costs_us.clone()),
            user_share: contender.spent.user_share(),
            batch: contender.latency.quantiles(),
            bystander: (contender.name == "broker").then(|| bystander.quantiles()),
        })
        .collect();
    println!(
        "\ncontender         publishes/s   CPU µs/publish   in user mode   batch p50/p99 ms   bystander p50/p99/max ms"
    );
    for row in &rows {
        let beside = row.bystander.map_or_else(String::new, |bystander| {
            format!("{:.3} / {:.3} / {:.3}", bystander.p50_ms, bystander.p99_ms, bystander.max_ms)
        });
        println!(
            "{:<16} {:>12.0} {:>16.3} {:>12.0} % {:>9.3} / {:.3}   {beside}",
            row.name,
            row.publishes_per_s.median,
            row.server_cpu_us_per_publish.median,
            row.user_share.unwrap_or_default() * 100.0,
            row.batch.p50_ms,
            row.batch.p99_ms,
        );
    }
    let settings = Settings {
        publishers: args.publishers,
        pipeline: args.pipeline,
        channels: args.channels,
        payload_bytes: args.options.payload_bytes(),
        shards: args.options.shards,
    };
    let mut report = Report::new("publish", host, &settings, &rows)?;
    report.disturbance =
        contenders.iter().map(|contender| contender.spent.samples.disturbance()).fold(0.0, f64::max);
    report.load = format!("{} connections publish {} at a time over RESP", args.publishers, args.pipeline);
    report.outcome = rows.first().map_or_else(String::new, |row| {
        let (rate, cost) = (row.publishes_per_s.median, row.server_cpu_us_per_publish.median);
        format!("{rate:.0} publications/s, {cost:.2} µs CPU each")
    });
    if let Some(Quantiles { p99_ms, max_ms, .. }) = rows.first().and_then(|row| row.bystander) {
        report.outcome += &format!("; others' requests meanwhile p99 {p99_ms:.2} ms, at most {max_ms:.2}");
    }
    if let [broker, floor] = contenders {
        report.ratios = vec![
            ratio("server CPU per publication", (broker, &broker.costs_us), (floor, &floor.costs_us)),
            ratio("publications per second", (broker, &broker.rates), (floor, &floor.rates)),
        ];
        for Ratio { what, to, spread, .. } in &report.ratios {
            println!("{what}: {:.3} x {to}, {:.3} to {:.3}", spread.median, spread.min, spread.max);
            report.outcome += &format!("; {what} {:.3} × {to}", spread.median);
        }
    }
    report.finish(&args.options)
}

/// Slice by slice: both were loaded in alternation.
fn ratio(what: &'static str, of: (&Contender, &[f64]), to: (&Contender, &[f64])) -> Ratio {
    let ratios = of.1.iter().zip(to.1).filter(|(_, to)| **to > 0.0).map(|(of, to)| of / to).collect();
    Ratio { of: of.0.name.clone(), to: to.0.name.clone(), what, spread: Spread::of(ratios) }
}

impl Contender {
    fn new(
        name: &str,
        server: Server,
        address: SocketAddrV4,
        key: Option<&str>,
        args: &PublishArgs,
    ) -> io::Result<Contender> {
        let publishers = (0..args.publishers).map(|number| Publisher::connect(address, key, number, args));
        let publishers = publishers.collect::<io::Result<_>>()?;
        let (rates, costs_us) = (Vec::new(), Vec::new());
        Ok(Contender {
            name: name.to_owned(),
            server,
            publishers,
            latency: Latency::default(),
            rates,
            costs_us,
            spent: Spent::default(),
        })
    }

    fn forget(&mut self) {
        self.latency.clear();
        self.rates.clear();
        self.costs_us.clear();
        self.spent = Spent::default();
    }

    /// One slice: quiet at both ends.
    fn run(&mut self, duration: Duration, sampler: &mut Option<Sampler>) -> io::Result<()> {
        let meter = Meter::start(self.server.process, sampler);
        let began_ns = now_ns();
        let end_ns = began_ns + duration.as_nanos() as u64;
        let mut published = 0;
        loop {
            let is_over = now_ns() >= end_ns;
            let mut waiting = 0;
            for publisher in &mut self.publishers {
                if publisher.is_waiting {
                    publisher.read_replies()?;
                    self.latency.record(publisher.sent_ns, now_ns());
                    published += publisher.commands;
                }
                if !is_over {
                    publisher.send()?;
                    waiting += 1;
                }
            }
            if waiting == 0 {
                break;
            }
        }
        self.rates.push(published as f64 / ((now_ns() - began_ns) as f64 / 1e9));
        let spent = meter.stop(sampler);
        self.costs_us.push(spent.run_ns as f64 / 1e3 / published.max(1) as f64);
        self.spent.add(&spent);
        Ok(())
    }
}

impl Publisher {
    fn connect(
        address: SocketAddrV4,
        key: Option<&str>,
        number: u16,
        args: &PublishArgs,
    ) -> io::Result<Publisher> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        if let Some(key) = key {
            stream.write_all(format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{key}\r\n", key.len()).as_bytes())?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            if &answer != b"+OK\r\n" {
                return Err(io::Error::other("AUTH was refused"));
            }
        }
        let first = usize::from(number) * usize::from(args.pipeline);
        let channels = (first..first + usize::from(args.pipeline)).map(|at| at % usize::from(args.channels));
        let batch = channels.flat_map(|channel| command(channel, args.options.payload_bytes())).collect();
        let commands = usize::from(args.pipeline);
        Ok(Publisher { stream, batch, commands, sent_ns: 0, is_waiting: false })
    }

    fn send(&mut self) -> io::Result<()> {
        self.sent_ns = now_ns();
        self.is_waiting = true;
        self.stream.write_all(&self.batch)
    }

    /// Nobody listens, so every reply is `:0`.
    fn read_replies(&mut self) -> io::Result<()> {
        let mut replies = [0; 4096];
        let mut missing_bytes = self.commands * 4;
        while missing_bytes > 0 {
            let room = missing_bytes.min(replies.len());
            self.stream.read_exact(&mut replies[..room])?;
            if replies[..room].chunks(4).any(|reply| reply != b":0\r\n") {
                let text = String::from_utf8_lossy(&replies[..room.min(200)]).into_owned();
                return Err(io::Error::other(format!("a publication was answered with {text:?}")));
            }
            missing_bytes -= room;
        }
        self.is_waiting = false;
        Ok(())
    }
}

/// Always as long for one length of payload.
fn command(channel: usize, payload_bytes: usize) -> Vec<u8> {
    let filling = "x".repeat(payload_bytes.saturating_sub(r#"{"text":""}"#.len()));
    let data = format!(r#"{{"text":"{filling}"}}"#);
    format!("*3\r\n$7\r\nPUBLISH\r\n$6\r\nc{channel:05}\r\n${}\r\n{data}\r\n", data.len()).into_bytes()
}

/// Somebody else, with one small question every few milliseconds.
struct Bystander {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Latency>>,
}

impl Bystander {
    fn start(address: SocketAddrV4) -> Bystander {
        let ends = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ends);
        Bystander { ends, thread: thread::spawn(move || ask(address, &seen)) }
    }

    fn stop(self) -> io::Result<Latency> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the bystander panicked"))?
    }
}

/// Open loop: a late answer delays the next question, which is measured from when it should have been asked.
fn ask(address: SocketAddrV4, ends: &AtomicBool) -> io::Result<Latency> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut latency = Latency::default();
    let mut answer = [0; 1024];
    let mut due_ns = now_ns();
    while !ends.load(Ordering::Relaxed) {
        sleep(Duration::from_nanos(due_ns.saturating_sub(now_ns())));
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")?;
        let mut filled = 0;
        while !answer[..filled].ends_with(b"ok\n") {
            match stream.read(&mut answer[filled..])? {
                0 => return Err(io::Error::other("the bystander was cut off")),
                bytes => filled += bytes,
            }
        }
        latency.record(due_ns, now_ns());
        due_ns += QUESTION_NS;
    }
    Ok(latency)
}
