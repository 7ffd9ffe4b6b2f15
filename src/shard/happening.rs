//! What is said of channels to somebody outside: by their owners, who alone know when the first comes and the last
//! goes, whatever shards they are on; and by the shard of a client that sends something to others.
//!
//! An app that nobody outside wants to hear of pays one look at its settings where a channel or a user comes or goes.

use std::borrow::Cow;
use std::sync::Arc;

use super::Shard;
use super::input::Effect;
use crate::core::channel::is_presence;
use crate::core::happening::{ClientEvent, Happening, Kind, What};
use crate::core::ids::Slot;
use crate::core::publication::{AsText, Payload, Publication};
use crate::engine::ChannelKey;
use crate::wire::json::leading_string;

impl Shard {
    /// At the owner: somebody hears the channel from here on.
    pub(super) fn note_occupied(&mut self, handle: u32) {
        let channel = self.channels.get_mut(handle);
        if !std::mem::replace(&mut channel.is_occupied, true) {
            let key = channel.key.clone();
            self.say(&key, Kind::Occupied, || What::Occupied);
        }
    }

    /// At the owner: nobody hears the channel any more.
    pub(super) fn note_vacated(&mut self, key: &ChannelKey) {
        self.say(key, Kind::Vacated, || What::Vacated);
        if !is_presence(&key.name) {
            self.say(key, Kind::SubscriptionCount, || What::SubscriptionCount { count: 0 });
        }
    }

    /// At the owner: the number of subscribers may have changed.
    pub(super) fn note_subscription_count(&mut self, handle: u32) {
        let channel = self.channels.get(handle);
        let key = &channel.key;
        let is_told = self.apps[usize::from(key.app.0)].told.contains(Kind::SubscriptionCount);
        if is_told && channel.is_occupied && !is_presence(&key.name) {
            let key = key.clone();
            let count = self.subscribers_count(handle);
            self.say(&key, Kind::SubscriptionCount, || What::SubscriptionCount { count });
        }
    }

    /// At the owner: a user's first client came, or the last one went.
    pub(super) fn note_member(&mut self, key: &ChannelKey, user: Box<str>, enters: bool) {
        if !is_presence(&key.name) {
            return;
        }
        if enters {
            self.say(key, Kind::MemberAdded, || What::MemberAdded { user });
        } else {
            self.say(key, Kind::MemberRemoved, || What::MemberRemoved { user });
        }
    }

    /// At the owner: somebody wanted the channel's last publication, and there is none.
    pub(super) fn note_cache_miss(&mut self, key: &ChannelKey) {
        self.say(key, Kind::CacheMiss, || What::CacheMiss);
    }

    /// A client sends an event to the others in a channel.
    pub(super) fn note_client_event(&mut self, slot: Slot, channel: &str, publication: &Publication) {
        let app = self.connections.app(slot);
        let Some(event) = &publication.event else { return };
        if !self.apps[usize::from(app.0)].told.contains(Kind::ClientEvent) {
            return;
        }
        let key = ChannelKey { app, name: Arc::from(channel) };
        let user = publication.publisher.as_ref().map(|publisher| publisher.user.clone());
        let sent = ClientEvent {
            event: event.clone(),
            data: text_of(publication).into(),
            socket_id: self.decimal_id(slot).to_string().into(),
            user: user.filter(|user| is_presence(&key.name) && !user.is_empty()),
        };
        self.say(&key, Kind::ClientEvent, || What::ClientEvent(Box::new(sent)));
    }

    fn say(&mut self, key: &ChannelKey, kind: Kind, what: impl FnOnce() -> What) {
        // Channels of one user's are nobody else's business.
        if self.apps[usize::from(key.app.0)].told.contains(kind) && !key.name.starts_with('#') {
            let happening = Happening { app: key.app, channel: Arc::clone(&key.name), what: what() };
            self.effects.push(Effect::Happened(happening));
        }
    }
}

/// The data as text: what a text holds, and of anything else how it is written.
pub(super) fn text_of(publication: &Publication) -> Cow<'_, str> {
    match (&publication.as_text, &publication.data) {
        (AsText::Own(text), _) => Cow::Borrowed(text),
        (AsText::Verbatim, Payload::Json(json)) if json.starts_with(b"\"") => {
            leading_string(json).map_or(Cow::Borrowed(""), |(text, _)| text)
        }
        (_, data) => String::from_utf8_lossy(data.as_bytes()),
    }
}
