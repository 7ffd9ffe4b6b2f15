//! Load-test harness: drives a broker over io_uring from one core and says what the other core spent.
//!
//! ```text
//! main      modes and exit code            modes/    one file per mode
//! options   shared flags -> servers        load      slices: closed and open loop, quiet at both ends
//! fleet     subscribers and publishers     ring, buffers, sys, sampler   kernel objects, the only unsafe code
//! frames, message, http, token             bytes in and out, without sockets
//! ledger, sequence, latency, summary       what was heard, in order, how late, at what cost
//! account, meter, host, server, report     /proc, machine facts, child processes, tables and JSON
//! floor/    the same load against senders with no broker in them
//! ```
//!
//! Exit code: 0 clean; 1 loss, gap, disorder or a lost connection; 2 wrong usage; 3 the run could not be made.
#![deny(unsafe_code)]

mod account;
mod buffers;
mod clock;
mod fleet;
mod floor;
mod frames;
mod host;
mod http;
mod latency;
mod ledger;
mod load;
mod message;
mod meter;
mod modes;
mod options;
mod report;
mod ring;
mod sampler;
mod sequence;
mod server;
mod summary;
mod sys;
mod token;

use std::net::SocketAddrV4;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use modes::connect::{self, ConnectArgs};
use modes::fanout::{self, FanoutArgs};
use modes::idle::{self, IdleArgs};
use modes::many::{self, ManyArgs};
use modes::slow::{self, SlowArgs};
use modes::storm::{self, StormArgs};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// One channel with N subscribers: deliveries per second, cost of each, latency.
    Fanout(FanoutArgs),
    /// M channels with one subscriber each: cost of a publish with one delivery.
    Many(ManyArgs),
    /// Connect, upgrade, authenticate, subscribe: rate and cost.
    Connect(ConnectArgs),
    /// Hold connections: memory per connection and idle CPU.
    Idle(IdleArgs),
    /// Drop every connection at once: time until all are back and subscribed.
    Storm(StormArgs),
    /// Let some subscribers stop reading: what it costs the others, and the server's memory.
    Slow(SlowArgs),
    /// The bare senders alone, under any of the workloads.
    Floor {
        #[command(subcommand)]
        workload: FloorWorkload,
    },
    /// Serves as a bare sender; started by the other modes.
    #[command(hide = true)]
    FloorSender {
        #[arg(long)]
        kind: floor::Kind,
        #[arg(long)]
        listen: SocketAddrV4,
    },
}

#[derive(Subcommand)]
enum FloorWorkload {
    Fanout(FanoutArgs),
    Many(ManyArgs),
    Connect(ConnectArgs),
    Idle(IdleArgs),
    Storm(StormArgs),
}

fn main() -> ExitCode {
    // Read before this thread is pinned to one of them.
    sys::cores();
    let outcome = match Cli::parse().mode {
        Mode::Fanout(args) => fanout::run(&args),
        Mode::Many(args) => many::run(&args),
        Mode::Connect(args) => connect::run(&args),
        Mode::Idle(args) => idle::run(&args),
        Mode::Storm(args) => storm::run(&args),
        Mode::Slow(args) => slow::run(&args),
        Mode::Floor { workload } => run_floor(workload),
        Mode::FloorSender { kind, listen } => floor::serve(kind, listen).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            report::progress_end();
            eprintln!("loadtest: {error}");
            ExitCode::from(3)
        }
    }
}

fn run_floor(workload: FloorWorkload) -> modes::Outcome {
    match workload {
        FloorWorkload::Fanout(mut args) => {
            args.options.floor_only = true;
            fanout::run(&args)
        }
        FloorWorkload::Many(mut args) => {
            args.options.floor_only = true;
            many::run(&args)
        }
        FloorWorkload::Connect(mut args) => {
            args.options.floor_only = true;
            connect::run(&args)
        }
        FloorWorkload::Idle(mut args) => {
            args.options.floor_only = true;
            idle::run(&args)
        }
        FloorWorkload::Storm(mut args) => {
            args.options.floor_only = true;
            storm::run(&args)
        }
    }
}
