//! A client joins a channel that keeps who is in it and tells nobody of joins: time of one core per join, from the
//! bytes of the subscribe to the reply that has left, whatever the number of those who are there.
//!
//! Expected on a 2-3 GHz core, before measuring. Measured on an EPYC, 2 shared vCPU, Linux 6.18: criterion's estimate in
//! the best of three rounds; others kept both cores busy meanwhile, and the worst round took 1.5 times as long, so that
//! what the rows have in common says more than what each says.
//!
//! | those who are there | expected µs per join | measured | why |
//! | --- | --- | --- | --- |
//! | 0 | 1.6 | 2.9 | frame and JSON 350 ns, permission and names 150, two lists 50, entry at the engine 500 (who it is, copied twice, and three maps), what is kept of the subscription 150, reply and its send 400 |
//! | 1,000 | 1.6 | 2.6 | nothing in it looks at the others |
//! | 100,000 | 2.0 | 3.3 | the same; the maps have outgrown the caches, four misses of 100 ns |
//!
//! A join that looked at the others, if only at four bytes of each, would cost 10 µs more at 100,000. Going away does
//! look at them, four bytes each: leaving scans the list of those still there, which is why it is not in this figure.
//! Run: `cargo bench --bench join`.

use std::cell::RefCell;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use polycast::core::ids::Slot;

#[path = "support/mod.rs"]
mod support;

use support::World;

const NAMESPACE: &str = "[apps.centrifuge]\nping_interval = \"1h\"\n[[apps.namespaces]]\nname = \"\"\n\
    allow_subscribe_for_client = true\npresence = true\nallow_presence_for_client = true";

const CHANNEL: &str = "bench";

/// How many join in one round.
const JOINERS: u32 = 1_000;

/// Between two rounds, so that nobody subscribes too often.
const PAUSE_MS: u64 = 10;

/// `members` clients in the channel, and those in the first slots who are connected and not in it.
fn world(members: u32) -> World {
    let mut world = World::new("", NAMESPACE);
    for slot in 0..JOINERS {
        world.client(Slot(slot), &format!("joiner-{slot}"), 0);
    }
    for slot in JOINERS..JOINERS + members {
        world.subscriber(Slot(slot), &format!("member-{slot}"), 0, CHANNEL);
    }
    world
}

fn all_say(world: &mut World, what: &str) -> usize {
    let command = format!("{{\"id\":2,\"{what}\":{{\"channel\":\"{CHANNEL}\"}}}}");
    for slot in 0..JOINERS {
        world.say(Slot(slot), &command);
    }
    world.send_all()
}

/// Those in the first slots go; the others stay.
fn all_go(world: &mut World, members: u32) {
    world.advance(PAUSE_MS);
    assert_eq!(world.shard.snapshot().subscriptions, u64::from(members + JOINERS), "all had joined");
    all_say(world, "unsubscribe");
    assert_eq!(world.shard.snapshot().subscriptions, u64::from(members));
}

/// Who joins is listed, and nobody else is sent anything.
fn check() {
    let mut world = world(100);
    for (what, clients) in [("subscribe", 100 + JOINERS), ("unsubscribe", 100), ("subscribe", 100 + JOINERS)]
    {
        assert_eq!(all_say(&mut world, what), JOINERS as usize, "one send for each that asked");
        world.say(Slot(0), &format!("{{\"id\":3,\"presence_stats\":{{\"channel\":\"{CHANNEL}\"}}}}"));
        let told = world.heard(Slot(0)).concat();
        assert!(told.contains(&format!("\"num_clients\":{clients},")), "{told}");
    }
}

fn join(criterion: &mut Criterion) {
    check();
    let mut group = criterion.benchmark_group("join");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(5))
        .throughput(Throughput::Elements(JOINERS.into()));
    for members in [0, 1_000, 100_000] {
        let world = RefCell::new(world(members));
        all_say(&mut world.borrow_mut(), "subscribe");
        group.bench_function(format!("1,000 join {members}"), |bencher| {
            bencher.iter_batched(
                || all_go(&mut world.borrow_mut(), members),
                |_| all_say(&mut world.borrow_mut(), "subscribe"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, join);
criterion_main!(benches);
