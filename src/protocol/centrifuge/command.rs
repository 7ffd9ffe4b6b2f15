//! What both generations share on the way in: the methods and their parameters.

use crate::core::command::{Command, Connect, Publish, ReadHistory, Subscribe};
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::filter::{Builder, Filter, Join};
use crate::core::publication::{Payload, Position};
use crate::wire::json::{Elements, Object, Value, without_raw_newlines};

/// The one kind of delta there is.
pub(super) const FOSSIL: &str = "fossil";

/// In a subscribe's flags: refuse rather than answer that nothing was recovered.
pub(super) const REFUSE_UNRECOVERED: i64 = 2;

/// Most subscriptions a connect can claim: they take more room here than in the frame.
pub(super) const WISHES_MAX: usize = 1_024;

/// What can be asked. The numbers are v1's, the names both generations'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Connect = 0,
    Subscribe = 1,
    Unsubscribe = 2,
    Publish = 3,
    Presence = 4,
    PresenceStats = 5,
    History = 6,
    Ping = 7,
    Send = 8,
    Rpc = 9,
    Refresh = 10,
    SubRefresh = 11,
}

impl Method {
    /// In the order of their numbers.
    pub(super) const ALL: [(Self, &'static str); 12] = [
        (Self::Connect, "connect"),
        (Self::Subscribe, "subscribe"),
        (Self::Unsubscribe, "unsubscribe"),
        (Self::Publish, "publish"),
        (Self::Presence, "presence"),
        (Self::PresenceStats, "presence_stats"),
        (Self::History, "history"),
        (Self::Ping, "ping"),
        (Self::Send, "send"),
        (Self::Rpc, "rpc"),
        (Self::Refresh, "refresh"),
        (Self::SubRefresh, "sub_refresh"),
    ];
}

/// A command's id; 0 if there is none. What is no id cannot be answered.
pub(super) fn tag(id: Option<Value<'_>>) -> Result<u32, Disconnect> {
    match present(id) {
        None => Ok(0),
        Some(id) => id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or(Disconnect::BadRequest),
    }
}

/// `null` is as good as nothing, except for data.
pub(super) fn present(value: Option<Value<'_>>) -> Option<Value<'_>> {
    value.filter(|value| !value.is_null())
}

/// The command a method and its parameters make; `params` absent: all of them are. [`Method::Send`] has no answer
/// and is the caller's to judge.
pub(super) fn decode(method: Method, params: Option<Value<'_>>) -> Command {
    let params = match present(params) {
        None => Ok(None),
        Some(params) => params.as_object().map(Some).ok_or(ClientError::BadRequest),
    };
    params.and_then(|params| command(method, params)).unwrap_or_else(Command::Refuse)
}

fn command(method: Method, params: Option<Object<'_>>) -> Result<Command, ClientError> {
    match method {
        Method::Connect => {
            let [token, subs] = read(params, ["token", "subs"])?;
            Ok(Command::Connect(Connect { token: text(token)?, subscriptions: wishes(subs)? }))
        }
        Method::Subscribe => {
            let subscribe = subscribe(params)?;
            Ok(Command::Subscribe(subscribe))
        }
        Method::Unsubscribe => {
            let [channel] = read(params, ["channel"])?;
            Ok(Command::Unsubscribe { channel: text(channel)? })
        }
        Method::Publish => {
            let [channel, data] = read(params, ["channel", "data"])?;
            let data = without_raw_newlines(data.ok_or(ClientError::BadRequest)?.raw());
            Ok(Command::Publish(Publish::plain(text(channel)?, Payload::Json(data.into()))))
        }
        Method::Refresh => {
            let [token] = read(params, ["token"])?;
            Ok(Command::Refresh { token: text(token)? })
        }
        Method::SubRefresh => {
            let [channel, token] = read(params, ["channel", "token"])?;
            Ok(Command::RefreshSubscription { channel: text(channel)?, token: text(token)? })
        }
        Method::Presence => {
            let [channel] = read(params, ["channel"])?;
            Ok(Command::Presence { channel: text(channel)? })
        }
        Method::PresenceStats => {
            let [channel] = read(params, ["channel"])?;
            Ok(Command::PresenceStats { channel: text(channel)? })
        }
        Method::History => history(params).map(Command::History),
        Method::Ping => Ok(Command::Ping),
        Method::Rpc | Method::Send => Err(ClientError::NotAvailable),
    }
}

fn subscribe(params: Option<Object<'_>>) -> Result<Subscribe, ClientError> {
    // Everything about kinds of subscriptions that are not offered is ignored, as is everything unknown.
    let [channel, token, recover, epoch, offset, positioned, recoverable, join_leave, delta, tags, flags] =
        read(
            params,
            [
                "channel",
                "token",
                "recover",
                "epoch",
                "offset",
                "positioned",
                "recoverable",
                "join_leave",
                "delta",
                "tf",
                "flag",
            ],
        )?;
    let since = Position { offset: number(offset)?, epoch: text(epoch)?.into() };
    checked(Subscribe {
        about_self: Box::default(),
        channel: text(channel)?,
        token: text(token)?,
        since: flag(recover)?.then_some(since),
        positioned: flag(positioned)?,
        recoverable: flag(recoverable)?,
        join_leave: flag(join_leave)?,
        fossil_delta: &*text(delta)? == FOSSIL,
        tags: present(tags).map(tags_filter).transpose()?,
        refuse_unrecovered: signed(flags)? & REFUSE_UNRECOVERED != 0,
    })
}

/// What holds for a subscribe in either encoding.
pub(super) fn checked(subscribe: Subscribe) -> Result<Subscribe, ClientError> {
    // A filtered stream would lack the bases of its deltas.
    if subscribe.fossil_delta && subscribe.tags.is_some() {
        return Err(ClientError::BadRequest);
    }
    Ok(subscribe)
}

/// The claim to earlier subscriptions in a connect: an object of subscribes by channel.
fn wishes(subs: Option<Value<'_>>) -> Result<Box<[Subscribe]>, ClientError> {
    let Some(subs) = present(subs) else { return Ok(Box::default()) };
    let subs = subs.as_object().ok_or(ClientError::BadRequest)?;
    let mut wishes = Vec::new();
    for (channel, params) in subs.members() {
        if wishes.len() == WISHES_MAX {
            return Err(ClientError::LimitExceeded);
        }
        let params = params.as_object().ok_or(ClientError::BadRequest)?;
        wishes.push(Subscribe { channel: text(Some(channel))?, ..subscribe(Some(params))? });
    }
    distinct(wishes)
}

/// The wishes in the order of their channels, if none occurs twice.
pub(super) fn distinct(mut wishes: Vec<Subscribe>) -> Result<Box<[Subscribe]>, ClientError> {
    wishes.sort_unstable_by(|one, other| one.channel.cmp(&other.channel));
    let repeated = wishes.windows(2).any(|pair| matches!(pair, [one, other] if one.channel == other.channel));
    if repeated { Err(ClientError::BadRequest) } else { Ok(wishes.into()) }
}

fn history(params: Option<Object<'_>>) -> Result<ReadHistory, ClientError> {
    let [channel, limit, since, reverse] = read(params, ["channel", "limit", "since", "reverse"])?;
    let since = match present(since) {
        None => None,
        Some(since) => {
            let since = since.as_object().ok_or(ClientError::BadRequest)?;
            let [offset, epoch] = read(Some(since), ["offset", "epoch"])?;
            Some(Position { offset: number(offset)?, epoch: text(epoch)?.into() })
        }
    };
    Ok(ReadHistory {
        channel: text(channel)?,
        limit: self::limit(signed(limit)?),
        since,
        reverse: flag(reverse)?,
    })
}

/// A negative limit is none.
pub(super) fn limit(limit: i64) -> Option<u32> {
    (limit >= 0).then(|| u32::try_from(limit).unwrap_or(u32::MAX))
}

/// A tree of `{"op","nodes"}` and, at its leaves, `{"key","cmp","val","vals"}`, walked without recursion.
fn tags_filter(root: Value<'_>) -> Result<Filter, ClientError> {
    let mut builder = Builder::default();
    let mut groups: Vec<Elements<'_>> = Vec::new();
    let mut next = Some(root);
    loop {
        match next {
            Some(node) => groups.extend(filter_node(node, &mut builder)?),
            None => {
                groups.pop();
                builder.close().map_err(|_| ClientError::BadRequest)?;
            }
        }
        let Some(members) = groups.last_mut() else { break };
        next = members.next();
    }
    builder.finish().map_err(|_| ClientError::BadRequest)
}

/// Adds one node. Of a group, returns the members that are to come next.
fn filter_node<'t>(node: Value<'t>, builder: &mut Builder) -> Result<Option<Elements<'t>>, ClientError> {
    let node = node.as_object().ok_or(ClientError::BadRequest)?;
    let [op, key, name, value, values, nodes] =
        read(Some(node), ["op", "key", "cmp", "val", "vals", "nodes"])?;
    let op = text(op)?;
    if op.is_empty() {
        let values = present(values).map(|values| values.as_array().ok_or(ClientError::BadRequest));
        let values = values.transpose()?.into_iter().flatten().map(|value| text(Some(value)));
        let values = values.collect::<Result<Box<[_]>, _>>()?;
        let added = builder.test(&text(key)?, &text(name)?, &text(value)?, values);
        return added.map(|()| None).map_err(|_| ClientError::BadRequest);
    }
    builder.open(join(&op)?).map_err(|_| ClientError::BadRequest)?;
    present(nodes).and_then(Value::as_array).ok_or(ClientError::BadRequest).map(Some)
}

/// How a group of a filter is called.
pub(super) fn join(op: &str) -> Result<Join, ClientError> {
    match op {
        "and" => Ok(Join::And),
        "or" => Ok(Join::Or),
        "not" => Ok(Join::Not),
        _ => Err(ClientError::BadRequest),
    }
}

fn read<'t, const N: usize>(
    params: Option<Object<'t>>,
    names: [&'static str; N],
) -> Result<[Option<Value<'t>>; N], ClientError> {
    params.map_or(Ok([None; N]), |params| params.read(names).map_err(|_| ClientError::BadRequest))
}

/// Empty if absent, as everywhere in this protocol.
fn text(value: Option<Value<'_>>) -> Result<Box<str>, ClientError> {
    present(value).map_or(Ok(Box::default()), |value| {
        value.as_str().map(|text| text.into_owned().into_boxed_str()).ok_or(ClientError::BadRequest)
    })
}

/// `false` if absent.
fn flag(value: Option<Value<'_>>) -> Result<bool, ClientError> {
    present(value).map_or(Ok(false), |value| value.as_bool().ok_or(ClientError::BadRequest))
}

/// 0 if absent.
fn number(value: Option<Value<'_>>) -> Result<u64, ClientError> {
    present(value).map_or(Ok(0), |value| value.as_u64().ok_or(ClientError::BadRequest))
}

/// 0 if absent.
fn signed(value: Option<Value<'_>>) -> Result<i64, ClientError> {
    present(value).map_or(Ok(0), |value| value.as_i64().ok_or(ClientError::BadRequest))
}
