//! What a peer can do wrong with a request, and the status each gets.

/// Why a request is refused. The answer carries [`HttpError::status`] and the text, and ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    #[error("the request line is malformed")]
    RequestLine,
    #[error("the request target is malformed")]
    Target,
    #[error("a header is malformed")]
    Header,
    #[error("a line ends in LF without CR")]
    BareLineFeed,
    #[error("an HTTP/1.1 request has exactly one Host header")]
    Host,
    #[error("Content-Length is not one decimal number")]
    ContentLength,
    #[error("both Content-Length and Transfer-Encoding")]
    TwoFramings,
    #[error("Transfer-Encoding does not end in one chunked")]
    TransferEncoding,
    #[error("the chunked body is malformed")]
    Chunk,
    #[error("not a WebSocket upgrade request: {missing}")]
    Upgrade { missing: &'static str },
    #[error("method not allowed, use {allow}")]
    MethodNotAllowed { allow: &'static str },
    /// Judged by the caller, who has the clock.
    #[error("the request did not arrive in time")]
    Timeout,
    #[error("the body exceeds {limit} bytes")]
    BodyTooBig { limit: u64 },
    #[error("the only expectation supported is 100-continue")]
    Expectation,
    #[error("the WebSocket version must be 13")]
    WebSocketVersion,
    #[error("the request head exceeds {limit} bytes")]
    HeadTooBig { limit: u16 },
    #[error("more than {limit} headers")]
    TooManyHeaders { limit: u16 },
    #[error("method not implemented")]
    MethodUnknown,
    #[error("transfer coding not implemented")]
    TransferCodingUnknown,
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
}

impl HttpError {
    pub fn status(&self) -> u16 {
        match self {
            Self::RequestLine
            | Self::Target
            | Self::Header
            | Self::BareLineFeed
            | Self::Host
            | Self::ContentLength
            | Self::TwoFramings
            | Self::TransferEncoding
            | Self::Chunk
            | Self::Upgrade { .. } => 400,
            Self::MethodNotAllowed { .. } => 405,
            Self::Timeout => 408,
            Self::BodyTooBig { .. } => 413,
            Self::Expectation => 417,
            Self::WebSocketVersion => 426,
            Self::HeadTooBig { .. } | Self::TooManyHeaders { .. } => 431,
            Self::MethodUnknown | Self::TransferCodingUnknown => 501,
            Self::Version => 505,
        }
    }

    /// Headers the status calls for.
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::MethodNotAllowed { allow: "GET" } => &[("Allow", "GET")],
            Self::MethodNotAllowed { allow: "POST" } => &[("Allow", "POST")],
            Self::MethodNotAllowed { .. } => &[("Allow", "GET, POST")],
            Self::WebSocketVersion => &[("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")],
            _ => &[],
        }
    }
}
