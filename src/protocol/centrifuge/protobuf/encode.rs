//! Events on their way out, each as one message behind its length.

use prost::Message;

use super::messages::{
    ConnectResult, Error, HistoryResult, LegacyPush, LegacyReply, LegacyUnsubscribe, Nothing, PresenceResult,
    PresenceStatsResult, Push, RefreshResult, Reply, SubRefreshResult, Subscribe, SubscribeResult,
    Unsubscribe,
};
use super::publication::{append_client_info, append_nested, append_publication, append_push};
use crate::core::error::ClientError;
use crate::core::event::{Body, DropCause, Event, Recovery, Subscription};
use crate::core::publication::{ClientInfo, Numbered, Payload};
use crate::protocol::centrifuge::encode::told_offset;
use crate::protocol::centrifuge::v1::{PushType, resubscribes};
use crate::protocol::centrifuge::{Generation, VERSION, codes};

/// Appends one event, or nothing where the generation has no such event.
pub fn append_event(generation: Generation, frame_pings: bool, event: &Event<'_>, out: &mut Vec<u8>) {
    let answer = Answer { generation, out };
    match *event {
        Event::Connected { tag, client, decimal: _, expires_in_s, ping_interval_s, data, subscriptions } => {
            let pings = generation == Generation::V2 && !frame_pings && ping_interval_s != 0;
            let subscription = |(channel, subscription): &(&str, Subscription<'_>)| {
                ((*channel).to_owned(), self::subscription(generation, subscription))
            };
            let result = ConnectResult {
                client: client.text().as_str().to_owned(),
                version: VERSION.to_owned(),
                expires: expires_in_s.is_some(),
                ttl: expires_in_s.unwrap_or(0),
                data: bytes(data),
                subs: subscriptions.iter().map(subscription).collect(),
                ping: if pings { ping_interval_s } else { 0 },
                pong: pings,
            };
            answer.append(tag, result, |reply, result| reply.connect = Some(result));
        }
        Event::Refreshed { tag, client, expires_in_s } => {
            let result = RefreshResult {
                client: client.text().as_str().to_owned(),
                version: VERSION.to_owned(),
                expires: expires_in_s.is_some(),
                ttl: expires_in_s.unwrap_or(0),
            };
            answer.append(tag, result, |reply, result| reply.refresh = Some(result));
        }
        Event::Subscribed { tag, channel: _, subscription } => {
            let result = self::subscription(generation, &subscription);
            answer.append(tag, result, |reply, result| reply.subscribe = Some(result));
        }
        Event::Unsubscribed { tag, .. } => {
            answer.append(tag, Nothing {}, |reply, result| reply.unsubscribe = Some(result));
        }
        Event::Published { tag, .. } => {
            answer.append(tag, Nothing {}, |reply, result| reply.publish = Some(result));
        }
        Event::Presence { tag, channel: _, clients } => {
            let shown = |info: &ClientInfo| {
                let mut shown = Vec::new();
                append_client_info(info, &mut shown);
                (info.client.text().as_str().to_owned(), shown)
            };
            let result = PresenceResult { presence: clients.iter().map(shown).collect() };
            answer.append(tag, result, |reply, result| reply.presence = Some(result));
        }
        Event::PresenceStats { tag, channel: _, clients_count, users_count } => {
            let result = PresenceStatsResult { num_clients: clients_count, num_users: users_count };
            answer.append(tag, result, |reply, result| reply.presence_stats = Some(result));
        }
        Event::History { tag, channel: _, publications, position } => {
            let result = HistoryResult {
                publications: self::publications(publications, |_| Body::Plain),
                epoch: position.epoch.to_string(),
                offset: position.offset,
            };
            answer.append(tag, result, |reply, result| reply.history = Some(result));
        }
        Event::SubscriptionRefreshed { tag, channel: _, expires_in_s } => {
            answer.append(tag, expiry(expires_in_s), |reply, result| reply.sub_refresh = Some(result));
        }
        Event::Pong { tag } => {
            answer.append(tag, Nothing {}, |reply, result| reply.ping = Some(result));
        }
        Event::Refused { tag, channel: _, error, .. } => answer.append_error(tag, error),
        Event::Ping if generation == Generation::V1 || frame_pings => {}
        // An empty reply.
        Event::Ping => out.push(0),
        Event::SignedIn { .. }
        | Event::UserJoined { .. }
        | Event::UserLeft { .. }
        | Event::NothingLatest { .. }
        | Event::SubscribersCount { .. }
        | Event::Watched { .. }
        | Event::Ended { .. } => {}
        Event::Publication { channel, publication, offset, body } => {
            append_push(generation, channel, publication, offset, body, out);
        }
        Event::Join { .. }
        | Event::Leave { .. }
        | Event::Added { .. }
        | Event::Dropped { .. }
        | Event::ExpiryMoved { .. } => match generation {
            Generation::V1 => append_push_v1(event, out),
            Generation::V2 => append_push_v2(event, out),
        },
    }
}

/// Where an answer goes.
struct Answer<'o> {
    generation: Generation,
    out: &'o mut Vec<u8>,
}

impl Answer<'_> {
    /// The current generation has a field per result, which `place` fills in; the first has one for all.
    fn append<M: Message>(self, tag: u32, result: M, place: fn(&mut Reply, M)) {
        match self.generation {
            Generation::V1 => {
                let result = result.encode_to_vec();
                append_message(&LegacyReply { id: tag, error: None, result }, self.out);
            }
            Generation::V2 => {
                let mut reply = Reply { id: tag, ..Reply::default() };
                place(&mut reply, result);
                append_message(&reply, self.out);
            }
        }
    }

    fn append_error(self, tag: u32, error: ClientError) {
        let (code, message) = codes::error(error);
        let temporary = self.generation == Generation::V2 && error.is_temporary();
        let error = Some(Error { code, message: message.to_owned(), temporary });
        match self.generation {
            Generation::V1 => append_message(&LegacyReply { id: tag, error, result: Vec::new() }, self.out),
            Generation::V2 => append_message(&Reply { id: tag, error, ..Reply::default() }, self.out),
        }
    }
}

fn append_push_v2(event: &Event<'_>, out: &mut Vec<u8>) {
    let channel = |channel: &str| Push { channel: channel.to_owned(), ..Push::default() };
    let push = match *event {
        Event::Join { channel: name, info } => Push { join: Some(somebody(info)), ..channel(name) },
        Event::Leave { channel: name, info } => Push { leave: Some(somebody(info)), ..channel(name) },
        Event::Added { channel: name, subscription } => {
            Push { subscribe: Some(added(&subscription)), ..channel(name) }
        }
        Event::Dropped { channel: name, cause } => {
            Push { unsubscribe: Some(unsubscribe(cause)), ..channel(name) }
        }
        Event::ExpiryMoved { expires_in_s } => {
            Push { refresh: Some(expiry(expires_in_s)), ..Push::default() }
        }
        _ => return,
    };
    append_message(&Reply { push: Some(push), ..Reply::default() }, out);
}

fn append_push_v1(event: &Event<'_>, out: &mut Vec<u8>) {
    let (push_type, channel, data) = match *event {
        Event::Join { channel, info } => (PushType::Join, channel, somebody(info)),
        Event::Leave { channel, info } => (PushType::Leave, channel, somebody(info)),
        Event::Added { channel, subscription } => {
            (PushType::Subscribe, channel, added(&subscription).encode_to_vec())
        }
        Event::Dropped { channel, cause } => {
            let Some(resubscribe) = resubscribes(cause) else { return };
            (PushType::Unsubscribe, channel, LegacyUnsubscribe { resubscribe }.encode_to_vec())
        }
        // Its clients know nothing of a moved expiry.
        _ => return,
    };
    let push = LegacyPush { push_type: push_type as i32, channel: channel.to_owned(), data };
    append_message(&LegacyReply { result: push.encode_to_vec(), ..LegacyReply::default() }, out);
}

fn append_message(message: &impl Message, out: &mut Vec<u8>) {
    message.encode_length_delimited(out).expect("a vector grows");
}

fn subscription(generation: Generation, subscription: &Subscription<'_>) -> SubscribeResult {
    SubscribeResult {
        expires: subscription.expires_in_s.is_some(),
        ttl: subscription.expires_in_s.unwrap_or(0),
        recoverable: subscription.recoverable,
        epoch: subscription.position.map_or_else(String::new, |position| position.epoch.to_string()),
        publications: publications(subscription.publications, |at| subscription.body(at)),
        recovered: matches!(subscription.recovery, Recovery::Recovered { .. }),
        offset: told_offset(generation, subscription),
        positioned: subscription.positioned,
        data: bytes(subscription.data),
        was_recovering: generation == Generation::V2 && subscription.recovery != Recovery::NotAsked,
        delta: subscription.fossil_delta,
    }
}

fn added(subscription: &Subscription<'_>) -> Subscribe {
    let position = subscription.position;
    Subscribe {
        recoverable: subscription.recoverable,
        epoch: position.map_or_else(String::new, |position| position.epoch.to_string()),
        offset: position.map_or(0, |position| position.offset),
        positioned: subscription.positioned,
        data: bytes(subscription.data),
    }
}

fn unsubscribe(cause: DropCause) -> Unsubscribe {
    let (code, reason) = codes::unsubscribe(cause);
    Unsubscribe { code, reason: reason.to_owned() }
}

fn expiry(expires_in_s: Option<u32>) -> SubRefreshResult {
    SubRefreshResult { expires: expires_in_s.is_some(), ttl: expires_in_s.unwrap_or(0) }
}

fn publications<'a>(publications: &[Numbered], body: impl Fn(usize) -> Body<'a>) -> Vec<Vec<u8>> {
    let encoded = |(place, numbered): (usize, &Numbered)| {
        let mut out = Vec::with_capacity(numbered.publication.data.len() + 64);
        append_publication(&numbered.publication, numbered.offset, body(place), &mut out);
        out
    };
    publications.iter().enumerate().map(encoded).collect()
}

/// What joins and leaves consist of.
fn somebody(info: &ClientInfo) -> Vec<u8> {
    let mut out = Vec::new();
    append_nested(1, 0, &mut out, |out| append_client_info(info, out));
    out
}

fn bytes(payload: Option<&Payload>) -> Vec<u8> {
    payload.map_or_else(Vec::new, |payload| payload.as_bytes().to_vec())
}
