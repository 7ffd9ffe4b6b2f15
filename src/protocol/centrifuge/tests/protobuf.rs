//! The Protobuf encoding: against frames of real clients, against JSON's meaning, against the library's own encoder.

use std::collections::BTreeMap;

use prost::Message as _;

use super::*;
use crate::core::event::Recovery;
use crate::core::publication::{Numbered, Position};
use crate::protocol::centrifuge::protobuf::messages::{
    ConnectResult, Error, HistoryResult, LegacyPush, LegacyReply, Push, Reply, Subscribe as SubscribePush,
    SubscribeResult, Unsubscribe,
};

fn protobuf(generation: impl Into<Option<Generation>>) -> Codec {
    Codec { encoding: Encoding::Protobuf, ..codec(generation) }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    data_encoding::HEXLOWER.decode(digits.as_bytes()).expect("hexadecimal")
}

/// One message behind its length, for messages shorter than 128 bytes.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[u8::try_from(message.len()).expect("short")], message].concat()
}

fn encoded(generation: Generation, event: &Event<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    protobuf(generation).encode(event, &mut out);
    out
}

/// Frames as centrifuge-js 5.7.4 and 2.8.5 sent them.
#[test]
fn first_frames() {
    let v2 = "0d 08 01 22 09 0a03 4a5754 2202 6a73 0c 08 02 2a 08 0a04 63686174 70 01";
    let v1 = "0f 08 01 10 00 1a 09 0a03 4a5754 2202 6a73";
    let mut codec = protobuf(None);
    let want = (vec![(1, connect("JWT")), (2, subscribe("chat"))], Ok(()));
    assert_eq!(decode_by(&mut codec, &hex(v2)), want);
    assert_eq!(codec.generation, Some(Generation::V2));
    let mut codec = protobuf(None);
    assert_eq!(decode_by(&mut codec, &hex(v1)), one(1, connect("JWT")));
    assert_eq!(codec.generation, Some(Generation::V1));
    let table = [
        ("0408032200", Some(Generation::V2), one(3, connect(""))),
        ("0408031a00", Some(Generation::V1), one(3, connect(""))),
        ("0408031007", Some(Generation::V1), one(3, Command::Ping)),
        ("0422000803", Some(Generation::V2), one(3, connect(""))),
        ("00", None, one(0, Command::Pong)),
        ("020803", None, ends(Disconnect::BadRequest)),
    ];
    for (frame, generation, want) in table {
        let mut codec = protobuf(None);
        assert_eq!((decode_by(&mut codec, &hex(frame)), codec.generation), (want, generation), "{frame}");
    }
}

/// A field of a message.
fn field(number: u32, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = Vec::new();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

fn number(field: u32, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_key(field, prost::encoding::WireType::Varint, &mut out);
    prost::encoding::encode_varint(number, &mut out);
    out
}

/// A frame with one command of either generation, with unknown fields of all kinds around it.
fn commands(method: Method, params: &[u8]) -> [(Generation, Vec<u8>); 2] {
    let unknown = [field(99, "x"), number(100, 7), vec![0xad, 6, 1, 2, 3, 4]].concat();
    let params = [&unknown[..], params].concat();
    let v2 = [number(1, 4), unknown.clone(), field(method as u32 + 4, &params)].concat();
    let v1 = [number(1, 4), number(2, method as u64), field(3, &params), unknown].concat();
    [(Generation::V2, v2), (Generation::V1, v1)].map(|(generation, message)| {
        let mut frame = Vec::new();
        prost::encoding::encode_varint(message.len() as u64, &mut frame);
        frame.extend(message);
        (generation, frame)
    })
}

/// What a command means in Protobuf is what it means in JSON.
#[test]
fn commands_mean_the_same_in_both_encodings() {
    let leaf = |key: &str| [field(2, key), field(3, "in"), field(5, "A"), field(5, "B")].concat();
    let tf =
        [field(1, "and"), field(6, leaf("k")), field(6, [field(1, "not"), field(6, leaf("l"))].concat())];
    let sub = [number(3, 1), field(6, "ep"), number(7, 5)].concat();
    let table = [
        (
            Method::Connect,
            [field(1, "T"), field(3, [field(1, "b"), field(2, &sub)].concat()), field(3, field(1, "a"))]
                .concat(),
            r#"{"token":"T","subs":{"b":{"recover":true,"epoch":"ep","offset":5},"a":{}}}"#,
        ),
        (
            Method::Subscribe,
            [
                field(1, "c"),
                field(2, "S"),
                sub.clone(),
                field(8, "data"),
                number(9, 1),
                number(10, 1),
                number(11, 1),
                number(14, 3),
            ]
            .concat(),
            r#"{"channel":"c","token":"S","recover":true,"epoch":"ep","offset":5,"data":{},"positioned":true,
                "recoverable":true,"join_leave":true,"flag":3}"#,
        ),
        (
            Method::Subscribe,
            [field(1, "c"), field(12, "fossil")].concat(),
            r#"{"channel":"c","delta":"fossil"}"#,
        ),
        (
            Method::Subscribe,
            [field(1, "c"), field(13, tf.concat())].concat(),
            r#"{"channel":"c","tf":{"op":"and","nodes":[{"key":"k","cmp":"in","vals":["A","B"]},
                {"op":"not","nodes":[{"key":"l","cmp":"in","vals":["A","B"]}]}]}}"#,
        ),
        (Method::Subscribe, [field(1, "c"), field(13, "")].concat(), r#"{"channel":"c","tf":{}}"#),
        (
            Method::Subscribe,
            [field(1, "c"), field(12, "fossil"), field(13, leaf("k"))].concat(),
            r#"{"channel":"c","delta":"fossil","tf":{"key":"k","cmp":"ex"}}"#,
        ),
        (Method::Unsubscribe, field(1, "c"), r#"{"channel":"c"}"#),
        (
            Method::Publish,
            [field(1, "c"), field(2, " {\"a\" :\n1}")].concat(),
            r#"{"channel":"c","data":{"a" : 1}}"#,
        ),
        (Method::Publish, field(1, "c"), r#"{"channel":"c"}"#),
        (Method::Presence, field(1, "c"), r#"{"channel":"c"}"#),
        (Method::PresenceStats, field(1, "c"), r#"{"channel":"c"}"#),
        (Method::History, field(1, "c"), r#"{"channel":"c"}"#),
        (
            Method::History,
            [field(1, "c"), number(7, -1_i64 as u64), field(8, ""), number(9, 1)].concat(),
            r#"{"channel":"c","limit":-1,"since":{},"reverse":true}"#,
        ),
        (
            Method::History,
            [field(1, "c"), number(7, 9), field(8, [number(1, 3), field(2, "e")].concat())].concat(),
            r#"{"channel":"c","limit":9,"since":{"offset":3,"epoch":"e"}}"#,
        ),
        (Method::Ping, Vec::new(), "{}"),
        (Method::Rpc, field(2, "m"), r#"{"method":"m"}"#),
        (Method::Refresh, field(1, "T"), r#"{"token":"T"}"#),
        (Method::SubRefresh, [field(1, "c"), field(2, "T")].concat(), r#"{"channel":"c","token":"T"}"#),
    ];
    for (method, params, text) in table {
        let name = Method::ALL[method as usize].1;
        let json_v2 = decode(Generation::V2, &format!("{{\"id\":4,\"{name}\":{}}}", text.replace('\n', "")));
        let json_v1 = decode(
            Generation::V1,
            &format!("{{\"id\":4,\"method\":\"{name}\",\"params\":{}}}", text.replace('\n', "")),
        );
        let [v2, v1] =
            commands(method, &params).map(|(generation, frame)| decode_by(&mut protobuf(generation), &frame));
        assert_eq!((v2, v1), (json_v2, json_v1), "{name} {text}");
    }
    for (generation, frame) in commands(Method::Send, b"") {
        assert_eq!(decode_by(&mut protobuf(generation), &frame), ends(Disconnect::NotAvailable));
    }
}

#[test]
fn what_is_not_json_is_kept_as_it_is() {
    let table: [(&[u8], Payload); 5] = [
        (b"{\"a\":1}", Payload::Json(b"{\"a\":1}"[..].into())),
        (b"hello", Payload::Binary(b"hello"[..].into())),
        (b"\x0a\x05hello", Payload::Binary(b"\x0a\x05hello"[..].into())),
        (b"\xff\x00", Payload::Binary(b"\xff\x00"[..].into())),
        (b"{\"a\":1} x", Payload::Binary(b"{\"a\":1} x"[..].into())),
    ];
    for (data, want) in table {
        for (generation, frame) in commands(Method::Publish, &[field(1, "c"), field(2, data)].concat()) {
            let want = Command::Publish(Publish::plain("c".into(), want.clone()));
            assert_eq!(decode_by(&mut protobuf(generation), &frame), one(4, want));
        }
    }
}

#[test]
fn wrong_frames_end_the_connection() {
    let table = [
        ("no message", vec![]),
        ("a length of 11 bytes", [vec![0x80; 10], vec![1]].concat()),
        ("a length of 10 bytes that is too large", [vec![0xff; 9], vec![0x7f]].concat()),
        ("a length past the end", vec![5, 8, 1]),
        ("a length that is cut", vec![0x80]),
        ("a huge length", vec![0xff, 0xff, 0xff, 0xff, 0x0f, 8, 1]),
        ("an id of 11 bytes", framed(&[vec![8], vec![0x80; 10], vec![1]].concat())),
        ("an id beyond 32 bits", framed(&number(1, 1 << 32))),
        ("an id that is a string", framed(&field(1, "1"))),
        ("field 0", framed(&[0x02, 0])),
        ("a wire type that is none", framed(&[0x0e])),
        ("a field past the end", framed(&[0x22, 9, 1])),
        ("a group that is not closed", framed(&[0x9b, 6])),
        ("groups in groups", {
            let groups = [0x9b_u8, 6].repeat(60);
            framed(&groups)
        }),
        ("an end of no group", framed(&[0x9c, 6])),
        ("a method that is a number", framed(&number(5, 1))),
        ("parameters that are a number", framed(&number(3, 1))),
    ];
    for (name, frame) in table {
        for generation in [None, Some(Generation::V1), Some(Generation::V2)] {
            assert_eq!(
                decode_by(&mut protobuf(generation), &frame),
                ends(Disconnect::BadRequest),
                "{name} {generation:?}"
            );
        }
    }
    let v1_pong = decode_by(&mut protobuf(Generation::V1), &[0]);
    assert_eq!(v1_pong, ends(Disconnect::BadRequest), "legacy clients have no pong");
}

#[test]
fn wrong_parameters_are_refused_in_their_turn() {
    let deep = (0..9).fold(field(2, "k"), |node, _| [field(1, "or"), field(6, node)].concat());
    let leaf = [field(2, "k"), field(3, "ex")].concat();
    let wide = [field(1, "or"), field(6, &leaf).repeat(64)].concat();
    let recursive = (0..500).fold(leaf.clone(), |node, _| [field(1, "or"), field(6, node)].concat());
    let table = [
        ("a channel that is a number", Method::Subscribe, number(1, 5)),
        ("a channel that is no UTF-8", Method::Subscribe, field(1, b"\xff")),
        ("a channel past the end", Method::Subscribe, vec![0x0a, 9, b'c']),
        ("a flag of 11 bytes", Method::Subscribe, [vec![0x70], vec![0x80; 10], vec![1]].concat()),
        ("a filter too deep", Method::Subscribe, field(13, deep)),
        ("a filter much too deep", Method::Subscribe, field(13, recursive)),
        ("a filter too wide", Method::Subscribe, field(13, wide)),
        ("a filter that is none", Method::Subscribe, field(13, "x")),
        ("a token that is a number", Method::Connect, number(1, 5)),
        ("a claim twice", Method::Connect, [field(3, field(1, "a")), field(3, field(1, "a"))].concat()),
        ("a claim that is none", Method::Connect, field(3, "x")),
        ("a position that is a string", Method::History, field(8, "x")),
        ("groups in groups", Method::Presence, [0x9b_u8, 6].repeat(200)),
    ];
    for (name, method, params) in table {
        for (generation, mut frame) in commands(method, &params) {
            frame.extend(
                commands(Method::Unsubscribe, &field(1, "c"))[(generation == Generation::V1) as usize]
                    .1
                    .clone(),
            );
            let want = vec![(4, Command::Refuse(ClientError::BadRequest)), (4, unsubscribe("c"))];
            assert_eq!(decode_by(&mut protobuf(generation), &frame), (want, Ok(())), "{name}");
        }
    }
    let many = field(3, "").repeat(1_025);
    for (generation, frame) in commands(Method::Connect, &many) {
        let want = one(4, Command::Refuse(ClientError::LimitExceeded));
        assert_eq!(decode_by(&mut protobuf(generation), &frame), want);
    }
    let both = framed(&[number(1, 5), field(5, field(1, "a")), field(6, field(1, "a"))].concat());
    let refused = one(5, Command::Refuse(ClientError::BadRequest));
    assert_eq!(decode_by(&mut protobuf(Generation::V2), &both), refused);
    let unknown = framed(&[number(1, 5), number(2, 12)].concat());
    let refused = one(5, Command::Refuse(ClientError::MethodNotFound));
    assert_eq!(decode_by(&mut protobuf(Generation::V1), &unknown), refused);
}

#[test]
fn a_frame_has_a_bounded_number_of_commands() {
    let (requests, result) = decode_by(&mut protobuf(Generation::V2), &[0; COMMANDS_PER_FRAME_MAX]);
    assert_eq!((requests.len(), result), (COMMANDS_PER_FRAME_MAX, Ok(())));
    let (requests, result) = decode_by(&mut protobuf(Generation::V2), &[0; COMMANDS_PER_FRAME_MAX + 1]);
    assert_eq!((requests.len(), result), (COMMANDS_PER_FRAME_MAX, Err(Disconnect::BadRequest)));
}

/// As seen by centrifuge-js 2.8.5, and its twin of the current generation.
#[test]
fn publications_lie_where_clients_look_for_them() {
    let publication = publication(r#"{"a":1}"#);
    let event =
        Event::Publication { channel: "chat", publication: &publication, offset: 3, body: Body::Plain };
    assert_eq!(encoded(Generation::V1, &event), hex("15 1a13 1204 63686174 1a0b 2207 7b2261223a317d 3003"));
    assert_eq!(encoded(Generation::V2, &event), hex("15 2213 1204 63686174 220b 2207 7b2261223a317d 3003"));
    assert_eq!(encoded(Generation::V2, &Event::Ping), [0]);
    assert_eq!(encoded(Generation::V1, &Event::Ping), hex(""));
    let mut out = Vec::new();
    Codec { frame_pings: true, ..protobuf(Generation::V2) }.encode(&Event::Ping, &mut out);
    assert_eq!(out, hex(""));
}

/// A publication as the library lays it out.
#[derive(Clone, PartialEq, prost::Message)]
struct PlainPublication {
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    info: Option<PlainInfo>,
    #[prost(uint64, tag = "6")]
    offset: u64,
    #[prost(btree_map = "string, string", tag = "7")]
    tags: BTreeMap<String, String>,
    #[prost(bool, tag = "8")]
    delta: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PlainInfo {
    #[prost(string, tag = "1")]
    user: String,
    #[prost(string, tag = "2")]
    client: String,
    #[prost(bytes = "vec", tag = "3")]
    conn_info: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    chan_info: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PlainSomebody {
    #[prost(message, optional, tag = "1")]
    info: Option<PlainInfo>,
}

fn plain(publication: &Publication, offset: u64, delta: Option<&[u8]>) -> PlainPublication {
    let plain_info = |info: &ClientInfo| PlainInfo {
        user: info.user.to_string(),
        client: info.client.text().as_str().to_owned(),
        conn_info: info.connection_info.as_ref().map_or_else(Vec::new, |info| info.as_bytes().to_vec()),
        chan_info: info.channel_info.as_ref().map_or_else(Vec::new, |info| info.as_bytes().to_vec()),
    };
    PlainPublication {
        data: delta.unwrap_or(publication.data.as_bytes()).to_vec(),
        info: publication.publisher.as_ref().map(plain_info),
        offset,
        tags: publication.tags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        delta: delta.is_some(),
    }
}

fn reply(bytes: &[u8]) -> Reply {
    let mut rest = bytes;
    let reply = Reply::decode_length_delimited(&mut rest).expect("a reply");
    assert!(rest.is_empty());
    reply
}

fn legacy_reply(bytes: &[u8]) -> LegacyReply {
    let mut rest = bytes;
    let reply = LegacyReply::decode_length_delimited(&mut rest).expect("a reply");
    assert!(rest.is_empty());
    reply
}

#[test]
fn answers() {
    let missed = [Numbered { offset: 12, publication: Arc::new(publication("[12]")) }];
    let (top, data) = (Position { offset: 12, epoch: "ep".into() }, Payload::Binary(b"\xff"[..].into()));
    let subscription = Subscription {
        users: None,
        expires_in_s: Some(60),
        recoverable: true,
        positioned: true,
        position: Some(&top),
        recovery: Recovery::Recovered { since_offset: 11 },
        publications: &missed,
        data: Some(&data),
        fossil_delta: true,
        deltas: &[None],
    };
    let v2 = SubscribeResult {
        expires: true,
        ttl: 60,
        recoverable: true,
        epoch: "ep".into(),
        publications: vec![plain(&missed[0].publication, 12, None).encode_to_vec()],
        recovered: true,
        offset: 11,
        positioned: true,
        data: vec![0xff],
        was_recovering: true,
        delta: true,
    };
    let v1 = SubscribeResult { offset: 12, was_recovering: false, ..v2.clone() };
    let event = Event::Subscribed { tag: 7, channel: "c", subscription };
    assert_eq!(reply(&encoded(Generation::V2, &event)).subscribe.as_ref(), Some(&v2));
    let legacy = legacy_reply(&encoded(Generation::V1, &event));
    assert_eq!((legacy.id, SubscribeResult::decode(&legacy.result[..])), (7, Ok(v1)));

    let subscriptions = [("a", subscription), ("b", Subscription::default())];
    let event = Event::Connected {
        tag: 1,
        client: CLIENT,
        decimal: None,
        expires_in_s: Some(9),
        ping_interval_s: 25,
        data: Some(&data),
        subscriptions: &subscriptions,
    };
    let connect = reply(&encoded(Generation::V2, &event)).connect.expect("connected");
    assert_eq!((&*connect.client, &*connect.version, &*connect.data), (UUID, VERSION, &[0xff][..]));
    assert_eq!((connect.expires, connect.ttl, connect.ping, connect.pong), (true, 9, 25, true));
    assert_eq!(
        connect.subs.into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), v2), ("b".to_owned(), SubscribeResult::default())]
    );
    let legacy = legacy_reply(&encoded(Generation::V1, &event)).result;
    let connect = ConnectResult::decode(&legacy[..]);
    let connect = connect.expect("connected");
    assert_eq!((&*connect.client, connect.ttl, connect.ping, connect.pong), (UUID, 9, 0, false));

    let history = Event::History { tag: 6, channel: "c", publications: &missed, position: &top };
    let want = HistoryResult {
        publications: vec![plain(&missed[0].publication, 12, None).encode_to_vec()],
        epoch: "ep".into(),
        offset: 12,
    };
    assert_eq!(reply(&encoded(Generation::V2, &history)).history.as_ref(), Some(&want));
    let legacy = legacy_reply(&encoded(Generation::V1, &history)).result;
    assert_eq!(HistoryResult::decode(&legacy[..]), Ok(want));
}

#[test]
fn short_answers() {
    let binary = Payload::Binary(b"\xff\xfe"[..].into());
    let clients = [info("42", Some(binary)).unwrap()];
    let shown = format!("0a02 3432 1224 {} 1a02 fffe", data_encoding::HEXLOWER.encode(UUID.as_bytes()));
    let entry = format!("0a24 {} 122e {shown}", data_encoding::HEXLOWER.encode(UUID.as_bytes()));
    let presence = framed(&hex(&format!("0804 4a58 0a56 {entry}")));
    let presence_v1 = framed(&hex(&format!("0804 1a58 0a56 {entry}")));
    let refused = |error| Event::Refused { tag: 4, channel: None, error, reason: None };
    let table = [
        (Event::Presence { tag: 4, channel: "c", clients: &clients }, presence, presence_v1),
        (Event::Presence { tag: 4, channel: "c", clients: &[] }, hex("04 0804 4a00"), hex("02 0804")),
        (
            Event::PresenceStats { tag: 5, channel: "c", clients_count: 3, users_count: 0 },
            hex("06 0805 5202 0803"),
            hex("06 0805 1a02 0803"),
        ),
        (
            Event::SubscriptionRefreshed { tag: 4, channel: "c", expires_in_s: Some(5) },
            hex("08 0804 7a04 0801 1005"),
            hex("08 0804 1a04 0801 1005"),
        ),
        (Event::Unsubscribed { tag: 9, channel: "c" }, hex("04 0809 3a00"), hex("02 0809")),
        (Event::Published { tag: 9, channel: "c" }, hex("04 0809 4200"), hex("02 0809")),
        (Event::Pong { tag: 9 }, hex("04 0809 6200"), hex("02 0809")),
        (
            refused(ClientError::PermissionDenied),
            hex("19 0804 1215 0867 1211 7065726d697373696f6e2064656e696564"),
            hex("19 0804 1215 0867 1211 7065726d697373696f6e2064656e696564"),
        ),
        (Event::ExpiryMoved { expires_in_s: Some(5) }, hex("08 2206 6204 0801 1005"), vec![]),
        (Event::ExpiryMoved { expires_in_s: None }, hex("04 2202 6200"), vec![]),
    ];
    for (event, v2, v1) in table {
        assert_eq!((encoded(Generation::V2, &event), encoded(Generation::V1, &event)), (v2, v1), "{event:?}");
    }
    let busy = refused(ClientError::TooManyRequests);
    let error = |temporary| Error { code: 111, message: "too many requests".into(), temporary };
    assert_eq!(reply(&encoded(Generation::V2, &busy)).error, Some(error(true)));
    assert_eq!(legacy_reply(&encoded(Generation::V1, &busy)).error, Some(error(false)));
}

#[test]
fn pushes() {
    let somebody = info("42", None).unwrap();
    let shown = PlainSomebody {
        info: plain(&Publication { publisher: Some(somebody.clone()), ..publication("1") }, 0, None).info,
    };
    let shown = shown.encode_to_vec();
    let top = Position { offset: 2, epoch: "ep".into() };
    let subscription =
        Subscription { recoverable: true, positioned: true, position: Some(&top), ..Subscription::default() };
    let channel = || Push { channel: "c".into(), ..Push::default() };
    let unsubscribe = |code, reason: &str| Unsubscribe { code, reason: reason.into() };
    let table = [
        (
            Event::Join { channel: "c", info: &somebody },
            Push { join: Some(shown.clone()), ..channel() },
            Some((1, shown.clone())),
        ),
        (
            Event::Leave { channel: "c", info: &somebody },
            Push { leave: Some(shown.clone()), ..channel() },
            Some((2, shown)),
        ),
        (
            Event::Added { channel: "c", subscription },
            Push {
                subscribe: Some(SubscribePush {
                    recoverable: true,
                    positioned: true,
                    epoch: "ep".into(),
                    offset: 2,
                    data: vec![],
                }),
                ..channel()
            },
            Some((5, hex("0801 2202 6570 2802 3001"))),
        ),
        (
            Event::Dropped { channel: "c", cause: DropCause::Server },
            Push { unsubscribe: Some(unsubscribe(2000, "server unsubscribe")), ..channel() },
            Some((3, vec![])),
        ),
        (
            Event::Dropped { channel: "c", cause: DropCause::InsufficientState },
            Push { unsubscribe: Some(unsubscribe(2500, "insufficient state")), ..channel() },
            Some((3, hex("0801"))),
        ),
        (
            Event::Dropped { channel: "c", cause: DropCause::Expired },
            Push { unsubscribe: Some(unsubscribe(2501, "subscription expired")), ..channel() },
            None,
        ),
    ];
    for (event, v2, v1) in table {
        assert_eq!(reply(&encoded(Generation::V2, &event)).push, Some(v2));
        let legacy = encoded(Generation::V1, &event);
        let Some((push_type, data)) = v1 else {
            assert_eq!(legacy, hex(""), "the connection ends instead");
            continue;
        };
        let push = LegacyPush::decode(&legacy_reply(&legacy).result[..]);
        assert_eq!(push, Ok(LegacyPush { push_type, channel: "c".into(), data }));
        for variant in [Variant::CentrifugeV2Protobuf, Variant::CentrifugeV1Protobuf] {
            let mut out = Vec::new();
            variant.encode_push(&event, &mut out);
            assert!(!out.is_empty());
            assert_eq!(variant.publication_channel(&out), None, "{event:?}");
        }
    }
}

fn any_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..300).prop_map(|bytes| Payload::Binary(bytes.into())),
        (0_usize..20_000)
            .prop_map(|length| Payload::Json(format!("\"{}\"", "x".repeat(length)).into_bytes().into())),
    ]
}

fn any_info() -> impl Strategy<Value = ClientInfo> {
    let payload = || prop::option::of(any_payload().prop_map(Arc::new));
    (".{0,20}", any::<[u8; 16]>(), payload(), payload()).prop_map(|(user, client, connection, channel)| {
        ClientInfo {
            user: user.into(),
            client: ClientId(client),
            connection_info: connection,
            channel_info: channel,
        }
    })
}

proptest! {
    #[test]
    fn publications_are_what_the_library_would_write(
        data in any_payload(),
        publisher in prop::option::of(any_info()),
        tags in prop::collection::btree_map("[a-z]{1,9}", ".{1,200}", 0..4),
        offset in any::<u64>(),
        channel in ".{1,150}",
        delta in prop::option::of(prop::collection::vec(any::<u8>(), 1..200)),
    ) {
        let tags: Vec<_> = tags.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let publication = Publication { data, publisher, tags: tags.into(), ..publication("") };
        let body = delta.as_deref().map_or(Body::Plain, Body::Delta);
        let inner = plain(&publication, offset, delta.as_deref()).encode_to_vec();
        let push = Push { channel: channel.clone(), publication: Some(inner.clone()), ..Push::default() };
        let v2 = Reply { push: Some(push), ..Reply::default() }.encode_length_delimited_to_vec();
        let push = LegacyPush { push_type: 0, channel: channel.clone(), data: inner };
        let v1 = LegacyReply { result: push.encode_to_vec(), ..LegacyReply::default() };
        let v1 = v1.encode_length_delimited_to_vec();
        for (variant, want) in [(Variant::CentrifugeV2Protobuf, v2), (Variant::CentrifugeV1Protobuf, v1)] {
            let mut out = b"before".to_vec();
            variant.encode_publication(&channel, &publication, offset, body, &mut out);
            prop_assert_eq!(&out[..6], b"before");
            prop_assert_eq!(&out[6..], &want);
            let found = variant.publication_channel(&out[6..]);
            prop_assert_eq!(found.as_deref(), Some(&*channel));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_too(frame in any::<Vec<u8>>()) {
        for generation in [None, Some(Generation::V1), Some(Generation::V2)] {
            let (requests, result) = decode_by(&mut protobuf(generation), &frame);
            prop_assert!(result.is_err() || !requests.is_empty());
            let _ = Variant::CentrifugeV2Protobuf.publication_channel(&frame);
        }
    }

    #[test]
    fn damaged_commands_are_decoded_or_refused(
        method in 0_usize..12, at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let params = [field(1, "chat"), field(2, "data"), number(7, 3), field(13, field(2, "k"))].concat();
        for (generation, mut frame) in commands(Method::ALL[method].0, &params) {
            let at = at.index(frame.len());
            frame[at] = to;
            frame.truncate(cut.index(frame.len()) + 1);
            let (requests, result) = decode_by(&mut protobuf(generation), &frame);
            prop_assert!(result.is_err() || !requests.is_empty());
        }
    }
}
