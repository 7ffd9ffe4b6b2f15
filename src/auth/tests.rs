//! Every row of bad tokens, and what must be accepted; each row is one test named by its number.

mod subscription;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use proptest::prelude::*;
use ring::hmac;

use super::claims::{CHANNELS_MAX, Identity, Policy, verify_connection};
use super::error::TokenError;
use super::secret::Secret;
use super::token::Keys;
use super::{log_id, sign};
use crate::core::publication::Payload;
use crate::wire::json::Json;

const SECRET: &str = "secret";
const NOW_S: u64 = 1_800_000_000;
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn keys() -> Keys {
    Keys::new(&Secret::from(SECRET), None).expect("not empty")
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Signs two segments as they are, however odd.
fn sealed(header: &str, payload: &str) -> String {
    let text = format!("{header}.{payload}");
    format!("{text}.{}", b64(mac(SECRET.as_bytes(), &text)))
}

fn with_header(header: impl AsRef<[u8]>) -> String {
    sealed(&b64(header), &b64(r#"{"sub":"42"}"#))
}

fn with_claims(claims: impl AsRef<[u8]>) -> String {
    sealed(&b64(HEADER), &b64(claims))
}

fn good() -> String {
    with_claims(r#"{"sub":"42","exp":4102444800}"#)
}

fn strict() -> Policy {
    Policy { disallow_anonymous: true, ..Policy::default() }
}

fn verify_with(token: &str, policy: &Policy) -> Result<Identity, TokenError> {
    verify_connection(token, &keys(), policy, &mut Json::new(), NOW_S)
}

fn accept(claims: &str) -> Identity {
    verify_with(&with_claims(claims), &Policy::default()).unwrap_or_else(|error| panic!("{claims}: {error}"))
}

fn class(token: &str) -> &'static str {
    verify_with(token, &strict()).expect_err(token).class()
}

#[track_caller]
fn all(want: &str, tokens: &[String]) {
    for token in tokens {
        let shown: String = token.chars().take(200).collect();
        match verify_with(token, &strict()) {
            Ok(_) => panic!("accepted: {shown}"),
            Err(error) => assert_eq!(error.class(), want, "{error}: {shown}"),
        }
    }
}

#[track_caller]
fn claims_are(want: &str, claims: &[&str]) {
    all(want, &claims.iter().map(with_claims).collect::<Vec<_>>());
}

#[track_caller]
fn headers_are(want: &str, headers: &[&str]) {
    all(want, &headers.iter().map(with_header).collect::<Vec<_>>());
}

#[test]
fn t3_01_no_token() {
    assert_eq!(class(""), "no_token");
}

#[test]
fn t3_02_segments() {
    let token = good();
    let (header, _) = token.split_once('.').unwrap();
    let odd = [header.to_owned(), format!("{header}.e30"), format!("{token}.a.b"), "..".into()];
    all("malformed", &odd);
    all(
        "malformed",
        &[format!(".{token}"), format!("{token}."), format!("{header}.x"), format!(".{header}.x")],
    );
}

#[test]
fn t3_03_empty_segments() {
    let signed = format!("{}.{}", b64(HEADER), b64("{}"));
    all("malformed", &[format!("{signed}."), sealed("", &b64("{}")), sealed(&b64(HEADER), "")]);
}

#[test]
fn t3_04_wrapping() {
    let token = good();
    all(
        "malformed",
        &[format!(" {token}"), format!("{token}\n"), format!("{token}\0"), format!("\"{token}\"")],
    );
    all("malformed", &[token.replace('.', "%2E"), format!("Bearer {token}")]);
}

#[test]
fn t3_05_json_serialisation() {
    let token = good();
    let parts: Vec<_> = token.split('.').collect();
    let flat =
        format!(r#"{{"protected":"{}","payload":"{}","signature":"{}"}}"#, parts[0], parts[1], parts[2]);
    let list = format!(
        r#"{{"payload":"{}","signatures":[{{"protected":"{}","signature":"{}"}}]}}"#,
        parts[1], parts[0], parts[2]
    );
    all("malformed", &[flat, list]);
}

#[test]
fn t3_06_size() {
    let claims = |bytes: usize| with_claims(format!(r#"{{"sub":"42","x":"{}"}}"#, "y".repeat(bytes)));
    all("too_large", &[claims(20 * 1024), claims(300 * 1024), ".".repeat(100_000)]);
    assert!(verify_with(&claims(12_000), &strict()).is_ok());
}

#[test]
fn t3_07_padding() {
    let (header, payload) = (b64(r#"{"alg":"HS256"}"#), b64(r#"{"sub":"4"}"#));
    let padded = |segment: &str| {
        let missing = (4 - segment.len() % 4) % 4;
        format!("{segment}{}", "=".repeat(missing.max(1)))
    };
    let signature = format!("{}=", sealed(&header, &payload));
    all("malformed", &[sealed(&padded(&header), &payload), sealed(&header, &padded(&payload)), signature]);
}

#[test]
fn t3_08_other_alphabet() {
    let header = b64(HEADER);
    let mut swapped = 0;
    for n in 0..64 {
        let token = with_claims(format!(r#"{{"sub":"{n}"}}"#));
        let (text, signature) = token.rsplit_once('.').unwrap();
        if signature.contains(['-', '_']) {
            swapped += 1;
            let signature = signature.replace('-', "+").replace('_', "/");
            assert_eq!(class(&format!("{text}.{signature}")), "malformed");
        }
    }
    assert!(swapped > 0);
    let payload = BASE64.encode(r#"{"sub":"??>>"}"#.as_bytes()).replace('=', "");
    assert!(payload.contains(['+', '/']), "{payload}");
    assert_eq!(class(&sealed(&header, &payload)), "malformed");
}

#[test]
fn t3_09_white_space() {
    let payload = b64(r#"{"sub":"42"}"#);
    let (front, back) = payload.split_at(4);
    let mut newline = good();
    newline.insert(newline.len() - 5, '\n');
    let header = b64(HEADER);
    all(
        "malformed",
        &[sealed(&header, &format!("{front} {back}")), sealed(&header, &format!("{front}\n{back}")), newline],
    );
}

/// The next character of the alphabet decodes to the same bytes, plus an unused bit.
fn with_unused_bit(segment: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(segment.len() % 4, 0);
    let (front, last) = segment.split_at(segment.len() - 1);
    let place = ALPHABET.iter().position(|byte| *byte == last.as_bytes()[0]).unwrap();
    format!("{front}{}", char::from(ALPHABET[place + 1]))
}

#[test]
fn t3_10_unused_bits() {
    let token = good();
    let (text, signature) = token.rsplit_once('.').unwrap();
    let payload = with_unused_bit(&b64(r#"{"sub":"4"}"#));
    all("malformed", &[format!("{text}.{}", with_unused_bit(signature)), sealed(&b64(HEADER), &payload)]);
}

#[test]
fn t3_11_characters() {
    let token = good();
    let mut inside = token.clone();
    inside.replace_range(inside.len() - 9..inside.len() - 8, "!");
    let mut foreign = token.clone();
    foreign.replace_range(foreign.len() - 9..foreign.len() - 8, "ä");
    all("malformed", &[format!("{token}AA"), inside, foreign]);
}

#[test]
fn t3_12_wrong_signatures() {
    let text = format!("{}.{}", b64(HEADER), b64(r#"{"sub":"42"}"#));
    let right = mac(SECRET.as_bytes(), &text);
    let hex: String = right.iter().map(|byte| format!("{byte:02x}")).collect();
    let longer = [&right[..], &[0]].concat();
    let alone = mac(SECRET.as_bytes(), &b64(r#"{"sub":"42"}"#));
    let wrong =
        [b64(&right[..16]), b64(&right[..31]), b64(longer), b64([0; 32]), hex, b64(b64(&right)), b64(alone)];
    all("bad_signature", &wrong.map(|signature| format!("{text}.{signature}")));
}

#[test]
fn t3_13_wrong_keys_and_texts() {
    let text = format!("{}.{}", b64(HEADER), b64(r#"{"sub":"42"}"#));
    let by = |key: &str| format!("{text}.{}", b64(mac(key.as_bytes(), &text)));
    let (_, signature) = good().rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let payload = format!("{}.{}.{signature}", b64(HEADER), b64(r#"{"sub":"43","exp":4102444800}"#));
    let header =
        format!("{}.{}.{signature}", b64(r#"{"alg":"HS256"}"#), b64(r#"{"sub":"42","exp":4102444800}"#));
    all("bad_signature", &[by(""), by("other"), by("secret\n"), payload, header]);
}

#[test]
fn t3_14_bad_signature_before_expired() {
    let text = format!("{}.{}", b64(HEADER), b64(r#"{"sub":"42","exp":1}"#));
    assert_eq!(class(&format!("{text}.{}", b64(mac(b"other", &text)))), "bad_signature");
    let text = format!("{}.{}", b64(HEADER), b64("not json"));
    assert_eq!(class(&format!("{text}.{}", b64(mac(b"other", &text)))), "bad_signature");
}

#[test]
fn t3_15_none() {
    let payload = b64(r#"{"sub":"42"}"#);
    all(
        "alg_not_allowed",
        &[
            format!("{}.{payload}.", b64(r#"{"alg":"none"}"#)),
            format!("{}.{payload}.", b64(r#"{"alg":"nOnE"}"#)),
            with_header(r#"{"alg":"none"}"#),
        ],
    );
}

#[test]
fn t3_16_other_spellings() {
    let headers = [r#"{"typ":"JWT"}"#, r#"{"alg":""}"#, r#"{"alg":"hs256"}"#, r#"{"ALG":"HS256"}"#, "{}"];
    headers_are("alg_not_allowed", &headers);
}

#[test]
fn t3_17_other_algorithms() {
    let sealed_by = |algorithm, name: &str| {
        let text = format!("{}.{}", b64(format!(r#"{{"alg":"{name}"}}"#)), b64(r#"{"sub":"42"}"#));
        let tag = hmac::sign(&hmac::Key::new(algorithm, SECRET.as_bytes()), text.as_bytes());
        format!("{text}.{}", b64(tag))
    };
    all(
        "alg_not_allowed",
        &[
            sealed_by(hmac::HMAC_SHA384, "HS384"),
            sealed_by(hmac::HMAC_SHA512, "HS512"),
            sealed_by(hmac::HMAC_SHA256, "RS256"),
        ],
    );
}

/// There is no RSA mode: whatever names an RSA algorithm is refused by its name, and a public key is no HMAC key.
#[test]
fn t3_18_public_key_as_secret() {
    let pem = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n";
    let sealed_by_pem = |header: &str| {
        let text = format!("{}.{}", b64(header), b64(r#"{"sub":"42"}"#));
        format!("{text}.{}", b64(mac(pem.as_bytes(), &text)))
    };
    assert_eq!(class(&sealed_by_pem(r#"{"alg":"RS256"}"#)), "alg_not_allowed");
    assert_eq!(class(&sealed_by_pem(HEADER)), "bad_signature");
}

#[test]
fn t3_19_algorithm_is_no_string() {
    headers_are("malformed", &[r#"{"alg":["HS256"]}"#, r#"{"alg":256}"#, r#"{"alg":null}"#]);
}

#[test]
fn t3_20_algorithm_twice() {
    let twice = [r#"{"alg":"none","alg":"HS256"}"#, r#"{"alg":"HS256","alg":"none"}"#];
    headers_are("malformed", &[twice[0], twice[1], r#"{"alg":"HS256","\u0061lg":"HS256"}"#]);
}

#[test]
fn t3_21_crit() {
    headers_are(
        "crit_unsupported",
        &[
            r#"{"alg":"HS256","crit":["x"],"x":1}"#,
            r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            r#"{"alg":"HS256","crit":"exp"}"#,
        ],
    );
}

#[test]
fn t3_22_keys_in_the_header() {
    let sealed_by = |key: &[u8], header: String| {
        let text = format!("{}.{}", b64(header), b64(r#"{"sub":"42"}"#));
        format!("{text}.{}", b64(mac(key, &text)))
    };
    let jwk = format!(r#"{{"alg":"HS256","jwk":{{"kty":"oct","k":"{}"}}}}"#, b64("attacker"));
    all(
        "bad_signature",
        &[sealed_by(b"attacker", jwk), sealed_by(b"", r#"{"alg":"HS256","kid":"../../dev/null"}"#.into())],
    );
}

#[test]
fn t3_23_header_types() {
    headers_are("malformed", &[r#"{"alg":"HS256","kid":{}}"#, r#"{"alg":"HS256","typ":7}"#]);
}

#[test]
fn t3_24_header_is_no_object() {
    let nested = format!(r#"{{"alg":"HS256","x":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    headers_are(
        "malformed",
        &["[]", "null", "not json", "{\"alg\":\"HS256\"}x", "\u{feff}{\"alg\":\"HS256\"}", &nested],
    );
}

#[test]
fn t3_25_payload_is_no_object() {
    claims_are(
        "malformed",
        &["not json", "[]", "null", "\"x\"", "{}x", "{}{}", "\u{feff}{}", "{\"sub\":\"a\nb\"}"],
    );
    let utf16: Vec<u8> = "{\"sub\":\"42\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    all("malformed", &[with_claims(utf16), with_claims(b"{\"sub\":\"\xff\"}")]);
}

#[test]
fn t3_26_nearly_json() {
    claims_are(
        "malformed",
        &[
            "{\"sub\":\"42\" /* x */}",
            "{\"sub\":\"42\",}",
            "{'sub':'42'}",
            "{\"exp\":NaN}",
            "{\"exp\":Infinity}",
            "{\"exp\":04102444800}",
        ],
    );
}

#[test]
fn t3_27_nesting() {
    for depth in [1_000, 5_000] {
        let nested = format!(r#"{{"sub":"42","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(class(&with_claims(nested)), "malformed");
    }
}

#[test]
fn t3_28_lone_surrogate() {
    claims_are("malformed", &[r#"{"sub":"\ud800"}"#, r#"{"sub":"\udc00\ud800"}"#]);
}

#[test]
fn t3_29_claims_twice() {
    claims_are(
        "duplicate_claim",
        &[
            r#"{"sub":"1","sub":"2"}"#,
            r#"{"sub":"1","exp":1,"exp":4102444800}"#,
            r#"{"sub":"1","exp":4102444800,"exp":1}"#,
            r#"{"sub":"1","exp":4102444800,"\u0065xp":4102444800}"#,
        ],
    );
}

#[test]
fn t3_30_expired() {
    let now = format!(r#"{{"sub":"1","exp":{NOW_S}}}"#);
    let fraction = format!(r#"{{"sub":"1","exp":{NOW_S}.9}}"#);
    claims_are(
        "expired",
        &[
            r#"{"sub":"1","exp":1500000000}"#,
            r#"{"sub":"1","exp":0}"#,
            r#"{"sub":"1","exp":-1}"#,
            r#"{"sub":"1","exp":-9223372036854775809}"#,
            r#"{"sub":"1","exp":1500000000.5}"#,
            r#"{"sub":"1","\u0065xp":1500000000}"#,
            r#"{"sub":"1","exp":1500000000,"EXP":4102444800}"#,
            &now,
            &fraction,
        ],
    );
    assert!(accept(&format!(r#"{{"sub":"1","exp":{}}}"#, NOW_S + 1)).token_expires_s == Some(NOW_S + 1));
}

#[test]
fn t3_31_expiry_is_no_time() {
    let digits = format!(r#"{{"exp":{}}}"#, "9".repeat(5_000));
    claims_are(
        "bad_claim",
        &[
            r#"{"exp":"4102444800"}"#,
            r#"{"exp":""}"#,
            r#"{"exp":null}"#,
            r#"{"exp":true}"#,
            r#"{"exp":[4102444800]}"#,
            r#"{"exp":{}}"#,
            r#"{"exp":1e400}"#,
            r#"{"exp":9223372036854775808}"#,
            r#"{"exp":18446744073709552616}"#,
            &digits,
        ],
    );
    let error = verify_with(&with_claims(r#"{"exp":"1"}"#), &strict()).unwrap_err();
    assert_eq!(error.to_string(), "exp is a string, must be a number");
}

#[test]
fn t3_32_milliseconds() {
    claims_are("bad_claim", &[r#"{"sub":"1","exp":253402300800}"#, r#"{"sub":"1","exp":1800000000000}"#]);
    let error = verify_with(&with_claims(r#"{"exp":1800000000000}"#), &strict()).unwrap_err();
    assert!(error.to_string().contains("milliseconds"), "{error}");
    assert!(accept(r#"{"sub":"1","exp":253402300799}"#).token_expires_s.is_some());
}

#[test]
fn t3_33_not_yet_valid() {
    let soon = format!(r#"{{"sub":"1","nbf":{}}}"#, NOW_S + 1);
    let soon_and_expired = format!(r#"{{"sub":"1","nbf":{},"exp":4102444800}}"#, NOW_S + 1);
    claims_are("not_yet_valid", &[&soon, &soon_and_expired]);
    accept(&format!(r#"{{"sub":"1","nbf":{NOW_S}}}"#));
}

#[test]
fn t3_34_not_before_is_no_time() {
    claims_are("bad_claim", &[r#"{"sub":"1","nbf":"1"}"#, r#"{"sub":"1","nbf":null}"#]);
}

#[test]
fn t3_35_odd_users() {
    let long = format!(r#"{{"sub":"{}"}}"#, "x".repeat(10_000));
    claims_are("bad_claim", &[r#"{"sub":null}"#, &long, r#"{"sub":"a\u0000b"}"#, r#"{"sub":"a\r\nb"}"#]);
    let longest = "x".repeat(255);
    assert_eq!(*accept(&format!(r#"{{"sub":"{longest}"}}"#)).user, *longest);
}

#[test]
fn t3_36_user_is_a_number() {
    claims_are("bad_claim", &[r#"{"sub":42}"#]);
}

#[test]
fn t3_37_no_user() {
    claims_are("no_user", &[r#"{"exp":4102444800}"#, r#"{"sub":""}"#, "{}"]);
    for anonymous in [r#"{"exp":4102444800}"#, r#"{"sub":""}"#, "{}"] {
        assert_eq!(&*accept(anonymous).user, "");
    }
}

#[test]
fn info_is_bounded_as_it_is_kept() {
    let policy = Policy { info_bytes_max: 10, ..Policy::default() };
    let table = [
        (r#"{"info":"8 bytes."}"#.to_owned(), None),
        (r#"{"info":"9 bytes.."}"#.to_owned(), Some("info is 11 bytes long; 10 are allowed")),
        (r#"{"info":{"name":"Ada"}}"#.to_owned(), Some("info is 14 bytes long; 10 are allowed")),
        (r#"{"info":null}"#.to_owned(), None),
        (format!(r#"{{"b64info":"{}"}}"#, BASE64.encode(b"1234567890")), None),
        (
            format!(r#"{{"b64info":"{}"}}"#, BASE64.encode(b"nine byte")),
            Some("b64info is 11 bytes long; 10 are allowed"),
        ),
        (
            format!(r#"{{"b64info":"{}"}}"#, BASE64.encode(&[0xFF; 11])),
            Some("b64info is 11 bytes long; 10 are allowed"),
        ),
    ];
    for (claims, want) in table {
        let error = verify_with(&with_claims(&claims), &policy).err();
        assert_eq!(error.as_ref().map(ToString::to_string).as_deref(), want, "{claims}");
        assert!(error.is_none_or(|error| error.class() == "bad_claim"), "{claims}");
    }
}

#[test]
fn t3_38_audience_and_issuer() {
    let policy = Policy { audience: Some("us".into()), issuer: Some("shop".into()), ..Policy::default() };
    let table = [
        (r#"{"aud":"us","iss":"shop"}"#, true),
        (r#"{"aud":["them","us"],"iss":"shop"}"#, true),
        (r#"{"aud":"them","iss":"shop"}"#, false),
        (r#"{"aud":["them"],"iss":"shop"}"#, false),
        (r#"{"aud":[],"iss":"shop"}"#, false),
        (r#"{"aud":7,"iss":"shop"}"#, false),
        (r#"{"iss":"shop"}"#, false),
        (r#"{"aud":"us"}"#, false),
        (r#"{"aud":"us","iss":"Shop"}"#, false),
        (r#"{"aud":"us","iss":["shop"]}"#, false),
    ];
    for (claims, accepted) in table {
        let got = verify_with(&with_claims(claims), &policy);
        assert_eq!(
            got.map(|_| ()).map_err(|error| error.class()),
            accepted.then_some(()).ok_or("bad_claim"),
            "{claims}"
        );
    }
    accept(r#"{"aud":7,"iss":[]}"#);
}

#[test]
fn t3_39_channel_in_a_connection_token() {
    claims_are("bad_claim", &[r#"{"sub":"1","channel":"chat"}"#, r#"{"sub":"1","channel":""}"#]);
}

#[test]
fn t3_40_channels_and_info() {
    let many: Vec<String> = (0..10_000).map(|_| "\"\"".to_owned()).collect();
    let token = sealed(&b64(HEADER), &b64(format!(r#"{{"channels":[{}]}}"#, many[..4_000].join(","))));
    assert_eq!(class(&token), "bad_claim");
    let token = with_claims(format!(r#"{{"sub":"1","channels":[{}]}}"#, many.join(",")));
    assert_eq!(class(&token), "too_large");
    claims_are(
        "bad_claim",
        &[
            r#"{"sub":"1","channels":"chat"}"#,
            r#"{"sub":"1","channels":["a",1]}"#,
            r#"{"sub":"1","channels":{}}"#,
            r#"{"sub":"1","b64info":"not base64!"}"#,
            r#"{"sub":"1","b64info":"e30"}"#,
            r#"{"sub":"1","b64info":{}}"#,
            r#"{"sub":"1","subs":["a"]}"#,
            r#"{"sub":"1","subs":{"a":1}}"#,
        ],
    );
    accept(&format!(r#"{{"channels":[{}]}}"#, many[..CHANNELS_MAX].join(",")));
    accept(r#"{"channels":null,"subs":null,"info":null,"b64info":null,"meta":null}"#);
    accept(r#"{"subs":{"a":{"info":{}},"b":{}},"meta":{"x":[1]}}"#);
}

/// What the session makes of it is its own; here: the same token is judged the same way twice.
#[test]
fn t3_41_same_token_again() {
    let token = good();
    assert_eq!(verify_with(&token, &strict()), verify_with(&token, &strict()));
}

#[test]
fn what_must_be_accepted() {
    let thousand: Vec<String> = (0..1_000).map(|n| format!(r#""c{n}":{n}"#)).collect();
    let claims = [
        r#"{"sub":"42"}"#,
        " {\r\n\t\"sub\" : \"42\" }\n",
        r#"{"\u0073ub":"\u0034\u0032"}"#,
        r#"{"sub":"42","exp":4102444800.5}"#,
        r#"{"sub":"42","exp":4.1024448e9}"#,
        r#"{"sub":"42","iat":4102444800,"jti":"x","other":{"a":[1]}}"#,
        r#"{"sub":"42","Sub":7,"EXP":1}"#,
        r#"{"sub":"42","big":123456789012345678901234567890,"bigger":1e999}"#,
    ];
    for claims in
        claims.into_iter().map(str::to_owned).chain([format!("{{{},\"sub\":\"42\"}}", thousand.join(","))])
    {
        assert_eq!(&*accept(&claims).user, "42");
    }
    assert_eq!(&*accept(r#"{"sub":"Jürgen 𝄞"}"#).user, "Jürgen 𝄞");
    for header in [
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"jwt"}"#,
        r#"{"alg":"HS256","kid":"../any/kid"}"#,
        " { \"alg\" : \"\\u0048S256\" } ",
        r#"{"alg":"HS256","jku":"http://127.0.0.1:1/","x5u":"http://127.0.0.1:1/","zip":"DEF"}"#,
    ] {
        assert!(verify_with(&with_header(header), &strict()).is_ok(), "{header}");
    }
    let with_both = (0..200).map(|n| with_claims(format!(r#"{{"sub":"{n}"}}"#))).find(|token| {
        let signature = token.rsplit_once('.').unwrap().1;
        signature.contains('-') && signature.contains('_')
    });
    assert!(verify_with(&with_both.expect("one in 200"), &strict()).is_ok());
}

#[test]
fn both_keys_are_good_and_the_current_one_signs() {
    let old = Keys::new(&Secret::from("old"), None).unwrap();
    let both = Keys::new(&Secret::from("new"), Some(&Secret::from("old"))).unwrap();
    let new = Keys::new(&Secret::from("new"), Some(&Secret::default())).unwrap();
    let claims = br#"{"sub":"42"}"#;
    let check = |token: &str, keys: &Keys| {
        verify_connection(token, keys, &strict(), &mut Json::new(), NOW_S).map_err(|error| error.class())
    };
    assert!(check(&sign(claims, &old), &both).is_ok());
    assert!(check(&sign(claims, &both), &both).is_ok());
    assert!(check(&sign(claims, &both), &new).is_ok());
    assert_eq!(check(&sign(claims, &old), &new), Err("bad_signature"));
    assert!(Keys::new(&Secret::default(), None).is_none());
    assert!(!format!("{both:?}").contains("new"));
}

#[test]
fn info_is_kept_byte_for_byte() {
    let json = |text: &str| Some(Payload::Json(text.as_bytes().into()));
    let b64info = |bytes: &[u8]| format!(r#"{{"info":1,"b64info":"{}"}}"#, BASE64.encode(bytes));
    let table = [
        ("{}".to_owned(), None),
        (r#"{"info":{ "a" : 1.0, "b":"\u0041" }}"#.to_owned(), json(r#"{ "a" : 1.0, "b":"\u0041" }"#)),
        ("{\"info\":[1,\n2]}".to_owned(), json("[1, 2]")),
        (r#"{"info":"x"}"#.to_owned(), json("\"x\"")),
        (r#"{"info":1,"b64info":""}"#.to_owned(), json("1")),
        (b64info(b"{\"z\": 1}"), json("{\"z\": 1}")),
        (b64info(b"hello"), json("\"hello\"")),
        (b64info(b"\xff\xfe\xfd"), Some(Payload::Binary(b"\xff\xfe\xfd"[..].into()))),
    ];
    for (claims, want) in table {
        assert_eq!(accept(&claims).info.as_deref(), want.as_ref(), "{claims}");
    }
}

#[test]
fn expiry_of_token_and_connection() {
    const YEAR_S: u64 = 365 * 24 * 60 * 60;
    let hour = NOW_S + 3_600;
    let far = NOW_S + YEAR_S;
    let table = [
        (r"{}".to_owned(), None, None),
        (format!(r#"{{"exp":{hour}}}"#), Some(hour), Some(hour)),
        (r#"{"exp":253402300799}"#.to_owned(), Some(far), Some(far)),
        (format!(r#"{{"exp":{hour},"expire_at":0}}"#), Some(hour), None),
        (format!(r#"{{"exp":{hour},"expire_at":{}}}"#, hour + 1), Some(hour), Some(hour + 1)),
        (format!(r#"{{"expire_at":{hour}.7}}"#), None, Some(hour)),
        (r#"{"expire_at":5}"#.to_owned(), None, Some(5)),
        (r#"{"expire_at":-5}"#.to_owned(), None, Some(0)),
    ];
    for (claims, token, connection) in table {
        let identity = accept(&claims);
        assert_eq!(
            (identity.token_expires_s, identity.connection_expires_s),
            (token, connection),
            "{claims}"
        );
    }
    claims_are("bad_claim", &[r#"{"sub":"1","expire_at":"0"}"#, r#"{"sub":"1","expire_at":1e400}"#]);
}

#[test]
fn log_ids_are_short_digests() {
    assert_eq!(log_id(""), "e3b0c442");
    assert_eq!(log_id("abc"), "ba7816bf");
}

proptest! {
    #[test]
    fn signing_then_verifying_gives_the_user_back(user in "[^\\p{Cc}]{0,60}", exp in NOW_S + 1..4_102_444_800) {
        let claims = serde_json::json!({"sub": user, "exp": exp}).to_string();
        let identity = verify_with(&sign(claims.as_bytes(), &keys()), &Policy::default());
        prop_assert_eq!(identity.map(|identity| identity.user), Ok(user.into()));
    }

    #[test]
    fn any_change_is_refused(at in 0..good().len(), to in "[ -~]") {
        let mut token = good();
        prop_assume!(token[at..=at] != to);
        token.replace_range(at..=at, &to);
        prop_assert!(verify_with(&token, &Policy::default()).is_err());
    }

    #[test]
    fn any_text_is_judged(token in ".{0,200}", claims in any::<Vec<u8>>()) {
        prop_assert!(verify_with(&token, &Policy::default()).is_err());
        let _ = verify_with(&with_claims(claims), &Policy::default());
    }
}
