//! RESP, the protocol of Redis clients, as a server speaks it: commands in, replies out, versions 2 and 3.
//!
//! `redis-protocol` reads every argument and writes every reply. What it leaves open is decided here, before it
//! looks: it would recurse on nested arrays, waits for whatever length a peer announces, and begins anew with a
//! command of which only a part has come. A command is one array of bulk strings, or one line as `telnet` sends it.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

mod command;
mod inline;
mod reply;
#[cfg(test)]
mod tests;

pub use command::{Arguments, CommandReader, RespLimits, append_command};
pub use reply::{Reply, RespVersion, append_reply};

/// Why a connection's bytes are no commands; it is told and closed, because nobody knows where the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RespError {
    #[error("ERR Protocol error: invalid multibulk length")]
    ArrayLength,
    #[error("ERR Protocol error: at most {max} arguments are served")]
    Arguments { max: usize },
    #[error("ERR Protocol error: expected '$', got '{}'", .got.escape_ascii())]
    Argument { got: u8 },
    #[error("ERR Protocol error: invalid bulk length")]
    BulkLength,
    #[error("ERR Protocol error: an argument of at most {max} bytes is served")]
    TooLong { max: usize },
    #[error("ERR Protocol error: a command of at most {max} bytes is served")]
    CommandTooLong { max: usize },
    #[error("ERR Protocol error: too big inline request")]
    InlineTooLong,
    #[error("ERR Protocol error: unbalanced quotes in request")]
    Quotes,
}
