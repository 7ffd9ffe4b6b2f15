//! What a peer can do wrong with frames, and the close code each gets.

use tungstenite::protocol::frame::coding::CloseCode;

/// Why a connection must be closed. The close frame carries [`Violation::close_code`] and [`Violation::reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("client frame is not masked")]
    Unmasked,
    #[error("reserved bit set without an extension")]
    ReservedBits,
    #[error("reserved opcode {opcode}")]
    ReservedOpcode { opcode: u8 },
    #[error("fragmented control frame")]
    ControlFragmented,
    #[error("control frame of {bytes} bytes, at most 125 are allowed")]
    ControlTooLong { bytes: u64 },
    #[error("top bit of a 64-bit length set")]
    LengthTopBit,
    #[error("length {bytes} coded longer than needed")]
    LengthNotMinimal { bytes: u64 },
    #[error("continuation without a message")]
    StrayContinuation,
    #[error("new message within a fragmented message")]
    InterleavedMessage,
    #[error("close body of one byte")]
    CloseBodyTooShort,
    #[error("close code {code} is not allowed")]
    CloseCode { code: u16 },
    #[error("text is not UTF-8")]
    TextNotUtf8,
    #[error("close reason is not UTF-8")]
    CloseReasonNotUtf8,
    #[error("message in more than {limit} fragments")]
    TooManyFragments { limit: u32 },
    #[error("message over {limit} bytes")]
    MessageTooBig { limit: u32 },
    /// Judged by the caller, who has the clock: see [`super::Assembler::fragmented_message_open`].
    #[error("fragmented message not finished in time")]
    MessageUnfinished,
    /// Judged by the caller, who has the clock.
    #[error("too many pings")]
    PingFlood,
}

impl Violation {
    /// RFC 6455 section 7.4.1.
    pub fn close_code(&self) -> u16 {
        u16::from(match self {
            Self::Unmasked
            | Self::ReservedBits
            | Self::ReservedOpcode { .. }
            | Self::ControlFragmented
            | Self::ControlTooLong { .. }
            | Self::LengthTopBit
            | Self::LengthNotMinimal { .. }
            | Self::StrayContinuation
            | Self::InterleavedMessage
            | Self::CloseBodyTooShort
            | Self::CloseCode { .. } => CloseCode::Protocol,
            Self::TextNotUtf8 | Self::CloseReasonNotUtf8 => CloseCode::Invalid,
            Self::TooManyFragments { .. } | Self::MessageUnfinished | Self::PingFlood => CloseCode::Policy,
            Self::MessageTooBig { .. } => CloseCode::Size,
        })
    }

    /// What the peer reads in the close frame: the class, without numbers. At most 123 bytes.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unmasked => "client frame is not masked",
            Self::ReservedBits => "reserved bit set",
            Self::ReservedOpcode { .. } => "reserved opcode",
            Self::ControlFragmented => "fragmented control frame",
            Self::ControlTooLong { .. } => "control frame too long",
            Self::LengthTopBit | Self::LengthNotMinimal { .. } => "invalid frame length",
            Self::StrayContinuation => "continuation without a message",
            Self::InterleavedMessage => "new message within a fragmented message",
            Self::CloseBodyTooShort | Self::CloseCode { .. } => "invalid close frame",
            Self::TextNotUtf8 => "text is not UTF-8",
            Self::CloseReasonNotUtf8 => "close reason is not UTF-8",
            Self::TooManyFragments { .. } => "too many fragments",
            Self::MessageTooBig { .. } => "message too big",
            Self::MessageUnfinished => "fragmented message not finished in time",
            Self::PingFlood => "too many pings",
        }
    }
}
