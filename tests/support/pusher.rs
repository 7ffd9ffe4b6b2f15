//! What Pusher clients say to the shards of one process.

use std::net::SocketAddr;

use polycast::auth::pusher::user_text;
use polycast::auth::{PusherKeys, Secret};
use polycast::shard::input::{Entrance, Input};

use super::{At, Process, at};

/// An app's keys, as lines of the configuration.
pub const APP: &str = "key = \"app-key\"\nsecret = \"app-secret\"\n";

/// A connection of a client that is nobody yet; returns its id.
pub fn open(process: &mut Process, at: At) -> String {
    let peer = SocketAddr::from(([127, 0, 0, 1], 4_000));
    process.input(at.shard, Input::Accepted { slot: at.slot, peer, entrance: Entrance::Http });
    process.receive(
        at,
        b"GET /app/app-key?protocol=7 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let greeting = String::from_utf8_lossy(&process.bytes(at)).into_owned();
    let id = greeting.split("\\\"socket_id\\\":\\\"").nth(1).and_then(|rest| rest.split('\\').next());
    id.unwrap_or_else(|| panic!("{greeting}")).to_owned()
}

/// What the app's backend gives out for a text that a client must prove.
pub fn sign(text: &str) -> String {
    let keys = PusherKeys::new("app-key", &Secret::from("app-secret"), None).expect("not empty");
    format!("app-key:{}", keys.sign(text.as_bytes()))
}

pub fn sign_in(process: &mut Process, at: At, socket_id: &str, user: &str, watchlist: &[&str]) {
    let data = format!(r#"{{"id":"{user}","watchlist":{watchlist:?}}}"#);
    let auth = sign(&user_text(socket_id, &data));
    let data = data.replace('"', "\\\"");
    process
        .say(at, &format!(r#"{{"event":"pusher:signin","data":{{"auth":"{auth}","user_data":"{data}"}}}}"#));
}

/// A user whose own channel belongs to this one of three shards, so that a sign-in there asks no other.
pub fn user_at(shard: usize) -> String {
    let mut process = Process::new(3, "", APP);
    process.hold_letters = true;
    let place = at(shard, 0);
    let is_there = |user: &String| {
        let id = open(&mut process, place);
        sign_in(&mut process, place, &id, user, &[]);
        let is_answered = !process.heard(place).is_empty();
        process.leave(place);
        is_answered
    };
    (0..100)
        .map(|number| format!("user{number}"))
        .find(is_there)
        .expect("channels are spread over the shards")
}
