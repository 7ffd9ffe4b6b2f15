//! The Centrifuge dialect in JSON: commands in, publications out.
//!
//! Expected, and found within a tenth unless stated (Zen 5, shared machine):
//! - 1 µs to decode a connect with a token of 200 bytes and a subscribe: two JSON texts are checked, ~150 ns each,
//!   and walked twice; five allocations;
//! - 400 ns to decode a publish of 120 bytes (found: 540);
//! - less than 100 ns to encode a publication of 128 bytes (found: 30): four copies of known pieces and one search
//!   for characters to escape.

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
    let mut json = Json::new();
    let mut requests = Vec::new();
    let mut decode = |name: &str, start: Codec, frame: String| {
        let mut frame = frame.into_bytes();
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
    decode("codec/decode v2 connect and subscribe", fresh, connect);
    let text = "x".repeat(108);
    let publish = format!(r#"{{"publish":{{"channel":"chat:lobby","data":{{"text":"{text}"}}}},"id":3}}"#);
    decode("codec/decode v2 publish, 120 B of data", known, publish);
    decode("codec/decode v2 pong", known, "{}".to_owned());

    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(117)).into_bytes();
    assert_eq!(data.len(), 128);
    let publication = Publication {
        data: Payload::Json(data.into()),
        event: None,
        publisher: None,
        tags: Box::default(),
        time_ms: 0,
        delta: false,
        exclude: None,
    };
    let mut out = Vec::new();
    for (name, variant) in [("v2", Variant::CentrifugeV2Json), ("v1", Variant::CentrifugeV1Json)] {
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

criterion_group!(benches, codec);
criterion_main!(benches);
