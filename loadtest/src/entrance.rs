//! How backends publish: over HTTP, or with pipelined commands over raw TCP.
//!
//! A publishing connection says its greeting once, then requests, and counts their answers; requests of one connection are
//! never held back for an answer.

use clap::ValueEnum;

use crate::http::{AnswerReader, PublishRequests};
use crate::resp::{PublishCommands, ReplyReader};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Entrance {
    /// One request per publication over keep-alive.
    Http,
    /// `PUBLISH`, as Redis clients write it.
    Resp,
}

impl Entrance {
    pub fn name(self) -> &'static str {
        match self {
            Entrance::Http => "HTTP",
            Entrance::Resp => "RESP",
        }
    }

    /// `host`: address as text. `payload_bytes`: of every publication.
    pub fn requests(self, host: &str, api_key: &str, payload_bytes: usize) -> Requests {
        match self {
            Entrance::Http => Requests::Http(PublishRequests::new(host, api_key, payload_bytes)),
            Entrance::Resp => Requests::Resp(PublishCommands::new(api_key, payload_bytes)),
        }
    }

    pub fn answers(self) -> Answers {
        match self {
            Entrance::Http => Answers::Http(AnswerReader::default()),
            Entrance::Resp => Answers::Resp(ReplyReader::default()),
        }
    }
}

/// Writes publications.
pub enum Requests {
    Http(PublishRequests),
    Resp(PublishCommands),
}

impl Requests {
    /// What a connection says first; it is not counted among the answers.
    pub fn greeting(&self) -> Vec<u8> {
        match self {
            Requests::Http(_) => Vec::new(),
            Requests::Resp(commands) => commands.greeting(),
        }
    }

    pub fn append(&self, channel: &str, sequence: u64, intended_ns: u64, out: &mut Vec<u8>) {
        match self {
            Requests::Http(requests) => requests.append(channel, sequence, intended_ns, out),
            Requests::Resp(commands) => commands.append(channel, sequence, intended_ns, out),
        }
    }
}

/// Counts answers in a byte stream cut anywhere.
#[derive(Debug)]
pub enum Answers {
    Http(AnswerReader),
    Resp(ReplyReader),
}

impl Answers {
    /// Number of publications that were taken. Errors: the first answer that refuses.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<u64, String> {
        match self {
            Answers::Http(reader) => reader.feed(bytes),
            Answers::Resp(reader) => reader.feed(bytes),
        }
    }
}
