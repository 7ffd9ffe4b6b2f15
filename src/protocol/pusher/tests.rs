use super::*;
use crate::core::command::{Command, Publish, Subscribe};
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::{Body, Event, Subscription};
use crate::core::ids::{ClientId, DecimalId};
use crate::core::publication::{AsText, ClientInfo, Payload, Publication};
use crate::protocol::{Accepted, AppNamed, Codec, PersonError, PersonLimits, UpgradeRequest, Variant};

fn decoded(text: &str) -> Vec<Request> {
    let mut requests = Vec::new();
    decode(Message::Text(&mut text.as_bytes().to_vec()), &mut Json::new(), &mut requests);
    requests
}

fn encoded(event: &Event<'_>) -> String {
    let mut out = Vec::new();
    encode(event, &mut out);
    String::from_utf8(out).expect("JSON")
}

fn json(text: &str) -> Payload {
    Payload::Json(text.as_bytes().into())
}

fn publication(data: &str, as_text: AsText) -> Publication {
    Publication { as_text, ..Publication::plain(json(data), 0) }
}

fn published(channel: &str, publication: &Publication) -> String {
    let mut out = Vec::new();
    Variant::Pusher.encode_publication(channel, publication, 7, Body::Plain, &mut out);
    assert_eq!(Variant::Pusher.publication_channel(&out).as_deref(), Some(channel));
    String::from_utf8(out).expect("JSON")
}

#[test]
fn messages_of_clients_are_read() {
    let subscribe = |channel: &str, auth: &str, data: &str| {
        let (channel, token, about_self) = (channel.into(), auth.into(), data.into());
        let command = Command::Subscribe(Subscribe { channel, token, about_self, ..Subscribe::default() });
        vec![Request { tag: about::SUBSCRIBE, command }]
    };
    let table = [
        (
            r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"public-1"}}"#,
            subscribe("public-1", "", ""),
        ),
        (r#"{"event":"pusher:subscribe","data":{"channel":"pub"}}"#, subscribe("pub", "", "")),
        (
            r#"{"event":"pusher:subscribe","data":{"channel":"p","auth":null,"channel_data":null}}"#,
            subscribe("p", "", ""),
        ),
        (
            r#"{"event":"pusher:subscribe","data":{"auth":"k:ab","channel_data":"{\"user_id\":\"u1\"}","channel":"presence-1"}}"#,
            subscribe("presence-1", "k:ab", r#"{"user_id":"u1"}"#),
        ),
        (r#"{"event":"pusher:subscribe","data":"{\"channel\":\"twice\"}"}"#, subscribe("twice", "", "")),
        (
            r#"{"event":"pusher:unsubscribe","data":{"channel":"a"}}"#,
            vec![Request { tag: 0, command: Command::Unsubscribe { channel: "a".into() } }],
        ),
        (r#"{"event":"pusher:ping","data":{}}"#, vec![Request { tag: 0, command: Command::Ping }]),
        (r#"{"event":"pusher:pong","data":{}}"#, vec![]),
        (
            r#"{"event":"pusher:signin","data":{"auth":"k:ab","user_data":"{}"}}"#,
            vec![Request {
                tag: about::SIGN_IN,
                command: Command::SignIn { token: "k:ab".into(), about_user: "{}".into() },
            }],
        ),
    ];
    for (text, want) in table {
        assert_eq!(decoded(text), want, "{text}");
    }
}

#[test]
fn client_events_keep_their_data_as_it_was_written() {
    let table = [
        (r#"{"t":1}"#, r#"{"t":1}"#, AsText::Verbatim),
        ("5", "5", AsText::Verbatim),
        (r#""text""#, r#""text""#, AsText::Verbatim),
        (r#""{\"a\": 1}""#, r#"{"a": 1}"#, AsText::Quoted),
        (r#""5""#, "5", AsText::Quoted),
        (r#""\"s\"""#, r#""s""#, AsText::Quoted),
        (r#""[1,\n2]""#, "[1, 2]", AsText::Own("[1,\n2]".into())),
        (r#""""#, r#""""#, AsText::Verbatim),
    ];
    for (written, data, as_text) in table {
        let text = format!(r#"{{"event":"client-x","channel":"private-1","data":{written}}}"#);
        let want = Publish {
            channel: "private-1".into(),
            data: json(data),
            as_text: as_text.clone(),
            event: Some("client-x".into()),
            to_others: true,
        };
        let want = Request { tag: about::CLIENT_EVENT, command: Command::Publish(want) };
        assert_eq!(decoded(&text), [want], "{written}");
        let sent = Publication { event: Some("client-x".into()), ..publication(data, as_text) };
        assert_eq!(
            published("private-1", &sent),
            format!(r#"{{"event":"client-x","channel":"private-1","data":{written}}}"#),
        );
    }
    let absent = decoded(r#"{"event":"client-x","channel":"private-1"}"#);
    let [Request { command: Command::Publish(absent), .. }] = &absent[..] else { panic!("{absent:?}") };
    assert_eq!((&absent.data, &absent.as_text), (&json("null"), &AsText::Verbatim));
}

#[test]
fn what_is_no_message_is_refused_and_ends_nothing() {
    let table = [
        ("", about::OTHER, ClientError::BadRequest),
        ("hello", about::OTHER, ClientError::BadRequest),
        ("[]", about::OTHER, ClientError::BadRequest),
        (r#"{"data":{}}"#, about::OTHER, ClientError::BadRequest),
        (r#"{"event":5}"#, about::OTHER, ClientError::BadRequest),
        (r#"{"event":"pusher:ping","event":"pusher:ping"}"#, about::OTHER, ClientError::BadRequest),
        (r#"{"event":"pusher:subscribe"}"#, about::SUBSCRIBE, ClientError::BadRequest),
        (r#"{"event":"pusher:subscribe","data":{"channel":""}}"#, about::SUBSCRIBE, ClientError::BadRequest),
        (r#"{"event":"pusher:subscribe","data":{"channel":1}}"#, about::SUBSCRIBE, ClientError::BadRequest),
        (
            r#"{"event":"pusher:subscribe","data":{"channel":"a","auth":1}}"#,
            about::SUBSCRIBE,
            ClientError::BadRequest,
        ),
        (
            r#"{"event":"pusher:subscribe","data":{"channel":"a","channel_data":{}}}"#,
            about::SUBSCRIBE,
            ClientError::BadRequest,
        ),
        (r#"{"event":"pusher:subscribe","data":"no"}"#, about::SUBSCRIBE, ClientError::BadRequest),
        (r#"{"event":"pusher:signin","data":[]}"#, about::SIGN_IN, ClientError::BadRequest),
        (r#"{"event":"client-x"}"#, about::CLIENT_EVENT, ClientError::BadRequest),
        (r#"{"event":"x","channel":"private-a"}"#, about::CLIENT_EVENT, ClientError::MethodNotFound),
        (r#"{"event":"pusher:x","channel":"private-a"}"#, about::CLIENT_EVENT, ClientError::MethodNotFound),
        (
            r#"{"event":"pusher_internal:member_added","channel":"presence-a","data":"{}"}"#,
            about::CLIENT_EVENT,
            ClientError::MethodNotFound,
        ),
    ];
    for (text, tag, error) in table {
        assert_eq!(decoded(text), [Request { tag, command: Command::Refuse(error) }], "{text}");
    }
    let mut requests = Vec::new();
    decode(Message::Binary(&mut b"{}".to_vec()), &mut Json::new(), &mut requests);
    assert_eq!(requests, [Request { tag: 0, command: Command::Refuse(ClientError::BadRequest) }]);
}

#[test]
fn the_server_says_what_clients_know() {
    let client = ClientId([0; 16]);
    let decimal = Some(DecimalId { first: 123, second: 456 });
    let connected = Event::Connected {
        tag: 0,
        client,
        decimal,
        expires_in_s: None,
        ping_interval_s: 120,
        data: None,
        subscriptions: &[],
    };
    let subscribed = Event::Subscribed { tag: 1, channel: "public-1", subscription: Subscription::default() };
    let refused = |tag, channel, error, reason| Event::Refused { tag, channel, error, reason };
    let ended = Disconnect::UnknownApp;
    let normal = Disconnect::Normal;
    let table = [
        (
            connected,
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"123.456\",\"activity_timeout\":120}"}"#,
        ),
        (
            subscribed,
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"public-1","data":"{}"}"#,
        ),
        (Event::Pong { tag: 0 }, r#"{"event":"pusher:pong","data":"{}"}"#),
        (
            Event::SignedIn { tag: 3, about_user: r#"{"id":"u1"}"# },
            r#"{"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"u1\\\"}\"}"}"#,
        ),
        (
            refused(about::SUBSCRIBE, Some("private-x"), ClientError::PermissionDenied, None),
            r#"{"event":"pusher:subscription_error","channel":"private-x","data":"{\"type\":\"AuthError\",\"error\":\"permission denied\",\"status\":401}"}"#,
        ),
        (
            refused(about::SUBSCRIBE, Some("private-x"), ClientError::PermissionDenied, Some("why")),
            r#"{"event":"pusher:subscription_error","channel":"private-x","data":"{\"type\":\"AuthError\",\"error\":\"permission denied: why\",\"status\":401}"}"#,
        ),
        (
            refused(about::SUBSCRIBE, Some("x"), ClientError::AlreadySubscribed, None),
            r#"{"event":"pusher:error","data":{"code":null,"message":"Existing subscription to channel x"}}"#,
        ),
        (
            refused(about::CLIENT_EVENT, Some("x"), ClientError::TooManyRequests, None),
            r#"{"event":"pusher:error","data":{"code":4301,"message":"the client event was rejected because it exceeds the rate limit"}}"#,
        ),
        (
            refused(about::OTHER, None, ClientError::BadRequest, None),
            r#"{"event":"pusher:error","data":{"code":null,"message":"the message is not one of this protocol"}}"#,
        ),
        (
            Event::Ended { disconnect: &ended },
            r#"{"event":"pusher:error","data":{"code":4001,"message":"no app has this key"}}"#,
        ),
        (Event::Ended { disconnect: &normal }, ""),
        (Event::Unsubscribed { tag: 0, channel: "x" }, ""),
        (Event::Published { tag: 2, channel: "x" }, ""),
    ];
    for (event, want) in table {
        assert_eq!(encoded(&event), want);
        assert_eq!(publication_channel(want.as_bytes()), None, "{want}");
    }
}

#[test]
fn publications_carry_the_publishers_text() {
    let from = |text: &str| {
        let (data, as_text) = from_text(text, &mut Json::new());
        Publication { data, ..publication("", as_text) }
    };
    // (text that the publisher gave, JSON that others see, data as it is sent)
    let texts = [
        (r#"{"x":1}"#, r#"{"x":1}"#, r#""{\"x\":1}""#),
        ("hello", r#""hello""#, r#""hello""#),
        (r#""hello""#, r#""hello""#, r#""\"hello\"""#),
        ("{\r\n}", "{  }", r#""{\r\n}""#),
        (" 1", "1", r#"" 1""#),
        ("", r#""""#, r#""""#),
        ("\u{e9}\n", "\"\u{e9}\\n\"", "\"\u{e9}\\n\""),
    ];
    for (text, seen, data) in texts {
        let publication = from(text);
        assert_eq!(publication.data, json(seen), "{text:?}");
        let want = format!(r#"{{"event":"message","channel":"c","data":{data}}}"#);
        assert_eq!(published("c", &publication), want);
        let sent = json_of(&published("c", &publication));
        assert_eq!(sent, text, "byte for byte");
    }

    let plain = publication(r#"{"a":[1]}"#, AsText::Quoted);
    let tag = |name: &str, value: &str| (Box::from(name), Box::from(value));
    let somebody = ClientInfo {
        user: "u9".into(),
        client: ClientId([1; 16]),
        connection_info: None,
        channel_info: None,
    };
    let binary = Payload::Binary(b"\xff\xfe"[..].into());
    let table = [
        (
            "another dialect's",
            "c",
            plain.clone(),
            r#"{"event":"message","channel":"c","data":"{\"a\":[1]}"}"#,
        ),
        (
            "named",
            "c",
            Publication { event: Some("ev\"".into()), ..plain.clone() },
            r#"{"event":"ev\"","channel":"c","data":"{\"a\":[1]}"}"#,
        ),
        (
            "named by a tag",
            "c",
            Publication { tags: [tag("a", "b"), tag("event", "t")].into(), ..plain.clone() },
            r#"{"event":"t","channel":"c","data":"{\"a\":[1]}"}"#,
        ),
        (
            "a name of the protocol",
            "c",
            Publication { tags: [tag("event", "pusher:error")].into(), ..plain.clone() },
            r#"{"event":"message","channel":"c","data":"{\"a\":[1]}"}"#,
        ),
        (
            "by a member",
            "presence-c",
            Publication { publisher: Some(somebody.clone()), ..plain.clone() },
            r#"{"event":"message","channel":"presence-c","data":"{\"a\":[1]}","user_id":"u9"}"#,
        ),
        (
            "members are nobody's business elsewhere",
            "private-c",
            Publication { publisher: Some(somebody), ..plain.clone() },
            r#"{"event":"message","channel":"private-c","data":"{\"a\":[1]}"}"#,
        ),
        (
            "bytes",
            "c",
            Publication { data: binary, ..plain },
            r#"{"event":"message","channel":"c","data":"\"//4=\""}"#,
        ),
    ];
    for (name, channel, publication, want) in table {
        assert_eq!(published(channel, &publication), want, "{name}");
    }
}

/// The text in `data` of a message.
fn json_of(message: &str) -> String {
    let mut json = Json::new();
    let value = json.parse(message.as_bytes()).expect("JSON").as_object().expect("an object");
    value.get("data").expect("once").expect("there").as_str().expect("a string").into_owned()
}

#[test]
fn upgrades_are_judged_by_path_and_version() {
    let by_key = |prefix, key| Some(AppNamed::ByKey { prefix, key });
    // (path, query, app, close code)
    let table = [
        ("/app/k", "protocol=7&client=js&version=8.6.0&flash=false", by_key("", "k"), 0),
        ("/app/k", "client=java-client&protocol=5&version=2", by_key("", "k"), 0),
        ("/app/k", "", by_key("", "k"), 0),
        ("/app/k", "client=js", by_key("", "k"), 4008),
        ("/app/k", "version=1", by_key("", "k"), 4008),
        ("/app/k", "protocol=x", by_key("", "k"), 4006),
        ("/app/k", "protocol=", by_key("", "k"), 4006),
        ("/app/k", "protocol=-1", by_key("", "k"), 4006),
        ("/app/k", "protocol=4", by_key("", "k"), 4007),
        ("/app/k", "protocol=8", by_key("", "k"), 4007),
        ("/deep/path/app/k", "protocol=7", by_key("/deep/path", "k"), 0),
        ("/app", "", Some(AppNamed::ByPath), 4005),
        ("/app/", "", Some(AppNamed::ByPath), 4005),
        ("/app/k/x", "", Some(AppNamed::ByPath), 4005),
        ("/", "", None, 0),
        ("/apps/1", "", None, 0),
    ];
    for (path, query, app, code) in table {
        let got = Codec::for_upgrade(&UpgradeRequest { path, query, subprotocols: "" });
        let got = got.map(|accepted| accepted.expect("never refused before the upgrade"));
        assert_eq!(got.as_ref().map(|accepted| accepted.app), app, "{path}?{query}");
        let Some(Accepted { codec, end, .. }) = got else { continue };
        let code_of = |end: &Disconnect| codec.close_frame(end).expect("it has close codes").code;
        assert_eq!(end.as_ref().map_or(0, code_of), code, "{path}?{query}");
    }
}

#[test]
fn channels_have_the_names_that_the_libraries_allow() {
    for name in ["a", "private-A_z-0=@,.;", "presence-1", "#server-to-user-u1", "1"] {
        assert!(is_channel(name), "{name}");
    }
    for name in
        ["", "a:b", "a b", "a/b", "a*", "a>", "..\n", "\u{e9}", "#a", "$a", "#server-to-user-", "a%", "a\0"]
    {
        assert!(!is_channel(name), "{name:?}");
    }
}

#[test]
fn people_are_read() {
    let limits = PersonLimits { id_bytes_max: 4, info_bytes_max: 9 };
    let user = |text: &str| user(text, limits, &mut Json::new());
    let member = |text: &str| member(text, limits, &mut Json::new());
    let named = |id: &str, info: Option<&str>, watches: &[&str]| {
        let watches = watches.iter().map(|user| Box::from(*user)).collect();
        Ok(Person { id: id.into(), info: info.map(json), watches })
    };
    use crate::protocol::Person;
    let users = [
        (r#"{"id":"u1"}"#, named("u1", None, &[])),
        (
            r#"{"id":"u1","user_info":{"n":1},"watchlist":["a","b"]}"#,
            named("u1", Some(r#"{"n":1}"#), &["a", "b"]),
        ),
        (r#"{"id":"u1","user_info":null,"watchlist":null}"#, named("u1", None, &[])),
        (r#"{"id":1}"#, Err(PersonError::Id)),
        (r#"{"id":""}"#, Err(PersonError::Id)),
        (r#"{"id":"a:b"}"#, Err(PersonError::Id)),
        (r#"{"id":"12345"}"#, Err(PersonError::Id)),
        ("{}", Err(PersonError::Id)),
        (r#"{"id":"u1","user_info":"12345678"}"#, Err(PersonError::TooLarge)),
        (r#"{"id":"u1","watchlist":[1]}"#, Err(PersonError::Malformed)),
        (r#"{"id":"u1","watchlist":"a"}"#, Err(PersonError::Malformed)),
        (r#"{"id":"u1","id":"u2"}"#, Err(PersonError::Malformed)),
        ("[]", Err(PersonError::Malformed)),
        ("", Err(PersonError::Malformed)),
    ];
    for (text, want) in users {
        assert_eq!(user(text), want, "{text}");
    }
    let members = [
        (r#"{"user_id":"u 1","user_info":{"n":1}}"#, named("u 1", Some(r#"{"n":1}"#), &[])),
        (r#"{"user_id":10}"#, named("10", None, &[])),
        (r#"{"user_id":"a\u0000"}"#, Err(PersonError::Id)),
        (r#"{"user_id":{}}"#, Err(PersonError::Id)),
        (r#"{"user_id":null}"#, Err(PersonError::Id)),
        (r#"{"user_info":{}}"#, Err(PersonError::Id)),
        (r#"{"user_id":"12345"}"#, Err(PersonError::Id)),
        ("x", Err(PersonError::Malformed)),
    ];
    for (text, want) in members {
        assert_eq!(member(text), want, "{text}");
    }
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    assert_eq!(member(&format!(r#"{{"user_id":"a","user_info":{deep}}}"#)), Err(PersonError::Malformed));
}
