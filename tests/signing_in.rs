//! Users who sign in, and what is sent to them: several whole shards, Pusher clients without sockets.

mod support;

use support::pusher::{APP, open, sign_in};
use support::{At, Process, at};

const NAMESPACES: &str = "[[apps.namespaces]]\nname = \"\"\nallow_publish_for_client = true\n\
    allow_subscribe_for_anonymous = true\n";

fn process() -> Process {
    Process::new(3, "", &format!("{APP}{NAMESPACES}"))
}

fn send_to_user(process: &mut Process, user: &str, number: u32) {
    let params = format!(r##"{{"channel":"#server-to-user-{user}","data":{number}}}"##);
    process.call(2, "publish", &params);
}

fn event(user: &str, number: u32) -> String {
    format!(r##"{{"event":"message","channel":"#server-to-user-{user}","data":"{number}"}}"##)
}

fn success(user: &str) -> String {
    format!(
        r#"{{"event":"pusher:signin_success","data":"{{\"user_data\":\"{{\\\"id\\\":\\\"{user}\\\",\\\"watchlist\\\":[]}}\"}}"}}"#
    )
}

/// What a client asks for as soon as it has signed in.
fn own_channel(user: &str) -> (String, String) {
    let channel = format!("#server-to-user-{user}");
    (
        format!(r#"{{"event":"pusher:subscribe","data":{{"auth":"","channel":"{channel}"}}}}"#),
        format!(
            r#"{{"event":"pusher_internal:subscription_succeeded","channel":"{channel}","data":"{{}}"}}"#
        ),
    )
}

#[test]
fn what_is_sent_to_a_user_arrives_from_the_sign_in_on() {
    // Users whose channels belong to each of the shards, so that some are asked of another one and some are not.
    for user in ["u1", "u2", "u3", "u4", "u5", "u6", "u7"] {
        let mut process = process();
        let places = [at(0, 0), at(0, 1), at(1, 0)];
        for place in places {
            let id = open(&mut process, place);
            sign_in(&mut process, place, &id, user, &[]);
            assert_eq!(process.heard(place), [success(user)], "{user}");
        }
        send_to_user(&mut process, user, 1);
        let (subscribe, subscribed) = own_channel(user);
        for place in places {
            assert_eq!(process.heard(place), [event(user, 1)], "{user}");
            assert_eq!(process.ask(place, &subscribe), [&*subscribed], "{user}");
            let again = process.ask(place, &subscribe);
            assert!(again[0].contains("pusher:error"), "once is enough: {again:?}");
        }
        send_to_user(&mut process, user, 2);
        for place in places {
            assert_eq!(process.heard(place), [event(user, 2)], "once, {user}");
            process.leave(place);
        }
        assert_eq!(process.leftovers(), Vec::<&str>::new(), "{user}");
    }
}

#[test]
fn the_sign_in_is_answered_before_anything_that_is_sent_to_the_user() {
    for user in ["u1", "u2", "u3", "u4", "u5", "u6", "u7"] {
        let mut process = process();
        let place = at(0, 0);
        let id = open(&mut process, place);
        // What it asked for before is answered first.
        process.hold_letters = true;
        process.say(place, r#"{"event":"pusher:subscribe","data":{"channel":"chat"}}"#);
        sign_in(&mut process, place, &id, user, &[]);
        process.say_api(2, "publish", &format!(r##"{{"channel":"#server-to-user-{user}","data":1}}"##));
        process.release_letters();
        process.end_api(2);
        send_to_user(&mut process, user, 2);
        let mut heard = process.heard(place);
        assert!(heard.remove(0).contains("subscription_succeeded"), "{heard:?}");
        // The first may have been sent before the client had signed in.
        assert_eq!(heard.remove(0), success(user), "{heard:?}");
        assert_eq!(heard.pop(), Some(event(user, 2)));
        assert!(heard.is_empty() || heard == [event(user, 1)], "{heard:?}");
    }
}

#[test]
fn a_client_whose_user_cannot_be_reached_comes_back_later() {
    let mut process = process();
    let place = at(0, 0);
    let id = open(&mut process, place);
    process.engine_is_down = true;
    sign_in(&mut process, place, &id, "u1", &[]);
    assert_eq!(process.heard(place).last().map(String::as_str), Some("close 4100 over capacity"));
}

#[test]
fn a_client_that_leaves_while_it_signs_in_leaves_nothing() {
    for user in ["u1", "u2", "u3", "u4", "u5", "u6", "u7"] {
        let mut process = process();
        let place = at(0, 0);
        let id = open(&mut process, place);
        process.hold_letters = true;
        sign_in(&mut process, place, &id, user, &[]);
        process.leave(place);
        process.release_letters();
        assert_eq!(process.leftovers(), Vec::<&str>::new(), "{user}");
    }
}

/// A backend ends all that a user hears; the connection stays.
#[test]
fn a_backend_may_end_what_a_sign_in_began() {
    let mut process = process();
    let place: At = at(0, 0);
    let id = open(&mut process, place);
    sign_in(&mut process, place, &id, "u1", &[]);
    process.heard(place);
    process.call(1, "unsubscribe", r#"{"user":"u1","channel":""}"#);
    send_to_user(&mut process, "u1", 1);
    assert!(!process.heard(place).contains(&event("u1", 1)));
    let (subscribe, subscribed) = own_channel("u1");
    assert_eq!(process.ask(place, &subscribe), [subscribed]);
}
