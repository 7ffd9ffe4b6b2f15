//! Subscription tokens: what they allow, and their expiry.

use super::Shard;
use super::session::unix_s;
use super::signature::Unproven;
use super::special::{Origin, Plan};
use super::subscribe::Purpose;
use crate::auth::{Permission, TokenError, Wanted, verify_subscription};
use crate::core::channel::check_name;
use crate::core::command::Subscribe;
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::{DropCause, Event};
use crate::core::ids::Slot;
use crate::core::permission::{Claimant, may_subscribe};
use crate::protocol::Proof;

/// Why a subscribe is not carried out.
enum Refusal {
    Error(ClientError),
    Unproven(Unproven),
    End(Disconnect),
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        Self::Error(error)
    }
}

impl Shard {
    pub(super) fn subscribe(&mut self, slot: Slot, tag: u32, wish: &Subscribe) {
        let name = &*wish.channel;
        if self.take_over(slot, tag, name) {
            return;
        }
        match self.check_subscribe(slot, wish) {
            Ok(plan) => self.begin_subscription(slot, Purpose::Asked { tag }, name, plan),
            Err(Refusal::Error(error)) => self.refuse_subscribe(slot, tag, name, error),
            Err(Refusal::Unproven((error, reason))) => {
                self.refuse_because(slot, tag, Some(name), error, reason.as_deref());
            }
            Err(Refusal::End(end)) => self.disconnect(slot, end),
        }
    }

    /// Refuses a subscribe. A dialect whose clients would take it for final has the connection begin anew instead,
    /// where it may succeed later.
    pub(super) fn refuse_subscribe(&mut self, slot: Slot, tag: u32, name: &str, error: ClientError) {
        if error.is_temporary() && self.codec(slot).is_some_and(|codec| codec.ends_when_busy()) {
            self.disconnect(slot, Disconnect::Overloaded);
        } else {
            self.refuse(slot, tag, Some(name), error);
        }
    }

    fn check_subscribe(&mut self, slot: Slot, wish: &Subscribe) -> Result<Option<Box<Plan>>, Refusal> {
        let name = &*wish.channel;
        let cold = self.connections.cold(slot);
        let app = &self.config.apps[usize::from(cold.app)];
        let rules = self.rules(slot).ok_or(ClientError::NotAvailable)?;
        app.namespace(name).ok_or(ClientError::UnknownChannel)?;
        check_name(name, rules.channel_bytes_max).map_err(|_| ClientError::BadRequest)?;
        let codec = self.codec(slot).ok_or(ClientError::NotAvailable)?;
        if !codec.can_name(name) {
            return Err(ClientError::BadRequest.into());
        }
        if self.is_subscribed(slot, name) {
            return Err(ClientError::AlreadySubscribed.into());
        }
        if cold.subscriptions.as_slice().len() >= rules.channels_max {
            return Err(ClientError::LimitExceeded.into());
        }
        let mut permission = Permission::default();
        let proven = match codec.proof() {
            Proof::Token => !wish.token.is_empty(),
            Proof::Signature => self.verify_channel(slot, wish).map_err(Refusal::Unproven)?,
        };
        if proven && codec.proof() == Proof::Token {
            permission = self.verify_for(slot, name, &wish.token).map_err(|error| match error {
                TokenError::ForAnother { .. } => Refusal::End(Disconnect::InvalidToken),
                TokenError::Expired { .. } | TokenError::NotYetValid { .. } => {
                    Refusal::Error(ClientError::TokenExpired)
                }
                _ => Refusal::Error(ClientError::PermissionDenied),
            })?;
            if permission.expires_s.is_some_and(|expires_s| expires_s <= self.now.unix_s()) {
                return Err(ClientError::Expired.into());
            }
        }
        let cold = self.connections.cold(slot);
        let app = &self.config.apps[usize::from(cold.app)];
        let namespace = app.namespace(name).ok_or(ClientError::UnknownChannel)?;
        may_subscribe(name, namespace, Claimant { user: &cold.user, proven })?;
        if !namespace.allows_hearing(wish) {
            return Err(ClientError::NotAvailable.into());
        }
        if proven {
            self.note_proof(slot);
        }
        let namespace = &self.config.apps[usize::from(self.connections.cold(slot).app)].namespace(name);
        let namespace = namespace.ok_or(ClientError::UnknownChannel)?;
        let plan = Plan::new(namespace, wish, permission.grant, permission.expires_s, Origin::Client);
        if !codec.sets_scenes() {
            return Ok(plan);
        }
        self.plan_scene(slot, wish, plan).map_err(Refusal::Unproven)
    }

    /// Verifies a token for this client in a channel; a failure is noted.
    fn verify_for(&mut self, slot: Slot, channel: &str, token: &str) -> Result<Permission, TokenError> {
        let client = self.client_id(slot);
        let cold = self.connections.cold(slot);
        let app = &self.apps[usize::from(cold.app)];
        let codec = self.codec(slot);
        let rules = codec.and_then(|codec| app.rules(codec.dialect()));
        let is_legacy = codec.is_some_and(|codec| codec.takes_client_tokens());
        let wanted = Wanted { channel, user: &cold.user, client, is_legacy };
        let verified = match (&app.token_keys, rules) {
            (Some(keys), Some(rules)) => {
                let now_s = self.now.unix_s();
                verify_subscription(token, keys, &rules.policy, &wanted, &mut self.json, now_s)
            }
            _ => Err(TokenError::BadSignature),
        };
        if let Err(error) = &verified {
            self.note_auth_failure(slot, error, token);
        }
        verified
    }

    /// A fresh token for a subscription.
    pub(super) fn refresh_subscription(&mut self, slot: Slot, tag: u32, channel: &str, token: &str) {
        let known = self.channels.find(self.connections.app(slot), channel);
        let known = known.filter(|handle| self.connections.cold(slot).subscriptions.contains(*handle));
        let Some(handle) = known else {
            return self.refuse(slot, tag, Some(channel), ClientError::PermissionDenied);
        };
        if token.is_empty() {
            return self.refuse(slot, tag, Some(channel), ClientError::BadRequest);
        }
        let now_s = self.now.unix_s();
        let permission = match self.verify_for(slot, channel, token) {
            Ok(permission) => permission,
            // An error in reply would end the subscription for good in current clients; so they subscribe anew.
            Err(TokenError::Expired { .. } | TokenError::NotYetValid { .. }) => {
                return self.drop_subscription(slot, handle, DropCause::Expired);
            }
            Err(_) => return self.disconnect(slot, Disconnect::InvalidToken),
        };
        if permission.expires_s.is_some_and(|expires_s| expires_s <= now_s) {
            return self.drop_subscription(slot, handle, DropCause::Expired);
        }
        let expires_s = permission.expires_s.map_or(0, unix_s);
        let mut is_info_new = false;
        match self.special_mut(slot, handle) {
            Some(special) => {
                is_info_new = special.info != permission.grant.info;
                (special.expires_s, special.info) = (expires_s, permission.grant.info);
            }
            None => {
                let mut special = super::special::Special::plain(handle);
                (special.expires_s, special.info) = (expires_s, permission.grant.info);
                if special.is_needed() {
                    self.keep_special(slot, special);
                }
            }
        }
        self.arm(slot);
        if is_info_new {
            self.show_anew(slot, Some(handle));
        }
        let expires_in_s = permission.expires_s.map(|expires_s| unix_s(expires_s - now_s));
        self.reply(slot, &Event::SubscriptionRefreshed { tag, channel, expires_in_s });
    }

    /// When the first of the client's subscriptions ends unless it is refreshed: Unix milliseconds.
    pub(super) fn subscriptions_expire_unix_ms(&self, slot: Slot) -> Option<u64> {
        let specials = self.connections.cold(slot).specials.as_ref()?;
        let expires = specials.iter().map(|special| special.expires_s).filter(|expires_s| *expires_s != 0);
        Some(self.end_unix_ms(slot, expires.min()?))
    }

    /// Ends the subscriptions whose time is over.
    pub(super) fn expire_subscriptions(&mut self, slot: Slot) {
        while let Some(end_ms) = self.subscriptions_expire_unix_ms(slot)
            && end_ms <= self.now.unix_ms
        {
            let specials = self.connections.cold(slot).specials.iter().flat_map(|specials| specials.iter());
            let over =
                specials.filter(|special| special.expires_s != 0).min_by_key(|special| special.expires_s);
            let Some(handle) = over.map(|special| special.channel) else { return };
            self.drop_subscription(slot, handle, DropCause::Expired);
        }
    }
}
