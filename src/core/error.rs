//! Refusals that leave the connection open. Each dialect maps them to its own code in one exhaustive `match`.

/// Why a client's command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClientError {
    #[error("internal server error")]
    Internal,
    #[error("unauthorized")]
    Unauthorized,
    /// The channel's namespace is not configured.
    #[error("unknown channel")]
    UnknownChannel,
    #[error("permission denied")]
    PermissionDenied,
    #[error("method not found")]
    MethodNotFound,
    #[error("already subscribed")]
    AlreadySubscribed,
    #[error("limit exceeded")]
    LimitExceeded,
    #[error("bad request")]
    BadRequest,
    /// The feature is switched off for the channel or the server.
    #[error("not available")]
    NotAvailable,
    #[error("token expired")]
    TokenExpired,
    /// The connection's or subscription's own expiry lies in the past.
    #[error("expired")]
    Expired,
    #[error("too many requests")]
    TooManyRequests,
    /// The stream's epoch has changed, or the position is no longer in history.
    #[error("unrecoverable position")]
    UnrecoverablePosition,
}

impl ClientError {
    /// Whether the same command may succeed if the client only tries again later.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests)
    }
}
