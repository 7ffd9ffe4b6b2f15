//! The signature layer against the vectors of C2SP/wycheproof.

use data_encoding::BASE64URL_NOPAD;
use polycast::auth::token::{Keys, verify_signature};
use polycast::wire::json::Json;
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("the vectors are part of the repository"))
        .expect("JSON")
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// The vectors' labels are wrong here; what is right, and why.
const DEFECTIVE: [(u64, bool); 4] = [
    // Labelled invalid, but byte for byte the same token as 357, labelled valid.
    (367, true),
    (370, true),
    // Labelled valid, but `?` stands inside a base64url segment.
    (372, false),
    (373, false),
];

#[test]
fn json_web_signatures() {
    let vectors = vectors("wycheproof_json_web_signature_test.json");
    let (mut own, mut foreign) = (0, 0);
    for group in vectors["testGroups"].as_array().expect("groups") {
        let symmetric = group["private"]["kty"] == "oct";
        let key =
            group["private"]["k"].as_str().map(|key| BASE64URL_NOPAD.decode(key.as_bytes()).expect("a key"));
        let keys = Keys::from_bytes(key.as_deref().unwrap_or(b"no key of this group is an HMAC key"))
            .expect("a key");
        for test in group["tests"].as_array().expect("tests") {
            let id = test["tcId"].as_u64().expect("an id");
            // Tokens in the JSON serialisation are objects; to this layer they are just other text.
            let token = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
            let labelled = symmetric && test["result"] == "valid";
            let want = DEFECTIVE
                .iter()
                .find(|(defective, _)| *defective == id)
                .map_or(labelled, |(_, right)| *right);
            let got = verify_signature(&token, &keys, &mut Json::new(), &mut Vec::new());
            assert_eq!(got.is_ok(), want, "{id} {}: {got:?}", test["comment"]);
            if symmetric { own += 1 } else { foreign += 1 }
        }
    }
    assert_eq!((own, foreign), (40, 361));
}

#[test]
fn hmac_sha256() {
    let vectors = vectors("wycheproof_hmac_sha256_test.json");
    let mut count = 0;
    for group in vectors["testGroups"].as_array().expect("groups") {
        // HS256 does not truncate: a shortened tag is never right, whatever the label.
        let whole = group["tagSize"] == 256;
        for test in group["tests"].as_array().expect("tests") {
            let bytes = |name: &str| hex(test[name].as_str().expect("hex"));
            let keys = Keys::from_bytes(&bytes("key")).expect("no vector has an empty key");
            let want = whole && test["result"] == "valid";
            assert_eq!(keys.verify(&bytes("msg"), &bytes("tag")), want, "{}", test["tcId"]);
            count += 1;
        }
    }
    assert_eq!(count, 174);
}
