//! Recent publications of one channel: ns of one core per operation, in cache.
//!
//! Expected on a 2-3 GHz core, before measuring. Measured on an EPYC, 2 shared vCPU, Linux 6.18: criterion's estimate in
//! the best of three rounds. Others used the machine meanwhile, and the worst round took 2 to 4 times as long.
//!
//! | what | expected ns | measured | why |
//! | --- | --- | --- | --- |
//! | append to a full history of 100, trim by age | 12 | 6.5 | a ring of 16 B entries: one written, one read; a reference counted up, another down |
//! | the same through the engine | 150 | 171 | the channel hashed and found twice, its place in the order of use moved, three answers' references |
//! | read 100 after a position | 500 | 423 | 100 references counted up, 24 B each written to a vector of that size |
//!
//! Run: `cargo bench --bench history`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use polycast::core::history::{History, Range};
use polycast::core::ids::AppIndex;
use polycast::core::publication::Position;
use polycast::engine::memory::Memory;
use polycast::engine::{Ask, AskId, ChannelKey, Keep};

#[path = "support/mod.rs"]
mod support;

const SIZE: usize = 100;

fn history(criterion: &mut Criterion) {
    let publication = support::publication(150);
    let mut history = History::new("epoch".into());
    let mut now_ms = 0;
    criterion.bench_function("history/append to a full one of 100, trim by age", |bencher| {
        bencher.iter(|| {
            now_ms += 1;
            history.trim(now_ms, 300_000);
            history.append(now_ms, SIZE, Arc::clone(&publication))
        });
    });
    for _ in 0..SIZE {
        history.append(now_ms, SIZE, Arc::clone(&publication));
    }
    let since = Position { offset: history.position().offset - SIZE as u64, epoch: "epoch".into() };
    let range = Range { since: Some(since), limit: SIZE as u32, reverse: false };
    criterion.bench_function("history/read 100 after a position", |bencher| {
        bencher.iter(|| history.read(black_box(&range)).expect("the epoch is right").len());
    });

    let mut memory = Memory::new(1);
    let mut answers = Vec::new();
    let channel = ChannelKey { app: AppIndex(0), name: Arc::from("chat:bench") };
    memory.handle(0, Ask::Subscribe { id: AskId(0), channel: channel.clone(), numbered: true }, &mut answers);
    criterion.bench_function("history/publish through the memory engine", |bencher| {
        bencher.iter(|| {
            now_ms += 1;
            answers.clear();
            let ask = Ask::Publish {
                id: AskId(1),
                channel: channel.clone(),
                publication: Arc::clone(&publication),
                keep: Some(Keep { size: SIZE as u32, ttl_s: 300, meta_ttl_s: 2_592_000 }),
                terms: None,
            };
            memory.handle(now_ms, ask, &mut answers);
            answers.len()
        });
    });
}

criterion_group!(benches, history);
criterion_main!(benches);
