//! Request bodies: in place behind their head, or gathered over buffers, by length or in chunks.

use super::error::HttpError;
use super::head::Body;

/// Chunk extensions of one body, and its trailers: what a peer may make us read without getting further.
const CHUNK_OVERHEAD_BYTES_MAX: u32 = 8 * 1024;

/// The body at the front of `input`, with the rest behind it, if it lies there whole and is not chunked.
///
/// No copy. `None`: a [`BodyReader`] is needed. The limit is judged before: [`Body::check`].
pub fn whole_body(body: Body, input: &mut [u8]) -> Option<(&mut [u8], &mut [u8])> {
    match body {
        Body::None => Some(input.split_at_mut(0)),
        Body::Length(bytes) => input.split_at_mut_checked(usize::try_from(bytes).ok()?),
        Body::Chunked => None,
    }
}

/// Gathers one body over buffers. It exists only while the body is incomplete: one box per connection.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    limit: u64,
    bytes: Vec<u8>,
    /// Of [`CHUNK_OVERHEAD_BYTES_MAX`].
    overhead_bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A body by length: bytes that are missing.
    Length(u64),
    /// In the size line: the size so far, and whether it has a digit.
    Size {
        bytes: u64,
        digits: u8,
    },
    /// Behind the size, up to the end of its line.
    Extension {
        bytes: u64,
    },
    /// The size line's CR was read.
    SizeLineFeed {
        bytes: u64,
    },
    /// In a chunk: bytes that are missing.
    Data {
        left: u64,
    },
    /// The CR LF behind a chunk.
    DataCarriageReturn,
    DataLineFeed,
    /// At the beginning of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    Trailer,
    TrailerLineFeed,
    EndLineFeed,
    Done,
}

impl BodyReader {
    /// `limit`: bytes of the body, announced or arrived. Errors: `BodyTooBig`, before anything is kept.
    pub fn new(body: Body, limit: u64) -> Result<Self, HttpError> {
        body.check(limit)?;
        let state = match body {
            Body::None => State::Done,
            Body::Length(bytes) => State::Length(bytes),
            Body::Chunked => State::Size { bytes: 0, digits: 0 },
        };
        Ok(Self { state, limit, bytes: Vec::new(), overhead_bytes: 0 })
    }

    /// Takes bytes from the front of `input`. `Some`: the body is whole, and this many bytes belonged to it.
    /// `None`: all of `input` was taken. Linear in `input`.
    ///
    /// Errors: `Chunk` (malformed, overflowing or with too many extensions and trailers), `BodyTooBig`.
    pub fn take(&mut self, input: &[u8]) -> Result<Option<usize>, HttpError> {
        let mut used = 0;
        while self.state != State::Done {
            let rest = &input[used..];
            let Some(&byte) = rest.first() else { return Ok(None) };
            used += match self.state {
                State::Length(left) => {
                    let taken = self.keep(rest, left);
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    taken
                }
                State::Data { left } => {
                    let taken = self.keep(rest, left);
                    let left = left - taken as u64;
                    self.state = if left == 0 { State::DataCarriageReturn } else { State::Data { left } };
                    taken
                }
                state => {
                    self.state = self.framing(state, byte)?;
                    1
                }
            };
        }
        Ok(Some(used))
    }

    /// The body, once [`Self::take`] has said that it is whole.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes allocated for the body so far: at most twice what has arrived.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }

    /// Keeps what there is of `left` bytes and says how much it was.
    fn keep(&mut self, rest: &[u8], left: u64) -> usize {
        let taken = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
        self.bytes.extend_from_slice(&rest[..taken]);
        taken
    }

    /// The state behind one byte between chunks (RFC 9112 section 7.1). No bare LF, no white space around sizes.
    fn framing(&mut self, state: State, byte: u8) -> Result<State, HttpError> {
        match (state, byte) {
            (State::Size { bytes, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = u64::from((byte as char).to_digit(16).ok_or(HttpError::Chunk)?);
                let bytes = bytes.checked_mul(16).and_then(|bytes| bytes.checked_add(digit));
                // Sixteen digits hold every size; more could only be zeros sent to keep us busy.
                let digits = digits.checked_add(1).filter(|&digits| digits <= 16);
                let (Some(bytes), Some(digits)) = (bytes, digits) else { return Err(HttpError::Chunk) };
                Ok(State::Size { bytes, digits })
            }
            (State::Size { bytes, digits: 1.. }, b'\r') | (State::Extension { bytes }, b'\r') => {
                Ok(State::SizeLineFeed { bytes })
            }
            (State::Size { bytes, digits: 1.. }, b';') => {
                self.count_overhead()?;
                Ok(State::Extension { bytes })
            }
            (State::Extension { bytes }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_overhead()?;
                Ok(State::Extension { bytes })
            }
            (State::SizeLineFeed { bytes: 0 }, b'\n') => Ok(State::TrailerStart),
            (State::SizeLineFeed { bytes }, b'\n') => {
                let free = self.limit.saturating_sub(self.bytes.len() as u64);
                if bytes > free {
                    return Err(HttpError::BodyTooBig { limit: self.limit });
                }
                Ok(State::Data { left: bytes })
            }
            (State::DataCarriageReturn, b'\r') => Ok(State::DataLineFeed),
            (State::DataLineFeed, b'\n') => Ok(State::Size { bytes: 0, digits: 0 }),
            (State::TrailerStart, b'\r') => Ok(State::EndLineFeed),
            (State::EndLineFeed, b'\n') => Ok(State::Done),
            // Trailers are read over: nothing here uses one, and one that looked like a header must not become one.
            (State::TrailerStart, b'!'..=b'~') | (State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_overhead()?;
                Ok(State::Trailer)
            }
            (State::Trailer, b'\r') => Ok(State::TrailerLineFeed),
            (State::TrailerLineFeed, b'\n') => Ok(State::TrailerStart),
            _ => Err(HttpError::Chunk),
        }
    }

    fn count_overhead(&mut self) -> Result<(), HttpError> {
        self.overhead_bytes += 1;
        if self.overhead_bytes > CHUNK_OVERHEAD_BYTES_MAX { Err(HttpError::Chunk) } else { Ok(()) }
    }
}
