//! Who may subscribe and publish: one rule for every dialect. A dialect may narrow it, never widen it.

use super::channel::{Access, access, lists_user};
use super::error::ClientError;
use super::namespace::Namespace;

/// What the asking client brings along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimant<'a> {
    /// Empty: anonymous.
    pub user: &'a str,
    /// A proof for this very channel was checked and is right.
    pub proven: bool,
}

/// May the client hear the channel?
pub fn may_subscribe(channel: &str, namespace: &Namespace, who: Claimant<'_>) -> Result<(), ClientError> {
    let allowed = match access(channel) {
        Access::ServerToUser(user) => !user.is_empty() && user == who.user,
        Access::Token | Access::Proof => who.proven,
        Access::Users(users) => {
            who.proven || (namespace.allow_user_limited_channels && lists_user(users, who.user))
        }
        Access::Namespace if who.proven => true,
        Access::Namespace if who.user.is_empty() => namespace.allow_subscribe_for_anonymous,
        Access::Namespace => namespace.allow_subscribe_for_client,
    };
    if allowed { Ok(()) } else { Err(ClientError::PermissionDenied) }
}

/// May the client publish into the channel? `subscribed`: it hears the channel at this moment.
///
/// A channel that only some may hear can be published into only by those who hear it. Where hearing it took a proof
/// there is somebody who vouches for the subscriber, whether or not it is known by a name: all count as subscribers.
pub fn may_publish(
    channel: &str,
    namespace: &Namespace,
    who: Claimant<'_>,
    subscribed: bool,
) -> Result<(), ClientError> {
    let by_namespace = if who.user.is_empty() {
        namespace.allow_publish_for_anonymous
    } else {
        namespace.allow_publish_for_client || (namespace.allow_publish_for_subscriber && subscribed)
    };
    let allowed = match access(channel) {
        Access::ServerToUser(_) => false,
        Access::Proof => subscribed && (by_namespace || namespace.allow_publish_for_subscriber),
        Access::Token | Access::Users(_) => subscribed && by_namespace,
        Access::Namespace => by_namespace,
    };
    if allowed { Ok(()) } else { Err(ClientError::PermissionDenied) }
}

/// Who may read something of a namespace's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readers {
    pub client: bool,
    pub subscriber: bool,
    pub anonymous: bool,
}

impl Readers {
    /// Of who is in a channel.
    pub fn of_presence(namespace: &Namespace) -> Self {
        Self {
            client: namespace.allow_presence_for_client,
            subscriber: namespace.allow_presence_for_subscriber,
            anonymous: namespace.allow_presence_for_anonymous,
        }
    }

    /// Of the publications that are kept.
    pub fn of_history(namespace: &Namespace) -> Self {
        Self {
            client: namespace.allow_history_for_client,
            subscriber: namespace.allow_history_for_subscriber,
            anonymous: namespace.allow_history_for_anonymous,
        }
    }
}

/// May the client read? `subscribed`: it hears the channel at this moment.
///
/// What happens in a channel that only some may hear is told only to those who hear it.
pub fn may_read(
    channel: &str,
    readers: Readers,
    who: Claimant<'_>,
    subscribed: bool,
) -> Result<(), ClientError> {
    let by_namespace = if who.user.is_empty() { readers.anonymous } else { readers.client };
    let allowed = match access(channel) {
        _ if subscribed => readers.subscriber || by_namespace,
        Access::Namespace => by_namespace,
        Access::ServerToUser(_) | Access::Token | Access::Proof | Access::Users(_) => false,
    };
    if allowed { Ok(()) } else { Err(ClientError::PermissionDenied) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: Result<(), ClientError> = Err(ClientError::PermissionDenied);

    fn open() -> Namespace {
        Namespace {
            allow_subscribe_for_client: true,
            allow_publish_for_client: true,
            allow_user_limited_channels: true,
            ..Namespace::default()
        }
    }

    #[test]
    fn subscribe_follows_the_class_of_the_channel() {
        let (nobody, user) = (("", false), ("42", false));
        let (other, proven) = (("7", false), ("7", true));
        // (channel, who, allowed)
        let table = [
            ("chat", nobody, false),
            ("chat", user, true),
            ("$chat", user, false),
            ("$chat", proven, true),
            ("private-a", user, false),
            ("private-a", proven, true),
            ("presence-a", user, false),
            ("dialog#42,43", user, true),
            ("dialog#42,43", other, false),
            ("dialog#42,43", proven, true),
            ("dialog#", nobody, false),
            ("#server-to-user-42", user, true),
            ("#server-to-user-42", other, false),
            ("#server-to-user-42", proven, false),
            ("#server-to-user-", nobody, false),
        ];
        for (channel, (user, proven), allowed) in table {
            let got = may_subscribe(channel, &open(), Claimant { user, proven });
            assert_eq!(got, if allowed { Ok(()) } else { DENIED }, "{channel} {user:?} {proven}");
        }
        let anonymous = Namespace { allow_subscribe_for_anonymous: true, ..Namespace::default() };
        let nobody = Claimant { user: "", proven: false };
        assert_eq!(may_subscribe("chat", &anonymous, nobody), Ok(()));
        assert_eq!(may_subscribe("chat", &anonymous, Claimant { user: "42", proven: false }), DENIED);
    }

    #[test]
    fn publish_into_a_restricted_channel_needs_a_subscription() {
        let user = Claimant { user: "42", proven: false };
        assert_eq!(may_publish("chat", &open(), user, false), Ok(()));
        assert_eq!(may_publish("$chat", &open(), user, false), DENIED);
        assert_eq!(may_publish("$chat", &open(), user, true), Ok(()));
        assert_eq!(may_publish("#server-to-user-42", &open(), user, true), DENIED);
        let subscriber = Namespace { allow_publish_for_subscriber: true, ..Namespace::default() };
        assert_eq!(may_publish("chat", &subscriber, user, false), DENIED);
        assert_eq!(may_publish("chat", &subscriber, user, true), Ok(()));
        let nobody = Claimant { user: "", proven: false };
        assert_eq!(may_publish("chat", &subscriber, nobody, true), DENIED);
        assert_eq!(may_publish("$chat", &subscriber, nobody, true), DENIED);
        assert_eq!(may_publish("private-a", &subscriber, nobody, true), Ok(()));
        assert_eq!(may_publish("presence-a", &subscriber, nobody, true), Ok(()));
        assert_eq!(may_publish("private-a", &subscriber, nobody, false), DENIED);
        let nobody = Claimant { user: "", proven: false };
        assert_eq!(may_publish("chat", &open(), nobody, true), DENIED);
    }

    #[test]
    fn reading_needs_an_option_and_in_restricted_channels_a_subscription() {
        let readers = |client, subscriber, anonymous| Readers { client, subscriber, anonymous };
        // (channel, user, subscribed, readers, allowed)
        let table = [
            ("chat", "42", false, readers(false, false, false), false),
            ("chat", "42", true, readers(false, false, true), false),
            ("chat", "42", false, readers(true, false, false), true),
            ("chat", "42", false, readers(false, true, false), false),
            ("chat", "42", true, readers(false, true, false), true),
            ("chat", "", false, readers(true, true, false), false),
            ("chat", "", true, readers(false, true, false), true),
            ("chat", "", false, readers(false, false, true), true),
            ("$chat", "42", false, readers(true, true, true), false),
            ("$chat", "42", true, readers(true, false, false), true),
            ("dialog#42", "42", false, readers(true, true, true), false),
            ("private-a", "", true, readers(false, true, false), true),
        ];
        for (channel, user, subscribed, readers, allowed) in table {
            let got = may_read(channel, readers, Claimant { user, proven: false }, subscribed);
            assert_eq!(got.is_ok(), allowed, "{channel} {user:?} {subscribed} {readers:?}");
        }
    }
}
