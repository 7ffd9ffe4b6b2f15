//! Commands on their way in.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::messages::{
    ChannelRequest, ConnectRequest, FilterNode, HistoryRequest, PublishRequest, RefreshRequest,
    SubRefreshRequest, SubsEntry, SubscribeRequest,
};
use crate::core::command::{Command, Connect, Publish, ReadHistory, Request, Subscribe};
use crate::core::disconnect::Disconnect;
use crate::core::error::ClientError;
use crate::core::filter::{Builder, Filter};
use crate::core::publication::{Payload, Position};
use crate::protocol::centrifuge::Generation;
use crate::protocol::centrifuge::command::{
    FOSSIL, Method, REFUSE_UNRECOVERED, WISHES_MAX, checked, distinct, join, limit,
};
use crate::wire::json::{Json, without_raw_newlines};

/// Cuts the message at the front of `frame` off. `None`: there is none, or it is longer than what is there.
pub fn next_message<'f>(frame: &mut &'f [u8]) -> Option<&'f [u8]> {
    let length = prost::decode_length_delimiter(&mut *frame).ok()?;
    let (message, rest) = frame.split_at_checked(length)?;
    *frame = rest;
    Some(message)
}

/// A command, its method not yet looked into.
#[derive(Debug, Default)]
pub struct Envelope<'m> {
    id: u32,
    /// The first generation's two fields. The method is left out of a connect, because it is number 0.
    method: Option<u64>,
    params: Option<&'m [u8]>,
    /// The current generation has a field per method.
    named: Option<(Method, &'m [u8])>,
    names_several: bool,
}

impl<'m> Envelope<'m> {
    /// Number of the current generation's first method, whose fields are in the order of [`Method::ALL`].
    const FIRST_METHOD: u32 = 4;

    /// Unknown fields are skipped.
    pub fn read(mut message: &'m [u8]) -> Result<Self, Disconnect> {
        let mut envelope = Self::default();
        while !message.is_empty() {
            envelope.read_field(&mut message).ok_or(Disconnect::BadRequest)?;
        }
        Ok(envelope)
    }

    fn read_field(&mut self, message: &mut &'m [u8]) -> Option<()> {
        let (field, wire_type) = decode_key(message).ok()?;
        let method = field.checked_sub(Self::FIRST_METHOD).and_then(|place| Method::ALL.get(place as usize));
        match (field, wire_type, method) {
            (1, WireType::Varint, _) => self.id = u32::try_from(decode_varint(message).ok()?).ok()?,
            (2, WireType::Varint, _) => self.method = Some(decode_varint(message).ok()?),
            (3, WireType::LengthDelimited, _) => self.params = Some(next_message(message)?),
            (_, WireType::LengthDelimited, Some((method, _))) => {
                self.names_several |= self.named.is_some();
                self.named = Some((*method, next_message(message)?));
            }
            (1..=3, _, _) | (_, _, Some(_)) => return None,
            _ => skip_field(wire_type, field, message, DecodeContext::default()).ok()?,
        }
        Some(())
    }

    /// Judges the first command of a connection. `None`: nothing but an id, so the question stays open.
    pub fn generation(&self) -> Option<Generation> {
        match (self.named, self.method, self.params) {
            (Some(_), _, _) => Some(Generation::V2),
            (None, None, None) => None,
            (None, _, _) => Some(Generation::V1),
        }
    }

    /// The command of the current generation. `Err` ends the connection.
    pub fn command_v2(&self, json: &mut Json) -> Result<Request, Disconnect> {
        let command = match self.named {
            // It expects no answer, so the only way to say no is to end the connection.
            Some((Method::Send, _)) if !self.names_several => return Err(Disconnect::NotAvailable),
            // Whatever else has no id is the answer to a ping.
            _ if self.id == 0 => Ok(Command::Pong),
            None => return Err(Disconnect::BadRequest),
            Some(_) if self.names_several => Err(ClientError::BadRequest),
            // A leftover of the first generation that no client sends.
            Some((Method::Ping, _)) => Err(ClientError::NotAvailable),
            Some((method, params)) => command(method, params, json),
        };
        Ok(Request { tag: self.id, command: command.unwrap_or_else(Command::Refuse) })
    }

    /// The command of the first generation. `Err` ends the connection.
    pub fn command_v1(&self, json: &mut Json) -> Result<Request, Disconnect> {
        let number = self.method.unwrap_or(0);
        let command = match Method::ALL.iter().find(|(method, _)| *method as u64 == number) {
            // It expects no answer, so the only way to say no is to end the connection.
            Some((Method::Send, _)) => return Err(Disconnect::NotAvailable),
            _ if self.id == 0 => return Err(Disconnect::BadRequest),
            Some((method, _)) => command(*method, self.params.unwrap_or_default(), json),
            None => Err(ClientError::MethodNotFound),
        };
        Ok(Request { tag: self.id, command: command.unwrap_or_else(Command::Refuse) })
    }
}

fn command(method: Method, params: &[u8], json: &mut Json) -> Result<Command, ClientError> {
    Ok(match method {
        Method::Connect => {
            let ConnectRequest { token, subs } = read(params)?;
            Command::Connect(Connect { token: token.into(), subscriptions: wishes(&subs)? })
        }
        Method::Subscribe => Command::Subscribe(subscribe(read(params)?)?),
        Method::Unsubscribe => Command::Unsubscribe { channel: channel(params)? },
        Method::Publish => {
            let PublishRequest { channel, data } = read(params)?;
            Command::Publish(Publish::plain(channel.into(), payload(data, json)?))
        }
        Method::Presence => Command::Presence { channel: channel(params)? },
        Method::PresenceStats => Command::PresenceStats { channel: channel(params)? },
        Method::History => Command::History(history(read(params)?)),
        Method::Refresh => {
            let RefreshRequest { token } = read(params)?;
            Command::Refresh { token: token.into() }
        }
        Method::SubRefresh => {
            let SubRefreshRequest { channel, token } = read(params)?;
            Command::RefreshSubscription { channel: channel.into(), token: token.into() }
        }
        Method::Ping => Command::Ping,
        Method::Rpc | Method::Send => return Err(ClientError::NotAvailable),
    })
}

fn read<M: Message + Default>(params: &[u8]) -> Result<M, ClientError> {
    M::decode(params).map_err(|_| ClientError::BadRequest)
}

fn channel(params: &[u8]) -> Result<Box<str>, ClientError> {
    read(params).map(|ChannelRequest { channel }| channel.into())
}

/// What is JSON is kept as such, for everybody. Anything else stays the bytes it is, even if they are text: messages
/// in Protobuf's own format often happen to be, and other Protobuf clients want them back unchanged.
fn payload(data: Vec<u8>, json: &mut Json) -> Result<Payload, ClientError> {
    if data.is_empty() {
        return Err(ClientError::BadRequest);
    }
    let value = json.parse(&data).map(|value| Payload::Json(without_raw_newlines(value.raw()).into()));
    Ok(value.unwrap_or_else(|_| Payload::Binary(data.into())))
}

/// What a connect claims of earlier subscriptions.
fn wishes(entries: &[Vec<u8>]) -> Result<Box<[Subscribe]>, ClientError> {
    if entries.len() > WISHES_MAX {
        return Err(ClientError::LimitExceeded);
    }
    let wish = |entry: &Vec<u8>| {
        let SubsEntry { channel, request } = read(entry)?;
        Ok(Subscribe { channel: channel.into(), ..subscribe(request.unwrap_or_default())? })
    };
    distinct(entries.iter().map(wish).collect::<Result<_, _>>()?)
}

fn subscribe(request: SubscribeRequest) -> Result<Subscribe, ClientError> {
    let since = Position { offset: request.offset, epoch: request.epoch.into() };
    checked(Subscribe {
        about_self: Box::default(),
        channel: request.channel.into(),
        token: request.token.into(),
        since: request.recover.then_some(since),
        positioned: request.positioned,
        recoverable: request.recoverable,
        join_leave: request.join_leave,
        fossil_delta: request.delta == FOSSIL,
        tags: request.tf.map(tags_filter).transpose()?,
        refuse_unrecovered: request.flag & REFUSE_UNRECOVERED != 0,
    })
}

fn history(request: HistoryRequest) -> ReadHistory {
    ReadHistory {
        channel: request.channel.into(),
        limit: limit(request.limit.into()),
        since: request.since.map(|since| Position { offset: since.offset, epoch: since.epoch.into() }),
        reverse: request.reverse,
    }
}

/// A tree of nodes, each decoded when its turn comes, without recursion; the builder counts them.
fn tags_filter(root: Vec<u8>) -> Result<Filter, ClientError> {
    let mut builder = Builder::default();
    let mut groups = Vec::new();
    let mut next = Some(root);
    loop {
        let done = match next {
            Some(node) => {
                let FilterNode { op, key, cmp, val, vals, nodes } = read(&node)?;
                if op.is_empty() {
                    let values = vals.into_iter().map(String::into_boxed_str).collect();
                    builder.test(&key, &cmp, &val, values)
                } else {
                    groups.push(nodes.into_iter());
                    builder.open(join(&op)?)
                }
            }
            None => {
                groups.pop();
                builder.close()
            }
        };
        done.map_err(|_| ClientError::BadRequest)?;
        let Some(members) = groups.last_mut() else { break };
        next = members.next();
    }
    builder.finish().map_err(|_| ClientError::BadRequest)
}
