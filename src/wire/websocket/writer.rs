//! Frames a server sends: final, unmasked, with the shortest length. Format once, share the bytes.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::header::unmask;

/// The longest header of a server frame.
pub const HEADER_BYTES_MAX: usize = 10;

const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// The header of a whole data message of `payload_bytes`; the used length is the second part. No allocation.
#[inline]
pub fn frame_header(text: bool, payload_bytes: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let opcode = OpCode::Data(if text { Data::Text } else { Data::Binary });
    header(opcode, payload_bytes)
}

/// Appends one whole data message.
#[inline]
pub fn append_frame(text: bool, payload: &[u8], out: &mut Vec<u8>) {
    let (header, header_bytes) = frame_header(text, payload.len());
    out.reserve(header_bytes + payload.len());
    out.extend_from_slice(&header[..header_bytes]);
    out.extend_from_slice(payload);
}

/// Where the first frame of our own making in `bytes` ends, and the payload if it is a data message. `None`:
/// these are no whole frame. No allocation.
pub fn leading_frame(bytes: &[u8]) -> Option<(usize, Option<&[u8]>)> {
    let mut cursor = Cursor::new(bytes);
    let (header, payload_bytes) = FrameHeader::parse(&mut cursor).ok()??;
    let start = usize::try_from(cursor.position()).ok()?;
    let end = start.checked_add(usize::try_from(payload_bytes).ok()?)?;
    let is_ours = header.is_final && header.mask.is_none() && !(header.rsv1 || header.rsv2 || header.rsv3);
    let payload = bytes.get(start..end).filter(|_| is_ours)?;
    Some((end, matches!(header.opcode, OpCode::Data(_)).then_some(payload)))
}

/// Appends a ping. `payload`: at most 125 bytes.
pub fn append_ping(payload: &[u8], out: &mut Vec<u8>) {
    append_control(Control::Ping, payload, out);
}

/// Appends a pong. `payload`: that of the ping, at most 125 bytes.
pub fn append_pong(payload: &[u8], out: &mut Vec<u8>) {
    append_control(Control::Pong, payload, out);
}

/// Appends a close frame. A reason over 123 bytes is cut at a character boundary.
pub fn append_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let reason = &reason[..reason.floor_char_boundary(CONTROL_PAYLOAD_BYTES_MAX - 2)];
    let (header, header_bytes) = header(OpCode::Control(Control::Close), 2 + reason.len());
    out.extend_from_slice(&header[..header_bytes]);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends one masked frame, as a client would: for tests, simulations and load generators.
///
/// It writes what it is told, also what the assembler refuses (a reserved opcode, a long or fragmented ping).
pub fn append_client_frame(opcode: OpCode, is_final: bool, mask: [u8; 4], payload: &[u8], out: &mut Vec<u8>) {
    let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
    header.format(payload.len() as u64, out).expect("a vector takes every byte");
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask, 0);
}

fn append_control(control: Control, payload: &[u8], out: &mut Vec<u8>) {
    assert!(payload.len() <= CONTROL_PAYLOAD_BYTES_MAX, "a control frame carries at most 125 bytes");
    let (header, header_bytes) = header(OpCode::Control(control), payload.len());
    out.extend_from_slice(&header[..header_bytes]);
    out.extend_from_slice(payload);
}

#[inline]
fn header(opcode: OpCode, payload_bytes: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let mut free: &mut [u8] = &mut bytes;
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    header.format(payload_bytes as u64, &mut free).expect("ten bytes hold every unmasked header");
    let used = HEADER_BYTES_MAX - free.len();
    (bytes, used)
}
