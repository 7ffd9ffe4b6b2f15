//! How backends' connections are read: in small pieces, in large ones, or not at all.

use polycast::core::ids::Slot;
use polycast::shard::input::{Entrance, Input, ReadMode, STREAM_BYTES};

#[path = "../benches/support/mod.rs"]
mod support;

use support::{SECRET, World};

const BACKEND: Slot = Slot(7);

fn world(entrance: Entrance) -> World {
    let mut world = World::new("", "");
    let peer = "127.0.0.1:4000".parse().expect("an address");
    world.input(Input::Accepted { slot: BACKEND, peer, entrance });
    if entrance == Entrance::Resp {
        world.receive(BACKEND, format!("AUTH {SECRET}\r\n").as_bytes());
    }
    world.reads.clear();
    world
}

/// `count` publications, pipelined.
fn publications(entrance: Entrance, count: usize) -> Vec<u8> {
    let body = r#"{"channel":"a","data":1}"#;
    let length = body.len();
    let one = match entrance {
        Entrance::Http => format!(
            "POST /api/publish HTTP/1.1\r\nHost: a\r\nX-API-Key: {SECRET}\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
        Entrance::Resp => "*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$1\r\n1\r\n".to_owned(),
    };
    one.repeat(count).into_bytes()
}

#[test]
fn who_sends_one_publication_at_a_time_is_read_in_small_pieces() {
    for entrance in [Entrance::Http, Entrance::Resp] {
        let mut world = world(entrance);
        for _ in 0..50 {
            world.receive(BACKEND, &publications(entrance, 1));
        }
        assert_eq!(world.reads, [], "{entrance:?}");
    }
}

#[test]
fn who_fills_a_small_piece_is_read_in_large_ones_from_then_on() {
    for entrance in [Entrance::Http, Entrance::Resp] {
        let mut world = world(entrance);
        let burst = publications(entrance, 30);
        for piece in burst.chunks(STREAM_BYTES) {
            world.receive(BACKEND, piece);
        }
        world.receive(BACKEND, &publications(entrance, 1));
        assert_eq!(world.reads, [(BACKEND, ReadMode::Bulk)], "{entrance:?}: said once");
    }
}

#[test]
fn who_is_not_read_for_now_is_not_read_in_large_pieces_either() {
    for entrance in [Entrance::Http, Entrance::Resp] {
        let mut world = world(entrance);
        world.shard.set_spilled(5);
        let burst = publications(entrance, 2_000);
        let (before, last_piece) = burst.split_at(burst.len() - STREAM_BYTES);
        for piece in before.chunks(STREAM_BYTES - 1) {
            world.receive(BACKEND, piece);
        }
        world.receive(BACKEND, last_piece);
        let last = world.reads.last();
        assert_eq!(last, Some(&(BACKEND, ReadMode::Paused)), "{entrance:?}: letters wait");
        world.shard.set_spilled(0);
        for _ in 0..2_000 {
            world.input(Input::TurnEnd);
            while let Some((slot, batch)) = world.shard.next_batch() {
                let result = Ok(batch.len() as u32);
                world.input(Input::Sent { slot, result });
            }
        }
        assert_eq!(world.reads.last(), Some(&(BACKEND, ReadMode::Bulk)), "{entrance:?}");
    }
}

#[test]
fn a_browser_with_a_long_head_stays_with_small_pieces() {
    let mut world = world(Entrance::Http);
    let cookie = "x".repeat(2 * STREAM_BYTES);
    let head = format!(
        "GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nCookie: {cookie}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    for piece in head.as_bytes().chunks(STREAM_BYTES) {
        world.receive(BACKEND, piece);
    }
    let (_, answer) = world.shard.next_batch().expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    assert_eq!(world.reads, []);
}
