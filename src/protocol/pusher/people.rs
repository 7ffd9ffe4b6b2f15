//! What an app's backend vouches for: who a client is, in the app or in one channel. Read only once its signature was
//! found right.

use super::is_channel;
use crate::core::publication::Payload;
use crate::protocol::{Person, PersonError, PersonLimits};
use crate::wire::json::{Json, Kind, Value, without_raw_newlines};

/// `user_data` of a sign-in. The id must be a string: pusher-js passes over all others.
pub fn user(text: &str, limits: PersonLimits, json: &mut Json) -> Result<Person, PersonError> {
    let data = json.parse(text.as_bytes()).ok().and_then(Value::as_object).ok_or(PersonError::Malformed)?;
    let names = ["id", "user_info", "watchlist"];
    let [id, info, watchlist] = data.read(names).map_err(|_| PersonError::Malformed)?;
    let id = id.and_then(Value::as_str).ok_or(PersonError::Id)?;
    if !is_channel(&id) {
        return Err(PersonError::Id);
    }
    let mut person = person(&id, info, limits)?;
    if let Some(users) = watchlist.filter(|list| !list.is_null()) {
        let users = users.as_array().ok_or(PersonError::Malformed)?;
        let users: Option<Vec<Box<str>>> = users.map(|user| user.as_str().map(Into::into)).collect();
        person.watches = users.ok_or(PersonError::Malformed)?;
    }
    Ok(person)
}

/// `channel_data` of a subscribe to a presence channel. Some libraries give the id as a number.
pub fn member(text: &str, limits: PersonLimits, json: &mut Json) -> Result<Person, PersonError> {
    let data = json.parse(text.as_bytes()).ok().and_then(Value::as_object).ok_or(PersonError::Malformed)?;
    let [id, info] = data.read(["user_id", "user_info"]).map_err(|_| PersonError::Malformed)?;
    let id = id.ok_or(PersonError::Id)?;
    match id.kind() {
        Kind::String => person(&id.as_str().ok_or(PersonError::Id)?, info, limits),
        Kind::Number => person(std::str::from_utf8(id.raw()).map_err(|_| PersonError::Id)?, info, limits),
        _ => Err(PersonError::Id),
    }
}

fn person(id: &str, info: Option<Value<'_>>, limits: PersonLimits) -> Result<Person, PersonError> {
    if id.is_empty() || id.len() > limits.id_bytes_max || id.contains(char::is_control) {
        return Err(PersonError::Id);
    }
    let info = info.filter(|info| !info.is_null()).map(Value::raw);
    if info.is_some_and(|info| info.len() > limits.info_bytes_max) {
        return Err(PersonError::TooLarge);
    }
    let info = info.map(|info| Payload::Json(without_raw_newlines(info).into()));
    Ok(Person { id: id.into(), info, watches: Vec::new() })
}
