//! What the operations listener answers.

use std::borrow::Cow;

use super::docs::Page;
use super::exposition;
use crate::metrics::{Series, Snapshot};

/// Whether this broker should be given connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Not every shard runs yet.
    Starting,
    Ready,
    /// The order to stop has come.
    Draining,
}

/// The paths served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Index,
    Health,
    Ready,
    /// Needs the shards' figures: see [`metrics`].
    Metrics,
    Page(Page),
    Unknown,
}

impl Endpoint {
    pub fn of(path: &str) -> Self {
        match path {
            "/" => Self::Index,
            "/health" => Self::Health,
            "/ready" => Self::Ready,
            "/metrics" => Self::Metrics,
            _ => Page::of(path).map_or(Self::Unknown, Self::Page),
        }
    }
}

/// One answer, before it is framed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Cow<'static, str>,
}

const TEXT: &str = "text/plain; charset=utf-8";

const INDEX: &str = "Polycast, operations\n\
    GET /health   200 while the process lives\n\
    GET /ready    200 if it should get connections, 503 before it serves and while it drains\n\
    GET /metrics  figures of every shard, for Prometheus\n\
    GET /docs/…   coming-from-pusher\n";

const NOT_FOUND: &str = "not found; here are /docs/coming-from-pusher, /health, /ready and /metrics\n";

/// Answers that need nothing but what this process knows of itself.
pub fn answer(endpoint: Endpoint, readiness: Readiness) -> Answer {
    let (status, body) = match (endpoint, readiness) {
        (Endpoint::Index, _) => (200, INDEX),
        (Endpoint::Health, _) => (200, "ok\n"),
        (Endpoint::Ready, Readiness::Ready) => (200, "ready\n"),
        (Endpoint::Ready, Readiness::Starting) => (503, "starting\n"),
        (Endpoint::Ready, Readiness::Draining) => (503, "draining\n"),
        (Endpoint::Metrics, _) => (503, "the shards were not asked\n"),
        (Endpoint::Page(page), _) => (200, page.text()),
        (Endpoint::Unknown, _) => (404, NOT_FOUND),
    };
    Answer { status, content_type: TEXT, body: Cow::Borrowed(body) }
}

/// The answer to a scrape. `shards`: every shard's figures in the order of their ids.
pub fn metrics(shards: &[Snapshot], whole: &[Series], version: &str) -> Answer {
    let body = exposition::render(shards, whole, version).into();
    Answer { status: 200, content_type: exposition::CONTENT_TYPE, body }
}

/// The answer to a scrape that a shard did not answer in time: half the figures would look like a sudden fall.
pub fn metrics_incomplete(silent: u16) -> Answer {
    let body = format!("shard {silent} did not report in time\n").into();
    Answer { status: 503, content_type: TEXT, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_readiness_decide() {
        let table = [
            ("/", Readiness::Ready, 200, "Polycast"),
            ("/health", Readiness::Starting, 200, "ok"),
            ("/health", Readiness::Draining, 200, "ok"),
            ("/ready", Readiness::Starting, 503, "starting"),
            ("/ready", Readiness::Ready, 200, "ready"),
            ("/ready", Readiness::Draining, 503, "draining"),
            ("/docs/coming-from-pusher", Readiness::Draining, 200, "# Coming from Pusher"),
            ("/docs/", Readiness::Ready, 404, "/docs/coming-from-pusher"),
            ("/ready/", Readiness::Ready, 404, "/metrics"),
            ("/connection/websocket", Readiness::Ready, 404, "/metrics"),
        ];
        for (path, readiness, status, word) in table {
            let answer = answer(Endpoint::of(path), readiness);
            assert_eq!(answer.status, status, "{path}");
            assert!(answer.body.contains(word) && answer.body.ends_with('\n'), "{path}: {}", answer.body);
        }
    }

    #[test]
    fn a_scrape_is_whole_or_refused() {
        let whole = metrics(&[Snapshot::default(), Snapshot::default()], &[], "1.2.3");
        assert_eq!((whole.status, whole.content_type), (200, exposition::CONTENT_TYPE));
        assert!(whole.body.contains("polycast_connections{shard=\"1\"} 0\n"));
        let refused = metrics_incomplete(3);
        assert_eq!((refused.status, &*refused.body), (503, "shard 3 did not report in time\n"));
    }
}
