//! The whole client against servers that behave, and against ones that do not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::*;
use crate::clock::unix_s;
use crate::dialect::Dialect;
use crate::entrance::Entrance;
use crate::fleet::FleetSettings;
use crate::floor::bare::{Ask, PUBLISH_ANSWER, Peer, request_reply, subscribed_reply, upgrade_reply};
use crate::frames::client_frame;
use crate::token::Mint;

/// What a test double does wrong, at its fourth publication and its first subscriber.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    /// Frames leave in pieces of seven bytes.
    Pieces,
    Skip,
    Repeat,
    Swap,
    Close,
    HangUp,
    Refuse,
}

fn listener() -> (TcpListener, SocketAddrV4) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let SocketAddr::V4(address) = listener.local_addr().expect("bound") else { unreachable!("IPv4") };
    (listener, address)
}

/// A server of threads and blocking calls; its threads end with the test process.
fn double(dialect: Dialect, fault: Fault) -> SocketAddrV4 {
    let (listener, address) = listener();
    let (asks, asked) = channel::<(TcpStream, Ask)>();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let asks = asks.clone();
            thread::spawn(move || read_asks(stream, &asks));
        }
    });
    thread::spawn(move || {
        let mut subscribers: Vec<(u32, TcpStream)> = Vec::new();
        let mut held: Vec<Vec<u8>> = Vec::new();
        let mut published = 0;
        for (mut stream, ask) in asked {
            match ask {
                Ask::Upgrade => {
                    write(&mut stream, &upgrade_reply());
                    write(&mut stream, &greeting(dialect));
                }
                Ask::Subscribe { channel } => {
                    write(&mut stream, &confirmation(dialect, channel));
                    subscribers.push((channel, stream));
                }
                Ask::Request { id } => write(&mut stream, &request_reply(id)),
                Ask::Publish(publication) => {
                    let refused: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
                    let answer = if fault == Fault::Refuse { refused } else { PUBLISH_ANSWER };
                    write(&mut stream, answer);
                    published += 1;
                    let hears = |(channel, _): &&mut (u32, TcpStream)| *channel == publication.channel;
                    for (number, (_, subscriber)) in subscribers.iter_mut().filter(hears).enumerate() {
                        let first = if number == 0 && published == 4 { fault } else { Fault::None };
                        deliver(subscriber, &delivery(dialect, &publication.frame), first, fault, &mut held);
                    }
                }
            }
        }
    });
    address
}

fn text_frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    [&[0x81, 126], &length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn greeting(dialect: Dialect) -> Vec<u8> {
    match dialect {
        Dialect::Centrifuge => Vec::new(),
        Dialect::Pusher => text_frame(
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}"#,
        ),
    }
}

fn confirmation(dialect: Dialect, channel: u32) -> Vec<u8> {
    match dialect {
        Dialect::Centrifuge => subscribed_reply(),
        Dialect::Pusher => {
            let name = dialect.channel_name(channel);
            let event = "pusher_internal:subscription_succeeded";
            text_frame(&format!(r#"{{"event":"{event}","channel":"{name}","data":"{{}}"}}"#))
        }
    }
}

/// A publication, which comes as a Centrifuge frame.
fn delivery(dialect: Dialect, frame: &[u8]) -> Vec<u8> {
    if dialect == Dialect::Centrifuge {
        return frame.to_vec();
    }
    let json = frame.iter().position(|&byte| byte == b'{').expect("JSON");
    let push: serde_json::Value = serde_json::from_slice(&frame[json..]).expect("JSON");
    let (channel, data) = (&push["push"]["channel"], &push["push"]["pub"]["data"]);
    // The order of the members is ours to keep.
    let data = format!(r#"{{"n":{},"t":{},"p":{}}}"#, data["n"], data["t"], data["p"]);
    let data = serde_json::Value::String(data);
    text_frame(&format!(r#"{{"event":"message","channel":{channel},"data":{data}}}"#))
}

fn read_asks(mut stream: TcpStream, asks: &Sender<(TcpStream, Ask)>) {
    let mut peer = Peer::default();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let mut read = Vec::new();
        assert!(peer.feed(&buffer[..count], &mut read), "the client speaks wrongly");
        for ask in read {
            asks.send((stream.try_clone().expect("cloned"), ask)).expect("the hub lives");
        }
    }
}

fn deliver(stream: &mut TcpStream, frame: &[u8], now: Fault, always: Fault, held: &mut Vec<Vec<u8>>) {
    match now {
        Fault::Skip => return,
        Fault::Swap => return held.push(frame.to_vec()),
        Fault::Close => return write(stream, &[0x88, 2, 0x0b, 0xc0]),
        Fault::HangUp => return stream.shutdown(Shutdown::Both).expect("connected"),
        Fault::Repeat => write(stream, frame),
        Fault::None | Fault::Pieces | Fault::Refuse => {}
    }
    if always == Fault::Pieces {
        frame.chunks(7).for_each(|piece| write(stream, piece));
    } else {
        write(stream, frame);
    }
    held.drain(..).for_each(|frame| write(stream, &frame));
}

fn write(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

fn contender(address: SocketAddrV4, channels: u32, slots_per_ring: Option<u32>) -> Contender {
    contender_of(Dialect::Centrifuge, address, channels, slots_per_ring)
}

fn contender_of(
    dialect: Dialect,
    address: SocketAddrV4,
    channels: u32,
    slots_per_ring: Option<u32>,
) -> Contender {
    let fleet = Fleet::new(FleetSettings {
        target: address,
        publish_to: address,
        entrance: Entrance::Http,
        dialect,
        mint: Mint::new("secret", "app-key", unix_s() + 60),
        api_key: "key".to_owned(),
        payload_bytes: 128,
        connections_max: 300,
        slots_per_ring,
        shares_core: false,
    });
    let server = Server::at(address, None);
    let work = Work::Publish { channels };
    Contender::new("double".to_owned(), fleet.expect("rings"), Ledger::new(channels), work, server)
}

/// Faults after a slice with `subscribers` of one channel and four publications in flight.
fn faults_of(dialect: Dialect, fault: Fault, subscribers: usize) -> (Vec<String>, Counts) {
    let mut contender = contender_of(dialect, double(dialect, fault), 1, None);
    contender.fleet.open_publishers(1, &mut contender.ledger).expect("connected");
    contender.fleet.subscribe(subscribers, 8, |_| 0, &mut contender.ledger).expect("subscribed");
    let pace = Pace::Closed { in_flight: 4 };
    contender.slice(pace, Duration::from_millis(100), &mut None).expect("the slice ends");
    (contender.ledger.faults(), contender.ledger.counts)
}

fn crossed<T: Copy>(cases: impl IntoIterator<Item = T>) -> impl Iterator<Item = (Dialect, T)> {
    cases.into_iter().flat_map(|case| [Dialect::Centrifuge, Dialect::Pusher].map(|dialect| (dialect, case)))
}

#[test]
fn a_server_that_behaves_passes_however_it_cuts_its_frames() {
    for (dialect, fault) in crossed([Fault::None, Fault::Pieces]) {
        let (faults, counts) = faults_of(dialect, fault, 3);
        assert_eq!(faults, Vec::<String>::new(), "{dialect:?} {fault:?}");
        assert!(counts.published >= 4, "{counts:?}");
        assert_eq!(counts.deliveries, counts.published * 3, "{dialect:?} {fault:?}");
    }
}

#[test]
fn a_server_that_does_not_behave_is_found_out() {
    let table = [
        (Fault::Skip, "1 publications lost at a subscriber"),
        (Fault::Repeat, "1 publications repeated or out of order"),
        (Fault::Swap, "1 gaps"),
        (Fault::Close, "a connection ended"),
        (Fault::Refuse, "refusals"),
    ];
    for (dialect, (fault, want)) in crossed(table) {
        let (faults, _) = faults_of(dialect, fault, 2);
        let want = if fault == Fault::Close { "the server closed with 3008" } else { want };
        assert!(faults.iter().any(|text| text.contains(want)), "{dialect:?} {fault:?}: {faults:?}");
    }
}

#[test]
fn many_rings_and_channels_in_open_loop() {
    let mut contender = contender(double(Dialect::Centrifuge, Fault::None), 150, Some(64));
    contender.fleet.open_publishers(20, &mut contender.ledger).expect("connected");
    contender.fleet.subscribe(150, 32, |number| number, &mut contender.ledger).expect("subscribed");
    let pace = Pace::Open { per_second: 2_000.0 };
    let slice = contender.slice(pace, Duration::from_millis(250), &mut None).expect("the slice ends");
    assert_eq!(contender.ledger.faults(), Vec::<String>::new());
    assert_eq!((slice.deliveries, slice.lateness.quantiles().count), (500, 500));
    contender.fleet.close_subscribers(&mut contender.ledger).expect("closed");
    assert_eq!(contender.fleet.open(), 20);
    contender.fleet.close_publishers(&mut contender.ledger).expect("closed");
    assert_eq!(contender.fleet.open(), 0);
    contender
        .fleet
        .subscribe(5, 5, |number| number % 150, &mut contender.ledger)
        .expect("slots are free again");
}

#[test]
fn a_ping_is_answered_and_no_delivery() {
    let (listener, address) = listener();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepted");
        let mut peer = Peer::default();
        let mut asks = Vec::new();
        let mut buffer = [0; 4096];
        while asks.len() < 2 {
            let count = stream.read(&mut buffer).expect("read");
            assert!(peer.feed(&buffer[..count], &mut asks), "the client speaks wrongly");
            if asks.len() == 1 {
                write(&mut stream, &upgrade_reply());
            }
        }
        write(&mut stream, &subscribed_reply());
        write(&mut stream, &[0x81, 2, b'{', b'}']);
        let mut pong = [0; 8];
        stream.read_exact(&mut pong).expect("a pong");
        // With its socket, which stays open.
        (pong, stream)
    });
    let mut contender = contender(address, 1, None);
    contender.fleet.subscribe(1, 1, |_| 0, &mut contender.ledger).expect("subscribed");
    let attention = Attention::Relaxed;
    let pinged = |_: &mut Fleet, ledger: &mut Ledger| ledger.counts.pings == 1;
    contender.fleet.turn_until(&mut contender.ledger, attention, pinged).expect("a ping");
    contender.fleet.turn(&mut contender.ledger, attention).expect("the pong leaves");
    let mut want = Vec::new();
    client_frame(1, b"{}", &mut want);
    let (pong, _stream) = server.join().expect("no panic");
    assert_eq!(pong.to_vec(), want);
    assert_eq!((contender.ledger.counts.deliveries, contender.ledger.faults()), (0, Vec::new()));
}

#[test]
fn stalled_readers_hear_nothing_and_may_be_dropped_without_fault() {
    for (fault, dropped) in [(Fault::None, 0), (Fault::HangUp, 1)] {
        let mut contender = contender(double(Dialect::Centrifuge, fault), 1, None);
        contender.fleet.open_publishers(1, &mut contender.ledger).expect("connected");
        // One handshake at a time, so that the first subscriber of the fleet is the first of the server.
        contender.fleet.subscribe(4, 1, |_| 0, &mut contender.ledger).expect("subscribed");
        contender.publish_to_each(0..1).expect("heard by four");
        contender.fleet.stall(1, &mut contender.ledger).expect("stalled");
        for _ in 0..4 {
            contender.publish_to_each(0..1).expect("heard by three");
        }
        let settled = |_: &mut Fleet, ledger: &mut Ledger| ledger.counts.dropped == dropped;
        contender.fleet.turn_until(&mut contender.ledger, Attention::Relaxed, settled).expect("settles");
        assert_eq!(contender.ledger.faults(), Vec::<String>::new(), "{fault:?}");
        assert_eq!(contender.ledger.counts.deliveries, 4 + 4 * 3);
        contender.fleet.let_stalled_read().expect("reads");
        for _ in 0..20 {
            contender.fleet.turn(&mut contender.ledger, Attention::Relaxed).expect("the ring works");
        }
        assert_eq!(contender.ledger.counts.deliveries, 4 + 4 * 3, "what it missed is not counted");
        assert_eq!(contender.ledger.counts.dropped, dropped);
        assert_eq!(contender.fleet.close_stalled().expect("closed"), 1 - dropped as usize, "{fault:?}");
    }
}

#[test]
fn requests_of_clients_are_answered_in_turn() {
    let mut contender = contender(double(Dialect::Centrifuge, Fault::None), 10, Some(64));
    contender.fleet.subscribe(10, 10, |number| number, &mut contender.ledger).expect("subscribed");
    contender.work = Work::Request { clients: 10 };
    let closed = Pace::Closed { in_flight: 20 };
    let slice = contender.slice(closed, Duration::from_millis(50), &mut None).expect("the slice ends");
    assert_eq!(contender.ledger.faults(), Vec::<String>::new());
    assert!(slice.deliveries >= 20, "{}", slice.deliveries);
    let open = Pace::Open { per_second: 1_000.0 };
    let slice = contender.slice(open, Duration::from_millis(100), &mut None).expect("the slice ends");
    assert_eq!((slice.deliveries, slice.latency.quantiles().count), (100, 100));
    assert_eq!(contender.ledger.faults(), Vec::<String>::new());
}

#[test]
fn people_come_and_go_in_the_middle_of_the_traffic() {
    let mut contender = contender(double(Dialect::Centrifuge, Fault::None), 3, None);
    let Contender { fleet, ledger, .. } = &mut contender;
    fleet.open_publishers(2, ledger).expect("connected");
    fleet.subscribe(30, 8, |number| number % 3, ledger).expect("subscribed");
    let mut replaced = 0;
    for round in 0..200 {
        fleet.publish(round % 3, now_ns(), ledger);
        if round % 4 == 0 {
            let number = round * 7 % 30;
            replaced +=
                u32::from(fleet.replace(number, (number % 3).into(), ledger).expect("the ring works"));
        }
        fleet.turn(ledger, Attention::Spinning).expect("the ring works");
    }
    let settled = |_: &mut Fleet, ledger: &mut Ledger| ledger.quiet() && ledger.counts.subscribed == 30;
    fleet.turn_until(ledger, Attention::Relaxed, settled).expect("settles");
    assert!(replaced > 5, "{replaced}");
    assert_eq!(u64::from(replaced) + 30, ledger.counts.handshakes);
    assert_eq!(ledger.faults(), Vec::<String>::new());
}
