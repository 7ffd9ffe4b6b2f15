//! Why a request is not carried out.

use super::signed::Unauthorized;
use crate::api::call::ApiError;
use crate::wire::json::JsonError;

/// Each names what would help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    #[error("there is no app of this id")]
    UnknownApp,
    #[error("the app does not serve Pusher clients: apps.pusher is off, or its key or secret is not set")]
    AppOff,
    #[error(
        "not found; the endpoints of an app are POST events, batch_events, users/{{id}}/terminate_connections and GET \
         channels, channels/{{name}}, channels/{{name}}/users, connections"
    )]
    UnknownEndpoint,
    #[error("this endpoint is asked with {allow}")]
    Method { allow: &'static str },
    #[error("the body exceeds {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the body is not JSON: {0}")]
    Json(#[from] JsonError),
    #[error("{field} is missing")]
    Missing { field: &'static str },
    #[error("{field} must be {want}")]
    Type { field: &'static str, want: &'static str },
    #[error("{field} is longer than {limit} characters")]
    TooLong { field: &'static str, limit: usize },
    #[error("more than {limit} {field}")]
    TooMany { field: &'static str, limit: usize },
    #[error("data exceeds {limit} bytes")]
    DataTooLarge { limit: usize },
    #[error(
        "a channel's name has at most {limit} of A-Z a-z 0-9 _ - = @ , . ; or is #server-to-user- and a user"
    )]
    Channel { limit: usize },
    #[error("names that begin with pusher: or pusher_internal: are the server's own")]
    ReservedName,
    #[error("socket_id must be two numbers joined by a point")]
    SocketId,
    #[error("info may list {known}")]
    Info { known: &'static str },
    #[error("user_count is told of presence channels only")]
    NoUserCount,
    #[error("cache is told of one cache channel at a time")]
    NoCache,
    #[error("only presence channels have users")]
    NotPresence,
    /// What was begun did not come to its end.
    #[error("{0}")]
    Failed(ApiError),
}

impl Refusal {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Unauthorized(_) => 401,
            Self::AppOff => 403,
            Self::UnknownApp | Self::UnknownEndpoint => 404,
            Self::Method { .. } => 405,
            Self::BodyTooLarge { .. } | Self::DataTooLarge { .. } => 413,
            Self::Failed(error) => error.status(),
            Self::Json(_)
            | Self::Missing { .. }
            | Self::Type { .. }
            | Self::TooLong { .. }
            | Self::TooMany { .. }
            | Self::Channel { .. }
            | Self::ReservedName
            | Self::SocketId
            | Self::Info { .. }
            | Self::NoUserCount
            | Self::NoCache
            | Self::NotPresence => 400,
        }
    }
}
