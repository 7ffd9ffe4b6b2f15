//! Signed requests of backends that come again, to the same shard and to others.

#[path = "support/mod.rs"]
mod support;

use std::net::SocketAddr;

use md5::{Digest, Md5};
use polycast::auth::pusher::request_text;
use polycast::auth::{PusherKeys, Secret};
use polycast::shard::input::{Entrance, Input, SendFailed};
use polycast::shard::letter::Order;
use support::{At, Process, at, config};

const PATH: &str = "/apps/1/events";
const SHARDS: usize = 3;
const LISTENER: At = at(0, 0);
/// Where backends come in.
const DOORS: [At; SHARDS] = [at(0, 900), at(1, 900), at(2, 900)];

fn settings(replay_cache: usize) -> String {
    format!(
        "key = \"app-key\"\nsecret = \"app-secret\"\n[apps.pusher]\nreplay_cache = {replay_cache}\n\
         [[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_client = true"
    )
}

/// With a client that hears what is published.
fn process(replay_cache: usize) -> Process {
    let mut process = Process::new(SHARDS as u16, "", &settings(replay_cache));
    process.connect(LISTENER, r#"{"sub":"42"}"#);
    process.ask(LISTENER, r#"{"id":2,"subscribe":{"channel":"chat"}}"#);
    for door in DOORS {
        open(&mut process, door);
    }
    process
}

fn open(process: &mut Process, door: At) {
    let peer = SocketAddr::from(([127, 0, 0, 1], 5_000));
    process.input(door.shard, Input::Accepted { slot: door.slot, peer, entrance: Entrance::Http });
}

fn body(number: usize) -> String {
    format!(r#"{{"name":"e","channel":"chat","data":"{number}"}}"#)
}

/// Head and body of a request to publish a number.
fn request(number: usize, signed_s: u64) -> [String; 2] {
    let body = body(number);
    let digest: String = Md5::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let signed_s = signed_s.to_string();
    let parameters = [
        ("auth_key", "app-key"),
        ("auth_timestamp", signed_s.as_str()),
        ("auth_version", "1.0"),
        ("body_md5", digest.as_str()),
    ];
    let keys = PusherKeys::new("app-key", &Secret::from("app-secret"), None).expect("not empty");
    let signature = keys.sign(request_text("POST", PATH, &parameters).as_bytes());
    let query: String = parameters.iter().map(|(name, value)| format!("{name}={value}&")).collect();
    let length = body.len();
    let head = format!(
        "POST {PATH}?{query}auth_signature={signature} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
    );
    [head, body]
}

fn ask(process: &mut Process, door: At, request: &[String]) -> Vec<u16> {
    process.receive(door, request.concat().as_bytes());
    answers(process, door)
}

/// The statuses of the answers that wait for a backend.
fn answers(process: &mut Process, door: At) -> Vec<u16> {
    let text = String::from_utf8(process.bytes(door)).expect("text");
    text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().expect("a status")).collect()
}

/// The numbers that were published.
fn heard(process: &mut Process) -> Vec<usize> {
    let number = |message: &String| message.split("\"data\":").nth(1)?.split(['}', ',']).next()?.parse().ok();
    process.heard(LISTENER).iter().filter_map(number).collect()
}

#[test]
fn t4_02_a_signed_request_is_carried_out_once_whatever_shards_it_comes_to() {
    let mut process = process(1_000);
    let now_s = process.now_s();
    for number in 0..30 {
        let request = request(number, now_s);
        let first = number % SHARDS;
        let got: Vec<Vec<u16>> =
            (0..4).map(|turn| ask(&mut process, DOORS[(first + turn) % SHARDS], &request)).collect();
        assert_eq!(got, [[200], [401], [401], [401]], "{number}");
    }
    assert_eq!(heard(&mut process), (0..30).collect::<Vec<usize>>());
    process.pass(599_000);
    open(&mut process, DOORS[1]);
    open(&mut process, DOORS[2]);
    assert_eq!(ask(&mut process, DOORS[1], &request(7, now_s)), [401]);
    process.pass(2_000);
    assert_eq!(ask(&mut process, DOORS[1], &request(7, now_s)), [401], "its time is over");
    assert_eq!(ask(&mut process, DOORS[2], &request(7, now_s + 601)), [200], "signed anew");
}

#[test]
fn unless_asked_for_it_is_carried_out_as_often_as_it_comes() {
    let mut process = process(0);
    let request = request(1, process.now_s());
    for door in DOORS {
        assert_eq!(ask(&mut process, door, &request), [200]);
    }
    assert_eq!(heard(&mut process), [1, 1, 1]);
}

#[test]
fn requests_behind_one_that_waits_keep_their_order() {
    let mut process = process(1_000);
    let now_s = process.now_s();
    process.hold_letters = true;
    let all: String = (0..9).chain([3]).map(|number| request(number, now_s).concat()).collect();
    process.receive(DOORS[1], all.as_bytes());
    process.release_letters();
    assert_eq!(answers(&mut process, DOORS[1]), [200, 200, 200, 200, 200, 200, 200, 200, 200, 401]);
    assert_eq!(heard(&mut process), (0..9).collect::<Vec<usize>>());
}

#[test]
fn a_body_that_was_not_signed_uses_nothing_up() {
    let mut process = process(1_000);
    for number in 0..9 {
        let [head, right] = request(number, process.now_s());
        let wrong = right.replace("chat", "chut");
        assert_eq!(ask(&mut process, DOORS[0], &[head.clone(), wrong]), [401]);
        assert_eq!(ask(&mut process, DOORS[0], &[head, right]), [200]);
    }
}

#[test]
fn what_was_taken_is_carried_out_though_its_sender_is_gone() {
    let mut process = process(1_000);
    let now_s = process.now_s();
    for number in 0..9 {
        process.hold_letters = true;
        let ahead = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
        process.receive(DOORS[1], (ahead + &request(number, now_s).concat()).as_bytes());
        assert!(process.shards[DOORS[1].shard].next_batch().is_some(), "the first answer leaves");
        process.input(DOORS[1].shard, Input::Sent { slot: DOORS[1].slot, result: Err(SendFailed) });
        process.release_letters();
        open(&mut process, DOORS[1]);
    }
    assert_eq!(heard(&mut process), (0..9).collect::<Vec<usize>>());
}

#[test]
fn a_body_that_comes_late_helps_no_one() {
    let mut process = process(1_000);
    let signed_s = process.now_s();
    let [head, body] = request(1, signed_s);
    assert_eq!(ask(&mut process, DOORS[0], &[head.clone(), body.clone()]), [200]);
    assert_eq!(heard(&mut process), [1]);
    process.pass(599_000);
    open(&mut process, DOORS[1]);
    process.receive(DOORS[1], head.as_bytes());
    process.pass(3_000);
    assert_eq!(ask(&mut process, DOORS[1], &[body]), [401]);
}

#[test]
fn a_reload_forgets_nothing_unless_it_turns_it_off() {
    let mut process = process(1_000);
    let requests: Vec<_> = (0..9).map(|number| request(number, process.now_s())).collect();
    for request in &requests {
        assert_eq!(ask(&mut process, DOORS[0], request), [200]);
    }
    let larger = config("", &settings(2_000));
    process.order(|| Order::Reload(std::sync::Arc::clone(&larger)));
    for request in &requests {
        assert_eq!(ask(&mut process, DOORS[2], request), [401]);
    }
    for replay_cache in [0, 1_000] {
        let other = config("", &settings(replay_cache));
        process.order(|| Order::Reload(std::sync::Arc::clone(&other)));
    }
    assert_eq!(ask(&mut process, DOORS[2], &requests[0]), [200]);
}

#[test]
fn who_left_leaves_nothing_behind() {
    let mut process = process(1_000);
    let request = request(1, process.now_s());
    assert_eq!(ask(&mut process, DOORS[1], &request), [200]);
    for place in DOORS.into_iter().chain([LISTENER]) {
        process.leave(place);
    }
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn what_another_shard_lets_through_waits_while_lanes_are_full() {
    let mut process = process(100);
    let mut waited = 0;
    for number in 0..12 {
        let door = DOORS[number % SHARDS];
        process.hold_letters = true;
        process.receive(door, request(number, process.now_s()).concat().as_bytes());
        process.shards[door.shard].set_spilled(3);
        process.release_letters();
        let at_once = answers(&mut process, door).len();
        assert_eq!(heard(&mut process).len(), at_once, "{number}");
        process.shards[door.shard].set_spilled(0);
        process.input(door.shard, Input::TurnEnd);
        let later = answers(&mut process, door).len();
        assert_eq!((at_once + later, heard(&mut process).len()), (1, later), "{number}");
        waited += later;
    }
    assert!(waited > 0, "some signatures belong to another shard than the one they came to");
}
