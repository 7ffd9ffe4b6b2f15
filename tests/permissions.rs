//! Who may do what: class of channel × dialect × who asks, by what clients are answered and by what is then heard.
//!
//! One rule in `core` decides for every dialect, in this order: a user's own channel is the user's alone; `$…` and
//! `…#a,b` follow Centrifuge's rules; `private-…` and `presence-…` need a proof for that very channel; otherwise the
//! namespace decides. A dialect narrows it and never widens it: Pusher's clients cannot name every channel, and send
//! events only into private and presence channels.

mod support;

use polycast::auth::pusher::channel_text;
use support::pusher::{APP, open, sign, sign_in};
use support::{At, Process, at, token};

/// The dialect of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Centrifuge,
    Pusher,
}

use Speaks::{Centrifuge, Pusher};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// An empty `sub`; a Pusher client that did not sign in.
    Nobody,
    /// The user bob.
    Other,
    /// The user ann, whom names of channels name.
    Right,
    /// The user cyd with a subscription token; a Pusher client that did not sign in, with a signature.
    Proven,
}

const WHO: [Who; 4] = [Who::Nobody, Who::Other, Who::Right, Who::Proven];

impl Who {
    fn user(self, speaks: Speaks) -> &'static str {
        match self {
            Self::Nobody => "",
            Self::Other => "bob",
            Self::Right => "ann",
            Self::Proven if speaks == Pusher => "",
            Self::Proven => "cyd",
        }
    }
}

#[derive(Debug)]
struct Client {
    speaks: Speaks,
    at: At,
    user: &'static str,
    /// Of Pusher's clients.
    socket_id: String,
}

impl Client {
    /// `user` empty: it is nobody.
    fn enter(process: &mut Process, speaks: Speaks, user: &'static str, at: At) -> Self {
        if speaks == Centrifuge {
            process.connect(at, &format!(r#"{{"sub":"{user}"}}"#));
            return Self { speaks, at, user, socket_id: String::new() };
        }
        let socket_id = open(process, at);
        if !user.is_empty() {
            sign_in(process, at, &socket_id, user, &[]);
            let answer = process.heard(at);
            assert!(answer[0].starts_with(r#"{"event":"pusher:signin_success""#), "{answer:?}");
        }
        Self { speaks, at, user, socket_id }
    }

    /// `None`: the answer is neither yes nor no.
    fn subscribe(&self, process: &mut Process, channel: &str, proves: bool) -> Option<bool> {
        let user = self.user;
        let message = match (self.speaks, proves) {
            (Centrifuge, true) => {
                let token = token(&format!(r#"{{"sub":"{user}","channel":"{channel}"}}"#));
                format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}","token":"{token}"}}}}"#)
            }
            (Centrifuge, false) => format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#),
            (Pusher, true) => {
                let member = if channel.starts_with("presence-") { r#"{"user_id":"cyd"}"# } else { "" };
                let auth = sign(&channel_text(&self.socket_id, channel, member));
                let member = member.replace('"', "\\\"");
                let data = format!(r#"{{"channel":"{channel}","auth":"{auth}","channel_data":"{member}"}}"#);
                format!(r#"{{"event":"pusher:subscribe","data":{data}}}"#)
            }
            (Pusher, false) => format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#),
        };
        let (yes, no) = match self.speaks {
            Centrifuge => (r#"{"id":2,"subscribe":"#, r#"{"id":2,"error":"#),
            Pusher => (
                r#"{"event":"pusher_internal:subscription_succeeded""#,
                r#"{"event":"pusher:subscription_error""#,
            ),
        };
        let answer = process.ask(self.at, &message);
        let answer = answer.first()?;
        [(yes, true), (no, false)].into_iter().find(|(start, _)| answer.starts_with(start)).map(|(_, is)| is)
    }

    /// Whether it was not refused. Pusher's clients are told nothing else.
    fn publish(&self, process: &mut Process, channel: &str, data: &str) -> bool {
        let (message, refused) = match self.speaks {
            Centrifuge => (
                format!(r#"{{"id":3,"publish":{{"channel":"{channel}","data":"{data}"}}}}"#),
                r#"{"id":3,"error":"#,
            ),
            Pusher => (
                format!(r#"{{"event":"client-x","channel":"{channel}","data":"{data}"}}"#),
                r#"{"event":"pusher:error""#,
            ),
        };
        let answer = process.ask(self.at, &message);
        !answer.iter().any(|message| message.starts_with(refused))
    }

    fn hears(&self, process: &mut Process, data: &str) -> bool {
        process.heard(self.at).iter().any(|message| message.contains(data))
    }
}

/// `options`: what the namespace of all channels allows.
fn process(options: &str) -> Process {
    let more = format!("{APP}[[apps.namespaces]]\nname = \"\"\n{options}");
    Process::new(1, "", &more)
}

const CLIENTS: &str = "allow_subscribe_for_client = true\nallow_user_limited_channels = true\n";
const ANONYMOUS: &str = "allow_subscribe_for_anonymous = true\n";

#[test]
fn who_may_subscribe() {
    let everything = format!("{CLIENTS}{ANONYMOUS}");
    let [nothing, clients, anonymous, everything] = ["", CLIENTS, ANONYMOUS, &everything];
    let none = [false; 4];
    let proven = [false, false, false, true];
    let right = [false, false, true, false];
    let right_or_proven = [false, false, true, true];
    let users = [false, true, true, true];
    // Whoever did not sign in is nobody, also with a signature: where none is needed it is not looked at.
    let signed_in = [false, true, true, false];
    let not_signed_in = [true, false, false, true];
    let nobody_or_proven = [true, false, false, true];
    let all = [true; 4];
    let public: &[&str] = &["chat", "cache-chat", "privateer"];
    let token: &[&str] = &["$chat", "$chat#ann", "$private-a"];
    let listed: &[&str] = &["dialog#ann", "dialog#eve,ann", "#ann", "private-a#ann"];
    let private: &[&str] = &["private-a", "private-encrypted-a", "private-cache-a"];
    let presence: &[&str] = &["presence-a", "presence-cache-a"];
    // (channels, what the namespace allows, Centrifuge, Pusher: each nobody, other user, right user, proof)
    let table = [
        (public, nothing, proven, none),
        (public, clients, users, signed_in),
        (public, anonymous, nobody_or_proven, not_signed_in),
        (public, everything, all, all),
        (token, nothing, proven, none),
        (token, clients, proven, none),
        (token, anonymous, proven, none),
        (token, everything, proven, none),
        (listed, nothing, proven, none),
        (listed, clients, right_or_proven, none),
        (listed, anonymous, proven, none),
        (listed, everything, right_or_proven, none),
        (private, nothing, proven, proven),
        (private, clients, proven, proven),
        (private, anonymous, proven, proven),
        (private, everything, proven, proven),
        (presence, nothing, proven, proven),
        (presence, clients, proven, proven),
        (presence, anonymous, proven, proven),
        (presence, everything, proven, proven),
        (&["#server-to-user-ann"], nothing, right, right),
        (&["#server-to-user-ann"], everything, right, right),
        (&["#server-to-user-", "Private-a", "PRESENCE-a"], everything, none, none),
    ];
    for (channels, options, of_centrifuge, of_pusher) in table {
        for (speaks, wanted) in [(Centrifuge, of_centrifuge), (Pusher, of_pusher)] {
            let mut process = process(options);
            let enter =
                |(slot, who): (u32, Who)| Client::enter(&mut process, speaks, who.user(speaks), at(0, slot));
            let clients: Vec<Client> = (0..).zip(WHO).map(enter).collect();
            for channel in channels {
                let case = |who| format!("{channel:?} where {options:?}: {who:?} of {speaks:?}");
                for ((client, who), want) in clients.iter().zip(WHO).zip(wanted) {
                    let got = client.subscribe(&mut process, channel, who == Who::Proven);
                    assert_eq!(got, Some(want), "{}", case(who));
                }
                // Nobody is subscribed who was told no.
                process.api(0, "publish", &format!(r#"{{"channel":"{channel}","data":"news"}}"#));
                for ((client, who), want) in clients.iter().zip(WHO).zip(wanted) {
                    assert_eq!(client.hears(&mut process, "news"), want, "{}", case(who));
                }
            }
        }
    }
}

#[test]
fn who_may_publish() {
    let [nothing, for_client, for_subscriber, for_anonymous] = [
        "",
        "allow_publish_for_client = true",
        "allow_publish_for_subscriber = true",
        "allow_publish_for_anonymous = true",
    ];
    let all = [for_client, for_subscriber, for_anonymous].join("\n");
    let (none, nobody, user, both) = ([false; 2], [true, false], [false, true], [true; 2]);
    let public: &[&str] = &["chat", "cache-chat"];
    let restricted: &[&str] = &["$chat", "dialog#ann"];
    let proof: &[&str] = &["private-a", "private-encrypted-a", "presence-a", "presence-cache-a"];
    // (channels, what the namespace allows, Centrifuge without a subscription and with, Pusher without and with: each
    // nobody, user)
    let table = [
        (public, nothing, [none, none], [none, none]),
        (public, for_client, [user, user], [none, none]),
        (public, for_subscriber, [none, user], [none, none]),
        (public, for_anonymous, [nobody, nobody], [none, none]),
        (restricted, nothing, [none, none], [none, none]),
        (restricted, for_client, [none, user], [none, none]),
        (restricted, for_subscriber, [none, user], [none, none]),
        (restricted, for_anonymous, [none, nobody], [none, none]),
        (proof, nothing, [none, none], [none, none]),
        (proof, for_client, [none, user], [none, user]),
        (proof, for_subscriber, [none, both], [none, both]),
        (proof, for_anonymous, [none, nobody], [none, nobody]),
        (&["#server-to-user-ann"], &all, [none, none], [none, none]),
    ];
    for (channels, options, of_centrifuge, of_pusher) in table {
        for (speaks, wanted) in [(Centrifuge, of_centrifuge), (Pusher, of_pusher)] {
            for (channel, is_subscribed) in
                channels.iter().flat_map(|channel| [(channel, false), (channel, true)])
            {
                let mut process = process(&format!("{CLIENTS}{ANONYMOUS}{options}"));
                let listener = Client::enter(&mut process, Centrifuge, "ann", at(0, 9));
                assert_eq!(listener.subscribe(&mut process, channel, true), Some(true), "{channel}");
                for ((slot, user), want) in (0..).zip(["", "ann"]).zip(wanted[usize::from(is_subscribed)]) {
                    let client = Client::enter(&mut process, speaks, user, at(0, slot));
                    if is_subscribed {
                        let is_restricted = speaks == Pusher && restricted.contains(channel);
                        let may_hear =
                            !is_restricted && (!user.is_empty() || *channel != "#server-to-user-ann");
                        assert_eq!(
                            client.subscribe(&mut process, channel, true),
                            Some(may_hear),
                            "{channel}"
                        );
                    }
                    listener.hears(&mut process, "");
                    let data = format!("from {slot}");
                    let case =
                        format!("{channel:?} where {options:?}: {client:?}, subscribed: {is_subscribed}");
                    assert_eq!(client.publish(&mut process, channel, &data), want, "{case}");
                    assert_eq!(listener.hears(&mut process, &data), want, "{case}");
                }
            }
        }
    }
}
