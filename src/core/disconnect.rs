//! Ends of connections decided by the server. Each dialect maps them to its own close codes.

/// Why the server ends a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnect {
    /// The client asked for it, or closed first.
    Normal,
    /// The broker is draining.
    Shutdown,
    InvalidToken,
    BadRequest,
    ServerError,
    /// The connection's token expired and was not refreshed in time.
    Expired,
    SubscriptionExpired,
    /// The outbound queue exceeded its bound.
    Slow,
    /// A numbered stream has a gap that history cannot fill.
    InsufficientState,
    ForceReconnect,
    /// A backend ended the connection for good.
    ForceDisconnect,
    NoPong,
    TooManyRequests,
    /// What the connection was granted for no longer holds: come back with a fresh token.
    StateInvalidated,
    /// No successful authentication within the time allowed.
    Stale,
    ConnectionLimit,
    ChannelLimit,
    /// Bytes that the client's encoding cannot carry.
    InappropriateProtocol,
    PermissionDenied,
    NotAvailable,
    /// No app has the key that the client named.
    UnknownApp,
    /// The page that the client runs in may not connect.
    ForeignOrigin,
    /// The broker cannot do at the moment what the client must not go without.
    Overloaded,
    TooManyErrors,
    /// A backend's own code and reason.
    Custom {
        code: u16,
        reason: Box<str>,
    },
    /// A violation below the dialect: the WebSocket close code of RFC 6455 section 7.4.1.
    Transport {
        code: u16,
        reason: &'static str,
    },
}

/// What a dialect puts into the close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    pub code: u16,
    /// At most 123 bytes of UTF-8 (RFC 6455 section 5.5).
    pub reason: Box<str>,
}
