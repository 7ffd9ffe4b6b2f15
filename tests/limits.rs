//! Limits and slow consumers at a whole shard, without sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use polycast::config::Config;
use polycast::core::ids::Slot;
use polycast::core::publication::{Payload, Publication};
use polycast::shard::input::Input;
use polycast::shard::letter::Order;
use polycast::wire::websocket::leading_frame;

#[path = "../benches/support/mod.rs"]
mod support;

use support::{SECRET, World};

const OPEN: &str = "allow_subscribe_for_client = true\nallow_publish_for_client = true";

/// Takes one batch of one connection without completing it.
fn take(world: &mut World, slot: Slot) -> Vec<u8> {
    let (taken, bytes) = world.shard.next_batch().expect("something waits");
    assert_eq!(taken, slot);
    bytes.to_vec()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Everything that waits for one connection, as messages.
fn drain(world: &mut World, slot: Slot, mut bytes: Vec<u8>) -> Vec<String> {
    while let Some((taken, more)) = world.shard.next_batch() {
        assert_eq!(taken, slot);
        let more = more.to_vec();
        bytes.extend_from_slice(&more);
        world.input(Input::Sent { slot, result: Ok(more.len() as u32) });
    }
    let mut messages = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (length, payload) = leading_frame(rest).expect("whole frames");
        messages.push(payload.map_or_else(|| format!("close {}", close_code(rest)), text_of));
        rest = &rest[length..];
    }
    messages
}

fn close_code(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[2], frame[3]])
}

fn numbered(number: usize) -> Arc<Publication> {
    Arc::new(Publication::plain(Payload::Json(format!("\"{number:0100}\"").into_bytes().into()), 0))
}

/// The number in a publication's message, and its channel.
fn number_in(message: &str) -> Option<(String, usize)> {
    let value: serde_json::Value = serde_json::from_str(message).expect("JSON");
    let push = value.get("push")?;
    let number = push["pub"]["data"].as_str()?.parse().expect("a number");
    Some((push["channel"].as_str()?.to_owned(), number))
}

/// A subscriber of `lossy:a`, `lossy:b` and `plain`, one send of which the kernel holds. Returns what it holds.
fn slow_reader(policy: &str) -> (World, Slot, Vec<u8>) {
    let mut world = World::new(
        "",
        &format!(
            "[apps.centrifuge]\nqueue_max_size = 16384\n[[apps.namespaces]]\nname = \"\"\n{OPEN}\n\
             [[apps.namespaces]]\nname = \"lossy\"\nslow_consumer = \"{policy}\"\n{OPEN}"
        ),
    );
    let slot = Slot(0);
    world.subscriber(slot, "42", 0, "lossy:a");
    for (id, channel) in [(3, "lossy:b"), (4, "plain")] {
        world.say(slot, &format!("{{\"id\":{id},\"subscribe\":{{\"channel\":\"{channel}\"}}}}"));
    }
    world.send_all();
    world.publish(&"lossy:a".into(), &numbered(0));
    let flight = take(&mut world, slot);
    (world, slot, flight)
}

#[test]
fn drop_oldest_leaves_out_the_oldest_and_nothing_else() {
    let (mut world, slot, flight) = slow_reader("drop_oldest");
    for number in 1..=300 {
        world.publish(&"lossy:a".into(), &numbered(number));
        if number % 100 == 0 {
            world.publish(&"plain".into(), &numbered(number));
            world.say(slot, &format!("{{\"id\":{number},\"publish\":{{\"channel\":\"plain\",\"data\":0}}}}"));
        }
    }
    world.input(Input::Sent { slot, result: Ok(flight.len() as u32) });
    let messages = drain(&mut world, slot, flight);
    let replies = messages.iter().filter(|message| message.starts_with("{\"id\":")).count();
    assert_eq!(replies, 3, "{messages:?}");
    let own = messages.iter().filter(|message| message.contains("\"data\":0")).count();
    assert_eq!(own, 3, "a channel without the policy loses nothing");
    let of = |name: &str| -> Vec<usize> {
        let found =
            messages.iter().filter_map(|message| number_in(message)).filter(|(channel, _)| channel == name);
        found.map(|(_, number)| number).collect()
    };
    assert_eq!(of("plain"), [100, 200, 300]);
    let lossy = of("lossy:a");
    assert_eq!(lossy[0], 0, "what the kernel holds is not touched");
    let newest: Vec<usize> = (300 - (lossy.len() - 2)..=300).collect();
    assert_eq!(lossy[1..], newest, "the newest stay, in order");
    let (dropped, bound) = (301 - lossy.len(), 16_384 / 150);
    assert!((bound / 2 - 5..=bound).contains(&lossy.len()), "{} of about {bound}", lossy.len());
    assert_eq!(world.shard.snapshot().dropped_publications, dropped as u64);
    assert_eq!(world.shard.snapshot().slow_consumers, 0);
}

#[test]
fn conflate_keeps_the_newest_of_each_channel() {
    let (mut world, slot, flight) = slow_reader("conflate");
    let mut overflows = 0;
    for number in 1..=300 {
        let dropped = world.shard.snapshot().dropped_publications;
        let channel = if number % 50 == 7 { "lossy:b" } else { "lossy:a" };
        world.publish(&channel.into(), &numbered(number));
        if world.shard.snapshot().dropped_publications > dropped {
            overflows += 1;
        }
    }
    assert!((2..=5).contains(&overflows), "{overflows} overflows, each costs a walk");
    world.input(Input::Sent { slot, result: Ok(flight.len() as u32) });
    let messages = drain(&mut world, slot, flight);
    let numbers: Vec<(String, usize)> = messages.iter().filter_map(|message| number_in(message)).collect();
    assert_eq!(numbers[0], ("lossy:a".to_owned(), 0), "what the kernel holds is not touched");
    assert!(numbers.windows(2).all(|pair| pair[0].1 < pair[1].1), "in order: {numbers:?}");
    assert_eq!(numbers.last(), Some(&("lossy:a".to_owned(), 300)));
    assert!(numbers.contains(&("lossy:b".to_owned(), 257)), "the newest of the other channel: {numbers:?}");
    assert_eq!(world.shard.snapshot().slow_consumers, 0);
}

#[test]
fn what_no_policy_may_leave_out_ends_the_connection() {
    for (policy, channel) in [("disconnect", "lossy:a"), ("drop_oldest", "plain"), ("conflate", "plain")] {
        let (mut world, slot, flight) = slow_reader(policy);
        for number in 1..=300 {
            world.publish(&channel.into(), &numbered(number));
        }
        assert_eq!(world.shard.snapshot().slow_consumers, 1, "{policy} {channel}");
        assert_eq!(world.shard.snapshot().dropped_publications, 0);
        world.input(Input::Sent { slot, result: Ok(flight.len() as u32) });
        let messages = drain(&mut world, slot, flight);
        assert_eq!(messages.last().map(String::as_str), Some("close 3008"), "{messages:?}");
        assert_eq!(messages.len(), 2);
    }
}

#[test]
fn a_publication_larger_than_the_bound_is_neither_slow_nor_lost() {
    let (mut world, slot, flight) = slow_reader("drop_oldest");
    let large = support::publication(40_000);
    world.input(Input::Sent { slot, result: Ok(flight.len() as u32) });
    for _ in 0..3 {
        world.publish(&"lossy:a".into(), &large);
    }
    let messages = drain(&mut world, slot, Vec::new());
    assert_eq!(messages.len(), 1, "the newest");
    assert_eq!(world.shard.snapshot().slow_consumers, 0);
}

#[test]
fn subscribes_are_counted_per_second() {
    let mut world = World::new(
        "[limits]\nsubscribes_per_second_max = 4",
        &format!("[[apps.namespaces]]\nname = \"\"\n{OPEN}"),
    );
    let slot = Slot(0);
    world.subscriber(slot, "42", 0, "a");
    let ask = |world: &mut World, what: &str| {
        world.say(slot, &format!("{{\"id\":9,\"{what}\":{{\"channel\":\"b\"}}}}"));
        drain(world, slot, Vec::new()).pop().expect("a reply")
    };
    for what in ["subscribe", "unsubscribe", "subscribe"] {
        assert_eq!(ask(&mut world, what), format!("{{\"id\":9,\"{what}\":{{}}}}"));
    }
    let refusal = r#"{"id":9,"error":{"code":111,"message":"too many requests","temporary":true}}"#;
    assert_eq!(ask(&mut world, "unsubscribe"), refusal);
    assert_eq!(ask(&mut world, "subscribe"), refusal);
    world.advance(1_000);
    assert_eq!(ask(&mut world, "unsubscribe"), r#"{"id":9,"unsubscribe":{}}"#);
}

#[test]
fn addresses_get_their_share_and_proxies_are_exempt() {
    let limits = "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n[limits]\nconnections_per_address_max = 2";
    let mut world = World::new(limits, "");
    let mut next = 0;
    let mut status = |world: &mut World, address: &str| {
        let slot = Slot(next);
        next += 1;
        world.open(slot, SocketAddr::new(address.parse().expect(address), 1));
        let head = text_of(&take(world, slot));
        world.input(Input::Sent { slot, result: Ok(head.len() as u32) });
        let status = head.split(' ').nth(1).map(str::to_owned).expect("a status line");
        assert_eq!(status == "429", head.contains("\r\nRetry-After: 1\r\n"), "{head}");
        (slot, status)
    };
    let (first, granted) = status(&mut world, "192.0.2.1");
    assert_eq!(granted, "101");
    assert_eq!(status(&mut world, "192.0.2.1").1, "101");
    assert_eq!(status(&mut world, "192.0.2.1").1, "429");
    assert_eq!(status(&mut world, "192.0.2.2").1, "101", "another address");
    for _ in 0..3 {
        assert_eq!(status(&mut world, "10.1.2.3").1, "101", "a proxy speaks for many");
    }
    assert_eq!(world.shard.snapshot().refused_address, 1);

    world.input(Input::ReceiveEnded { slot: first });
    assert_eq!(status(&mut world, "192.0.2.1").1, "429", "its socket is not yet gone");
    assert!(world.take_closes().contains(&first));
    world.close(first);
    assert_eq!(status(&mut world, "192.0.2.1").1, "101", "a place is free again");

    // Whoever was counted is released under limits that changed meanwhile.
    let mut no_file = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    let text = format!("[[apps]]\nid = \"1\"\ntoken_hmac_secret_key = \"{SECRET}\"");
    let config = Arc::new(Config::load(&text, [], &mut no_file).expect("valid"));
    world.input(Input::Order(Order::Reload(config)));
    assert_eq!(status(&mut world, "192.0.2.1").1, "101", "no limit any more");
    for slot in (0..next).map(Slot) {
        world.input(Input::ReceiveEnded { slot });
    }
    // Those that were refused have been closing since, and linger until their time is over.
    for _ in 0..4 {
        world.advance(20_000);
        world.input(Input::Timers { pending_receives: false });
        for slot in world.take_closes() {
            world.close(slot);
        }
    }
    world.send_all();
    assert_eq!(world.leftovers(), Vec::<&str>::new());
}
