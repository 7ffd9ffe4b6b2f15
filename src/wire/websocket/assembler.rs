//! Messages out of a stream of received buffers: in place where possible, gathered where they straddle.

use super::header::{self, CLIENT_HEADER_BYTES_MAX, ControlKind, DataKind, Frame, FrameKind};
use super::violation::Violation;

/// What one message may be. Judged at frame headers, before anything is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Payload of one message over all its fragments.
    pub message_bytes_max: u32,
    /// Frames of one message; empty ones count. 0 and 1 both mean: no fragmentation.
    pub fragments_max: u32,
}

/// One item of the stream, lying in the received buffer or in the assembler.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole message, valid UTF-8, unmasked. Mutable, so that a parser may work in place.
    Text(&'a mut [u8]),
    /// A whole message, unmasked.
    Binary(&'a mut [u8]),
    /// At most 125 bytes, to be sent back in a pong.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// The peer closes. `code` is one a peer may send (1000–1003, 1007–1014, 3000–4999).
    Close {
        code: Option<u16>,
        reason: &'a str,
    },
}

/// One connection's reading state: eight bytes while no frame or message is incomplete.
#[derive(Debug, Default)]
pub struct Assembler(Option<Box<Partial>>);

/// What straddles buffers.
#[derive(Debug, Default)]
struct Partial {
    /// The front of a header whose end has not arrived.
    header: [u8; CLIENT_HEADER_BYTES_MAX],
    header_bytes: u8,
    /// The frame whose payload has not arrived whole.
    arriving: Option<Arriving>,
    /// Payload of a control frame that straddles; it may lie between two fragments of a message.
    control: Vec<u8>,
    message: Vec<u8>,
    message_kind: Option<DataKind>,
    /// How much of a text message is known to be UTF-8: all, or all but a code point that has not arrived whole.
    utf8_bytes: usize,
    /// Frames begun of this message.
    fragments: u32,
    handed_out: Option<HandedOut>,
    /// Text validated, repetitions included, so that a test can see that the work is linear.
    #[cfg(test)]
    validated_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Arriving {
    frame: Frame,
    taken: u64,
}

/// What the caller got a reference to; it is dropped at the next call.
#[derive(Debug, Clone, Copy)]
enum HandedOut {
    Control(ControlKind),
    Message(DataKind),
}

/// What one step over the input came to.
enum Step<'b> {
    Starved,
    Again,
    InPlace(Incoming<'b>),
    /// See [`Partial::handed_out`].
    Gathered(HandedOut),
}

impl Assembler {
    /// Takes bytes from the front of `input` until one item is whole, and leaves the rest there. `None`: `input`
    /// is used up. Call it until then, or stop between two items (after a close, before a change of mode).
    ///
    /// An item that lies whole in `input` is unmasked in place, without copy or allocation; a whole message that
    /// straddles inputs is kept here until the next call. Memory is at most twice what has arrived.
    /// Errors: the first rule broken. Then the connection is to be closed: `input` is emptied, the state is gone.
    #[inline]
    pub fn next<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b mut [u8],
        limits: &Limits,
    ) -> Result<Option<Incoming<'a>>, Violation> {
        if self.0.is_some() {
            self.release();
        }
        let gathered = loop {
            match self.step(input, limits) {
                Ok(Step::Again) => {}
                Ok(Step::Starved) => return Ok(None),
                Ok(Step::InPlace(incoming)) => return Ok(Some(incoming)),
                Ok(Step::Gathered(what)) => break what,
                Err(violation) => {
                    self.0 = None;
                    *input = &mut [];
                    return Err(violation);
                }
            }
        };
        Ok(self.0.as_deref_mut().and_then(|partial| partial.hand_out(gathered)))
    }

    /// Nothing is incomplete: no memory is held. An incomplete frame or message can be given a time limit.
    pub fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// A message begun by a frame that was not its last is unfinished: the caller runs its time limit.
    pub fn fragmented_message_open(&self) -> bool {
        let Some(partial) = self.0.as_deref() else { return false };
        if partial.message_kind.is_none() || matches!(partial.handed_out, Some(HandedOut::Message(_))) {
            return false;
        }
        match partial.arriving {
            Some(Arriving { frame, .. }) if !matches!(frame.kind, FrameKind::Control(_)) => {
                partial.fragments > 1 || !frame.is_final
            }
            _ => true,
        }
    }

    /// Bytes allocated for what is incomplete.
    pub fn memory_bytes(&self) -> usize {
        self.0.as_deref().map_or(0, |partial| {
            size_of::<Partial>() + partial.message.capacity() + partial.control.capacity()
        })
    }

    #[cfg(test)]
    pub(super) fn validated_bytes(&self) -> usize {
        self.0.as_deref().map_or(0, |partial| partial.validated_bytes)
    }

    /// Drops what the caller had a reference to, and the box if nothing else is in it.
    fn release(&mut self) {
        let Some(partial) = self.0.as_deref_mut() else { return };
        match partial.handed_out.take() {
            // Nothing follows a message's last byte before the next call, so nothing else is in the box.
            Some(HandedOut::Message(_)) => return self.0 = None,
            Some(HandedOut::Control(_)) => partial.control = Vec::new(),
            None => {}
        }
        if partial.header_bytes == 0 && partial.arriving.is_none() && partial.message_kind.is_none() {
            self.0 = None;
        }
    }

    #[inline]
    fn step<'b>(&mut self, input: &mut &'b mut [u8], limits: &Limits) -> Result<Step<'b>, Violation> {
        if input.is_empty() {
            return Ok(Step::Starved);
        }
        if let Some(partial) = self.0.as_deref_mut()
            && partial.arriving.is_some()
        {
            return partial.gather(input, limits);
        }
        let Some(frame) = self.read_header(input)? else { return Ok(Step::Starved) };
        self.judge_sequence(&frame, limits)?;
        let in_place = match frame.kind {
            FrameKind::Control(_) => true,
            FrameKind::First(_) => frame.is_final,
            FrameKind::Continuation => false,
        };
        if in_place && frame.payload_bytes <= input.len() as u64 {
            let payload = take_front(input, frame.payload_bytes as usize);
            header::unmask(payload, frame.mask, 0);
            return whole(frame.kind, payload);
        }
        let partial = self.0.get_or_insert_default();
        partial.begin(frame);
        partial.gather(input, limits)
    }

    /// The next header, out of `input` alone or of what is kept and `input`. `None`: kept, `input` is used up.
    #[inline]
    fn read_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Frame>, Violation> {
        if let Some(partial) = self.0.as_deref_mut()
            && partial.header_bytes > 0
        {
            return partial.complete_header(input);
        }
        match header::read(input)? {
            Some((frame, header_bytes)) => {
                take_front(input, header_bytes);
                Ok(Some(frame))
            }
            None => self.0.get_or_insert_default().complete_header(input),
        }
    }

    /// Whether this frame may come now, and whether its message stays within the limits.
    #[inline]
    fn judge_sequence(&self, frame: &Frame, limits: &Limits) -> Result<(), Violation> {
        let open = self.0.as_deref().filter(|partial| partial.message_kind.is_some());
        match (frame.kind, open) {
            (FrameKind::Control(_), _) => return Ok(()),
            (FrameKind::First(_), Some(_)) => return Err(Violation::InterleavedMessage),
            (FrameKind::Continuation, None) => return Err(Violation::StrayContinuation),
            (FrameKind::First(_), None) | (FrameKind::Continuation, Some(_)) => {}
        }
        let (message_bytes, fragments) =
            open.map_or((0, 0), |partial| (partial.message.len() as u64, partial.fragments));
        if message_bytes.saturating_add(frame.payload_bytes) > u64::from(limits.message_bytes_max) {
            return Err(Violation::MessageTooBig { limit: limits.message_bytes_max });
        }
        if fragments > 0 && fragments >= limits.fragments_max {
            return Err(Violation::TooManyFragments { limit: limits.fragments_max });
        }
        Ok(())
    }
}

impl Partial {
    /// Takes header bytes from `input`, no more than the header needs.
    fn complete_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Frame>, Violation> {
        let kept = usize::from(self.header_bytes);
        let copied = input.len().min(CLIENT_HEADER_BYTES_MAX - kept);
        self.header[kept..kept + copied].copy_from_slice(&input[..copied]);
        match header::read(&self.header[..kept + copied])? {
            Some((frame, header_bytes)) => {
                // The kept bytes alone were no header, so it ends within what was just copied.
                take_front(input, header_bytes - kept);
                self.header_bytes = 0;
                Ok(Some(frame))
            }
            None => {
                // Fourteen bytes are a whole header, so fewer were there and all of `input` was copied.
                take_front(input, copied);
                self.header_bytes = (kept + copied) as u8;
                Ok(None)
            }
        }
    }

    fn begin(&mut self, frame: Frame) {
        match frame.kind {
            FrameKind::Control(_) => {}
            FrameKind::First(kind) => {
                self.message_kind = Some(kind);
                self.fragments = 1;
            }
            FrameKind::Continuation => self.fragments = self.fragments.saturating_add(1),
        }
        self.arriving = Some(Arriving { frame, taken: 0 });
    }

    /// Moves what has arrived of the current frame from `input` into this.
    fn gather<'b>(&mut self, input: &mut &'b mut [u8], limits: &Limits) -> Result<Step<'b>, Violation> {
        let Some(Arriving { frame, taken }) = self.arriving else { return Ok(Step::Again) };
        let left = frame.payload_bytes - taken;
        let piece_bytes = left.min(input.len() as u64);
        let piece = take_front(input, piece_bytes as usize);
        header::unmask(piece, frame.mask, taken);
        if let FrameKind::Control(_) = frame.kind {
            self.control.extend_from_slice(piece);
        } else {
            // Doubling, but never past what the message can still become.
            let bound = if frame.is_final {
                self.message.len() + left as usize
            } else {
                limits.message_bytes_max as usize
            };
            extend_bounded(&mut self.message, piece, bound);
            self.check_utf8()?;
        }
        if piece_bytes < left {
            self.arriving = Some(Arriving { frame, taken: taken + piece_bytes });
            return Ok(Step::Starved);
        }
        self.arriving = None;
        match (frame.kind, self.message_kind) {
            (FrameKind::Control(kind), _) => {
                if kind == ControlKind::Close {
                    header::close_body(&self.control)?;
                }
                Ok(Step::Gathered(HandedOut::Control(kind)))
            }
            (_, Some(kind)) if frame.is_final => {
                if kind == DataKind::Text && self.utf8_bytes != self.message.len() {
                    return Err(Violation::TextNotUtf8);
                }
                Ok(Step::Gathered(HandedOut::Message(kind)))
            }
            _ => Ok(Step::Again),
        }
    }

    /// Validates what has arrived of a text since the last call. A code point may be split anywhere.
    fn check_utf8(&mut self) -> Result<(), Violation> {
        if self.message_kind != Some(DataKind::Text) {
            return Ok(());
        }
        #[cfg(test)]
        {
            self.validated_bytes += self.message.len() - self.utf8_bytes;
        }
        match std::str::from_utf8(&self.message[self.utf8_bytes..]) {
            Ok(_) => self.utf8_bytes = self.message.len(),
            Err(error) if error.error_len().is_none() => self.utf8_bytes += error.valid_up_to(),
            Err(_) => return Err(Violation::TextNotUtf8),
        }
        Ok(())
    }

    /// `None` never happens: a close body was judged when it was whole.
    fn hand_out(&mut self, what: HandedOut) -> Option<Incoming<'_>> {
        self.handed_out = Some(what);
        match what {
            HandedOut::Message(DataKind::Text) => Some(Incoming::Text(&mut self.message)),
            HandedOut::Message(DataKind::Binary) => Some(Incoming::Binary(&mut self.message)),
            HandedOut::Control(ControlKind::Ping) => Some(Incoming::Ping(&self.control)),
            HandedOut::Control(ControlKind::Pong) => Some(Incoming::Pong(&self.control)),
            HandedOut::Control(ControlKind::Close) => {
                let (code, reason) = header::close_body(&self.control).ok()?;
                Some(Incoming::Close { code, reason })
            }
        }
    }
}

/// A frame that lies whole and unmasked in the input and is a whole item.
#[inline]
fn whole(kind: FrameKind, payload: &mut [u8]) -> Result<Step<'_>, Violation> {
    Ok(Step::InPlace(match kind {
        FrameKind::First(DataKind::Text) => {
            // Most texts are ASCII, and the standard validator reads unaligned short ones byte by byte.
            if !payload.is_ascii() && std::str::from_utf8(payload).is_err() {
                return Err(Violation::TextNotUtf8);
            }
            Incoming::Text(payload)
        }
        FrameKind::First(DataKind::Binary) | FrameKind::Continuation => Incoming::Binary(payload),
        FrameKind::Control(ControlKind::Ping) => Incoming::Ping(payload),
        FrameKind::Control(ControlKind::Pong) => Incoming::Pong(payload),
        FrameKind::Control(ControlKind::Close) => {
            let (code, reason) = header::close_body(payload)?;
            Incoming::Close { code, reason }
        }
    }))
}

#[inline]
fn take_front<'b>(input: &mut &'b mut [u8], bytes: usize) -> &'b mut [u8] {
    let (front, rest) = std::mem::take(input).split_at_mut(bytes);
    *input = rest;
    front
}

/// Appends with amortised growth: at most twice what is there, at most `bound` unless more has really arrived.
fn extend_bounded(target: &mut Vec<u8>, piece: &[u8], bound: usize) {
    let needed = target.len() + piece.len();
    if needed > target.capacity() {
        let doubled = target.capacity().saturating_mul(2).min(bound);
        target.reserve_exact(doubled.max(needed) - target.len());
    }
    target.extend_from_slice(piece);
}
