//! 10,000 connections of a real shard whose tokens expire at one moment: time of one core until each has been told
//! and let go. At most 256 deadlines are handled per `Input::Timers`, so other work comes between.
//!
//! Expected on a 2-3 GHz core, before measuring. Measured on an EPYC, 2 shared vCPU, Linux 6.18: criterion's estimate in
//! the best of five rounds; the worst took 1.4 to 1.6 times as long, with others on the machine.
//!
//! | what | expected | measured | why |
//! | --- | --- | --- | --- |
//! | 10,000 expiries, nobody subscribed | 4 ms | 2.5 ms | each: taken from the wheel 40 ns, cold state 60, taken from the user's list 60, close frame 120, armed for the answer 40, freeing user and info 50 |
//! | the same, each in its own channel | none made | 5.2 ms | a channel is forgotten as well, here and at the engine |
//! | the same, all in one channel | more than 4 ms, not said how much | 4.9 ms | leaving scans the list of those still in it |
//!
//! The bar is 10 ms. Run: `cargo bench --bench expiry`.

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use polycast::core::ids::Slot;
use polycast::shard::DEADLINES_PER_TURN_MAX;
use polycast::shard::input::Input;

#[path = "support/mod.rs"]
mod support;

use support::World;

const CONNECTIONS: u32 = 10_000;

/// Seconds until the tokens expire; the first pings come later.
const LIFE_S: u64 = 60;

/// The grace for a refresh.
const GRACE_MS: u64 = 25_000;

/// Expiries of one second are spread over this long.
const SPREAD_MS: u64 = 1_000;

/// Every connection's token expires at the same second, which has passed. `channels` 0: nobody subscribes.
fn expired(channels: u32) -> World {
    let mut world = World::new(
        "",
        "[apps.centrifuge]\nping_interval = \"1h\"\n\
         [[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_client = true",
    );
    let expires_s = world.now.unix_s() + LIFE_S;
    for slot in 0..CONNECTIONS {
        let user = format!("user-{slot}");
        match channels {
            0 => world.client(Slot(slot), &user, expires_s),
            _ => world.subscriber(Slot(slot), &user, expires_s, &format!("channel-{}", slot % channels)),
        }
    }
    // The wheel turns as time goes by; then the shard is held up until all of them are due.
    for _ in 0..LIFE_S * 1_000 + GRACE_MS - 1 {
        world.advance(1);
        if world.shard.next_deadline_ms().is_some_and(|due_ms| due_ms <= world.now.monotonic_ms) {
            world.input(Input::Timers { pending_receives: false });
        }
    }
    world.advance(SPREAD_MS + 1);
    assert_eq!(world.shard.snapshot().clients, u64::from(CONNECTIONS));
    world
}

/// What the loop does while deadlines are due; `after` is called after each turn.
fn expire(world: &mut World, mut after: impl FnMut(&World)) {
    while world.shard.next_deadline_ms().is_some_and(|due_ms| due_ms <= world.now.monotonic_ms) {
        world.input(Input::Timers { pending_receives: false });
        after(world);
    }
}

/// Each turn ends few enough, and all of them together everybody.
fn check() {
    let mut before = 0;
    expire(&mut expired(CONNECTIONS), |world| {
        let expired = world.shard.snapshot().expired;
        assert!(expired - before <= DEADLINES_PER_TURN_MAX as u64, "one turn ends {}", expired - before);
        before = expired;
    });
    assert_eq!(before, u64::from(CONNECTIONS));
}

fn expiry(criterion: &mut Criterion) {
    check();
    let mut group = criterion.benchmark_group("expiry");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Elements(u64::from(CONNECTIONS)));
    for (name, channels) in
        [("nobody subscribed", 0), ("each in its own channel", CONNECTIONS), ("all in one channel", 1)]
    {
        group.bench_function(format!("10,000 at one moment, {name}"), |bencher| {
            bencher.iter_batched_ref(
                || expired(channels),
                |world| expire(world, |_| {}),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, expiry);
criterion_main!(benches);
