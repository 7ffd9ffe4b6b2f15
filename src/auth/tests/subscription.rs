//! Subscription tokens, and what connection tokens grant for channels.

use super::*;
use crate::auth::{Grant, Granted, Overrides, Permission, Wanted, verify_subscription};
use crate::core::ids::ClientId;

const CLIENT: ClientId = ClientId([0x11; 16]);
const UUID: &str = "11111111-1111-1111-1111-111111111111";

fn verify(claims: &str, user: &str, is_legacy: bool) -> Result<Permission, TokenError> {
    let wanted = Wanted { channel: "$chat", user, client: CLIENT, is_legacy };
    let token = with_claims(claims);
    verify_subscription(&token, &keys(), &Policy::default(), &wanted, &mut Json::new(), NOW_S)
}

fn json(text: &str) -> Payload {
    Payload::Json(text.as_bytes().into())
}

#[test]
fn t3_39_subscription_token_for_another() {
    let another = |claim| Err(TokenError::ForAnother { claim });
    let table = [
        (r#"{"sub":"42","channel":"$chat"}"#.to_owned(), Ok(())),
        (format!(r#"{{"sub":"42","channel":"$chat","client":"{UUID}"}}"#), Ok(())),
        (r#"{"sub":"42","channel":"$chat","client":"","iat":1,"jti":"x"}"#.to_owned(), Ok(())),
        (r#"{"sub":"42","channel":"$other"}"#.to_owned(), another("channel")),
        (r#"{"sub":"42","channel":""}"#.to_owned(), another("channel")),
        (r#"{"sub":"43","channel":"$chat"}"#.to_owned(), another("sub")),
        (r#"{"sub":"","channel":"$chat"}"#.to_owned(), another("sub")),
        (r#"{"channel":"$chat"}"#.to_owned(), another("sub")),
        (r#"{"sub":"42","channel":"$chat","client":"x"}"#.to_owned(), another("client")),
        (UUID.replace('1', "2"), another("client")),
    ];
    for (claims, want) in table {
        let claims = match claims.starts_with('{') {
            true => claims,
            false => format!(r#"{{"sub":"42","channel":"$chat","client":"{claims}"}}"#),
        };
        let got = verify(&claims, "42", false);
        assert_eq!(got.as_ref().map(|_| ()).map_err(Clone::clone), want, "{claims}");
        assert!(got.is_ok() || got.is_err_and(|error| error.class() == "bad_claim"));
    }
    assert!(verify(r#"{"channel":"$chat"}"#, "", false).is_ok(), "the anonymous user's");
}

#[test]
fn tokens_about_a_client_are_good_for_the_first_generation_alone() {
    let about_client = format!(r#"{{"client":"{UUID}","channel":"$chat"}}"#);
    assert!(verify(&about_client, "42", true).is_ok());
    assert_eq!(verify(&about_client, "42", false), Err(TokenError::ForAnother { claim: "sub" }));
    let table = [
        (format!(r#"{{"client":"{UUID}","channel":"$other"}}"#), "channel"),
        (r#"{"client":"someone","channel":"$chat"}"#.to_owned(), "client"),
        (format!(r#"{{"client":"{UUID}","channel":"$chat","sub":"43"}}"#), "sub"),
        (r#"{"client":"","channel":"$chat"}"#.to_owned(), "sub"),
        (r#"{"channel":"$chat"}"#.to_owned(), "sub"),
    ];
    for (claims, claim) in table {
        assert_eq!(verify(&claims, "42", true), Err(TokenError::ForAnother { claim }), "{claims}");
    }
    assert!(verify(r#"{"channel":"$chat","sub":"42"}"#, "42", true).is_ok());
}

#[test]
fn subscriptions_expire() {
    let hour = NOW_S + 3_600;
    let table = [
        (String::new(), None, None),
        (format!(r#","exp":{hour}"#), Some(hour), Some(hour)),
        (format!(r#","exp":{hour},"eto":true"#), Some(hour), None),
        (format!(r#","exp":{hour},"eto":false"#), Some(hour), Some(hour)),
        (format!(r#","exp":{hour},"expire_at":0"#), None, None),
        (r#","expire_at":5"#.to_owned(), Some(5), Some(5)),
        (format!(r#","expire_at":{}"#, u32::MAX), Some(NOW_S + 31_536_000), Some(NOW_S + 31_536_000)),
    ];
    for (more, modern, legacy) in table {
        let claims = format!(r#"{{"sub":"42","channel":"$chat"{more}}}"#);
        assert_eq!(verify(&claims, "42", false).map(|granted| granted.expires_s), Ok(modern), "{claims}");
        assert_eq!(verify(&claims, "42", true).map(|granted| granted.expires_s), Ok(legacy), "{claims}");
    }
}

#[test]
fn wrong_subscription_tokens() {
    let table = [
        (r#"{"sub":"42"}"#, "bad_claim"),
        (r#"{"sub":"42","channel":null}"#, "bad_claim"),
        (r#"{"sub":"42","channel":7}"#, "bad_claim"),
        (r#"{"sub":42,"channel":"$chat"}"#, "bad_claim"),
        (r#"{"sub":"42","channel":"$chat","client":7}"#, "bad_claim"),
        (r#"{"sub":"42","channel":"$chat","eto":1}"#, "bad_claim"),
        (r#"{"sub":"42","channel":"$chat","exp":"1"}"#, "bad_claim"),
        (r#"{"sub":"42","channel":"$chat","b64data":"?"}"#, "bad_claim"),
        (r#"{"sub":"42","channel":"$chat","override":true}"#, "bad_claim"),
        (r#"{"sub":"42","channel":"$chat","override":{"presence":true}}"#, "bad_claim"),
        (r#"{"sub":"42","channel":"$chat","override":{"presence":{"value":1}}}"#, "bad_claim"),
        (r#"{"sub":"42","channel":"$chat","channel":"$chat"}"#, "duplicate_claim"),
        (r#"{"sub":"42","channel":"$chat","info":1,"info":1}"#, "duplicate_claim"),
        (r#"{"sub":"42","channel":"$chat","exp":5}"#, "expired"),
        (r#"{"sub":"42","channel":"$other","exp":5}"#, "expired"),
        (r#"{"sub":"42","channel":"$chat","nbf":4102444800}"#, "not_yet_valid"),
        ("[]", "malformed"),
    ];
    for (claims, want) in table {
        let error = verify(claims, "42", false).expect_err(claims);
        assert_eq!(error.class(), want, "{claims}");
        assert!(!matches!(error, TokenError::ForAnother { .. }), "{claims}");
    }
    let wanted = Wanted { channel: "$chat", user: "42", client: CLIENT, is_legacy: true };
    let judge = |token: &str, policy: &Policy| {
        verify_subscription(token, &keys(), policy, &wanted, &mut Json::new(), NOW_S)
            .map_err(|error| error.class())
    };
    let right = with_claims(r#"{"sub":"42","channel":"$chat"}"#);
    assert_eq!(judge("", &strict()), Err("no_token"));
    let (text, _) = right.rsplit_once('.').expect("a signature");
    assert_eq!(judge(&format!("{text}.{}", b64([0; 32])), &strict()), Err("bad_signature"));
    let audience = Policy { audience: Some("us".into()), ..Policy::default() };
    assert_eq!(judge(&right, &audience), Err("bad_claim"));
}

#[test]
fn what_a_token_grants() {
    let claims = format!(
        r#"{{"sub":"42","channel":"$chat","info":{{ "a":1 }},"b64data":"{}","override":{{"presence":{{"value":true}},
        "join_leave":{{"value":false}},"force_push_join_leave":{{}},"force_recovery":null,"unknown":7}}}}"#,
        BASE64.encode(b"\xff\xfe")
    );
    let grant = Grant {
        info: Some(json(r#"{ "a":1 }"#).into()),
        data: Some(Payload::Binary(b"\xff\xfe"[..].into())),
        overrides: Overrides { presence: Some(true), join_leave: Some(false), ..Overrides::default() },
    };
    assert_eq!(verify(&claims, "42", false), Ok(Permission { grant, expires_s: None }));
    let long = format!(r#"{{"sub":"42","channel":"$chat","info":"{}"}}"#, "x".repeat(1_024));
    assert_eq!(verify(&long, "42", false).map_err(|error| error.class()), Err("bad_claim"));
    let long = format!(r#"{{"sub":"42","channel":"$chat","data":"{}"}}"#, "x".repeat(5_000));
    assert!(verify(&long, "42", false).is_ok(), "data goes to one client only");
}

#[test]
fn connection_tokens_bring_subscriptions() {
    let plain = |channel: &str| Granted { channel: channel.into(), grant: Grant::default() };
    let identity = accept(
        r#"{"sub":"42","channels":["b","a","b"],"meta":{"x":
        1}}"#,
    );
    assert_eq!(*identity.subscriptions, [plain("b"), plain("a")]);
    assert_eq!(identity.meta.as_deref(), Some(&json("{\"x\":         1}")));
    let identity = accept(
        r#"{"channels":["ignored"],"subs":{
            "z\u0041":{"data":[1],"override":{"force_recovery":{"value":true}}},"a":{"b64info":"//4="}
        }}"#,
    );
    let z = Grant {
        data: Some(json("[1]")),
        overrides: Overrides { force_recovery: Some(true), ..Overrides::default() },
        ..Grant::default()
    };
    let a = Grant { info: Some(Payload::Binary(b"\xff\xfe"[..].into()).into()), ..Grant::default() };
    let want = [Granted { channel: "zA".into(), grant: z }, Granted { channel: "a".into(), grant: a }];
    assert_eq!(*identity.subscriptions, want);
    assert_eq!(identity.meta, None);
    claims_are("duplicate_claim", &[r#"{"sub":"1","subs":{"a":{},"\u0061":{}}}"#]);
    claims_are(
        "bad_claim",
        &[r#"{"sub":"1","subs":{"a":{"b64info":"?"}}}"#, r#"{"sub":"1","subs":{"a":{"override":[]}}}"#],
    );
}
