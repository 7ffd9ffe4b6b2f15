//! What clients say in JSON as Protobuf, and what servers say in Protobuf as JSON: by the published field numbers of
//! the protocol, not by the server's own code.
//!
//! A publication's data is bytes. It comes out as `data` where it is JSON, and in any case as the string `text`.

use serde_json::{Map, Value};

use super::replies::TEXT;

/// A field's number and its name in JSON.
type Fields = &'static [(u32, &'static str, Kind)];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Number,
    Flag,
    Text,
    /// Bytes that are JSON, or are not.
    Raw,
    Texts,
    Message(Fields),
    Messages(Fields),
    /// From texts to messages.
    Map(Fields),
}

use Kind::{Flag, Message, Messages, Number, Raw, Text, Texts};

const LEAF: Fields =
    &[(1, "op", Text), (2, "key", Text), (3, "cmp", Text), (4, "val", Text), (5, "vals", Texts)];
const FILTER: Fields = &[
    (1, "op", Text),
    (2, "key", Text),
    (3, "cmp", Text),
    (4, "val", Text),
    (5, "vals", Texts),
    (6, "nodes", Messages(LEAF)),
];
const SUBSCRIBE: Fields = &[
    (1, "channel", Text),
    (2, "token", Text),
    (3, "recover", Flag),
    (6, "epoch", Text),
    (7, "offset", Number),
    (10, "recoverable", Flag),
    (11, "join_leave", Flag),
    (12, "delta", Text),
    (13, "tf", Message(FILTER)),
];
const CHANNEL: Fields = &[(1, "channel", Text)];
const TOKEN: Fields = &[(1, "token", Text)];
const HISTORY: Fields = &[(1, "channel", Text), (7, "limit", Number), (9, "reverse", Flag)];
const PUBLISH: Fields = &[(1, "channel", Text), (2, "data", Raw)];

/// The requests that are made, with the number of the method in the first generation; its field in the second.
const COMMANDS: [(&str, u64, u32, Fields); 8] = [
    ("connect", 0, 4, TOKEN),
    ("subscribe", 1, 5, SUBSCRIBE),
    ("unsubscribe", 2, 6, CHANNEL),
    ("publish", 3, 7, PUBLISH),
    ("presence", 4, 8, CHANNEL),
    ("history", 6, 10, HISTORY),
    ("ping", 7, 11, &[]),
    ("refresh", 10, 14, TOKEN),
];

const INFO: Fields = &[(1, "user", Text), (2, "client", Text), (3, "conn_info", Raw), (4, "chan_info", Raw)];
const SOMEBODY: Fields = &[(1, "info", Message(INFO))];
const PUBLICATION: Fields =
    &[(4, "data", Raw), (5, "info", Message(INFO)), (6, "offset", Number), (8, "delta", Flag)];
const SUBSCRIBED: Fields = &[
    (1, "expires", Flag),
    (2, "ttl", Number),
    (3, "recoverable", Flag),
    (6, "epoch", Text),
    (7, "publications", Messages(PUBLICATION)),
    (8, "recovered", Flag),
    (9, "offset", Number),
    (10, "positioned", Flag),
    (12, "was_recovering", Flag),
    (13, "delta", Flag),
];
const CONNECTED: Fields =
    &[(1, "client", Text), (2, "version", Text), (3, "expires", Flag), (4, "ttl", Number)];
const READ: Fields = &[(1, "publications", Messages(PUBLICATION)), (2, "epoch", Text), (3, "offset", Number)];
const PRESENT: Fields = &[(1, "presence", Kind::Map(INFO))];
const DROPPED: Fields = &[(2, "code", Number), (3, "reason", Text)];
const PUSH: Fields = &[
    (2, "channel", Text),
    (4, "pub", Message(PUBLICATION)),
    (5, "join", Message(SOMEBODY)),
    (6, "leave", Message(SOMEBODY)),
    (7, "unsubscribe", Message(DROPPED)),
];
const ERROR: Fields = &[(1, "code", Number), (2, "message", Text)];
const REPLY: Fields = &[
    (1, "id", Number),
    (2, "error", Message(ERROR)),
    (4, "push", Message(PUSH)),
    (5, "connect", Message(CONNECTED)),
    (6, "subscribe", Message(SUBSCRIBED)),
    (7, "unsubscribe", Message(&[])),
    (8, "publish", Message(&[])),
    (9, "presence", Message(PRESENT)),
    (11, "history", Message(READ)),
    (14, "refresh", Message(CONNECTED)),
];
/// In the first generation what a result or a push holds depends on what was asked, or on its type.
const LEGACY_REPLY: Fields = &[(1, "id", Number), (2, "error", Message(ERROR)), (3, "result", Raw)];
const LEGACY_PUSH: Fields = &[(1, "type", Number), (2, "channel", Text), (3, "data", Raw)];
const LEGACY_DROPPED: Fields = &[(1, "resubscribe", Flag)];

/// A request, with its length before it.
pub fn command(name: &str, tag: u64, params: &str, is_v1: bool) -> Vec<u8> {
    let params: Value = serde_json::from_str(params).expect("our own JSON");
    let known = COMMANDS.iter().find(|(known, ..)| *known == name);
    let (_, method, field, fields) = *known.expect("a known command");
    let mut request = Vec::new();
    append_message(fields, &params, &mut request);
    let mut command = Vec::new();
    append_number(1, tag, &mut command);
    if is_v1 {
        append_number(2, method, &mut command);
        append_bytes(3, &request, &mut command);
    } else {
        append_bytes(field, &request, &mut command);
    }
    let mut sized = Vec::new();
    append_varint(command.len() as u64, &mut sized);
    sized.extend(command);
    sized
}

fn append_message(fields: Fields, value: &Value, out: &mut Vec<u8>) {
    for (field, name, kind) in fields {
        let Some(value) = value.get(name) else { continue };
        match (kind, value) {
            // Negative ones take all of the ten bytes.
            (Number, value) => append_number(*field, value.as_i64().unwrap_or_default() as u64, out),
            (Flag, value) => append_number(*field, u64::from(value == true), out),
            (Text, value) => append_bytes(*field, value.as_str().unwrap_or_default().as_bytes(), out),
            (Raw, value) => append_bytes(*field, value.to_string().as_bytes(), out),
            (Texts, value) => {
                for text in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    append_bytes(*field, text.as_bytes(), out);
                }
            }
            (Message(fields), value) => append_nested(*field, fields, value, out),
            (Messages(fields), value) => {
                value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .for_each(|one| append_nested(*field, fields, one, out));
            }
            (Kind::Map(_), _) => unreachable!("no request has one"),
        }
    }
}

fn append_nested(field: u32, fields: Fields, value: &Value, out: &mut Vec<u8>) {
    let mut nested = Vec::new();
    append_message(fields, value, &mut nested);
    append_bytes(field, &nested, out);
}

fn append_number(field: u32, number: u64, out: &mut Vec<u8>) {
    append_varint(u64::from(field) << 3, out);
    append_varint(number, out);
}

fn append_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    append_varint(u64::from(field) << 3 | 2, out);
    append_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn append_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// One message of the server as the JSON it would have been. `asked`: the command whose reply is due, if any is.
pub fn read(mut payload: &[u8], is_v1: bool, asked: Option<&str>) -> Result<Value, String> {
    let message = take_bytes(&mut payload).filter(|_| payload.is_empty()).ok_or("no message, or several")?;
    if !is_v1 {
        return read_message(REPLY, message);
    }
    let mut reply = read_message(LEGACY_REPLY, message)?;
    let mut results = fields_of(message)?.into_iter().filter(|(field, _)| *field == 3);
    let result = results.next().map_or(&[][..], |(_, content)| content.bytes());
    if reply["error"].is_object() {
        return Ok(reply);
    }
    reply["result"] = if reply["id"].is_number() {
        let fields = match asked {
            Some("connect" | "refresh") => CONNECTED,
            Some("subscribe") => SUBSCRIBED,
            Some("presence") => PRESENT,
            Some("history") => READ,
            _ => &[],
        };
        read_message(fields, result)?
    } else {
        let mut push = read_message(LEGACY_PUSH, result)?;
        let mut data = fields_of(result)?.into_iter().filter(|(field, _)| *field == 3);
        let data = data.next().map_or(&[][..], |(_, content)| content.bytes());
        push["data"] = match push["type"].as_u64() {
            None => read_message(PUBLICATION, data)?,
            Some(1 | 2) => read_message(SOMEBODY, data)?,
            Some(3) => read_message(LEGACY_DROPPED, data)?,
            Some(other) => return Err(format!("a push of type {other}")),
        };
        push
    };
    Ok(reply)
}

#[derive(Debug, Clone, Copy)]
enum Content<'m> {
    Number(u64),
    Bytes(&'m [u8]),
}

impl<'m> Content<'m> {
    fn bytes(self) -> &'m [u8] {
        match self {
            Self::Number(_) => &[],
            Self::Bytes(bytes) => bytes,
        }
    }

    fn text(self) -> Result<String, String> {
        String::from_utf8(self.bytes().to_vec()).map_err(|error| error.to_string())
    }
}

fn read_message(fields: Fields, message: &[u8]) -> Result<Value, String> {
    let mut object = Map::new();
    for (field, content) in fields_of(message)? {
        // What no test looks at is passed over.
        let Some((_, name, kind)) = fields.iter().find(|(known, ..)| *known == field) else { continue };
        let value = match (kind, content) {
            (Number, Content::Number(number)) => number.into(),
            (Flag, Content::Number(number)) => Value::from(number != 0),
            (Text, content) => content.text()?.into(),
            (Raw, content) => {
                if *name == "data" {
                    let text = String::from_utf8_lossy(content.bytes()).into_owned();
                    object.insert(TEXT.to_owned(), text.into());
                }
                serde_json::from_slice(content.bytes()).unwrap_or_default()
            }
            (Message(fields), content) => read_message(fields, content.bytes())?,
            (Messages(fields), content) => {
                let one = read_message(fields, content.bytes())?;
                let list = object.entry(*name).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().into_iter().for_each(|list| list.push(one.clone()));
                continue;
            }
            (Kind::Map(fields), content) => {
                let [mut key, mut value] = [&[][..]; 2];
                for (field, content) in fields_of(content.bytes())? {
                    *(if field == 1 { &mut key } else { &mut value }) = content.bytes();
                }
                let map = object.entry(*name).or_insert_with(|| Value::Object(Map::new()));
                map[String::from_utf8_lossy(key).as_ref()] = read_message(fields, value)?;
                continue;
            }
            (kind, content) => return Err(format!("{name} is {content:?}, which is no {kind:?}")),
        };
        object.insert((*name).to_owned(), value);
    }
    Ok(object.into())
}

fn fields_of(mut message: &[u8]) -> Result<Vec<(u32, Content<'_>)>, String> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = take_varint(&mut message).ok_or("no key where one was due")?;
        let content = match key & 7 {
            0 => take_varint(&mut message).map(Content::Number),
            2 => take_bytes(&mut message).map(Content::Bytes),
            _ => None,
        };
        fields.push(((key >> 3) as u32, content.ok_or("a field that is not whole")?));
    }
    Ok(fields)
}

fn take_bytes<'m>(rest: &mut &'m [u8]) -> Option<&'m [u8]> {
    let length = take_varint(rest)? as usize;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
