//! What happened → the text of an event → the body of a request.

use std::sync::Arc;

use crate::core::happening::{Happening, What};
use crate::wire::json::{append_string, append_u64};

/// Appends one event as Pusher's webhooks write it.
pub fn append_event(happening: &Happening, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"name\":\"");
    out.extend_from_slice(happening.what.kind().name().as_bytes());
    out.push(b'"');
    append_member("channel", &happening.channel, out);
    match &happening.what {
        What::Occupied | What::Vacated | What::CacheMiss => {}
        What::MemberAdded { user } | What::MemberRemoved { user } => append_member("user_id", user, out),
        What::ClientEvent(sent) => {
            append_member("event", &sent.event, out);
            append_member("data", &sent.data, out);
            append_member("socket_id", &sent.socket_id, out);
            if let Some(user) = &sent.user {
                append_member("user_id", user, out);
            }
        }
        What::SubscriptionCount { count } => {
            out.extend_from_slice(b",\"subscription_count\":");
            append_u64(u64::from(*count), out);
        }
    }
    out.push(b'}');
}

/// The body of a request. `time_ms`: Unix time of this very attempt, as receivers refuse what is minutes old.
pub fn body(events: &[Arc<[u8]>], time_ms: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + events.iter().map(|event| event.len() + 1).sum::<usize>());
    body.extend_from_slice(b"{\"time_ms\":");
    append_u64(time_ms, &mut body);
    body.extend_from_slice(b",\"events\":[");
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event);
    }
    body.extend_from_slice(b"]}");
    body
}

fn append_member(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b',');
    append_string(name, out);
    out.push(b':');
    append_string(value, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::PusherKeys;
    use crate::auth::secret::Secret;
    use crate::core::happening::ClientEvent;
    use crate::core::ids::AppIndex;

    fn text(what: What) -> String {
        let mut out = Vec::new();
        append_event(&Happening { app: AppIndex(0), channel: "my-channel".into(), what }, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn events_are_written() {
        let sent = |user: Option<&str>| {
            What::ClientEvent(Box::new(ClientEvent {
                event: "client-e".into(),
                data: r#"{"a":"é"}"#.into(),
                socket_id: "1.2".into(),
                user: user.map(Into::into),
            }))
        };
        let client_event = r#"{"name":"client_event","channel":"my-channel","event":"client-e","data":"{\"a\":\"é\"}","socket_id":"1.2""#;
        let table = [
            (What::Occupied, r#"{"name":"channel_occupied","channel":"my-channel"}"#.to_owned()),
            (What::Vacated, r#"{"name":"channel_vacated","channel":"my-channel"}"#.to_owned()),
            (What::CacheMiss, r#"{"name":"cache_miss","channel":"my-channel"}"#.to_owned()),
            (
                What::MemberAdded { user: "u\"1".into() },
                r#"{"name":"member_added","channel":"my-channel","user_id":"u\"1"}"#.to_owned(),
            ),
            (
                What::MemberRemoved { user: "1".into() },
                r#"{"name":"member_removed","channel":"my-channel","user_id":"1"}"#.to_owned(),
            ),
            (sent(None), format!("{client_event}}}")),
            (sent(Some("7")), format!(r#"{client_event},"user_id":"7"}}"#)),
            (
                What::SubscriptionCount { count: 5 },
                r#"{"name":"subscription_count","channel":"my-channel","subscription_count":5}"#.to_owned(),
            ),
        ];
        for (what, want) in table {
            assert_eq!(text(what), want);
        }
    }

    #[test]
    fn the_published_body_and_its_signature() {
        let event: Arc<[u8]> = text(What::Occupied).into_bytes().into();
        let body = body(&[event], 1_327_078_148_132);
        let keys = PusherKeys::new("k", &Secret::from("7ad3773142a6692b25b8"), None).expect("not empty");
        assert_eq!(keys.sign(&body), "c19001ae3963ccb13bf618e5b16ba9848e7e74df0993aa0689168e341c6833cf");
    }

    #[test]
    fn several_events_are_one_body() {
        let events: Vec<Arc<[u8]>> = ["{}", "{}"].map(|text| Arc::from(text.as_bytes())).into();
        assert_eq!(String::from_utf8_lossy(&body(&events, 7)), r#"{"time_ms":7,"events":[{},{}]}"#);
    }
}
