//! Pusher clients at a whole shard, without sockets: how connections begin, live and end, and what proves what.

use polycast::auth::pusher::{channel_text, user_text};
use polycast::auth::{PusherKeys, Secret};
use polycast::core::happening::What;
use polycast::core::ids::Slot;
use polycast::shard::input::Input;
use polycast::wire::websocket::leading_frame;

#[path = "../benches/support/mod.rs"]
mod support;

use support::World;

const A: Slot = Slot(0);
const B: Slot = Slot(1);
const C: Slot = Slot(2);

const APP: &str = "key = \"app-key\"\nsecret = \"app-secret\"\n";
const NAMESPACES: &str = "[[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_anonymous = true\n\
    allow_subscribe_for_client = true\nallow_publish_for_subscriber = true\nallow_publish_for_client = true\n";

/// `options` go into `[apps.pusher]`.
fn world(options: &str) -> World {
    World::new("", &format!("{APP}[apps.pusher]\n{options}\n{NAMESPACES}"))
}

/// Everything that waits for one connection, as messages; what waits for others is taken too.
fn heard(world: &mut World, slot: Slot) -> Vec<String> {
    world.input(Input::TurnEnd);
    let mut bytes = Vec::new();
    while let Some((taken, more)) = world.shard.next_batch() {
        if taken == slot {
            bytes.extend_from_slice(more);
        }
        let length = more.len() as u32;
        world.input(Input::Sent { slot: taken, result: Ok(length) });
    }
    let mut messages = Vec::new();
    let mut rest = &bytes[..];
    if rest.starts_with(b"HTTP/") {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        messages.push(String::from_utf8_lossy(&rest[9..12]).into_owned());
        rest = &rest[end + 4..];
    }
    while !rest.is_empty() {
        let Some((length, payload)) = leading_frame(rest) else { break };
        messages.push(match (rest[0] & 15, payload) {
            (8, _) => format!("close {}", u16::from_be_bytes([rest[2], rest[3]])),
            (9, _) => "ping".to_owned(),
            (10, _) => "pong".to_owned(),
            (_, payload) => String::from_utf8_lossy(payload.unwrap_or_default()).into_owned(),
        });
        rest = &rest[length..];
    }
    messages
}

fn ask(world: &mut World, slot: Slot, message: &str) -> Vec<String> {
    world.say(slot, message);
    heard(world, slot)
}

/// Connects, and returns the socket id.
fn connect(world: &mut World, slot: Slot) -> String {
    world.open_at(slot, "/app/app-key?protocol=7&client=js&version=8.6.0&flash=false", "");
    let got = heard(world, slot);
    let [status, established] = &got[..] else { panic!("{got:?}") };
    assert_eq!(status, "101");
    let rest = established.split("\\\"socket_id\\\":\\\"").nth(1).expect("a socket id");
    rest.split('\\').next().expect("its end").to_owned()
}

fn sign(text: &str) -> String {
    let keys = PusherKeys::new("app-key", &Secret::from("app-secret"), None).expect("not empty");
    format!("app-key:{}", keys.sign(text.as_bytes()))
}

/// A subscribe that is signed by the app's backend.
fn subscribe(socket_id: &str, channel: &str, channel_data: &str) -> String {
    let auth = sign(&channel_text(socket_id, channel, channel_data));
    let data = channel_data.replace('"', "\\\"");
    let data = if data.is_empty() { String::new() } else { format!(",\"channel_data\":\"{data}\"") };
    format!(r#"{{"event":"pusher:subscribe","data":{{"auth":"{auth}","channel":"{channel}"{data}}}}}"#)
}

fn succeeded(channel: &str) -> String {
    format!(r#"{{"event":"pusher_internal:subscription_succeeded","channel":"{channel}","data":"{{}}"}}"#)
}

#[test]
fn a_connection_is_greeted_with_an_id_in_digits() {
    let mut world = world("activity_timeout = 7");
    world.open_at(A, "/app/app-key?protocol=7&client=js&version=8.6.0", "");
    let got = heard(&mut world, A);
    assert!(
        got[1].starts_with(r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\""#),
        "{got:?}"
    );
    assert!(got[1].ends_with(r#"\",\"activity_timeout\":7}"}"#), "{got:?}");
    let first = connect(&mut world, B);
    let second = connect(&mut world, C);
    assert_ne!(first, second);
    for id in [first, second] {
        let numbers: Vec<&str> = id.split('.').collect();
        assert_eq!(numbers.len(), 2);
        assert!(
            numbers.iter().all(|digits| digits.parse::<u64>().is_ok_and(|number| number < 1 << 53)),
            "{id}"
        );
    }
    assert_eq!(
        ask(&mut world, A, r#"{"event":"pusher:ping","data":{}}"#),
        [r#"{"event":"pusher:pong","data":"{}"}"#]
    );
    assert_eq!(ask(&mut world, A, r#"{"event":"pusher:pong","data":{}}"#), [""; 0]);
}

#[test]
fn refusals_come_after_the_upgrade() {
    let mut world = World::new(
        "[server]\nallowed_origins = [\"https://good.example\"]",
        &format!(
            "{APP}{NAMESPACES}[[apps]]\nid = \"2\"\nkey = \"off\"\nsecret = \"s\"\n[apps.pusher]\nenabled = false"
        ),
    );
    // (target, headers, code; 0: accepted)
    let table = [
        ("/app/app-key?protocol=7", "", 0),
        ("/app/app-key", "", 0),
        ("/app/app-key?protocol=5&client=java-client&version=1", "", 0),
        ("/app/nobodys?protocol=7", "", 4001),
        ("/app/off?protocol=7", "", 4003),
        ("/app/app-key/more", "", 4005),
        ("/app/app-key?protocol=seven", "", 4006),
        ("/app/app-key?protocol=%g0", "", 4006),
        ("/app/app-key?protocol=%37", "", 4006),
        ("/app/app-key?protocol=4", "", 4007),
        ("/app/app-key?client=js&version=1", "", 4008),
        ("/app/app-key?protocol=7", "Origin: https://good.example\r\n", 0),
        ("/app/app-key?protocol=7", "Origin: https://bad.example\r\n", 4009),
        ("/app/app-key?protocol=7", "Origin: null\r\n", 4009),
    ];
    for (place, (target, headers, code)) in table.into_iter().enumerate() {
        let slot = Slot(place as u32);
        world.open_at(slot, target, headers);
        let got = heard(&mut world, slot);
        assert_eq!(got[0], "101", "{target}");
        if code == 0 {
            assert!(got[1].contains("connection_established"), "{target}: {got:?}");
            continue;
        }
        let error = format!(r#"{{"event":"pusher:error","data":{{"code":{code},"message":"#);
        assert!(got[1].starts_with(&error), "{target}: {got:?}");
        assert_eq!(got[2..], [format!("close {code}")], "{target}");
    }
    let elsewhere = ["/elsewhere/app/app-key?protocol=7", "/elsewhere/app/nobodys?protocol=7", "/elsewhere"];
    for (slot, target) in (90..).map(Slot).zip(elsewhere) {
        world.open_at(slot, target, "");
        assert_eq!(heard(&mut world, slot)[0], "404", "{target}");
    }
}

#[test]
fn a_path_prefix_stands_before_the_endpoint() {
    let mut world = world("path_prefix = \"/real/time\"");
    for (slot, target, status) in [(A, "/real/time/app/app-key", "101"), (B, "/app/app-key", "404")] {
        world.open_at(slot, target, "");
        assert_eq!(heard(&mut world, slot)[0], status, "{target}");
    }
}

#[test]
fn silence_is_asked_about_and_ends_a_connection() {
    let mut world = world("activity_timeout = 10\npong_timeout = 2");
    connect(&mut world, A);
    connect(&mut world, B);
    let (mut pings, mut end) = (0, 0);
    for second in 1..60 {
        world.advance(1_000);
        if second % 4 == 0 && second < 30 {
            ask(&mut world, B, r#"{"event":"pusher:ping","data":{}}"#);
        }
        world.input(Input::Timers { pending_receives: false });
        let got = heard(&mut world, A);
        pings += got.iter().filter(|message| *message == "ping").count();
        if got.iter().any(|message| message == "close 4201") {
            end = second;
            break;
        }
    }
    assert_eq!(pings, 1, "asked once");
    assert!((7..=13).contains(&end), "after one silence and the time for the answer: {end}");
    // Who speaks is not asked.
    assert_eq!(ask(&mut world, B, r#"{"event":"pusher:ping","data":{}}"#).len(), 1);
}

#[test]
fn a_dead_connection_that_had_spoken_is_found_too() {
    let mut world = world("activity_timeout = 10\npong_timeout = 2");
    connect(&mut world, A);
    let mut all = Vec::new();
    for second in 0..40 {
        world.advance(1_000);
        if second == 3 {
            all.extend(ask(&mut world, A, r#"{"event":"pusher:ping","data":{}}"#));
        }
        world.input(Input::Timers { pending_receives: false });
        all.extend(heard(&mut world, A));
    }
    let ends = all.iter().filter(|message| message.starts_with("close")).collect::<Vec<_>>();
    assert_eq!(ends, ["close 4201"]);
}

#[test]
fn signatures_open_channels() {
    let mut world = world("");
    let id = connect(&mut world, A);
    let other = connect(&mut world, B);
    assert_eq!(ask(&mut world, A, &subscribe(&id, "private-a", "")), [succeeded("private-a")]);
    // The libraries sign channel_data for private channels too.
    assert_eq!(ask(&mut world, A, &subscribe(&id, "private-b", r#"{"x":1}"#)), [succeeded("private-b")]);
    assert_eq!(
        ask(&mut world, A, r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"public-1"}}"#),
        [succeeded("public-1")]
    );
    let again = ask(&mut world, A, r#"{"event":"pusher:subscribe","data":{"channel":"public-1"}}"#);
    let existing = r#"{"event":"pusher:error","data":{"code":null,"message":"Existing subscription to channel public-1"}}"#;
    assert_eq!(again, [existing]);
    let signed = subscribe(&id, "private-c", "");
    let table = [
        ("another connection's", subscribe(&other, "private-c", ""), "private-c"),
        ("another channel's", signed.replace("\"private-c\"", "\"private-d\""), "private-d"),
        (
            "no signature",
            r#"{"event":"pusher:subscribe","data":{"channel":"private-c"}}"#.into(),
            "private-c",
        ),
        ("another app's key", signed.replace("app-key:", "key:"), "private-c"),
        ("no colon", signed.replace("app-key:", ""), "private-c"),
        ("other channel_data", subscribe(&id, "private-c", r#"{"x":1}"#).replace("1", "2"), "private-c"),
    ];
    for (name, message, channel) in table {
        let got = ask(&mut world, A, &message);
        let want = format!(
            r#"{{"event":"pusher:subscription_error","channel":"{channel}","data":"{{\"type\":\"AuthError\","#
        );
        assert!(got.len() == 1 && got[0].starts_with(&want), "{name}: {got:?}");
        assert!(got[0].ends_with(r#"\"status\":401}"}"#), "{name}: {got:?}");
        assert!(!got[0].contains(&id), "what had to be signed is said only to developers: {got:?}");
    }
    for channel in ["private-a:b", "a b", "Private-a", " private-a", "a/b", "$a", "#a", "#server-to-user-u1"]
    {
        let got = ask(&mut world, A, &subscribe(&id, channel, ""));
        assert!(got.len() == 1 && got[0].contains("subscription_error"), "{channel}: {got:?}");
    }
    let long = ask(&mut world, A, &subscribe(&id, &format!("private-{}", "x".repeat(193)), ""));
    assert!(long[0].contains("subscription_error"), "{long:?}");
}

#[test]
fn a_developer_is_told_what_had_to_be_signed() {
    let mut world = world("debug = true");
    let id = connect(&mut world, A);
    let wrong = subscribe("1.1", "private-a", "");
    let got = ask(&mut world, A, &wrong);
    assert!(got[0].contains(&format!("{id}:private-a")), "{got:?}");
    let right = sign(&channel_text(&id, "private-a", ""));
    assert!(
        !got[0].contains("app-secret") && !got[0].contains(right.split(':').nth(1).expect("a signature"))
    );
    let got =
        ask(&mut world, A, r#"{"event":"pusher:signin","data":{"auth":"app-key:00","user_data":"{}"}}"#);
    assert!(got[0].contains(&format!("{id}::user::{{}}")), "{got:?}");
}

#[test]
fn client_events_reach_the_others() {
    let mut world = world("");
    let ids = [A, B].map(|slot| connect(&mut world, slot));
    for (slot, id) in [A, B].into_iter().zip(&ids) {
        ask(&mut world, slot, &subscribe(id, "private-a", ""));
        ask(&mut world, slot, r#"{"event":"pusher:subscribe","data":{"channel":"public"}}"#);
    }
    let event = r#"{"event":"client-x","channel":"private-a","data":{"t":1}}"#;
    world.say(A, event);
    assert_eq!(heard(&mut world, B), [event]);
    assert_eq!(ask(&mut world, A, event), [""; 0], "the sender hears nothing of its own");
    heard(&mut world, B);
    // (message, part of the answer)
    let table = [
        (r#"{"event":"x","channel":"private-a","data":1}"#, "names of client events begin with client-"),
        (r#"{"event":"client-x","channel":"public","data":1}"#, "private and presence channels"),
        (
            r#"{"event":"client-x","channel":"private-b","data":1}"#,
            "connection not subscribed to channel private-b",
        ),
        (r#"{"event":"pusher_internal:member_added","channel":"private-a","data":"{}"}"#, "unknown event"),
    ];
    for (message, want) in table {
        let got = ask(&mut world, A, message);
        assert!(got.len() == 1 && got[0].contains(want), "{message}: {got:?}");
        assert!(got[0].starts_with(r#"{"event":"pusher:error","data":{"code":4301,"#), "{got:?}");
        assert_eq!(heard(&mut world, B), [""; 0], "{message}");
    }
    let large = format!(r#"{{"event":"client-x","channel":"private-a","data":"{}"}}"#, "x".repeat(10_240));
    assert!(ask(&mut world, A, &large)[0].contains("too large"));
    let name = format!(r#"{{"event":"client-{}","channel":"private-a","data":1}}"#, "x".repeat(194));
    assert!(ask(&mut world, A, &name)[0].contains("too large"));
    world.advance(1_000);
    let mut passed = 0;
    for _ in 0..15 {
        let got = ask(&mut world, A, event);
        passed += usize::from(got.is_empty());
        assert!(got.is_empty() || got[0].contains("rate limit"), "{got:?}");
    }
    assert_eq!(passed, 10);
    world.advance(1_000);
    assert_eq!(ask(&mut world, A, event), [""; 0], "the next second is another");
}

#[test]
fn client_events_can_be_switched_off() {
    let mut world = world("client_events = false");
    let id = connect(&mut world, A);
    ask(&mut world, A, &subscribe(&id, "private-a", ""));
    let got = ask(&mut world, A, r#"{"event":"client-x","channel":"private-a","data":1}"#);
    assert!(got[0].contains("4301") && got[0].contains("switched on"), "{got:?}");
}

#[test]
fn who_proves_nothing_in_time_is_sent_away() {
    let mut world = world("authorized_connections = true\nauthorized_connections_timeout = \"5s\"");
    let ids = [A, B, C].map(|slot| connect(&mut world, slot));
    ask(&mut world, B, &subscribe(&ids[1], "private-a", ""));
    let user = r#"{"id":"u1"}"#;
    let auth = sign(&user_text(&ids[2], user));
    let got = ask(
        &mut world,
        C,
        &format!(r#"{{"event":"pusher:signin","data":{{"auth":"{auth}","user_data":"{{\"id\":\"u1\"}}"}}}}"#),
    );
    assert!(got[0].starts_with(r#"{"event":"pusher:signin_success""#), "{got:?}");
    ask(&mut world, A, r#"{"event":"pusher:subscribe","data":{"channel":"public"}}"#);
    world.advance(6_000);
    world.input(Input::Timers { pending_receives: false });
    assert_eq!(heard(&mut world, A).last().map(String::as_str), Some("close 4009"));
    for slot in [B, C] {
        assert_eq!(ask(&mut world, slot, r#"{"event":"pusher:ping","data":{}}"#).len(), 1);
    }
}

#[test]
fn only_errors_in_a_row_end_a_connection() {
    let options = format!("{APP}[apps.pusher]\nclient_events_per_second = 2\n{NAMESPACES}");
    let mut world = World::new("[limits]\nerrors_in_a_row_max = 4", &options);
    let ids = established(&mut world, &[A, B]);
    ask(&mut world, A, &subscribe(&ids[0], "private-a", ""));
    let event = r#"{"event":"client-x","channel":"private-a","data":1}"#;
    for round in 0..4 {
        let told: Vec<String> = (0..4).flat_map(|_| ask(&mut world, A, event)).collect();
        assert_eq!(told.len(), 2, "two are taken, {round}: {told:?}");
        assert!(told.iter().all(|told| told.contains("4301")), "{told:?}");
        world.advance(1_000);
    }
    // Too much at once may come again.
    let told: Vec<String> = (0..6).flat_map(|_| ask(&mut world, A, event)).collect();
    assert_eq!(told.last().map(String::as_str), Some("close 4100"), "{told:?}");
    // What was wrong would be wrong again.
    let wrong = r#"{"event":"pusher:subscribe","data":{"auth":"app-key:00","channel":"private-a"}}"#;
    let told: Vec<String> = (0..4).flat_map(|_| ask(&mut world, B, wrong)).collect();
    assert_eq!(told.last().map(String::as_str), Some("close 4009"), "{told:?}");
}

#[test]
fn users_sign_in() {
    let mut world = world("");
    let id = connect(&mut world, A);
    let signin = |id: &str, data: &str| {
        let auth = sign(&user_text(id, data));
        let data = data.replace('"', "\\\"");
        format!(r#"{{"event":"pusher:signin","data":{{"auth":"{auth}","user_data":"{data}"}}}}"#)
    };
    let own = r##"{"event":"pusher:subscribe","data":{"auth":"","channel":"#server-to-user-u1"}}"##;
    assert!(ask(&mut world, A, own)[0].contains("subscription_error"));
    let success = r#"{"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"u1\\\"}\"}"}"#;
    for _ in 0..2 {
        assert_eq!(ask(&mut world, A, &signin(&id, r#"{"id":"u1"}"#)), [success]);
    }
    let other = ask(&mut world, A, &signin(&id, r#"{"id":"u2"}"#));
    assert!(other.len() == 1 && other[0].contains("another user's already"), "{other:?}");
    assert_eq!(ask(&mut world, A, own), [succeeded("#server-to-user-u1")]);
    let foreign = own.replace("u1", "u2");
    assert!(ask(&mut world, A, &foreign)[0].contains("subscription_error"));
    for (slot, data) in [(B, r#"{"id":7}"#), (C, "x")] {
        let id = connect(&mut world, slot);
        let got = ask(&mut world, slot, &signin(&id, data));
        assert_eq!(got.last().map(String::as_str), Some("close 4009"), "{got:?}");
    }
    let slot = Slot(3);
    connect(&mut world, slot);
    let got = ask(&mut world, slot, &signin("1.1", r#"{"id":"u1"}"#));
    assert_eq!(got.last().map(String::as_str), Some("close 4009"), "{got:?}");
}

fn established(world: &mut World, slots: &[Slot]) -> Vec<String> {
    slots.iter().map(|slot| connect(world, *slot)).collect()
}

fn presence(channel: &str, ids: &[&str], hash: &str) -> String {
    let quoted: Vec<String> = ids.iter().map(|id| format!("\\\"{id}\\\"")).collect();
    let (ids, count) = (quoted.join(","), ids.len());
    let hash = hash.replace('"', "\\\"");
    let data = format!(r#"{{\"presence\":{{\"ids\":[{ids}],\"hash\":{{{hash}}},\"count\":{count}}}}}"#);
    format!(r#"{{"event":"pusher_internal:subscription_succeeded","channel":"{channel}","data":"{data}"}}"#)
}

fn member(event: &str, data: &str) -> String {
    let data = data.replace('"', "\\\"");
    format!(r#"{{"event":"pusher_internal:member_{event}","channel":"presence-a","data":"{data}"}}"#)
}

#[test]
fn members_are_users_however_many_clients_they_have() {
    let mut world = world("");
    let d = Slot(3);
    let ids = established(&mut world, &[A, B, C, d]);
    let ann = r#"{"user_id":"u1","user_info":{"name":"Ann"}}"#;
    let bob = r#"{"user_id":2}"#;
    let got = ask(&mut world, A, &subscribe(&ids[0], "presence-a", ann));
    assert_eq!(got, [presence("presence-a", &["u1"], r#""u1":{"name":"Ann"}"#)]);
    // The user's second client sees the first one's information and is no news.
    let again = r#"{"user_id":"u1","user_info":{"name":"Ann again"}}"#;
    let got = ask(&mut world, B, &subscribe(&ids[1], "presence-a", again));
    assert_eq!(got, [presence("presence-a", &["u1"], r#""u1":{"name":"Ann"}"#)]);
    assert_eq!(heard(&mut world, A), [""; 0]);

    world.say(C, &subscribe(&ids[2], "presence-a", bob));
    assert_eq!(heard(&mut world, A), [member("added", r#"{"user_id":"2"}"#)]);
    let event = r#"{"event":"client-x","channel":"presence-a","data":{"t":1},"user_id":"forged"}"#;
    world.say(C, event);
    assert_eq!(heard(&mut world, A), [event.replace("forged", "2")]);

    // Who signed in needs no channel_data.
    let user = r#"{"id":"u4","user_info":7}"#;
    let auth = sign(&user_text(&ids[3], user));
    let data = user.replace('"', "\\\"");
    ask(
        &mut world,
        d,
        &format!(r#"{{"event":"pusher:signin","data":{{"auth":"{auth}","user_data":"{data}"}}}}"#),
    );
    let got = ask(&mut world, d, &subscribe(&ids[3], "presence-a", ""));
    assert_eq!(got, [presence("presence-a", &["u1", "2", "u4"], r#""u1":{"name":"Ann"},"2":{},"u4":7"#)]);

    heard(&mut world, A);
    let leave = r#"{"event":"pusher:unsubscribe","data":{"channel":"presence-a"}}"#;
    world.say(B, leave);
    assert_eq!(heard(&mut world, A), [""; 0], "one client of the user is left");
    world.input(Input::ReceiveEnded { slot: C });
    assert_eq!(heard(&mut world, A), [member("removed", r#"{"user_id":"2"}"#)]);
    world.say(A, leave);
    assert_eq!(heard(&mut world, d), [member("removed", r#"{"user_id":"u1"}"#)]);
    world.say(d, leave);
    let got = ask(&mut world, A, &subscribe(&ids[0], "presence-a", ann));
    assert_eq!(got, [presence("presence-a", &["u1"], r#""u1":{"name":"Ann"}"#)], "nobody is left behind");
    for slot in [A, B, d] {
        world.input(Input::ReceiveEnded { slot });
    }
    for slot in [A, B, C, d] {
        world.close(slot);
    }
    assert_eq!(world.leftovers(), [""; 0]);
}

#[test]
fn who_cannot_be_a_member_is_told_why() {
    let mut world = world("presence_members_limit = 2\npresence_user_max_size = 8\nuser_id_max_length = 4");
    let ids = established(&mut world, &[A, B, C]);
    // (channel_data, part of the answer)
    let table = [
        ("", "neither channel_data nor a signed-in user"),
        ("x", "not JSON of the right form"),
        (r#"{"user_info":1}"#, "the user's id is missing"),
        (r#"{"user_id":"12345"}"#, "too long"),
        (r#"{"user_id":"1","user_info":"1234567"}"#, "LimitReached"),
    ];
    for (data, want) in table {
        let got = ask(&mut world, A, &subscribe(&ids[0], "presence-a", data));
        assert!(got.len() == 1 && got[0].contains("pusher:subscription_error"), "{data}: {got:?}");
        assert!(got[0].contains(want), "{data}: {got:?}");
    }
    for (slot, user) in [(A, "1"), (B, "2")] {
        let data = format!(r#"{{"user_id":"{user}"}}"#);
        assert!(
            ask(&mut world, slot, &subscribe(&ids[slot.0 as usize], "presence-a", &data))[0]
                .contains("succeeded")
        );
    }
    let got = ask(&mut world, C, &subscribe(&ids[2], "presence-a", r#"{"user_id":"3"}"#));
    assert!(got[0].contains("LimitReached") && got[0].contains("4100"), "{got:?}");
    let got = ask(&mut world, C, &subscribe(&ids[2], "presence-a", r#"{"user_id":"2"}"#));
    assert!(got[0].contains("succeeded"), "a user who is there already is no further one: {got:?}");
}

#[test]
fn cache_channels_tell_their_last_event() {
    let mut world = world("cache_ttl = \"10s\"");
    let ids = established(&mut world, &[A, B, C]);
    let name: std::sync::Arc<str> = "private-cache-a".into();
    let miss = r#"{"event":"pusher:cache_miss","channel":"private-cache-a","data":"{}"}"#;
    let got = ask(&mut world, A, &subscribe(&ids[0], &name, ""));
    assert_eq!(got, [succeeded(&name), miss.to_owned()]);
    // What clients say is not remembered.
    ask(&mut world, A, r#"{"event":"client-x","channel":"private-cache-a","data":1}"#);
    assert_eq!(ask(&mut world, B, &subscribe(&ids[1], &name, "")), [succeeded(&name), miss.to_owned()]);
    world.publish(&name, &support::publication(3));
    let event = r#"{"event":"message","channel":"private-cache-a","data":"\"x\""}"#;
    assert_eq!(heard(&mut world, B), [event]);
    assert_eq!(ask(&mut world, C, &subscribe(&ids[2], &name, "")), [succeeded(&name), event.to_owned()]);
    // Also where nobody listens, and for its time only.
    let quiet: std::sync::Arc<str> = "cache-quiet".into();
    world.publish(&quiet, &support::publication(3));
    let plain = r#"{"event":"pusher:subscribe","data":{"channel":"cache-quiet"}}"#;
    let event = event.replace("private-cache-a", "cache-quiet");
    assert_eq!(ask(&mut world, A, plain), [succeeded(&quiet), event]);
    world.advance(10_000);
    let got = ask(&mut world, B, plain);
    assert_eq!(got, [succeeded(&quiet), miss.replace("private-cache-a", "cache-quiet")]);
}

/// What a cache channel has to tell may be the end of who does not read: of its subscription nothing is left then.
#[test]
fn the_last_event_may_be_too_much() {
    let options = format!(
        "{APP}[apps.pusher]\nqueue_max_size = 4096\n{NAMESPACES}presence = true\nallow_presence_for_client = true\n"
    );
    let mut world = World::new("", &options);
    connect(&mut world, A);
    world.publish(&"cache-a".into(), &support::publication(5_000));
    let got = ask(&mut world, A, r#"{"event":"pusher:subscribe","data":{"channel":"cache-a"}}"#);
    assert_eq!(got.last().map(String::as_str), Some("close 4100"), "{got:?}");
    world.input(Input::ReceiveEnded { slot: A });
    world.close(A);
    assert_eq!(world.leftovers(), [""; 0]);
    centrifuge(&mut world, B, "bob");
    let got = ask(&mut world, B, r#"{"id":2,"presence":{"channel":"cache-a"}}"#);
    assert_eq!(got, [r#"{"id":2,"presence":{"presence":{}}}"#]);
    assert_eq!(world.shard.snapshot().slow_consumers, 1);
}

#[test]
fn a_backend_is_told_that_nothing_is_cached() {
    let mut world =
        world("[[apps.pusher.webhooks]]\nurl = \"http://127.0.0.1:1/\"\nevent_types = [\"cache_miss\"]");
    connect(&mut world, A);
    let plain = r#"{"event":"pusher:subscribe","data":{"channel":"cache-a"}}"#;
    ask(&mut world, A, plain);
    let told: Vec<_> =
        world.happened.drain(..).map(|happening| (happening.channel, happening.what)).collect();
    assert_eq!(told, [("cache-a".into(), What::CacheMiss)]);
    ask(&mut world, A, r#"{"event":"pusher:unsubscribe","data":{"channel":"cache-a"}}"#);
    world.publish(&"cache-a".into(), &support::publication(3));
    ask(&mut world, A, plain);
    assert_eq!(world.happened, []);
}

#[test]
fn subscribers_are_told_how_many_they_are() {
    let mut world = world("subscription_count = true");
    let ids = established(&mut world, &[A, B]);
    let plain = r#"{"event":"pusher:subscribe","data":{"channel":"public"}}"#;
    let count = |n| {
        format!(
            r#"{{"event":"pusher_internal:subscription_count","channel":"public","data":"{{\"subscription_count\":{n}}}"}}"#
        )
    };
    assert_eq!(ask(&mut world, A, plain), [succeeded("public"), count(1)]);
    world.say(B, plain);
    assert_eq!(heard(&mut world, A), [count(2)]);
    world.say(B, r#"{"event":"pusher:unsubscribe","data":{"channel":"public"}}"#);
    assert_eq!(heard(&mut world, A), [count(1)]);
    let got = ask(&mut world, B, &subscribe(&ids[1], "presence-a", r#"{"user_id":"1"}"#));
    assert_eq!(got.len(), 1, "members are told of members: {got:?}");
    let auth = sign(&user_text(&ids[0], r#"{"id":"u1"}"#));
    let data = format!(r#"{{"auth":"{auth}","user_data":"{{\"id\":\"u1\"}}"}}"#);
    let got = ask(&mut world, A, &format!(r#"{{"event":"pusher:signin","data":{data}}}"#));
    assert!(got.len() == 1 && got[0].contains("signin_success"), "users are not counted: {got:?}");
}

/// A Centrifuge client.
fn centrifuge(world: &mut World, slot: Slot, user: &str) {
    world.client(slot, user, 0);
}

#[test]
fn both_dialects_hear_each_other() {
    let mut world = world("");
    let ids = established(&mut world, &[A]);
    centrifuge(&mut world, B, "bob");
    ask(&mut world, A, r#"{"event":"pusher:subscribe","data":{"channel":"chat"}}"#);
    ask(&mut world, B, r#"{"id":2,"subscribe":{"channel":"chat"}}"#);
    world.say(B, r#"{"id":3,"publish":{"channel":"chat","data":{"a":1}}}"#);
    assert_eq!(heard(&mut world, A), [r#"{"event":"message","channel":"chat","data":"{\"a\":1}"}"#]);

    // A name that needs a proof needs it of everybody.
    let got = ask(&mut world, B, r#"{"id":4,"subscribe":{"channel":"private-a"}}"#);
    assert!(got[0].contains("\"code\":103"), "{got:?}");
    let keys = polycast::auth::Keys::from_bytes(support::SECRET.as_bytes()).expect("not empty");
    let token = |channel: &str| {
        polycast::auth::sign(format!(r#"{{"sub":"bob","channel":"{channel}"}}"#).as_bytes(), &keys)
    };
    ask(&mut world, A, &subscribe(&ids[0], "private-a", ""));
    let command =
        format!(r#"{{"id":5,"subscribe":{{"channel":"private-a","token":"{}"}}}}"#, token("private-a"));
    assert!(ask(&mut world, B, &command)[0].contains("\"subscribe\":{}"));
    world.say(A, r#"{"event":"client-x","channel":"private-a","data":{"t":1}}"#);
    let got = heard(&mut world, B);
    assert!(
        got[0].contains(r#""pub":{"data":{"t":1},"#) && got[0].contains(r#""tags":{"event":"client-x"}"#),
        "{got:?}"
    );

    // One list of who is there.
    let ann = r#"{"user_id":"ann","user_info":{"n":1}}"#;
    ask(&mut world, A, &subscribe(&ids[0], "presence-a", ann));
    let command =
        format!(r#"{{"id":6,"subscribe":{{"channel":"presence-a","token":"{}"}}}}"#, token("presence-a"));
    world.say(B, &command);
    assert_eq!(heard(&mut world, A), [member("added", r#"{"user_id":"bob"}"#)]);
    let id = connect(&mut world, C);
    let got = ask(&mut world, C, &subscribe(&id, "presence-a", r#"{"user_id":"c"}"#));
    assert_eq!(got, [presence("presence-a", &["ann", "bob", "c"], r#""ann":{"n":1},"bob":{},"c":{}"#)]);
    heard(&mut world, A);
    world.say(B, r#"{"id":7,"unsubscribe":{"channel":"presence-a"}}"#);
    assert_eq!(heard(&mut world, A), [member("removed", r#"{"user_id":"bob"}"#)]);
}
