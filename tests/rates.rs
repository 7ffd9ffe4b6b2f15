//! How often clients and users may ask, at several shards.

use std::sync::Arc;

#[path = "support/mod.rs"]
mod support;

use polycast::shard::letter::Order;
use support::{At, Process, at, config};

const NAMESPACES: &str = "[apps.centrifuge]\nping_interval = \"1h\"\n[[apps.namespaces]]\nname = \"\"\n\
    allow_subscribe_for_client = true\nallow_publish_for_client = true\npresence = true\n\
    allow_presence_for_client = true\nhistory_size = 1\nhistory_ttl = \"60s\"\nallow_history_for_client = true";

const A: At = at(0, 0);
const B: At = at(1, 0);
const C: At = at(2, 0);
const D: At = at(2, 1);

fn process(limits: &str) -> Process {
    Process::new(3, &format!("[limits]\nrate_burst = \"1s\"\n{limits}"), NAMESPACES)
}

/// Sends a command so often in both generations' words, and counts what was carried out and what was refused.
fn often(process: &mut Process, at: At, count: usize, command: &str) -> (usize, usize) {
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.extend(process.ask(at, command));
    }
    let refused = |code: &str| answers.iter().filter(|answer| answer.contains(code)).count();
    let too_many = refused("\"code\":111");
    assert_eq!(answers.len(), count, "{answers:?}");
    (count - refused("\"error\""), too_many)
}

fn command(method: &str) -> String {
    format!(r#"{{"id":2,"{method}":{{"channel":"a","data":1}}}}"#)
}

#[test]
fn a_connection_is_bounded_by_kind_and_in_all() {
    let mut process = process(
        "publishes_per_second_max = 3\nhistory_reads_per_second_max = 4\npresence_reads_per_second_max = 5\n\
         commands_per_second_max = 14",
    );
    process.connect(A, r#"{"sub":"42"}"#);
    process.connect(B, r#"{"sub":"42"}"#);
    assert_eq!(often(&mut process, A, 6, &command("publish")), (3, 3));
    assert_eq!(often(&mut process, A, 6, &command("history")), (4, 2));
    assert_eq!(often(&mut process, A, 3, &command("presence")), (3, 0));
    // The number of those present is of the same kind as who they are.
    assert_eq!(often(&mut process, A, 3, &command("presence_stats")), (2, 1));
    // Of all fourteen two are left, whatever they are. What was refused took none.
    let refresh = r#"{"id":2,"unsubscribe":{"channel":"a"}}"#;
    assert_eq!(often(&mut process, A, 3, refresh), (2, 1));
    let refused = r#"{"id":2,"error":{"code":111,"message":"too many requests","temporary":true}}"#;
    assert_eq!(process.ask(A, &command("publish")), [refused]);
    // Another connection, even of the same user, has its own.
    assert_eq!(often(&mut process, B, 6, &command("publish")), (3, 3));
    process.pass(1_000);
    assert_eq!(often(&mut process, A, 6, &command("publish")), (3, 3));
    for at in [A, B] {
        process.leave(at);
    }
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn a_user_is_bounded_over_all_connections_and_shards() {
    let mut process = process("user_publishes_per_second_max = 4\nuser_subscribes_per_second_max = 3");
    for at in [A, B, C] {
        process.connect(at, r#"{"sub":"42"}"#);
    }
    process.connect(D, r#"{"sub":"43"}"#);
    let mut all = (0, 0);
    for _ in 0..3 {
        for at in [A, B, C] {
            let (done, refused) = often(&mut process, at, 1, &command("publish"));
            all = (all.0 + done, all.1 + refused);
        }
    }
    assert_eq!(all, (4, 5));
    assert_eq!(often(&mut process, D, 4, &command("publish")), (4, 0), "another user");
    assert_eq!(often(&mut process, A, 2, &command("history")), (2, 0), "another kind");
    let subscribes = [command("subscribe"), command("unsubscribe")];
    assert_eq!(often(&mut process, A, 1, &subscribes[0]), (1, 0));
    assert_eq!(often(&mut process, B, 1, &subscribes[0]), (1, 0));
    assert_eq!(often(&mut process, A, 1, &subscribes[1]), (1, 0));
    assert_eq!(often(&mut process, A, 1, &subscribes[0]), (0, 1));
    process.pass(500);
    assert_eq!(often(&mut process, C, 3, &command("publish")), (2, 1));
    for at in [A, B, C, D] {
        process.leave(at);
    }
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn commands_that_wait_for_word_keep_their_order() {
    let mut process = process("user_commands_per_second_max = 1000");
    for (at, user) in [(A, "1"), (B, "2"), (C, "3"), (D, "4")] {
        process.connect(at, &format!(r#"{{"sub":"{user}"}}"#));
    }
    for at in [A, B, C, D] {
        let commands = [
            r#"{"id":2,"publish":{"channel":"a","data":1}}"#,
            r#"{"id":3,"subscribe":{"channel":"a"}}"#,
            r#"{"id":4,"publish":{"channel":"a","data":2}}"#,
            r#"{"id":5,"history":{"channel":"a"}}"#,
            r#"{"id":6,"unsubscribe":{"channel":"a"}}"#,
            r#"{"id":7,"subscribe":{"channel":"none:a"}}"#,
        ];
        let told = process.ask(at, &commands.join("\n"));
        let ids = told.iter().filter(|told| told.starts_with("{\"id\"")).map(|told| told[6..7].to_owned());
        assert_eq!(ids.collect::<Vec<_>>(), ["2", "3", "4", "5", "6", "7"], "{told:?}");
    }
    // Whoever goes while its command waits leaves nothing behind.
    process.hold_letters = true;
    for at in [A, B, C, D] {
        process.say(at, &command("publish"));
        process.leave(at);
    }
    process.release_letters();
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn who_goes_on_asking_too_often_is_closed() {
    let mut process = process("publishes_per_second_max = 1\nerrors_in_a_row_max = 10");
    process.connect(A, r#"{"sub":"42"}"#);
    process.ask(A, &command("publish"));
    let told: Vec<_> = (0..10).flat_map(|_| process.ask(A, &command("publish"))).collect();
    assert_eq!(told.iter().filter(|told| told.contains("111")).count(), 9, "{told:?}");
    assert_eq!(told[9], "close 3509 too many errors");
}

#[test]
fn bounds_can_be_set_while_clients_are_connected() {
    let mut process = process("");
    process.connect(A, r#"{"sub":"42"}"#);
    assert_eq!(often(&mut process, A, 20, &command("publish")), (20, 0));
    let bounded = "[limits]\nrate_burst = \"1s\"\npublishes_per_second_max = 2";
    process.order(|| Order::Reload(Arc::clone(&config(bounded, NAMESPACES))));
    assert_eq!(often(&mut process, A, 5, &command("publish")), (2, 3));
    process.order(|| Order::Reload(Arc::clone(&config("", NAMESPACES))));
    assert_eq!(often(&mut process, A, 20, &command("publish")), (20, 0));
    process.leave(A);
    assert_eq!(process.leftovers(), [""; 0]);
}
