//! Load-test harness: drives a broker over io_uring from one core and says what the other core spent.
//!
//! ```text
//! main, workload   commands and exit code  modes/    one file per mode
//! scenario, bars   files of runs, verdicts markdown, html, svg, capacity   tables and pages
//! options   shared flags -> servers        load      slices: closed and open loop, quiet at both ends
//! fleet     subscribers and publishers     ring, buffers, sys, sampler   kernel objects, the only unsafe code
//! dialect/  what clients speak, a file each
//! entrance  how backends publish
//! frames, message, http, resp, token       bytes in and out, without sockets
//! ledger, sequence, latency, timeline, summary       what was heard, in order, how late, at what cost
//! account, meter, host, server, report     /proc, machine facts, child processes, tables and JSON
//! floor/    the same load against senders with no broker in them
//! ```
//!
//! Exit code: 0 clean; 1 loss, gap, disorder or a lost connection; 2 wrong usage; 3 the run could not be made.
#![deny(unsafe_code)]

mod account;
mod bars;
mod buffers;
mod capacity;
mod clock;
mod dialect;
mod entrance;
mod fleet;
mod floor;
mod frames;
mod host;
mod html;
mod http;
mod latency;
mod ledger;
mod load;
mod markdown;
mod message;
mod meter;
mod modes;
mod options;
mod report;
mod resp;
mod ring;
mod sampler;
mod scenario;
mod sequence;
mod server;
mod summary;
mod svg;
mod sys;
mod timeline;
mod token;
mod workload;

use std::io;
use std::net::SocketAddrV4;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use scenario::ScenarioArgs;
use workload::Workload;

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Load(Workload),
    /// The bare senders alone, under any of the workloads.
    Floor {
        #[command(subcommand)]
        workload: Workload,
    },
    /// Several runs and their bars, from a file.
    Scenario(ScenarioArgs),
    /// Serves as a bare sender; started by the other modes.
    #[command(hide = true)]
    FloorSender {
        #[arg(long)]
        kind: floor::Kind,
        #[arg(long)]
        listen: SocketAddrV4,
    },
    /// Takes publications over raw TCP as a bare receiver; started by the mode `publish`.
    #[command(hide = true)]
    FloorReceiver {
        #[arg(long)]
        listen: SocketAddrV4,
        #[arg(long)]
        command_bytes: usize,
    },
}

fn main() -> ExitCode {
    sys::note_start();
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            report::progress_end();
            eprintln!("loadtest: {error}");
            ExitCode::from(3)
        }
    }
}

/// `false`: something was lost, skipped, repeated or closed.
fn run(command: Command) -> io::Result<bool> {
    match command {
        Command::Load(workload) => workload.run().map(|report| report.faults.is_empty()),
        Command::Floor { workload } => workload.run_floor().map(|report| report.faults.is_empty()),
        Command::Scenario(args) => scenario::run(&args),
        Command::FloorSender { kind, listen } => floor::serve(kind, listen).map(|()| true),
        Command::FloorReceiver { listen, command_bytes } => {
            floor::receiver::serve(listen, command_bytes).map(|()| true)
        }
    }
}
