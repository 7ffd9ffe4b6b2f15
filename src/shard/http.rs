//! HTTP connections: requests to answers, and upgrades to WebSocket.
//!
//! Every connection begins here. Requests may be pipelined; their answers leave in order.

use std::net::SocketAddr;

use super::Shard;
use super::connection::{Phase, Transport};
use crate::api::authorize::authorize;
use crate::api::pusher;
use crate::auth::Identity;
use crate::core::disconnect::Disconnect;
use crate::core::ids::{AppIndex, Slot};
use crate::protocol::{Accepted, AppNamed, Codec, Dialect, UpgradeRequest};
use crate::wire::forwarded::client_address;
use crate::wire::handshake::{is_upgrade, judge};
use crate::wire::http::{
    Body, BodyReader, Head, HeadReader, HttpError, HttpLimits, append_continue, append_error_response,
    append_response, parse_head, whole_body,
};
use crate::wire::origin::origin_allowed;

/// How long a connection may stay open between two requests.
const KEEP_ALIVE_MS: u64 = 75_000;

/// How long a body may take to arrive.
const BODY_MS: u64 = 30_000;

/// Bodies longer than this are read into large buffers.
const BULK_BODY_BYTES_MIN: u64 = 16 * 1024;

const TEXT: &str = "text/plain; charset=utf-8";

/// What every unknown path is answered with.
const ENDPOINTS: &str = "not found; the endpoints are:\n\
    GET  /connection/websocket   WebSocket, Centrifuge clients\n\
    GET  /app/{key}              WebSocket, Pusher clients\n\
    POST /api, /api/{method}     backend API\n\
    /apps/{id}/...               backend API, as Pusher's server libraries ask it\n\
    GET  /                       demo page\n\
    GET  /health, /ready         status\n";

/// The state of a connection that speaks HTTP.
#[derive(Debug)]
pub struct HttpConnection {
    pub peer: SocketAddr,
    head: HeadReader,
    /// A request whose body is still arriving.
    body: Option<Arriving>,
    /// No further request is read; the connection ends when the last answer is out.
    is_ending: bool,
    pub reads_bulk: bool,
}

impl HttpConnection {
    pub fn new(peer: SocketAddr) -> Self {
        Self { peer, head: HeadReader::default(), body: None, is_ending: false, reads_bulk: false }
    }
}

/// A backend's request, as far as its head tells.
#[derive(Debug)]
pub struct ApiTarget {
    pub app: AppIndex,
    pub style: ApiStyle,
    pub keep_alive: bool,
}

/// Whose API a backend's request is made of.
#[derive(Debug)]
pub enum ApiStyle {
    /// What follows `/api/` in the path; `None`: the path is `/api`.
    Centrifugo {
        method: Option<Box<str>>,
    },
    Pusher(Box<pusher::Target>),
}

/// A backend's request whose body is still arriving.
#[derive(Debug)]
struct Arriving {
    target: ApiTarget,
    reader: BodyReader,
}

/// What reading one request came to.
enum Step {
    /// Everything was taken; more is needed.
    More,
    /// An answer that needs nobody else.
    Answer { response: Vec<u8>, keep_alive: bool },
    /// A request whose body lies behind its head, so many bytes.
    CallHere { target: ApiTarget, body_bytes: usize },
    /// A request whose body came in several pieces.
    Call { target: ApiTarget, body: Vec<u8> },
    /// Expect the body; answer `100 Continue` first if asked.
    Body { expects_continue: bool, is_long: bool },
    Upgrade {
        codec: Codec,
        app: AppIndex,
        /// Whom the connection belongs to, a proxy's client where there is one.
        client: SocketAddr,
        response: Vec<u8>,
        /// What the connection comes to at once.
        end: Option<Disconnect>,
    },
}

impl Shard {
    pub(super) fn receive_http(&mut self, slot: Slot, bytes: &mut [u8]) {
        if self.keep_for_later(slot, bytes) {
            return;
        }
        self.read_requests(slot, bytes);
    }

    /// Reads requests until the bytes are used up, answers must be awaited, or the connection changes.
    pub(super) fn read_requests(&mut self, slot: Slot, bytes: &mut [u8]) {
        let received = bytes.len();
        let mut rest: &mut [u8] = bytes;
        while self.connections.hot(slot).phase == Phase::Open {
            if rest.is_empty() {
                if self.connections.cold(slot).peer_ended {
                    self.close_after_answers(slot);
                } else {
                    self.set_request_deadline(slot);
                }
                return;
            }
            if self.spilled_letters > 0 {
                self.park(slot);
            }
            if self.is_blocked(slot) {
                let bytes = rest.to_vec();
                self.waiting(slot).input = bytes;
                return;
            }
            let Transport::Http(mut http) = std::mem::take(&mut self.connections.cold_mut(slot).transport)
            else {
                return;
            };
            if http.is_ending {
                self.connections.cold_mut(slot).transport = Transport::Http(http);
                return;
            }
            let (used, step) = match self.read_request(&mut http, rest) {
                Ok(read) => read,
                Err(error) => {
                    let mut response = Vec::new();
                    append_error_response(&error, &mut response);
                    (rest.len(), Step::Answer { response, keep_alive: false })
                }
            };
            self.connections.cold_mut(slot).transport = Transport::Http(http);
            let (taken, after) = rest.split_at_mut(used);
            rest = after;
            match step {
                Step::More => {}
                Step::CallHere { target, body_bytes } => {
                    self.note_backend_sent(slot, received);
                    self.backend_request(slot, target, &taken[used - body_bytes..]);
                }
                Step::Answer { response, keep_alive } => self.answer_request(slot, &response, keep_alive),
                Step::Call { target, body } => self.backend_request(slot, target, &body),
                Step::Body { expects_continue, is_long } => {
                    if expects_continue {
                        let mut interim = Vec::new();
                        append_continue(&mut interim);
                        self.push_bytes(slot, &[], &interim);
                    }
                    if is_long {
                        self.read_in_bulk(slot);
                    }
                    self.note_backend_sent(slot, received);
                }
                Step::Upgrade { .. } if self.awaits_reply(slot) => {
                    let text = "an upgrade must not be sent before the requests ahead of it are answered\n";
                    if let Step::Answer { response, keep_alive } = text_answer(400, text, false) {
                        self.answer_request(slot, &response, keep_alive);
                    }
                }
                Step::Upgrade { codec, app, client, response, end } => {
                    self.read_as_it_comes(slot);
                    self.become_websocket(slot, codec, app, client, &response);
                    match end {
                        Some(end) => self.disconnect(slot, end),
                        None if codec.greets_first() => self.admit_client(slot, 0, Identity::default(), &[]),
                        None => {}
                    }
                    return self.read_frames(slot, rest);
                }
            }
        }
    }

    /// Takes one step through the bytes: how many were used, and what it came to.
    fn read_request(
        &mut self,
        http: &mut HttpConnection,
        rest: &mut [u8],
    ) -> Result<(usize, Step), HttpError> {
        if let Some(mut arriving) = http.body.take() {
            let Some(used) = arriving.reader.take(rest)? else {
                http.body = Some(arriving);
                return Ok((rest.len(), Step::More));
            };
            let Arriving { target, reader } = arriving;
            return Ok((used, Step::Call { target, body: reader.into_bytes() }));
        }
        let limits = HttpLimits {
            head_bytes_max: self.config.limits.header_bytes_max,
            headers_max: self.config.limits.headers_max,
        };
        let Some(taken) = http.head.take(rest, &limits)? else { return Ok((rest.len(), Step::More)) };
        let used = taken.used_bytes;
        let Some(head) = parse_head(&taken.bytes, &limits)? else { return Err(HttpError::RequestLine) };
        let (app, path) = self.app_of(head.path);
        let client = client_address(&head, http.peer, |address| self.is_trusted_proxy(address));
        if is_upgrade(&head) {
            return Ok((used, self.upgrade(client, &head, app, path)?));
        }
        let target = if let Some(method) = api_method(path) {
            if let Err(step) = self.judge_call(client, &head, app)? {
                return Ok((used, step));
            }
            ApiTarget { app, style: ApiStyle::Centrifugo { method }, keep_alive: head.keep_alive }
        } else if let Some(signed) = self.signed_route(head.path, path) {
            match self.judge_signed(client, &head, signed) {
                Ok(target) => target,
                Err(response) => {
                    let keep_alive = may_go_on(&head);
                    return Ok((used, Step::Answer { response, keep_alive }));
                }
            }
        } else {
            return Ok((used, self.plain_answer(&head, path)));
        };
        let body = head.body;
        let expects_continue = head.expects_continue;
        drop(taken);
        if let Some((body, _)) = whole_body(body, &mut rest[used..]) {
            let body_bytes = body.len();
            return Ok((used + body_bytes, Step::CallHere { target, body_bytes }));
        }
        let reader = BodyReader::new(body, self.config.limits.http_body_bytes_max as u64)?;
        let is_long = !matches!(body, Body::Length(bytes) if bytes < BULK_BODY_BYTES_MIN);
        http.body = Some(Arriving { target, reader });
        let expects_continue = expects_continue && used == rest.len();
        Ok((used, Step::Body { expects_continue, is_long }))
    }

    /// Judges a backend's request by its head alone: its body is read only if it may be carried out.
    fn judge_call(
        &mut self,
        client: SocketAddr,
        head: &Head<'_>,
        app: AppIndex,
    ) -> Result<Result<(), Step>, HttpError> {
        if head.method != "POST" {
            return Err(HttpError::MethodNotAllowed { allow: "POST" });
        }
        if let Err(error) = authorize(head, self.apps[usize::from(app.0)].api_key.as_ref()) {
            self.counters.auth_api_key += 1;
            tracing::info!(%client, reason = %error, "a backend's request was refused");
            let keep_alive = may_go_on(head);
            return Ok(Err(text_answer(401, &format!("{error}\n"), keep_alive)));
        }
        head.body.check(self.config.limits.http_body_bytes_max as u64)?;
        Ok(Ok(()))
    }

    /// The app a path begins with, and the rest of the path; without one the first app.
    fn app_of<'p>(&self, path: &'p str) -> (AppIndex, &'p str) {
        let first = path.get(1..).unwrap_or("").split('/').next().unwrap_or("");
        for (app, index) in self.config.apps.iter().zip(0_u16..) {
            if *app.id == *first && path.len() > first.len() + 1 {
                return (AppIndex(index), &path[first.len() + 1..]);
            }
        }
        (AppIndex(0), path)
    }

    fn upgrade(
        &mut self,
        client: SocketAddr,
        head: &Head<'_>,
        app: AppIndex,
        path: &str,
    ) -> Result<Step, HttpError> {
        let upgrade = judge(head)?;
        if self.is_address_counted(client)
            && let Err(refusal) = self.addresses.judge(client, self.now.monotonic_ms / 1_000, self.share)
        {
            self.counters.refused_address += 1;
            if self.addresses.is_news(client) {
                tracing::info!(%client, setting = refusal.setting(), "refused: {refusal}");
            }
            let mut response = Vec::new();
            let (text, headers) = (format!("{refusal}\n"), [("Retry-After", "1")]);
            append_response(429, TEXT, &headers, text.as_bytes(), false, &mut response);
            return Ok(Step::Answer { response, keep_alive: false });
        }
        let request = UpgradeRequest { path, query: head.query, subprotocols: &upgrade.subprotocols };
        let accepted = match Codec::for_upgrade(&request) {
            None => return Ok(text_answer(404, ENDPOINTS, false)),
            Some(Err(error)) => return Ok(text_answer(400, &format!("{error}\n"), false)),
            Some(Ok(accepted)) => accepted,
        };
        let Accepted { codec, subprotocol, app: named, mut end } = accepted;
        let Some((app, is_refused)) = self.app_named(app, named, codec.dialect()) else {
            return Ok(text_answer(404, ENDPOINTS, false));
        };
        if let Some(refusal) = is_refused {
            end = Some(refusal);
        }
        if let Some(origin) = upgrade.origin
            && !origin_allowed(origin, head.host(), &self.config.server.allowed_origins)
        {
            self.counters.refused_origin += 1;
            let origin: String = origin.chars().filter(|c| !c.is_control()).take(256).collect();
            tracing::info!(%client, origin, "refused: server.allowed_origins does not list this origin");
            if !codec.refuses_after_upgrade() {
                return Ok(text_answer(403, "this origin is not in server.allowed_origins\n", false));
            }
            end.get_or_insert(Disconnect::ForeignOrigin);
        }
        let mut response = Vec::with_capacity(256);
        upgrade.append_response(subprotocol, &mut response);
        Ok(Step::Upgrade { codec, app, client, response, end })
    }

    /// The app that a request is for, and why its dialect serves nobody there, if the client is to be told; `None`:
    /// nothing is served at this path.
    fn app_named(
        &self,
        by_path: AppIndex,
        named: AppNamed<'_>,
        dialect: Dialect,
    ) -> Option<(AppIndex, Option<Disconnect>)> {
        let has_rules = |app: AppIndex| self.apps[usize::from(app.0)].rules(dialect).is_some();
        let (prefix, key) = match named {
            AppNamed::ByPath => return has_rules(by_path).then_some((by_path, None)),
            AppNamed::ByKey { prefix, key } => (prefix, key),
        };
        let mut apps = self.config.apps.iter().zip((0..).map(AppIndex));
        let is_served = |prefix: &str| {
            let mut served = self.config.apps.iter().filter_map(|app| app.pusher.as_ref());
            served.any(|options| *options.path_prefix == *prefix)
        };
        match apps.find(|(app, _)| app.key.as_deref() == Some(key)) {
            Some((app, index)) => match &app.pusher {
                Some(options) if *options.path_prefix == *prefix => Some((index, None)),
                Some(_) => None,
                None => Some((index, Some(Disconnect::NotAvailable))),
            },
            None => is_served(prefix).then_some((by_path, Some(Disconnect::UnknownApp))),
        }
    }

    fn become_websocket(
        &mut self,
        slot: Slot,
        codec: Codec,
        app: AppIndex,
        client: SocketAddr,
        response: &[u8],
    ) {
        let rules = self.apps[usize::from(app.0)].rules(codec.dialect());
        let authentication_ms = rules.map_or(0, |rules| u64::from(rules.authentication_ms));
        self.push_bytes(slot, &[], response);
        tracing::debug!(connection = %self.name(slot), %client, "WebSocket opened");
        if self.is_address_counted(client) {
            self.connections.cold_mut(slot).address = self.addresses.hold(client);
        }
        let cold = self.connections.cold_mut(slot);
        cold.client_address = Some(Box::new(client));
        cold.transport = Transport::WebSocket(codec);
        cold.app = app.0;
        if !cold.is_draining && !codec.greets_first() {
            self.set_phase_deadline(slot, authentication_ms);
        }
    }

    /// Whether limits per address are set, and hold for this peer. A proxy speaks for many.
    fn is_address_counted(&self, peer: SocketAddr) -> bool {
        !self.share.is_unlimited() && !self.is_trusted_proxy(peer.ip())
    }

    /// Requests that are answered on the spot.
    fn plain_answer(&self, head: &Head<'_>, path: &str) -> Step {
        let keep_alive = may_go_on(head);
        match (head.method, path) {
            ("GET" | "HEAD", "/") => {
                let mut response = Vec::new();
                let kind = "text/html; charset=utf-8";
                // The page may hold a token made for it, and nobody may frame it.
                let headers = [("Cache-Control", "no-store"), ("X-Frame-Options", "DENY")];
                let body = if head.method == "GET" { &*self.index_page } else { b"" };
                append_response(200, kind, &headers, body, keep_alive, &mut response);
                Step::Answer { response, keep_alive }
            }
            ("GET" | "HEAD", "/health") => text_answer(200, "ok\n", keep_alive),
            ("GET" | "HEAD", "/ready") if self.is_retiring || self.is_draining => {
                text_answer(503, "draining\n", keep_alive)
            }
            ("GET" | "HEAD", "/ready") => text_answer(200, "ready\n", keep_alive),
            ("GET", path) if path == "/connection/websocket" || path.starts_with("/app/") => {
                text_answer(400, "this endpoint speaks WebSocket: send an upgrade request\n", keep_alive)
            }
            _ => text_answer(404, ENDPOINTS, keep_alive),
        }
    }

    fn answer_request(&mut self, slot: Slot, response: &[u8], keep_alive: bool) {
        self.counters.http_requests += 1;
        let is_queued =
            self.connections.cold_mut(slot).waiting.as_mut().is_some_and(|waiting| waiting.queue(response));
        if !is_queued {
            self.push_bytes(slot, &[], response);
        }
        if !keep_alive {
            self.close_after_answers(slot);
        }
    }

    /// Reads no further request and closes once the answers to those before are out.
    pub(super) fn close_after_answers(&mut self, slot: Slot) {
        let cold = self.connections.cold_mut(slot);
        match &mut cold.transport {
            Transport::Http(http) => http.is_ending = true,
            Transport::Resp(resp) => resp.is_ending = true,
            Transport::None | Transport::Fresh(_) | Transport::WebSocket(_) => {}
        }
        if !self.awaits_reply(slot) {
            self.close_when_sent(slot);
        }
    }

    /// An awaited answer has left.
    pub(super) fn after_answer(&mut self, slot: Slot) {
        let awaits = self.awaits_reply(slot);
        match &self.connections.cold(slot).transport {
            Transport::Http(http) if http.is_ending && !awaits => self.close_when_sent(slot),
            Transport::Resp(resp) if resp.is_ending && !awaits => self.close_when_sent(slot),
            Transport::Http(_) if !awaits => self.set_request_deadline(slot),
            _ => {}
        }
    }

    /// How long the peer may take for what is due from it.
    fn set_request_deadline(&mut self, slot: Slot) {
        let cold = self.connections.cold(slot);
        let Transport::Http(http) = &cold.transport else { return };
        if cold.is_draining {
            return;
        }
        if self.awaits_reply(slot) {
            // Now it is our turn.
            self.connections.cold_mut(slot).phase_at = 0;
            self.arm(slot);
        } else if http.body.is_some() {
            self.set_phase_deadline(slot, BODY_MS);
        } else if http.head.is_idle() {
            self.set_phase_deadline(slot, KEEP_ALIVE_MS);
        } else if !cold.is_head_timed {
            // Once per head: one byte a second does not prolong it.
            self.connections.cold_mut(slot).is_head_timed = true;
            self.set_phase_deadline(slot, u64::from(self.config.limits.header_timeout_ms));
            return;
        } else {
            return;
        }
        self.connections.cold_mut(slot).is_head_timed = false;
    }

    /// The peer took too long.
    pub(super) fn request_timed_out(&mut self, slot: Slot) {
        let Transport::Http(http) = &self.connections.cold(slot).transport else { return };
        if http.head.is_idle() && http.body.is_none() {
            self.close_when_sent(slot);
            return;
        }
        let mut response = Vec::new();
        append_error_response(&HttpError::Timeout, &mut response);
        self.answer_request(slot, &response, false);
    }
}

/// Whether the connection can carry another request though this one's body is not read.
pub(super) fn may_go_on(head: &Head<'_>) -> bool {
    head.keep_alive && head.body == Body::None
}

/// What follows `/api` in a path of the backend API: `None` for any other path.
fn api_method(path: &str) -> Option<Option<Box<str>>> {
    match path.strip_prefix("/api")? {
        "" | "/" => Some(None),
        rest => rest.strip_prefix('/').map(|method| Some(Box::from(method))),
    }
}

fn text_answer(status: u16, text: &str, keep_alive: bool) -> Step {
    let mut response = Vec::new();
    append_response(status, TEXT, &[], text.as_bytes(), keep_alive, &mut response);
    Step::Answer { response, keep_alive }
}
