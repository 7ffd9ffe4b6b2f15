//! Why a token is refused: a class that dialects answer by, and a reason for the log.

use crate::wire::json::JsonError;

use super::token::TOKEN_BYTES_MAX;

/// Why a token does not say who somebody is. Its text never contains anything of the token but numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("no token was given")]
    NoToken,
    #[error("the token is {bytes} bytes long; {TOKEN_BYTES_MAX} are allowed")]
    TooLarge { bytes: usize },
    #[error("the token is malformed: {0}")]
    Malformed(#[from] Malformed),
    #[error("the token's header demands extensions (crit); none is supported")]
    CritUnsupported,
    #[error("the token's header does not say that alg is HS256")]
    AlgorithmNotAllowed,
    #[error("the signature was not made with a configured key")]
    BadSignature,
    #[error("{claim} occurs twice")]
    DuplicateClaim { claim: &'static str },
    #[error("{claim} {problem}")]
    BadClaim { claim: &'static str, problem: Problem },
    /// Whole seconds; negative times are shown as 0.
    #[error("exp is {exp_s}, and it is {now_s} now")]
    Expired { exp_s: u64, now_s: u64 },
    #[error("nbf is {nbf_s}, and it is only {now_s} now")]
    NotYetValid { nbf_s: u64, now_s: u64 },
    /// Right in itself, but made for somebody or something else than what it came with.
    #[error("{claim} is another than that of the connection or subscription it came for")]
    ForAnother { claim: &'static str },
    /// Also when it is there but empty.
    #[error("sub is missing, and anonymous tokens are not allowed")]
    NoUser,
}

impl TokenError {
    /// Stable name, for metrics and for the dialects' tables.
    pub fn class(&self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::CritUnsupported => "crit_unsupported",
            Self::AlgorithmNotAllowed => "alg_not_allowed",
            Self::BadSignature => "bad_signature",
            Self::DuplicateClaim { .. } => "duplicate_claim",
            Self::BadClaim { .. } | Self::ForAnother { .. } => "bad_claim",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::NoUser => "no_user",
        }
    }
}

/// What is not a token at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it does not have exactly three segments")]
    Segments,
    #[error("the {part} is not strict base64url without padding")]
    Base64 { part: Part },
    #[error("the {part}: {error}")]
    Json { part: Part, error: JsonError },
    #[error("the {part} is {found}, must be an object")]
    NotAnObject { part: Part, found: &'static str },
    #[error("{name} in the header is {found}, must be a string")]
    HeaderType { name: &'static str, found: &'static str },
    #[error("the signature is empty")]
    EmptySignature,
}

/// One segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Header,
    Payload,
    Signature,
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

/// What is wrong with one claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("is {found}, must be {wanted}")]
    Type { found: &'static str, wanted: &'static str },
    #[error("is too large a number")]
    NotFinite,
    #[error("lies beyond the year 9999: it looks like milliseconds, must be seconds")]
    Milliseconds,
    #[error("is {bytes} bytes long; {bytes_max} are allowed")]
    TooLong { bytes: usize, bytes_max: usize },
    #[error("contains control characters")]
    ControlCharacter,
    #[error("is not standard base64 with padding")]
    NotBase64,
    #[error("names more than {max} channels")]
    TooManyChannels { max: usize },
    #[error("is missing, but a value for it is configured")]
    Missing,
    #[error("is missing")]
    Absent,
    #[error("is not the configured one")]
    Mismatch,
    #[error("must not be in a connection token")]
    Unexpected,
}

/// The first 8 hexadecimal digits of SHA-256 of a token: names it in a log without giving it away.
pub fn log_id(token: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
