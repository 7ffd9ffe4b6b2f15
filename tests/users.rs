//! What backends do to users' connections, on all shards and in both generations of the protocol.

#[path = "support/mod.rs"]
mod support;

use polycast::shard::letter::Order;
use support::{At, Process, at, token, token_by};

const NAMESPACES: &str = "[[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_client = true\n\
    allow_publish_for_client = true\npresence = true\nallow_presence_for_client = true\n\
    [[apps.namespaces]]\nname = \"kept\"\nhistory_size = 10\nhistory_ttl = \"60s\"\nallow_recovery = true\n\
    allow_history_for_client = true\nallow_subscribe_for_client = true";

const A: At = at(0, 0);
const B: At = at(1, 0);
const C: At = at(2, 0);
const D: At = at(2, 1);

fn process() -> Process {
    Process::new(3, "", &format!("[apps.centrifuge]\nping_interval = \"1h\"\n{NAMESPACES}"))
}

/// The user 42 on two shards, the second time in the first generation; the user 43 beside it.
fn people(process: &mut Process) -> [String; 3] {
    let first = process.connect(A, r#"{"sub":"42"}"#);
    let second = process.connect_v1(B, r#"{"sub":"42"}"#);
    let other = process.connect(C, r#"{"sub":"43"}"#);
    [first, second, other]
}

#[test]
fn a_subscribed_user_hears_what_is_published_after_the_answer() {
    let mut process = process();
    people(&mut process);
    for (shard, channel) in [(0, "a"), (1, "b"), (2, "c"), (0, "$d"), (1, "e#1")] {
        let params = format!(r#"{{"user":"42","channel":"{channel}","data":{{"hi":1}}}}"#);
        process.call(shard, "subscribe", &params);
        process.call(2, "publish", &format!(r#"{{"channel":"{channel}","data":7}}"#));
        let push = format!(r#"{{"push":{{"channel":"{channel}","subscribe":{{"data":{{"hi":1}}}}}}}}"#);
        let heard = format!(r#"{{"push":{{"channel":"{channel}","pub":{{"data":7}}}}}}"#);
        assert_eq!(process.heard(A), [push, heard], "{channel}");
        let push = format!(r#"{{"result":{{"type":5,"channel":"{channel}","data":{{"data":{{"hi":1}}}}}}}}"#);
        let heard = format!(r#"{{"result":{{"channel":"{channel}","data":{{"data":7}}}}}}"#);
        assert_eq!(process.heard(B), [push, heard], "{channel}");
        // Once more changes nothing.
        process.call(shard, "subscribe", &params);
        assert_eq!(process.heard(A).len() + process.heard(B).len(), 0, "{channel}");
    }
    assert_eq!(process.heard(C), [""; 0], "the other user");
    let again = process.ask(A, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    assert!(again[0].contains("\"code\":105"), "{again:?}");
    let presence = process.ask(A, r#"{"id":3,"presence_stats":{"channel":"a"}}"#);
    assert!(presence[0].contains(r#""num_clients":2,"num_users":1"#), "{presence:?}");
    for at in [A, B, C] {
        process.leave(at);
    }
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn an_unsubscribed_user_is_told_and_hears_nothing_more() {
    let mut process = process();
    let [first, second, _] = people(&mut process);
    for at in [A, C] {
        process.ask(at, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
        process.ask(at, r#"{"id":3,"subscribe":{"channel":"b"}}"#);
    }
    process.ask(B, r#"{"id":2,"method":1,"params":{"channel":"a"}}"#);
    process.call(2, "unsubscribe", &format!(r#"{{"client":"{second}","user":"43","channel":"a"}}"#));
    assert_eq!(process.heard(B), [""; 0], "a client of another user is left alone");
    process.call(2, "unsubscribe", r#"{"user":"42","channel":"a"}"#);
    process.call(2, "unsubscribe", r#"{"user":"42","channel":"a"}"#);
    process.call(2, "publish", r#"{"channel":"a","data":7}"#);
    let push = r#"{"push":{"channel":"a","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#;
    assert_eq!(process.heard(A), [push]);
    assert_eq!(process.heard(B), [r#"{"result":{"type":3,"channel":"a","data":{}}}"#]);
    assert_eq!(process.heard(C), [r#"{"push":{"channel":"a","pub":{"data":7}}}"#]);
    // Without a channel all of them end.
    process.ask(A, r#"{"id":4,"subscribe":{"channel":"a"}}"#);
    process.call(1, "unsubscribe", &format!(r#"{{"client":"{first}"}}"#));
    let told = process.heard(A);
    assert_eq!(told.len(), 2, "{told:?}");
    process.call(1, "broadcast", r#"{"channels":["a","b"],"data":7}"#);
    assert_eq!(process.heard(A), [""; 0]);
    let unknown = process.api(0, "unsubscribe", r#"{"user":"42","channel":"no:a"}"#);
    assert_eq!(unknown["error"]["code"], 102);
}

#[test]
fn what_a_backend_adds_before_the_answer_to_connect_is_part_of_it_or_follows_it() {
    let mut process = process();
    process.open(A);
    process.hold_letters = true;
    let token = token(r#"{"sub":"42","channels":["one","two","three","four"]}"#);
    process.say(A, &format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
    let added: Vec<String> = (0..9).map(|number| format!("srv{number}")).collect();
    // In the old style, where one request has many commands.
    let commands = added
        .iter()
        .map(|channel| format!(r#"{{"method":"subscribe","params":{{"user":"42","channel":"{channel}"}}}}"#));
    process.say_api(0, "", &commands.collect::<Vec<_>>().join("\n"));
    assert_eq!(process.heard(A), [""; 0], "nothing comes before the answer");
    process.release_letters();
    assert_eq!(process.end_api(0).matches(r#"{"result":{}}"#).count(), added.len());
    let told = process.heard(A);
    assert!(told[0].starts_with(r#"{"id":1,"connect":{"#), "{told:?}");
    let of = |channel: &str, told: &str| told.matches(&format!("\"{channel}\"")).count();
    assert!(added.iter().any(|channel| of(channel, &told[0]) == 1), "those whose owner is here: {told:?}");
    assert!(told.len() > 1, "those whose owner is elsewhere: {told:?}");
    for channel in &added {
        assert_eq!(told.iter().map(|told| of(channel, told)).sum::<usize>(), 1, "{channel}: {told:?}");
        process.call(1, "publish", &format!(r#"{{"channel":"{channel}","data":1}}"#));
        let heard = format!(r#"{{"push":{{"channel":"{channel}","pub":{{"data":1}}}}}}"#);
        assert_eq!(process.heard(A), [heard]);
    }
    process.leave(A);
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn a_subscription_under_way_is_ended_too() {
    let mut process = process();
    people(&mut process);
    // Wherever its owner is, one of these subscribes is under way while the backend ends it.
    for at in [A, C] {
        process.hold_letters = true;
        process.say(at, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
        let user = if at == A { "42" } else { "43" };
        process.say_api(1, "unsubscribe", &format!(r#"{{"user":"{user}","channel":"a"}}"#));
        process.release_letters();
        assert!(process.end_api(1).contains("\"result\":{}"));
        let told = process.heard(at);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("\"subscribe\":{}") && told[1].contains("\"code\":2000"), "{told:?}");
        process.call(0, "publish", r#"{"channel":"a","data":1}"#);
        assert_eq!(process.heard(at), [""; 0]);
    }
    for at in [A, B, C] {
        process.leave(at);
    }
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn a_subscription_by_a_backend_recovers_and_expires() {
    let mut process = process();
    people(&mut process);
    for number in 1..=3 {
        process.call(0, "publish", &format!(r#"{{"channel":"kept:a","data":{number}}}"#));
    }
    let epoch = process.api(1, "history", r#"{"channel":"kept:a"}"#)["result"]["epoch"].clone();
    let expire_at = process.now_s() + 30;
    process.call(
        2,
        "subscribe",
        &format!(
            r#"{{"user":"42","channel":"kept:a","recover_since":{{"offset":1,"epoch":{epoch}}},"expire_at":{expire_at}}}"#
        ),
    );
    let told = process.heard(A);
    assert_eq!(told.len(), 3, "{told:?}");
    // Clients count on from the offset they are told.
    assert!(told[0].contains(r#""offset":1,"positioned":true"#), "{told:?}");
    assert!(
        told[1].contains(r#""data":2,"offset":2"#) && told[2].contains(r#""data":3,"offset":3"#),
        "{told:?}"
    );
    let told = process.heard(B);
    assert!(
        told.len() == 3 && told[0].contains("\"type\":5") && told[2].contains("\"offset\":3"),
        "{told:?}"
    );
    // Nobody can refresh it for the client, so its end is that of the connection.
    process.pass(60_000);
    assert!(process.heard(A).iter().any(|told| told == "close 3006 subscription expired"));
    assert!(process.heard(B).iter().any(|told| told.starts_with("close 3006 ")));
    // What cannot be.
    let table = [
        (r#"{"user":"42","channel":"no:a"}"#.to_owned(), 102),
        (format!(r#"{{"user":"42","channel":"a","expire_at":{expire_at}}}"#), 107),
        (r#"{"user":"42","channel":"a b"}"#.to_owned(), 107),
    ];
    for (params, code) in table {
        assert_eq!(process.api(0, "subscribe", &params)["error"]["code"], code, "{params}");
    }
}

#[test]
fn overrides_hold_for_the_subscription() {
    let mut process = process();
    people(&mut process);
    let force = r#""override":{"force_recovery":{"value":true},"presence":{"value":false}}"#;
    process.call(0, "subscribe", &format!(r#"{{"user":"43","channel":"kept:b",{force}}}"#));
    let told = process.heard(C);
    assert!(told[0].contains("\"recoverable\":true") && told[0].contains("\"epoch\""), "{told:?}");
    process.call(0, "subscribe", &format!(r#"{{"user":"43","channel":"hidden",{force}}}"#));
    process.heard(C);
    let stats = process.ask(C, r#"{"id":3,"presence_stats":{"channel":"hidden"}}"#);
    assert!(stats[0].contains("\"num_clients\":0"), "{stats:?}");
}

#[test]
fn a_subscription_over_the_limit_ends_the_connection() {
    let mut process = Process::new(2, "", &format!("[apps.centrifuge]\nchannel_limit = 1\n{NAMESPACES}"));
    process.connect(A, r#"{"sub":"42"}"#);
    process.call(1, "subscribe", r#"{"user":"42","channel":"a"}"#);
    process.call(1, "subscribe", r#"{"user":"42","channel":"b"}"#);
    assert_eq!(process.heard(A).last().map(String::as_str), Some("close 3505 channel limit"));
}

#[test]
fn a_backend_that_asks_while_the_engine_is_away_is_told_so() {
    let mut process = process();
    people(&mut process);
    process.engine_is_down = true;
    let answer = process.api(0, "subscribe", r#"{"user":"42","channel":"a"}"#);
    assert_eq!(answer["error"]["code"], 100, "{answer}");
    process.engine_is_down = false;
    process.call(0, "subscribe", r#"{"user":"42","channel":"a"}"#);
    assert_eq!(process.heard(A).len(), 1);
}

#[test]
fn a_moved_expiry_is_told_and_holds() {
    let mut process = process();
    let [first, second, _] = people(&mut process);
    let expire_at = process.now_s() + 20;
    process.call(2, "refresh", &format!(r#"{{"user":"42","expire_at":{expire_at},"info":{{"n":1}}}}"#));
    assert_eq!(process.heard(A), [r#"{"push":{"refresh":{"expires":true,"ttl":20}}}"#]);
    assert_eq!(process.heard(B), [""; 0], "the first generation has no word for it");
    process.ask(C, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    process.ask(A, r#"{"id":2,"publish":{"channel":"a","data":1}}"#);
    assert!(process.heard(C)[0].contains(r#""conn_info":{"n":1}"#), "who it is to others");
    process.call(2, "refresh", &format!(r#"{{"client":"{first}"}}"#));
    assert_eq!(process.heard(A), [r#"{"push":{"refresh":{}}}"#]);
    process.pass(47_000);
    let of_b = process.heard(B);
    assert!(of_b.iter().any(|told| told.starts_with("close 3005 ")), "{of_b:?}");
    assert!(!process.heard(A).iter().any(|told| told.starts_with("close")));
    process.call(2, "refresh", r#"{"user":"42","expire_at":7}"#);
    assert_eq!(process.heard(A).last().map(String::as_str), Some("close 3005 connection expired"));
    process.call(2, "refresh", r#"{"user":"43","expired":true}"#);
    assert_eq!(process.heard(C).last().map(String::as_str), Some("close 3005 connection expired"));
    process.call(2, "refresh", &format!(r#"{{"client":"{second}"}}"#));
}

#[test]
fn an_excluded_client_does_not_hear_the_publication() {
    let mut process = process();
    let [first, second, _] = people(&mut process);
    process.ask(B, r#"{"id":2,"method":1,"params":{"channel":"kept:a"}}"#);
    for at in [A, C] {
        process.ask(at, r#"{"id":2,"subscribe":{"channel":"kept:a","recoverable":true}}"#);
    }
    for (number, excluded, shard) in [(1, &first, 0), (2, &second, 2), (3, &first, 1)] {
        let params = format!(r#"{{"channels":["kept:a"],"data":{number},"exclude":"{excluded}"}}"#);
        process.call(shard, "broadcast", &params);
    }
    process.call(
        0,
        "publish",
        r#"{"channel":"kept:a","data":4,"exclude":"00000000-0000-0000-0000-000000000000"}"#,
    );
    let numbers = |told: Vec<String>| -> Vec<usize> {
        (1..=4)
            .filter(|number| told.iter().any(|told| told.contains(&format!("\"data\":{number},"))))
            .collect()
    };
    assert_eq!(numbers(process.heard(A)), [2, 4]);
    assert_eq!(numbers(process.heard(B)), [1, 3, 4]);
    assert_eq!(numbers(process.heard(C)), [1, 2, 3, 4]);
    // It is kept for everybody, so whoever recovers gets it too.
    let history = process.ask(A, r#"{"id":3,"history":{"channel":"kept:a","limit":-1}}"#);
    assert_eq!(numbers(history), [1, 2, 3, 4]);
}

#[test]
fn a_refresh_with_other_channels_sends_the_client_back() {
    let refresh = |claims: &str| format!(r#"{{"id":9,"refresh":{{"token":"{}"}}}}"#, token(claims));
    // (claims at first, of the refresh, whether the client stays)
    let table = [
        (r#"{"sub":"42"}"#, r#"{"sub":"42"}"#, true),
        (r#"{"sub":"42","channels":["a","b"]}"#, r#"{"sub":"42","channels":["b","a","a"]}"#, true),
        (r#"{"sub":"42","channels":["a","b"]}"#, r#"{"sub":"42","subs":{"a":{},"b":{"info":1}}}"#, true),
        (r#"{"sub":"42","channels":["a"]}"#, r#"{"sub":"42"}"#, false),
        (r#"{"sub":"42"}"#, r#"{"sub":"42","channels":["a"]}"#, false),
        (r#"{"sub":"42","channels":["a"]}"#, r#"{"sub":"42","channels":["b"]}"#, false),
        (r#"{"sub":"42","subs":{"a":{}}}"#, r#"{"sub":"42","channels":["a","b"]}"#, false),
    ];
    for (first, then, stays) in table {
        let mut process = process();
        process.connect(A, first);
        // Neither what the client asked for nor what a backend added is a matter of the token.
        process.ask(A, r#"{"id":2,"subscribe":{"channel":"own"}}"#);
        process.call(1, "subscribe", r#"{"user":"42","channel":"added"}"#);
        process.heard(A);
        let answer = process.ask(A, &refresh(then));
        let want = if stays { "{\"id\":9,\"refresh\"" } else { "close 3010 insufficient state" };
        assert!(answer[0].starts_with(want), "{first} {then}: {answer:?}");
    }
}

#[test]
fn t3_41_a_refresh_for_another_user_or_too_late() {
    let mut process = process();
    let now_s = process.now_s();
    let valid = format!(r#"{{"sub":"42","exp":{}}}"#, now_s + 60);
    // (claims, answer)
    let table = [
        (r#"{"sub":"43"}"#.to_owned(), "close 3500 "),
        (r#"{"sub":""}"#.to_owned(), "close 3500 "),
        (r#"{"sub":"42","channel":"a"}"#.to_owned(), "close 3500 "),
        (format!(r#"{{"sub":"42","exp":{now_s}}}"#), "close 3005 "),
        (r#"{"sub":"42","expire_at":1}"#.to_owned(), "close 3005 "),
        (valid.clone(), r#"{"id":9,"refresh":{"client":""#),
    ];
    for (claims, want) in table {
        process.connect(A, &valid);
        let refresh = format!(r#"{{"id":9,"refresh":{{"token":"{}"}}}}"#, token(&claims));
        let answer = process.ask(A, &refresh);
        assert!(answer[0].starts_with(want), "{claims}: {answer:?}");
        process.leave(A);
    }
}

#[test]
fn keys_are_rotated_without_a_disconnect() {
    let mut process = process();
    process.connect(A, r#"{"sub":"42"}"#);
    let refresh = |secret: &str| {
        format!(r#"{{"id":9,"refresh":{{"token":"{}"}}}}"#, token_by(secret, r#"{"sub":"42"}"#))
    };
    let with = |current: &str, previous: &str| {
        let text = format!(
            "[[apps]]\nid = \"1\"\ntoken_hmac_secret_key = \"{current}\"\n\
             token_hmac_previous_secret_key = \"{previous}\"\n{NAMESPACES}"
        );
        let mut no_file = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        std::sync::Arc::new(polycast::config::Config::load(&text, [], &mut no_file).expect("valid"))
    };
    let (old, new) = (support::SECRET, "fedcba9876543210fedcba9876543210");
    // Both keys for a while, then the new one alone.
    for (current, previous, good) in [(new, old, vec![old, new]), (new, "", vec![new])] {
        process.order(|| Order::Reload(with(current, previous)));
        assert_eq!(process.heard(A), [""; 0]);
        for secret in good {
            let answer = process.ask(A, &refresh(secret));
            assert!(answer[0].contains("\"refresh\""), "{answer:?}");
        }
    }
    assert_eq!(process.ask(A, &refresh(old)), ["close 3500 invalid token"]);
}

#[test]
fn of_a_users_connections_the_last_one_stays() {
    let more = "[apps.centrifuge]\nuser_subscribe_to_personal = true\nuser_personal_single_connection = true";
    let mut process = Process::new(3, "", &format!("{more}\n{NAMESPACES}"));
    process.connect(A, r#"{"sub":"42"}"#);
    process.connect(C, r#"{"sub":"43"}"#);
    process.connect_v1(B, r#"{"sub":"42"}"#);
    assert_eq!(process.heard(A), ["close 3504 connection limit"]);
    process.connect(D, r#"{"sub":"42"}"#);
    assert_eq!(process.heard(B), [r#"close 3013 {"reason":"connection limit","reconnect":false}"#]);
    assert_eq!(process.heard(C), [""; 0], "another user");
    // The end of the one before says nothing about the last.
    process.leave(A);
    process.leave(B);
    assert!(process.ask(D, r#"{"id":2,"subscribe":{"channel":"a"}}"#)[0].contains("\"subscribe\""));
    // Two at once, at two shards: the letters cross, and exactly one stays.
    for at in [A, B] {
        process.open(at);
        process.hold_letters = true;
        process.say(at, &format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token(r#"{"sub":"42"}"#)));
    }
    process.release_letters();
    let is_closed = |told: Vec<String>| told.iter().any(|told| told.starts_with("close 3504"));
    let (a, b) = (is_closed(process.heard(A)), is_closed(process.heard(B)));
    assert!(a != b, "{a} {b}");
    assert!(is_closed(process.heard(D)));
    for at in [A, B, C, D] {
        process.leave(at);
    }
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn nobody_is_given_the_channel_of_another_user() {
    let mut process = process();
    people(&mut process);
    let own = r##"{"user":"42","channel":"#server-to-user-42"}"##;
    process.call(1, "subscribe", own);
    let answer = process.api(1, "subscribe", &own.replace("to-user-42", "to-user-43"));
    assert_eq!(answer["error"]["code"], 107, "{answer}");
    let claims = r##"{"sub":"42","channels":["#server-to-user-USER"]}"##;
    let (answer, _) = process.try_connect(D, &claims.replace("USER", "43"));
    assert!(answer[0].contains("\"code\":103"), "{answer:?}");
    process.leave(D);
    process.connect(D, &claims.replace("USER", "42"));
}
