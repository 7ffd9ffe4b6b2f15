//! The modes as the command line and scenario files name them.

use clap::Subcommand;

use crate::modes::Outcome;
use crate::modes::connect::{self, ConnectArgs};
use crate::modes::fanout::{self, FanoutArgs};
use crate::modes::idle::{self, IdleArgs};
use crate::modes::many::{self, ManyArgs};
use crate::modes::mix::{self, MixArgs};
use crate::modes::publish::{self, PublishArgs};
use crate::modes::rpc::{self, RpcArgs};
use crate::modes::slow::{self, SlowArgs};
use crate::modes::storm::{self, StormArgs};
use crate::options::Options;

#[derive(Debug, Clone, Subcommand)]
pub enum Workload {
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
    /// Clients publish to nobody and wait for the reply: round trips over the client protocol.
    Rpc(RpcArgs),
    /// Backends publish to nobody over raw TCP, pipelined: rate and cost, and what others feel of it.
    Publish(PublishArgs),
    /// Let some subscribers stop reading: what it costs the others, and the server's memory.
    Slow(SlowArgs),
    /// Two channels each, small messages, people coming and going: a published scenario, scaled.
    Mix(MixArgs),
}

impl Workload {
    pub fn run(&self) -> Outcome {
        match self {
            Workload::Fanout(args) => fanout::run(args),
            Workload::Many(args) => many::run(args),
            Workload::Connect(args) => connect::run(args),
            Workload::Idle(args) => idle::run(args),
            Workload::Storm(args) => storm::run(args),
            Workload::Rpc(args) => rpc::run(args),
            Workload::Publish(args) => publish::run(args),
            Workload::Slow(args) => slow::run(args),
            Workload::Mix(args) => mix::run(args),
        }
    }

    /// The bare senders alone, no broker.
    pub fn run_floor(mut self) -> Outcome {
        self.options_mut().floor_only = true;
        self.run()
    }

    fn options_mut(&mut self) -> &mut Options {
        match self {
            Workload::Fanout(args) => &mut args.options,
            Workload::Many(args) => &mut args.options,
            Workload::Connect(args) => &mut args.options,
            Workload::Idle(args) => &mut args.options,
            Workload::Storm(args) => &mut args.options,
            Workload::Rpc(args) => &mut args.options,
            Workload::Publish(args) => &mut args.options,
            Workload::Slow(args) => &mut args.options,
            Workload::Mix(args) => &mut args.options,
        }
    }
}
