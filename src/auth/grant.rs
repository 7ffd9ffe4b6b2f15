//! What a token grants for one channel.

use std::sync::Arc;

use super::claims::Policy;
use super::error::TokenError;
use super::reading::{Bytes, members, present, wrong_type};
use crate::core::publication::Payload;
use crate::wire::json::{Json, Object, Value};

/// A subscription that a connection token brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub channel: Box<str>,
    pub grant: Grant,
}

/// What comes with one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// Shown to others in this channel, along with who the client is.
    pub info: Option<Arc<Payload>>,
    /// For the subscriber itself, in the answer to its subscribe.
    pub data: Option<Payload>,
    pub overrides: Overrides,
}

/// Settings of the channel's namespace that are different for this subscription. `None`: as the namespace says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overrides {
    pub presence: Option<bool>,
    pub join_leave: Option<bool>,
    pub force_push_join_leave: Option<bool>,
    pub force_positioning: Option<bool>,
    pub force_recovery: Option<bool>,
}

impl Grant {
    /// From the object that has the claims `info`, `b64info`, `data`, `b64data` and `override` among its members.
    pub fn read(claims: Object<'_>, json: &mut Json, policy: &Policy) -> Result<Self, TokenError> {
        let [info, b64info, data, b64data, overrides] =
            members(claims, ["info", "b64info", "data", "b64data", "override"])?;
        let info = Bytes { text_claim: "info", text: info, base64_claim: "b64info", base64: b64info };
        let data = Bytes { text_claim: "data", text: data, base64_claim: "b64data", base64: b64data };
        Ok(Self {
            info: info.read(json, policy.info_bytes_max)?.map(Arc::new),
            // Goes to one client only; the length of the whole token bounds it.
            data: data.read(json, usize::MAX)?,
            overrides: Overrides::read(overrides)?,
        })
    }
}

impl Overrides {
    fn read(value: Option<Value<'_>>) -> Result<Self, TokenError> {
        let Some(value) = present(value) else { return Ok(Self::default()) };
        let Some(overrides) = value.as_object() else { return wrong_type("override", value, "an object") };
        let [presence, join_leave, force_push_join_leave, force_positioning, force_recovery] = members(
            overrides,
            ["presence", "join_leave", "force_push_join_leave", "force_positioning", "force_recovery"],
        )?;
        Ok(Self {
            presence: setting(presence)?,
            join_leave: setting(join_leave)?,
            force_push_join_leave: setting(force_push_join_leave)?,
            force_positioning: setting(force_positioning)?,
            force_recovery: setting(force_recovery)?,
        })
    }
}

/// `{"value":true}`.
fn setting(value: Option<Value<'_>>) -> Result<Option<bool>, TokenError> {
    const WANTED: &str = "an object with a boolean value";
    let Some(setting) = present(value) else { return Ok(None) };
    let Some(object) = setting.as_object() else {
        return wrong_type("a setting in override", setting, WANTED);
    };
    let [value] = members(object, ["value"])?;
    let Some(value) = present(value) else { return Ok(None) };
    value
        .as_bool()
        .map_or_else(|| wrong_type("a setting in override", value, WANTED), |value| Ok(Some(value)))
}
