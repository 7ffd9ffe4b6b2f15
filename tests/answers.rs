//! Answers that are longer than a client's queue may be: what it missed in several channels, at a whole shard without
//! sockets.

use std::net::SocketAddr;

use polycast::core::ids::Slot;
use polycast::shard::input::Input;
use polycast::wire::websocket::leading_frame;

#[path = "../benches/support/mod.rs"]
mod support;

use support::World;

const QUEUE_BYTES_MAX: u32 = 65_536;
const CHANNELS: usize = 4;
/// Of each channel, so that one is already more than the queue may hold.
const PUBLICATIONS: usize = 30;
const DATA_BYTES: usize = 4_000;

const A: Slot = Slot(0);
const B: Slot = Slot(1);

fn world() -> World {
    World::new(
        "",
        &format!(
            "[apps.centrifuge]\nqueue_max_size = {QUEUE_BYTES_MAX}\n[[apps.namespaces]]\nname = \"\"\n\
             allow_subscribe_for_client = true\nallow_publish_for_client = true\nhistory_size = 100\n\
             history_ttl = \"60s\"\nforce_recovery = true\nallow_history_for_subscriber = true"
        ),
    )
}

/// A client that publishes in every channel, each publication longer than most.
fn fill(world: &mut World) {
    world.client(B, "b", 0);
    let data = "x".repeat(DATA_BYTES);
    for channel in 0..CHANNELS {
        for _ in 0..PUBLICATIONS {
            let publish =
                format!("{{\"id\":2,\"publish\":{{\"channel\":\"c{channel}\",\"data\":\"{data}\"}}}}");
            world.say(B, &publish);
            world.send_all();
        }
    }
}

/// One message with connect and, behind it, a wish to recover every channel from its beginning; then the history.
fn come_back(world: &mut World) {
    world.open(A, SocketAddr::from(([127, 0, 0, 1], 4_000)));
    world.send_all();
    let mut commands = vec![format!("{{\"id\":1,\"connect\":{{\"token\":\"{}\"}}}}", World::token("a", 0))];
    for channel in 0..CHANNELS {
        let id = channel + 2;
        commands
            .push(format!("{{\"id\":{id},\"subscribe\":{{\"channel\":\"c{channel}\",\"recover\":true}}}}"));
    }
    commands.push("{\"id\":50,\"history\":{\"channel\":\"c0\",\"limit\":-1}}".to_owned());
    world.say(A, &commands.join("\n"));
}

/// The kernel takes `bytes_max` of what waits for one client, at most. What came of it is appended; `false`: nothing
/// waits.
fn take(world: &mut World, bytes_max: usize, taken: &mut Vec<u8>) -> bool {
    while let Some((slot, bytes)) = world.shard.next_batch() {
        if slot != A {
            let length = bytes.len() as u32;
            world.input(Input::Sent { slot, result: Ok(length) });
            continue;
        }
        let bytes = bytes[..bytes.len().min(bytes_max)].to_vec();
        world.input(Input::Sent { slot, result: Ok(bytes.len() as u32) });
        taken.extend(bytes);
        return true;
    }
    false
}

fn messages(mut bytes: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let (length, payload) = leading_frame(bytes).expect("whole frames");
        messages.push(payload.map_or_else(
            || format!("close {}", u16::from_be_bytes([bytes[2], bytes[3]])),
            |text| String::from_utf8_lossy(text).into_owned(),
        ));
        bytes = &bytes[length..];
    }
    messages
}

#[test]
fn what_was_missed_in_many_channels_is_no_slowness() {
    let mut world = world();
    fill(&mut world);
    come_back(&mut world);
    let mut taken = Vec::new();
    let (mut rounds, mut most) = (0_usize, 0);
    while take(&mut world, 10_000, &mut taken) {
        // Others go on meanwhile, and what they say comes behind.
        if rounds % 10 == 0 {
            world.say(B, "{\"id\":3,\"publish\":{\"channel\":\"c1\",\"data\":1}}");
        }
        rounds += 1;
        most = most.max(world.shard.queued_bytes(A));
    }
    let heard = messages(&taken);
    assert!(heard.iter().all(|message| !message.starts_with("close")), "{:?}", heard.last());
    let recovered = heard.iter().filter(|message| message.contains("\"recovered\":true")).count();
    assert_eq!(recovered, CHANNELS);
    assert!(heard.iter().any(|message| message.starts_with("{\"id\":50,\"history\"")), "the history");
    // Told or recovered: whatever is in c1 came once.
    let all = heard.concat();
    let in_c1 = all.matches("\"data\":1,\"info\"").count();
    assert_eq!(in_c1, rounds.div_ceil(10));
    let answer = (PUBLICATIONS * (DATA_BYTES + 300)) as u32;
    assert!(most <= QUEUE_BYTES_MAX + answer, "{most} bytes waited");
}

#[test]
fn who_does_not_take_its_answers_is_ended() {
    let mut world = world();
    fill(&mut world);
    world.input(Input::ReceiveEnded { slot: B });
    come_back(&mut world);
    // Nothing is taken, what the kernel holds neither: no ping, and nothing of what was missed. More is not made meanwhile.
    while world.shard.next_batch().is_some_and(|(slot, _)| slot != A) {}
    let waits = world.shard.queued_bytes(A);
    assert!(waits > QUEUE_BYTES_MAX);
    for _ in 0..60 {
        world.advance(1_000);
        world.input(Input::Timers { pending_receives: false });
        world.input(Input::Timers { pending_receives: false });
        let waits_now = world.shard.queued_bytes(A);
        // A ping, and the close.
        assert!(waits_now <= waits + 200, "{waits}, then {waits_now}");
    }
    assert_eq!(world.shard.snapshot().no_pong, 1);
}
