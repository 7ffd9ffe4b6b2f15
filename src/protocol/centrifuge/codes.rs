//! The numbers of this dialect and their texts.

use crate::core::disconnect::{CloseFrame, Disconnect};
use crate::core::error::ClientError;
use crate::core::event::DropCause;
use crate::wire::json::append_string;

/// Longest reason in a close frame, in bytes (RFC 6455 section 5.5).
const REASON_BYTES_MAX: usize = 123;

/// Code and message of an error reply, the same in both generations.
pub(super) fn error(error: ClientError) -> (u32, &'static str) {
    match error {
        ClientError::Internal => (100, "internal server error"),
        ClientError::Unauthorized => (101, "unauthorized"),
        ClientError::UnknownChannel => (102, "unknown channel"),
        ClientError::PermissionDenied => (103, "permission denied"),
        ClientError::MethodNotFound => (104, "method not found"),
        ClientError::AlreadySubscribed => (105, "already subscribed"),
        ClientError::LimitExceeded => (106, "limit exceeded"),
        ClientError::BadRequest => (107, "bad request"),
        ClientError::NotAvailable => (108, "not available"),
        ClientError::TokenExpired => (109, "token expired"),
        ClientError::Expired => (110, "expired"),
        ClientError::TooManyRequests => (111, "too many requests"),
        ClientError::UnrecoverablePosition => (112, "unrecoverable position"),
    }
}

/// Code and reason of v2's unsubscribe push. From 2500 on, clients subscribe again.
pub(super) fn unsubscribe(cause: DropCause) -> (u32, &'static str) {
    match cause {
        DropCause::Server => (2000, "server unsubscribe"),
        DropCause::InsufficientState => (2500, "insufficient state"),
        DropCause::Expired => (2501, "subscription expired"),
        DropCause::StateInvalidated => (2502, "state invalidated"),
    }
}

/// Plain text; clients tell by the code whether to come back ([`comes_back`]).
pub(super) fn close_frame_v2(disconnect: &Disconnect) -> CloseFrame {
    let (code, reason) = code_v2(disconnect);
    CloseFrame { code, reason: reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].into() }
}

/// The reason is JSON and says itself whether to come back: with plain text, centrifuge-js 2.8.5 always does.
pub(super) fn close_frame_v1(disconnect: &Disconnect) -> CloseFrame {
    let (code, reason) = code_v1(disconnect);
    let reconnect = comes_back(code_v2(disconnect).0);
    let mut shown = reason.floor_char_boundary(REASON_BYTES_MAX);
    loop {
        let mut text = b"{\"reason\":".to_vec();
        append_string(&reason[..shown], &mut text);
        text.extend_from_slice(if reconnect { b",\"reconnect\":true}" } else { b",\"reconnect\":false}" });
        if text.len() <= REASON_BYTES_MAX {
            let reason = String::from_utf8(text).expect("made of strings").into_boxed_str();
            return CloseFrame { code, reason };
        }
        shown = reason.floor_char_boundary(shown - 1);
    }
}

/// What a v2 client makes of a code. 1009 says that its message was too big, and the next one would be again.
fn comes_back(code_v2: u16) -> bool {
    !matches!(code_v2, 1009 | 3500..=3999 | 4500..=4999)
}

fn code_v2(disconnect: &Disconnect) -> (u16, &str) {
    match disconnect {
        Disconnect::Normal => (3000, "connection closed"),
        Disconnect::Shutdown => (3001, "shutdown"),
        Disconnect::ServerError => (3004, "internal server error"),
        Disconnect::Expired => (3005, "connection expired"),
        Disconnect::SubscriptionExpired => (3006, "subscription expired"),
        Disconnect::Slow => (3008, "slow"),
        Disconnect::InsufficientState => (3010, "insufficient state"),
        Disconnect::ForceReconnect => (3011, "force reconnect"),
        Disconnect::NoPong => (3012, "no pong"),
        Disconnect::TooManyRequests => (3013, "too many requests"),
        Disconnect::StateInvalidated => (3014, "state invalidated"),
        Disconnect::InvalidToken => (3500, "invalid token"),
        Disconnect::BadRequest => (3501, "bad request"),
        Disconnect::Stale => (3502, "stale"),
        Disconnect::ForceDisconnect => (3503, "force disconnect"),
        Disconnect::ConnectionLimit => (3504, "connection limit"),
        Disconnect::ChannelLimit => (3505, "channel limit"),
        Disconnect::InappropriateProtocol => (3506, "inappropriate protocol"),
        Disconnect::PermissionDenied => (3507, "permission denied"),
        Disconnect::NotAvailable => (3508, "not available"),
        Disconnect::UnknownApp => (3501, "unknown app"),
        Disconnect::ForeignOrigin => (3507, "origin not allowed"),
        Disconnect::Overloaded => (3004, "overloaded"),
        Disconnect::TooManyErrors => (3509, "too many errors"),
        Disconnect::Custom { code, reason } => (*code, reason),
        Disconnect::Transport { code, reason } => (*code, reason),
    }
}

/// Its clients do not look at the code, only at the reason, which therefore stays precise where v1 has no code.
fn code_v1(disconnect: &Disconnect) -> (u16, &str) {
    let (code_v2, reason) = code_v2(disconnect);
    match disconnect {
        Disconnect::Normal => (3000, "normal"),
        Disconnect::Expired => (3005, "expired"),
        Disconnect::InvalidToken => (3002, reason),
        Disconnect::BadRequest => (3003, reason),
        Disconnect::Stale => (3007, reason),
        Disconnect::ForceDisconnect => (3012, reason),
        Disconnect::ConnectionLimit => (3013, reason),
        Disconnect::ChannelLimit
        | Disconnect::InappropriateProtocol
        | Disconnect::PermissionDenied
        | Disconnect::NotAvailable
        | Disconnect::UnknownApp
        | Disconnect::ForeignOrigin
        | Disconnect::TooManyErrors => (3003, reason),
        Disconnect::NoPong => (3000, reason),
        Disconnect::TooManyRequests | Disconnect::StateInvalidated => (3011, reason),
        Disconnect::Shutdown
        | Disconnect::ServerError
        | Disconnect::Overloaded
        | Disconnect::SubscriptionExpired
        | Disconnect::Slow
        | Disconnect::InsufficientState
        | Disconnect::ForceReconnect
        | Disconnect::Custom { .. }
        | Disconnect::Transport { .. } => (code_v2, reason),
    }
}
