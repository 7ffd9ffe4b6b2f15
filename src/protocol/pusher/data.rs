//! `data` of events: a text for this dialect, JSON for all others.

use std::borrow::Cow;

use crate::core::publication::{AsText, Payload};
use crate::wire::json::{Json, Value, append_string, without_raw_newlines};

/// What a publisher's text is to everybody: the JSON that it holds, else a JSON string.
pub fn from_text(text: &str, json: &mut Json) -> (Payload, AsText) {
    let Ok(value) = json.parse(text.as_bytes()) else {
        let mut string = Vec::with_capacity(text.len() + 2);
        append_string(text, &mut string);
        return (Payload::Json(string.into()), AsText::Verbatim);
    };
    let raw = value.raw();
    let as_text = match without_raw_newlines(raw) {
        Cow::Borrowed(_) if raw.len() == text.len() => AsText::Quoted,
        _ => AsText::Own(text.into()),
    };
    (Payload::Json(without_raw_newlines(raw).into()), as_text)
}

/// The same for `data` of a client's own event, which may be any value; `None`: it was left out.
pub(super) fn from_value(value: Option<Value<'_>>, json: &mut Json) -> (Payload, AsText) {
    let Some(value) = value else { return (Payload::Json(b"null".as_slice().into()), AsText::Verbatim) };
    match value.as_str() {
        Some(text) => from_text(&text, json),
        None => (Payload::Json(without_raw_newlines(value.raw()).into()), AsText::Verbatim),
    }
}
