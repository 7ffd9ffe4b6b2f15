//! Subscriptions with something special at a whole shard, without sockets: tokens, expiry, who is there, what a client
//! has from the start.

use std::net::SocketAddr;

use polycast::auth::{Keys, sign};
use polycast::core::ids::Slot;
use polycast::shard::input::Input;

#[path = "../benches/support/mod.rs"]
mod support;

use support::{SECRET, World};

const NAMESPACES: &str = "[[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_client = true\n\
    allow_publish_for_subscriber = true\npresence = true\nallow_presence_for_subscriber = true\njoin_leave = true\n\
    [[apps.namespaces]]\nname = \"kept\"\nallow_subscribe_for_client = true\nallow_publish_for_client = true\n\
    history_size = 3\nhistory_ttl = \"60s\"\nforce_recovery = true\nallow_history_for_subscriber = true\n\
    [[apps.namespaces]]\nname = \"cache\"\nallow_subscribe_for_client = true\nallow_publish_for_client = true\n\
    history_size = 3\nhistory_ttl = \"60s\"\nforce_recovery = true\nforce_recovery_mode = \"cache\"";

const A: Slot = Slot(0);
const B: Slot = Slot(1);

fn world() -> World {
    World::new("", NAMESPACES)
}

fn token(claims: &str) -> String {
    sign(claims.as_bytes(), &Keys::from_bytes(SECRET.as_bytes()).expect("not empty"))
}

fn heard(world: &mut World, slot: Slot) -> Vec<String> {
    world.heard(slot)
}

fn ask(world: &mut World, slot: Slot, command: &str) -> Vec<String> {
    world.say(slot, command);
    heard(world, slot)
}

/// Connects, and returns the answer and the client's id.
fn connect(world: &mut World, slot: Slot, claims: &str, more: &str) -> (Vec<String>, String) {
    world.open(slot, SocketAddr::from(([127, 0, 0, 1], 4_000)));
    world.send_all();
    let answer = ask(world, slot, &format!(r#"{{"id":1,"connect":{{"token":"{}"{more}}}}}"#, token(claims)));
    let id = answer.first().and_then(|text| text.split("\"client\":\"").nth(1)).unwrap_or_default();
    let id = id.split('"').next().unwrap_or_default().to_owned();
    (answer, id)
}

fn now_s(world: &World) -> u64 {
    world.now.unix_ms / 1_000
}

#[test]
fn a_subscription_token_opens_its_channel_for_its_user() {
    let mut world = world();
    let (_, id) = connect(&mut world, A, r#"{"sub":"42"}"#, "");
    let exp = now_s(&world) + 10;
    // (claims, answer)
    let table = [
        (r#"{"channel":"$c","sub":"42","exp":1}"#.to_owned(), "\"code\":109"),
        (format!(r#"{{"channel":"$c","sub":"42","exp":{exp},"expire_at":1}}"#), "\"code\":110"),
        (r#"{"sub":"42"}"#.to_owned(), "\"code\":103"),
        (format!(r#"{{"channel":"$c","sub":"42","client":"{id}","exp":{exp},"data":7}}"#), "\"data\":7"),
        (r#"{"channel":"$c","sub":"42"}"#.to_owned(), "\"code\":105"),
        (r#"{"channel":"$c","sub":"43"}"#.to_owned(), "\"code\":105"),
    ];
    for (claims, want) in table {
        let command = format!(r#"{{"id":2,"subscribe":{{"channel":"$c","token":"{}"}}}}"#, token(&claims));
        let got = ask(&mut world, A, &command);
        assert!(got[0].contains(want), "{claims}: {got:?}");
    }
    let other = token(r#"{"channel":"$d","sub":"43"}"#);
    let got = ask(&mut world, A, &format!(r#"{{"id":3,"subscribe":{{"channel":"$d","token":"{other}"}}}}"#));
    assert_eq!(got, ["close 3500"]);
}

#[test]
fn a_subscription_that_is_not_refreshed_ends() {
    let mut world = world();
    connect(&mut world, A, r#"{"sub":"42"}"#, "");
    let claims = |exp: u64| format!(r#"{{"channel":"$c","sub":"42","exp":{exp}}}"#);
    let exp = now_s(&world) + 10;
    let subscribe = format!(r#"{{"id":2,"subscribe":{{"channel":"$c","token":"{}"}}}}"#, token(&claims(exp)));
    assert!(ask(&mut world, A, &subscribe)[0].contains("\"expires\":true,\"ttl\":10"));
    let refresh =
        format!(r#"{{"id":3,"sub_refresh":{{"channel":"$c","token":"{}"}}}}"#, token(&claims(exp + 5)));
    assert!(ask(&mut world, A, &refresh)[0].contains("\"ttl\":15"));
    let none = r#"{"id":4,"sub_refresh":{"channel":"$c"}}"#;
    assert!(ask(&mut world, A, none)[0].contains("\"code\":107"));
    let strange = r#"{"id":5,"sub_refresh":{"channel":"$d","token":"x"}}"#;
    assert!(ask(&mut world, A, strange)[0].contains("\"code\":103"));
    let mut all = Vec::new();
    for _ in 0..50 {
        world.advance(1_000);
        world.input(Input::Timers { pending_receives: false });
        let messages = heard(&mut world, A);
        if messages.iter().any(|message| message == "{}") {
            world.say(A, "{}");
        }
        all.extend(messages.into_iter().map(|message| (now_s(&world), message)));
    }
    let ends: Vec<_> = all.iter().filter(|(_, message)| message.contains("unsubscribe")).collect();
    assert_eq!(ends.len(), 1, "{all:?}");
    assert!(ends[0].1.contains("2501"), "{ends:?}");
    assert!((exp + 30..=exp + 32).contains(&ends[0].0), "{ends:?}, exp {exp}");
}

#[test]
fn info_is_shown_in_presence_joins_and_publications() {
    let mut world = world();
    connect(&mut world, A, r#"{"sub":"a"}"#, "");
    let join = r#"{"id":2,"subscribe":{"channel":"room","join_leave":true}}"#;
    let got = ask(&mut world, A, join);
    assert!(got.len() == 2 && got[0].contains("\"subscribe\"") && got[1].contains("\"join\""), "{got:?}");
    let (_, id) = connect(&mut world, B, r#"{"sub":"b","info":{"n":1}}"#, "");
    let granted = token(r#"{"channel":"room","sub":"b","info":{"c":2}}"#);
    world.say(B, &format!(r#"{{"id":2,"subscribe":{{"channel":"room","token":"{granted}"}}}}"#));
    let who = format!(r#"{{"user":"b","client":"{id}","conn_info":{{"n":1}},"chan_info":{{"c":2}}}}"#);
    assert_eq!(heard(&mut world, A), [format!(r#"{{"push":{{"channel":"room","join":{{"info":{who}}}}}}}"#)]);
    let presence = ask(&mut world, A, r#"{"id":3,"presence":{"channel":"room"}}"#);
    assert!(presence[0].contains(&format!("\"{id}\":{who}")), "{presence:?}");
    let stats = ask(&mut world, A, r#"{"id":4,"presence_stats":{"channel":"room"}}"#);
    assert!(stats[0].contains(r#""num_clients":2,"num_users":2"#), "{stats:?}");
    world.say(B, r#"{"id":3,"publish":{"channel":"room","data":1}}"#);
    let publication = heard(&mut world, A);
    assert!(publication[0].contains(&who), "{publication:?}");
    world.input(Input::ReceiveEnded { slot: B });
    assert_eq!(
        heard(&mut world, A),
        [format!(r#"{{"push":{{"channel":"room","leave":{{"info":{who}}}}}}}"#)]
    );
    let stats = ask(&mut world, A, r#"{"id":5,"presence_stats":{"channel":"room"}}"#);
    assert!(stats[0].contains(r#""num_clients":1,"num_users":1"#), "{stats:?}");
}

#[test]
fn a_client_has_subscriptions_from_the_start() {
    let mut world = world();
    let claims = r#"{"sub":"42","channels":["room","kept:a"]}"#;
    let (answer, _) = connect(&mut world, A, claims, "");
    assert!(answer[0].contains(r#""room":{}"#) && answer[0].contains(r#""kept:a":{"#), "{answer:?}");
    assert!(ask(&mut world, A, r#"{"id":2,"subscribe":{"channel":"room"}}"#)[0].contains("105"));
    let epoch = answer[0].split("\"epoch\":\"").nth(1).expect("an epoch")[..8].to_owned();
    world.input(Input::ReceiveEnded { slot: A });
    connect(&mut world, B, r#"{"sub":"43"}"#, "");
    for number in 1..=3 {
        ask(&mut world, B, &format!(r#"{{"id":9,"publish":{{"channel":"kept:a","data":{number}}}}}"#));
    }
    // What was missed comes with the answer; what the client may hear it hears, the rest is passed over.
    world.input(Input::Closed { slot: A });
    let more = format!(
        r#","subs":{{"kept:a":{{"recover":true,"offset":1,"epoch":"{epoch}"}},"open":{{}},"$no":{{}}}}"#
    );
    let (answer, _) = connect(&mut world, A, claims, &more);
    let publications = r#""publications":[{"data":2,"info":"#;
    assert!(answer[0].contains(publications) && answer[0].contains("\"recovered\":true"), "{answer:?}");
    assert!(answer[0].contains("\"open\":{}") && !answer[0].contains("$no"), "{answer:?}");
}

#[test]
fn an_unknown_namespace_refuses_the_connect() {
    let mut world = world();
    let (answer, _) = connect(&mut world, A, r#"{"sub":"42","channels":["none:x"]}"#, "");
    assert!(answer[0].contains("\"code\":102"), "{answer:?}");
    let (answer, _) = connect(&mut world, B, r#"{"sub":"42"}"#, r#","subs":{"none:x":{}}"#);
    assert_eq!(answer, ["close 3501"]);
}

#[test]
fn what_comes_along_with_a_refused_connect_is_passed_over() {
    let mut world = world();
    world.open(A, SocketAddr::from(([127, 0, 0, 1], 4_000)));
    world.send_all();
    let connect = format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token(r#"{"sub":"42","exp":1}"#));
    let subscribe = r#"{"id":2,"subscribe":{"channel":"room"}}"#;
    let got = ask(&mut world, A, &format!("{connect}\n{subscribe}"));
    assert!(got.len() == 1 && got[0].contains("\"code\":109"), "{got:?}");
    // What comes after the client could know is another matter.
    assert_eq!(ask(&mut world, A, subscribe), ["close 3501"]);
}

#[test]
fn a_refresh_with_other_channels_sends_the_client_back() {
    // (channels of the first token, of the fresh one, whether the connection goes on)
    let table = [
        (r#"["a","b"]"#, r#"["b","a"]"#, true),
        (r#"["a"]"#, r#"["a","b"]"#, false),
        (r#"["a","b"]"#, r#"["a"]"#, false),
        (r#"["a"]"#, "[]", false),
        ("[]", "[]", true),
        // It has subscribed to that by itself, or was let in on its wish: neither is the token's.
        ("[]", r#"["asked"]"#, true),
        (r#"["a","asked"]"#, r#"["a"]"#, false),
    ];
    let more = format!("[apps.centrifuge]\nuser_subscribe_to_personal = true\n{NAMESPACES}");
    for (before, after, stays) in table {
        let mut world = World::new("", &more);
        let claims = |channels: &str| format!(r#"{{"sub":"42","channels":{channels}}}"#);
        connect(&mut world, A, &claims(before), r#","subs":{"wish":{}}"#);
        if !before.contains("asked") {
            ask(&mut world, A, r#"{"id":2,"subscribe":{"channel":"asked"}}"#);
        }
        let refresh = format!(r#"{{"id":3,"refresh":{{"token":"{}"}}}}"#, token(&claims(after)));
        let got = ask(&mut world, A, &refresh);
        assert_eq!(got == ["close 3010"], !stays, "{before} {after}: {got:?}");
        assert_eq!(got[0].contains("\"refresh\""), stays, "{before} {after}: {got:?}");
    }
}

#[test]
fn presence_shows_what_the_latest_tokens_say() {
    let mut world = world();
    connect(&mut world, A, r#"{"sub":"a"}"#, "");
    ask(&mut world, A, r#"{"id":2,"subscribe":{"channel":"room","join_leave":true}}"#);
    let (_, id) = connect(&mut world, B, r#"{"sub":"b","info":1}"#, "");
    let granted = |info: u8| token(&format!(r#"{{"channel":"room","sub":"b","info":{info}}}"#));
    ask(&mut world, B, &format!(r#"{{"id":2,"subscribe":{{"channel":"room","token":"{}"}}}}"#, granted(2)));
    ask(&mut world, A, r#"{"id":3,"presence_stats":{"channel":"room"}}"#);

    let refresh = format!(r#"{{"id":3,"refresh":{{"token":"{}"}}}}"#, token(r#"{"sub":"b","info":3}"#));
    let again = format!(r#"{{"id":4,"sub_refresh":{{"channel":"room","token":"{}"}}}}"#, granted(4));
    for (command, conn_info, chan_info) in [(refresh, 3, 2), (again, 3, 4)] {
        world.say(B, &command);
        assert_eq!(heard(&mut world, A), [""; 0], "it is no join");
        let presence = ask(&mut world, A, r#"{"id":5,"presence":{"channel":"room"}}"#);
        let who = format!(
            r#""{id}":{{"user":"b","client":"{id}","conn_info":{conn_info},"chan_info":{chan_info}}}"#
        );
        assert!(presence[0].contains(&who), "{presence:?}");
    }
    world.input(Input::ReceiveEnded { slot: B });
    let left = heard(&mut world, A);
    assert!(
        left.len() == 1 && left[0].contains("\"leave\"") && left[0].contains("\"conn_info\":3"),
        "{left:?}"
    );
    let stats = ask(&mut world, A, r#"{"id":6,"presence_stats":{"channel":"room"}}"#);
    assert!(stats[0].contains(r#""num_clients":1,"num_users":1"#), "{stats:?}");
}

#[test]
fn a_user_has_a_channel_of_its_own() {
    let more = format!("[apps.centrifuge]\nuser_subscribe_to_personal = true\n{NAMESPACES}");
    let mut world = World::new("", &more);
    let (answer, _) = connect(&mut world, A, r#"{"sub":"42"}"#, "");
    assert!(answer[0].contains("\"subs\":{\"#42\":{}}"), "{answer:?}");
}

#[test]
fn a_cache_brings_the_latest_publication() {
    let mut world = world();
    connect(&mut world, B, r#"{"sub":"43"}"#, "");
    for number in 1..=2 {
        ask(&mut world, B, &format!(r#"{{"id":9,"publish":{{"channel":"cache:a","data":{number}}}}}"#));
    }
    connect(&mut world, A, r#"{"sub":"42"}"#, "");
    let got = ask(&mut world, A, r#"{"id":2,"subscribe":{"channel":"cache:a","recover":true}}"#);
    assert!(got[0].contains("\"data\":2") && !got[0].contains("\"data\":1"), "{got:?}");
    assert!(got[0].contains("\"recovered\":true"), "{got:?}");
}

#[test]
fn a_cache_may_bring_it_unasked() {
    let more = format!("{NAMESPACES}\nauto_cache_recover = true\n");
    let mut world = World::new("", &more);
    connect(&mut world, B, r#"{"sub":"43"}"#, "");
    connect(&mut world, A, r#"{"sub":"42"}"#, "");
    // Whoever did not ask is not told of a failure, and cannot be refused for it.
    let first = ask(&mut world, A, r#"{"id":2,"subscribe":{"channel":"cache:a","flag":2}}"#);
    assert!(first[0].contains("\"epoch\"") && !first[0].contains("recover\":false"), "{first:?}");
    assert!(!first[0].contains("was_recovering"), "{first:?}");
    let epoch = first[0].split("\"epoch\":\"").nth(1).expect("an epoch")[..8].to_owned();
    ask(&mut world, A, r#"{"id":3,"unsubscribe":{"channel":"cache:a"}}"#);
    for number in 1..=2 {
        ask(&mut world, B, &format!(r#"{{"id":9,"publish":{{"channel":"cache:a","data":{number}}}}}"#));
    }
    let got = ask(&mut world, A, r#"{"id":4,"subscribe":{"channel":"cache:a"}}"#);
    assert!(got[0].contains("\"data\":2") && !got[0].contains("\"data\":1"), "{got:?}");
    assert!(got[0].contains("\"recovered\":true"), "{got:?}");
    // Who says what it has is not sent it once more.
    ask(&mut world, A, r#"{"id":5,"unsubscribe":{"channel":"cache:a"}}"#);
    let more = format!(r#""recover":true,"offset":2,"epoch":"{epoch}""#);
    let got = ask(&mut world, A, &format!(r#"{{"id":6,"subscribe":{{"channel":"cache:a",{more}}}}}"#));
    assert!(got[0].contains("\"recovered\":true") && !got[0].contains("\"data\""), "{got:?}");
    // And for subscriptions that the client did not ask for.
    world.input(Input::ReceiveEnded { slot: B });
    heard(&mut world, B);
    world.input(Input::Closed { slot: B });
    let (answer, _) = connect(&mut world, B, r#"{"sub":"43","channels":["cache:a"]}"#, "");
    assert!(answer[0].contains("\"data\":2"), "{answer:?}");
}

/// Two clients in a channel whose position is watched: one that asked to be there, and one that was put there.
fn watched() -> World {
    let quiet = "[apps.centrifuge]\nping_interval = \"3600s\"\nchannel_position_check_delay = \"20s\"\n";
    let mut world = World::new("", &format!("{quiet}{NAMESPACES}"));
    connect(&mut world, A, r#"{"sub":"42"}"#, "");
    ask(&mut world, A, r#"{"id":2,"subscribe":{"channel":"kept:a"}}"#);
    connect(&mut world, B, r#"{"sub":"43","channels":["kept:a"]}"#, "");
    world
}

fn wait_for_check(world: &mut World, ms: u64) {
    world.advance(ms);
    world.input(Input::Timers { pending_receives: false });
}

#[test]
fn a_lost_publication_is_found_in_a_quiet_channel() {
    let mut world = watched();
    world.loses_deliveries = true;
    for number in 1..=2 {
        world.say(A, &format!(r#"{{"id":9,"publish":{{"channel":"kept:a","data":{number}}}}}"#));
    }
    world.loses_deliveries = false;
    let before = heard(&mut world, A);
    assert!(before.iter().all(|message| !message.contains("push")), "{before:?}");
    // Perhaps they are only late: until the next time.
    wait_for_check(&mut world, 20_000);
    wait_for_check(&mut world, 19_000);
    assert_eq!(heard(&mut world, A), [""; 0]);
    wait_for_check(&mut world, 1_000);
    let heard_by = world.all_heard();
    for slot in [A, B] {
        let messages = &heard_by[&slot.0];
        let is = |message: &str, offset: u64| message.contains(&format!("\"offset\":{offset}"));
        assert!(messages.len() == 2 && is(&messages[0], 1) && is(&messages[1], 2), "{messages:?}");
    }
    // Nothing is wrong any more, however often it is looked.
    for _ in 0..3 {
        wait_for_check(&mut world, 20_000);
    }
    assert!(world.all_heard().is_empty());
    for slot in [A, B] {
        world.input(Input::ReceiveEnded { slot });
        heard(&mut world, slot);
        world.close(slot);
    }
    assert!(world.leftovers().is_empty(), "{:?}", world.leftovers());
}

#[test]
fn a_stream_that_began_anew_ends_its_subscriptions() {
    let mut world = watched();
    world.engine_restarts();
    wait_for_check(&mut world, 20_000);
    let heard_by = world.all_heard();
    let dropped =
        r#"{"push":{"channel":"kept:a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#;
    assert_eq!(heard_by[&A.0], [dropped]);
    assert_eq!(heard_by[&B.0], ["close 3010"]);
    let again = ask(&mut world, A, r#"{"id":3,"subscribe":{"channel":"kept:a"}}"#);
    assert!(again[0].contains("\"epoch\""), "{again:?}");
}

#[test]
fn history_is_read_by_subscribers() {
    let mut world = world();
    connect(&mut world, A, r#"{"sub":"42"}"#, "");
    for number in 1..=4 {
        ask(&mut world, A, &format!(r#"{{"id":9,"publish":{{"channel":"kept:a","data":{number}}}}}"#));
    }
    let history = |more: &str| format!(r#"{{"id":3,"history":{{"channel":"kept:a"{more}}}}}"#);
    assert!(ask(&mut world, A, &history(""))[0].contains("103"));
    ask(&mut world, A, r#"{"id":2,"subscribe":{"channel":"kept:a"}}"#);
    // (more, offsets)
    let table = [
        ("", vec![]),
        (r#","limit":-1"#, vec![2, 3, 4]),
        (r#","limit":2"#, vec![2, 3]),
        (r#","limit":2,"reverse":true"#, vec![4, 3]),
        (r#","limit":9,"since":{"offset":3}"#, vec![4]),
    ];
    for (more, offsets) in table {
        let answer = ask(&mut world, A, &history(more));
        let answer: serde_json::Value = serde_json::from_str(&answer[0]).expect("JSON");
        let publications = answer["history"]["publications"].as_array().expect("a list");
        let got: Vec<_> = publications.iter().filter_map(|p| p["offset"].as_u64()).collect();
        assert_eq!((got, &answer["history"]["offset"]), (offsets, &4.into()), "{more}");
    }
    assert!(
        ask(&mut world, A, &history(r#","limit":1,"since":{"offset":1,"epoch":"x"}"#))[0].contains("112")
    );
    let none = r#"{"id":4,"history":{"channel":"room"}}"#;
    assert!(ask(&mut world, A, none)[0].contains("108"));
}

#[test]
fn under_the_rules_of_centrifugo_v2_users_may_hear_what_is_not_private() {
    let more = "[apps.centrifuge]\ncompat = \"v2\"\nallow_anonymous_connect_without_token = true\n\
        [[apps.namespaces]]\nname = \"\"\npresence = true\nhistory_size = 1\nhistory_ttl = \"60s\"\n\
        [[apps.namespaces]]\nname = \"server\"\nallow_subscribe_for_client = false";
    let mut world = World::new("", more);
    connect(&mut world, A, r#"{"sub":"42"}"#, "");
    let say =
        |method: &str, channel: &str| format!(r#"{{"id":7,"{method}":{{"channel":"{channel}","data":1}}}}"#);
    // (method, channel, answer)
    let table = [
        ("presence", "news", "\"code\":103"),
        ("history", "news", "\"code\":103"),
        ("subscribe", "news", "\"subscribe\":{"),
        ("presence", "news", "\"presence\":{"),
        ("history", "news", "\"history\":{"),
        ("publish", "news", "\"code\":103"),
        ("subscribe", "dialog#42,43", "\"subscribe\":{"),
        ("subscribe", "dialog#41,43", "\"code\":103"),
        ("subscribe", "$news", "\"code\":103"),
        ("subscribe", "server:a", "\"code\":103"),
        ("subscribe", "none:a", "\"code\":102"),
    ];
    for (method, channel, want) in table {
        let got = ask(&mut world, A, &say(method, channel));
        assert!(got[0].contains(want), "{method} {channel}: {got:?}");
    }
    world.open(B, SocketAddr::from(([127, 0, 0, 1], 4_000)));
    world.send_all();
    ask(&mut world, B, r#"{"id":1,"connect":{}}"#);
    let got = ask(&mut world, B, &say("subscribe", "news"));
    assert!(got[0].contains("\"code\":103"), "who has no user: {got:?}");
}
