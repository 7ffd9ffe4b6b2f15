//! Head and body → calls.

use super::names::{judge_channel, judge_event};
use super::refusal::Refusal;
use super::replay::Mark;
use super::route::Endpoint;
use super::signed::{BodyDigest, Proof, Query};
use super::{Info, Shape, Work};
use crate::api::call::{Call, Errand, Excluded, Message, Tags, Whose};
use crate::config::{App, Limits, Pusher};
use crate::core::channel::{is_presence, keeps_latest};
use crate::core::disconnect::Disconnect;
use crate::core::ids::DecimalId;
use crate::core::publication::{AsText, Payload};
use crate::protocol::pusher::from_text;
use crate::wire::json::{Json, Object, Value, without_raw_newlines};

/// A request of known origin, as far as its head tells.
#[derive(Debug)]
pub struct Target {
    endpoint: Endpoint,
    digest: BodyDigest,
    /// What it is known again by.
    pub mark: Mark,
    info: Info,
    prefix: Box<str>,
}

/// What `info` may list.
const KNOWN: &str = "user_count, subscription_count and cache, joined by commas";

impl Target {
    /// Takes from the query what the endpoint reads there.
    pub fn read(endpoint: Endpoint, query: &Query<'_>, proof: Proof) -> Result<Self, Refusal> {
        let info = query.value("info").map_or(Ok(Info::default()), info)?;
        let prefix = query.value("filter_by_prefix").unwrap_or_default().into();
        let Proof { digest, mark } = proof;
        Ok(Self { endpoint, digest, mark, info, prefix })
    }
}

/// What parsing reads beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    pub app: &'a App,
    pub options: &'a Pusher,
    pub limits: &'a Limits,
}

/// Reads a whole request. Errors: nothing of it may be carried out. `json`: scratch space.
pub fn parse(target: Target, body: &[u8], terms: Terms<'_>, json: &mut Json) -> Result<Work, Refusal> {
    let Target { endpoint, digest, mark: _, info, prefix } = target;
    digest.judge(body)?;
    let one = |call, shape| Ok(Work { calls: vec![call], shape });
    let known = |channel: &str| judge_channel(terms.app, terms.options, channel);
    match endpoint {
        Endpoint::Events => event(body, terms, json),
        Endpoint::BatchEvents => batch(body, terms, json),
        Endpoint::Channels => {
            if info.user_count && !is_presence(&prefix) {
                return Err(Refusal::NoUserCount);
            }
            if info.cache {
                return Err(Refusal::NoCache);
            }
            let pattern = format!("{prefix}*").into();
            one(Call::Channels { pattern, users: info.user_count }, Shape::Channels { prefix, info })
        }
        Endpoint::Channel(channel) => {
            known(&channel)?;
            if info.user_count && !is_presence(&channel) {
                return Err(Refusal::NoUserCount);
            }
            if info.cache && !keeps_latest(&channel) {
                return Err(Refusal::NoCache);
            }
            one(occupancy(channel, info), Shape::Channel(info))
        }
        Endpoint::Users(channel) => {
            known(&channel)?;
            if !is_presence(&channel) {
                return Err(Refusal::NotPresence);
            }
            one(Call::Presence { channel }, Shape::Users)
        }
        Endpoint::TerminateConnections(user) => {
            let disconnect = Disconnect::ForceDisconnect;
            let errand = Errand::Disconnect { whitelist: Box::default(), disconnect };
            one(Call::Users { whose: Whose { user, client: None }, errand }, Shape::Done)
        }
        Endpoint::Connections => one(Call::Connections, Shape::Connections),
    }
}

fn occupancy(channel: Box<str>, info: Info) -> Call {
    Call::Occupancy { channel, users: info.user_count, latest: info.cache }
}

fn event(body: &[u8], terms: Terms<'_>, json: &mut Json) -> Result<Work, Refusal> {
    let event = object(json.parse(body)?, "the body")?;
    let [channels, channel, name, data, socket_id, info] =
        event.read(["channels", "channel", "name", "data", "socket_id", "info"])?.map(present);
    let mut names: Vec<Box<str>> = Vec::new();
    let list = channels.map(|list| list.as_array().ok_or(wrong_type("channels", "an array of strings")));
    let limit = terms.options.event_channels_limit;
    for channel in list.transpose()?.into_iter().flatten().chain(channel) {
        let channel = channel.as_str().ok_or(wrong_type("a channel", "a string"))?;
        judge_channel(terms.app, terms.options, &channel)?;
        if names.iter().all(|name| **name != *channel) {
            names.push(channel.into());
        }
        if names.len() > limit {
            return Err(Refusal::TooMany { field: "channels", limit });
        }
    }
    if names.is_empty() {
        return Err(Refusal::Missing { field: "channels" });
    }
    let message = message([name, data, socket_id], terms, json)?;
    let info = event_info(info)?;
    let asked: Vec<(Box<str>, Info)> =
        names.iter().map(|name| (name.clone(), applicable(name, info))).collect();
    let mut calls = vec![Call::Broadcast { channels: names, message }];
    if info.is_nothing() {
        return Ok(Work { calls, shape: Shape::Done });
    }
    calls.extend(asked.iter().map(|(channel, info)| occupancy(channel.clone(), *info)));
    Ok(Work { calls, shape: Shape::Event(asked) })
}

fn batch(body: &[u8], terms: Terms<'_>, json: &mut Json) -> Result<Work, Refusal> {
    let [events] = object(json.parse(body)?, "the body")?.read(["batch"])?.map(present);
    let events = events.ok_or(Refusal::Missing { field: "batch" })?;
    let limit = terms.options.batch_limit;
    let mut calls = Vec::new();
    let mut asked: Vec<(Box<str>, Info)> = Vec::new();
    for event in events.as_array().ok_or(wrong_type("batch", "an array of objects"))? {
        if calls.len() == limit {
            return Err(Refusal::TooMany { field: "events in one batch", limit });
        }
        let event = object(event, "an event")?;
        let [channel, name, data, socket_id, info] =
            event.read(["channel", "name", "data", "socket_id", "info"])?.map(present);
        let channel = channel.ok_or(Refusal::Missing { field: "channel" })?;
        let channel = channel.as_str().ok_or(wrong_type("channel", "a string"))?;
        judge_channel(terms.app, terms.options, &channel)?;
        let message = message([name, data, socket_id], terms, json)?;
        let channel: Box<str> = channel.into();
        asked.push((channel.clone(), applicable(&channel, event_info(info)?)));
        calls.push(Call::Publish { channel, message });
    }
    if calls.is_empty() {
        return Err(Refusal::Missing { field: "batch" });
    }
    let of_interest = asked.iter().filter(|(_, info)| !info.is_nothing());
    let questions: Vec<Call> = of_interest.map(|(channel, info)| occupancy(channel.clone(), *info)).collect();
    if questions.is_empty() {
        return Ok(Work { calls, shape: Shape::Done });
    }
    calls.extend(questions);
    Ok(Work { calls, shape: Shape::Batch(asked) })
}

/// What is to be heard, and by whom not.
fn message(
    [name, data, socket_id]: [Option<Value<'_>>; 3],
    terms: Terms<'_>,
    json: &mut Json,
) -> Result<Message, Refusal> {
    let name = name.ok_or(Refusal::Missing { field: "name" })?;
    let name = name.as_str().ok_or(wrong_type("name", "a string"))?;
    judge_event(terms.options, &name)?;
    let data = data.ok_or(Refusal::Missing { field: "data" })?;
    let limit = terms.options.event_data_max_size;
    let (data, as_text) = match data.as_str() {
        Some(text) if text.len() > limit => return Err(Refusal::DataTooLarge { limit }),
        Some(text) => from_text(&text, json),
        None if data.raw().len() > limit => return Err(Refusal::DataTooLarge { limit }),
        None => (Payload::Json(without_raw_newlines(data.raw()).into()), AsText::Quoted),
    };
    if data.len() > terms.limits.publication_bytes_max {
        return Err(Refusal::DataTooLarge { limit: terms.limits.publication_bytes_max });
    }
    let exclude = match socket_id {
        None => None,
        Some(id) => {
            let id = id.as_str().and_then(|text| DecimalId::parse(&text));
            Some(Excluded::Decimal(id.ok_or(Refusal::SocketId)?))
        }
    };
    Ok(Message {
        data,
        as_text,
        event: Some(name.into()),
        tags: Tags::default(),
        delta: false,
        terms: None,
        exclude,
    })
}

/// Attributes that a channel does not have are left out.
fn applicable(channel: &str, info: Info) -> Info {
    Info { user_count: info.user_count && is_presence(channel), cache: false, ..info }
}

fn event_info(value: Option<Value<'_>>) -> Result<Info, Refusal> {
    let Some(value) = value else { return Ok(Info::default()) };
    info(&value.as_str().ok_or(Refusal::Info { known: KNOWN })?)
}

fn info(list: &str) -> Result<Info, Refusal> {
    let mut info = Info::default();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name {
            "user_count" => info.user_count = true,
            "subscription_count" => info.subscription_count = true,
            "cache" => info.cache = true,
            _ => return Err(Refusal::Info { known: KNOWN }),
        }
    }
    Ok(info)
}

/// Libraries write `null` for what was not set. (`data` may not be unset, so `null` there is refused as missing.)
fn present(value: Option<Value<'_>>) -> Option<Value<'_>> {
    value.filter(|value| !value.is_null())
}

fn object<'t>(value: Value<'t>, field: &'static str) -> Result<Object<'t>, Refusal> {
    value.as_object().ok_or(wrong_type(field, "an object"))
}

fn wrong_type(field: &'static str, want: &'static str) -> Refusal {
    Refusal::Type { field, want }
}
