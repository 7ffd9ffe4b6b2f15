//! Pings and pongs on a shard that has much else to send.

mod support;

use polycast::shard::input::Input;
use support::{At, Process, at};

const PING: &str = "{}";

fn process() -> Process {
    let app = "[apps.centrifuge]\nping_interval = \"25s\"\npong_timeout = \"8s\"\n\
               [[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_client = true";
    Process::new(1, "", app)
}

fn connected(process: &mut Process) -> At {
    let client = at(0, 1);
    process.connect(client, r#"{"sub":"ada"}"#);
    client
}

/// Lets time pass until a ping lies in the shard's queue.
fn pass_to_the_ping(process: &mut Process) {
    for _ in 0..250 {
        process.pass(100);
        if process.shards[0].has_batches() {
            return;
        }
    }
    panic!("no ping within the interval");
}

#[test]
fn who_was_pinged_and_says_nothing_is_ended() {
    let mut process = process();
    let client = connected(&mut process);
    pass_to_the_ping(&mut process);
    assert_eq!(process.heard(client), [PING]);
    process.pass(7_900);
    assert_eq!(process.heard(client), [""; 0]);
    process.pass(400);
    assert_eq!(process.heard(client), ["close 3012 no pong"]);
}

#[test]
fn the_time_for_a_pong_begins_when_the_ping_leaves() {
    let mut process = process();
    let client = connected(&mut process);
    pass_to_the_ping(&mut process);
    // Ten seconds of sends to others come first.
    process.pass(10_000);
    assert_eq!(process.heard(client), [PING], "it is not ended for what it was never sent");
    process.pass(7_500);
    assert_eq!(process.heard(client), [""; 0]);
    process.say(client, PING);
    process.pass(1_000);
    assert_eq!(process.heard(client), [""; 0]);
}

#[test]
fn a_ping_that_waits_behind_another_batch_is_waited_for_too() {
    let mut process = process();
    let client = connected(&mut process);
    process.say(client, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    process.heard(client);
    process.call(0, "publish", r#"{"channel":"a","data":1}"#);
    // The publication and the ping lie apart, so that they leave one after the other.
    process.pass(25_000);
    let (slot, first) = process.shards[0].next_batch().expect("the publication");
    assert!(first.ends_with(br#"{"push":{"channel":"a","pub":{"data":1}}}"#));
    let length = first.len() as u32;
    process.input(0, Input::Sent { slot, result: Ok(length) });
    process.pass(10_000);
    assert_eq!(process.heard(client), [PING], "it is not ended for what it was never sent");
}

#[test]
fn a_late_ping_is_no_excuse_for_a_dead_peer() {
    let mut process = process();
    let client = connected(&mut process);
    pass_to_the_ping(&mut process);
    process.pass(10_000);
    assert_eq!(process.heard(client), [PING]);
    process.pass(8_400);
    assert_eq!(process.heard(client), ["close 3012 no pong"]);
}

#[test]
fn a_ping_behind_a_send_the_peer_does_not_take_is_waited_for_no_longer() {
    let mut process = process();
    let client = connected(&mut process);
    process.say(client, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    let (slot, _) = process.shards[0].next_batch().expect("the answer");
    assert_eq!(slot, client.slot);
    // The longest time until the first ping, until its pong, and for the close frame to leave.
    process.pass(25_000 + 8_300 + 10_200);
    assert_eq!(process.leftovers(), [""; 0], "it has been closed");
}
