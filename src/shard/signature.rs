//! Proofs by signature: of a channel, and who the client is there.
//!
//! What a signature covers begins with the connection's own id, so it proves nothing to any other. Nothing that a
//! client says of itself is read before its signature was found right.

use std::sync::Arc;

use super::Shard;
use super::special::Plan;
use crate::auth::SignatureError;
use crate::auth::pusher::channel_text;
use crate::core::channel::{Access, access, is_presence, keeps_latest};
use crate::core::command::Subscribe;
use crate::core::error::ClientError;
use crate::core::ids::Slot;
use crate::protocol::{Person, PersonError};

/// Why a proof is none, and what a developer should know of it.
pub type Unproven = (ClientError, Option<String>);

impl Shard {
    /// Whether the client has proven that it may hear the channel; where no proof is needed it has not.
    pub(super) fn verify_channel(&mut self, slot: Slot, wish: &Subscribe) -> Result<bool, Unproven> {
        if access(&wish.channel) != Access::Proof {
            return Ok(false);
        }
        let text = channel_text(&self.decimal_id(slot).to_string(), &wish.channel, &wish.about_self);
        match self.verify_signature(slot, &wish.token, &text) {
            Ok(()) => Ok(true),
            Err(error) => Err((ClientError::PermissionDenied, self.explain(slot, error, &text))),
        }
    }

    /// What the client finds in the channel, and who it is there. What it says of itself was proven.
    pub(super) fn plan_scene(
        &mut self,
        slot: Slot,
        wish: &Subscribe,
        plan: Option<Box<Plan>>,
    ) -> Result<Option<Box<Plan>>, Unproven> {
        let app = &self.apps[usize::from(self.connections.cold(slot).app)];
        let latest = app.latest_ttl_s > 0 && keeps_latest(&wish.channel);
        let rules = self.rules(slot).filter(|_| is_presence(&wish.channel));
        let people = rules.map(|rules| (rules.users_max, rules.people));
        if !latest && people.is_none() {
            return Ok(plan);
        }
        let mut plan = plan.unwrap_or_else(Plan::plain);
        plan.latest = latest;
        let Some((users_max, limits)) = people else { return Ok(Some(plan)) };
        plan.users_max = Some(users_max);
        (plan.special.is_shown, plan.special.hears_others) = (true, true);
        if wish.about_self.is_empty() {
            if self.connections.cold(slot).user.is_empty() {
                let reason = "neither channel_data nor a signed-in user says who the member is";
                return Err((ClientError::BadRequest, Some(reason.to_owned())));
            }
        } else {
            let codec = self.codec(slot);
            let read = codec.map(|codec| codec.read_member(&wish.about_self, limits, &mut self.json));
            let Person { id, info, .. } = read.unwrap_or(Err(PersonError::Malformed)).map_err(|error| {
                let is_long = error == PersonError::TooLarge;
                let class = if is_long { ClientError::LimitExceeded } else { ClientError::BadRequest };
                (class, Some(error.to_string()))
            })?;
            (plan.special.user, plan.special.info) = (Some(id), info.map(Arc::new));
        }
        Ok(Some(plan))
    }

    pub(super) fn verify_signature(
        &mut self,
        slot: Slot,
        auth: &str,
        text: &str,
    ) -> Result<(), SignatureError> {
        let app = &self.apps[usize::from(self.connections.cold(slot).app)];
        let verified = match &app.signature_keys {
            Some(keys) => keys.verify(auth, text),
            None => Err(SignatureError::BadSignature),
        };
        if let Err(error) = verified {
            self.counters.count_auth_failure(match error {
                SignatureError::Missing => "no_token",
                SignatureError::Malformed => "malformed",
                SignatureError::ForeignKey | SignatureError::BadSignature => "bad_signature",
            });
            tracing::info!(connection = %self.name(slot), reason = %error, "a signature was refused");
        }
        verified
    }

    /// What was wrong with a signature. Which text had to be signed is for development only, and what the signature
    /// should have been is for nobody.
    pub(super) fn explain(&self, slot: Slot, error: SignatureError, text: &str) -> Option<String> {
        let explains = self.rules(slot).is_some_and(|rules| rules.explains);
        Some(if explains { format!("{error}; the text to sign is {text:?}") } else { error.to_string() })
    }
}
