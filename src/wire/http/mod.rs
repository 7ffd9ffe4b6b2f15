//! HTTP/1.1 as a server reads and writes it (RFC 9112), strict where leniency lets two parties disagree.
//!
//! A request is read in two steps, so that route, key and body limit are judged before any body is kept:
//! 1. [`HeadReader::take`] finds the end of the head (in place, or gathered over buffers), [`parse_head`] reads it;
//! 2. [`whole_body`] hands out a body that lies behind its head, [`BodyReader`] gathers any other.
//!
//! Every error closes the connection: after it nobody knows where the next request begins.

mod body;
mod error;
mod head;
mod head_reader;
mod query;
mod response;
#[cfg(test)]
mod tests;

pub use body::{BodyReader, whole_body};
pub use error::HttpError;
pub use head::{Body, HEADERS_MAX, Head, HttpLimits, Version, parse_head};
pub use head_reader::{HeadReader, TakenHead};
pub use query::{percent_decode, query_value};
pub use response::{append_continue, append_error_response, append_response, append_response_head};
pub(in crate::wire) use response::{append_header, append_status_line};
