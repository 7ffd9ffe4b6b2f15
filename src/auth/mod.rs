//! Who a client is: tokens and keys, as pure computation.
//!
//! Invariants:
//! - nothing of a token's payload is read, logged or kept before its signature was found right;
//! - secrets, tokens and expected signatures are compared in constant time and never printed;
//! - times are handed in, and those that leave this room lie at most a year ahead.

pub mod api_key;
pub mod claims;
pub mod error;
pub mod grant;
pub mod pusher;
mod reading;
pub mod secret;
pub mod sign;
pub mod subscription;
pub mod token;

#[cfg(test)]
mod tests;

pub use api_key::ApiKey;
pub use claims::{Identity, Policy, verify_connection};
pub use error::{TokenError, log_id};
pub use grant::{Grant, Granted, Overrides};
pub use pusher::{PusherKeys, SignatureError};
pub use reading::AHEAD_S_MAX;
pub use secret::Secret;
pub use sign::sign;
pub use subscription::{Permission, Wanted, verify_subscription};
pub use token::Keys;
