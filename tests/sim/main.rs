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
mod shown;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use polycast::shard::DEADLINES_PER_TURN_MAX;

use mutant::Mutant;
use random::Random;
use scenario::Scenario;
use trace::Census;
use world::{Report, World};

/// Seeds of every run.
const SEEDS: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

/// One run. `Err`: what was broken, or the message of a panic, with what to do about it.
fn run(seed: u64, mutant: Option<Mutant>, shows: bool) -> Result<Report, String> {
    finish(World::new(seed, mutant, shows)).map_err(|broken| {
        format!("{broken}\nseed {seed}; again: SIM_SEED={seed} cargo test --test sim seeds_hold")
    })
}

fn finish(mut world: World) -> Result<Report, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    });
    outcome.map_err(|broken| format!("{}{:?}\n{broken}", world.trace.tail(), world.scenario()))
}

/// What the seeds of every run must have met at least once.
const MUST_OCCUR: [&str; 18] = [
    "channel broken",
    "close: by user",
    "close: expired",
    "close: no pong",
    "close: shutdown",
    "close: slow",
    "close: stale",
    "command refused",
    "gap read from history",
    "long body",
    "not recovered",
    "reading paused",
    "reading resumed",
    "recovered",
    "reset by the server",
    "subscription dropped",
    "token refreshed",
    "turn with letters waiting for room",
];

#[test]
fn seeds_hold() {
    let one = number("SIM_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let mut failures = 0;
    let mut census = Census::new();
    let mut spilled_max = 0;
    for seed in seeds {
        match run(seed, None, one.is_some()) {
            Ok(report) => {
                spilled_max = spilled_max.max(report.spilled_max);
                for (name, count) in report.census {
                    *census.entry(name).or_default() += count;
                }
            }
            Err(broken) => {
                println!("{broken}\n");
                failures += 1;
            }
        }
    }
    println!("{count} seeds, at most {spilled_max} letters waited for room, and there occurred: {census:?}");
    assert_eq!(failures, 0, "of {count} seeds so many failed; each is shown above");
    let missing: Vec<_> = MUST_OCCUR.iter().filter(|name| !census.contains_key(**name)).collect();
    assert!(count < SEEDS || missing.is_empty(), "never met: {missing:?}");
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..10 {
        assert_eq!(run(seed, None, false), run(seed, None, false), "seed {seed}");
    }
}

/// However late the shard is, one turn handles a stated number of expiries, and all are in time.
#[test]
fn many_expiries_are_spread_over_turns() {
    let mut random = Random::new(1);
    let scenario = Scenario::mass_expiry(700, &mut random);
    let report = finish(World::of(scenario, random, None, false)).unwrap_or_else(|broken| panic!("{broken}"));
    // A few have left by themselves.
    assert!(report.census["close: expired"] > 650, "{:?}", report.census);
    assert_eq!(report.expired_max, DEADLINES_PER_TURN_MAX as u64);
}

/// Runs the first seeds with a deliberate error in each; some must fail.
fn find(mutant: Mutant) {
    let (mut found, mut struck) = (0, 0);
    for seed in 0..SEEDS {
        match run(seed, Some(mutant), false) {
            Ok(report) => struck += u64::from(report.has_struck),
            Err(_) => (found, struck) = (found + 1, struck + 1),
        }
    }
    println!("{mutant:?}: put into {struck} of {SEEDS} seeds, found by {found}");
    assert!(found > 0, "{mutant:?} was found by none of {SEEDS} seeds");
}

#[test]
fn a_lost_delivery_is_found() {
    find(Mutant::DropDelivery);
}

#[test]
fn a_repeated_delivery_is_found() {
    find(Mutant::RepeatDelivery);
}

#[test]
fn a_delivery_after_unsubscribe_is_found() {
    find(Mutant::DeliverAfterUnsubscribe);
}

#[test]
fn a_skipped_offset_is_found() {
    find(Mutant::SkipOffset);
}

#[test]
fn an_entry_that_stays_is_found() {
    find(Mutant::SwallowLeave);
}
