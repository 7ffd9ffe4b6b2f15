//! The Centrifuge dialect in both encodings: commands in, publications out.
//!
//! Expected, and found within a tenth unless stated (Zen 5, shared machine):
//! - 1 µs to decode a connect with a token of 200 bytes and a subscribe: two JSON texts are checked, ~150 ns each,
//!   and walked twice; five allocations;
//! - 400 ns to decode a publish of 120 bytes (found: 540);
//! - less than 100 ns to encode a publication of 128 bytes (found: 30): four copies of known pieces and one search
//!   for characters to escape.
//!
//! Protobuf, expected: 400 ns to decode the same connect and subscribe, as there is no text to check but two strings
//! of the protocol; 350 ns for the publish, whose data is checked as JSON all the same; 60 ns to encode the
//! publication, which moves by a byte where lengths take two.

use criterion::{Criterion, criterion_group, criterion_main};
use polycast::core::event::Body;
use polycast::core::publication::{Payload, Publication};
use polycast::protocol::{Codec, Message, UpgradeRequest, Variant};
use polycast::wire::json::Json;
use std::hint::black_box;

fn codec(criterion: &mut Criterion) {
    let upgrade = |query| {
        let request = UpgradeRequest { path: "/connection/websocket", query, subprotocols: "" };
        Codec::for_upgrade(&request).expect("its path").expect("accepted").codec
    };
    let (fresh, known) = (upgrade(""), upgrade("cf_protocol_version=v2"));
    let protobuf = (upgrade("format=protobuf"), upgrade("format=protobuf&cf_protocol_version=v2"));
    let mut json = Json::new();
    let mut requests = Vec::new();
    let mut decode = |name: &str, start: Codec, mut frame: Vec<u8>| {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                requests.clear();
                let mut codec = start;
                codec.decode(Message::Text(black_box(&mut frame)), &mut json, &mut requests)
            });
        });
        assert!(!requests.is_empty());
    };
    let token = "t".repeat(200);
    let connect = format!(
        "{{\"connect\":{{\"token\":\"{token}\",\"name\":\"js\"}},\"id\":1}}\n{{\"subscribe\":{{\"channel\":\"chat:lobby\",\"flag\":1}},\"id\":2}}"
    );
    decode("codec/decode v2 connect and subscribe", fresh, connect.into_bytes());
    let text = "x".repeat(108);
    let publish = format!(r#"{{"publish":{{"channel":"chat:lobby","data":{{"text":"{text}"}}}},"id":3}}"#);
    decode("codec/decode v2 publish, 120 B of data", known, publish.into_bytes());
    decode("codec/decode v2 pong", known, b"{}".to_vec());

    let connect = command(1, 4, &[field(1, &token), field(4, "js")].concat());
    let subscribe = command(2, 5, &field(1, "chat:lobby"));
    let frame = [connect, subscribe].concat();
    decode("codec/decode v2 protobuf connect and subscribe", protobuf.0, frame);
    let data = format!(r#"{{"text":"{text}"}}"#);
    let frame = command(3, 7, &[field(1, "chat:lobby"), field(2, &data)].concat());
    decode("codec/decode v2 protobuf publish, 120 B of data", protobuf.1, frame);
    decode("codec/decode v2 protobuf pong", protobuf.1, vec![0]);

    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(117)).into_bytes();
    assert_eq!(data.len(), 128);
    let publication = Publication::plain(Payload::Json(data.into()), 0);
    let mut out = Vec::new();
    for (name, variant) in [
        ("v2", Variant::CentrifugeV2Json),
        ("v1", Variant::CentrifugeV1Json),
        ("v2 protobuf", Variant::CentrifugeV2Protobuf),
        ("v1 protobuf", Variant::CentrifugeV1Protobuf),
    ] {
        criterion.bench_function(&format!("codec/encode {name} publication, 128 B of data"), |bencher| {
            bencher.iter(|| {
                out.clear();
                variant.encode_publication(
                    black_box("chat:lobby"),
                    black_box(&publication),
                    42,
                    Body::Plain,
                    &mut out,
                );
            });
        });
    }
}

/// A frame with one command: its id and the field of its method. Lengths below 16 KiB.
fn command(id: u8, method: u32, params: &[u8]) -> Vec<u8> {
    let method = [key(method), length(params.len()), params.to_vec()].concat();
    let id = [8, id];
    [length(id.len() + method.len()), id.to_vec(), method].concat()
}

fn field(number: u32, text: &str) -> Vec<u8> {
    [key(number), length(text.len()), text.as_bytes().to_vec()].concat()
}

fn key(field: u32) -> Vec<u8> {
    vec![(field << 3 | 2) as u8]
}

fn length(bytes: usize) -> Vec<u8> {
    if bytes < 128 { vec![bytes as u8] } else { vec![(bytes & 127 | 128) as u8, (bytes >> 7) as u8] }
}

criterion_group!(benches, codec);
criterion_main!(benches);
