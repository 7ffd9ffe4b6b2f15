//! Messages of the server, read with a library that is not the server's own.

use serde_json::Value;

use super::ledger;

#[derive(Debug)]
pub enum Message {
    Ping,
    /// `body`: the name of what came with the id.
    Reply {
        tag: u64,
        error: Option<u64>,
        body: String,
        /// What `body` names.
        content: Value,
    },
    /// Somebody came or went.
    Passage {
        channel: String,
        client: String,
        enters: bool,
    },
    Publication {
        channel: String,
        publication: Value,
    },
    Dropped {
        channel: String,
    },
}

/// Where the text of a publication's data is found if it did not travel as JSON.
pub const TEXT: &str = "text";

/// The text of a publication's data where it is known as such.
pub fn text_of(publication: &Value) -> Option<&str> {
    publication[TEXT].as_str()
}

/// Reads one message as JSON.
pub fn parse(payload: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(payload)
        .map_err(|error| format!("{error} in {:?}", String::from_utf8_lossy(payload)))
}

/// What a message of the generation says.
pub fn read(value: &Value, is_v1: bool) -> Result<Message, String> {
    let object = value.as_object().ok_or("a message that is no object")?;
    if object.is_empty() && !is_v1 {
        return Ok(Message::Ping);
    }
    if let Some(tag) = object.get("id").and_then(Value::as_u64) {
        let error = object.get("error").map(|error| error["code"].as_u64().unwrap_or(0));
        let body = object.keys().find(|key| *key != "id" && *key != "error").cloned().unwrap_or_default();
        let content = object.get(&body).cloned().unwrap_or_default();
        return Ok(Message::Reply { tag, error, body, content });
    }
    let push = &value[if is_v1 { "result" } else { "push" }];
    let channel = push["channel"].as_str().ok_or_else(|| format!("an unknown message {value}"))?.to_owned();
    let is_drop = if is_v1 { push["type"] == 3 } else { push.get("unsubscribe").is_some() };
    if is_drop {
        return Ok(Message::Dropped { channel });
    }
    let passages = [("join", 1, true), ("leave", 2, false)];
    for (name, number, enters) in passages {
        let passage = if is_v1 { (push["type"] == number).then_some(&push["data"]) } else { push.get(name) };
        if let Some(passage) = passage {
            let client = passage["info"]["client"].as_str().ok_or("a join or leave of nobody")?.to_owned();
            return Ok(Message::Passage { channel, client, enters });
        }
    }
    let publication = push[if is_v1 { "data" } else { "pub" }].clone();
    Ok(Message::Publication { channel, publication })
}

/// Number and offset of a publication whose text is known.
pub fn published_text(text: &str, publication: &Value) -> Result<(usize, u64), String> {
    let number = ledger::number(text.as_bytes())?;
    let whole = ledger::data(number, 0).len();
    if text.len().checked_sub(whole).is_none_or(|bytes| ledger::data(number, bytes) != text) {
        return Err(format!("publication {number} is not what was published"));
    }
    Ok((number, publication["offset"].as_u64().unwrap_or(0)))
}

/// Number and offset of a publication in a message.
pub fn published(payload: &[u8], publication: &Value) -> Result<(usize, u64), String> {
    if let Some(text) = text_of(publication) {
        return published_text(text, publication);
    }
    let data =
        publication["data"].as_object().ok_or_else(|| format!("an unknown publication {publication}"))?;
    let number = data["p"].as_u64().ok_or("a publication without its number")?;
    let bytes = data["x"].as_str().map_or(0, str::len);
    // Byte for byte as it was published.
    let text = ledger::data(number as usize, bytes);
    if !payload.windows(text.len()).any(|window| window == text.as_bytes()) {
        return Err(format!("publication {number} is not what was published"));
    }
    Ok((number as usize, publication["offset"].as_u64().unwrap_or(0)))
}
