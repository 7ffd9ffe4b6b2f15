//! Clients who say during the connection who their user is.
//!
//! What is sent to a user is sent into a channel of the user's own. A client that signs in hears that channel before it
//! is told that it has signed in, so nothing sent to the user from then on misses it. Its own subscribe, which clients
//! send a round trip later, takes that subscription over.

use std::sync::Arc;

use super::Shard;
use super::connection::Phase;
use super::special::{Origin, Plan};
use super::subscribe::Purpose;
use crate::auth::Grant;
use crate::auth::pusher::user_text;
use crate::core::channel::channel_of_user;
use crate::core::command::Subscribe;
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::event::{Event, Subscription};
use crate::core::ids::Slot;
use crate::protocol::{Person, PersonError, PersonLimits};

/// A sign-in that waits for its user's channel.
#[derive(Debug)]
pub struct SigningIn {
    tag: u32,
    about_user: Box<str>,
    watches: Vec<Box<str>>,
}

impl Shard {
    /// A client says who its user is.
    pub(super) fn sign_in(&mut self, slot: Slot, tag: u32, auth: &str, about_user: Box<str>) {
        let rules = self.rules(slot).filter(|rules| rules.may_sign_in);
        let Some(limits) = rules.map(|rules| rules.people) else {
            return self.refuse(slot, tag, None, ClientError::NotAvailable);
        };
        let text = user_text(&self.decimal_id(slot).to_string(), &about_user);
        if let Err(error) = self.verify_signature(slot, auth, &text) {
            let reason = self.explain(slot, error, &text);
            self.refuse_because(slot, tag, None, ClientError::PermissionDenied, reason.as_deref());
            // Otherwise its client would wait for ever.
            return self.disconnect(slot, Disconnect::InvalidToken);
        }
        let Person { id, info, watches } = match self.read_user(slot, &about_user, limits) {
            Ok(user) => user,
            Err(error) => {
                let reason = error.to_string();
                self.refuse_because(slot, tag, None, ClientError::BadRequest, Some(&reason));
                return self.disconnect(slot, Disconnect::InvalidToken);
            }
        };
        let user = &self.connections.cold(slot).user;
        if *user == id {
            // Whom it watches is settled already.
            return self.reply(slot, &Event::SignedIn { tag, about_user: &about_user });
        }
        if !user.is_empty() {
            let reason = "the connection is another user's already";
            return self.refuse_because(slot, tag, None, ClientError::BadRequest, Some(reason));
        }
        let channel = channel_of_user(&id);
        let cold = self.connections.cold_mut(slot);
        cold.user = id;
        cold.info = info.map(Arc::new);
        if self.users.insert(&mut self.connections, slot) {
            self.note_user(slot, true);
        }
        self.note_proof(slot);
        self.waiting(slot).signing_in = Some(Box::new(SigningIn { tag, about_user, watches }));
        let app = &self.config.apps[usize::from(self.connections.cold(slot).app)];
        match app.namespace(&channel) {
            Some(namespace) if !self.is_subscribed(slot, &channel) => {
                let wish = Subscribe { channel, ..Subscribe::default() };
                let plan = Plan::new(namespace, &wish, Grant::default(), None, Origin::SignIn);
                self.begin_subscription(slot, Purpose::SignedIn, &wish.channel, plan);
            }
            // Nothing can be sent to users, or a backend was first.
            _ => self.signed_in(slot),
        }
    }

    fn read_user(&mut self, slot: Slot, text: &str, limits: PersonLimits) -> Result<Person, PersonError> {
        let codec = self.codec(slot).ok_or(PersonError::Malformed)?;
        codec.read_user(text, limits, &mut self.json)
    }

    /// The client hears what is sent to its user, and is told so.
    pub(super) fn signed_in(&mut self, slot: Slot) {
        let Some(signing_in) = self.waiting(slot).signing_in.take() else { return };
        let SigningIn { tag, about_user, mut watches } = *signing_in;
        self.note_blocked(slot);
        self.reply(slot, &Event::SignedIn { tag, about_user: &about_user });
        let watched_max = self.rules(slot).and_then(|rules| rules.watched_max);
        let Some(watched_max) = watched_max.filter(|_| self.connections.hot(slot).phase == Phase::Open)
        else {
            return;
        };
        if watches.len() > watched_max {
            watches.truncate(watched_max);
            let error = ClientError::LimitExceeded;
            self.queue_reply(slot, &Event::Refused { tag, channel: None, error, reason: None });
        }
        self.watch(slot, watches);
    }

    /// A client asks for what its sign-in has brought it already. `false`: that is not so.
    pub(super) fn take_over(&mut self, slot: Slot, tag: u32, name: &str) -> bool {
        if self.connections.cold(slot).specials.is_none() {
            return false;
        }
        let Some(handle) = self.channels.find(self.connections.app(slot), name) else { return false };
        let Some(special) = self.special_mut(slot, handle) else { return false };
        if special.origin != Origin::SignIn {
            return false;
        }
        special.origin = Origin::Client;
        if !special.is_needed() {
            self.take_special(slot, handle);
        }
        self.reply(slot, &Event::Subscribed { tag, channel: name, subscription: Subscription::default() });
        true
    }
}
