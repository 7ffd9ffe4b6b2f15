//! The simulation: real shards, a fake network, fake time, both engines, one seed.
//!
//! A seed decides everything: how many shards there are, how long their lanes, what clients and backends do, where
//! bytes are cut, when sends are short, who stalls, who vanishes. Real bytes go in and come out; what comes out is
//! judged by what was promised. The same seed gives the same run.
//!
//! `SIM_SEEDS=5000 cargo test --test sim` runs more seeds; a failing one prints itself, and
//! `SIM_SEED=1234 cargo test --test sim seeds_hold` runs it again and shows its last events.

mod around;
mod backend;
mod client;
mod engine;
mod frames;
mod host;
mod kernel;
mod ledger;
mod mutant;
mod network;
mod random;
mod replies;
mod scenario;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use mutant::Mutant;
use world::{Report, World};

/// Seeds of every run.
const SEEDS: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

/// One run. `Err`: what was broken, or the message of a panic, with what to do about it.
fn run(seed: u64, mutant: Option<Mutant>, shows: bool) -> Result<Report, String> {
    let mut world = World::new(seed, mutant, shows);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    });
    outcome.map_err(|broken| {
        let tail = world.trace.tail();
        format!(
            "{tail}{:?}\nseed {seed}: {broken}\nagain: SIM_SEED={seed} cargo test --test sim seeds_hold",
            world.scenario()
        )
    })
}

#[test]
fn seeds_hold() {
    let one = number("SIM_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let mut failures = 0;
    for seed in seeds {
        if let Err(broken) = run(seed, None, one.is_some()) {
            println!("{broken}\n");
            failures += 1;
        }
    }
    assert_eq!(failures, 0, "of {count} seeds so many failed; each is shown above");
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..10 {
        assert_eq!(run(seed, None, false), run(seed, None, false), "seed {seed}");
    }
}

/// A seed that finds the mutant, and how many of the first seeds do.
fn found_by(mutant: Mutant) -> (u64, u64) {
    let (mut found, mut struck) = (0, 0);
    for seed in 0..SEEDS {
        match run(seed, Some(mutant), false) {
            Ok(report) => struck += u64::from(report.has_struck),
            Err(_) => (found, struck) = (found + 1, struck + 1),
        }
    }
    (found, struck)
}

#[test]
fn mutants_are_found() {
    for mutant in Mutant::ALL {
        let (found, struck) = found_by(mutant);
        println!("{mutant:?}: found by {found} of {SEEDS} seeds, put into {struck}");
        assert!(found > 0, "{mutant:?} was found by none of {SEEDS} seeds");
    }
}
