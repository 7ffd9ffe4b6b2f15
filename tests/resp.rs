//! Publishing with Redis clients at a whole shard, without sockets.

use std::net::SocketAddr;

use polycast::core::ids::Slot;
use polycast::shard::input::{Entrance, Input, ReadMode};
use polycast::shard::letter::Order;
use polycast::wire::websocket::leading_frame;

#[path = "../benches/support/mod.rs"]
mod support;

use support::{SECRET, World};

const OPEN: &str = "[[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_client = true";
const PROXIES: &str = "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]";
const PUBLISHER: Slot = Slot(7);
const SUBSCRIBER: Slot = Slot(1);

fn peer(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().expect(text), 4_000)
}

fn connect(world: &mut World, slot: Slot, from: &str) {
    world.input(Input::Accepted { slot, peer: peer(from), entrance: Entrance::Resp });
}

/// A world with one connection that has said `AUTH`.
fn publisher(before: &str) -> World {
    let mut world = World::new(before, OPEN);
    connect(&mut world, PUBLISHER, "127.0.0.1");
    assert_eq!(ask(&mut world, &format!("AUTH {SECRET}\r\n")), "+OK\r\n");
    world
}

/// What lies ready for one connection. It is taken, and so is everybody else's.
fn take(world: &mut World, slot: Slot) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some((taken, batch)) = world.shard.next_batch() {
        let batch = batch.to_vec();
        if taken == slot {
            bytes.extend_from_slice(&batch);
        }
        world.input(Input::Sent { slot: taken, result: Ok(batch.len() as u32) });
    }
    bytes
}

fn take_text(world: &mut World, slot: Slot) -> String {
    String::from_utf8(take(world, slot)).expect("UTF-8")
}

/// Sends lines and returns the replies that come at once.
fn ask(world: &mut World, lines: &str) -> String {
    world.receive(PUBLISHER, lines.as_bytes());
    take_text(world, PUBLISHER)
}

/// The data of every publication in bytes sent to a subscriber.
fn heard(mut bytes: &[u8]) -> Vec<serde_json::Value> {
    let mut data = Vec::new();
    while !bytes.is_empty() {
        let (length, payload) = leading_frame(bytes).expect("whole frames");
        let message = String::from_utf8_lossy(payload.expect("a message")).into_owned();
        data.extend(message.lines().filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).expect("JSON");
            message.get("push").map(|push| push["pub"]["data"].clone())
        }));
        bytes = &bytes[length..];
    }
    data
}

#[test]
fn nothing_is_served_before_the_key() {
    let mut world = World::new("", OPEN);
    connect(&mut world, PUBLISHER, "127.0.0.1");
    let no_auth = "-NOAUTH Authentication required.\r\n";
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    for line in ["PING", "PUBLISH chat 1", "SELECT 0", "CLIENT ID", "INFO", "COMMAND", "MULTI", "EXEC"] {
        let want = if line == "EXEC" { "-ERR EXEC without MULTI\r\n" } else { no_auth };
        assert_eq!(ask(&mut world, &format!("{line}\r\n")), want, "{line}");
    }
    assert!(ask(&mut world, "HELLO 3\r\n").starts_with("-NOAUTH HELLO must be called"));
    assert_eq!(ask(&mut world, "AUTH nonsense\r\n"), wrong);
    assert_eq!(ask(&mut world, &format!("AUTH admin {SECRET}\r\n")), wrong);
    assert_eq!(ask(&mut world, "HELLO 3 AUTH default nonsense\r\n"), wrong);
    assert_eq!(ask(&mut world, "PUBLISH chat 1\r\n"), no_auth);
    assert_eq!(world.shard.snapshot().auth_api_key, 3);
    assert_eq!(ask(&mut world, &format!("AUTH default {SECRET}\r\nPING\r\n")), "+OK\r\n+PONG\r\n");
    assert_eq!(ask(&mut world, "RESET\r\nPING\r\n"), format!("+RESET\r\n{no_auth}"));
    assert_eq!(world.shard.snapshot().publishes_resp, 0);
}

#[test]
fn the_key_of_an_app_chooses_it() {
    let other = "other-key-other-key-other-key-01";
    let more =
        format!("{OPEN}\n[[apps]]\nid = \"2\"\napi_key = \"{other}\"\n[[apps.namespaces]]\nname = \"two\"");
    let mut world = World::new("", &more);
    connect(&mut world, PUBLISHER, "127.0.0.1");
    assert_eq!(ask(&mut world, &format!("AUTH {other}\r\nPUBLISH two:a 1\r\n")), "+OK\r\n:0\r\n");
    let refused = ask(&mut world, &format!("AUTH {SECRET}\r\nPUBLISH two:a 1\r\n"));
    assert_eq!(refused, "+OK\r\n-ERR unknown channel\r\n");
}

#[test]
fn hello_speaks_both_versions() {
    let mut world = World::new("", OPEN);
    connect(&mut world, PUBLISHER, "127.0.0.1");
    let three = ask(&mut world, &format!("HELLO 3 AUTH default {SECRET} SETNAME me\r\n"));
    assert!(three.starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"), "{three}");
    assert!(three.contains("$5\r\nproto\r\n:3\r\n"), "{three}");
    assert_eq!(ask(&mut world, "CLIENT GETNAME\r\n"), "_\r\n");
    assert_eq!(ask(&mut world, "COMMAND DOCS\r\n"), "%0\r\n");
    let two = ask(&mut world, "HELLO 2\r\n");
    assert!(two.starts_with("*14\r\n$6\r\nserver\r\n") && two.contains("$5\r\nproto\r\n:2\r\n"), "{two}");
    assert_eq!(ask(&mut world, "CLIENT GETNAME\r\n"), "$-1\r\n");
    assert_eq!(ask(&mut world, "HELLO 4\r\n"), "-NOPROTO unsupported protocol version\r\n");
    assert!(ask(&mut world, "INFO\r\n").contains("\r\nloading:0\r\n"));
}

#[test]
fn publications_are_heard_in_order_and_counted() {
    let mut world = publisher("");
    assert_eq!(ask(&mut world, "PUBLISH chat 0\r\n"), ":0\r\n");
    world.subscriber(SUBSCRIBER, "42", 0, "chat");
    world.subscriber(Slot(2), "43", 0, "chat");
    let lines = "PUBLISH chat '{\"a\": 1}'\r\nPING\r\nPUBLISH chat hello\r\nSPUBLISH chat '[1,2]'\r\nPUBLISH other 1\r\n";
    world.receive(PUBLISHER, lines.as_bytes());
    let mut replies = Vec::new();
    let mut messages = Vec::new();
    while let Some((slot, batch)) = world.shard.next_batch() {
        let batch = batch.to_vec();
        match slot {
            PUBLISHER => replies.extend_from_slice(&batch),
            SUBSCRIBER => messages.extend_from_slice(&batch),
            _ => {}
        }
        world.input(Input::Sent { slot, result: Ok(batch.len() as u32) });
    }
    assert_eq!(String::from_utf8_lossy(&replies), ":2\r\n+PONG\r\n:2\r\n:2\r\n:0\r\n");
    assert_eq!(heard(&messages), [serde_json::json!({"a": 1}), "hello".into(), serde_json::json!([1, 2])]);
    assert_eq!(world.shard.snapshot().publishes_resp, 5);
}

#[test]
fn refusals_leave_the_connection_alive() {
    let mut world = publisher("");
    let table = [
        ("GET a", "-ERR unknown command 'GET', with args beginning with: \r\n"),
        ("PUBLISH chat", "-ERR wrong number of arguments for 'publish' command\r\n"),
        ("SELECT 3", "-ERR DB index is out of range\r\n"),
        ("PUBLISH nowhere:a 1", "-ERR unknown channel\r\n"),
        ("DISCARD", "-ERR DISCARD without MULTI\r\n"),
        ("PING", "+PONG\r\n"),
    ];
    for (line, want) in table {
        assert_eq!(ask(&mut world, &format!("{line}\r\n")), want, "{line}");
    }
}

#[test]
fn t7_3_what_is_no_command_is_told_and_closed() {
    let long = "*3\r\n$7\r\nPUBLISH\r\n$4\r\nchat\r\n$65537\r\n";
    let table = [
        ("*1\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"),
        ("*65\r\n", "-ERR Protocol error: at most 64 arguments are served\r\n"),
        (long, "-ERR Protocol error: an argument of at most 65536 bytes is served\r\n"),
        ("POST / HTTP/1.1\r\n", ""),
        ("PING\r\nhost: a\r\nPUBLISH chat 1\r\n", "+PONG\r\n"),
    ];
    for (stream, want) in table {
        let mut world = publisher("");
        assert_eq!(ask(&mut world, stream), want, "{stream}");
        world.input(Input::ReceiveEnded { slot: PUBLISHER });
        assert_eq!(world.take_closes(), [PUBLISHER], "{stream}");
        assert_eq!(world.shard.snapshot().publishes_resp, 0);
    }
    let mut world = publisher("");
    let whole = format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nchat\r\n$65536\r\n{}\r\n", "x".repeat(65_536));
    assert_eq!(ask(&mut world, &whole), ":0\r\n", "64 KiB may be published");
}

#[test]
fn a_transaction_is_carried_out_at_its_end() {
    let mut world = publisher("");
    world.subscriber(SUBSCRIBER, "42", 0, "chat");
    let queued = ask(&mut world, "MULTI\r\nPUBLISH chat 1\r\nPING\r\nPUBLISH chat 2\r\n");
    assert_eq!(queued, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    assert_eq!(world.shard.snapshot().publishes_resp, 0);
    assert_eq!(ask(&mut world, "EXEC\r\nECHO behind\r\n"), "*3\r\n:1\r\n+PONG\r\n:1\r\n$6\r\nbehind\r\n");
    assert_eq!(ask(&mut world, "MULTI\r\nMULTI\r\nDISCARD\r\nEXEC\r\n").matches("-ERR").count(), 2);
    let refused = ask(&mut world, "MULTI\r\nGET a\r\nPUBLISH chat 3\r\nEXEC\r\n");
    assert!(
        refused.ends_with("-EXECABORT Transaction discarded because of previous errors.\r\n"),
        "{refused}"
    );
    assert_eq!(world.shard.snapshot().publishes_resp, 2);
    assert_eq!(ask(&mut world, "MULTI\r\nEXEC\r\nPING\r\n"), "+OK\r\n*0\r\n+PONG\r\n");
}

#[test]
fn a_flood_is_bounded_per_turn_and_loses_nothing() {
    const PUBLICATIONS: usize = 20_000;
    let mut world = publisher("");
    world.subscriber(SUBSCRIBER, "42", 0, "chat");
    let mut lines = String::from("MULTI\r\n");
    for number in 0..PUBLICATIONS {
        lines += &format!("PUBLISH chat {number}\r\n");
    }
    lines += "EXEC\r\nPING\r\n";
    world.reads.clear();
    let mut replies = Vec::new();
    let mut messages = Vec::new();
    let (mut taken, mut turns_max) = (0, 0);
    let mut pieces = lines.as_bytes().chunks(16 * 1024);
    let mut is_paused = false;
    for _turn in 0..2_000 {
        if !is_paused && let Some(piece) = pieces.next() {
            world.receive(PUBLISHER, piece);
        }
        world.input(Input::TurnEnd);
        let published = world.shard.snapshot().publishes_resp;
        turns_max = turns_max.max(published - taken);
        taken = published;
        while let Some((slot, batch)) = world.shard.next_batch() {
            let batch = batch.to_vec();
            if slot == PUBLISHER { &mut replies } else { &mut messages }.extend_from_slice(&batch);
            world.input(Input::Sent { slot, result: Ok(batch.len() as u32) });
        }
        is_paused = world.reads.last().is_some_and(|(_, mode)| *mode == ReadMode::Paused);
    }
    let want: Vec<serde_json::Value> = (0..PUBLICATIONS).map(Into::into).collect();
    assert_eq!(heard(&messages), want);
    let tail = format!("*{PUBLICATIONS}\r\n{}+PONG\r\n", ":1\r\n".repeat(PUBLICATIONS));
    let want = format!("+OK\r\n{}{tail}", "+QUEUED\r\n".repeat(PUBLICATIONS));
    assert!(String::from_utf8_lossy(&replies) == want, "each command has its reply, in order");
    assert!((100..2_048).contains(&turns_max), "{turns_max} publications in one turn");
    assert!(world.reads.iter().any(|(_, mode)| *mode == ReadMode::Paused), "the peer felt it");
    assert_eq!(world.reads.last(), Some(&(PUBLISHER, ReadMode::Bulk)), "and is read again");
}

#[test]
fn who_does_not_read_replies_is_not_read() {
    let mut world = publisher("");
    world.reads.clear();
    let pings = "PING\r\n".repeat(1_000);
    for _ in 0..20 {
        world.receive(PUBLISHER, pings.as_bytes());
        world.input(Input::TurnEnd);
    }
    assert_eq!(world.reads.last(), Some(&(PUBLISHER, ReadMode::Paused)));
    assert_eq!(world.shard.snapshot().slow_consumers, 0);
    assert!(world.shard.snapshot().queue_bytes < 256 * 1024, "{}", world.shard.snapshot().queue_bytes);
    let mut replies = 0;
    for _turn in 0..100 {
        replies += take(&mut world, PUBLISHER).len();
        world.input(Input::TurnEnd);
    }
    assert_eq!(replies, 20_000 * "+PONG\r\n".len());
    assert_eq!(world.reads.last(), Some(&(PUBLISHER, ReadMode::Bulk)));
}

/// The bound of clients' queues is not that of replies: those behind which nothing more is read are all handed out.
#[test]
fn unread_replies_are_nothing_to_be_disconnected_for() {
    let small = format!("[apps.centrifuge]\nqueue_max_size = 4096\n{OPEN}");
    let mut world = World::new("", &small);
    connect(&mut world, PUBLISHER, "127.0.0.1");
    ask(&mut world, &format!("AUTH {SECRET}\r\n"));
    let text = "x".repeat(3_000);
    world.receive(PUBLISHER, format!("*2\r\n$4\r\nECHO\r\n$3000\r\n{text}\r\n").repeat(10).as_bytes());
    world.receive(PUBLISHER, b"QUIT\r\n");
    let want = format!("$3000\r\n{text}\r\n").repeat(10) + "+OK\r\n";
    assert!(take_text(&mut world, PUBLISHER) == want, "all ten, and the last one");
    assert_eq!(world.shard.snapshot().slow_consumers, 0);
}

#[test]
fn full_lanes_hold_publishers_back() {
    let mut world = publisher("");
    world.shard.set_spilled(5);
    assert_eq!(ask(&mut world, "PUBLISH chat 1\r\nPUBLISH chat 2\r\n"), "");
    assert_eq!(world.reads.last(), Some(&(PUBLISHER, ReadMode::Paused)));
    world.shard.set_spilled(0);
    assert!(world.shard.has_work());
    world.input(Input::TurnEnd);
    assert_eq!(take_text(&mut world, PUBLISHER), ":0\r\n:0\r\n");
    assert_eq!(world.reads.last(), Some(&(PUBLISHER, ReadMode::Stream)));
}

#[test]
fn the_end_of_a_connection() {
    // QUIT, and an end of the peer's side, come behind the replies.
    for end in ["QUIT\r\nPUBLISH chat 2\r\n", ""] {
        let mut world = publisher("");
        world.receive(PUBLISHER, format!("PUBLISH chat 1\r\n{end}").as_bytes());
        if end.is_empty() {
            world.input(Input::ReceiveEnded { slot: PUBLISHER });
        }
        let want = if end.is_empty() { ":0\r\n" } else { ":0\r\n+OK\r\n" };
        assert_eq!(take_text(&mut world, PUBLISHER), want);
        world.input(Input::ReceiveEnded { slot: PUBLISHER });
        assert_eq!(world.take_closes(), [PUBLISHER]);
        assert_eq!(world.shard.snapshot().publishes_resp, 1);
        world.close(PUBLISHER);
        assert_eq!(world.leftovers(), [""; 0]);
    }
}

#[test]
fn t8_10_who_does_not_authenticate_goes() {
    let mut world = World::new("", OPEN);
    connect(&mut world, PUBLISHER, "127.0.0.1");
    connect(&mut world, Slot(8), "127.0.0.1");
    world.receive(Slot(8), format!("AUTH {SECRET}\r\n").as_bytes());
    take(&mut world, Slot(8));
    world.advance(10_200);
    world.input(Input::Timers { pending_receives: false });
    world.advance(1_200);
    world.input(Input::Timers { pending_receives: false });
    assert_eq!(world.take_closes(), [PUBLISHER]);
    world.advance(24 * 3_600_000);
    world.input(Input::Timers { pending_receives: false });
    assert_eq!(world.take_closes(), [], "an idle publisher stays");
    world.input(Input::Order(Order::Drain { spread_ms: 0 }));
    world.advance(200);
    world.input(Input::Timers { pending_receives: false });
    world.input(Input::ReceiveEnded { slot: Slot(8) });
    assert_eq!(world.take_closes(), [Slot(8)], "but not for ever");
}

#[test]
fn guessing_keys_ends() {
    let mut world = World::new("[limits]\nerrors_in_a_row_max = 3", OPEN);
    connect(&mut world, PUBLISHER, "127.0.0.1");
    let replies = ask(&mut world, &"AUTH a\r\n".repeat(5));
    assert_eq!(replies.matches("-WRONGPASS").count(), 3, "{replies}");
    assert_eq!(replies.lines().count(), 3, "{replies}");
    assert_eq!(world.shard.snapshot().auth_api_key, 3);
}

#[test]
fn t7_12_a_proxy_says_for_whom_it_speaks() {
    let auth = format!("AUTH {SECRET}\r\nPING\r\n");
    let header = "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
    // (from, bytes, whether it is served)
    let table = [
        ("10.0.0.1", format!("{header}{auth}"), true),
        ("10.0.0.1", auth.clone(), true),
        ("10.0.0.1", format!("PROXY nonsense\r\n{auth}"), false),
        ("192.0.2.9", auth.clone(), true),
    ];
    for (from, bytes, is_served) in table {
        for step in [1, 7, bytes.len()] {
            let mut world = World::new(PROXIES, OPEN);
            connect(&mut world, PUBLISHER, from);
            for piece in bytes.as_bytes().chunks(step) {
                world.receive(PUBLISHER, piece);
            }
            let want = if is_served { "+OK\r\n+PONG\r\n" } else { "" };
            assert_eq!(take_text(&mut world, PUBLISHER), want, "{from} {bytes}");
            assert_eq!(world.take_closes().is_empty(), is_served, "{from} {bytes}");
        }
    }
    // From a stranger it is just no command.
    let mut world = World::new(PROXIES, OPEN);
    connect(&mut world, PUBLISHER, "192.0.2.9");
    let replies = ask(&mut world, &format!("{header}{auth}"));
    assert!(replies.starts_with("-ERR unknown command 'PROXY'"), "{replies}");
}

#[test]
fn t7_12_limits_hold_for_the_clients_behind_a_proxy() {
    let before = format!("{PROXIES}\n[limits]\nconnections_per_address_max = 1");
    let upgrade = |headers: &str| {
        format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        )
    };
    let line = |client: &str| format!("PROXY TCP4 {client} 192.0.2.2 1 2\r\n");
    let forwarded = |client: &str| upgrade(&format!("X-Forwarded-For: 203.0.113.1, {client}\r\n"));
    // (from, bytes, status), one after the other.
    let table = [
        ("10.0.0.1", line("192.0.2.1") + &upgrade(""), 101),
        ("10.0.0.2", line("192.0.2.1") + &upgrade(""), 429),
        ("10.0.0.2", forwarded("192.0.2.1"), 429),
        ("10.0.0.2", line("10.0.0.3") + &forwarded("192.0.2.1"), 429),
        ("10.0.0.2", forwarded("192.0.2.3"), 101),
        ("10.0.0.1", upgrade(""), 101),
        ("10.0.0.1", upgrade(""), 101),
        ("192.0.2.4", forwarded("192.0.2.1"), 101),
        ("192.0.2.4", forwarded("192.0.2.5"), 429),
        ("192.0.2.6", line("192.0.2.7") + &upgrade(""), 400),
    ];
    let mut world = World::new(&before, OPEN);
    for ((from, bytes, status), slot) in table.into_iter().zip(0..) {
        let slot = Slot(slot);
        world.input(Input::Accepted { slot, peer: peer(from), entrance: Entrance::Http });
        world.receive(slot, bytes.as_bytes());
        let answer = take_text(&mut world, slot);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{slot:?} {from}: {answer}");
    }
}
