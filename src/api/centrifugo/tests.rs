use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::api::call::{Answer, BadRequest, ChannelCount, Errand, Excluded, Message, NodeInfo, Whose};
use crate::auth::{Grant, Overrides};
use crate::config::{Config, Limits};
use crate::core::disconnect::Disconnect;
use crate::core::history::Range;
use crate::core::ids::ClientId;
use crate::core::publication::{AsText, Payload, Position, Terms};
use crate::wire::json::{Json, JsonError};

const CLIENT: &str = "00112233-4455-6677-8899-aabbccddeeff";

fn limits() -> Limits {
    let text = "[limits]\nbroadcast_channels_max = 3\n[[apps]]\nid = \"1\"";
    Config::load(text, [], &mut |_| Ok(Vec::new())).expect("valid").limits
}

fn parse_text(method: Option<&str>, body: &str) -> Result<Batch, BadBody> {
    parse(method, body.as_bytes(), &mut Json::new(), &limits())
}

/// The one call of a request in the new style.
fn one(method: &str, body: &str) -> Result<Call, ApiError> {
    let batch = parse_text(Some(method), body).expect(body);
    assert_eq!(batch.style, Style::Method);
    let [Entry { id: 0, call }] = &batch.entries[..] else { panic!("one call: {batch:?}") };
    call.clone()
}

/// `params` as a command of the old style must mean the same as in the new one.
fn in_both_styles(method: &str, params: &str) -> Result<Call, ApiError> {
    let new = one(method, params);
    let old =
        parse_text(None, &format!(r#"{{"id":7,"method":"{method}","params":{params}}}"#)).expect(params);
    assert_eq!(old, Batch { style: Style::Commands, entries: vec![Entry { id: 7, call: new.clone() }] });
    new
}

fn json(text: &str) -> Payload {
    Payload::Json(text.as_bytes().into())
}

fn message(data: &str) -> Message {
    let (tags, as_text) = (Box::default(), AsText::Quoted);
    Message { data: json(data), as_text, event: None, tags, delta: false, terms: None, exclude: None }
}

fn publish(channel: &str, message: Message) -> Result<Call, ApiError> {
    Ok(Call::Publish { channel: channel.into(), message })
}

fn bad<T>(text: &str) -> impl Fn(Result<T, ApiError>) -> bool + use<T> {
    let want = format!("bad request: {text}");
    move |got| matches!(got, Err(error @ ApiError::BadRequest { .. }) if error.to_string() == want)
}

#[test]
fn publish_is_read() {
    let tagged = Message {
        tags: [("b".into(), "1".into()), ("a".into(), "".into())].into(),
        terms: Some(Box::new(Terms { skip_history: true, ..Terms::default() })),
        ..message("1")
    };
    let table = [
        (r#"{"channel":"chat","data":{"a": 1}}"#, publish("chat", message(r#"{"a": 1}"#))),
        (r#"{"data":null,"channel":"chat"}"#, publish("chat", message("null"))),
        (r#"{"channel":"ch\u0061t","data":"\u0061"}"#, publish("chat", message(r#""\u0061""#))),
        ("{\"channel\":\"c\",\"data\":{\r\n \"a\":\n1}}", publish("c", message("{   \"a\": 1}"))),
        (
            r#"{"channel":"c","data":1,"tags":{"b":"1","a":""},"skip_history":true}"#,
            publish("c", tagged.clone()),
        ),
        (r#"{"channel":"c","data":1e400}"#, publish("c", message("1e400"))),
        // What is not set.
        (
            r#"{"channel":"c","data":1,"tags":null,"skip_history":null,"idempotency_key":"","delta":false,"version":0,"version_epoch":"","b64data":""}"#,
            publish("c", message("1")),
        ),
        (r#"{"channel":"c","data":1,"delta":true}"#, publish("c", Message { delta: true, ..message("1") })),
        (r#"{"channel":"c","data":1,"unknown":[1]}"#, publish("c", message("1"))),
        // Whether the channel is possible is judged with the app at hand.
        (r#"{"channel":"no such\n","data":1}"#, publish("no such\n", message("1"))),
    ];
    for (params, want) in table {
        assert_eq!(in_both_styles("publish", params), want, "{params}");
    }
}

#[test]
fn b64data_is_json_text_or_bytes() {
    let table = [
        // {"a":1}, "hi" without quotes, bytes, JSON with a line end.
        ("eyJhIjoxfQ==", json(r#"{"a":1}"#)),
        ("aGk=", json(r#""hi""#)),
        ("/wA=", Payload::Binary([0xFF, 0].into())),
        ("WwoxXQ==", json("[ 1]")),
    ];
    for (encoded, data) in table {
        let params = format!(r#"{{"channel":"c","b64data":"{encoded}","data":"ignored"}}"#);
        assert_eq!(
            in_both_styles("publish", &params),
            publish("c", Message { data, ..message("") }),
            "{encoded}"
        );
    }
    for wrong in ["aGk", "aGk=\\n", "aG-_", "a"] {
        let params = format!(r#"{{"channel":"c","b64data":"{wrong}"}}"#);
        let is_bad = bad("b64data must be standard base64 with padding");
        assert!(is_bad(in_both_styles("publish", &params)), "{wrong}");
    }
}

#[test]
fn broadcast_is_read() {
    let broadcast = |channels: &[&str], message| {
        Ok(Call::Broadcast { channels: channels.iter().map(|&channel| channel.into()).collect(), message })
    };
    let three = r#"{"channels":["a","b","a"],"data":[]}"#;
    assert_eq!(in_both_styles("broadcast", three), broadcast(&["a", "b", "a"], message("[]")));
    // A bad name is refused in its own answer.
    assert_eq!(in_both_styles("broadcast", r#"{"channels":[""],"data":1}"#), broadcast(&[""], message("1")));
    let four = r#"{"channels":["a","b","c","d"],"data":1}"#;
    assert_eq!(in_both_styles("broadcast", four), Err(ApiError::LimitExceeded));
    let table = [
        (r#"{"data":1}"#, "channels is missing"),
        (r#"{"channels":[],"data":1}"#, "channels is missing"),
        (r#"{"channels":null,"data":1}"#, "channels is missing"),
        (r#"{"channels":"a","data":1}"#, "channels must be an array of strings"),
        (r#"{"channels":["a",1],"data":1}"#, "channels must be an array of strings"),
        (r#"{"channels":["a"]}"#, "data is missing"),
        (r#"{"channels":["a"],"channels":["b"],"data":1}"#, "channels is given twice"),
    ];
    for (params, want) in table {
        assert!(bad(want)(in_both_styles("broadcast", params)), "{params}");
    }
}

#[test]
fn wrong_publishes_are_refused_with_a_reason() {
    let table = [
        ("{}", "data is missing"),
        (r#"{"channel":"c"}"#, "data is missing"),
        (r#"{"data":1}"#, "channel is missing"),
        (r#"{"channel":"","data":1}"#, "channel is missing"),
        (r#"{"channel":null,"data":1}"#, "channel is missing"),
        (r#"{"channel":1,"data":1}"#, "channel must be a string"),
        (r#"{"channel":"c","channel":"d","data":1}"#, "channel is given twice"),
        (r#"{"channel":"c","data":1,"d\u0061ta":2}"#, "data is given twice"),
        (r#"{"channel":"c","data":1,"b64data":1}"#, "b64data must be a string"),
        (r#"{"channel":"c","data":1,"tags":[]}"#, "tags must be an object of strings"),
        (r#"{"channel":"c","data":1,"tags":{"a":1}}"#, "tags must be an object of strings"),
        (r#"{"channel":"c","data":1,"tags":{"a":"1","a":"2"}}"#, "a name in tags is given twice"),
        (r#"{"channel":"c","data":1,"skip_history":"true"}"#, "skip_history must be true or false"),
        (r#"{"channel":"c","data":1,"skip_history":1}"#, "skip_history must be true or false"),
        (r#"{"channel":"c","data":1,"idempotency_key":1}"#, "idempotency_key must be a string"),
        (r#"{"channel":"c","data":1,"delta":"fossil"}"#, "delta must be true or false"),
        (r#"{"channel":"c","data":1,"version":"1"}"#, "version must be a whole number"),
        (r#"{"channel":"c","data":1,"version":-1}"#, "version must be a whole number"),
        (r#"{"channel":"c","data":1,"version_epoch":1}"#, "version_epoch must be a string"),
    ];
    for (params, want) in table {
        assert!(
            bad(want)(in_both_styles("publish", params)),
            "{params}: {:?}",
            in_both_styles("publish", params)
        );
    }
}

#[test]
fn a_publication_has_a_greatest_size_with_its_tags() {
    let of = |data: usize, tag: usize| {
        let (data, tag) = ("x".repeat(data - 2), "y".repeat(tag));
        in_both_styles("publish", &format!(r#"{{"channel":"c","data":"{data}","tags":{{"t":"{tag}"}}}}"#))
    };
    let max = limits().publication_bytes_max;
    assert_eq!(max, 65_536);
    assert!(of(max - 1, 0).is_ok());
    assert!(of(max - 11, 10).is_ok());
    let is_bad = bad("data with tags exceeds 65536 bytes");
    assert!(is_bad(of(max, 0)));
    assert!(is_bad(of(max - 11, 11)));
}

#[test]
fn disconnect_is_read() {
    let id = ClientId::parse(CLIENT).expect("it is an id");
    let disconnect = |user: &str, client, whitelist: &[ClientId], disconnect| {
        let whose = Whose { user: user.into(), client };
        Ok(Call::Users { whose, errand: Errand::Disconnect { whitelist: whitelist.into(), disconnect } })
    };
    let force = Disconnect::ForceDisconnect;
    let custom = |code, reason: &str| Disconnect::Custom { code, reason: reason.into() };
    let reason = "r".repeat(123);
    let table = [
        (r#"{"user":"42"}"#.to_owned(), disconnect("42", None, &[], force.clone())),
        (
            r#"{"user":"42","client":"","session":"","whitelist":[],"disconnect":null}"#.to_owned(),
            disconnect("42", None, &[], force.clone()),
        ),
        (format!(r#"{{"user":"42","client":"{CLIENT}"}}"#), disconnect("42", Some(id), &[], force.clone())),
        (format!(r#"{{"client":"{CLIENT}"}}"#), disconnect("", Some(id), &[], force.clone())),
        (format!(r#"{{"user":"42","whitelist":["{CLIENT}"]}}"#), disconnect("42", None, &[id], force)),
        (
            r#"{"user":"42","disconnect":{"code":4001,"reason":"no \"more\""}}"#.to_owned(),
            disconnect("42", None, &[], custom(4_001, "no \"more\"")),
        ),
        (
            r#"{"user":"42","disconnect":{"code":3000}}"#.to_owned(),
            disconnect("42", None, &[], custom(3_000, "")),
        ),
        (
            format!(r#"{{"user":"42","disconnect":{{"code":4999,"reason":"{reason}"}}}}"#),
            disconnect("42", None, &[], custom(4_999, &reason)),
        ),
    ];
    for (params, want) in table {
        assert_eq!(in_both_styles("disconnect", &params), want, "{params}");
    }
}

#[test]
fn wrong_disconnects_are_refused_with_a_reason() {
    let long = format!(r#"{{"user":"42","disconnect":{{"code":4000,"reason":"{}"}}}}"#, "r".repeat(124));
    let code = "disconnect.code must be a number from 3000 to 4999";
    let table = [
        ("{}", "user is missing"),
        (r#"{"user":""}"#, "user is missing"),
        (r#"{"user":42}"#, "user must be a string"),
        (r#"{"user":"42","client":"x"}"#, "client must be a client id"),
        (r#"{"user":"42","client":1}"#, "client must be a client id"),
        (r#"{"user":"42","whitelist":"x"}"#, "whitelist must be an array of client ids"),
        (r#"{"user":"42","whitelist":[""]}"#, "whitelist must be an array of client ids"),
        (r#"{"user":"42","whitelist":["x"]}"#, "whitelist must be a client id"),
        (r#"{"user":"42","disconnect":4000}"#, "disconnect must be an object"),
        (r#"{"user":"42","disconnect":{}}"#, "disconnect.code is missing"),
        (r#"{"user":"42","disconnect":{"code":"4000"}}"#, code),
        (r#"{"user":"42","disconnect":{"code":2999}}"#, code),
        (r#"{"user":"42","disconnect":{"code":5000}}"#, code),
        (r#"{"user":"42","disconnect":{"code":69536}}"#, code),
        (r#"{"user":"42","disconnect":{"code":4000,"reason":1}}"#, "disconnect.reason must be a string"),
        (r#"{"user":"42","disconnect":{"code":4000,"code":4001}}"#, "code is given twice"),
        (&long, "disconnect.reason exceeds 123 bytes"),
    ];
    for (params, want) in table {
        assert!(bad(want)(in_both_styles("disconnect", params)), "{params}");
    }
    let session = in_both_styles("disconnect", r#"{"user":"42","session":"s"}"#);
    assert_eq!(session, Err(ApiError::NotAvailable { feature: "session" }));
}

#[test]
fn subscriptions_and_expiry_of_users_are_read() {
    let id = ClientId::parse(CLIENT).expect("it is an id");
    let of =
        |user: &str, client, errand| Ok(Call::Users { whose: Whose { user: user.into(), client }, errand });
    let subscribe =
        |grant, expires_s, since| Errand::Subscribe { channel: "c".into(), grant, expires_s, since };
    let plain = || subscribe(Grant::default(), None, None);
    let forced = Overrides { force_recovery: Some(true), presence: Some(false), ..Overrides::default() };
    let table = [
        (r#""user":"42","channel":"c""#.to_owned(), of("42", None, plain())),
        (format!(r#""client":"{CLIENT}","channel":"c","session":"""#), of("", Some(id), plain())),
        (
            r#""user":"42","channel":"c","info":{"a":1},"data":[1],"expire_at":7"#.to_owned(),
            of(
                "42",
                None,
                subscribe(
                    Grant {
                        info: Some(Arc::new(json(r#"{"a":1}"#))),
                        data: Some(json("[1]")),
                        ..Grant::default()
                    },
                    Some(7),
                    None,
                ),
            ),
        ),
        (
            r#""user":"42","channel":"c","info":1,"b64info":"/wA=","b64data":"aGk=","expire_at":0"#
                .to_owned(),
            of(
                "42",
                None,
                subscribe(
                    Grant {
                        info: Some(Arc::new(Payload::Binary([0xFF, 0].into()))),
                        data: Some(json(r#""hi""#)),
                        ..Grant::default()
                    },
                    None,
                    None,
                ),
            ),
        ),
        (
            r#""user":"42","channel":"c","recover_since":{"offset":3,"epoch":"e"},
               "override":{"force_recovery":{"value":true},"presence":{"value":false},"join_leave":{}}"#
                .to_owned(),
            of(
                "42",
                None,
                subscribe(
                    Grant { overrides: forced, ..Grant::default() },
                    None,
                    Some(Position { offset: 3, epoch: "e".into() }),
                ),
            ),
        ),
    ];
    for (params, want) in table {
        assert_eq!(in_both_styles("subscribe", &format!("{{{params}}}")), want, "{params}");
    }
    let unsubscribe = |channel: &str| of("42", None, Errand::Unsubscribe { channel: channel.into() });
    assert_eq!(in_both_styles("unsubscribe", r#"{"user":"42","channel":"c"}"#), unsubscribe("c"));
    assert_eq!(in_both_styles("unsubscribe", r#"{"user":"42"}"#), unsubscribe(""));
    let expired = Errand::Disconnect { whitelist: Box::default(), disconnect: Disconnect::Expired };
    let refresh = |expires_s, info| of("42", None, Errand::Refresh { expires_s, info });
    let table = [
        ("", refresh(None, None)),
        (r#","expire_at":7,"info":1"#, refresh(Some(7), Some(Arc::new(json("1"))))),
        (r#","expired":false,"expire_at":null"#, refresh(None, None)),
        (r#","expired":true,"expire_at":7"#, of("42", None, expired)),
    ];
    for (more, want) in table {
        assert_eq!(in_both_styles("refresh", &format!(r#"{{"user":"42"{more}}}"#)), want, "{more}");
    }
    let long = format!(r#"{{"user":"42","channel":"c","info":"{}"}}"#, "i".repeat(1_023));
    let table = [
        ("subscribe", r#"{"user":"42"}"#, "channel is missing"),
        ("subscribe", r#"{"channel":"c"}"#, "user is missing"),
        (
            "subscribe",
            r#"{"user":"42","channel":"c","expire_at":-1}"#,
            "expire_at must be a Unix time in whole seconds",
        ),
        ("subscribe", r#"{"user":"42","channel":"c","recover_since":7}"#, "recover_since must be an object"),
        (
            "subscribe",
            r#"{"user":"42","channel":"c","recover_since":{"offset":"7"}}"#,
            "recover_since.offset must be a whole number",
        ),
        ("subscribe", r#"{"user":"42","channel":"c","override":[]}"#, "override must be an object"),
        (
            "subscribe",
            r#"{"user":"42","channel":"c","override":{"presence":true}}"#,
            "a setting in override must be an object with a boolean value",
        ),
        (
            "subscribe",
            r#"{"user":"42","channel":"c","b64data":"!"}"#,
            "b64data must be standard base64 with padding",
        ),
        ("subscribe", &long, "info exceeds 1024 bytes"),
        ("unsubscribe", r#"{"channel":"c"}"#, "user is missing"),
        ("unsubscribe", r#"{"user":"42","channel":1}"#, "channel must be a string"),
        ("refresh", "{}", "user is missing"),
        ("refresh", r#"{"user":"42","expired":1}"#, "expired must be true or false"),
        ("refresh", r#"{"user":"42","expire_at":1.5}"#, "expire_at must be a Unix time in whole seconds"),
    ];
    for (method, params, want) in table {
        assert!(bad(want)(in_both_styles(method, params)), "{params}");
    }
    for method in ["subscribe", "unsubscribe", "refresh"] {
        let session = in_both_styles(method, r#"{"user":"42","channel":"c","session":"s"}"#);
        assert_eq!(session, Err(ApiError::NotAvailable { feature: "session" }));
    }
}

#[test]
fn a_publication_may_exclude_a_client() {
    let exclude = ClientId::parse(CLIENT).map(Excluded::Client);
    for (more, exclude) in
        [(format!(r#""exclude":"{CLIENT}""#), exclude), (r#""exclude":"""#.to_owned(), None)]
    {
        let params = format!(r#"{{"channel":"c","data":1,{more}}}"#);
        assert_eq!(
            in_both_styles("publish", &params),
            publish("c", Message { exclude, ..message("1") }),
            "{more}"
        );
    }
    let wrong = r#"{"channel":"c","data":1,"exclude":"42"}"#;
    assert!(bad("exclude must be a client id")(in_both_styles("publish", wrong)));
}

#[test]
fn terms_of_a_publish_are_read() {
    let terms = |terms: Terms| publish("c", Message { terms: Some(Box::new(terms)), ..message("1") });
    let table = [
        (r#""idempotency_key":"k""#, Terms { idempotency_key: Some("k".into()), ..Terms::default() }),
        (r#""version":7"#, Terms { version: 7, ..Terms::default() }),
        (
            r#""version":7,"version_epoch":"e""#,
            Terms { version: 7, version_epoch: "e".into(), ..Terms::default() },
        ),
    ];
    for (more, want) in table {
        let params = format!(r#"{{"channel":"c","data":1,{more}}}"#);
        assert_eq!(in_both_styles("publish", &params), terms(want), "{more}");
    }
    let none = r#"{"channel":"c","data":1,"idempotency_key":"","version":0,"version_epoch":null}"#;
    assert_eq!(in_both_styles("publish", none), publish("c", message("1")));
    let long = "k".repeat(256);
    for name in ["idempotency_key", "version_epoch"] {
        let params = format!(r#"{{"channel":"c","data":1,"{name}":"{long}"}}"#);
        assert!(bad(&format!("{name} exceeds 255 bytes"))(in_both_styles("publish", &params)));
    }
}

#[test]
fn history_is_read() {
    let history = |range| Ok(Call::History { channel: "c".into(), range });
    let since = |offset, epoch: &str| Some(Position { offset, epoch: epoch.into() });
    let table = [
        ("", Range::TOP),
        (r#","limit":0,"since":null,"reverse":false"#, Range::TOP),
        (r#","limit":-1"#, Range { limit: u32::MAX, ..Range::TOP }),
        (r#","limit":5000000000"#, Range { limit: u32::MAX, ..Range::TOP }),
        (r#","limit":7,"reverse":true"#, Range { limit: 7, reverse: true, ..Range::TOP }),
        (r#","since":{"offset":3,"epoch":"e"}"#, Range { since: since(3, "e"), ..Range::TOP }),
        (r#","since":{}"#, Range { since: since(0, ""), ..Range::TOP }),
    ];
    for (more, want) in table {
        assert_eq!(
            in_both_styles("history", &format!(r#"{{"channel":"c"{more}}}"#)),
            history(want),
            "{more}"
        );
    }
    let table = [
        ("{}", "channel is missing"),
        (r#"{"channel":"c","limit":"1"}"#, "limit must be a whole number"),
        (r#"{"channel":"c","since":1}"#, "since must be an object"),
        (r#"{"channel":"c","since":{"offset":-1}}"#, "since.offset must be a whole number"),
        (r#"{"channel":"c","since":{"epoch":1}}"#, "since.epoch must be a string"),
        (r#"{"channel":"c","reverse":1}"#, "reverse must be true or false"),
    ];
    for (params, want) in table {
        assert!(bad(want)(in_both_styles("history", params)), "{params}");
    }
    let presence = in_both_styles("presence", r#"{"channel":"c"}"#);
    assert_eq!(presence, Ok(Call::Presence { channel: "c".into() }));
    let stats = in_both_styles("presence_stats", r#"{"channel":"c"}"#);
    assert_eq!(stats, Ok(Call::PresenceStats { channel: "c".into() }));
    let remove = Ok(Call::HistoryRemove { channel: "c".into() });
    assert_eq!(in_both_styles("history_remove", r#"{"channel":"c"}"#), remove);
    assert!(bad("channel is missing")(in_both_styles("history_remove", "{}")));
}

#[test]
fn channels_and_info_are_read() {
    let channels = |pattern: &str| Ok(Call::Channels { pattern: pattern.into(), users: false });
    assert_eq!(in_both_styles("channels", "{}"), channels(""));
    assert_eq!(in_both_styles("channels", r#"{"pattern":"news:*"}"#), channels("news:*"));
    assert!(bad("pattern must be a string")(in_both_styles("channels", r#"{"pattern":1}"#)));
    let long = format!(r#"{{"pattern":"{}"}}"#, "*".repeat(256));
    assert!(bad("pattern exceeds 255 bytes")(in_both_styles("channels", &long)));
    assert_eq!(in_both_styles("info", "{}"), Ok(Call::Info));
}

#[test]
fn methods_that_are_not_served_say_so() {
    let known = [
        "rpc",
        "batch",
        "map_publish",
        "map_remove",
        "map_read_state",
        "map_read_stream",
        "map_stats",
        "map_clear",
        "shared_poll_publish",
    ];
    for method in known {
        let call = in_both_styles(method, "{}");
        assert!(matches!(call, Err(ApiError::NotAvailable { .. })), "{method}: {call:?}");
        assert_eq!(call.map_err(ApiError::code), Err(108));
    }
}

#[test]
fn t5_13_unknown_methods() {
    for method in ["", "publisj", "Publish", "publish/", "publish%20", "0"] {
        let refused = parse_text(Some(method), "{}");
        assert_eq!(refused, Err(BadBody::UnknownMethod), "{method:?}");
        assert_eq!(refused.map_err(BadBody::status), Err(404));
    }
    for method in [r#""publisj""#, r#""""#, "13", "4294967296"] {
        let batch = parse_text(None, &format!(r#"{{"method":{method},"params":{{}}}}"#)).expect(method);
        assert_eq!(batch.entries, [Entry { id: 0, call: Err(ApiError::MethodNotFound) }], "{method}");
    }
}

#[test]
fn old_methods_have_numbers_and_any_case() {
    let params = r#""params":{"channel":"c","channels":["c"],"data":1,"user":"42"}"#;
    let of = |method: &str| {
        let batch = parse_text(None, &format!("{{{method}{params}}}")).expect(method);
        batch.entries[0].call.clone()
    };
    let named = |name: &str| of(&format!("\"method\":\"{name}\","));
    assert_eq!(of(""), named("publish"));
    assert_eq!(of("\"method\":null,"), named("publish"));
    assert_eq!(named("PUBLISH"), named("publish"));
    assert_eq!(named("Broadcast"), named("broadcast"));
    let numbered =
        ["publish", "broadcast", "unsubscribe", "disconnect", "presence", "presence_stats", "history"];
    let more = ["history_remove", "channels", "info", "rpc", "subscribe", "refresh"];
    for (number, name) in numbered.iter().chain(&more).enumerate() {
        assert_eq!(of(&format!("\"method\":{number},")), named(name), "{name}");
    }
    assert!(matches!(named("publish"), Ok(Call::Publish { .. })));
    assert!(matches!(named("info"), Ok(Call::Info)));
}

#[test]
fn several_commands_keep_their_order_and_ids() {
    let publish_1 = r#"{"id":1,"method":"publish","params":{"channel":"a","data":1}}"#;
    let info = r#"{"method":"info"}"#;
    let broken = r#"{"id":4294967295,"method":"channels","params":[]}"#;
    for separator in ["", "\n", " \r\n\r\n", "\n\n"] {
        let body = [publish_1, info, broken].join(separator);
        let batch = parse_text(None, &format!("{separator}{body}{separator}")).expect(&body);
        let reason = BadRequest::Type { field: "params", want: "an object" };
        let want = [
            Entry { id: 1, call: publish("a", message("1")) },
            Entry { id: 0, call: Ok(Call::Info) },
            Entry { id: u32::MAX, call: Err(ApiError::BadRequest { reason }) },
        ];
        assert_eq!((batch.style, &batch.entries[..]), (Style::Commands, &want[..]), "{separator:?}");
    }
}

#[test]
fn t5_13_bodies_that_are_not_calls() {
    let deep = format!(r#"{{"channel":"c","data":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    type Row<'a> = (&'a str, fn(&BadBody) -> bool);
    let table: [Row<'_>; 9] = [
        ("", |error| *error == BadBody::Json(JsonError::Empty)),
        (" \n", |error| *error == BadBody::Json(JsonError::Empty)),
        ("{", |error| matches!(error, BadBody::Json(_))),
        ("channel=c&data=1", |error| matches!(error, BadBody::Json(_))),
        (r#"{"channel":"\ud800"}"#, |error| matches!(error, BadBody::Json(_))),
        ("\u{feff}{}", |error| *error == BadBody::Json(JsonError::ByteOrderMark)),
        ("[]", |error| *error == BadBody::NotAnObject),
        ("\"publish\"", |error| *error == BadBody::NotAnObject),
        (&deep, |error| *error == BadBody::Json(JsonError::TooDeep)),
    ];
    for (body, is_wanted) in table {
        for method in [None, Some("publish")] {
            let error = parse_text(method, body).expect_err(body);
            assert!(is_wanted(&error), "{method:?} {error:?}: {}", &body[..body.len().min(40)]);
            assert_eq!(error.status(), 400);
        }
    }
    // Nothing of a batch is carried out if something in it cannot be read.
    let table = [
        (r#"{"method":"info"}{"id":"1"}"#, BadBody::Id),
        (r#"{"method":"info","id":-1}"#, BadBody::Id),
        (r#"{"method":"info","id":4294967296}"#, BadBody::Id),
        (r#"{"method":["info"]}"#, BadBody::Method),
        (r#"{"method":-1}"#, BadBody::Method),
        (r#"{"method":"info"} 1"#, BadBody::NotAnObject),
        (r#"{"method":"info","method":"info"}"#, BadBody::Json(JsonError::RepeatedName { name: "method" })),
    ];
    for (body, want) in table {
        assert_eq!(parse_text(None, body), Err(want), "{body}");
    }
    assert_eq!(parse_text(None, &"{}".repeat(10_000)).map(|batch| batch.entries.len()), Ok(10_000));
    let many = parse_text(None, &"{}".repeat(10_001));
    assert_eq!(many.map_err(BadBody::status), Err(413));
}

#[test]
fn answers_are_written() {
    let position = Position { offset: 7, epoch: "e\"1".into() };
    let node = NodeInfo {
        uid: "u".into(),
        name: "n".into(),
        version: "0.1.0".into(),
        clients: 1,
        users: 2,
        channels: 3,
        subscriptions: 4,
        uptime_s: 5,
    };
    let missing = ApiError::BadRequest { reason: BadRequest::Missing { field: "data" } };
    let count = |channel: &str, clients| ChannelCount { channel: channel.into(), clients, users: None };
    let table = [
        (Ok(Answer::Published(None)), r#""result":{}"#),
        (Ok(Answer::Published(Some(position.clone()))), r#""result":{"offset":7,"epoch":"e\"1"}"#),
        (Ok(Answer::Broadcast(Vec::new())), r#""result":{"responses":[]}"#),
        (
            Ok(Answer::Broadcast(vec![Ok(None), Err(ApiError::UnknownChannel), Ok(Some(position))])),
            r#""result":{"responses":[{"result":{}},{"error":{"code":102,"message":"unknown channel"}},{"result":{"offset":7,"epoch":"e\"1"}}]}"#,
        ),
        (Ok(Answer::Done), r#""result":{}"#),
        (Ok(Answer::Channels(Vec::new())), r#""result":{"channels":{}}"#),
        (
            Ok(Answer::Channels(vec![count("a", 1), count("b", 20)])),
            r#""result":{"channels":{"a":{"num_clients":1},"b":{"num_clients":20}}}"#,
        ),
        (
            Ok(Answer::Info(vec![node])),
            r#""result":{"nodes":[{"uid":"u","name":"n","version":"0.1.0","num_clients":1,"num_users":2,"num_channels":3,"num_subs":4,"uptime":5}]}"#,
        ),
        (Err(missing), r#""error":{"code":107,"message":"bad request: data is missing"}"#),
    ];
    let mut all = Vec::new();
    let mut lines = Vec::new();
    for (answer, want) in table {
        let mut body = Vec::new();
        append_answer(Style::Method, 0, &answer, &mut body);
        assert_eq!(String::from_utf8(body).expect("text"), format!("{{{want}}}"));
        append_answer(Style::Commands, 3, &answer, &mut all);
        lines.push(format!("{{\"id\":3,{want}}}"));
    }
    append_answer(Style::Commands, 0, &Ok(Answer::Done), &mut all);
    lines.push(r#"{"result":{}}"#.to_owned());
    let all = String::from_utf8(all).expect("text");
    assert_eq!(all, lines.join("\n"));
    for line in all.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    }
}

#[test]
fn errors_have_codes_and_statuses() {
    let reason = BadRequest::Channel;
    let table = [
        (ApiError::Internal, 100, 500, "internal server error"),
        (ApiError::UnknownChannel, 102, 404, "unknown channel"),
        (ApiError::MethodNotFound, 104, 404, "method not found"),
        (ApiError::LimitExceeded, 106, 500, "limit exceeded"),
        (ApiError::BadRequest { reason }, 107, 400, "bad request: the channel's name is empty, "),
        (ApiError::NotAvailable { feature: "delta" }, 108, 400, "not available: delta"),
        (ApiError::TooManyRequests, 111, 500, "too many requests"),
        (ApiError::UnrecoverablePosition, 112, 416, "unrecoverable position"),
        (ApiError::Conflict, 113, 409, "conflict"),
    ];
    for (error, code, status, text) in table {
        assert_eq!((error.code(), error.status()), (code, status), "{error}");
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

proptest! {
    #[test]
    fn no_body_panics(body in any::<Vec<u8>>(), method in prop::option::of("[a-z_]{0,9}")) {
        let _ = parse(method.as_deref(), &body, &mut Json::new(), &limits());
    }

    #[test]
    fn no_text_like_a_call_panics(
        body in r#"(\{|\}|\[|\]|"|:|,|1|null|"id"|"method"|"params"|"channel"|"data"|"publish"|"tags"| ){0,40}"#,
    ) {
        let _ = parse_text(None, &body);
        let _ = parse_text(Some("publish"), &body);
    }
}
