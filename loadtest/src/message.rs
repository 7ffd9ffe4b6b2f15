//! Our payload, and how a publication that carries it is read, whatever dialect it comes in.

/// Shortest payload that holds the sequence number and the intended time.
pub const PAYLOAD_BYTES_MIN: usize = 54;

/// A payload begins with this; the sequence number follows as 16 hex digits.
const MARK: &[u8] = br#"{"n":""#;
const BETWEEN: &[u8] = br#"","t":""#;

/// Channels are named by their number: all names are of one length, so a publication's payload is always at the same
/// place.
const CHANNEL_DIGITS: usize = 7;

/// `lt-0000012`
pub fn channel_name(number: u32) -> String {
    format!("lt-{number:07}")
}

/// Appends a payload of exactly `bytes` (at least [`PAYLOAD_BYTES_MIN`]) of JSON.
pub fn payload(sequence: u64, intended_ns: u64, bytes: usize, out: &mut Vec<u8>) {
    assert!(bytes >= PAYLOAD_BYTES_MIN, "a payload of {bytes} bytes");
    let end = out.len() + bytes;
    out.extend_from_slice(MARK);
    hex(sequence, out);
    out.extend_from_slice(BETWEEN);
    hex(intended_ns, out);
    out.extend_from_slice(br#"","p":""#);
    out.resize(end - 2, b'x');
    out.extend_from_slice(br#""}"#);
}

/// One message of a server.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Publication {
        channel: u32,
        sequence: u64,
        intended_ns: u64,
    },
    Ping,
    /// The connection is open, under this name if it has one that counts.
    Connected {
        name: String,
    },
    Subscribed,
    /// The reply to a client's own publish.
    Replied {
        id: u32,
    },
    /// An error, the end of a subscription or of the connection, or a publication of a foreign channel.
    Refused(String),
    /// Joins, leaves and whatever else concerns no measurement.
    Other,
}

/// What stands in front of the numbers of a publication, in one dialect.
#[derive(Debug)]
pub struct Shape {
    pub channel: &'static [u8],
    pub sequence: &'static [u8],
    pub time: &'static [u8],
}

/// A payload as it was published.
pub const PLAIN: Shape = Shape { channel: br#""channel":"lt-"#, sequence: MARK, time: BETWEEN };

/// Reads publications; remembers where in one channel and payload begin, because one server writes all alike.
#[derive(Debug)]
pub struct PublicationReader {
    shape: Shape,
    channel_at: usize,
    payload_at: usize,
    message_bytes: usize,
}

impl PublicationReader {
    pub fn new(shape: Shape) -> PublicationReader {
        PublicationReader { shape, channel_at: 0, payload_at: 0, message_bytes: 0 }
    }

    /// Whether `message` is as long as the last one that had to be searched.
    pub fn expects(&self, message: &[u8]) -> bool {
        message.len() == self.message_bytes
    }

    /// A publication with channel and payload at the places known.
    pub fn known(&self, message: &[u8]) -> Option<Message> {
        let (sequence, intended_ns) = self.numbers(message.get(self.payload_at..)?)?;
        let digits = message.get(self.channel_at..)?.first_chunk::<CHANNEL_DIGITS>()?;
        Some(Message::Publication { channel: decimal(digits)?, sequence, intended_ns })
    }

    /// A publication with channel and payload wherever they are, which are the places known from now on.
    pub fn searched(&mut self, message: &[u8]) -> Option<Message> {
        let channel = find(message, self.shape.channel)?;
        self.payload_at = find(message, self.shape.sequence)?;
        self.channel_at = channel + self.shape.channel.len();
        self.message_bytes = message.len();
        self.known(message)
    }

    /// Sequence number and intended time of a payload at the front of `bytes`.
    fn numbers(&self, bytes: &[u8]) -> Option<(u64, u64)> {
        let Shape { sequence: mark, time: between, .. } = self.shape;
        let sequence = bytes.strip_prefix(mark)?.first_chunk::<16>()?;
        let time = bytes.get(mark.len() + 16 + between.len()..)?.first_chunk::<16>()?;
        Some((unhex(sequence), unhex(time)))
    }
}

pub fn decimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

fn hex(value: u64, out: &mut Vec<u8>) {
    out.extend((0..16).rev().map(|digit| b"0123456789abcdef"[(value >> (4 * digit)) as usize & 15]));
}

/// The value of 16 lower-case hex digits, eight at a time. Anything else gives some number: a payload the server has changed
/// then shows as a gap, and checking digits would double the cost of reading.
fn unhex(digits: &[u8; 16]) -> u64 {
    let half = |digits: [u8; 8]| {
        let ascii = u64::from_be_bytes(digits);
        // Letters have bit 6 set and count from 1 in their low nibble.
        let letters = (ascii >> 6) & 0x0101_0101_0101_0101;
        let nibbles = (ascii & 0x0f0f_0f0f_0f0f_0f0f) + 9 * letters;
        let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
        let pairs = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
        (pairs | pairs >> 16) & 0xffff_ffff
    };
    let [a, b, c, d, e, f, g, h, rest @ ..] = *digits;
    half([a, b, c, d, e, f, g, h]) << 32 | half(rest)
}

/// Where `needle` begins in `hay`.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_of_the_asked_length() {
        for bytes in [PAYLOAD_BYTES_MIN, 55, 128, 4096] {
            let mut out = b"kept".to_vec();
            payload(7, u64::MAX, bytes, &mut out);
            assert_eq!(out.len(), 4 + bytes);
            let value: serde_json::Value = serde_json::from_slice(&out[4..]).expect("JSON");
            assert_eq!(value["n"], "0000000000000007");
            assert_eq!(value["t"], "ffffffffffffffff");
        }
    }

    #[test]
    fn hex_comes_back() {
        for value in [0, 1, 9, 10, 15, 16, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            let mut digits = Vec::new();
            hex(value, &mut digits);
            assert_eq!(digits, format!("{value:016x}").into_bytes());
            assert_eq!(unhex(digits.first_chunk().expect("16 digits")), value);
        }
    }
}
