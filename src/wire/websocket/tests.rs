//! Rows of the frame table by their names (`T6.x`), then properties: cuts do not matter, round trips hold.

use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::*;

const LIMITS: Limits = Limits { message_bytes_max: 1_000, fragments_max: 4 };
const MASK: [u8; 4] = [0x9a, 0x01, 0xff, 0x3c];

const TEXT: OpCode = OpCode::Data(Data::Text);
const BINARY: OpCode = OpCode::Data(Data::Binary);
const CONTINUE: OpCode = OpCode::Data(Data::Continue);
const PING: OpCode = OpCode::Control(Control::Ping);
const PONG: OpCode = OpCode::Control(Control::Pong);
const CLOSE: OpCode = OpCode::Control(Control::Close);

/// [`Incoming`], owned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Incoming<'_>> for Item {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(bytes) => Self::Text(bytes.to_vec()),
            Incoming::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Incoming::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Incoming::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Incoming::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    items: Vec<Item>,
    violation: Option<Violation>,
    /// Whether nothing, and whether a fragmented message, was incomplete at the end.
    idle: bool,
    fragmented: bool,
}

/// Feeds `stream` in pieces whose lengths repeat `cuts`.
fn read(stream: &[u8], cuts: &[usize], limits: &Limits) -> Outcome {
    let mut assembler = Assembler::default();
    let mut items = Vec::new();
    let mut violation = None;
    let mut stream = stream.to_vec();
    let mut left = &mut stream[..];
    let mut cuts = cuts.iter().cycle();
    'stream: while !left.is_empty() {
        let cut = left.len().min(*cuts.next().expect("cuts repeat"));
        let (mut piece, rest) = left.split_at_mut(cut);
        left = rest;
        loop {
            match assembler.next(&mut piece, limits) {
                Ok(Some(incoming)) => items.push(incoming.into()),
                Ok(None) => break,
                Err(error) => {
                    violation = Some(error);
                    assert!(piece.is_empty());
                    break 'stream;
                }
            }
        }
        assert!(piece.is_empty());
    }
    let (idle, fragmented) = (assembler.is_idle(), assembler.fragmented_message_open());
    assert_eq!(idle, assembler.memory_bytes() == 0);
    Outcome { items, violation, idle, fragmented }
}

fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_client_frame(opcode, is_final, MASK, payload, &mut bytes);
    bytes
}

fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, true, &[&code.to_be_bytes(), reason].concat())
}

/// A masked frame whose length is coded in `length_bytes` (0: in the second byte) and never sent.
fn announced(first: u8, length_bytes: usize, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length_bytes {
        0 => bytes.push(0x80 | length as u8),
        2 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}

fn text(text: &str) -> Item {
    Item::Text(text.as_bytes().to_vec())
}

/// Whole, byte by byte and in other pieces, the stream must come to the same.
#[track_caller]
fn check(name: &str, stream: &[u8], items: &[Item], violation: Option<Violation>) {
    for cuts in [&[usize::MAX][..], &[1], &[2, 1, 3], &[7], &[512]] {
        let outcome = read(stream, cuts, &LIMITS);
        assert_eq!(outcome.items, items, "{name}, cut {cuts:?}");
        assert_eq!(outcome.violation, violation, "{name}, cut {cuts:?}");
    }
}

#[test]
fn messages() {
    let long = "ä".repeat(400);
    let rows: [(&str, Vec<u8>, Vec<Item>); 13] = [
        ("empty text", frame(TEXT, true, b""), vec![text("")]),
        ("text", frame(TEXT, true, "größer".as_bytes()), vec![text("größer")]),
        ("binary need not be UTF-8", frame(BINARY, true, b"\xff\xfe"), vec![Item::Binary(vec![0xff, 0xfe])]),
        ("two-byte length", frame(TEXT, true, long.as_bytes()), vec![text(&long)]),
        ("ping", frame(PING, true, b"p"), vec![Item::Ping(b"p".to_vec())]),
        ("pong nobody asked for", frame(PONG, true, b""), vec![Item::Pong(vec![])]),
        ("control of 125 bytes", frame(PING, true, &[7; 125]), vec![Item::Ping(vec![7; 125])]),
        ("close without body", frame(CLOSE, true, b""), vec![Item::Close(None, String::new())]),
        ("close with reason", close_frame(1001, b"bye"), vec![Item::Close(Some(1001), "bye".to_owned())]),
        (
            "fragments with a ping between",
            [
                frame(TEXT, false, b"one "),
                frame(PING, true, b"p"),
                frame(CONTINUE, false, b""),
                frame(CONTINUE, true, b"two"),
                frame(BINARY, true, b"next"),
            ]
            .concat(),
            vec![Item::Ping(b"p".to_vec()), text("one two"), Item::Binary(b"next".to_vec())],
        ),
        (
            "T6.4 code point split over fragments",
            [
                frame(TEXT, false, b"\xf0\x9f"),
                frame(CONTINUE, false, b"\x92"),
                frame(CONTINUE, true, b"\xa9"),
            ]
            .concat(),
            vec![text("💩")],
        ),
        ("message of exactly the limit", frame(BINARY, true, &[1; 1000]), vec![Item::Binary(vec![1; 1000])]),
        (
            "as many fragments as allowed",
            [
                frame(TEXT, false, b""),
                frame(CONTINUE, false, b"a"),
                frame(CONTINUE, false, b"b"),
                frame(CONTINUE, true, b""),
            ]
            .concat(),
            vec![text("ab")],
        ),
    ];
    for (name, stream, items) in rows {
        check(name, &stream, &items, None);
        assert!(read(&stream, &[3], &LIMITS).idle, "{name}: memory is kept");
    }
}

#[test]
fn violations_of_form() {
    use Violation::*;
    let mut unmasked = Vec::new();
    append_frame(true, b"hi", &mut unmasked);
    let rsv = |bit: u8| {
        let mut bytes = frame(TEXT, true, b"hi");
        bytes[0] |= bit;
        bytes
    };
    let rows = [
        ("T6.1 unmasked", unmasked, Unmasked),
        ("T6.1 unmasked and empty", vec![0x81, 0], Unmasked),
        ("T6.1 RSV1", rsv(0x40), ReservedBits),
        ("T6.1 RSV2", rsv(0x20), ReservedBits),
        ("T6.1 RSV3", rsv(0x10), ReservedBits),
        ("T6.1 opcode 3", announced(0x83, 0, 0), ReservedOpcode { opcode: 3 }),
        ("T6.1 opcode 7", announced(0x87, 0, 0), ReservedOpcode { opcode: 7 }),
        ("T6.1 opcode B", announced(0x8b, 0, 0), ReservedOpcode { opcode: 11 }),
        ("T6.1 opcode F", announced(0x8f, 0, 0), ReservedOpcode { opcode: 15 }),
        ("T6.1 ping of 126 bytes", frame(PING, true, &[0; 126]), ControlTooLong { bytes: 126 }),
        ("T6.1 close of 126 bytes", close_frame(1000, &[b'a'; 124]), ControlTooLong { bytes: 126 }),
        ("T6.1 fragmented ping", frame(PING, false, b""), ControlFragmented),
        ("T6.1 continuation without start", frame(CONTINUE, true, b"x"), StrayContinuation),
        (
            "T6.1 continuation after the end",
            [frame(TEXT, false, b""), frame(CONTINUE, true, b""), frame(CONTINUE, true, b"")].concat(),
            StrayContinuation,
        ),
        (
            "T6.1 new message inside a message",
            [frame(TEXT, false, b"a"), frame(TEXT, true, b"b")].concat(),
            InterleavedMessage,
        ),
        ("T6.2 top bit", announced(0x82, 8, 1 << 63), LengthTopBit),
        ("T6.2 all bits", announced(0x82, 8, u64::MAX), LengthTopBit),
        ("T6.2 top bit on a ping", announced(0x89, 8, 1 << 63), LengthTopBit),
        ("T6.2 125 in two bytes", announced(0x82, 2, 125), LengthNotMinimal { bytes: 125 }),
        ("T6.2 0 in two bytes", announced(0x81, 2, 0), LengthNotMinimal { bytes: 0 }),
        ("T6.2 65535 in eight bytes", announced(0x82, 8, 65_535), LengthNotMinimal { bytes: 65_535 }),
        ("T6.2 5 in eight bytes", announced(0x89, 8, 5), LengthNotMinimal { bytes: 5 }),
    ];
    for (name, stream, want) in rows {
        assert_eq!(want.close_code(), 1002, "{name}");
        assert_eq!(read(&stream, &[1], &LIMITS).violation, Some(want), "{name}");
        let before = frame(TEXT, true, b"before");
        let items = if matches!(want, StrayContinuation) && stream[0] & 0x0f == 1 {
            vec![text("before"), text("")]
        } else {
            vec![text("before")]
        };
        check(name, &[before, stream].concat(), &items, Some(want));
    }
}

#[test]
fn violations_of_limits() {
    let too_big = Violation::MessageTooBig { limit: 1_000 };
    let too_many = Violation::TooManyFragments { limit: 4 };
    let empty_fragments =
        |count: usize| [frame(TEXT, false, b""), frame(CONTINUE, false, b"").repeat(count - 1)].concat();
    let rows = [
        ("T6.3 one byte over, at the header", announced(0x82, 2, 1_001), too_big, 1009),
        ("T6.3 2^62 announced", announced(0x82, 8, 1 << 62), too_big, 1009),
        ("T6.3 4 GiB and a bit", announced(0x82, 8, (1 << 32) + 1), too_big, 1009),
        (
            "T6.3 accumulated, at the header of the last fragment",
            [frame(TEXT, false, &[b'a'; 600]), announced(0x80, 2, 401)].concat(),
            too_big,
            1009,
        ),
        ("T6.6 empty fragments", empty_fragments(5), too_many, 1008),
        (
            "T6.6 the last fragment counts too",
            [empty_fragments(4), frame(CONTINUE, true, b"")].concat(),
            too_many,
            1008,
        ),
    ];
    for (name, stream, want, code) in rows {
        assert_eq!(want.close_code(), code, "{name}");
        check(name, &stream, &[], Some(want));
    }
}

#[test]
fn violations_of_utf8() {
    let rows: [(&str, &[&[u8]]); 9] = [
        ("T6.4 lone continuation byte", &[b"a\x80"]),
        ("T6.4 surrogate", &[b"\xed\xa0\x80"]),
        ("T6.4 overlong", &[b"\xc0\xaf"]),
        ("T6.4 above U+10FFFF", &[b"\xf4\x90\x80\x80"]),
        ("T6.4 cut at the end", &[b"a\xe2\x82"]),
        ("T6.4 cut at the end of the last fragment", &[b"a", b"\xe2\x82"]),
        ("T6.4 split code point never completed", &[b"\xe2\x82", b"", b"a"]),
        ("T6.4 wrong across fragments", &[b"\xed", b"\xa0\x80"]),
        ("T6.4 already wrong in the first fragment", &[b"\xff", b"a"]),
    ];
    for (name, fragments) in rows {
        let mut stream = Vec::new();
        for (index, fragment) in fragments.iter().enumerate() {
            let opcode = if index == 0 { TEXT } else { CONTINUE };
            append_client_frame(opcode, index + 1 == fragments.len(), MASK, fragment, &mut stream);
        }
        check(name, &stream, &[], Some(Violation::TextNotUtf8));
        assert_eq!(Violation::TextNotUtf8.close_code(), 1007);
    }
    check("T6.4 close reason", &close_frame(1000, b"\xc3"), &[], Some(Violation::CloseReasonNotUtf8));
    assert_eq!(Violation::CloseReasonNotUtf8.close_code(), 1007);
}

#[test]
fn close_codes() {
    let refused = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65_535];
    for code in refused {
        let violation = Violation::CloseCode { code };
        assert_eq!(violation.close_code(), 1002);
        check(&format!("T6.5 close code {code}"), &close_frame(code, b""), &[], Some(violation));
    }
    let accepted =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    for code in accepted {
        check(
            &format!("close code {code}"),
            &close_frame(code, b""),
            &[Item::Close(Some(code), String::new())],
            None,
        );
    }
    check("T6.5 body of one byte", &frame(CLOSE, true, b"\x03"), &[], Some(Violation::CloseBodyTooShort));
    assert_eq!(Violation::CloseBodyTooShort.close_code(), 1002);
}

#[test]
fn what_the_caller_judges_with_its_clock_is_1008() {
    assert_eq!(Violation::MessageUnfinished.close_code(), 1008);
    assert_eq!(Violation::PingFlood.close_code(), 1008);
}

#[test]
fn t6_7_an_unfinished_fragmented_message_is_reported() {
    let open = frame(TEXT, false, b"abc");
    let straddling = frame(TEXT, true, b"abcdef");
    let rows = [
        ("nothing", vec![], false),
        ("whole message", frame(TEXT, true, b"abc"), false),
        ("unfragmented but cut", straddling[..9].to_vec(), false),
        ("cut header", open[..3].to_vec(), false),
        ("first fragment cut", open[..8].to_vec(), true),
        ("first fragment whole", open.clone(), true),
        (
            "within the last fragment",
            [open.clone(), frame(CONTINUE, true, b"de")[..7].to_vec()].concat(),
            true,
        ),
        ("within a ping between", [open.clone(), frame(PING, true, b"pp")[..7].to_vec()].concat(), true),
        ("after a ping between", [open.clone(), frame(PING, true, b"pp")].concat(), true),
        ("finished", [open, frame(CONTINUE, true, b"de")].concat(), false),
    ];
    for (name, stream, want) in rows {
        for cuts in [&[usize::MAX][..], &[1]] {
            assert_eq!(read(&stream, cuts, &LIMITS).fragmented, want, "{name}");
        }
    }
}

#[test]
fn t6_8_byte_by_byte_costs_linear_work_and_twice_the_message() {
    const MESSAGE_BYTES: usize = 8 * 1024;
    let limits = Limits { message_bytes_max: 64 * 1024, fragments_max: 1_024 };
    let message = "€uro".repeat(MESSAGE_BYTES / 6);
    let mut stream = frame(TEXT, true, message.as_bytes());
    let stream_bytes = stream.len();
    let mut assembler = Assembler::default();
    let (mut memory_bytes_max, mut growths, mut validated_bytes) = (0, 0, 0);
    let mut items = Vec::new();
    for byte in stream.chunks_mut(1) {
        let mut input = byte;
        let before = assembler.memory_bytes();
        while let Some(incoming) = assembler.next(&mut input, &limits).expect("valid") {
            items.push(Item::from(incoming));
        }
        validated_bytes = validated_bytes.max(assembler.validated_bytes());
        memory_bytes_max = memory_bytes_max.max(assembler.memory_bytes());
        growths += usize::from(assembler.memory_bytes() != before);
    }
    assert_eq!(items, [text(&message)]);
    assert!(assembler.is_idle());
    assert!(memory_bytes_max <= 2 * MESSAGE_BYTES, "{memory_bytes_max} bytes kept");
    assert!(growths <= 20, "{growths} reallocations");
    // A code point of n bytes is looked at n times at most.
    assert!(validated_bytes <= 2 * stream_bytes, "{validated_bytes} bytes validated");
}

#[test]
fn memory_follows_what_arrives_not_what_is_announced() {
    let limits = Limits { message_bytes_max: u32::MAX, fragments_max: 1_024 };
    let mut stream = announced(0x82, 8, u64::from(u32::MAX));
    stream.extend([0; 100]);
    let mut assembler = Assembler::default();
    assert_eq!(assembler.next(&mut &mut stream[..], &limits), Ok(None));
    assert!(assembler.memory_bytes() < 512, "{} bytes for 100", assembler.memory_bytes());
    assert!(!assembler.is_idle());
}

#[test]
fn whole_frames_are_handed_out_in_place() {
    let mut stream = [frame(TEXT, true, b"one"), frame(BINARY, true, b"two")].concat();
    let range = stream.as_ptr_range();
    let mut assembler = Assembler::default();
    let mut input = &mut stream[..];
    while let Some(incoming) = assembler.next(&mut input, &LIMITS).expect("valid") {
        let (Incoming::Text(bytes) | Incoming::Binary(bytes)) = incoming else { panic!("not a message") };
        assert!(range.contains(&bytes.as_ptr()));
        assert_eq!(size_of::<Assembler>(), 8);
    }
    assert!(assembler.is_idle());
}

#[test]
fn the_caller_may_stop_between_items() {
    let mut stream = [frame(CLOSE, true, b""), frame(TEXT, true, b"late")].concat();
    let mut input = &mut stream[..];
    let mut assembler = Assembler::default();
    let closed = assembler.next(&mut input, &LIMITS);
    assert_eq!(closed, Ok(Some(Incoming::Close { code: None, reason: "" })));
    assert_eq!(input.len(), 10);
}

#[test]
fn server_frames() {
    for (bytes, want) in [
        (0, vec![0x81, 0]),
        (125, vec![0x81, 125]),
        (126, vec![0x81, 126, 0, 126]),
        (65_535, vec![0x81, 126, 0xff, 0xff]),
        (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let (header, header_bytes) = frame_header(true, bytes);
        assert_eq!(header[..header_bytes], want[..], "{bytes}");
    }
    let mut out = Vec::new();
    append_frame(false, b"ab", &mut out);
    append_ping(b"p", &mut out);
    append_pong(b"", &mut out);
    append_close(1002, "why", &mut out);
    assert_eq!(out, b"\x82\x02ab\x89\x01p\x8a\x00\x88\x05\x03\xeawhy");
}

#[test]
fn close_reasons_are_cut_between_characters() {
    for (reason, bytes) in [("a".repeat(123), 123), ("a".repeat(124), 123), ("€".repeat(50), 123)] {
        let mut out = Vec::new();
        append_close(1000, &reason, &mut out);
        assert_eq!(out.len(), 4 + bytes);
    }
    let mut out = Vec::new();
    append_close(1000, &format!("{}€", "a".repeat(121)), &mut out);
    assert_eq!(out.len(), 4 + 121);
}

#[test]
fn reasons_of_violations_fit_a_close_frame() {
    assert!(Violation::InterleavedMessage.reason().len() <= 123);
    assert!(Violation::TooManyFragments { limit: 1 }.to_string().contains("more than 1 fragments"));
}

fn opcode() -> impl Strategy<Value = OpCode> {
    prop_oneof![
        4 => Just(TEXT), 2 => Just(BINARY), 4 => Just(CONTINUE), 2 => Just(PING), 1 => Just(PONG), 1 => Just(CLOSE),
        1 => (0u8..16).prop_map(OpCode::from),
    ]
}

/// Frames, mostly valid, sometimes with a byte spoilt.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        "[a-zä€💩]{0,40}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..140),
        Just(1000u16.to_be_bytes().to_vec()),
    ];
    let frames = vec((opcode(), prop::bool::weighted(0.7), any::<[u8; 4]>(), payload), 0..8);
    (frames, prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()))).prop_map(
        |(frames, spoilt)| {
            let mut stream = Vec::new();
            for (opcode, is_final, mask, payload) in frames {
                append_client_frame(opcode, is_final, mask, &payload, &mut stream);
            }
            if let Some((index, byte)) = spoilt
                && !stream.is_empty()
            {
                let index = index.index(stream.len());
                stream[index] = byte;
            }
            stream
        },
    )
}

proptest! {
    #[test]
    fn splits_do_not_matter(stream in stream(), cuts in vec(1usize..40, 1..30)) {
        let limits = Limits { message_bytes_max: 200, fragments_max: 4 };
        prop_assert_eq!(read(&stream, &cuts, &limits), read(&stream, &[usize::MAX], &limits));
    }

    #[test]
    fn any_bytes_are_judged_alike_however_cut(stream in vec(any::<u8>(), 0..200), cuts in vec(1usize..9, 1..30)) {
        prop_assert_eq!(read(&stream, &cuts, &LIMITS), read(&stream, &[usize::MAX], &LIMITS));
    }

    #[test]
    fn a_message_survives_fragmentation_and_cuts(
        message in "\\PC{0,100}", fragments in vec(0usize..30, 0..4), cuts in vec(1usize..40, 1..9),
        mask in any::<[u8; 4]>(),
    ) {
        let mut left = message.as_bytes();
        let mut stream = Vec::new();
        let mut opcode = TEXT;
        for fragment in fragments.iter().take(3) {
            let (front, rest) = left.split_at(left.len().min(*fragment));
            append_client_frame(opcode, false, mask, front, &mut stream);
            (left, opcode) = (rest, CONTINUE);
        }
        append_client_frame(opcode, true, mask, left, &mut stream);
        let outcome = read(&stream, &cuts, &LIMITS);
        prop_assert_eq!(outcome.violation, None);
        prop_assert!(outcome.idle);
        prop_assert_eq!(outcome.items, vec![text(&message)]);
    }

    /// tungstenite reads what we write, and we read what tungstenite's header writer makes of the same.
    #[test]
    fn server_frames_round_trip(payload in vec(any::<u8>(), 0..70_000), is_text in any::<bool>()) {
        let mut out = Vec::new();
        append_frame(is_text, &payload, &mut out);
        let mut cursor = std::io::Cursor::new(&out);
        let (header, length) = FrameHeader::parse(&mut cursor).expect("valid").expect("whole");
        prop_assert_eq!(header.opcode, if is_text { TEXT } else { BINARY });
        prop_assert!(header.is_final && header.mask.is_none());
        prop_assert_eq!(length, payload.len() as u64);
        prop_assert_eq!(&out[cursor.position() as usize..], &payload[..]);
    }

    #[test]
    fn unmasking_agrees_with_the_definition(
        payload in vec(any::<u8>(), 0..100), mask in any::<[u8; 4]>(), offset in 0u64..100,
    ) {
        let mut ours = payload.clone();
        super::header::unmask(&mut ours, mask, offset);
        for (index, (ours, masked)) in ours.iter().zip(&payload).enumerate() {
            prop_assert_eq!(*ours, masked ^ mask[(index + offset as usize) % 4]);
        }
    }
}

#[test]
fn our_own_frames_are_found_again() {
    let mut out = Vec::new();
    for (payload_bytes, text) in [(0, true), (125, false), (126, true), (65_536, true)] {
        let payload = vec![b'x'; payload_bytes];
        out.clear();
        append_frame(text, &payload, &mut out);
        let length = out.len();
        assert_eq!(leading_frame(&out), Some((length, Some(&payload[..]))));
        assert_eq!(leading_frame(&out[..length - 1]), None);
        append_ping(b"", &mut out);
        assert_eq!(leading_frame(&out), Some((length, Some(&payload[..]))));
        assert_eq!(leading_frame(&out[length..]), Some((2, None)));
    }
    for other in [b"".as_slice(), b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"\x83\x00", b"\x01\x00"] {
        assert_eq!(leading_frame(other), None, "{other:?}");
    }
    assert_eq!(leading_frame(b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
}
