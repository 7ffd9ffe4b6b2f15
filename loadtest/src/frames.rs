//! Server WebSocket frames out of a byte stream that may be cut anywhere.

use std::ops::Range;

/// Longest payload believed; a longer one means that the stream is out of step.
const PAYLOAD_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// The stream cannot be read on; the connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfStep(pub &'static str);

/// What of a frame has not arrived whole. Empty (24 bytes, no heap) between frames.
#[derive(Debug, Default)]
pub struct FrameCutter {
    carry: Vec<u8>,
}

impl FrameCutter {
    /// Calls `each` with every frame completed by `bytes`, in order. Copies only frames that were cut.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Opcode, &[u8])) -> Result<(), OutOfStep> {
        let mut rest = bytes;
        while !self.carry.is_empty() && !rest.is_empty() {
            let missing = missing_bytes(&self.carry)?;
            let (piece, after) = rest.split_at(missing.min(rest.len()));
            self.carry.extend_from_slice(piece);
            rest = after;
            if let Some((opcode, payload)) = frame(&self.carry)? {
                each(opcode, &self.carry[payload]);
                self.carry = Vec::new();
            }
        }
        while let Some((opcode, payload)) = frame(rest)? {
            let end = payload.end;
            each(opcode, &rest[payload]);
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            self.carry.extend_from_slice(rest);
        }
        Ok(())
    }
}

/// The frame at the front of `bytes`, if it is there whole.
fn frame(bytes: &[u8]) -> Result<Option<(Opcode, Range<usize>)>, OutOfStep> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8a => Opcode::Pong,
        _ => return Err(OutOfStep("a fragment, a reserved bit or an unknown opcode")),
    };
    if second & 0x80 != 0 {
        return Err(OutOfStep("a masked frame from a server"));
    }
    let (start, length) = match second {
        126 => match bytes.get(2..4) {
            Some(b) => (4, u64::from(u16::from_be_bytes([b[0], b[1]]))),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|b| <[u8; 8]>::try_from(b).ok()) {
            Some(b) => (10, u64::from_be_bytes(b)),
            None => return Ok(None),
        },
        short => (2, u64::from(short)),
    };
    if length > PAYLOAD_BYTES_MAX {
        return Err(OutOfStep("a frame above 16 MiB"));
    }
    let end = start + length as usize;
    Ok((bytes.len() >= end).then_some((opcode, start..end)))
}

/// How many bytes to add to an unfinished frame before looking at it again; at least one.
fn missing_bytes(bytes: &[u8]) -> Result<usize, OutOfStep> {
    let header = match bytes.get(1) {
        None => 2,
        Some(126) => 4,
        Some(127) => 10,
        Some(_) => 2,
    };
    if bytes.len() < header {
        return Ok(header - bytes.len());
    }
    let whole = match bytes[1] {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => {
            let length = bytes[2..10].iter().fold(0u64, |sum, &b| sum << 8 | u64::from(b));
            if length > PAYLOAD_BYTES_MAX {
                return Err(OutOfStep("a frame above 16 MiB"));
            }
            10 + length as usize
        }
        short => 2 + usize::from(short),
    };
    Ok(whole.saturating_sub(bytes.len()).max(1))
}

/// Appends a masked client frame. The key is constant: the harness measures servers, it hides nothing.
pub fn client_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    out.push(0x80 | opcode);
    match payload.len() {
        short @ ..126 => out.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&KEY);
    out.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            short @ ..126 => out.push(short as u8),
            middle @ 126..=0xffff => {
                out.push(126);
                out.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                out.push(127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
        out
    }

    fn read(pieces: &[&[u8]]) -> Result<Vec<(Opcode, Vec<u8>)>, OutOfStep> {
        let mut cutter = FrameCutter::default();
        let mut seen = Vec::new();
        for piece in pieces {
            cutter.feed(piece, |opcode, payload| seen.push((opcode, payload.to_vec())))?;
        }
        Ok(seen)
    }

    #[test]
    fn frames_cut_anywhere_are_the_same_frames() {
        let long: Vec<u8> = (0..300u32).map(|i| i as u8).collect();
        let want = vec![
            (Opcode::Text, b"{}".to_vec()),
            (Opcode::Ping, Vec::new()),
            (Opcode::Text, long.clone()),
            (Opcode::Binary, b"x".to_vec()),
            (Opcode::Close, vec![0x0b, 0xc4]),
        ];
        let mut stream = Vec::new();
        for (first, payload) in
            [(0x81, &b"{}"[..]), (0x89, b""), (0x81, &long), (0x82, b"x"), (0x88, &[0x0b, 0xc4])]
        {
            stream.extend(server_frame(first, payload));
        }
        assert_eq!(read(&[&stream]), Ok(want.clone()), "whole");
        for a in 0..=stream.len() {
            assert_eq!(read(&[&stream[..a], &stream[a..]]), Ok(want.clone()), "cut at {a}");
        }
        for step in 1..9 {
            let pieces: Vec<&[u8]> = stream.chunks(step).collect();
            assert_eq!(read(&pieces), Ok(want.clone()), "pieces of {step}");
        }
        for a in (0..stream.len()).step_by(7) {
            for b in (a..stream.len()).step_by(5) {
                assert_eq!(read(&[&stream[..a], &stream[a..b], &stream[b..]]), Ok(want.clone()), "{a}, {b}");
            }
        }
    }

    #[test]
    fn a_frame_above_64_kib_is_read() {
        let payload = vec![7; 70_000];
        let stream = server_frame(0x81, &payload);
        let pieces: Vec<&[u8]> = stream.chunks(4096).collect();
        assert_eq!(read(&pieces), Ok(vec![(Opcode::Text, payload)]));
    }

    #[test]
    fn what_no_server_may_send_ends_the_stream() {
        let table: [(&str, &[u8]); 4] = [
            ("masked", &[0x81, 0x82, 1, 2, 3, 4, 0, 0]),
            ("fragment", &[0x01, 0x01, b'a']),
            ("reserved bit", &[0xc1, 0x01, b'a']),
            ("absurd length", &[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0]),
        ];
        for (name, bytes) in table {
            assert!(read(&[bytes]).is_err(), "{name}");
            assert!(read(&[&bytes[..1], &bytes[1..]]).is_err(), "{name}, cut");
        }
    }

    #[test]
    fn a_client_frame_unmasks_to_its_payload() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut out = Vec::new();
            client_frame(1, &payload, &mut out);
            assert_eq!(out[0], 0x81);
            let header = match out[1] & 0x7f {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            let (key, masked) = out[header..].split_at(4);
            let plain: Vec<u8> = masked.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
            assert_eq!(plain, payload, "{length} bytes");
        }
    }
}
