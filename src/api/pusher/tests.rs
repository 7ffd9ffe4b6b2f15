use proptest::prelude::*;

use super::*;
use crate::api::call::{
    Answer, ApiError, BadRequest, ChannelCount, Errand, Excluded, Message, Occupancy, Whose,
};
use crate::auth::PusherKeys;
use crate::auth::secret::Secret;
use crate::config::Config;
use crate::core::disconnect::Disconnect;
use crate::core::ids::{ClientId, DecimalId};
use crate::core::publication::{AsText, ClientInfo, Payload};
use crate::wire::json::Json;

/// An app with small limits.
fn config() -> Config {
    let text = r#"
        [limits]
        publication_bytes_max = 1024
        [[apps]]
        id = "1"
        key = "app-key"
        secret = "app-secret-that-is-long-enough-to-not-warn"
        [apps.pusher]
        event_name_max_length = 20
        event_data_max_size = 500
        event_channels_limit = 3
        batch_limit = 2
        channel_max_length = 30
    "#;
    Config::load(text, [], &mut |_| Ok(Vec::new())).expect("valid")
}

fn target(endpoint: Endpoint, parameters: &str, body: &[u8]) -> Result<Target, Refusal> {
    let keys = PusherKeys::new("app-key", &Secret::from("s"), None).expect("not empty");
    let md5 = data_encoding::HEXLOWER.encode(&<md5::Md5 as md5::Digest>::digest(body));
    let query = format!("auth_key=app-key&auth_timestamp=1&auth_version=1.0&body_md5={md5}&{parameters}");
    let pairs: Vec<(&str, &str)> =
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap()).collect();
    let signature = keys.sign(crate::auth::pusher::request_text("POST", "/x", &pairs).as_bytes());
    let query = format!("{query}&auth_signature={signature}");
    let query = Query::read(&query)?;
    let request = Request { method: "POST", paths: &["/x"], now_s: 1, window_s: 1 };
    Target::read(endpoint, &query, authenticate(&query, &request, &keys)?)
}

fn work(endpoint: Endpoint, parameters: &str, body: &str) -> Result<Work, Refusal> {
    let config = config();
    let app = &config.apps[0];
    let options = app.pusher.as_ref().expect("on");
    let terms = Terms { app, options, limits: &config.limits };
    parse(target(endpoint, parameters, body.as_bytes())?, body.as_bytes(), terms, &mut Json::new())
}

fn message(name: &str, data: &str, as_text: AsText) -> Message {
    Message {
        data: Payload::Json(data.as_bytes().into()),
        as_text,
        event: Some(name.into()),
        tags: Box::default(),
        delta: false,
        terms: None,
        exclude: None,
    }
}

fn id(first: u64, second: u64) -> Option<Excluded> {
    Some(Excluded::Decimal(DecimalId { first, second }))
}

fn names(channels: &[&str]) -> Vec<Box<str>> {
    channels.iter().map(|channel| Box::from(*channel)).collect()
}

fn occupancy(channel: &str, users: bool) -> Call {
    Call::Occupancy { channel: channel.into(), users, latest: false }
}

const COUNTS: Info = Info { user_count: true, subscription_count: true, cache: false };
const CACHE: Info = Info { user_count: false, subscription_count: false, cache: true };
const SUBSCRIPTIONS: Info = Info { user_count: false, subscription_count: true, cache: false };

#[test]
fn events_are_read() {
    let publish = |channels: &[&str], message| {
        Ok(Work { calls: vec![Call::Broadcast { channels: names(channels), message }], shape: Shape::Done })
    };
    let table = [
        // As the libraries send it.
        (
            r#"{"name":"ev","data":"{\"x\":1}","channels":["public-1","presence-1"],"socket_id":"1001.2001"}"#,
            publish(
                &["public-1", "presence-1"],
                Message { exclude: id(1001, 2001), ..message("ev", r#"{"x":1}"#, AsText::Quoted) },
            ),
        ),
        (
            r#"{"name":"e","data":"hi","channel":"a"}"#,
            publish(&["a"], message("e", r#""hi""#, AsText::Verbatim)),
        ),
        (r#"{"name":"e","data":"","channel":"a"}"#, publish(&["a"], message("e", r#""""#, AsText::Verbatim))),
        // A JSON text with line ends is another text than what others are told.
        (
            r#"{"name":"e","data":"[1,\n2]","channel":"a"}"#,
            publish(&["a"], message("e", "[1, 2]", AsText::Own("[1,\n2]".into()))),
        ),
        (
            r#"{"name":"e","data":"\"s\"","channel":"a"}"#,
            publish(&["a"], message("e", r#""s""#, AsText::Quoted)),
        ),
        // Other tools send data that is no string.
        (
            "{\"name\":\"e\",\"data\":{\"x\":\n1},\"channel\":\"a\"}",
            publish(&["a"], message("e", "{\"x\": 1}", AsText::Quoted)),
        ),
        (
            r#"{"name":"e","data":7,"channels":["a"],"info":null,"socket_id":null}"#,
            publish(&["a"], message("e", "7", AsText::Quoted)),
        ),
        // Once, though it is named twice.
        (
            r#"{"name":"e","data":"1","channels":["a","b","a"],"channel":"b"}"#,
            publish(&["a", "b"], message("e", "1", AsText::Quoted)),
        ),
        (
            r##"{"name":"e","data":"1","channels":["#server-to-user-a:b|c"]}"##,
            publish(&["#server-to-user-a:b|c"], message("e", "1", AsText::Quoted)),
        ),
        (
            r#"{"name":"e","data":"1","channels":["private-encrypted-a","b"]}"#,
            publish(&["private-encrypted-a", "b"], message("e", "1", AsText::Quoted)),
        ),
    ];
    for (body, want) in table {
        assert_eq!(work(Endpoint::Events, "", body), want, "{body}");
    }
}

#[test]
fn what_is_asked_with_an_event_is_asked_of_channels_that_have_it() {
    let body =
        r#"{"name":"e","data":"1","channels":["a","presence-b"],"info":"user_count, subscription_count"}"#;
    let asked = vec![(Box::from("a"), SUBSCRIPTIONS), (Box::from("presence-b"), COUNTS)];
    let calls = vec![
        Call::Broadcast { channels: names(&["a", "presence-b"]), message: message("e", "1", AsText::Quoted) },
        occupancy("a", false),
        occupancy("presence-b", true),
    ];
    assert_eq!(work(Endpoint::Events, "", body), Ok(Work { calls, shape: Shape::Event(asked) }));
}

#[test]
fn batches_are_read() {
    let body = r#"{"batch":[{"channel":"c1","name":"e","data":"1"},
        {"channel":"presence-c2","name":"f","data":"s","socket_id":"1.1","info":"user_count"}]}"#;
    let users = Info { user_count: true, subscription_count: false, cache: false };
    let asked = vec![(Box::from("c1"), Info::default()), (Box::from("presence-c2"), users)];
    let calls = vec![
        Call::Publish { channel: "c1".into(), message: message("e", "1", AsText::Quoted) },
        Call::Publish {
            channel: "presence-c2".into(),
            message: Message { exclude: id(1, 1), ..message("f", "\"s\"", AsText::Verbatim) },
        },
        occupancy("presence-c2", true),
    ];
    assert_eq!(work(Endpoint::BatchEvents, "", body), Ok(Work { calls, shape: Shape::Batch(asked) }));
    let plain = r#"{"batch":[{"channel":"c1","name":"e","data":"1"}]}"#;
    let calls = vec![Call::Publish { channel: "c1".into(), message: message("e", "1", AsText::Quoted) }];
    assert_eq!(work(Endpoint::BatchEvents, "", plain), Ok(Work { calls, shape: Shape::Done }));
}

#[test]
fn bad_events_are_refused() {
    let long_data = format!(r#"{{"name":"e","channel":"a","data":"{}"}}"#, "x".repeat(501));
    let long_json = format!(r#"{{"name":"e","channel":"a","data":["{}"]}}"#, "x".repeat(500));
    // Within its own limit, but too long as JSON for others.
    let escaped = format!(r#"{{"name":"e","channel":"a","data":"{}"}}"#, r"\u0001".repeat(300));
    let missing = |field| Refusal::Missing { field };
    let wrong = |field, want| Refusal::Type { field, want };
    let channel = Refusal::Channel { limit: 30 };
    let info = Refusal::Info { known: "user_count, subscription_count and cache, joined by commas" };
    let table = [
        ("", "400 the body is not JSON: no JSON value where one is needed".to_owned()),
        ("[]", wrong("the body", "an object").to_string()),
        (r#"{"data":"1","channel":"a"}"#, missing("name").to_string()),
        (r#"{"name":"","data":"1","channel":"a"}"#, missing("name").to_string()),
        (r#"{"name":1,"data":"1","channel":"a"}"#, wrong("name", "a string").to_string()),
        (
            r#"{"name":"abcdefghijklmnopqrstu","data":"1","channel":"a"}"#,
            "name is longer than 20 characters".into(),
        ),
        (r#"{"name":"pusher:error","data":"1","channel":"a"}"#, Refusal::ReservedName.to_string()),
        (r#"{"name":"pusher_internal:x","data":"1","channel":"a"}"#, Refusal::ReservedName.to_string()),
        (r#"{"name":"e","channel":"a"}"#, missing("data").to_string()),
        (r#"{"name":"e","data":null,"channel":"a"}"#, missing("data").to_string()),
        (&long_data, "413 data exceeds 500 bytes".into()),
        (&long_json, "413 data exceeds 500 bytes".into()),
        (&escaped, "413 data exceeds 1024 bytes".into()),
        (r#"{"name":"e","data":"1"}"#, missing("channels").to_string()),
        (r#"{"name":"e","data":"1","channels":[]}"#, missing("channels").to_string()),
        (r#"{"name":"e","data":"1","channels":"a"}"#, wrong("channels", "an array of strings").to_string()),
        (r#"{"name":"e","data":"1","channels":[1]}"#, wrong("a channel", "a string").to_string()),
        (r#"{"name":"e","data":"1","channels":["a","b","c","d"]}"#, "more than 3 channels".into()),
        (r#"{"name":"e","data":"1","channels":["a","b c"]}"#, channel.to_string()),
        (r#"{"name":"e","data":"1","channel":""}"#, channel.to_string()),
        (r#"{"name":"e","data":"1","channel":"a:b"}"#, channel.to_string()),
        (r#"{"name":"e","data":"1","channel":"Private-a"}"#, channel.to_string()),
        (r##"{"name":"e","data":"1","channel":"#server-to-user-"}"##, channel.to_string()),
        (r##"{"name":"e","data":"1","channel":"a#b"}"##, channel.to_string()),
        (r#"{"name":"e","data":"1","channel":"abcdefghijklmnopqrstuvwxyz01234"}"#, channel.to_string()),
        (r#"{"name":"e","data":"1","channel":"a","socket_id":"1"}"#, Refusal::SocketId.to_string()),
        (r#"{"name":"e","data":"1","channel":"a","socket_id":"1."}"#, Refusal::SocketId.to_string()),
        (r#"{"name":"e","data":"1","channel":"a","socket_id":"1.2:a"}"#, Refusal::SocketId.to_string()),
        (r#"{"name":"e","data":"1","channel":"a","socket_id":1.2}"#, Refusal::SocketId.to_string()),
        (r#"{"name":"e","data":"1","channel":"a","info":"usercount"}"#, info.to_string()),
        (r#"{"name":"e","data":"1","channel":"a","info":1}"#, info.to_string()),
        (
            r#"{"name":"e","name":"f","data":"1","channel":"a"}"#,
            "the body is not JSON: \"name\" occurs twice".into(),
        ),
    ];
    for (body, want) in table {
        let refusal = work(Endpoint::Events, "", body).expect_err(body);
        let (status, text) = want
            .split_once(' ')
            .filter(|(status, _)| status.parse::<u16>().is_ok())
            .unwrap_or(("400", &want));
        assert_eq!(
            (refusal.status().to_string(), refusal.to_string()),
            (status.to_owned(), text.to_owned()),
            "{body}"
        );
    }
}

#[test]
fn one_bad_event_refuses_its_batch() {
    let good = r#"{"channel":"a","name":"e","data":"1"}"#;
    let table = [
        (r#"{}"#.to_owned(), Refusal::Missing { field: "batch" }),
        (r#"{"batch":[]}"#.to_owned(), Refusal::Missing { field: "batch" }),
        (r#"{"batch":{}}"#.to_owned(), Refusal::Type { field: "batch", want: "an array of objects" }),
        (format!(r#"{{"batch":[{good},1]}}"#), Refusal::Type { field: "an event", want: "an object" }),
        (format!(r#"{{"batch":[{good},{{"name":"e","data":"1"}}]}}"#), Refusal::Missing { field: "channel" }),
        (format!(r#"{{"batch":[{good},{{"channel":"b","name":"e"}}]}}"#), Refusal::Missing { field: "data" }),
        (
            format!(r#"{{"batch":[{good},{good},{good}]}}"#),
            Refusal::TooMany { field: "events in one batch", limit: 2 },
        ),
    ];
    for (body, want) in table {
        assert_eq!(work(Endpoint::BatchEvents, "", &body), Err(want), "{body}");
    }
}

#[test]
fn questions_are_read() {
    let one = |call, shape| Ok(Work { calls: vec![call], shape });
    let channels = |pattern: &str, users, prefix: &str, info| {
        one(
            Call::Channels { pattern: pattern.into(), users },
            Shape::Channels { prefix: prefix.into(), info },
        )
    };
    let none = Info::default();
    let channel = |name: &str| Endpoint::Channel(name.into());
    let users = |name: &str| Endpoint::Users(name.into());
    let unknown = Refusal::Info { known: "user_count, subscription_count and cache, joined by commas" };
    let table = [
        (Endpoint::Channels, "", channels("*", false, "", none)),
        (Endpoint::Channels, "filter_by_prefix=a", channels("a*", false, "a", none)),
        (
            Endpoint::Channels,
            "filter_by_prefix=presence-&info=user_count,subscription_count",
            channels("presence-*", true, "presence-", COUNTS),
        ),
        (Endpoint::Channels, "info=user_count", Err(Refusal::NoUserCount)),
        (Endpoint::Channels, "filter_by_prefix=presence&info=user_count", Err(Refusal::NoUserCount)),
        (Endpoint::Channels, "info=members", Err(unknown)),
        (channel("a"), "", one(occupancy("a", false), Shape::Channel(none))),
        (channel("a"), "info=subscription_count", one(occupancy("a", false), Shape::Channel(SUBSCRIPTIONS))),
        (
            channel("presence-a"),
            "info=user_count,subscription_count",
            one(occupancy("presence-a", true), Shape::Channel(COUNTS)),
        ),
        (channel("a"), "info=user_count", Err(Refusal::NoUserCount)),
        (channel("a"), "info=cache", Err(Refusal::NoCache)),
        (Endpoint::Channels, "info=cache", Err(Refusal::NoCache)),
        (channel("a b"), "", Err(Refusal::Channel { limit: 30 })),
        (users("presence-a"), "", one(Call::Presence { channel: "presence-a".into() }, Shape::Users)),
        (users("private-a"), "", Err(Refusal::NotPresence)),
        (Endpoint::Connections, "", one(Call::Connections, Shape::Connections)),
    ];
    for (endpoint, parameters, want) in table {
        assert_eq!(work(endpoint.clone(), parameters, ""), want, "{endpoint:?} {parameters}");
    }
    let terminate = Endpoint::TerminateConnections("u1".into());
    let errand = Errand::Disconnect { whitelist: Box::default(), disconnect: Disconnect::ForceDisconnect };
    let call = Call::Users { whose: Whose { user: "u1".into(), client: None }, errand };
    assert_eq!(work(terminate, "", "{}"), one(call, Shape::Done));
}

fn written(shape: Shape, answers: &[Result<Answer, ApiError>]) -> (u16, String) {
    let mut body = Vec::new();
    let status = append_answers(&shape, answers, &mut body);
    (status, String::from_utf8(body).expect("UTF-8"))
}

#[test]
fn answers_are_written() {
    let told = |subscribers, users| Ok(Answer::Occupancy(Occupancy { subscribers, users, latest: None }));
    let published = || Ok(Answer::Published(None));
    let count = |channel: &str, clients, users| ChannelCount { channel: channel.into(), clients, users };
    let who = |user: &str, client| ClientInfo {
        user: user.into(),
        client: ClientId([client; 16]),
        connection_info: None,
        channel_info: None,
    };
    let asked = vec![(Box::from("a"), SUBSCRIPTIONS), (Box::from("presence-b"), COUNTS)];
    let broken = || Err(ApiError::Internal);
    let error = (500, r#"{"error":"internal server error","code":500}"#);
    let table = [
        (Shape::Done, vec![Ok(Answer::Broadcast(vec![Ok(None)]))], (200, "{}")),
        (Shape::Done, vec![Ok(Answer::Done)], (200, "{}")),
        (Shape::Done, vec![published(), broken()], error),
        (Shape::Done, vec![Ok(Answer::Broadcast(vec![Ok(None), Err(ApiError::Internal)]))], error),
        (
            Shape::Event(asked.clone()),
            vec![Ok(Answer::Broadcast(vec![Ok(None), Ok(None)])), told(1, None), told(3, Some(2))],
            (
                200,
                r#"{"channels":{"a":{"subscription_count":1},"presence-b":{"user_count":2,"subscription_count":3}}}"#,
            ),
        ),
        (
            Shape::Batch(vec![(Box::from("x"), Info::default()), asked[1].clone()]),
            vec![published(), published(), told(3, Some(2))],
            (200, r#"{"batch":[{},{"user_count":2,"subscription_count":3}]}"#),
        ),
        (
            Shape::Channels { prefix: "presence-".into(), info: COUNTS },
            vec![Ok(Answer::Channels(vec![count("presence-a", 3, Some(2)), count("presencf", 1, None)]))],
            (200, r#"{"channels":{"presence-a":{"user_count":2,"subscription_count":3}}}"#),
        ),
        (
            Shape::Channels { prefix: "".into(), info: Info::default() },
            vec![Ok(Answer::Channels(vec![
                count("#server-to-user-1", 1, None),
                count("a", 3, None),
                count("gone", 0, None),
            ]))],
            (200, r#"{"channels":{"a":{}}}"#),
        ),
        (Shape::Channel(Info::default()), vec![told(0, None)], (200, r#"{"occupied":false}"#)),
        (
            Shape::Channel(COUNTS),
            vec![told(3, Some(2))],
            (200, r#"{"occupied":true,"user_count":2,"subscription_count":3}"#),
        ),
        (
            Shape::Channel(CACHE),
            vec![Ok(Answer::Occupancy(Occupancy {
                subscribers: 0,
                users: None,
                latest: Some((r#"{"a":1}"#.into(), 60)),
            }))],
            (200, r#"{"occupied":false,"cache":{"data":"{\"a\":1}","ttl":60}}"#),
        ),
        (Shape::Channel(CACHE), vec![told(1, None)], (200, r#"{"occupied":true,"cache":null}"#)),
        (
            Shape::Users,
            vec![Ok(Answer::Presence(vec![who("1", 1), who("2", 2), who("1", 3), who("", 4)]))],
            (200, r#"{"users":[{"id":"1"},{"id":"2"}]}"#),
        ),
        (Shape::Connections, vec![Ok(Answer::Connections(7))], (200, r#"{"connections":7}"#)),
    ];
    for (shape, answers, (status, body)) in table {
        assert_eq!(written(shape.clone(), &answers), (status, body.to_owned()), "{shape:?}");
    }
}

#[test]
fn refusals_are_written() {
    let mut body = Vec::new();
    assert_eq!(append_refusal(Refusal::DataTooLarge { limit: 10_240 }, &mut body), 413);
    assert_eq!(String::from_utf8_lossy(&body), r#"{"error":"data exceeds 10240 bytes","code":413}"#);
    let failed = Refusal::Failed(ApiError::BadRequest { reason: BadRequest::Refused });
    assert_eq!(failed.status(), 400);
}

proptest! {
    #[test]
    fn no_body_panics(text in r#"[\[\]{}",:a0\\ ]{0,60}"#, is_batch in any::<bool>()) {
        let endpoint = if is_batch { Endpoint::BatchEvents } else { Endpoint::Events };
        let _ = work(endpoint, "", &text);
    }

    #[test]
    fn no_text_like_an_event_panics(
        name in any::<String>(), data in any::<String>(), channel in any::<String>(), socket_id in "[0-9.]{0,30}",
    ) {
        let event = serde_json::json!({ "name": name, "data": data, "channel": channel, "socket_id": socket_id });
        let _ = work(Endpoint::Events, "", &event.to_string());
        let _ = work(Endpoint::BatchEvents, "", &serde_json::json!({ "batch": [event] }).to_string());
    }

    #[test]
    fn no_path_and_no_query_panics(path in "/(apps|users)[a-z0-9/%]{0,30}", query in "[a-z_=&%0-9]{0,60}") {
        let _ = route(&path);
        let _ = Query::read(&query).map(|query| query.value("info").is_some());
    }
}

#[test]
fn a_body_that_was_not_signed_is_refused() {
    let config = config();
    let app = &config.apps[0];
    let terms = Terms { app, options: app.pusher.as_ref().expect("on"), limits: &config.limits };
    let signed = br#"{"name":"e","data":"1","channel":"a"}"#;
    let target = target(Endpoint::Events, "", signed).expect("signed");
    let changed = br#"{"name":"e","data":"1","channel":"b"}"#;
    let refusal = parse(target, changed, terms, &mut Json::new());
    assert_eq!(refusal, Err(Refusal::Unauthorized(Unauthorized::BodyDiffers)));
}
