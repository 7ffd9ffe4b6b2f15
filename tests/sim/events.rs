//! Requests of Pusher's HTTP API: signed, to several channels at once, and not heard by the connection they name.

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use polycast::auth::pusher::request_text;

use super::around::Around;
use super::client::id_of;
use super::ledger::{self, Kind};
use super::scenario::is_pushers;

/// What these events are called.
const EVENT: &str = "backend-said";

/// One event: path and body of its request, the channels it is for, and its number.
#[derive(Debug)]
pub struct Event {
    pub target: String,
    pub body: String,
    pub channels: Vec<String>,
    pub number: usize,
}

impl Event {
    pub fn new(around: &mut Around<'_>) -> Self {
        let channels: Vec<String> =
            around.scenario.channels.iter().filter(|channel| is_pushers(channel)).cloned().collect();
        let several = around.random.percent(30);
        let one = around.random.pick(&channels).clone();
        let channels = if several { channels } else { vec![one] };
        // Most often one that is there, now and then one that is not any more.
        let latest = around.socket_ids.len().saturating_sub(around.scenario.pushers);
        let named = around.socket_ids.get(latest..).filter(|ids| !ids.is_empty());
        let except = named.filter(|_| around.random.percent(60)).map(|ids| around.random.pick(ids).clone());
        let kind =
            Kind { except: except.as_deref().and_then(|id| id_of(id).ok()), event: EVENT, ..Kind::default() };
        let number = around.ledger.publish(&channels, kind);
        let data = ledger::data(number, around.data_bytes());
        let body = serde_json::json!({
            "name": EVENT, "channels": channels, "data": data, "socket_id": except,
        });
        let body = body.to_string();
        let target = target("POST", "/apps/1/events", &body, around);
        Self { target, body, channels, number }
    }
}

/// A path with the query that signs it.
fn target(method: &str, path: &str, body: &str, around: &Around<'_>) -> String {
    let now_s = around.now.unix_s().to_string();
    let digest = HEXLOWER.encode(&Md5::digest(body.as_bytes()));
    let parameters =
        [("auth_key", "key"), ("auth_timestamp", &*now_s), ("auth_version", "1.0"), ("body_md5", &*digest)];
    let signed = around.scenario.signature(&request_text(method, path, &parameters));
    let signature = signed.split_once(':').map_or("", |(_, signature)| signature);
    format!(
        "{path}?auth_key=key&auth_timestamp={now_s}&auth_version=1.0&body_md5={digest}&auth_signature={signature}"
    )
}
