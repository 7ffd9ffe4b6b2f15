//! Centrifugo's HTTP API, in both its styles.
//!
//! New: `POST /api/{method}` with the parameters as body, answered by one `{"result":{}}` or `{"error":{}}`. Old:
//! `POST /api` with one or several `{"id","method","params"}`, answered by one such object per command and line.
//! The HTTP status is 200 in every case in which calls were understood.

mod answer;
mod fields;
mod parse;
#[cfg(test)]
mod tests;
mod users;

pub use self::answer::append_answer;
pub use self::parse::{BadBody, parse};
use super::call::{ApiError, Call};

/// How a request was written, and its answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `/api/{method}`: exactly one call.
    Method,
    /// `/api`: one or several calls, one answer a line.
    Commands,
}

/// The calls of one request, in order. At least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub style: Style,
    pub entries: Vec<Entry>,
}

/// One call, or why it cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Goes into the answer; 0: none was given.
    pub id: u32,
    pub call: Result<Call, ApiError>,
}
