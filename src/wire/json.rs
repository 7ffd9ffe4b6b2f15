//! Guarded access to JSON from outside. Nothing else in the project parses untrusted JSON.
//!
//! simd-json decides whether a text is JSON, iteratively and on a scratch copy, because it unescapes in place. What
//! a caller gets is the text itself, cut into spans: payloads are passed on byte for byte. On top of RFC 8259:
//! - one value, no byte order mark, nothing but white space around it;
//! - at most [`DEPTH_MAX`] arrays and objects inside one another;
//! - no lone surrogates;
//! - a name that is read must not occur twice; names are compared after unescaping and are case-sensitive.
//!
//! Numbers of any size and precision are JSON; only reading one as a machine number can fail.

mod scan;
mod write;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Tape};

pub use self::scan::documents;
pub use self::write::{append_string, append_u64, without_raw_newlines};

/// Deepest nesting of arrays and objects.
pub const DEPTH_MAX: usize = 64;

/// The scratch space of a text above this is given back; it is about 30 times the text at worst.
const KEPT_TEXT_BYTES_MAX: usize = 64 * 1024;

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("no JSON value where one is needed")]
    Empty,
    #[error("JSON begins with a byte order mark")]
    ByteOrderMark,
    /// Includes lone surrogates, raw control characters in strings and bytes after the value.
    #[error("not valid JSON near byte {at}")]
    Syntax { at: usize },
    #[error("JSON has bytes that are not UTF-8")]
    Utf8,
    #[error("JSON is nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("JSON is longer than 4 GiB")]
    TooLong,
    #[error("{name:?} occurs twice")]
    RepeatedName { name: &'static str },
}

/// Reusable scratch space. One per shard: once it is warm, parsing allocates nothing.
#[derive(Debug)]
pub struct Json {
    scratch: Vec<u8>,
    buffers: DebugBuffers,
    tape: Tape<'static>,
}

/// `Buffers` has no `Debug` of its own.
struct DebugBuffers(Buffers);

impl std::fmt::Debug for DebugBuffers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Buffers")
    }
}

impl Default for Json {
    fn default() -> Self {
        Self::new()
    }
}

impl Json {
    pub fn new() -> Self {
        Self {
            scratch: Vec::new(),
            buffers: DebugBuffers(Buffers::with_max_depth(0, DEPTH_MAX)),
            tape: Tape(Vec::new()),
        }
    }

    /// Checks that `text` is one JSON value under the rules above. O(length), no recursion.
    pub fn parse<'t>(&mut self, text: &'t [u8]) -> Result<Value<'t>, JsonError> {
        if text.starts_with(b"\xEF\xBB\xBF") {
            return Err(JsonError::ByteOrderMark);
        }
        let mut checked = self.check(text, false);
        if matches!(&checked, Err(error) if *error.error() == ErrorType::InvalidNumber) {
            checked = self.check(text, true);
        }
        if text.len() > KEPT_TEXT_BYTES_MAX {
            *self = Self::new();
        }
        checked.map_err(|error| match error.error() {
            ErrorType::Eof => JsonError::Empty,
            ErrorType::DepthLimitExceeded => JsonError::TooDeep,
            ErrorType::InputTooLarge => JsonError::TooLong,
            ErrorType::InvalidUtf8 if error.index() == 0 => JsonError::Utf8,
            _ => JsonError::Syntax { at: error.index() },
        })?;
        Ok(Value { raw: scan::trim(text) })
    }

    /// JSON for bytes of which nothing is known: themselves if they are JSON (without raw line ends), else the
    /// string they are if they are UTF-8. `None`: neither.
    pub fn text_of<'b>(&mut self, bytes: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        if let Ok(value) = self.parse(bytes) {
            return Some(without_raw_newlines(value.raw()));
        }
        let mut text = Vec::with_capacity(bytes.len() + 2);
        append_string(std::str::from_utf8(bytes).ok()?, &mut text);
        Some(Cow::Owned(text))
    }

    /// simd-json refuses numbers beyond its machine types. With `any_number` they stand for zero in the scratch
    /// copy, if they are numbers by the grammar: the text is what counts, and it goes on unchanged.
    fn check(&mut self, text: &[u8], any_number: bool) -> Result<(), simd_json::Error> {
        self.scratch.clear();
        self.scratch.reserve(text.len() + INPUT_PADDING);
        self.scratch.extend_from_slice(text);
        self.scratch.resize(text.len() + INPUT_PADDING, b' ');
        if any_number {
            scan::zero_numbers(&mut self.scratch);
        }
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let checked =
            simd_json::fill_tape_padded(&mut self.scratch, text.len(), &mut self.buffers.0, &mut tape);
        self.tape = tape.reset();
        checked
    }
}

/// The string at the front of a JSON text of our own making, unescaped, and what follows it. `None`: none is there.
pub fn leading_string(text: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
    let (string, rest) = scan::next_value(text).filter(|_| text.first() == Some(&b'"'))?;
    Some((Value { raw: string }.as_str()?, rest))
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// With its article, for messages: `a string`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// One value inside a checked text: its bytes, without white space around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'t> {
    raw: &'t [u8],
}

impl<'t> Value<'t> {
    /// The value as it was written.
    pub fn raw(self) -> &'t [u8] {
        self.raw
    }

    pub fn kind(self) -> Kind {
        match self.raw.first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            _ => Kind::Null,
        }
    }

    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    pub fn as_bool(self) -> Option<bool> {
        match self.raw {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// A string, unescaped; it may contain any character, NUL included. Allocates only if there are escapes.
    pub fn as_str(self) -> Option<Cow<'t, str>> {
        scan::unescape(self.raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
    }

    /// A number written as an integer, without fraction or exponent, that fits.
    pub fn as_u64(self) -> Option<u64> {
        if !self.raw.first()?.is_ascii_digit() {
            return None;
        }
        std::str::from_utf8(self.raw).ok()?.parse().ok()
    }

    /// As [`Self::as_u64`], with a sign.
    pub fn as_i64(self) -> Option<i64> {
        if self.kind() != Kind::Number {
            return None;
        }
        std::str::from_utf8(self.raw).ok()?.parse().ok()
    }

    /// Any number, rounded to the nearest double. `None` also for those too large for one.
    pub fn as_f64(self) -> Option<f64> {
        if self.kind() != Kind::Number {
            return None;
        }
        // Whole numbers, which most are, are read faster; so far they are exact as doubles.
        if let Some(whole) = self.as_u64().filter(|whole| *whole <= 1 << f64::MANTISSA_DIGITS) {
            return Some(whole as f64);
        }
        let number: f64 = std::str::from_utf8(self.raw).ok()?.parse().ok()?;
        number.is_finite().then_some(number)
    }

    pub fn as_object(self) -> Option<Object<'t>> {
        Some(Object { inner: self.raw.strip_prefix(b"{")?.strip_suffix(b"}")? })
    }

    /// The elements of an array, in order.
    pub fn as_array(self) -> Option<Elements<'t>> {
        Some(Elements { rest: self.raw.strip_prefix(b"[")?.strip_suffix(b"]")? })
    }

    /// Whether it is a string with exactly this content.
    pub fn is_string(self, content: &str) -> bool {
        let Some(inner) = self.raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
            return false;
        };
        inner == content.as_bytes()
            || (inner.contains(&b'\\') && scan::unescape(inner).is_some_and(|text| text == content))
    }
}

/// The members of an object inside a checked text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<'t> {
    inner: &'t [u8],
}

impl<'t> Object<'t> {
    /// Names and values in the order they were written, repetitions included. Every name is a string.
    pub fn members(self) -> Members<'t> {
        Members { rest: self.inner }
    }

    /// The member of this name. Errors: `RepeatedName`.
    pub fn get(self, name: &'static str) -> Result<Option<Value<'t>>, JsonError> {
        let [value] = self.read([name])?;
        Ok(value)
    }

    /// The members of these names in one pass over the object. Errors: `RepeatedName`.
    pub fn read<const N: usize>(self, names: [&'static str; N]) -> Result<[Option<Value<'t>>; N], JsonError> {
        let mut found = [None; N];
        for (name, value) in self.members() {
            let raw = name.raw.get(1..name.raw.len().saturating_sub(1)).unwrap_or_default();
            let mut place = names.iter().position(|wanted| wanted.as_bytes() == raw);
            if place.is_none() && raw.contains(&b'\\') {
                let name = name.as_str().unwrap_or_default();
                place = names.iter().position(|wanted| **wanted == *name);
            }
            let Some(place) = place else { continue };
            if found[place].replace(value).is_some() {
                return Err(JsonError::RepeatedName { name: names[place] });
            }
        }
        Ok(found)
    }
}

/// Iterator of [`Object::members`].
#[derive(Debug, Clone)]
pub struct Members<'t> {
    rest: &'t [u8],
}

impl<'t> Iterator for Members<'t> {
    type Item = (Value<'t>, Value<'t>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = scan::next_value(self.rest)?;
        let (value, rest) = scan::next_value(rest)?;
        self.rest = rest;
        Some((Value { raw: name }, Value { raw: value }))
    }
}

/// Iterator of [`Value::as_array`].
#[derive(Debug, Clone)]
pub struct Elements<'t> {
    rest: &'t [u8],
}

impl<'t> Iterator for Elements<'t> {
    type Item = Value<'t>;

    fn next(&mut self) -> Option<Self::Item> {
        let (raw, rest) = scan::next_value(self.rest)?;
        self.rest = rest;
        Some(Value { raw })
    }
}
