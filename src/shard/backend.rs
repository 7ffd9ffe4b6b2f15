//! Requests of backends: calls carried out here and elsewhere, answers gathered and put in order.

use std::sync::Arc;

use super::happening::text_of;
use super::http::{ApiStyle, ApiTarget};
use super::letter::{Findings, Found, Lookup, OperationId, Question};
use super::waiting::Ticket;
use super::{Operation, Shard};
use crate::api::call::{
    Answer, ApiError, BadRequest, Call, ChannelCount, Errand, Excluded, Message, NodeInfo, Occupancy,
    check_channel,
};
use crate::api::centrifugo::Entry;
use crate::api::{centrifugo, pusher};
use crate::core::error::ClientError;
use crate::core::ids::{AppIndex, ConnectionId, Slot};
use crate::core::publication::{Position, Publication, Terms};
use crate::wire::http::append_response;

/// Room for longer answers is given back.
const KEPT_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A request that was read, and of which nothing is begun yet.
#[derive(Debug)]
pub struct ApiRequest {
    pub reply: ReplyTo,
    pub app: AppIndex,
    form: Form,
    entries: Vec<Entry>,
}

/// Where a request's answer is to go.
#[derive(Debug)]
pub struct ReplyTo {
    pub connection: ConnectionId,
    ticket: Ticket,
    keep_alive: bool,
}

/// One request whose answers are gathered.
#[derive(Debug)]
pub struct Gather {
    reply: ReplyTo,
    form: Form,
    calls: Vec<Called>,
    /// What is asked once the channels are known.
    counting: Option<Counting>,
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

/// Whose users are to be counted, and how far that has come.
#[derive(Debug, Clone, Copy)]
struct Counting {
    app: AppIndex,
    call: usize,
    /// Index of the channel whose users nobody was asked for yet.
    next: usize,
}

/// Channels whose users are asked for at once.
const COUNTED_AT_ONCE: usize = 256;

/// How a request was written, and its answer must be.
#[derive(Debug)]
enum Form {
    Centrifugo(centrifugo::Style),
    Pusher(pusher::Shape),
}

impl Form {
    /// Appends what the answers to all calls come to. Answers the HTTP status.
    fn append(&self, calls: Vec<Called>, body: &mut Vec<u8>) -> u16 {
        match self {
            Self::Centrifugo(style) => {
                for Called { id, answer } in &calls {
                    centrifugo::append_answer(*style, *id, answer, body);
                }
                200
            }
            Self::Pusher(shape) => {
                let answers: Vec<_> = calls.into_iter().map(|call| call.answer).collect();
                pusher::append_answers(shape, &answers, body)
            }
        }
    }
}

/// A request that cannot be carried out at all: HTTP status, content type, body.
pub type Refused = (u16, &'static str, Vec<u8>);

const JSON: &str = "application/json";

/// Which part of which request an operation answers.
#[derive(Debug)]
pub struct Part {
    pub gather: OperationId,
    /// Index of the call.
    pub call: usize,
    /// Index of the channel within a broadcast, or of what its answer lists.
    pub channel: Option<usize>,
}

impl Shard {
    /// Carries out one backend request; its answer keeps its place among those of the connection.
    pub(super) fn backend_request(&mut self, slot: Slot, target: ApiTarget, body: &[u8]) {
        self.counters.http_requests += 1;
        let ApiTarget { app, style, keep_alive } = target;
        let mark = self.mark(app, &style);
        let parsed = self.read_calls(app, style, body);
        let ticket = self.waiting(slot).promise();
        if !keep_alive {
            self.close_after_answers(slot);
        }
        let reply = ReplyTo { connection: self.connections.id(slot), ticket, keep_alive };
        match (parsed, mark) {
            (Ok((form, entries)), None) => self.begin_request(ApiRequest { reply, app, form, entries }),
            (Ok((form, entries)), Some(mark)) => {
                self.begin_once(ApiRequest { reply, app, form, entries }, mark)
            }
            (Err(refused), _) => self.refuse_request(&reply, refused),
        }
    }

    /// Answers a request of which nothing was begun.
    pub(super) fn refuse_request(&mut self, reply: &ReplyTo, (status, kind, body): Refused) {
        let slot = reply.connection.slot;
        let mut response = Vec::new();
        append_response(status, kind, &[], &body, reply.keep_alive, &mut response);
        self.complete_reply(slot, reply.ticket, &response);
        self.after_answer(slot);
    }

    /// Carries out what was read; answers as its parts are answered.
    pub(super) fn begin_request(&mut self, request: ApiRequest) {
        let ApiRequest { reply, app, form, entries } = request;
        let gather = self.gathers.begin(Gather {
            reply,
            form,
            // Replaced by each call's own answer; seen only if a part is lost, which is an error of ours.
            calls: entries
                .iter()
                .map(|entry| Called { id: entry.id, answer: Err(ApiError::Internal) })
                .collect(),
            counting: None,
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

    /// Reads what is asked; nothing is begun.
    fn read_calls(
        &mut self,
        app: AppIndex,
        style: ApiStyle,
        body: &[u8],
    ) -> Result<(Form, Vec<Entry>), Refused> {
        let limits = &self.config.limits;
        match style {
            ApiStyle::Centrifugo { method } => {
                let batch = centrifugo::parse(method.as_deref(), body, &mut self.json, limits);
                let refused = |error: centrifugo::BadBody| {
                    (error.status(), "text/plain; charset=utf-8", format!("{error}\n").into_bytes())
                };
                let centrifugo::Batch { style, entries } = batch.map_err(refused)?;
                Ok((Form::Centrifugo(style), entries))
            }
            ApiStyle::Pusher(target) => {
                let app = &self.config.apps[usize::from(app.0)];
                // A reload may have taken the dialect away since the head was judged.
                let options = app.pusher.as_ref().ok_or(pusher::Refusal::AppOff);
                let work = options.and_then(|options| {
                    let terms = pusher::Terms { app, options, limits };
                    pusher::parse(*target, body, terms, &mut self.json)
                });
                let pusher::Work { calls, shape } = work.map_err(|refusal| self.refused(refusal))?;
                let entries = calls.into_iter().map(|call| Entry { id: 0, call: Ok(call) });
                Ok((Form::Pusher(shape), entries.collect()))
            }
        }
    }

    /// What a request of a Pusher library is answered with instead.
    pub(super) fn refused(&mut self, refusal: pusher::Refusal) -> Refused {
        if let pusher::Refusal::Unauthorized(reason) = refusal {
            self.counters.auth_api_key += 1;
            tracing::info!(%reason, "a backend's request was refused");
        }
        let mut body = Vec::new();
        (pusher::append_refusal(refusal, &mut body), JSON, body)
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
            Call::Occupancy { channel, users, latest } => {
                self.set_answer(gather, call, Ok(Answer::Occupancy(Occupancy::default())));
                let part = || Part { gather, call, channel: Some(0) };
                self.ask_owner(part(), app, &channel, Lookup::Subscribers);
                if users {
                    self.ask_owner(part(), app, &channel, Lookup::PresenceStats);
                }
                if latest {
                    self.ask_owner(part(), app, &channel, Lookup::Latest);
                }
            }
            Call::Connections => {
                self.set_answer(gather, call, Ok(Answer::Connections(0)));
                self.survey(gather, call, Question::Connections { app });
            }
            Call::Channels { pattern, users } => {
                if let (true, Some(gather)) = (users, self.gathers.get_mut(gather)) {
                    gather.counting = Some(Counting { app, call, next: 0 });
                }
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
            event: message.event,
            publisher: None,
            tags: message.tags,
            time_ms: self.now.unix_ms,
            delta: message.delta,
            exclude: message.exclude.and_then(|excluded| match excluded {
                Excluded::Client(client) => self.seal.open(client),
                Excluded::Decimal(id) => self.seal.open_decimal(id),
            }),
            as_text: message.as_text,
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
            Lookup::Subscribers | Lookup::Latest => None,
            Lookup::Presence | Lookup::PresenceStats if namespace.keeps_presence(channel) => None,
            Lookup::Presence | Lookup::PresenceStats => Some("presence, which the namespace does not keep"),
            Lookup::History(_) | Lookup::RemoveHistory if namespace.is_numbered() => None,
            Lookup::History(_) | Lookup::RemoveHistory => Some("history, which the namespace does not keep"),
        };
        if let Some(feature) = missing {
            return self.set_answer(part.gather, part.call, Err(ApiError::NotAvailable { feature }));
        }
        self.ask_owner(part, app, channel, lookup);
    }

    /// One more part to wait for: what the owner says of a channel.
    fn ask_owner(&mut self, part: Part, app: AppIndex, channel: &str, lookup: Lookup) {
        if let Some(gather) = self.gathers.get_mut(part.gather) {
            gather.remaining += 1;
        }
        let operation = self.begin(Operation::Backend(part));
        self.route_lookup(operation, app, channel, lookup);
    }

    /// The owner's answer to a backend's question about one channel.
    pub(super) fn backend_looked_up(&mut self, part: &Part, result: Result<Found, ClientError>) {
        if let Some(gather) = self.gathers.get_mut(part.gather) {
            let answer = &mut gather.calls[part.call].answer;
            match (answer, result) {
                (Ok(Answer::Occupancy(told)), Ok(Found::Subscribers(count))) => told.subscribers = count,
                (Ok(Answer::Occupancy(told)), Ok(Found::PresenceStats(stats))) => {
                    told.users = Some(stats.users)
                }
                (Ok(Answer::Occupancy(told)), Ok(Found::Latest(latest))) => {
                    told.latest = latest.map(|(publication, ttl_s)| (text_of(&publication).into(), ttl_s));
                }
                (Ok(Answer::Channels(counts)), Ok(Found::PresenceStats(stats))) => {
                    if let Some(count) = part.channel.and_then(|channel| counts.get_mut(channel)) {
                        count.users = Some(stats.users);
                    }
                }
                (answer, Err(error)) => *answer = Err(error.into()),
                // One of several answers, and another one was an error.
                _ if part.channel.is_some() => {}
                (answer, Ok(Found::History(stream))) => *answer = Ok(Answer::History(stream)),
                (answer, Ok(Found::HistoryRemoved)) => *answer = Ok(Answer::Done),
                (answer, Ok(Found::Presence(clients))) => *answer = Ok(Answer::Presence(clients)),
                (answer, Ok(Found::PresenceStats(stats))) => *answer = Ok(Answer::PresenceStats(stats)),
                // Never asked for alone.
                (_, Ok(Found::Subscribers(_) | Found::Latest(_))) => {}
            }
        }
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
                (Ok(Answer::Connections(sum)), Findings::Connections(count)) => *sum += count,
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
        if gather.remaining > 0 || self.count_users(id) {
            return;
        }
        let Some(mut gather) = self.gathers.end(id) else { return };
        let ReplyTo { connection, ticket, keep_alive } = gather.reply;
        if !self.connections.is_open(connection) {
            return;
        }
        let (mut body, mut response) = std::mem::take(&mut self.answer_scratch);
        body.clear();
        response.clear();
        for call in &mut gather.calls {
            if let Ok(Answer::Channels(counts)) = &mut call.answer {
                ChannelCount::merge(counts);
            }
        }
        let status = gather.form.append(gather.calls, &mut body);
        append_response(status, JSON, &[], &body, keep_alive, &mut response);
        let slot = connection.slot;
        self.complete_reply(slot, ticket, &response);
        if response.capacity() <= KEPT_ANSWER_BYTES_MAX {
            self.answer_scratch = (body, response);
        }
        self.after_answer(slot);
        self.note_blocked(slot);
    }

    /// Asks for the users of the next channels whose users are to be counted. `true`: there were some.
    fn count_users(&mut self, id: OperationId) -> bool {
        let Some(gather) = self.gathers.get_mut(id) else { return false };
        let Some(Counting { app, call, next }) = gather.counting else { return false };
        let Ok(Answer::Channels(counts)) = &mut gather.calls[call].answer else { return false };
        if next == 0 {
            ChannelCount::merge(counts);
        }
        let slice: Vec<Arc<str>> =
            counts.iter().skip(next).take(COUNTED_AT_ONCE).map(|count| Arc::clone(&count.channel)).collect();
        gather.counting = Some(Counting { app, call, next: next + slice.len() });
        // One more, so that answers that come at once do not end the request.
        gather.remaining += 1;
        for (channel, name) in (next..).zip(&slice) {
            self.ask_owner(
                Part { gather: id, call, channel: Some(channel) },
                app,
                name,
                Lookup::PresenceStats,
            );
        }
        if let Some(gather) = self.gathers.get_mut(id) {
            gather.remaining -= 1;
            return gather.remaining > 0 || (!slice.is_empty() && self.count_users(id));
        }
        true
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
