//! Numbers of the protocol: close codes, and errors that close nothing.
//!
//! pusher-js goes by the range of a close code: up to 4099 it stays away, up to 4199 it comes back after a second, up
//! to 4299 at once, and from 4300 on it stays away again.

use super::about;
use crate::core::disconnect::{CloseFrame, Disconnect};
use crate::core::error::ClientError;

/// Longest reason of a close frame in bytes (RFC 6455 section 5.5).
const REASON_BYTES_MAX: usize = 123;

/// Ends decided by the request's own address, which nothing but this dialect knows of.
pub(super) const PATH_NOT_FOUND: (u16, &str) = (4005, "path not found");
pub(super) const VERSION_MALFORMED: (u16, &str) = (4006, "the protocol version is not a number");
pub(super) const VERSION_UNSUPPORTED: (u16, &str) = (4007, "unsupported protocol version: 5 to 7 are spoken");
pub(super) const VERSION_MISSING: (u16, &str) = (4008, "no protocol version supplied");

/// A client event that was not passed on. As a close code it would keep pusher-js away for good.
const CLIENT_EVENT_REJECTED: u16 = 4301;

/// A watchlist was used in part.
const WATCHLIST_TOO_LONG: u16 = 4302;

/// See [`crate::protocol::Codec::close_frame`].
pub fn close_frame(disconnect: &Disconnect) -> CloseFrame {
    let (code, reason) = close_code(disconnect);
    CloseFrame { code, reason: reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].into() }
}

pub(super) fn close_code(disconnect: &Disconnect) -> (u16, &str) {
    match disconnect {
        Disconnect::Normal => (1000, "connection closed"),
        Disconnect::ServerError => (1011, "internal server error"),
        Disconnect::UnknownApp => (4001, "no app has this key"),
        Disconnect::NotAvailable => (4003, "the app is disabled"),
        Disconnect::ConnectionLimit => (4004, "the app is over its connection quota"),
        Disconnect::BadRequest => (4009, "bad request"),
        Disconnect::InvalidToken => (4009, "the signature is not right"),
        // It would make the same mistakes again every second, and ask its backend for the proofs.
        Disconnect::TooManyErrors => (4009, "too many errors"),
        Disconnect::ForceDisconnect => (4009, "the connection was terminated"),
        Disconnect::Stale => (4009, "the connection did not sign in or subscribe with a signature in time"),
        Disconnect::InappropriateProtocol => (4009, "inappropriate protocol"),
        Disconnect::PermissionDenied => (4009, "not allowed"),
        Disconnect::ForeignOrigin => (4009, "this origin is not in server.allowed_origins"),
        Disconnect::Slow => (4100, "it reads too slowly"),
        Disconnect::TooManyRequests => (4100, "too many requests"),
        Disconnect::ChannelLimit => (4100, "too many channels"),
        Disconnect::Overloaded => (4100, "over capacity"),
        Disconnect::Expired => (4200, "the connection expired"),
        Disconnect::SubscriptionExpired => (4200, "a subscription expired"),
        Disconnect::Shutdown => (4200, "the server is being restarted"),
        Disconnect::InsufficientState => (4200, "publications were missed"),
        Disconnect::ForceReconnect => (4200, "please reconnect"),
        Disconnect::StateInvalidated => (4200, "what was granted no longer holds"),
        Disconnect::NoPong => (4201, "no pong in time"),
        Disconnect::Custom { code, reason } => (*code, reason),
        Disconnect::Transport { code, reason } => (*code, reason),
    }
}

/// The `code` of a `pusher:error` that closes nothing; `None`: null.
pub(super) fn error_code(tag: u32, error: ClientError) -> Option<u16> {
    match (tag, error) {
        (about::SIGN_IN, ClientError::LimitExceeded) => Some(WATCHLIST_TOO_LONG),
        (about::CLIENT_EVENT, _) => Some(CLIENT_EVENT_REJECTED),
        _ => None,
    }
}

/// `type` and `status` of a `pusher:subscription_error`.
pub(super) fn subscription_error(error: ClientError) -> (&'static str, u16) {
    match error {
        ClientError::PermissionDenied
        | ClientError::Unauthorized
        | ClientError::TokenExpired
        | ClientError::Expired => ("AuthError", 401),
        ClientError::LimitExceeded => ("LimitReached", 4100),
        ClientError::BadRequest => ("InvalidRequest", 400),
        ClientError::UnknownChannel | ClientError::NotAvailable => ("NotAvailable", 404),
        ClientError::Internal
        | ClientError::MethodNotFound
        | ClientError::AlreadySubscribed
        | ClientError::TooManyRequests
        | ClientError::UnrecoverablePosition => ("Error", 500),
    }
}
