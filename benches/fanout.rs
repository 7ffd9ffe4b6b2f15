//! One publication to 10,000 subscribers of a real shard, without sockets: ns of one core per delivery.
//!
//! A delivery is: the publication's range put into the subscriber's queue, the connection listed for the flush, its
//! batch taken, its completion handled. Publishing itself (owner, engine, encoding: about 1 µs) is shared by all.
//!
//! Expected on a 2-3 GHz core, before measuring. Measured on an EPYC, 2 shared vCPU, Linux 6.18: criterion's estimate in
//! the best of three rounds. Others used the machine meanwhile, and the worst round took 5 to 7 times as long.
//!
//! | what | expected ns per delivery | measured | why |
//! | --- | --- | --- | --- |
//! | one publication, then all sends | 30 | 33 | 48 B of `Hot` in slot order, found three times: the 480 KB of all stay in the second-level cache; 8 to push, 22 to list, take and complete |
//! | 64 publications, then all sends | 6 | 5.5 | the 8 to push become 5 as most only extend a range; the other 22 are shared by 64 |
//! | one publication to Pusher clients | 30 | 29, beside 30 in the same run | the same: the frame is encoded once for all of them |
//! | 64 publications alone | 5 | 6.4 | the same without the sends |
//!
//! Run: `cargo bench --bench fanout`.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use polycast::core::ids::Slot;
use polycast::protocol::Dialect;

#[path = "support/mod.rs"]
mod support;

use support::{World, publication};

const SUBSCRIBERS: u32 = 10_000;

/// Published bytes of data; a frame is about 50 more.
const DATA_BYTES: usize = 150;

/// Everybody in one channel, speaking one dialect.
fn crowd(dialect: Dialect, channel: &str) -> World {
    let more = "key = \"key\"\nsecret = \"a-secret-of-an-app\"\n[[apps.namespaces]]\nname = \"\"\n\
        allow_subscribe_for_client = true\nallow_subscribe_for_anonymous = true";
    let mut world = World::new("", more);
    for slot in (0..SUBSCRIBERS).map(Slot) {
        match dialect {
            Dialect::Centrifuge => world.subscriber(slot, "42", 0, channel),
            Dialect::Pusher => {
                world.open_at(slot, "/app/key?protocol=7", "");
                let subscribe =
                    format!("{{\"event\":\"pusher:subscribe\",\"data\":{{\"channel\":\"{channel}\"}}}}");
                world.say(slot, &subscribe);
                world.send_all();
            }
        }
    }
    assert_eq!(world.shard.snapshot().subscriptions, u64::from(SUBSCRIBERS));
    world
}

fn fanout(criterion: &mut Criterion) {
    let channel: Arc<str> = Arc::from("bench");
    let publication = publication(DATA_BYTES);
    let mut group = criterion.benchmark_group("fanout");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    let mut pushers = crowd(Dialect::Pusher, &channel);
    group.throughput(Throughput::Elements(u64::from(SUBSCRIBERS)));
    group.bench_function("1 x 10,000 Pusher clients, sends and completions", |bencher| {
        bencher.iter(|| {
            pushers.publish(&channel, &publication);
            assert!(pushers.send_all() >= SUBSCRIBERS as usize);
        });
    });
    drop(pushers);
    let mut world = crowd(Dialect::Centrifuge, &channel);
    for burst in [1_u64, 64] {
        group.throughput(Throughput::Elements(u64::from(SUBSCRIBERS) * burst));
        group.bench_function(format!("{burst} x 10,000, sends and completions"), |bencher| {
            bencher.iter(|| {
                for _ in 0..burst {
                    world.publish(&channel, &publication);
                }
                let sends = world.send_all();
                assert!(sends >= SUBSCRIBERS as usize && sends <= 2 * SUBSCRIBERS as usize);
            });
        });
    }
    group.throughput(Throughput::Elements(u64::from(SUBSCRIBERS) * 64));
    group.bench_function("64 x 10,000, queues only", |bencher| {
        let world = std::cell::RefCell::new(&mut world);
        bencher.iter_batched(
            || world.borrow_mut().send_all(),
            |_| {
                for _ in 0..64 {
                    world.borrow_mut().publish(&channel, &publication);
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
