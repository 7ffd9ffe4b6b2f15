//! Verifying one connection token, as each connect and refresh does.
//!
//! Expected for a token of about 200 bytes: 600 ns. Found (Zen 5, shared machine, four runs): 598 to 606 ns; by shares of a
//! profile HMAC over 155 bytes 170, checking the claims' JSON 130, finding twelve claims in them 110, base64url 60, four
//! allocations and the rest 130. Beside it in the same hour 648 to 657 before numbers ended by a table, whole ones were
//! read as such and the signature was decoded in place. On Zen 4 it was 770 to 830 then, and 1,500 with a constant-time
//! base64 and a parsed header.

use criterion::{Criterion, criterion_group, criterion_main};
use polycast::auth::{Keys, Policy, Secret, sign, verify_connection};
use polycast::wire::json::Json;
use std::hint::black_box;

// As in the broker.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn token(criterion: &mut Criterion) {
    let keys = Keys::new(&Secret::from("secret"), None).expect("not empty");
    let policy = Policy::default();
    let mut json = Json::new();
    let claims =
        br#"{"sub":"user-4242","exp":4102444800,"iat":1800000000,"info":{"name":"Ada","color":"teal"}}"#;
    let token = sign(claims, &keys);
    assert!((190..=215).contains(&token.len()), "{}", token.len());
    criterion.bench_function(&format!("token/verify {} B", token.len()), |bencher| {
        bencher.iter(|| verify_connection(black_box(&token), &keys, &policy, &mut json, 1_800_000_000));
    });

    let mut wrong = token.clone();
    wrong.replace_range(wrong.len() - 9..wrong.len() - 8, "-");
    criterion.bench_function("token/refuse a wrong signature", |bencher| {
        bencher.iter(|| verify_connection(black_box(&wrong), &keys, &policy, &mut json, 1_800_000_000));
    });

    let longest = sign(format!(r#"{{"sub":"1","x":"{}"}}"#, "y".repeat(12_150)).as_bytes(), &keys);
    criterion.bench_function(&format!("token/verify {} B", longest.len()), |bencher| {
        bencher.iter(|| verify_connection(black_box(&longest), &keys, &policy, &mut json, 1_800_000_000));
    });
}

criterion_group!(benches, token);
criterion_main!(benches);
