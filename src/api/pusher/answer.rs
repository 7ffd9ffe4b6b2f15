//! Answers → body.

use super::refusal::Refusal;
use super::{Info, Shape};
use crate::api::call::{Answer, ApiError, ChannelCount, Occupancy};
use crate::api::text::{append, append_count, append_list};
use crate::core::channel::is_presence;
use crate::core::publication::ClientInfo;
use crate::wire::json::append_string;

/// Appends what the answers to all calls of a request come to, in the order of the calls. Answers the HTTP status.
pub fn append_answers(shape: &Shape, answers: &[Result<Answer, ApiError>], body: &mut Vec<u8>) -> u16 {
    if let Some(error) = answers.iter().find_map(failure) {
        return append_refusal(Refusal::Failed(error), body);
    }
    let mut occupancies = answers.iter().filter_map(|answer| match answer {
        Ok(Answer::Occupancy(occupancy)) => Some(occupancy),
        _ => None,
    });
    match (shape, answers.first()) {
        (Shape::Event(asked), _) => {
            append("{\"channels\":{", body);
            append_list(asked.iter().zip(occupancies), body, |((channel, info), occupancy), body| {
                append_string(channel, body);
                body.push(b':');
                append_attributes(*info, occupancy, body);
            });
            append("}}", body);
        }
        (Shape::Batch(asked), _) => {
            append("{\"batch\":[", body);
            append_list(asked, body, |(_, info), body| match info.is_nothing() {
                true => append("{}", body),
                false => append_attributes(*info, occupancies.next().unwrap_or(&NOBODY), body),
            });
            append("]}", body);
        }
        (Shape::Channel(info), _) => append_channel(*info, occupancies.next().unwrap_or(&NOBODY), body),
        (Shape::Channels { prefix, info }, Some(Ok(Answer::Channels(counts)))) => {
            append_channels(prefix, *info, counts, body);
        }
        (Shape::Users, Some(Ok(Answer::Presence(clients)))) => append_users(clients, body),
        (Shape::Connections, Some(Ok(Answer::Connections(connections)))) => {
            append_count("{\"connections\":", *connections, body);
            body.push(b'}');
        }
        _ => append("{}", body),
    }
    200
}

/// Appends why a request is refused. Answers the HTTP status.
pub fn append_refusal(refusal: Refusal, body: &mut Vec<u8>) -> u16 {
    let status = refusal.status();
    append("{\"error\":", body);
    append_string(&refusal.to_string(), body);
    append_count(",\"code\":", status.into(), body);
    body.push(b'}');
    status
}

const NOBODY: Occupancy = Occupancy { subscribers: 0, users: None, latest: None };

/// Why the request as a whole failed, if one of its calls did.
fn failure(answer: &Result<Answer, ApiError>) -> Option<ApiError> {
    match answer {
        Err(error) => Some(*error),
        Ok(Answer::Broadcast(results)) => results.iter().find_map(|result| result.as_ref().err().copied()),
        Ok(_) => None,
    }
}

fn append_attributes(info: Info, occupancy: &Occupancy, body: &mut Vec<u8>) {
    let counts = [
        ("user_count", info.user_count, occupancy.users.unwrap_or_default()),
        ("subscription_count", info.subscription_count, occupancy.subscribers),
    ];
    body.push(b'{');
    append_list(counts.iter().filter(|(_, is_asked, _)| *is_asked), body, |(name, _, count), body| {
        append_string(name, body);
        append_count(":", u64::from(*count), body);
    });
    body.push(b'}');
}

fn append_channel(info: Info, occupancy: &Occupancy, body: &mut Vec<u8>) {
    append(if occupancy.subscribers > 0 { "{\"occupied\":true" } else { "{\"occupied\":false" }, body);
    if info.user_count {
        append_count(",\"user_count\":", occupancy.users.unwrap_or_default().into(), body);
    }
    if info.subscription_count {
        append_count(",\"subscription_count\":", occupancy.subscribers.into(), body);
    }
    match &occupancy.latest {
        _ if !info.cache => {}
        Some((data, ttl_s)) => {
            append(",\"cache\":{\"data\":", body);
            append_string(data, body);
            append_count(",\"ttl\":", (*ttl_s).into(), body);
            body.push(b'}');
        }
        None => append(",\"cache\":null", body),
    }
    body.push(b'}');
}

fn append_channels(prefix: &str, info: Info, counts: &[ChannelCount], body: &mut Vec<u8>) {
    append("{\"channels\":{", body);
    // What is one user's is no channel to others.
    let is_asked = |count: &&ChannelCount| {
        count.channel.starts_with(prefix) && !count.channel.starts_with('#') && count.clients > 0
    };
    let asked = counts.iter().filter(is_asked);
    append_list(asked, body, |count, body| {
        append_string(&count.channel, body);
        body.push(b':');
        let info = Info { user_count: info.user_count && is_presence(&count.channel), ..info };
        let occupancy = Occupancy { subscribers: count.clients, users: count.users, latest: None };
        append_attributes(info, &occupancy, body);
    });
    append("}}", body);
}

/// Each user once, in the order of their first clients. Those without a user are nobody.
fn append_users(clients: &[ClientInfo], body: &mut Vec<u8>) {
    let mut seen = std::collections::HashSet::new();
    append("{\"users\":[", body);
    let users = clients.iter().filter(|client| !client.user.is_empty() && seen.insert(&client.user));
    append_list(users, body, |client, body| {
        append("{\"id\":", body);
        append_string(&client.user, body);
        body.push(b'}');
    });
    append("]}", body);
}
