//! What framing costs: ns per frame, per request head, per upgrade. No socket; one core.
//!
//! Expected on a 2-3 GHz core, before measuring; measured: AMD EPYC, 2 shared vCPU, Linux 6.18.
//!
//! | what | expected ns | measured | why |
//! | --- | --- | --- | --- |
//! | read a masked text frame of 64 B | 16 | 18 | header 6, unmasking 8 words 2, ASCII 3, bookkeeping 5 |
//! | the same, 8 frames in one 560 B buffer | 16 each | 16 each | nothing is shared between frames |
//! | a 64 B frame cut over two buffers | 150 | 105 | a box and a vector, made and freed |
//! | append a server frame of 64 B | 10 | 6 | header 5, copy 3; the vector is warm |
//! | a head of 214 B, 7 headers (`/api/publish`) | 300 | 312 | finding its end 72, then 1 a byte |
//! | an upgrade of 510 B, 12 headers, its answer | 1,000 | 940 | the same, SHA-1 of 60 B, base64 twice |
//!
//! Run: `cargo bench --bench framing`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use polycast::wire::handshake;
use polycast::wire::http::{HeadReader, HttpLimits, parse_head};
use polycast::wire::websocket::{Assembler, Limits, append_client_frame, append_frame};
use tungstenite::protocol::frame::coding::{Data, OpCode};

const LIMITS: Limits = Limits { message_bytes_max: 65_536, fragments_max: 1_024 };
const MASK: [u8; 4] = [0x9a, 0x01, 0xff, 0x3c];

const MESSAGE: &[u8; 64] = b"{\"id\":1,\"publish\":{\"channel\":\"chat:42\",\"data\":{\"text\":\"hello\"}}}";

const PUBLISH: &[u8] =
    b"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: python-requests/2.32.3\r\n\
    Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nX-API-Key: 0123456789abcdef\r\n\
    Content-Type: application/json\r\nContent-Length: 52\r\n\r\n";

const UPGRADE: &[u8] =
    b"GET /connection/websocket?cf_protocol_version=v2 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\
    Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0\r\n\
    Upgrade: websocket\r\nOrigin: http://127.0.0.1:8000\r\nSec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

fn client_frames(count: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..count {
        append_client_frame(OpCode::Data(Data::Text), true, MASK, MESSAGE, &mut stream);
    }
    stream
}

/// Reads everything in `input`, as the shard does with a received buffer.
fn drain(assembler: &mut Assembler, mut input: &mut [u8]) -> usize {
    let mut count = 0;
    while let Some(incoming) = assembler.next(&mut input, &LIMITS).expect("valid frames") {
        black_box(incoming);
        count += 1;
    }
    count
}

fn read_frames(criterion: &mut Criterion) {
    for count in [1, 8] {
        let stream = client_frames(count);
        let mut group = criterion.benchmark_group("read");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} x 64 B masked text"), |bencher| {
            let mut assembler = Assembler::default();
            bencher.iter_batched_ref(
                || stream.clone(),
                |stream| assert_eq!(drain(&mut assembler, stream), count),
                BatchSize::SmallInput,
            );
        });
    }
    let stream = client_frames(1);
    criterion.bench_function("read/64 B cut over two buffers", |bencher| {
        let mut assembler = Assembler::default();
        bencher.iter_batched_ref(
            || stream.clone(),
            |stream| {
                let (front, back) = stream.split_at_mut(30);
                assert_eq!(drain(&mut assembler, front) + drain(&mut assembler, back), 1);
            },
            BatchSize::SmallInput,
        );
    });
}

fn append_server_frame(criterion: &mut Criterion) {
    let mut out = Vec::with_capacity(1_024);
    criterion.bench_function("append/64 B text", |bencher| {
        bencher.iter(|| {
            out.clear();
            append_frame(true, black_box(MESSAGE), &mut out);
            black_box(out.len())
        });
    });
}

fn heads(criterion: &mut Criterion) {
    let limits = HttpLimits::default();
    criterion.bench_function("http/find the end of /api/publish", |bencher| {
        let mut reader = HeadReader::default();
        bencher.iter(|| reader.take(black_box(PUBLISH), &limits).expect("valid").expect("whole").used_bytes);
    });
    criterion.bench_function("http/take and parse /api/publish", |bencher| {
        let mut reader = HeadReader::default();
        bencher.iter(|| {
            let taken = reader.take(black_box(PUBLISH), &limits).expect("valid").expect("whole");
            let head = parse_head(&taken.bytes, &limits).expect("valid").expect("whole");
            black_box((head.path.len(), head.header("x-api-key").is_some(), head.body))
        });
    });
    let mut out = Vec::with_capacity(1_024);
    criterion.bench_function("http/upgrade and its answer", |bencher| {
        let mut reader = HeadReader::default();
        bencher.iter(|| {
            let taken = reader.take(black_box(UPGRADE), &limits).expect("valid").expect("whole");
            let head = parse_head(&taken.bytes, &limits).expect("valid").expect("whole");
            let upgrade = handshake::judge(&head).expect("an upgrade");
            out.clear();
            upgrade.append_response(None, &mut out);
            black_box(out.len())
        });
    });
}

criterion_group!(benches, read_frames, append_server_frame, heads);
criterion_main!(benches);
