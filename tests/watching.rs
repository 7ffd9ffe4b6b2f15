//! Users who are watched by others: several whole shards, Pusher clients without sockets.

mod support;

use support::pusher::{APP, open, sign_in, user_at};
use support::{At, Process, at};

const ANN: At = at(0, 0);

/// `options` go into `[apps.pusher]`.
fn process(options: &str) -> Process {
    Process::new(3, "", &format!("{APP}[apps.pusher]\n{options}\n"))
}

/// Connects and signs in; returns what is heard after the success.
fn come(process: &mut Process, at: At, user: &str, watchlist: &[&str]) -> Vec<String> {
    let id = open(process, at);
    sign_in(process, at, &id, user, watchlist);
    let mut heard = process.heard(at);
    assert!(heard.first().is_some_and(|first| first.contains("pusher:signin_success")), "{heard:?}");
    heard.remove(0);
    heard
}

fn watchlist(online: &[&str], offline: &[&str]) -> String {
    let events: Vec<String> = [("online", online), ("offline", offline)]
        .into_iter()
        .filter(|(_, users)| !users.is_empty())
        .map(|(name, users)| {
            let users: Vec<String> = users.iter().map(|user| format!("\\\"{user}\\\"")).collect();
            format!(r#"{{\"name\":\"{name}\",\"user_ids\":[{}]}}"#, users.join(","))
        })
        .collect();
    let events = events.join(",");
    format!(r#"{{"event":"pusher_internal:watchlist_events","data":"{{\"events\":[{events}]}}"}}"#)
}

#[test]
fn a_user_is_online_from_the_first_connection_to_the_last_wherever_they_are() {
    let mut process = process("");
    let nothing = Vec::<String>::new();
    assert_eq!(come(&mut process, at(1, 0), "bob", &[]), nothing, "who watches nobody is told nothing");
    let first = come(&mut process, ANN, "ann", &["bob", "cyd", "ann", "bob"]);
    assert_eq!(first, [watchlist(&["bob", "ann"], &["cyd"])]);

    for place in [at(1, 1), at(2, 1), at(0, 1)] {
        come(&mut process, place, "cyd", &[]);
        process.pass(300);
    }
    assert_eq!(process.heard(ANN), [watchlist(&["cyd"], &[])]);
    process.leave(at(1, 1));
    process.leave(at(2, 1));
    process.pass(10_000);
    assert_eq!(process.heard(ANN), nothing, "one is left, on the watcher's own shard");
    process.leave(at(0, 1));
    process.pass(2_500);
    assert_eq!(process.heard(ANN), nothing, "it may come back");
    process.pass(1_000);
    assert_eq!(process.heard(ANN), [watchlist(&[], &["cyd"])]);

    process.leave(at(1, 0));
    process.pass(2_000);
    come(&mut process, at(2, 0), "bob", &[]);
    process.pass(10_000);
    assert_eq!(process.heard(ANN), nothing, "a page was loaded again");

    process.leave(at(2, 0));
    process.leave(ANN);
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn clients_of_every_dialect_are_there() {
    let mut process = process("");
    assert_eq!(come(&mut process, ANN, "ann", &["bob"]), [watchlist(&[], &["bob"])]);
    process.connect(at(2, 0), r#"{"sub":"bob"}"#);
    process.pass(300);
    assert_eq!(process.heard(ANN), [watchlist(&["bob"], &[])]);
    assert_eq!(come(&mut process, at(0, 1), "dan", &["bob"]), [watchlist(&["bob"], &[])]);
    process.leave(at(2, 0));
    process.leave(ANN);
    process.pass(4_000);
    assert_eq!(process.heard(at(0, 1)), [watchlist(&[], &["bob"])], "one watcher fewer is still one");
    process.leave(at(0, 1));
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn who_comes_or_goes_at_once_is_told_at_once() {
    let mut process = process("");
    come(&mut process, ANN, "ann", &["u0", "u1", "u2", "u3"]);
    for place in 0..4 {
        come(&mut process, at(place % 3, 7 + place as u32), &format!("u{place}"), &[]);
    }
    process.pass(300);
    assert_eq!(process.heard(ANN), [watchlist(&["u0", "u1", "u2", "u3"], &[])]);
    for place in 0..4 {
        process.leave(at(place % 3, 7 + place as u32));
    }
    process.pass(4_000);
    assert_eq!(process.heard(ANN), [watchlist(&[], &["u0", "u1", "u2", "u3"])]);
}

#[test]
fn nothing_is_told_before_every_shard_has_answered() {
    // Whose sign-in needs no other shard.
    let [ann, cyd] = [0, 1].map(user_at);
    let mut process = process("");
    come(&mut process, at(2, 0), "bob", &[]);
    process.hold_letters = true;
    // The answers to the first are not mistaken for those to the second.
    assert_eq!(come(&mut process, ANN, &ann, &["bob", &cyd]), Vec::<String>::new());
    process.leave(ANN);
    come(&mut process, at(1, 0), &cyd, &[]);
    let second = at(0, 1);
    assert_eq!(come(&mut process, second, &ann, &["bob", &cyd]), Vec::<String>::new());
    process.leave(at(2, 0));
    process.release_letters();
    process.pass(4_000);
    assert_eq!(process.heard(second), [watchlist(&[&cyd], &["bob"])]);
    process.leave(second);
    process.leave(at(1, 0));
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn a_list_that_is_too_long_is_used_in_part() {
    let mut process = process("");
    let users: Vec<String> = (0..101).map(|number| format!("u{number}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let heard = come(&mut process, ANN, "ann", &users);
    let [error, told] = &heard[..] else { panic!("{heard:?}") };
    assert!(error.starts_with(r#"{"event":"pusher:error","data":{"code":4302,"#), "{error}");
    assert_eq!(*told, watchlist(&[], &users[..100]));
    assert_eq!(come(&mut process, at(0, 1), "dan", &users[1..]), [watchlist(&[], &users[1..])]);
    come(&mut process, at(1, 0), "u100", &[]);
    process.pass(300);
    assert_eq!(process.heard(ANN), Vec::<String>::new());
    assert_eq!(process.heard(at(0, 1)), [watchlist(&["u100"], &[])]);
}

#[test]
fn signing_in_again_changes_nothing() {
    let mut process = process("watchlist_limit = 1");
    let id = open(&mut process, ANN);
    sign_in(&mut process, ANN, &id, "ann", &["bob"]);
    assert_eq!(process.heard(ANN)[1..], [watchlist(&[], &["bob"])]);
    sign_in(&mut process, ANN, &id, "ann", &["cyd", "dan"]);
    assert_eq!(process.heard(ANN).len(), 1, "only that it succeeded");
    process.leave(ANN);
    assert_eq!(process.leftovers(), [""; 0]);
}

#[test]
fn it_can_be_switched_off() {
    let mut process = process("watchlist_events = false\nwatchlist_limit = 1");
    assert_eq!(come(&mut process, ANN, "ann", &["bob", "cyd"]), Vec::<String>::new());
    come(&mut process, at(1, 0), "bob", &[]);
    process.pass(5_000);
    assert_eq!(process.heard(ANN), Vec::<String>::new());
}
