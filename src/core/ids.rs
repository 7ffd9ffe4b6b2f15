//! Names of things inside one process.

/// One shard: one core's share of sockets, channels and timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// Index of a connection within its shard: the number of its direct descriptor. Reused after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Index of a configured app. Apps are never removed while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppIndex(pub u16);

/// How many lives of a slot are told apart: generations are 24 bits wide and wrap.
pub const GENERATION_MASK: u32 = 0x00FF_FFFF;

/// One life of a slot: names a connection within its shard for as long as it lasts, and nothing afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub slot: Slot,
    /// 24 bits, incremented each time the slot is reused.
    pub generation: u32,
}

/// A connection anywhere in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    pub shard: ShardId,
    pub connection: ConnectionId,
}

/// The id a client is known by to others: 128 bits, shown as a UUID. Sealed by the shard that made it, so that
/// it can be decoded into an [`Address`] there and guessed nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(pub [u8; 16]);

impl ClientId {
    /// The 36 characters of the hyphenated lower-case form. No allocation.
    pub fn text(&self) -> ClientIdText {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        ClientIdText(text)
    }

    /// Reads the hyphenated form, either case. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return None;
        }
        let mut bytes = [0_u8; 16];
        let mut at = 0;
        for (index, byte) in bytes.iter_mut().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                if text[at] != b'-' {
                    return None;
                }
                at += 1;
            }
            let high = char::from(text[at]).to_digit(16)?;
            let low = char::from(text[at + 1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
            at += 2;
        }
        Some(Self(bytes))
    }
}

/// A client id as text, on the stack.
#[derive(Debug, Clone, Copy)]
pub struct ClientIdText([u8; 36]);

impl ClientIdText {
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits and hyphens are ASCII")
    }
}

/// The same for dialects whose ids are digits: two numbers below 2^53, shown with a point between them. Sealed like
/// a [`ClientId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecimalId {
    pub first: u64,
    pub second: u64,
}

impl DecimalId {
    /// Reads digits, a point and digits. `None` for anything else. Numbers that are too large come out as those of
    /// nobody.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, second) = text.split_once('.')?;
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().unwrap_or(u64::MAX))
        };
        Some(Self { first: number(first)?, second: number(second)? })
    }
}

impl std::fmt::Display for DecimalId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.first, self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_ids_are_digits_a_point_and_digits() {
        let id = DecimalId { first: 12, second: (1 << 53) - 1 };
        assert_eq!(id.to_string(), "12.9007199254740991");
        assert_eq!(DecimalId::parse(&id.to_string()), Some(id));
        let huge = DecimalId { first: 1, second: u64::MAX };
        assert_eq!(DecimalId::parse("1.99999999999999999999999"), Some(huge));
        for wrong in ["", ".", "1", "1.", ".1", "1.2.3", "+1.2", "1.-2", " 1.2", "1:2", "1.2\n", "١.٢"] {
            assert_eq!(DecimalId::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn client_id_text_round_trips() {
        let id = ClientId(std::array::from_fn(|i| i as u8 * 17));
        let text = id.text();
        assert_eq!(text.as_str(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(ClientId::parse(text.as_str()), Some(id));
        for wrong in ["", "00112233-4455-6677-8899-aabbccddeef", "00112233-4455-6677-8899_aabbccddeeff"] {
            assert_eq!(ClientId::parse(wrong), None, "{wrong:?}");
        }
    }
}
