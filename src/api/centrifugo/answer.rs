//! Answers → body.

use super::Style;
use crate::api::call::{Answer, ApiError, NodeInfo};
use crate::api::text::{append, append_count, append_list};
use crate::core::publication::Position;
use crate::protocol::centrifuge::{append_history, append_presence, append_presence_stats};
use crate::wire::json::append_string;

/// Appends the answer of one entry to `body`, which holds those before it and nothing else.
pub fn append_answer(style: Style, id: u32, answer: &Result<Answer, ApiError>, body: &mut Vec<u8>) {
    if !body.is_empty() {
        body.push(b'\n');
    }
    body.push(b'{');
    if style == Style::Commands && id != 0 {
        append_count("\"id\":", u64::from(id), body);
        body.push(b',');
    }
    match answer {
        Ok(answer) => {
            append("\"result\":", body);
            append_result(answer, body);
        }
        Err(error) => append_error(*error, body),
    }
    body.push(b'}');
}

fn append_result(answer: &Answer, body: &mut Vec<u8>) {
    match answer {
        Answer::Published(position) => append_position(position.as_ref(), body),
        // Not asked for in this style.
        Answer::Done | Answer::Occupancy(_) | Answer::Connections(_) => append("{}", body),
        Answer::Presence(clients) => append_presence(clients, body),
        Answer::PresenceStats(stats) => append_presence_stats(stats.clients, stats.users, body),
        Answer::History(stream) => append_history(&stream.publications, &stream.top, body),
        Answer::Broadcast(results) => {
            append("{\"responses\":[", body);
            append_list(results, body, |result, body| {
                body.push(b'{');
                match result {
                    Ok(position) => {
                        append("\"result\":", body);
                        append_position(position.as_ref(), body);
                    }
                    Err(error) => append_error(*error, body),
                }
                body.push(b'}');
            });
            append("]}", body);
        }
        Answer::Channels(counts) => {
            append("{\"channels\":{", body);
            append_list(counts, body, |count, body| {
                append_string(&count.channel, body);
                append_count(":{\"num_clients\":", u64::from(count.clients), body);
                body.push(b'}');
            });
            append("}}", body);
        }
        Answer::Info(nodes) => {
            append("{\"nodes\":[", body);
            append_list(nodes, body, append_node);
            append("]}", body);
        }
    }
}

fn append_error(error: ApiError, body: &mut Vec<u8>) {
    append_count("\"error\":{\"code\":", u64::from(error.code()), body);
    append(",\"message\":", body);
    append_string(&error.to_string(), body);
    body.push(b'}');
}

/// `{}` where the channel is not numbered.
fn append_position(position: Option<&Position>, body: &mut Vec<u8>) {
    body.push(b'{');
    if let Some(position) = position {
        append_count("\"offset\":", position.offset, body);
        append(",\"epoch\":", body);
        append_string(&position.epoch, body);
    }
    body.push(b'}');
}

fn append_node(node: &NodeInfo, body: &mut Vec<u8>) {
    append("{\"uid\":", body);
    append_string(&node.uid, body);
    append(",\"name\":", body);
    append_string(&node.name, body);
    append(",\"version\":", body);
    append_string(&node.version, body);
    append_count(",\"num_clients\":", node.clients, body);
    append_count(",\"num_users\":", node.users, body);
    append_count(",\"num_channels\":", node.channels, body);
    append_count(",\"num_subs\":", node.subscriptions, body);
    append_count(",\"uptime\":", node.uptime_s, body);
    body.push(b'}');
}
