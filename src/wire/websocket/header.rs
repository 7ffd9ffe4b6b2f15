//! One client frame's header, read by tungstenite and judged by our rules; unmasking; the close body.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::violation::Violation;

/// The longest header a client can send: two bytes, a 64-bit length, a mask.
pub(super) const CLIENT_HEADER_BYTES_MAX: usize = 14;

const CONTROL_PAYLOAD_BYTES_MAX: u64 = 125;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ControlKind {
    Close,
    Ping,
    Pong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataKind {
    Text,
    Binary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    Control(ControlKind),
    /// Begins a message.
    First(DataKind),
    Continuation,
}

/// A header that is valid by itself; whether it may come now is judged by the assembler.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub kind: FrameKind,
    pub is_final: bool,
    pub mask: [u8; 4],
    pub payload_bytes: u64,
}

/// The header at the front of `bytes` and its length. `None`: more bytes are needed. No allocation.
///
/// Nothing is judged before the header is whole, so that the verdict does not depend on how the stream is cut.
#[inline]
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Frame, usize)>, Violation> {
    let mut cursor = Cursor::new(bytes);
    let (header, payload_bytes) = match FrameHeader::parse(&mut cursor) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Ok(None),
        // Reading from memory cannot fail; what remains is the opcode.
        Err(_) => {
            return Err(Violation::ReservedOpcode { opcode: bytes.first().map_or(0, |byte| byte & 0x0f) });
        }
    };
    let header_bytes = cursor.position();
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(Violation::ReservedBits);
    }
    let Some(mask) = header.mask else { return Err(Violation::Unmasked) };
    if payload_bytes >> 63 != 0 {
        return Err(Violation::LengthTopBit);
    }
    if header.len(payload_bytes) as u64 != header_bytes {
        return Err(Violation::LengthNotMinimal { bytes: payload_bytes });
    }
    let kind = match header.opcode {
        OpCode::Data(Data::Continue) => FrameKind::Continuation,
        OpCode::Data(Data::Text) => FrameKind::First(DataKind::Text),
        OpCode::Data(Data::Binary) => FrameKind::First(DataKind::Binary),
        OpCode::Control(Control::Close) => FrameKind::Control(ControlKind::Close),
        OpCode::Control(Control::Ping) => FrameKind::Control(ControlKind::Ping),
        OpCode::Control(Control::Pong) => FrameKind::Control(ControlKind::Pong),
        OpCode::Data(Data::Reserved(opcode)) | OpCode::Control(Control::Reserved(opcode)) => {
            return Err(Violation::ReservedOpcode { opcode });
        }
    };
    if matches!(kind, FrameKind::Control(_)) {
        if !header.is_final {
            return Err(Violation::ControlFragmented);
        }
        if payload_bytes > CONTROL_PAYLOAD_BYTES_MAX {
            return Err(Violation::ControlTooLong { bytes: payload_bytes });
        }
    }
    Ok(Some((Frame { kind, is_final: header.is_final, mask, payload_bytes }, header_bytes as usize)))
}

/// Applies `mask` to `payload`, whose first byte is byte `offset` of its frame.
#[inline]
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4], offset: u64) {
    let mut mask = mask;
    mask.rotate_left((offset & 3) as usize);
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Code and reason of an unmasked close body (RFC 6455 section 5.5.1).
pub(super) fn close_body(body: &[u8]) -> Result<(Option<u16>, &str), Violation> {
    match body {
        [] => Ok((None, "")),
        [_] => Err(Violation::CloseBodyTooShort),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            // 1014 (bad gateway) is registered, but unknown to tungstenite.
            if code != 1014 && !CloseCode::from(code).is_allowed() {
                return Err(Violation::CloseCode { code });
            }
            let reason = std::str::from_utf8(reason).map_err(|_| Violation::CloseReasonNotUtf8)?;
            Ok((Some(code), reason))
        }
    }
}
