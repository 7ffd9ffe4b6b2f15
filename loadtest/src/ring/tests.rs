//! The ring against blocking peers of std.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use super::*;

const SMALL: RingSize = RingSize { submissions: 64, slots: 16, buffers: 8, buffer_bytes: 64 };
const SOURCE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 9), 0);

fn local(listener: &TcpListener) -> SocketAddrV4 {
    match listener.local_addr().expect("bound") {
        std::net::SocketAddr::V4(address) => address,
        std::net::SocketAddr::V6(_) => unreachable!("bound to IPv4"),
    }
}

/// Polls until an event comes, at most two seconds.
fn event(ring: &mut Ring) -> Event {
    for _ in 0..20 {
        if let Some(event) = ring.next_event().expect("ring works") {
            return event;
        }
        ring.poll(Some(Duration::from_millis(100))).expect("ring polls");
    }
    panic!("no event within two seconds");
}

#[test]
fn connects_sends_receives_more_than_the_buffers_hold_and_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let mut ring = Ring::new(SMALL, &[local(&listener)], &[SOURCE]).expect("ring");
    let slot = ring.connect(0, 0).expect("queued").expect("a free slot");
    assert_eq!(event(&mut ring), Event::Connected { slot });
    let (mut peer, from) = listener.accept().expect("accepted");
    assert_eq!(from.ip(), Ipv4Addr::new(127, 0, 0, 9));

    ring.receive(slot).expect("armed");
    ring.send_owned(slot, b"hello".to_vec()).expect("queued");
    assert_eq!(event(&mut ring), Event::Sent { slot });
    let mut hello = [0; 5];
    peer.read_exact(&mut hello).expect("read");
    assert_eq!(&hello, b"hello");

    // Four times what eight buffers of 64 bytes hold, so the receive starves and is armed again.
    let sent: Vec<u8> = (0..2048u32).map(|i| i as u8).collect();
    peer.write_all(&sent).expect("written");
    let mut got = Vec::new();
    while got.len() < sent.len() {
        let Event::Received { buffer, .. } = event(&mut ring) else { panic!("data expected") };
        got.extend_from_slice(ring.bytes(&buffer));
        ring.release(buffer);
    }
    assert_eq!(got, sent);

    ring.close(slot).expect("queued");
    assert_eq!(event(&mut ring), Event::Closed { slot });
    assert_eq!(ring.slots_free(), 16);
    let error = peer.read(&mut hello).expect_err("reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_close_ends_a_send_that_waits_for_a_peer_that_does_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let mut ring = Ring::new(SMALL, &[local(&listener)], &[SOURCE]).expect("ring");
    let slot = ring.connect(0, 0).expect("queued").expect("a free slot");
    assert_eq!(event(&mut ring), Event::Connected { slot });
    let peer = listener.accept().expect("accepted");
    ring.receive(slot).expect("armed");
    ring.send_owned(slot, vec![0; 64 << 20]).expect("queued");
    ring.poll(Some(Duration::from_millis(20))).expect("ring polls");
    assert_eq!(ring.next_event().expect("ring works"), None, "64 MiB cannot have left");
    ring.close(slot).expect("queued");
    assert!(matches!(event(&mut ring), Event::SendFailed { .. }));
    assert_eq!(event(&mut ring), Event::Closed { slot });
    drop(peer);
}

#[test]
fn a_refused_connect_frees_its_slot_only_after_close() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let target = local(&listener);
    drop(listener);
    let mut ring = Ring::new(SMALL, &[target], &[SOURCE]).expect("ring");
    let slot = ring.connect(0, 0).expect("queued").expect("a free slot");
    assert_eq!(event(&mut ring), Event::ConnectFailed { slot, errno: libc::ECONNREFUSED });
    assert_eq!(ring.slots_free(), 15);
    ring.close(slot).expect("queued");
    assert_eq!(event(&mut ring), Event::Closed { slot });
    assert_eq!(ring.slots_free(), 16);
}

#[test]
fn an_unusable_source_address_is_named_by_its_own_error() {
    let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    let nowhere = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 0);
    let mut ring = Ring::new(SMALL, &[target], &[nowhere]).expect("ring");
    let slot = ring.connect(0, 0).expect("queued").expect("a free slot");
    assert_eq!(event(&mut ring), Event::ConnectFailed { slot, errno: libc::EADDRNOTAVAIL });
}
