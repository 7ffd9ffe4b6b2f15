mod protobuf;
mod subscriptions;

use std::sync::Arc;

use proptest::prelude::*;

use super::command::Method;
use super::*;
use crate::core::command::{Command, Connect, Publish, Subscribe};
use crate::core::error::ClientError;
use crate::core::event::{Body, DropCause, Subscription};
use crate::core::ids::ClientId;
use crate::core::publication::{ClientInfo, Payload};
use crate::protocol::{Codec as AnyCodec, UpgradeError, UpgradeRequest};

const CLIENT: ClientId = ClientId([0x11; 16]);
const UUID: &str = "11111111-1111-1111-1111-111111111111";

fn codec(generation: impl Into<Option<Generation>>) -> Codec {
    Codec { generation: generation.into(), ..Codec::default() }
}

type Decoded = (Vec<(u32, Command)>, Result<(), Disconnect>);

fn decode_by(codec: &mut Codec, frame: &[u8]) -> Decoded {
    let mut requests = Vec::new();
    let result = codec.decode(Message::Text(&mut frame.to_vec()), &mut Json::new(), &mut requests);
    (requests.into_iter().map(|request| (request.tag, request.command)).collect(), result)
}

fn decode(generation: impl Into<Option<Generation>>, frame: &str) -> Decoded {
    decode_by(&mut codec(generation), frame.as_bytes())
}

fn one(tag: u32, command: Command) -> Decoded {
    (vec![(tag, command)], Ok(()))
}

fn ends(disconnect: Disconnect) -> Decoded {
    (Vec::new(), Err(disconnect))
}

fn connect(token: &str) -> Command {
    Command::Connect(Connect { token: token.into(), ..Connect::default() })
}

fn subscribe(channel: &str) -> Command {
    Command::Subscribe(Subscribe { channel: channel.into(), ..Subscribe::default() })
}

fn unsubscribe(channel: &str) -> Command {
    Command::Unsubscribe { channel: channel.into() }
}

fn publish(channel: &str, data: &str) -> Command {
    Command::Publish(Publish::plain(channel.into(), Payload::Json(data.as_bytes().into())))
}

fn refresh(token: &str) -> Command {
    Command::Refresh { token: token.into() }
}

fn json_form(generation: Generation) -> Form {
    Form { generation, encoding: Encoding::Json }
}

fn connected(expires_in_s: Option<u32>, ping_interval_s: u32) -> Event<'static> {
    Event::Connected {
        tag: 1,
        client: CLIENT,
        decimal: None,
        expires_in_s,
        ping_interval_s,
        data: None,
        subscriptions: &[],
    }
}

fn encoded(generation: impl Into<Option<Generation>>, event: &Event<'_>) -> String {
    let mut out = Vec::new();
    codec(generation).encode(event, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn the_first_command_tells_the_generation() {
    let table = [
        (r#"{"connect":{"token":"JWT","name":"js"},"id":1}"#, Some(Generation::V2)),
        (r#"{"id":3,"connect":{}}"#, Some(Generation::V2)),
        (r#"{"params":{"token":"JWT","name":"js"},"id":1}"#, Some(Generation::V1)),
        (r#"{"method":0,"id":1}"#, Some(Generation::V1)),
        (r#"{"method":"connect","params":{},"id":600}"#, Some(Generation::V1)),
        (r#"{"method":7,"id":1}"#, Some(Generation::V1)),
        (r#"{"subscribe":{"channel":"chat"},"id":1}"#, None),
        ("{}", None),
    ];
    for (frame, want) in table {
        let mut codec = codec(None);
        let _ = decode_by(&mut codec, frame.as_bytes());
        assert_eq!(codec.generation, want, "{frame}");
    }
    let mut codec = codec(None);
    assert_eq!(decode_by(&mut codec, br#"{"params":{"token":"JWT"},"id":1}"#), one(1, connect("JWT")));
    let later = decode_by(&mut codec, br#"{"connect":{},"id":2}"#);
    assert_eq!(later, one(2, connect("")), "a v1 client's stray field is not a command");
}

/// Frames as centrifuge-js 5.7.4 sent them.
#[test]
fn v2_commands() {
    let table = [
        (r#"{"connect":{"token":"JWT","name":"js"},"id":1}"#, one(1, connect("JWT"))),
        (r#"{"connect":{"name":"js"},"id":600}"#, one(600, connect(""))),
        (r#"{"subscribe":{"channel":"chat","flag":1},"id":2}"#, one(2, subscribe("chat"))),
        (
            r#"{"subscribe":{"channel":"$p","token":"S","offset":3,"epoch":"e"},"id":8}"#,
            one(
                8,
                Command::Subscribe(Subscribe {
                    channel: "$p".into(),
                    token: "S".into(),
                    ..Subscribe::default()
                }),
            ),
        ),
        (r#"{"unsubscribe":{"channel":"chat"},"id":9}"#, one(9, unsubscribe("chat"))),
        (r#"{"publish":{"channel":"chat","data":{"x":1}},"id":3}"#, one(3, publish("chat", r#"{"x":1}"#))),
        (r#"{"publish":{"channel":"chat","data":null},"id":3}"#, one(3, publish("chat", "null"))),
        (r#"{"refresh":{"token":"fresh"},"id":4}"#, one(4, refresh("fresh"))),
        ("{}", one(0, Command::Pong)),
        ("{}\n", one(0, Command::Pong)),
        (r#"{"id":0}"#, one(0, Command::Pong)),
        (r#"{"id":null,"subscribe":null}"#, one(0, Command::Pong)),
        (r#"{"rpc":{"data":{},"method":"m"},"id":4}"#, one(4, Command::Refuse(ClientError::NotAvailable))),
        (r#"{"ping":{},"id":4}"#, one(4, Command::Refuse(ClientError::NotAvailable))),
        (r#"{"send":{"data":{"q":2}}}"#, ends(Disconnect::NotAvailable)),
        (r#"{"id":9}"#, ends(Disconnect::BadRequest)),
        (r#"{"id":9,"unheard_of":{}}"#, ends(Disconnect::BadRequest)),
        (r#"{"id":9,"Subscribe":{"channel":"chat"}}"#, ends(Disconnect::BadRequest)),
        (r#"{"method":1,"params":{"channel":"chat"},"id":2}"#, ends(Disconnect::BadRequest)),
    ];
    for (frame, want) in table {
        assert_eq!(decode(Generation::V2, frame), want, "{frame}");
    }
}

/// Frames as centrifuge-js 2.8.5 sent them.
#[test]
fn v1_commands() {
    let not_available = |tag| one(tag, Command::Refuse(ClientError::NotAvailable));
    let table = [
        (r#"{"params":{"token":"JWT","data":{"a":1},"name":"js"},"id":1}"#, one(1, connect("JWT"))),
        (r#"{"id":1}"#, one(1, connect(""))),
        (r#"{"method":1,"params":{"channel":"chat"},"id":2}"#, one(2, subscribe("chat"))),
        (r#"{"method":"subscribe","params":{"channel":"chat"},"id":2}"#, one(2, subscribe("chat"))),
        (r#"{"method":"SUBSCRIBE","params":{"channel":"chat"},"id":2}"#, one(2, subscribe("chat"))),
        (
            "{\"method\":1,\"params\":{\"channel\":\"b1\"},\"id\":10}\n{\"method\":1,\"params\":{\"channel\":\"b2\"},\"id\":11}",
            (vec![(10, subscribe("b1")), (11, subscribe("b2"))], Ok(())),
        ),
        (r#"{"method":2,"params":{"channel":"chat"},"id":14}"#, one(14, unsubscribe("chat"))),
        (
            r#"{"method":3,"params":{"channel":"chat","data":{"x":1}},"id":3}"#,
            one(3, publish("chat", r#"{"x":1}"#)),
        ),
        (r#"{"method":7,"id":13}"#, one(13, Command::Ping)),
        (r#"{"method":"PING","id":13}"#, one(13, Command::Ping)),
        (r#"{"method":10,"params":{"token":"fresh"},"id":3}"#, one(3, refresh("fresh"))),
        (r#"{"method":9,"params":{"data":{"q":1},"method":"m"},"id":8}"#, not_available(8)),
        (r#"{"method":8,"params":{"data":{"q":2}}}"#, ends(Disconnect::NotAvailable)),
        (r#"{"method":"send","params":{"data":{"q":2}}}"#, ends(Disconnect::NotAvailable)),
        (r#"{"method":12,"id":1}"#, one(1, Command::Refuse(ClientError::MethodNotFound))),
        (r#"{"method":-1,"id":1}"#, one(1, Command::Refuse(ClientError::MethodNotFound))),
        (r#"{"method":"Connect","id":1}"#, one(1, Command::Refuse(ClientError::MethodNotFound))),
        (r#"{"method":true,"id":1}"#, one(1, Command::Refuse(ClientError::BadRequest))),
        ("{}", ends(Disconnect::BadRequest)),
        (r#"{"method":1,"params":{"channel":"chat"}}"#, ends(Disconnect::BadRequest)),
    ];
    for (frame, want) in table {
        assert_eq!(decode(Generation::V1, frame), want, "{frame}");
    }
}

#[test]
fn wrong_fields_are_refused_in_their_turn() {
    let params = [
        ("subscribe", r#""chat""#),
        ("subscribe", "[]"),
        ("subscribe", r#"{"channel":7}"#),
        ("subscribe", r#"{"channel":["chat"]}"#),
        ("subscribe", r#"{"channel":"chat","channel":"chat"}"#),
        ("subscribe", r#"{"channel":"chat","token":{}}"#),
        ("unsubscribe", r#"{"channel":true}"#),
        ("publish", r#"{"channel":"chat"}"#),
        ("publish", r#"{"channel":1,"data":1}"#),
        ("publish", r#"{"channel":"chat","data":1,"data":2}"#),
        ("refresh", r#"{"token":1}"#),
        ("connect", r#"{"token":1}"#),
        ("connect", "1"),
    ];
    for (method, params) in params {
        let want = (vec![(5, Command::Refuse(ClientError::BadRequest)), (6, unsubscribe("c"))], Ok(()));
        let frame =
            format!("{{\"id\":5,\"{method}\":{params}}}\n{{\"id\":6,\"unsubscribe\":{{\"channel\":\"c\"}}}}");
        assert_eq!(decode(Generation::V2, &frame), want, "{frame}");
        let frame = format!(
            "{{\"id\":5,\"method\":\"{method}\",\"params\":{params}}}\n{{\"id\":6,\"method\":2,\"params\":{{\"channel\":\"c\"}}}}"
        );
        assert_eq!(decode(Generation::V1, &frame), want, "{frame}");
    }
    let both = r#"{"id":5,"subscribe":{"channel":"a"},"publish":{"channel":"a","data":1}}"#;
    assert_eq!(decode(Generation::V2, both), one(5, Command::Refuse(ClientError::BadRequest)));
}

#[test]
fn frames_that_cannot_be_answered_end_the_connection() {
    let nested = format!(
        r#"{{"id":1,"publish":{{"channel":"c","data":{}{}}}}}"#,
        "[".repeat(30_000),
        "]".repeat(30_000)
    );
    let table = [
        "",
        " ",
        "\n\n",
        "null",
        "[]",
        "1",
        "x",
        "{",
        "\u{feff}{}",
        "{}x",
        &nested,
        r#"{"id":-1,"method":7,"ping":{}}"#,
        r#"{"id":9223372036854775808,"method":7,"ping":{}}"#,
        r#"{"id":4294967296,"method":7,"ping":{}}"#,
        r#"{"id":"1","method":7,"ping":{}}"#,
        r#"{"id":1.0,"method":7,"ping":{}}"#,
        r#"{"id":1,"id":1,"method":7,"ping":{}}"#,
        r#"{"id":1,"method":1,"method":1,"ping":{},"ping":{}}"#,
    ];
    for frame in table {
        for generation in [None, Some(Generation::V1), Some(Generation::V2)] {
            let (requests, result) = decode(generation, frame);
            let shown: String = frame.chars().take(80).collect();
            let pong = [(0, Command::Pong)];
            assert_eq!(result, Err(Disconnect::BadRequest), "{generation:?} {shown}");
            assert!(requests.is_empty() || requests == pong, "{generation:?} {shown} {requests:?}");
        }
    }
    assert_eq!(
        decode_by(&mut codec(Generation::V2), b"{\"id\":1,\"x\":\"\xff\"}"),
        ends(Disconnect::BadRequest)
    );
}

#[test]
fn what_comes_before_a_wrong_command_is_kept() {
    let frame = "{\"connect\":{\"token\":\"T\"},\"id\":1}\n{\"subscribe\":{\"channel\":\"c\"},\"id\":2}\n{\"id\":3}\n{\"id\":4}";
    let want = vec![(1, connect("T")), (2, subscribe("c"))];
    assert_eq!(decode(None, frame), (want, Err(Disconnect::BadRequest)));
}

#[test]
fn a_frame_has_a_bounded_number_of_commands() {
    let frame = |count: usize| "{}\n".repeat(count);
    let (requests, result) = decode(Generation::V2, &frame(COMMANDS_PER_FRAME_MAX));
    assert_eq!((requests.len(), result), (COMMANDS_PER_FRAME_MAX, Ok(())));
    for count in [COMMANDS_PER_FRAME_MAX + 1, 100_000] {
        let (requests, result) = decode(Generation::V2, &frame(count));
        assert_eq!((requests.len(), result), (COMMANDS_PER_FRAME_MAX, Err(Disconnect::BadRequest)));
    }
}

#[test]
fn data_is_kept_byte_for_byte_but_for_line_ends() {
    let table = [
        (r#"{ "b" : 1.0,"a":"\u0041\n" }"#, r#"{ "b" : 1.0,"a":"\u0041\n" }"#),
        ("{\r\n  \"a\": [\n1]\n}", "{    \"a\": [ 1] }"),
        ("  \"x\"  ", "\"x\""),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ];
    for (data, kept) in table {
        let frame = format!("{{\"publish\":{{\"channel\":\"c\",\"data\":{data}}},\"id\":3}}");
        assert_eq!(decode(Generation::V2, &frame), one(3, publish("c", kept)), "{data}");
    }
    let frame = r#"{"publish":{"channel":"\u0063\u0000","data":1},"id":3}"#;
    assert_eq!(decode(Generation::V2, frame), one(3, publish("c\0", "1")), "names are for the core to judge");
}

#[test]
fn replies() {
    let v = VERSION;
    let error = |error| Event::Refused { tag: 12, channel: Some("c"), error, reason: None };
    let table = [
        (
            connected(Some(5), 25),
            format!(
                r#"{{"id":1,"connect":{{"client":"{UUID}","version":"{v}","expires":true,"ttl":5,"ping":25,"pong":true}}}}"#
            ),
            format!(r#"{{"id":1,"result":{{"client":"{UUID}","version":"{v}","expires":true,"ttl":5}}}}"#),
        ),
        (
            connected(None, 0),
            format!(r#"{{"id":1,"connect":{{"client":"{UUID}","version":"{v}"}}}}"#),
            format!(r#"{{"id":1,"result":{{"client":"{UUID}","version":"{v}"}}}}"#),
        ),
        (
            Event::Refreshed { tag: 3, client: CLIENT, expires_in_s: Some(600) },
            format!(r#"{{"id":3,"refresh":{{"client":"{UUID}","version":"{v}","expires":true,"ttl":600}}}}"#),
            format!(r#"{{"id":3,"result":{{"client":"{UUID}","version":"{v}","expires":true,"ttl":600}}}}"#),
        ),
        (
            Event::Subscribed { tag: 2, channel: "chat", subscription: Subscription::default() },
            r#"{"id":2,"subscribe":{}}"#.into(),
            r#"{"id":2,"result":{}}"#.into(),
        ),
        (
            Event::Unsubscribed { tag: 9, channel: "chat" },
            r#"{"id":9,"unsubscribe":{}}"#.into(),
            r#"{"id":9,"result":{}}"#.into(),
        ),
        (
            Event::Published { tag: 4294967295, channel: "chat" },
            r#"{"id":4294967295,"publish":{}}"#.into(),
            r#"{"id":4294967295,"result":{}}"#.into(),
        ),
        (Event::Pong { tag: 13 }, r#"{"id":13,"ping":{}}"#.into(), r#"{"id":13,"result":{}}"#.into()),
        (
            error(ClientError::PermissionDenied),
            r#"{"id":12,"error":{"code":103,"message":"permission denied"}}"#.into(),
            r#"{"id":12,"error":{"code":103,"message":"permission denied"}}"#.into(),
        ),
        (
            error(ClientError::Internal),
            r#"{"id":12,"error":{"code":100,"message":"internal server error","temporary":true}}"#.into(),
            r#"{"id":12,"error":{"code":100,"message":"internal server error"}}"#.into(),
        ),
        (
            Event::Dropped { channel: "chat", cause: DropCause::Server },
            r#"{"push":{"channel":"chat","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#.into(),
            r#"{"result":{"type":3,"channel":"chat","data":{}}}"#.into(),
        ),
        (
            Event::Dropped { channel: "chat", cause: DropCause::InsufficientState },
            r#"{"push":{"channel":"chat","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#.into(),
            r#"{"result":{"type":3,"channel":"chat","data":{"resubscribe":true}}}"#.into(),
        ),
        (
            Event::Dropped { channel: "chat", cause: DropCause::Expired },
            r#"{"push":{"channel":"chat","unsubscribe":{"code":2501,"reason":"subscription expired"}}}"#
                .into(),
            String::new(),
        ),
        (Event::Ping, "{}".into(), String::new()),
    ];
    for (event, v2, v1) in table {
        assert_eq!(encoded(Generation::V2, &event), v2);
        assert_eq!(encoded(Generation::V1, &event), v1);
        assert_eq!(encoded(None, &event), v2);
    }
}

fn publication(data: &str) -> Publication {
    Publication::plain(Payload::Json(data.as_bytes().into()), 1)
}

fn info(user: &str, connection_info: Option<Payload>) -> Option<ClientInfo> {
    Some(ClientInfo {
        user: user.into(),
        client: CLIENT,
        connection_info: connection_info.map(Arc::new),
        channel_info: None,
    })
}

#[test]
fn publications() {
    let json = |text: &str| Payload::Json(text.as_bytes().into());
    let by_client = Publication { publisher: info("u", Some(json("{}"))), ..publication(r#"{"hello":1}"#) };
    let both_infos = Publication {
        publisher: Some(ClientInfo { channel_info: Some(Arc::new(json("[2]"))), ..info("", None).unwrap() }),
        ..publication("null")
    };
    let binary = Publication { data: Payload::Binary(b"\xff\xfe\xfd\xfc"[..].into()), ..publication("") };
    let tag = |name: &str, value: &str| (Box::from(name), Box::from(value));
    let tagged = Publication { tags: [tag("a", "1\n"), tag("b", "\"")].into(), ..publication("1") };
    let named = Publication {
        event: Some("order".into()),
        tags: [tag("event", "mine"), tag("b", "2")].into(),
        ..publication("1")
    };
    let table = [
        (publication("{\"a\": 1}"), 0, r#"{"data":{"a": 1}}"#.to_owned()),
        (
            by_client,
            11,
            format!(
                r#"{{"data":{{"hello":1}},"info":{{"user":"u","client":"{UUID}","conn_info":{{}}}},"offset":11}}"#
            ),
        ),
        (both_infos, 0, format!(r#"{{"data":null,"info":{{"client":"{UUID}","chan_info":[2]}}}}"#)),
        (binary, u64::MAX, r#"{"data":"//79/A==","offset":18446744073709551615}"#.to_owned()),
        (tagged, 0, r#"{"data":1,"tags":{"a":"1\n","b":"\""}}"#.to_owned()),
        (named, 2, r#"{"data":1,"offset":2,"tags":{"event":"order","b":"2"}}"#.to_owned()),
    ];
    for (publication, offset, want) in &table {
        let event = Event::Publication { channel: "chat", publication, offset: *offset, body: Body::Plain };
        let (v2, v1) = (encoded(Generation::V2, &event), encoded(Generation::V1, &event));
        assert_eq!(v2, format!(r#"{{"push":{{"channel":"chat","pub":{want}}}}}"#));
        assert_eq!(v1, format!(r#"{{"result":{{"channel":"chat","data":{want}}}}}"#));
        for (variant, want) in [(Variant::CentrifugeV2Json, v2), (Variant::CentrifugeV1Json, v1)] {
            let mut out = b"before".to_vec();
            variant.encode_publication("chat", publication, *offset, Body::Plain, &mut out);
            assert_eq!(out, [b"before", want.as_bytes()].concat());
        }
    }
}

#[test]
fn error_codes() {
    let table = [
        (ClientError::Internal, 100, "internal server error", true),
        (ClientError::Unauthorized, 101, "unauthorized", false),
        (ClientError::UnknownChannel, 102, "unknown channel", false),
        (ClientError::PermissionDenied, 103, "permission denied", false),
        (ClientError::MethodNotFound, 104, "method not found", false),
        (ClientError::AlreadySubscribed, 105, "already subscribed", false),
        (ClientError::LimitExceeded, 106, "limit exceeded", false),
        (ClientError::BadRequest, 107, "bad request", false),
        (ClientError::NotAvailable, 108, "not available", false),
        (ClientError::TokenExpired, 109, "token expired", false),
        (ClientError::Expired, 110, "expired", false),
        (ClientError::TooManyRequests, 111, "too many requests", true),
        (ClientError::UnrecoverablePosition, 112, "unrecoverable position", false),
    ];
    for (error, code, message, temporary) in table {
        let event = Event::Refused { tag: 1, channel: None, error, reason: None };
        let plain = format!(r#"{{"id":1,"error":{{"code":{code},"message":"{message}""#);
        assert_eq!(encoded(Generation::V1, &event), format!("{plain}}}}}"));
        assert_eq!(
            encoded(Generation::V2, &event),
            format!("{plain}{}}}}}", if temporary { r#","temporary":true"# } else { "" })
        );
    }
}

#[test]
fn close_codes() {
    let custom = |code: u16| Disconnect::Custom { code, reason: "by \"us\"".into() };
    let transport = |code: u16| Disconnect::Transport { code, reason: "frame" };
    // (end, v2's code and reason, v1's code and reason, whether the client comes back)
    let table = [
        (Disconnect::Normal, 3000, "connection closed", 3000, "normal", true),
        (Disconnect::Shutdown, 3001, "shutdown", 3001, "shutdown", true),
        (Disconnect::ServerError, 3004, "internal server error", 3004, "internal server error", true),
        (Disconnect::Expired, 3005, "connection expired", 3005, "expired", true),
        (Disconnect::SubscriptionExpired, 3006, "subscription expired", 3006, "subscription expired", true),
        (Disconnect::Slow, 3008, "slow", 3008, "slow", true),
        (Disconnect::InsufficientState, 3010, "insufficient state", 3010, "insufficient state", true),
        (Disconnect::ForceReconnect, 3011, "force reconnect", 3011, "force reconnect", true),
        (Disconnect::NoPong, 3012, "no pong", 3000, "no pong", true),
        (Disconnect::TooManyRequests, 3013, "too many requests", 3011, "too many requests", true),
        (Disconnect::InvalidToken, 3500, "invalid token", 3002, "invalid token", false),
        (Disconnect::BadRequest, 3501, "bad request", 3003, "bad request", false),
        (Disconnect::Stale, 3502, "stale", 3007, "stale", false),
        (Disconnect::ForceDisconnect, 3503, "force disconnect", 3012, "force disconnect", false),
        (Disconnect::ConnectionLimit, 3504, "connection limit", 3013, "connection limit", false),
        (Disconnect::ChannelLimit, 3505, "channel limit", 3003, "channel limit", false),
        (
            Disconnect::InappropriateProtocol,
            3506,
            "inappropriate protocol",
            3003,
            "inappropriate protocol",
            false,
        ),
        (Disconnect::PermissionDenied, 3507, "permission denied", 3003, "permission denied", false),
        (Disconnect::NotAvailable, 3508, "not available", 3003, "not available", false),
        (Disconnect::TooManyErrors, 3509, "too many errors", 3003, "too many errors", false),
        (custom(4000), 4000, "by \"us\"", 4000, "by \\\"us\\\"", true),
        (custom(4500), 4500, "by \"us\"", 4500, "by \\\"us\\\"", false),
        (transport(1002), 1002, "frame", 1002, "frame", true),
        (transport(1009), 1009, "frame", 1009, "frame", false),
    ];
    for (end, code_v2, reason_v2, code_v1, reason_v1, reconnect) in table {
        let v2 = codec(Generation::V2).close_frame(&end);
        assert_eq!((v2.code, &*v2.reason), (code_v2, reason_v2), "{end:?}");
        assert_eq!(codec(None).close_frame(&end), v2);
        let v1 = codec(Generation::V1).close_frame(&end);
        let reason_v1 = format!(r#"{{"reason":"{reason_v1}","reconnect":{reconnect}}}"#);
        assert_eq!((v1.code, &*v1.reason), (code_v1, &*reason_v1), "{end:?}");
    }
}

#[test]
fn long_reasons_are_shortened() {
    for reason in ["x".repeat(500), "ä".repeat(200), "\"".repeat(200), "\u{1}".repeat(200), "𝄞\n".repeat(99)]
    {
        let end = Disconnect::Custom { code: 4000, reason: reason.as_str().into() };
        let v2 = codec(Generation::V2).close_frame(&end);
        assert!(v2.reason.len() <= 123 && v2.reason.len() > 119 && reason.starts_with(&*v2.reason));
        let v1 = codec(Generation::V1).close_frame(&end);
        assert!(v1.reason.len() <= 123 && v1.reason.len() > 110, "{}", v1.reason);
        let parsed: serde_json::Value = serde_json::from_str(&v1.reason).expect("JSON");
        assert!(reason.starts_with(parsed["reason"].as_str().expect("a string")));
        assert_eq!(parsed["reconnect"], true);
    }
}

#[test]
fn upgrades() {
    let upgrade = |path, query, subprotocols| {
        AnyCodec::for_upgrade(&UpgradeRequest { path, query, subprotocols }).map(|accepted| {
            accepted.map(|accepted| {
                let AnyCodec::Centrifuge(codec) = accepted.codec else { panic!("another dialect's") };
                (codec, accepted.subprotocol)
            })
        })
    };
    let path = "/connection/websocket";
    let with = |generation, frame_pings| Codec { generation, frame_pings, ..Codec::default() };
    let protobuf = Codec { encoding: Encoding::Protobuf, ..Codec::default() };
    let plain = with(None, false);
    let table = [
        ("", "", Ok((plain, None))),
        ("", "centrifuge-json", Ok((plain, Some("centrifuge-json")))),
        ("", "foo, centrifuge-json ,centrifuge-protobuf", Ok((plain, Some("centrifuge-json")))),
        ("", "foo", Ok((plain, None))),
        ("", "centrifuge-protobuf", Ok((protobuf, Some("centrifuge-protobuf")))),
        ("", "foo,centrifuge-protobuf", Ok((protobuf, Some("centrifuge-protobuf")))),
        ("format=protobuf", "", Ok((protobuf, None))),
        ("format=protobuf", "centrifuge-protobuf", Ok((protobuf, Some("centrifuge-protobuf")))),
        ("a=b&cf_protocol=protobuf", "", Ok((protobuf, None))),
        ("protocol=protobuf", "centrifuge-json", Ok((protobuf, Some("centrifuge-json")))),
        (
            "format=protobuf&cf_protocol_version=v1",
            "",
            Ok((Codec { generation: Some(Generation::V1), ..protobuf }, None)),
        ),
        ("cf_protocol=json", "", Ok((plain, None))),
        ("cf_protocol_version=v1", "", Ok((with(Some(Generation::V1), false), None))),
        ("x&cf_protocol_version=v2&", "", Ok((with(Some(Generation::V2), false), None))),
        ("cf_protocol_version=v3", "", Err(UpgradeError::ProtocolVersion)),
        ("cf_protocol_version=", "", Err(UpgradeError::ProtocolVersion)),
        ("cf_protocol_version=%g0", "", Err(UpgradeError::ProtocolVersion)),
        ("cf_protocol_version", "", Err(UpgradeError::ProtocolVersion)),
        ("cf_ws_frame_ping_pong=true", "", Ok((with(None, true), None))),
        ("cf_ws_frame_ping_pong=false", "", Ok((plain, None))),
    ];
    for (query, subprotocols, want) in table {
        assert_eq!(upgrade(path, query, subprotocols), Some(want), "{query} {subprotocols}");
    }
    for other in ["/", "/connection/websocket/", "/connection/sse", "/socket.io/"] {
        assert_eq!(upgrade(other, "", ""), None, "{other}");
    }
}

#[test]
fn heartbeats_and_names() {
    let pings = |generation| Codec { generation, frame_pings: true, ..Codec::default() };
    let protobuf = |generation| Codec { generation, encoding: Encoding::Protobuf, ..Codec::default() };
    let table = [
        (codec(None), Heartbeat::Application, Variant::CentrifugeV2Json, "centrifuge"),
        (codec(Generation::V2), Heartbeat::Application, Variant::CentrifugeV2Json, "centrifuge-v2-json"),
        (codec(Generation::V1), Heartbeat::Frame, Variant::CentrifugeV1Json, "centrifuge-v1-json"),
        (pings(None), Heartbeat::Frame, Variant::CentrifugeV2Json, "centrifuge"),
        (pings(Some(Generation::V2)), Heartbeat::Frame, Variant::CentrifugeV2Json, "centrifuge-v2-json"),
        (pings(Some(Generation::V1)), Heartbeat::Frame, Variant::CentrifugeV1Json, "centrifuge-v1-json"),
        (protobuf(None), Heartbeat::Application, Variant::CentrifugeV2Protobuf, "centrifuge"),
        (
            protobuf(Some(Generation::V2)),
            Heartbeat::Application,
            Variant::CentrifugeV2Protobuf,
            "centrifuge-v2-protobuf",
        ),
        (
            protobuf(Some(Generation::V1)),
            Heartbeat::Frame,
            Variant::CentrifugeV1Protobuf,
            "centrifuge-v1-protobuf",
        ),
    ];
    for (codec, heartbeat, variant, name) in table {
        assert_eq!((codec.heartbeat(), codec.variant(), codec.name()), (heartbeat, variant, name));
    }
    let mut out = Vec::new();
    let connected = connected(None, 25);
    pings(Some(Generation::V2)).encode(&connected, &mut out);
    pings(Some(Generation::V2)).encode(&Event::Ping, &mut out);
    assert_eq!(
        out,
        format!(r#"{{"id":1,"connect":{{"client":"{UUID}","version":"{VERSION}"}}}}"#).into_bytes()
    );
    assert!(size_of::<AnyCodec>() <= 8);
}

#[test]
fn only_publications_are_taken_for_publications() {
    // Shaped like a publication as far as it is the client's choice.
    let channel = "c\",\"pub\":{\"data\":{";
    let events = [
        connected(None, 25),
        Event::Refreshed { tag: 1, client: CLIENT, expires_in_s: Some(1) },
        Event::Subscribed { tag: 1, channel, subscription: Subscription::default() },
        Event::Unsubscribed { tag: 1, channel },
        Event::Published { tag: 1, channel },
        Event::Refused { tag: 1, channel: Some(channel), error: ClientError::BadRequest, reason: None },
        Event::Pong { tag: 1 },
        Event::Ping,
        Event::Dropped { channel, cause: DropCause::Server },
        Event::Dropped { channel, cause: DropCause::InsufficientState },
    ];
    for generation in [Generation::V1, Generation::V2] {
        for event in &events {
            let text = encoded(generation, event);
            assert_eq!(json_form(generation).publication_channel(text.as_bytes()), None, "{text}");
        }
        for cut in
            ["", "{", "{\"push\":{\"channel\":", "{\"push\":{\"channel\":\"c", "{\"push\":{\"channel\":\"c\""]
        {
            assert_eq!(json_form(generation).publication_channel(cut.as_bytes()), None, "{cut}");
        }
    }
}

fn any_command() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "null",
        "true",
        "-1",
        "1",
        "1e9",
        "4294967296",
        "\"\"",
        "\"chat\"",
        "\"T\"",
        "{}",
        "[]",
        "{\"a\":\n[1]}",
        "{\"channel\":\"c\"}",
        "{\"channel\":\"c\",\"data\":{\"x\":\"y\"}}",
        "{\"token\":\"T\"}",
        "\"\\u0000\"",
    ]);
    let name = prop::sample::select(vec![
        "id",
        "method",
        "params",
        "connect",
        "subscribe",
        "publish",
        "unsubscribe",
        "refresh",
        "send",
        "ping",
        "rpc",
        "x",
    ]);
    prop::collection::vec((name, value), 0..5).prop_map(|members| {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(frame in any::<Vec<u8>>()) {
        for generation in [None, Some(Generation::V1), Some(Generation::V2)] {
            let (requests, result) = decode_by(&mut codec(generation), &frame);
            prop_assert!(result.is_err() || !requests.is_empty());
        }
    }

    #[test]
    fn every_command_is_answered_by_one_request(commands in prop::collection::vec(any_command(), 1..5)) {
        for generation in [Generation::V1, Generation::V2] {
            let (requests, result) = decode(generation, &commands.join("\n"));
            prop_assert!(result.is_err() || requests.len() == commands.len());
            for (tag, command) in requests {
                prop_assert!(tag != 0 || command == Command::Pong);
                if let Command::Publish(Publish { data: Payload::Json(data), .. }) = command {
                    prop_assert!(!data.contains(&b'\n'));
                }
            }
        }
    }

    #[test]
    fn whatever_is_encoded_is_one_line_of_json(
        (channel, user, tag) in (".{0,20}", ".{0,20}", ".{0,20}"),
        bytes in any::<Vec<u8>>(),
        offset in any::<u64>(),
    ) {
        let publication = Publication {
            data: Payload::Binary(bytes.into()),
            event: Some(tag.as_str().into()),
            publisher: info(&user, None),
            tags: [(tag.as_str().into(), tag.as_str().into())].into(),
            ..publication("")
        };
        for generation in [Generation::V1, Generation::V2] {
            let text = encoded(generation, &Event::Publication { channel: &channel, publication: &publication, offset, body: Body::Plain });
            prop_assert!(!text.contains(['\n', '\r']));
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let inner = value.get("push").or_else(|| value.get("result")).expect("a push");
            prop_assert_eq!(inner["channel"].as_str(), Some(channel.as_str()));
            let found = json_form(generation).publication_channel(text.as_bytes());
            prop_assert_eq!(found.as_deref(), Some(channel.as_str()));
        }
    }
}
