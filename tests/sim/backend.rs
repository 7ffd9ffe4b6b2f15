//! A backend: requests of the HTTP API in both styles, pipelined, and what must come back for each.

use std::collections::VecDeque;

use serde_json::Value;

use super::around::{Around, Kill, Stage, Writer};
use super::events::Event;
use super::ledger::{self, Broken, Kind, Outcome};
use super::scenario::{API_KEY, EngineKind, is_numbered};
use super::wish::tags;

/// Requests under way at once.
const PIPELINE_MAX: usize = 8;

#[derive(Debug)]
enum Call {
    Publish {
        channel: String,
        number: usize,
    },
    Broadcast {
        channels: Vec<String>,
        number: usize,
    },
    /// By Pusher's API.
    Event {
        channels: Vec<String>,
        number: usize,
    },
    Channels,
    Info,
    Disconnect {
        kill: usize,
    },
}

#[derive(Debug)]
struct Request {
    /// In the old style several, each with its id; none: a plain page.
    calls: Vec<(u64, Call)>,
    style: Style,
}

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// A line per call.
    Old,
    New,
    /// As a whole, by the status.
    Pusher,
}

#[derive(Debug)]
pub struct Backend {
    name: usize,
    socket: Option<usize>,
    writer: Writer,
    inbound: Vec<u8>,
    expected: VecDeque<Request>,
    act_ms: u64,
    next_id: u64,
    /// It has asked for the end of the connection.
    is_ending: bool,
    /// It sends FIN once everything is written.
    finishes: bool,
}

impl Backend {
    pub fn new(name: usize) -> Self {
        Self {
            name,
            socket: None,
            writer: Writer::default(),
            inbound: Vec::new(),
            expected: VecDeque::new(),
            act_ms: 0,
            next_id: 1,
            is_ending: false,
            finishes: false,
        }
    }

    pub fn next_ms(&self, stage: Stage) -> Option<u64> {
        let acts = stage == Stage::Active && (self.socket.is_none() || !self.is_ending);
        acts.then_some(self.act_ms).into_iter().chain(self.writer.next_ms()).min()
    }

    pub fn is_away(&self) -> bool {
        self.socket.is_none()
    }

    /// One step. `false`: there was nothing to do.
    pub fn step(&mut self, around: &mut Around<'_>) -> Result<bool, Broken> {
        let now_ms = around.now.monotonic_ms;
        if let Some(socket) = self.socket {
            if around.sockets[socket].is_readable() {
                self.read(socket, around)?;
                return Ok(true);
            }
            if self.writer.is_due(now_ms) {
                self.writer.write(socket, around);
                if self.finishes && self.writer.bytes.is_empty() {
                    around.sockets[socket].peer_finished = true;
                }
                return Ok(true);
            }
        }
        if self.next_ms(around.stage).is_some_and(|due_ms| due_ms <= now_ms) {
            self.act(around);
            return Ok(true);
        }
        Ok(false)
    }

    fn act(&mut self, around: &mut Around<'_>) {
        self.act_ms = around.pause_ms();
        if self.socket.is_none() {
            self.socket = Some(around.connect());
            self.inbound.clear();
            (self.is_ending, self.finishes) = (false, false);
        }
        for _ in 0..around.random.between(1, 3) {
            if self.expected.len() < PIPELINE_MAX && !self.is_ending {
                self.request(around);
            }
        }
    }

    fn request(&mut self, around: &mut Around<'_>) {
        let is_event = around.scenario.pushers > 0 && around.random.percent(25);
        let is_old = !is_event && around.random.percent(40);
        let mut style = if is_old { Style::Old } else { Style::New };
        let (path, body, calls) = match around.random.below(20) {
            0 => ("/health".to_owned(), None, Vec::new()),
            _ if is_event => {
                style = Style::Pusher;
                let Event { target, body, channels, number } = Event::new(around);
                (target, Some(body), vec![(0, Call::Event { channels, number })])
            }
            _ if is_old => {
                let calls: Vec<_> = (0..around.random.between(1, 4)).map(|_| self.call(around)).collect();
                let lines = calls.iter().map(|(id, method, params, _)| {
                    format!("{{\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}")
                });
                let body = lines.collect::<Vec<_>>().join("\n");
                (
                    "/api".to_owned(),
                    Some(body),
                    calls.into_iter().map(|(id, _, _, call)| (id, call)).collect(),
                )
            }
            _ => {
                let (id, method, params, call) = self.call(around);
                (format!("/api/{method}"), Some(params), vec![(id, call)])
            }
        };
        self.is_ending = around.random.percent(6);
        self.finishes = self.is_ending && around.random.percent(50);
        // What ends with FIN need not say so.
        let end = if self.is_ending && !(self.finishes && around.random.percent(50)) {
            "Connection: close\r\n"
        } else {
            ""
        };
        let head = match &body {
            Some(body) => format!(
                "POST {path} HTTP/1.1\r\nHost: sim\r\nX-API-Key: {API_KEY}\r\nContent-Length: {}\r\n{end}\r\n",
                body.len()
            ),
            None => format!("GET {path} HTTP/1.1\r\nHost: sim\r\n{end}\r\n"),
        };
        self.writer.bytes.extend_from_slice(head.as_bytes());
        self.writer.bytes.extend_from_slice(body.unwrap_or_default().as_bytes());
        around.trace.note(
            around.now.monotonic_ms,
            format_args!("backend {} asks {path} {calls:?} {end:?} {}", self.name, self.finishes),
        );
        self.expected.push_back(Request { calls, style });
    }

    fn call(&mut self, around: &mut Around<'_>) -> (u64, &'static str, String, Call) {
        let id = self.next_id;
        self.next_id += 1;
        match around.random.below(100) {
            0 | 1 => (id, "channels", "{}".to_owned(), Call::Channels),
            2 | 3 => (id, "info", "{}".to_owned(), Call::Info),
            4 => {
                let user = format!("u{}", around.random.below(around.scenario.users));
                let params = format!("{{\"user\":\"{user}\"}}");
                around.kills.push(Kill { user, sent_ms: around.now.monotonic_ms, answered_ms: None });
                (id, "disconnect", params, Call::Disconnect { kill: around.kills.len() - 1 })
            }
            5..=17 => {
                let channels = around.scenario.channels.clone();
                let (number, more) = publication(&channels, around);
                let params = format!("{{\"channels\":{}{more}}}", serde_json::json!(channels));
                (id, "broadcast", params, Call::Broadcast { channels, number })
            }
            other => {
                let channel = around.channel();
                let (number, more) = publication(std::slice::from_ref(&channel), around);
                let skip = if other < 24 { ",\"skip_history\":true" } else { "" };
                let params = format!("{{\"channel\":\"{channel}\"{more}{skip}}}");
                (id, "publish", params, Call::Publish { channel, number })
            }
        }
    }

    fn read(&mut self, socket: usize, around: &mut Around<'_>) -> Result<(), Broken> {
        if around.sockets[socket].has_ended() {
            if !self.expected.is_empty() && !around.is_draining {
                let what = format!("the connection ended, {:?} is not answered", self.expected);
                return Err(self.broken(&what));
            }
            self.leave(around);
            return Ok(());
        }
        let bytes = around.sockets[socket].read(around.random);
        self.inbound.extend_from_slice(&bytes);
        while let Some((status, body)) = self.take_response()? {
            let Some(request) = self.expected.pop_front() else {
                return Err(self.broken(&format!("an answer {status} to nothing")));
            };
            around.trace.note(
                around.now.monotonic_ms,
                format_args!("backend {} got {status} {}", self.name, String::from_utf8_lossy(&body)),
            );
            let is_slow_engine = around.scenario.engine == EngineKind::Slow;
            if request.style == Style::Pusher && status >= 500 && is_slow_engine {
                // Some of its channels may have taken it.
                continue;
            }
            if status != 200 {
                return Err(self.broken(&format!("{request:?} was answered with {status}")));
            }
            self.judge(request, &body, around).map_err(|what| self.broken(&what))?;
        }
        Ok(())
    }

    fn take_response(&mut self) -> Result<Option<(u16, Vec<u8>)>, Broken> {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.inbound).map_err(|error| self.broken(&error.to_string()))?;
        let httparse::Status::Complete(start) = parsed else { return Ok(None) };
        let status = response.code.unwrap_or(0);
        let length = response.headers.iter().find(|header| header.name == "Content-Length");
        let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
        let length = length.ok_or_else(|| self.broken("an answer without a length"))?;
        if self.inbound.len() < start + length {
            return Ok(None);
        }
        let body = self.inbound[start..start + length].to_vec();
        self.inbound.drain(..start + length);
        Ok(Some((status, body)))
    }

    fn judge(&self, request: Request, body: &[u8], around: &mut Around<'_>) -> Result<(), Broken> {
        if request.calls.is_empty() {
            return Ok(());
        }
        if let Some((_, Call::Event { channels, number })) = request.calls.first() {
            around.trace.count("event of a backend");
            let mut taken = channels.iter();
            return taken
                .try_for_each(|channel| around.ledger.answered(*number, channel, Outcome::Taken, None));
        }
        let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
        if lines.len() != request.calls.len() {
            return Err(format!("{} answers to {} calls", lines.len(), request.calls.len()));
        }
        for ((id, call), line) in request.calls.into_iter().zip(lines) {
            let answer: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            let got = answer["id"].as_u64();
            if got != (request.style == Style::Old).then_some(id) {
                return Err(format!("answer {got:?} where {id} was due"));
            }
            judge_call(&call, &answer, around)?;
        }
        Ok(())
    }

    /// Everything that was under way has come to its end.
    pub fn settled(&self) -> Result<(), Broken> {
        if self.expected.is_empty() {
            Ok(())
        } else {
            Err(self.broken(&format!("{:?} is not answered", self.expected)))
        }
    }

    /// Closes.
    pub fn leave(&mut self, around: &mut Around<'_>) {
        if let Some(socket) = self.socket.take() {
            around.sockets[socket].close_by_peer();
        }
        self.expected.clear();
        self.writer.bytes.clear();
        self.is_ending = false;
    }

    fn broken(&self, what: &str) -> Broken {
        format!("backend {}: {what}", self.name)
    }
}

/// A new publication: its number, and its members of a request.
fn publication(channels: &[String], around: &mut Around<'_>) -> (usize, String) {
    let is_tagged = around.random.percent(70);
    let number = around.ledger.publish(channels, Kind { is_tagged, ..Kind::default() });
    let data = ledger::data(number, around.data_bytes());
    let tags = if is_tagged { tags(number) } else { "" };
    let delta = if around.random.percent(50) { ",\"delta\":true" } else { "" };
    (number, format!(",\"data\":{data}{tags}{delta}"))
}

fn judge_call(call: &Call, answer: &Value, around: &mut Around<'_>) -> Result<(), Broken> {
    match call {
        Call::Publish { channel, number } => judge_publish(*number, channel, answer, around),
        Call::Broadcast { channels, number } => {
            let responses = answer["result"]["responses"].as_array();
            let responses = responses.ok_or_else(|| format!("a broadcast was answered with {answer}"))?;
            if responses.len() != channels.len() {
                return Err(format!("a broadcast to {} channels was answered with {answer}", channels.len()));
            }
            for (channel, response) in channels.iter().zip(responses) {
                judge_publish(*number, channel, response, around)?;
            }
            Ok(())
        }
        Call::Channels if answer["result"]["channels"].is_object() => Ok(()),
        Call::Info if answer["result"]["nodes"][0].is_object() => Ok(()),
        Call::Disconnect { kill } if answer["result"].is_object() => {
            around.kills[*kill].answered_ms = Some(around.now.monotonic_ms);
            Ok(())
        }
        Call::Channels | Call::Info | Call::Disconnect { .. } | Call::Event { .. } => {
            Err(format!("{call:?} was answered with {answer}"))
        }
    }
}

fn judge_publish(
    number: usize,
    channel: &str,
    answer: &Value,
    around: &mut Around<'_>,
) -> Result<(), Broken> {
    if answer["result"].is_object() {
        let offset = answer["result"]["offset"].as_u64();
        if offset.is_some() && !is_numbered(channel) {
            return Err(format!("an offset in {channel}, which has none"));
        }
        return around.ledger.answered(number, channel, Outcome::Taken, offset);
    }
    let may_fail = match answer["error"]["code"].as_u64() {
        Some(100) => around.scenario.engine == EngineKind::Slow,
        Some(102) => around.is_reloaded && channel.starts_with("gone:"),
        _ => false,
    };
    if !may_fail {
        return Err(format!("publication {number} was answered with {answer}"));
    }
    around.ledger.answered(number, channel, Outcome::Refused, None)
}
