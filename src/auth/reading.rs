//! Reading claims: what connection and subscription tokens have in common.

use data_encoding::BASE64;

use super::claims::Policy;
use super::error::{Malformed, Part, Problem, TokenError};
use crate::core::publication::Payload;
use crate::wire::json::{Json, JsonError, Kind, Object, Value, without_raw_newlines};

/// Longest user id, in bytes.
pub const USER_BYTES_MAX: usize = 255;

/// Times further ahead are brought this near: nothing is scheduled for longer.
pub const AHEAD_S_MAX: u64 = 365 * 24 * 60 * 60;

/// The last second of the year 9999. What lies beyond was meant in milliseconds.
const YEAR_9999_S: f64 = 253_402_300_799.0;

/// The claims of these names. A name that is read may occur only once.
pub fn members<'t, const N: usize>(
    claims: Object<'t>,
    names: [&'static str; N],
) -> Result<[Option<Value<'t>>; N], TokenError> {
    claims.read(names).map_err(|error| match error {
        JsonError::RepeatedName { name } => TokenError::DuplicateClaim { claim: name },
        error => Malformed::Json { part: Part::Payload, error }.into(),
    })
}

/// When a token begins and ends.
pub struct Times<'t> {
    pub exp: Option<Value<'t>>,
    pub nbf: Option<Value<'t>>,
    pub expire_at: Option<Value<'t>>,
}

/// What a token's times come to. Unix times in seconds, at most a year ahead; `None`: never.
pub struct Expiry {
    /// Ahead of now.
    pub token_s: Option<u64>,
    /// End of what the token grants; may lie in the past if `expire_at` says so.
    pub granted_s: Option<u64>,
}

impl Times<'_> {
    /// Errors: `BadClaim`, `NotYetValid`, `Expired`. There is no leeway.
    pub fn judge(&self, now_s: u64) -> Result<Expiry, TokenError> {
        let expire_at_s = self.expire_at.map(|value| time_s("expire_at", value)).transpose()?;
        let nbf_s = self.nbf.map(|value| time_s("nbf", value)).transpose()?;
        let exp_s = self.exp.map(|value| time_s("exp", value)).transpose()?.map(whole_s);

        // Casts of floats saturate; seconds up to the year 9999 are exact in them.
        if let Some(nbf_s) = nbf_s.filter(|nbf_s| *nbf_s > now_s as f64) {
            return Err(TokenError::NotYetValid { nbf_s: nbf_s.ceil() as u64, now_s });
        }
        if let Some(exp_s) = exp_s.filter(|exp_s| *exp_s <= now_s) {
            return Err(TokenError::Expired { exp_s, now_s });
        }
        let near = |time_s: u64| time_s.min(now_s.saturating_add(AHEAD_S_MAX));
        Ok(Expiry {
            token_s: exp_s.map(near),
            granted_s: match expire_at_s {
                Some(0.0) => None,
                Some(expire_at_s) => Some(near(whole_s(expire_at_s))),
                None => exp_s.map(near),
            },
        })
    }
}

/// For whom a token is, and who made it.
pub struct Audience<'t> {
    pub aud: Option<Value<'t>>,
    pub iss: Option<Value<'t>>,
}

impl Audience<'_> {
    pub fn check(&self, policy: &Policy) -> Result<(), TokenError> {
        if let Some(issuer) = &policy.issuer {
            let Some(value) = self.iss else { return bad("iss", Problem::Missing) };
            if value.kind() != Kind::String {
                return wrong_type("iss", value, "a string");
            }
            if !value.is_string(issuer) {
                return bad("iss", Problem::Mismatch);
            }
        }
        if let Some(audience) = &policy.audience {
            let Some(value) = self.aud else { return bad("aud", Problem::Missing) };
            let listed = match (value.kind(), value.as_array()) {
                (Kind::String, _) => value.is_string(audience),
                (_, Some(mut list)) => list.any(|one| one.is_string(audience)),
                _ => return wrong_type("aud", value, "a string or an array of strings"),
            };
            if !listed {
                return bad("aud", Problem::Mismatch);
            }
        }
        Ok(())
    }
}

/// A claim in two forms: any JSON, or bytes in base64, which win.
pub struct Bytes<'t> {
    pub text_claim: &'static str,
    pub text: Option<Value<'t>>,
    pub base64_claim: &'static str,
    pub base64: Option<Value<'t>>,
}

impl Bytes<'_> {
    /// `bytes_max`: as they are kept.
    pub fn read(&self, json: &mut Json, bytes_max: usize) -> Result<Option<Payload>, TokenError> {
        let bounded = |claim, payload: Payload| {
            let bytes = payload.len();
            if bytes > bytes_max {
                bad(claim, Problem::TooLong { bytes, bytes_max })
            } else {
                Ok(Some(payload))
            }
        };
        if let Some(value) = present(self.base64) {
            let claim = self.base64_claim;
            let Some(encoded) = value.as_str() else { return wrong_type(claim, value, "a string") };
            let Ok(bytes) = BASE64.decode(encoded.as_bytes()) else {
                return bad(claim, Problem::NotBase64);
            };
            if !bytes.is_empty() {
                let text = json.text_of(&bytes).map(|text| Payload::Json(text.into()));
                return bounded(claim, text.unwrap_or_else(|| Payload::Binary(bytes.into())));
            }
        }
        match present(self.text) {
            Some(value) => bounded(self.text_claim, Payload::Json(without_raw_newlines(value.raw()).into())),
            None => Ok(None),
        }
    }
}

/// Who a token is about; empty if nobody.
pub fn user(sub: Option<Value<'_>>) -> Result<Box<str>, TokenError> {
    let Some(value) = sub else { return Ok(Box::default()) };
    let Some(user) = value.as_str() else { return wrong_type("sub", value, "a string") };
    if user.len() > USER_BYTES_MAX {
        return bad("sub", Problem::TooLong { bytes: user.len(), bytes_max: USER_BYTES_MAX });
    }
    let has_control = if user.is_ascii() {
        user.bytes().any(|byte| byte.is_ascii_control())
    } else {
        user.contains(char::is_control)
    };
    if has_control {
        return bad("sub", Problem::ControlCharacter);
    }
    Ok(user.into())
}

/// Libraries write `null` for an optional claim that was not set.
pub fn present(claim: Option<Value<'_>>) -> Option<Value<'_>> {
    claim.filter(|value| !value.is_null())
}

/// Unix time in seconds; fractions and exponents are allowed, as in RFC 7519 section 2 (NumericDate).
fn time_s(claim: &'static str, value: Value<'_>) -> Result<f64, TokenError> {
    if value.kind() != Kind::Number {
        return wrong_type(claim, value, "a number");
    }
    match value.as_f64() {
        None => bad(claim, Problem::NotFinite),
        Some(time_s) if time_s > YEAR_9999_S => bad(claim, Problem::Milliseconds),
        Some(time_s) => Ok(time_s),
    }
}

/// Times before 1970 count as 1970: they are as long gone.
fn whole_s(time_s: f64) -> u64 {
    time_s.max(0.0) as u64
}

pub fn wrong_type<T>(claim: &'static str, value: Value<'_>, wanted: &'static str) -> Result<T, TokenError> {
    bad(claim, Problem::Type { found: value.kind().name(), wanted })
}

pub fn bad<T>(claim: &'static str, problem: Problem) -> Result<T, TokenError> {
    Err(TokenError::BadClaim { claim, problem })
}
