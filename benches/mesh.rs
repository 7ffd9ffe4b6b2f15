//! Letters between shards, uncontended: ns of one core per letter through a lane, both ends on one thread.
//!
//! Expected on a 2-3 GHz core, before measuring. Measured on an EPYC, 2 shared vCPU, Linux 6.18: criterion's estimate in
//! the best of three rounds. Others used the machine meanwhile, and the worst round took 5 to 6 times as long.
//!
//! | what | expected ns | measured | why |
//! | --- | --- | --- | --- |
//! | post one letter and take it | 60 | 36 | two compare-and-swaps of the lock-free queue at 8 each, two copies of a letter of about 100 B, its reference counted up and down |
//! | the same, 256 in a row | 50 each | 25 each | nothing is shared but the cache lines |
//! | a turn that posts nothing: flush, ask for sleepers | 3 | 8.5 | two flags of four targets |
//!
//! Run: `cargo bench --bench mesh`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use polycast::core::ids::{AppIndex, ShardId};
use polycast::core::publication::Numbered;
use polycast::engine::ChannelKey;
use polycast::io::mesh::{Mesh, Postbox};
use polycast::shard::letter::{Delivery, Letter};

#[path = "support/mod.rs"]
mod support;

const SHARDS: u16 = 4;

fn mesh(criterion: &mut Criterion) {
    let mesh = Mesh::new(SHARDS).expect("eventfds");
    // No ring is there to be woken.
    let mut source = Postbox::new(ShardId(0), Arc::clone(&mesh), -1);
    let target = Postbox::new(ShardId(1), mesh, -1);
    let delivery = Arc::new(Delivery {
        channel: ChannelKey { app: AppIndex(0), name: Arc::from("bench") },
        numbered: Numbered { offset: 0, publication: support::publication(150) },
    });
    let mut group = criterion.benchmark_group("mesh");
    for count in [1_u64, 256] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("post and take {count}"), |bencher| {
            bencher.iter(|| {
                for _ in 0..count {
                    source.post(ShardId(1), Letter::Deliver(Arc::clone(&delivery)));
                }
                for _ in 0..count {
                    black_box(target.next_letter().expect("just posted"));
                }
            });
        });
    }
    let mut rings = Vec::new();
    group.throughput(Throughput::Elements(1));
    group.bench_function("a turn that posts nothing", |bencher| {
        bencher.iter(|| {
            let spilled = source.flush();
            source.sleepers(&mut rings);
            black_box((spilled, rings.len()))
        });
    });
    group.bench_function("a turn that posts one letter", |bencher| {
        bencher.iter(|| {
            source.post(ShardId(1), Letter::Deliver(Arc::clone(&delivery)));
            let spilled = source.flush();
            source.sleepers(&mut rings);
            black_box(target.next_letter().expect("just posted"));
            black_box((spilled, rings.len()))
        });
    });
    group.finish();
}

criterion_group!(benches, mesh);
criterion_main!(benches);
