//! What of a channel a client is sent, at a whole shard without sockets: a part by tags, or differences.

use std::sync::Arc;

use polycast::core::fossil::create;
use polycast::core::ids::{Address, ConnectionId, ShardId, Slot};
use polycast::core::publication::{Payload, Publication};
use polycast::shard::input::Input;
use serde_json::{Value, json};

#[path = "../benches/support/mod.rs"]
mod support;

use support::World;

const NAMESPACES: &str = "[[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_client = true\n\
    [[apps.namespaces]]\nname = \"part\"\nallow_subscribe_for_client = true\nallow_tags_filter = true\n\
    join_leave = true\n\
    [[apps.namespaces]]\nname = \"kept\"\nallow_subscribe_for_client = true\nallow_tags_filter = true\n\
    history_size = 9\nhistory_ttl = \"60s\"\nforce_recovery = true\nallow_history_for_subscriber = true\n";

const DELTAS: &str = "[[apps.namespaces]]\nname = \"delta\"\nallow_subscribe_for_client = true\n\
    history_size = 9\nhistory_ttl = \"60s\"\nforce_recovery = true\nallowed_delta_types = [\"fossil\"]\n\
    delta_publish = true\n[[apps.namespaces]]\nname = \"asked\"\nallow_subscribe_for_client = true\n\
    history_size = 9\nhistory_ttl = \"60s\"\nallow_positioning = true\nallowed_delta_types = [\"fossil\"]\n";

const A: Slot = Slot(0);
const B: Slot = Slot(1);
const C: Slot = Slot(2);

fn world() -> World {
    let mut world = World::new("", NAMESPACES);
    [A, B, C].into_iter().for_each(|slot| world.client(slot, "u", 0));
    world
}

fn ask(world: &mut World, slot: Slot, command: &str) -> Value {
    world.say(slot, command);
    let heard = world.heard(slot);
    let [answer] = &heard[..] else { panic!("one answer, not {heard:?}") };
    serde_json::from_str(answer).expect("JSON")
}

/// Subscribes; `more` is added to the request. Returns the result.
fn subscribe(world: &mut World, slot: Slot, channel: &str, more: &str) -> Value {
    let command = format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"{more}}}}}"#);
    ask(world, slot, &command)["subscribe"].take()
}

/// Publishes a number; its tag says what it is.
fn publish(world: &mut World, channel: &str, number: u64) {
    let kind = if number % 2 == 1 { "odd" } else { "even" };
    let publication = Publication { tags: [("kind".into(), kind.into())].into(), ..publication(number) };
    world.publish(&Arc::from(channel), &Arc::new(publication));
}

fn publication(number: u64) -> Publication {
    Publication::plain(Payload::Json(number.to_string().into_bytes().into()), 0)
}

/// The numbers published to each client since the last call.
fn numbers(world: &mut World) -> [Vec<u64>; 3] {
    let heard = world.all_heard();
    [A, B, C].map(|slot| {
        let messages = heard.get(&slot.0).into_iter().flatten();
        let messages = messages.map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
        messages.filter_map(|message| message["push"]["pub"]["data"].as_u64()).collect()
    })
}

const ODD: &str = r#","tf":{"key":"kind","cmp":"eq","val":"odd"}"#;
const EVEN: &str = r#","tf":{"key":"kind","cmp":"eq","val":"even"}"#;

#[test]
fn a_part_is_refused_rather_than_answered_with_everything() {
    let mut world = world();
    let command = format!(r#"{{"id":2,"subscribe":{{"channel":"chat"{ODD}}}}}"#);
    assert_eq!(ask(&mut world, A, &command)["error"]["code"], 108);
    publish(&mut world, "chat", 1);
    assert!(world.heard(A).is_empty());
}

#[test]
fn a_client_hears_the_part_it_asked_for() {
    let mut world = world();
    assert_eq!(subscribe(&mut world, A, "part:a", ODD), json!({}));
    subscribe(&mut world, B, "part:a", EVEN);
    subscribe(&mut world, C, "part:a", "");
    (1..=4).for_each(|number| publish(&mut world, "part:a", number));
    world.publish(&Arc::from("part:a"), &Arc::new(publication(5)));
    assert_eq!(numbers(&mut world), [vec![1, 3], vec![2, 4], vec![1, 2, 3, 4, 5]]);
    // Another wish in the place of the first, shared with somebody.
    ask(&mut world, A, r#"{"id":3,"unsubscribe":{"channel":"part:a"}}"#);
    subscribe(&mut world, A, "part:a", EVEN);
    (6..=7).for_each(|number| publish(&mut world, "part:a", number));
    assert_eq!(numbers(&mut world), [vec![6], vec![6], vec![6, 7]]);
    for slot in [A, B, C] {
        world.input(Input::ReceiveEnded { slot });
        world.heard(slot);
        world.close(slot);
    }
    assert!(world.leftovers().is_empty(), "{:?}", world.leftovers());
}

#[test]
fn an_event_name_is_judged_as_the_tag_that_clients_see() {
    let mut world = world();
    let tag = ("event".into(), "of the publisher".into());
    let named = Publication { event: Some("tick".into()), tags: [tag].into(), ..publication(1) };
    subscribe(&mut world, A, "part:a", r#","tf":{"key":"event","cmp":"eq","val":"tick"}"#);
    subscribe(&mut world, B, "part:a", r#","tf":{"key":"event","cmp":"sw","val":"of"}"#);
    world.publish(&Arc::from("part:a"), &Arc::new(named));
    assert_eq!(numbers(&mut world), [vec![1], vec![], vec![]]);
}

#[test]
fn a_part_is_recovered_and_its_position_moves_on() {
    let mut world = world();
    (1..=2).for_each(|number| publish(&mut world, "kept:a", number));
    let result = subscribe(&mut world, A, "kept:a", ODD);
    let epoch = result["epoch"].as_str().expect("an epoch").to_owned();
    assert_eq!(result, json!({"recoverable": true, "positioned": true, "offset": 2, "epoch": epoch}));
    (3..=6).for_each(|number| publish(&mut world, "kept:a", number));
    numbers(&mut world);
    let mut recover = |since: u64, more: &str| {
        ask(&mut world, A, r#"{"id":3,"unsubscribe":{"channel":"kept:a"}}"#);
        let more = format!(r#","recover":true,"offset":{since},"epoch":"{epoch}"{more}"#);
        let mut result = subscribe(&mut world, A, "kept:a", &more);
        assert_eq!(result["recovered"], true, "{result}");
        let missed = result["publications"].take();
        let missed = missed.as_array().into_iter().flatten().map(|missed| missed["offset"].as_u64());
        (missed.flatten().collect::<Vec<_>>(), result["offset"].as_u64())
    };
    // (since, wish, missed, the offset to count on from)
    let table = [
        (2, ODD, vec![3, 5], 2),
        (2, EVEN, vec![4, 6], 2),
        (5, EVEN, vec![6], 5),
        // Nothing of its part: it need not be asked for again.
        (5, ODD, vec![], 6),
        (6, ODD, vec![], 6),
        (5, "", vec![6], 5),
    ];
    for (since, wish, missed, offset) in table {
        assert_eq!(recover(since, wish), (missed, Some(offset)), "{since} {wish}");
    }
}

#[test]
fn a_client_has_a_part_from_the_start() {
    let mut world = world();
    publish(&mut world, "kept:a", 1);
    let top = subscribe(&mut world, C, "kept:a", "");
    let epoch = &top["epoch"];
    (2..=4).for_each(|number| publish(&mut world, "kept:a", number));
    numbers(&mut world);
    world.input(Input::ReceiveEnded { slot: A });
    world.heard(A);
    world.close(A);
    world.open(A, ([127, 0, 0, 1], 4_000).into());
    world.send_all();
    let token = World::token("42", 0);
    let subs =
        format!(r#"{{"kept:a":{{"recover":true,"offset":1,"epoch":{epoch}{ODD}}},"chat":{{"tf":null}}}}"#);
    let mut connected =
        ask(&mut world, A, &format!(r#"{{"id":1,"connect":{{"token":"{token}","subs":{subs}}}}}"#));
    let subs = connected["connect"]["subs"].take();
    let missed = subs["kept:a"]["publications"].as_array().expect("a list");
    assert_eq!(missed.iter().map(|missed| &missed["offset"]).collect::<Vec<_>>(), [3], "{subs}");
    (5..=6).for_each(|number| publish(&mut world, "kept:a", number));
    assert_eq!(numbers(&mut world), [vec![5], vec![], vec![5, 6]]);
    let mut world = World::new("", NAMESPACES);
    world.open(A, ([127, 0, 0, 1], 4_000).into());
    world.send_all();
    let subs = format!(r#"{{"chat":{{"channel":"chat"{ODD}}},"part:a":{{}}}}"#);
    let connected =
        ask(&mut world, A, &format!(r#"{{"id":1,"connect":{{"token":"{token}","subs":{subs}}}}}"#));
    assert_eq!(
        connected["connect"]["subs"],
        json!({"part:a": {}}),
        "no part there, and not the whole either"
    );
}

const FOSSIL: &str = r#","delta":"fossil""#;

/// Publishes a long text in which only a number changes.
fn publish_long(world: &mut World, channel: &str, number: u64, delta: bool) {
    let data = Payload::Json(long(number).into_bytes().into());
    world.publish(&Arc::from(channel), &Arc::new(Publication { data, delta, ..publication(0) }));
}

fn long(number: u64) -> String {
    format!(r#"{{"number":{number},"text":"{}"}}"#, "abcdefghijklmnop".repeat(4))
}

/// What leads from one long text to the next one, if the numbers have one digit.
fn difference(from: u64, to: u64) -> String {
    let delta = create(long(from).as_bytes(), long(to).as_bytes());
    assert!(delta.len() < 40);
    String::from_utf8(delta).expect("text")
}

/// What was published to each client, in the form it came.
fn forms(world: &mut World) -> [Vec<Value>; 3] {
    let heard = world.all_heard();
    [A, B, C].map(|slot| {
        let messages = heard.get(&slot.0).into_iter().flatten();
        let messages = messages.map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
        messages.map(|mut message| form(message["push"]["pub"].take())).collect()
    })
}

fn form(mut publication: Value) -> Value {
    match publication["delta"].as_bool() {
        Some(true) => json!({"delta": publication["data"].take()}),
        _ => publication["data"].take(),
    }
}

fn delta(from: u64, to: u64) -> Value {
    json!({"delta": difference(from, to)})
}

#[test]
fn deltas_are_agreed_on_where_they_are_allowed_and_gaps_are_watched_for() {
    let mut world = World::new("", &format!("{NAMESPACES}{DELTAS}"));
    // (channel, wish, agreed)
    let table = [
        ("delta:a", FOSSIL, true),
        ("delta:b", "", false),
        ("delta:c", r#","delta":"other""#, false),
        ("kept:a", FOSSIL, false),
        ("chat", FOSSIL, false),
        ("asked:a", FOSSIL, false),
        ("asked:b", r#","delta":"fossil","positioned":true"#, true),
    ];
    world.client(A, "u", 0);
    for (channel, wish, agreed) in table {
        let result = subscribe(&mut world, A, channel, wish);
        assert_eq!(result["delta"] == true, agreed, "{channel} {wish}: {result}");
        publish_long(&mut world, channel, 1, true);
        let want: Value = if agreed { long(1).into() } else { serde_json::from_str(&long(1)).expect("JSON") };
        assert_eq!(forms(&mut world)[0], [want], "{channel}");
    }
}

#[test]
fn the_first_publication_comes_whole_and_then_differences() {
    let mut world = World::new("", &format!("{NAMESPACES}{DELTAS}"));
    [A, B, C].into_iter().for_each(|slot| world.client(slot, "u", 0));
    subscribe(&mut world, A, "delta:a", FOSSIL);
    publish_long(&mut world, "delta:a", 1, false);
    subscribe(&mut world, B, "delta:a", FOSSIL);
    subscribe(&mut world, C, "delta:a", "");
    world.all_heard();
    (2..=3).for_each(|number| publish_long(&mut world, "delta:a", number, false));
    let plain = |number| serde_json::from_str::<Value>(&long(number)).expect("JSON");
    let [a, b, c] = forms(&mut world);
    assert_eq!(a, [delta(1, 2), delta(2, 3)]);
    assert_eq!(b, [long(2).into(), delta(2, 3)]);
    assert_eq!(c, [plain(2), plain(3)]);
    // One that would not be shorter comes whole, and the next is told from it.
    world.publish(&Arc::from("delta:a"), &Arc::new(publication(4)));
    publish_long(&mut world, "delta:a", 5, false);
    let [a, b, _] = forms(&mut world);
    assert_eq!((&a, &a), (&b, &vec!["4".into(), long(5).into()]));
    // Who published it does not hear it, and gets the next one whole.
    let publisher = Address { shard: ShardId(0), connection: ConnectionId { slot: A, generation: 1 } };
    let data = Payload::Json(long(6).into_bytes().into());
    let own = Publication { data, exclude: Some(publisher), ..publication(0) };
    world.publish(&Arc::from("delta:a"), &Arc::new(own));
    (7..=8).for_each(|number| publish_long(&mut world, "delta:a", number, false));
    let [a, b, _] = forms(&mut world);
    assert_eq!(a, [long(7).into(), delta(7, 8)]);
    assert_eq!(b, [delta(5, 6), delta(6, 7), delta(7, 8)]);
}

#[test]
fn publishers_ask_for_differences_where_they_are_not_the_rule() {
    let mut world = World::new("", &format!("{NAMESPACES}{DELTAS}"));
    world.client(A, "u", 0);
    subscribe(&mut world, A, "asked:a", r#","delta":"fossil","positioned":true"#);
    for (number, wanted) in [(1, true), (2, false), (3, true)] {
        publish_long(&mut world, "asked:a", number, wanted);
    }
    assert_eq!(forms(&mut world)[0], [long(1).into(), long(2).into(), delta(2, 3)]);
}

#[test]
fn what_was_missed_is_a_chain_that_goes_on() {
    let mut world = World::new("", &format!("{NAMESPACES}{DELTAS}"));
    [A, B, C].into_iter().for_each(|slot| world.client(slot, "u", 0));
    let first = subscribe(&mut world, A, "delta:a", FOSSIL);
    let recover =
        |since: u64| format!(r#","recover":true,"offset":{since},"epoch":{}{FOSSIL}"#, first["epoch"]);
    ask(&mut world, A, r#"{"id":3,"unsubscribe":{"channel":"delta:a"}}"#);
    (1..=3).for_each(|number| publish_long(&mut world, "delta:a", number, false));
    let missed = |world: &mut World, slot: Slot, since: u64| {
        let mut result = subscribe(world, slot, "delta:a", &recover(since));
        assert_eq!((&result["delta"], &result["recovered"]), (&json!(true), &json!(true)), "{result}");
        let missed = result["publications"].as_array_mut().map(std::mem::take).unwrap_or_default();
        missed.into_iter().map(form).collect::<Vec<_>>()
    };
    assert_eq!(missed(&mut world, A, 0), [long(1).into(), delta(1, 2), delta(2, 3)]);
    // Nothing was missed, but nobody says that the client still has what it heard.
    assert_eq!(missed(&mut world, B, 3), [] as [Value; 0]);
    assert_eq!(missed(&mut world, C, 2), [Value::from(long(3))]);
    publish_long(&mut world, "delta:a", 4, false);
    assert_eq!(forms(&mut world), [vec![delta(3, 4)], vec![long(4).into()], vec![delta(3, 4)]]);
    for slot in [A, B, C] {
        world.input(Input::ReceiveEnded { slot });
        world.heard(slot);
        world.close(slot);
    }
    assert!(world.leftovers().is_empty(), "{:?}", world.leftovers());
}

#[test]
fn a_queue_loses_nothing_that_the_next_one_is_told_from() {
    let small = "[apps.centrifuge]\nqueue_max_size = 4096\n";
    let mut world = World::new("", &format!("{small}{NAMESPACES}{DELTAS}"));
    [A, B].into_iter().for_each(|slot| world.client(slot, "u", 0));
    subscribe(&mut world, A, "delta:a", FOSSIL);
    subscribe(&mut world, B, "delta:a", "");
    // The namespace comes to allow that queues are thinned out; who has subscribed before has a chain.
    let lossy = "[[apps.namespaces]]\nname = \"delta\"\nslow_consumer = \"conflate\"\n";
    world.reload("", &format!("{small}{NAMESPACES}{lossy}"));
    (0..60).for_each(|number| publish_long(&mut world, "delta:a", number, false));
    let heard = world.all_heard();
    assert_eq!(heard[&A.0].last().map(String::as_str), Some("close 3008"));
    assert!(
        heard[&B.0].len() < 60 && heard[&B.0].iter().any(|text| text.contains(r#""number":59"#)),
        "{heard:?}"
    );
}
