//! The outbound queue by itself: ns of one core per operation, everything in cache.
//!
//! Expected on a 2-3 GHz core, before measuring. Measured on an EPYC, 2 shared vCPU, Linux 6.18: criterion's estimate in
//! the best of three rounds. Others used the machine meanwhile, and the worst round took 3 to 6 times as long.
//!
//! | what | expected ns | measured | why |
//! | --- | --- | --- | --- |
//! | append a frame of 202 B to a log | 12 | 19 | the chunk looked up 3, room checked 2, 202 B copied 5; a new chunk every 160 frames, from the pool |
//! | push into an empty queue, take, complete | 8 | 9.5 | about 30 instructions on one line of memory, two counters of the chunk |
//! | push that extends a range | 2 | 3.2 | two compares, two stores |
//! | push of a scattered frame that is copied | 40 | 48 | an allocation for the copy, 202 B copied twice |
//! | tell 1 MiB into frames, keep half | 130,000 | 135,000 | 5,000 headers at 12 ns, half of the bytes copied, 2,500 times 20 ns |
//!
//! Run: `cargo bench --bench outbox`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use polycast::shard::outbox::{Chunks, Log, Outbox, Range};
use polycast::wire::websocket::frame_header;

const PAYLOAD: [u8; 198] = [b'x'; 198];

fn append(chunks: &mut Chunks, log: &mut Log) -> Range {
    let (header, length) = frame_header(true, PAYLOAD.len());
    chunks.append(log, &header[..length], black_box(&PAYLOAD))
}

fn logs(criterion: &mut Criterion) {
    let mut chunks = Chunks::default();
    let mut log = Log::default();
    // One queue lags a whole chunk behind, so that the log does not begin again in the same bytes each time.
    let mut reader = Outbox::default();
    criterion.bench_function("outbox/append a frame of 202 B to a log", |bencher| {
        bencher.iter(|| {
            let frame = append(&mut chunks, &mut log);
            if reader.queued_bytes() > 32 * 1_024 {
                reader.clear(&mut chunks);
            }
            reader.push(&mut chunks, frame);
            frame
        });
    });
}

fn queues(criterion: &mut Criterion) {
    let mut chunks = Chunks::default();
    let mut log = Log::default();
    let frame = append(&mut chunks, &mut log);
    let mut outbox = Outbox::default();
    criterion.bench_function("outbox/push into an empty queue, take, complete", |bencher| {
        bencher.iter(|| {
            outbox.push(&mut chunks, black_box(frame));
            let batch = outbox.take_batch().expect("just pushed");
            assert!(outbox.complete(&mut chunks, batch.len()));
        });
    });
    // A log whose frames nobody waits for begins again in the same bytes: somebody waits for these.
    let mut waiting = Outbox::default();
    let burst = [(); 64].map(|()| {
        let frame = append(&mut chunks, &mut log);
        waiting.push(&mut chunks, frame);
        frame
    });
    let mut group = criterion.benchmark_group("outbox");
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 pushes that extend a range, take, complete", |bencher| {
        bencher.iter(|| {
            for frame in &burst {
                outbox.push(&mut chunks, black_box(*frame));
            }
            let batch = outbox.take_batch().expect("just pushed");
            assert!(outbox.complete(&mut chunks, batch.len()));
        });
    });
    let scattered: Vec<Range> = burst.iter().step_by(2).copied().collect();
    group.throughput(Throughput::Elements(scattered.len() as u64));
    group.bench_function("32 scattered frames, most of them copied, then discarded", |bencher| {
        bencher.iter(|| {
            for frame in &scattered {
                outbox.push(&mut chunks, black_box(*frame));
            }
            outbox.clear(&mut chunks);
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("tell 1 MiB into frames, keep half", |bencher| {
        let overfull = || {
            let (mut chunks, mut log, mut outbox) = (Chunks::default(), Log::default(), Outbox::default());
            while outbox.queued_bytes() < 1 << 20 {
                let frame = append(&mut chunks, &mut log);
                outbox.push(&mut chunks, frame);
            }
            (chunks, outbox)
        };
        bencher.iter_batched_ref(
            overfull,
            |(chunks, outbox)| {
                let (_, frames) = outbox.waiting_frames(chunks);
                let half = frames.len() / 2;
                outbox.keep_waiting(chunks, frames.into_iter().skip(half));
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, logs, queues);
criterion_main!(benches);
