//! Spans of time as they are written: `25` (seconds), `"25s"`, `"300ms"`, `"5m"`, `"1h30m"`.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A span of time in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Duration {
    pub ms: u64,
}

impl Duration {
    pub const fn from_s(s: u64) -> Self {
        Self { ms: s * 1_000 }
    }

    /// A number without a unit counts seconds, as where the value comes from the environment. `None`: not a
    /// duration, or one beyond `u64` milliseconds.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(s) = text.parse::<u64>() {
            return Self::checked_from_s(s);
        }
        let mut rest = text;
        let mut ms = 0_u64;
        while !rest.is_empty() {
            let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
            let (unit, after) =
                after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
            let unit_ms = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            ms = ms.checked_add(number.parse::<u64>().ok()?.checked_mul(unit_ms)?)?;
            rest = after;
        }
        (!text.is_empty()).then_some(Self { ms })
    }

    fn checked_from_s(s: u64) -> Option<Self> {
        s.checked_mul(1_000).map(|ms| Self { ms })
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Duration;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter
                    .write_str("seconds as a whole number, or a duration like \"25s\", \"300ms\", \"5m\"")
            }

            fn visit_u64<E: de::Error>(self, s: u64) -> Result<Duration, E> {
                Duration::checked_from_s(s)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(s), &self))
            }

            fn visit_i64<E: de::Error>(self, s: i64) -> Result<Duration, E> {
                match u64::try_from(s) {
                    Ok(s) => self.visit_u64(s),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(s), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                Duration::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let table = [
            ("25", Some(25_000)),
            ("0", Some(0)),
            ("25s", Some(25_000)),
            ("300ms", Some(300)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("1d", Some(86_400_000)),
            ("0s", Some(0)),
            ("", None),
            ("s", None),
            ("5", Some(5_000)),
            ("5x", None),
            ("5 s", None),
            ("-5s", None),
            ("1.5s", None),
            ("5s1", None),
            ("5S", None),
            ("18446744073709551615", None),
            ("18446744073709551616ms", None),
            ("18446744073709551615ms1ms", None),
            ("ä", None),
            ("5ä", None),
        ];
        for (text, want) in table {
            assert_eq!(Duration::parse(text).map(|duration| duration.ms), want, "{text:?}");
        }
    }
}
