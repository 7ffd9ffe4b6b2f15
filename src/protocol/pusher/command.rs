//! Messages of clients as commands.

use std::borrow::Cow;

use super::about;
use super::data::from_value;
use crate::core::command::{Command, Publish, Request, Subscribe};
use crate::core::error::ClientError;
use crate::wire::json::{Json, Object, Value};

/// One message; `None`: there is nothing to do about it.
pub(super) fn decode(text: &[u8], json: &mut Json) -> Option<Request> {
    let message = json.parse(text).ok().and_then(Value::as_object);
    let members = message.and_then(|message| message.read(["event", "channel", "data"]).ok());
    let Some([Some(event), channel, data]) = members else { return Some(not_understood()) };
    let Some(event) = event.as_str() else { return Some(not_understood()) };
    Some(match &*event {
        "pusher:ping" => Request { tag: about::OTHER, command: Command::Ping },
        // Whatever arrives shows that the peer is there.
        "pusher:pong" => return None,
        "pusher:subscribe" => with_data(data, json, about::SUBSCRIBE, subscribe),
        "pusher:unsubscribe" => with_data(data, json, about::OTHER, unsubscribe),
        "pusher:signin" => with_data(data, json, about::SIGN_IN, sign_in),
        event if event.starts_with("client-") => {
            let command = client_event(event, channel, data, json);
            Request { tag: about::CLIENT_EVENT, command }
        }
        // Of the protocol but unknown, the server's own, or without the prefix that clients must use.
        _ => refuse(about::CLIENT_EVENT, ClientError::MethodNotFound),
    })
}

/// What is not a message of the protocol.
pub(super) fn not_understood() -> Request {
    refuse(about::OTHER, ClientError::BadRequest)
}

fn refuse(tag: u32, error: ClientError) -> Request {
    Request { tag, command: Command::Refuse(error) }
}

/// Reads `data`, which some clients encode twice.
fn with_data(
    data: Option<Value<'_>>,
    json: &mut Json,
    tag: u32,
    read: impl FnOnce(Object<'_>) -> Option<Command>,
) -> Request {
    let text: Option<Cow<'_, str>> = data.and_then(Value::as_str);
    let data = match &text {
        Some(text) => json.parse(text.as_bytes()).ok(),
        None => data,
    };
    let command = data.and_then(Value::as_object).and_then(read);
    command.map_or_else(|| refuse(tag, ClientError::BadRequest), |command| Request { tag, command })
}

fn subscribe(data: Object<'_>) -> Option<Command> {
    let [channel, auth, channel_data] = data.read(["channel", "auth", "channel_data"]).ok()?;
    Some(Command::Subscribe(Subscribe {
        channel: present(channel)?.as_str().filter(|name| !name.is_empty())?.into(),
        token: text(auth)?,
        about_self: text(channel_data)?,
        ..Subscribe::default()
    }))
}

fn unsubscribe(data: Object<'_>) -> Option<Command> {
    let channel = data.get("channel").ok()??.as_str().filter(|name| !name.is_empty())?;
    Some(Command::Unsubscribe { channel: channel.into() })
}

fn sign_in(data: Object<'_>) -> Option<Command> {
    let [auth, user_data] = data.read(["auth", "user_data"]).ok()?;
    Some(Command::SignIn { token: text(auth)?, about_user: text(user_data)? })
}

fn client_event(
    event: &str,
    channel: Option<Value<'_>>,
    data: Option<Value<'_>>,
    json: &mut Json,
) -> Command {
    let Some(channel) = channel.and_then(Value::as_str).filter(|name| !name.is_empty()) else {
        return Command::Refuse(ClientError::BadRequest);
    };
    let (data, as_text) = from_value(data, json);
    Command::Publish(Publish {
        channel: channel.into(),
        data,
        as_text,
        event: Some(event.into()),
        to_others: true,
    })
}

/// A text that may be absent or null. `None`: it is something else.
fn text(value: Option<Value<'_>>) -> Option<Box<str>> {
    match present(value) {
        None => Some(Box::default()),
        Some(value) => value.as_str().map(Into::into),
    }
}

fn present(value: Option<Value<'_>>) -> Option<Value<'_>> {
    value.filter(|value| !value.is_null())
}
