//! What a client wants of a channel: everything, a part by tags, or differences; and how it reads the latter.

use serde_json::Value;

use super::random::Random;
use super::replies::text_of;

/// Fixed for each client and channel, over all of the client's lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Everything,
    Part(Part),
    Differences,
}

/// Some publications carry the tag `odd`, which says whether their number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Those that say so.
    Odd,
    /// All but those that say they are even.
    NotEven,
}

impl Wish {
    pub fn new(random: &mut Random) -> Self {
        match random.below(4) {
            0 => Self::Part(*random.pick(&[Part::Odd, Part::NotEven])),
            1 => Self::Differences,
            _ => Self::Everything,
        }
    }

    /// Its members of a request.
    pub fn members(self) -> &'static str {
        match self {
            Self::Everything => "",
            Self::Differences => ",\"delta\":\"fossil\"",
            Self::Part(Part::Odd) => {
                r#","tf":{"op":"or","nodes":[{"key":"odd","cmp":"in","vals":["yes","ja"]}]}"#
            }
            Self::Part(Part::NotEven) => {
                r#","tf":{"op":"not","nodes":[{"key":"odd","cmp":"eq","val":"no"}]}"#
            }
        }
    }

    pub fn part(self) -> Option<Part> {
        match self {
            Self::Part(part) => Some(part),
            Self::Everything | Self::Differences => None,
        }
    }
}

impl Part {
    /// Whether it has the publication with this number.
    pub fn has(self, number: usize, is_tagged: bool) -> bool {
        match self {
            Self::Odd => is_tagged && number % 2 == 1,
            Self::NotEven => !is_tagged || number % 2 == 1,
        }
    }
}

/// The tags of a publication with this number, as a member of a request.
pub fn tags(number: usize) -> &'static str {
    if number % 2 == 1 { r#","tags":{"odd":"yes","of":"a backend"}"# } else { r#","tags":{"odd":"no"}"# }
}

/// Reads a publication as one who agreed to differences does. `before`: the text of the one before it; becomes that of
/// this one.
pub fn read_difference(publication: &Value, before: &mut Option<Vec<u8>>) -> Result<String, String> {
    let data = text_of(publication).or_else(|| publication["data"].as_str());
    let data = data.ok_or_else(|| format!("no text in {publication}"))?;
    let text = if publication["delta"] == true {
        let base = before.as_deref().ok_or("a difference to nothing")?;
        apply(base, data.as_bytes())
            .ok_or_else(|| format!("{data:?} does not lead on from what came before"))?
    } else {
        data.as_bytes().to_vec()
    };
    *before = Some(text.clone());
    String::from_utf8(text).map_err(|error| error.to_string())
}

/// A delta applied as the description of Fossil's format says; `None`: it is none, or none to this base.
fn apply(base: &[u8], delta: &[u8]) -> Option<Vec<u8>> {
    let mut rest = delta;
    let (length, b'\n') = number(&mut rest)? else { return None };
    let mut text: Vec<u8> = Vec::new();
    loop {
        match number(&mut rest)? {
            (count, b'@') => {
                let (from, b',') = number(&mut rest)? else { return None };
                text.extend_from_slice(base.get(from..from + count)?);
            }
            (count, b':') => {
                text.extend_from_slice(rest.get(..count)?);
                rest = &rest[count..];
            }
            (sum, b';') => {
                let is_whole = rest.is_empty() && text.len() == length && checksum(&text) == sum as u64;
                return is_whole.then_some(text);
            }
            _ => return None,
        }
    }
}

/// A number and the byte behind it.
fn number(rest: &mut &[u8]) -> Option<(usize, u8)> {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";
    let mut number = 0;
    loop {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        match DIGITS.iter().position(|digit| digit == byte) {
            Some(digit) => number = number * 64 + digit,
            None => return Some((number, *byte)),
        }
    }
}

fn checksum(text: &[u8]) -> u64 {
    let word = |bytes: &[u8]| (0..4).fold(0, |word, at| word << 8 | u64::from(*bytes.get(at).unwrap_or(&0)));
    text.chunks(4).map(word).sum::<u64>() & 0xFFFF_FFFF
}
