//! Requests of backends: calls carried out here and elsewhere, answers gathered and put in order.

use std::sync::Arc;

use super::http::ApiTarget;
use super::letter::{Findings, Found, Lookup, OperationId, Question};
use super::waiting::Ticket;
use super::{Operation, Shard};
use crate::api::call::{
    Answer, ApiError, BadRequest, Call, ChannelCount, Errand, Message, NodeInfo, check_channel,
};
use crate::api::centrifugo::{Batch, Style, append_answer, parse};
use crate::core::error::ClientError;
use crate::core::ids::{AppIndex, ConnectionId, Slot};
use crate::core::publication::{AsText, Position, Publication, Terms};
use crate::wire::http::append_response;

/// Room for longer answers is given back.
const KEPT_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// One request whose answers are gathered.
#[derive(Debug)]
pub struct Gather {
    connection: ConnectionId,
    ticket: Ticket,
    keep_alive: bool,
    style: Style,
    calls: Vec<Called>,
    /// Parts that have not answered yet, and one for the request itself while it is being begun.
    remaining: usize,
}

/// One call of a request.
#[derive(Debug)]
struct Called {
    /// The caller's number for it.
    id: u32,
    answer: Result<Answer, ApiError>,
}

/// Which part of which request an operation answers.
#[derive(Debug)]
pub struct Part {
    pub gather: OperationId,
    /// Index of the call.
    pub call: usize,
    /// Index of the channel within a broadcast.
    pub channel: Option<usize>,
}

impl Shard {
    /// Carries out one backend request; its answer keeps its place among those of the connection.
    pub(super) fn backend_request(&mut self, slot: Slot, target: ApiTarget, body: &[u8]) {
        self.counters.http_requests += 1;
        let ApiTarget { app, method, keep_alive } = target;
        let parsed = parse(method.as_deref(), body, &mut self.json, &self.config.limits);
        let ticket = self.waiting(slot).promise();
        if !keep_alive {
            self.close_after_answers(slot);
        }
        let Batch { style, entries } = match parsed {
            Ok(batch) => batch,
            Err(error) => {
                let mut response = Vec::new();
                let text = format!("{error}\n");
                let kind = "text/plain; charset=utf-8";
                append_response(error.status(), kind, &[], text.as_bytes(), keep_alive, &mut response);
                self.complete_reply(slot, ticket, &response);
                self.after_answer(slot);
                return;
            }
        };
        let gather = self.gathers.begin(Gather {
            connection: self.connections.id(slot),
            ticket,
            keep_alive,
            style,
            // Replaced by each call's own answer; seen only if a part is lost, which is an error of ours.
            calls: entries
                .iter()
                .map(|entry| Called { id: entry.id, answer: Err(ApiError::Internal) })
                .collect(),
            remaining: 1,
        });
        for (call, entry) in entries.into_iter().enumerate() {
            match entry.call {
                Ok(asked) => self.carry_out_call(gather, call, app, asked),
                Err(error) => self.set_answer(gather, call, Err(error)),
            }
        }
        self.part_answered(gather);
    }

    fn set_answer(&mut self, gather: OperationId, call: usize, answer: Result<Answer, ApiError>) {
        if let Some(gather) = self.gathers.get_mut(gather) {
            gather.calls[call].answer = answer;
        }
    }

    /// Begins a call. Its answer is set, or is filled in as its parts are answered; that may happen at once.
    fn carry_out_call(&mut self, gather: OperationId, call: usize, app: AppIndex, asked: Call) {
        match asked {
            Call::Publish { channel, message } => {
                if let Err(error) = self.check_publication(app, &channel, message.terms.as_deref()) {
                    return self.set_answer(gather, call, Err(error));
                }
                let part = Part { gather, call, channel: None };
                let (publication, terms) = self.publication(message);
                self.publish_part(part, app, &channel, Arc::new(publication), terms);
            }
            Call::Broadcast { channels, message } => self.broadcast(gather, call, app, &channels, message),
            Call::Users { whose, errand } => match self.check_errand(app, &errand) {
                Ok(()) => {
                    self.set_answer(gather, call, Ok(Answer::Done));
                    self.survey(gather, call, Question::Users { app, whose, errand });
                }
                Err(error) => self.set_answer(gather, call, Err(error)),
            },
            Call::Channels { pattern } => {
                self.set_answer(gather, call, Ok(Answer::Channels(Vec::new())));
                self.survey(gather, call, Question::Channels { app, pattern });
            }
            Call::Info => {
                let node = self.node_info();
                self.set_answer(gather, call, Ok(Answer::Info(vec![node])));
                self.survey(gather, call, Question::Info { app });
            }
            Call::History { channel, range } => {
                self.lookup_part(Part { gather, call, channel: None }, app, &channel, Lookup::History(range));
            }
            Call::Presence { channel } => {
                self.lookup_part(Part { gather, call, channel: None }, app, &channel, Lookup::Presence);
            }
            Call::PresenceStats { channel } => {
                self.lookup_part(Part { gather, call, channel: None }, app, &channel, Lookup::PresenceStats);
            }
            Call::HistoryRemove { channel } => {
                self.lookup_part(Part { gather, call, channel: None }, app, &channel, Lookup::RemoveHistory);
            }
        }
    }

    fn broadcast(
        &mut self,
        gather: OperationId,
        call: usize,
        app: AppIndex,
        channels: &[Box<str>],
        message: Message,
    ) {
        let (publication, terms) = self.publication(message);
        let publication = Arc::new(publication);
        let checked: Vec<Result<(), ApiError>> =
            channels.iter().map(|channel| self.check_publication(app, channel, terms.as_deref())).collect();
        let results = checked.iter().map(|result| result.map(|()| None)).collect();
        self.set_answer(gather, call, Ok(Answer::Broadcast(results)));
        for (index, (channel, result)) in channels.iter().zip(&checked).enumerate() {
            if result.is_ok() {
                let part = Part { gather, call, channel: Some(index) };
                self.publish_part(part, app, channel, Arc::clone(&publication), terms.clone());
            }
        }
    }

    fn check_errand(&self, app: AppIndex, errand: &Errand) -> Result<(), ApiError> {
        let app = &self.config.apps[usize::from(app.0)];
        let now_s = self.now.unix_s();
        match errand {
            Errand::Subscribe { expires_s: Some(expires_s), .. } if *expires_s <= now_s => {
                let (field, want) = ("expire_at", "in the future");
                Err(ApiError::BadRequest { reason: BadRequest::Type { field, want } })
            }
            Errand::Subscribe { channel, .. } => check_channel(app, channel).map(|_| ()),
            Errand::Unsubscribe { channel } if !channel.is_empty() => check_channel(app, channel).map(|_| ()),
            Errand::Unsubscribe { .. } | Errand::Refresh { .. } | Errand::Disconnect { .. } => Ok(()),
        }
    }

    fn check_publication(&self, app: AppIndex, channel: &str, terms: Option<&Terms>) -> Result<(), ApiError> {
        let namespace = check_channel(&self.config.apps[usize::from(app.0)], channel)?;
        match terms {
            Some(terms) if terms.version > 0 && (terms.skip_history || !namespace.is_numbered()) => {
                Err(ApiError::NotAvailable { feature: "version, where no history is kept" })
            }
            _ => Ok(()),
        }
    }

    fn publication(&self, message: Message) -> (Publication, Option<Box<Terms>>) {
        let publication = Publication {
            data: message.data,
            event: None,
            publisher: None,
            tags: message.tags,
            time_ms: self.now.unix_ms,
            delta: message.delta,
            // An id of no connection of this process excludes nobody.
            exclude: message.exclude.and_then(|client| self.seal.open(client)),
            as_text: AsText::Quoted,
        };
        (publication, message.terms)
    }

    fn publish_part(
        &mut self,
        part: Part,
        app: AppIndex,
        channel: &str,
        publication: Arc<Publication>,
        terms: Option<Box<Terms>>,
    ) {
        self.counters.publishes_api += 1;
        if let Some(gather) = self.gathers.get_mut(part.gather) {
            gather.remaining += 1;
        }
        let operation = self.begin(Operation::Backend(part));
        self.route_publication(operation, app, channel, publication, terms);
    }

    fn lookup_part(&mut self, part: Part, app: AppIndex, channel: &str, lookup: Lookup) {
        let namespace = match check_channel(&self.config.apps[usize::from(app.0)], channel) {
            Ok(namespace) => namespace,
            Err(error) => return self.set_answer(part.gather, part.call, Err(error)),
        };
        let missing = match &lookup {
            Lookup::Presence | Lookup::PresenceStats if namespace.presence => None,
            Lookup::Presence | Lookup::PresenceStats => Some("presence, which the namespace does not keep"),
            Lookup::History(_) | Lookup::RemoveHistory if namespace.is_numbered() => None,
            Lookup::History(_) | Lookup::RemoveHistory => Some("history, which the namespace does not keep"),
        };
        if let Some(feature) = missing {
            return self.set_answer(part.gather, part.call, Err(ApiError::NotAvailable { feature }));
        }
        if let Some(gather) = self.gathers.get_mut(part.gather) {
            gather.remaining += 1;
        }
        let operation = self.begin(Operation::Backend(part));
        self.route_lookup(operation, app, channel, lookup);
    }

    /// The owner's answer to a backend's question about one channel.
    pub(super) fn backend_looked_up(&mut self, part: &Part, result: Result<Found, ClientError>) {
        let answer = match result {
            Ok(Found::History(stream)) => Ok(Answer::History(stream)),
            Ok(Found::HistoryRemoved) => Ok(Answer::Done),
            Ok(Found::Presence(clients)) => Ok(Answer::Presence(clients)),
            Ok(Found::PresenceStats(stats)) => Ok(Answer::PresenceStats(stats)),
            Err(error) => Err(error.into()),
        };
        self.set_answer(part.gather, part.call, answer);
        self.part_answered(part.gather);
    }

    /// The owner's answer to one publication of a backend.
    pub(super) fn backend_published(&mut self, part: &Part, result: Result<Option<Position>, ClientError>) {
        let result = result.map_err(ApiError::from);
        if let Some(gather) = self.gathers.get_mut(part.gather) {
            match (&mut gather.calls[part.call].answer, part.channel) {
                (Ok(Answer::Broadcast(results)), Some(channel)) => results[channel] = result,
                (answer, _) => *answer = result.map(Answer::Published),
            }
        }
        self.part_answered(part.gather);
    }

    /// Asks every shard, this one included, and counts the answers to come.
    fn survey(&mut self, gather: OperationId, call: usize, question: Question) {
        let shards = self.channels.placement().shards;
        if let Some(gather) = self.gathers.get_mut(gather) {
            gather.remaining += usize::from(shards);
        }
        self.ask_all_shards(Part { gather, call, channel: None }, &question);
    }

    /// One shard's findings for one call.
    pub(super) fn found(&mut self, part: &Part, findings: Findings) {
        if let Some(gather) = self.gathers.get_mut(part.gather) {
            match (&mut gather.calls[part.call].answer, findings) {
                (Ok(Answer::Channels(counts)), Findings::Channels(found)) => counts.extend(found),
                (Ok(Answer::Info(nodes)), Findings::Info { clients, users, channels, subscriptions }) => {
                    if let Some(node) = nodes.first_mut() {
                        node.clients += clients;
                        node.users += users.len() as u64;
                        node.channels += channels;
                        node.subscriptions += subscriptions;
                    }
                }
                (answer, Findings::Failed(error)) => *answer = Err(error.into()),
                _ => {}
            }
        }
        self.part_answered(part.gather);
    }

    /// One part fewer to wait for; with the last one the answer leaves.
    fn part_answered(&mut self, id: OperationId) {
        let Some(gather) = self.gathers.get_mut(id) else { return };
        gather.remaining -= 1;
        if gather.remaining > 0 {
            return;
        }
        let Some(gather) = self.gathers.end(id) else { return };
        if !self.connections.is_open(gather.connection) {
            return;
        }
        let (mut body, mut response) = std::mem::take(&mut self.answer_scratch);
        body.clear();
        response.clear();
        for Called { id, mut answer } in gather.calls {
            if let Ok(Answer::Channels(counts)) = &mut answer {
                ChannelCount::merge(counts);
            }
            append_answer(gather.style, id, &answer, &mut body);
        }
        append_response(200, "application/json", &[], &body, gather.keep_alive, &mut response);
        let slot = gather.connection.slot;
        self.complete_reply(slot, gather.ticket, &response);
        if response.capacity() <= KEPT_ANSWER_BYTES_MAX {
            self.answer_scratch = (body, response);
        }
        self.after_answer(slot);
        self.note_blocked(slot);
    }

    fn node_info(&self) -> NodeInfo {
        NodeInfo {
            uid: self.node_uid.clone(),
            name: "polycast".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            clients: 0,
            users: 0,
            channels: 0,
            subscriptions: 0,
            uptime_s: self.now.monotonic_ms.saturating_sub(self.started_ms) / 1_000,
        }
    }
}
