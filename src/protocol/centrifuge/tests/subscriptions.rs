//! What subscriptions bring with them: recovery, presence, history, server-side subscriptions.

use super::*;
use crate::core::command::ReadHistory;
use crate::core::event::Recovery;
use crate::core::filter::{Builder, Join};
use crate::core::publication::{Numbered, Position};

fn position(offset: u64, epoch: &str) -> Position {
    Position { offset, epoch: epoch.into() }
}

fn in_both(method: &str, number: u32, params: &str) -> [Decoded; 2] {
    [
        decode(Generation::V2, &format!(r#"{{"id":4,"{method}":{params}}}"#)),
        decode(Generation::V1, &format!(r#"{{"id":4,"method":{number},"params":{params}}}"#)),
    ]
}

#[test]
fn subscribes() {
    let wish = |channel: &str| Subscribe { channel: channel.into(), ..Subscribe::default() };
    let table = [
        // As centrifuge-js 5.7.4 and 2.8.5 sent them after a cut.
        (
            r#"{"channel":"rec","positioned":true,"recoverable":true,"flag":1,"recover":true,"offset":11,"epoch":"abc"}"#,
            Subscribe {
                positioned: true,
                recoverable: true,
                since: Some(position(11, "abc")),
                ..wish("rec")
            },
        ),
        (
            r#"{"channel":"r","recover":true,"offset":11,"epoch":"abc"}"#,
            Subscribe { since: Some(position(11, "abc")), ..wish("r") },
        ),
        (r#"{"channel":"r","recover":true}"#, Subscribe { since: Some(position(0, "")), ..wish("r") }),
        (r#"{"channel":"r","recover":false,"offset":3,"epoch":"e"}"#, wish("r")),
        (r#"{"channel":"r","offset":3,"epoch":"e","flag":5}"#, wish("r")),
        (r#"{"channel":"r","flag":3}"#, Subscribe { refuse_unrecovered: true, ..wish("r") }),
        (r#"{"channel":"r","join_leave":true}"#, Subscribe { join_leave: true, ..wish("r") }),
        (r#"{"channel":"r","delta":"fossil"}"#, Subscribe { fossil_delta: true, ..wish("r") }),
        (r#"{"channel":"r","delta":"other","type":3,"data":{}}"#, wish("r")),
        (
            r#"{"channel":"$p","token":null,"recover":null,"epoch":null,"offset":null,"flag":null,"tf":null}"#,
            wish("$p"),
        ),
    ];
    for (params, want) in table {
        for got in in_both("subscribe", 1, params) {
            assert_eq!(got, one(4, Command::Subscribe(want.clone())), "{params}");
        }
    }
}

#[test]
fn other_commands() {
    let channel = || Box::from("c");
    let read = ReadHistory { channel: channel(), limit: Some(0), since: None, reverse: false };
    let table = [
        ("presence", 4, r#"{"channel":"c"}"#, Command::Presence { channel: channel() }),
        ("presence_stats", 5, r#"{"channel":"c"}"#, Command::PresenceStats { channel: channel() }),
        ("history", 6, r#"{"channel":"c"}"#, Command::History(read.clone())),
        ("history", 6, r#"{"channel":"c","limit":0}"#, Command::History(read.clone())),
        (
            "history",
            6,
            r#"{"channel":"c","limit":-1}"#,
            Command::History(ReadHistory { limit: None, ..read.clone() }),
        ),
        (
            "history",
            6,
            r#"{"channel":"c","since":{"offset":1,"epoch":"abc"},"limit":5,"reverse":true}"#,
            Command::History(ReadHistory {
                channel: channel(),
                limit: Some(5),
                since: Some(position(1, "abc")),
                reverse: true,
            }),
        ),
        (
            "history",
            6,
            r#"{"channel":"c","since":{},"limit":4294967296}"#,
            Command::History(ReadHistory {
                limit: Some(u32::MAX),
                since: Some(position(0, "")),
                ..read.clone()
            }),
        ),
        (
            "sub_refresh",
            11,
            r#"{"channel":"c","token":"t"}"#,
            Command::RefreshSubscription { channel: channel(), token: "t".into() },
        ),
    ];
    for (method, number, params, want) in table {
        for got in in_both(method, number, params) {
            assert_eq!(got, one(4, want.clone()), "{method} {params}");
        }
    }
    let wrong = [
        ("presence", 4, r#"{"channel":1}"#),
        ("history", 6, r#"{"channel":"c","limit":1.5}"#),
        ("history", 6, r#"{"channel":"c","limit":"1"}"#),
        ("history", 6, r#"{"channel":"c","since":5}"#),
        ("history", 6, r#"{"channel":"c","since":{"offset":-1}}"#),
        ("history", 6, r#"{"channel":"c","reverse":1}"#),
        ("subscribe", 1, r#"{"channel":"c","recover":"yes"}"#),
        ("subscribe", 1, r#"{"channel":"c","recover":true,"offset":-1}"#),
        ("subscribe", 1, r#"{"channel":"c","recover":true,"epoch":1}"#),
        ("subscribe", 1, r#"{"channel":"c","tf":[]}"#),
        ("subscribe", 1, r#"{"channel":"c","delta":"fossil","tf":{"key":"a","cmp":"ex"}}"#),
        ("sub_refresh", 11, r#"{"channel":"c","token":7}"#),
        ("connect", 0, r#"{"subs":[]}"#),
        ("connect", 0, r#"{"subs":{"a":1}}"#),
        ("connect", 0, r#"{"subs":{"a":{},"b":{},"a":{}}}"#),
    ];
    for (method, number, params) in wrong {
        for got in in_both(method, number, params) {
            assert_eq!(got, one(4, Command::Refuse(ClientError::BadRequest)), "{method} {params}");
        }
    }
}

#[test]
fn connects_claim_their_earlier_subscriptions() {
    let wish = |channel: &str| Subscribe { channel: channel.into(), ..Subscribe::default() };
    let params = r#"{"token":"T","subs":{"srv":{"recover":true,"offset":5,"epoch":"ep"},"\u0061":{"channel":"other"}}}"#;
    let srv = Subscribe { since: Some(position(5, "ep")), ..wish("srv") };
    let want = Connect { token: "T".into(), subscriptions: [wish("a"), srv].into() };
    for got in in_both("connect", 0, params) {
        assert_eq!(got, one(4, Command::Connect(want.clone())));
    }
    let claims = |count: usize| {
        let claims: Vec<_> = (0..count).map(|number| format!("\"{number}\":{{}}")).collect();
        format!(r#"{{"subs":{{{}}}}}"#, claims.join(","))
    };
    for (requests, _) in in_both("connect", 0, &claims(1_024)) {
        let [(_, Command::Connect(connect))] = &requests[..] else { panic!("{requests:?}") };
        assert_eq!(connect.subscriptions.len(), 1_024);
    }
    for got in in_both("connect", 0, &claims(1_025)) {
        assert_eq!(got, one(4, Command::Refuse(ClientError::LimitExceeded)));
    }
}

#[test]
fn tags_filters() {
    let filter = |text: &str| {
        let frame = format!(r#"{{"id":4,"subscribe":{{"channel":"c","tf":{text}}}}}"#);
        match decode(Generation::V2, &frame).0.remove(0).1 {
            Command::Subscribe(subscribe) => Some(subscribe.tags.expect("a filter")),
            Command::Refuse(ClientError::BadRequest) => None,
            other => panic!("{other:?}"),
        }
    };
    let mut builder = Builder::default();
    let mut build = || -> Result<(), crate::core::filter::FilterError> {
        builder.open(Join::And)?;
        builder.test("symbol", "in", "", [Box::from("A"), Box::from("B")].into())?;
        builder.open(Join::Not)?;
        builder.test("price", "lte", "10.5", Box::default())?;
        builder.close()?;
        builder.close()
    };
    build().expect("a filter");
    let text = r#"{"op":"and","nodes":[
        {"key":"symbol","cmp":"in","vals":["A","\u0042"]},
        {"op":"not","nodes":[{"op":"","key":"price","cmp":"lte","val":"10.5"}]}
    ]}"#;
    assert_eq!(filter(text), Some(builder.finish().expect("a filter")));
    let deep =
        |depth: usize| format!("{}{}{}", r#"{"op":"or","nodes":["#.repeat(depth), LEAF, "]}".repeat(depth));
    let wide = |width: usize| format!(r#"{{"op":"or","nodes":[{}]}}"#, vec![LEAF; width].join(","));
    const LEAF: &str = r#"{"key":"a","cmp":"ex"}"#;
    assert!(filter(LEAF).is_some() && filter(&deep(8)).is_some() && filter(&wide(63)).is_some());
    let wrong = [
        "1",
        "{}",
        r#"{"op":"xor","nodes":[]}"#,
        r#"{"op":"and"}"#,
        r#"{"op":"and","nodes":[]}"#,
        r#"{"op":"and","nodes":{}}"#,
        r#"{"op":"and","nodes":[1]}"#,
        r#"{"op":"not","nodes":[{"key":"a","cmp":"ex"},{"key":"a","cmp":"ex"}]}"#,
        r#"{"key":"a"}"#,
        r#"{"key":"a","cmp":"like","val":"x"}"#,
        r#"{"key":"a","cmp":"in","vals":[]}"#,
        r#"{"key":"a","cmp":"in","vals":"x"}"#,
        r#"{"key":"a","cmp":"in","vals":[1]}"#,
        r#"{"key":"a","cmp":"gt","val":"x"}"#,
        r#"{"cmp":"ex"}"#,
    ];
    for text in wrong {
        assert_eq!(filter(text), None, "{text}");
    }
    for text in [deep(9), deep(20), wide(64), wide(500)] {
        assert_eq!(filter(&text), None, "{}", &text[..40]);
    }
}

fn numbered(offset: u64, data: &str) -> Numbered {
    Numbered { offset, publication: Arc::new(publication(data)) }
}

#[test]
fn results_of_subscriptions() {
    let missed = [numbered(12, r#"{"a":"\n"}"#), numbered(13, "2")];
    let chain = [None, Some(b"1\n1:2o;"[..].into())];
    let top = position(13, "abc");
    let data = Payload::Json(b"[1]"[..].into());
    let empty = position(0, "abc");
    let plain = Subscription::default();
    let recovered = Subscription {
        recoverable: true,
        positioned: true,
        position: Some(&top),
        recovery: Recovery::Recovered { since_offset: 11 },
        publications: &missed,
        ..plain
    };
    let table = [
        (plain, "{}", "{}"),
        (
            Subscription { expires_in_s: Some(60), data: Some(&data), ..plain },
            r#"{"expires":true,"ttl":60,"data":[1]}"#,
            r#"{"expires":true,"ttl":60,"data":[1]}"#,
        ),
        (
            Subscription { recoverable: true, positioned: true, position: Some(&empty), ..plain },
            r#"{"recoverable":true,"epoch":"abc","positioned":true}"#,
            r#"{"recoverable":true,"epoch":"abc","positioned":true}"#,
        ),
        (
            recovered,
            r#"{"recoverable":true,"epoch":"abc","publications":[{"data":{"a":"\n"},"offset":12},{"data":2,"offset":13}],"recovered":true,"offset":11,"positioned":true,"was_recovering":true}"#,
            r#"{"recoverable":true,"epoch":"abc","publications":[{"data":{"a":"\n"},"offset":12},{"data":2,"offset":13}],"recovered":true,"offset":13,"positioned":true}"#,
        ),
        (
            Subscription { recovery: Recovery::Unrecovered, publications: &[], ..recovered },
            r#"{"recoverable":true,"epoch":"abc","offset":13,"positioned":true,"was_recovering":true}"#,
            r#"{"recoverable":true,"epoch":"abc","offset":13,"positioned":true}"#,
        ),
        (
            Subscription { fossil_delta: true, publications: &missed, deltas: &chain, ..plain },
            r#"{"publications":[{"data":"{\"a\":\"\\n\"}","offset":12},{"data":"1\n1:2o;","offset":13,"delta":true}],"delta":true}"#,
            r#"{"publications":[{"data":"{\"a\":\"\\n\"}","offset":12},{"data":"1\n1:2o;","offset":13,"delta":true}],"delta":true}"#,
        ),
        (
            Subscription { fossil_delta: true, publications: &missed[..1], ..plain },
            r#"{"publications":[{"data":"{\"a\":\"\\n\"}","offset":12}],"delta":true}"#,
            r#"{"publications":[{"data":"{\"a\":\"\\n\"}","offset":12}],"delta":true}"#,
        ),
    ];
    for (subscription, v2, v1) in table {
        let event = Event::Subscribed { tag: 2, channel: "chat", subscription };
        assert_eq!(encoded(Generation::V2, &event), format!(r#"{{"id":2,"subscribe":{v2}}}"#));
        assert_eq!(encoded(Generation::V1, &event), format!(r#"{{"id":2,"result":{v1}}}"#));
        let event = Event::Connected {
            tag: 1,
            client: CLIENT,
            decimal: None,
            expires_in_s: Some(9),
            ping_interval_s: 25,
            data: Some(&data),
            subscriptions: &[("a", subscription), ("\"", plain)],
        };
        let session =
            format!(r#"{{"client":"{UUID}","version":"{VERSION}","expires":true,"ttl":9,"data":[1]"#);
        assert_eq!(
            encoded(Generation::V2, &event),
            format!(
                r#"{{"id":1,"connect":{session},"subs":{{"a":{v2},"\"":{{}}}},"ping":25,"pong":true}}}}"#
            )
        );
        assert_eq!(
            encoded(Generation::V1, &event),
            format!(r#"{{"id":1,"result":{session},"subs":{{"a":{v1},"\"":{{}}}}}}}}"#)
        );
    }
}

#[test]
fn answers_and_pushes() {
    let clients = [info("42", Some(Payload::Json(b"{}"[..].into()))).unwrap()];
    let shown = format!(r#"{{"user":"42","client":"{UUID}","conn_info":{{}}}}"#);
    let history = [numbered(2, "2"), numbered(1, "1")];
    let (top, data) = (position(2, "ep"), Payload::Json(b"1"[..].into()));
    let added = Subscription {
        recoverable: true,
        position: Some(&top),
        data: Some(&data),
        ..Subscription::default()
    };
    let table = [
        (
            Event::Presence { tag: 4, channel: "c", clients: &clients },
            format!(r#"{{"id":4,"presence":{{"presence":{{"{UUID}":{shown}}}}}}}"#),
            format!(r#"{{"id":4,"result":{{"presence":{{"{UUID}":{shown}}}}}}}"#),
        ),
        (
            Event::Presence { tag: 4, channel: "c", clients: &[] },
            r#"{"id":4,"presence":{"presence":{}}}"#.into(),
            r#"{"id":4,"result":{"presence":{}}}"#.into(),
        ),
        (
            Event::PresenceStats { tag: 5, channel: "c", clients_count: 3, users_count: 0 },
            r#"{"id":5,"presence_stats":{"num_clients":3,"num_users":0}}"#.into(),
            r#"{"id":5,"result":{"num_clients":3,"num_users":0}}"#.into(),
        ),
        (
            Event::History { tag: 6, channel: "c", publications: &history, position: &top },
            r#"{"id":6,"history":{"publications":[{"data":2,"offset":2},{"data":1,"offset":1}],"epoch":"ep","offset":2}}"#.into(),
            r#"{"id":6,"result":{"publications":[{"data":2,"offset":2},{"data":1,"offset":1}],"epoch":"ep","offset":2}}"#.into(),
        ),
        (
            Event::SubscriptionRefreshed { tag: 4, channel: "c", expires_in_s: Some(600) },
            r#"{"id":4,"sub_refresh":{"expires":true,"ttl":600}}"#.into(),
            r#"{"id":4,"result":{"expires":true,"ttl":600}}"#.into(),
        ),
        (
            Event::SubscriptionRefreshed { tag: 4, channel: "c", expires_in_s: None },
            r#"{"id":4,"sub_refresh":{}}"#.into(),
            r#"{"id":4,"result":{}}"#.into(),
        ),
        (
            Event::Join { channel: "chat", info: &clients[0] },
            format!(r#"{{"push":{{"channel":"chat","join":{{"info":{shown}}}}}}}"#),
            format!(r#"{{"result":{{"type":1,"channel":"chat","data":{{"info":{shown}}}}}}}"#),
        ),
        (
            Event::Leave { channel: "chat", info: &clients[0] },
            format!(r#"{{"push":{{"channel":"chat","leave":{{"info":{shown}}}}}}}"#),
            format!(r#"{{"result":{{"type":2,"channel":"chat","data":{{"info":{shown}}}}}}}"#),
        ),
        (
            Event::Added { channel: "srv", subscription: added },
            r#"{"push":{"channel":"srv","subscribe":{"recoverable":true,"epoch":"ep","offset":2,"data":1}}}"#
                .into(),
            r#"{"result":{"type":5,"channel":"srv","data":{"recoverable":true,"epoch":"ep","offset":2,"data":1}}}"#
                .into(),
        ),
        (
            Event::ExpiryMoved { expires_in_s: Some(600) },
            r#"{"push":{"refresh":{"expires":true,"ttl":600}}}"#.into(),
            String::new(),
        ),
        (
            Event::Dropped { channel: "c", cause: DropCause::StateInvalidated },
            r#"{"push":{"channel":"c","unsubscribe":{"code":2502,"reason":"state invalidated"}}}"#.into(),
            r#"{"result":{"type":3,"channel":"c","data":{"resubscribe":true}}}"#.into(),
        ),
    ];
    for (event, v2, v1) in &table {
        assert_eq!((&encoded(Generation::V2, event), &encoded(Generation::V1, event)), (v2, v1));
        for (variant, want) in [(Variant::CentrifugeV2Json, v2), (Variant::CentrifugeV1Json, v1)] {
            let mut out = Vec::new();
            variant.encode_push(event, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), **want);
        }
    }
}

#[test]
fn where_deltas_were_agreed_on_data_is_text_in_a_string() {
    let json = publication(r#"{"a":"ä\n"}"#);
    let binary = Publication { data: Payload::Binary(b"\xff\xfe\xfd\xfc"[..].into()), ..publication("") };
    let table = [
        (&json, Body::Base, r#""data":"{\"a\":\"ä\\n\"}""#),
        (&json, Body::Delta("1P\n1P:ä;".as_bytes()), r#""data":"1P\n1P:ä;","delta":true"#),
        // A delta that cuts through a character is no text: the whole does as well.
        (&json, Body::Delta(b"\xc3"), r#""data":"{\"a\":\"ä\\n\"}""#),
        (&binary, Body::Plain, r#""data":"//79/A==""#),
        (&binary, Body::Base, r#""data":"\"//79/A==\"""#),
        // What leads from bytes to bytes leads nowhere from what was shown in their place.
        (&binary, Body::Delta(b"1\n1:2o;"), r#""data":"\"//79/A==\"""#),
    ];
    for (publication, body, want) in table {
        let event = Event::Publication { channel: "c", publication, offset: 0, body };
        let text = encoded(Generation::V2, &event);
        assert_eq!(text, format!(r#"{{"push":{{"channel":"c","pub":{{{want}}}}}}}"#));
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    }
}
