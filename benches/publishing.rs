//! What one publication of a backend costs a shard besides the kernel: ns of one core from received bytes to bytes
//! that are ready to send. No sockets.
//!
//! | what | expected ns | measured | why |
//! | --- | --- | --- | --- |
//! | HTTP, one of 10,000 channels, its subscriber hears it | 1,500 | 1,800 | a head of 200 bytes and JSON, read once each: 500; seven small allocations: 130; four or five lookups in tables that do not fit the second-level cache: 500; queueing answer and delivery, encoding both: 350 |
//! | RESP, 64 at once of 1 KB, nobody hears them | 700 | 620 | 1 KB judged as JSON: 250; copied once: 30; one channel, always in the cache; a reply each |
//!
//! Measured: 2,400 and 1,100 on an EPYC left alone, before what this bench found was mended; 0.74 and 0.56 times that
//! in alternation with it, on the same machine while it was busy. One lookup and one allocation, the
//! engine's own, have gone since; the table was not measured anew.
//!
//! Run: `cargo bench --bench publishing`.

use std::net::SocketAddr;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use polycast::core::ids::Slot;
use polycast::shard::input::{Entrance, Input};

#[path = "support/mod.rs"]
mod support;

use support::{SECRET, World};

const CHANNELS: u32 = 10_000;
const PIPELINED: usize = 64;
const PAYLOAD_BYTES: usize = 1_024;

const NAMESPACE: &str = "[[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_client = true";

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5_000))
}

fn request(channel: u32) -> Vec<u8> {
    let body = format!("{{\"channel\":\"many:{channel}\",\"data\":{{\"input\":\"{}\"}}}}", "x".repeat(100));
    let length = body.len();
    format!(
        "POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nX-API-Key: {SECRET}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn http(criterion: &mut Criterion) {
    let mut world = World::new(
        "",
        &format!("{NAMESPACE}\n[[apps.namespaces]]\nname = \"many\"\nallow_subscribe_for_client = true"),
    );
    for channel in 0..CHANNELS {
        world.subscriber(Slot(channel), "42", 0, &format!("many:{channel}"));
    }
    let publisher = Slot(CHANNELS);
    world.input(Input::Accepted { slot: publisher, peer: peer(), entrance: Entrance::Http });
    // In an order that no prefetcher guesses.
    let requests: Vec<Vec<u8>> = (0..CHANNELS).map(|at| request(at * 7_919 % CHANNELS)).collect();
    let mut group = criterion.benchmark_group("publishing");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(5));
    group.bench_function("http, one of 10,000 channels", |bencher| {
        let mut at = 0;
        bencher.iter(|| {
            world.receive(publisher, &requests[at]);
            at = (at + 1) % requests.len();
            assert_eq!(world.send_all(), 2, "an answer and a delivery");
        });
    });
    group.finish();
}

fn resp(criterion: &mut Criterion) {
    let mut world = World::new("", NAMESPACE);
    let publisher = Slot(0);
    world.input(Input::Accepted { slot: publisher, peer: peer(), entrance: Entrance::Resp });
    world.receive(publisher, format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{SECRET}\r\n", SECRET.len()).as_bytes());
    assert_eq!(world.send_all(), 1);
    let payload = format!("{{\"input\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES - 12));
    let one = format!("*3\r\n$7\r\nPUBLISH\r\n$5\r\nbench\r\n${}\r\n{payload}\r\n", payload.len());
    let commands = one.repeat(PIPELINED);
    let mut group = criterion.benchmark_group("publishing");
    group.throughput(Throughput::Elements(PIPELINED as u64)).measurement_time(Duration::from_secs(5));
    group.bench_function("resp, 64 x 1 KB, nobody hears", |bencher| {
        bencher.iter(|| {
            world.receive(publisher, commands.as_bytes());
            // What publishers may do in one turn is less than this; the next turn goes on.
            let mut sends = 0;
            while world.shard.has_work() {
                world.input(Input::TurnEnd);
                sends += world.send_all();
            }
            assert!(sends >= 1);
        });
    });
    group.finish();
}

criterion_group!(benches, http, resp);
criterion_main!(benches);
