//! One subscriber from the upgrade's answer to the last publication, without its socket.

use crate::clock::now_ns;
use crate::frames::{FrameCutter, Opcode};
use crate::http::upgraded;
use crate::ledger::Ledger;
use crate::message::{Message, MessageReader};
use crate::sequence::Sequence;

pub struct Subscriber {
    pub number: u32,
    pub channel: u32,
    pub phase: Phase,
    cutter: FrameCutter,
    sequence: Sequence,
    started_ns: u64,
}

pub enum Phase {
    /// Holds what has arrived of the answer; empty until TCP is connected.
    Upgrading(Vec<u8>),
    Authenticating,
    Subscribed,
    /// Reads nothing any more; the server may let it go whenever it likes.
    Stalled,
    Closing,
}

/// What the bytes of a subscriber call for.
#[derive(Default)]
pub struct Wanted {
    pub first_frame: bool,
    pub pongs: u32,
    pub websocket_pongs: u32,
    pub close: bool,
}

impl Subscriber {
    /// Starts now; the connection is being made.
    pub fn new(number: u32, channel: u32) -> Subscriber {
        Subscriber {
            number,
            channel,
            phase: Phase::Upgrading(Vec::new()),
            cutter: FrameCutter::default(),
            sequence: Sequence::default(),
            started_ns: now_ns(),
        }
    }

    /// Reads what has arrived and says what to do about it.
    pub fn received(&mut self, bytes: &[u8], reader: &mut MessageReader, ledger: &mut Ledger) -> Wanted {
        let mut wanted = Wanted::default();
        let mut bytes = bytes;
        let mut head;
        match &mut self.phase {
            Phase::Closing | Phase::Stalled => return wanted,
            Phase::Upgrading(arrived) => {
                arrived.extend_from_slice(bytes);
                let end = match upgraded(arrived) {
                    Ok(None) => return wanted,
                    Ok(Some(end)) => end,
                    Err(answer) => {
                        ledger.closed(format!("the upgrade was refused: {answer}"));
                        self.phase = Phase::Closing;
                        wanted.close = true;
                        return wanted;
                    }
                };
                head = std::mem::take(arrived);
                head.drain(..end);
                bytes = &head;
                wanted.first_frame = true;
                self.phase = Phase::Authenticating;
            }
            Phase::Authenticating | Phase::Subscribed => {}
        }
        self.frames(bytes, reader, ledger, &mut wanted);
        wanted
    }

    fn frames(&mut self, bytes: &[u8], reader: &mut MessageReader, ledger: &mut Ledger, wanted: &mut Wanted) {
        let Subscriber { channel, phase, cutter, sequence, started_ns, .. } = self;
        let now = now_ns();
        let before = ledger.counts.deliveries;
        let mut over = false;
        let result = cutter.feed(bytes, |opcode, payload| match opcode {
            Opcode::Text => reader.read(payload, |message| match message {
                Message::Publication { sequence: heard, intended_ns } => {
                    ledger.delivered(*channel, sequence, heard, intended_ns, now);
                }
                Message::Ping => {
                    ledger.counts.pings += 1;
                    wanted.pongs += 1;
                }
                Message::Subscribed if matches!(phase, Phase::Authenticating) => {
                    *phase = Phase::Subscribed;
                    *sequence = ledger.subscribed(*channel, now - *started_ns);
                }
                Message::Subscribed | Message::Connected | Message::Other => {}
                Message::Refused(text) => ledger.problem(text),
            }),
            Opcode::Ping => wanted.websocket_pongs += 1,
            Opcode::Close => {
                let code = payload.first_chunk::<2>().map_or(0, |code| u16::from_be_bytes(*code));
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                ledger.closed(format!("the server closed with {code} {reason}"));
                over = true;
            }
            Opcode::Binary | Opcode::Pong => {}
        });
        if let Err(error) = result {
            ledger.closed(format!("a subscriber's stream cannot be read: {}", error.0));
            over = true;
        }
        if over {
            *phase = Phase::Closing;
            wanted.close = true;
        }
        if ledger.counts.deliveries > before {
            ledger.counts.receives += 1;
        }
    }
}
