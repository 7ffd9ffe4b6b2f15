//! A client's side of WebSocket: frames out of a byte stream, and the few that it writes.

use polycast::wire::websocket::append_client_frame;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::random::Random;

/// One frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close { code: u16, reason: String },
}

/// Takes one whole frame off the front of what was received. `None`: more is needed.
pub fn take_frame(bytes: &mut Vec<u8>) -> Result<Option<Frame>, String> {
    let [first, second, ..] = bytes[..] else { return Ok(None) };
    let (start, length) = match (second, &bytes[2..]) {
        (0..=125, _) => (2, usize::from(second)),
        (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        (127, rest) if rest.len() >= 8 => {
            (10, rest[..8].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
        (126 | 127, _) => return Ok(None),
        _ => return Err("a masked frame from the server".to_owned()),
    };
    if bytes.len() < start + length {
        return Ok(None);
    }
    let payload = bytes[start..start + length].to_vec();
    bytes.drain(..start + length);
    Ok(Some(match first {
        0x81 => Frame::Text(payload),
        0x82 => Frame::Binary(payload),
        0x89 => Frame::Ping(payload),
        0x8A => Frame::Pong,
        0x88 => match &payload[..] {
            [high, low, reason @ ..] => Frame::Close {
                code: u16::from_be_bytes([*high, *low]),
                reason: String::from_utf8_lossy(reason).into_owned(),
            },
            _ => Frame::Close { code: 1005, reason: String::new() },
        },
        _ => return Err(format!("a frame that begins with {first:#x}")),
    }))
}

/// One message in one frame or, now and then, in several with a ping between them.
pub fn append_message(payload: &[u8], is_text: bool, random: &mut Random, out: &mut Vec<u8>) {
    let mask = (random.next() as u32).to_le_bytes();
    let first = OpCode::Data(if is_text { Data::Text } else { Data::Binary });
    if !random.percent(10) {
        append_client_frame(first, true, mask, payload, out);
        return;
    }
    let cut = random.index(payload.len() + 1);
    append_client_frame(first, false, mask, &payload[..cut], out);
    if random.percent(30) {
        append_client_frame(OpCode::Control(Control::Ping), true, mask, b"between", out);
    }
    append_client_frame(OpCode::Data(Data::Continue), true, mask, &payload[cut..], out);
}

pub fn append_control(control: Control, payload: &[u8], random: &mut Random, out: &mut Vec<u8>) {
    let mask = (random.next() as u32).to_le_bytes();
    append_client_frame(OpCode::Control(control), true, mask, payload, out);
}
