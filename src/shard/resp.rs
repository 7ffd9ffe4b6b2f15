//! Backends that publish with a Redis client: commands carried out in order, replies in the order of the commands.
//!
//! Publications of one receive are all on their way before the first of them is answered. What cannot be taken now
//! stays in the socket: the connection is not read while lanes are full, too many replies are awaited or unread, or
//! this turn has done enough for publishers. Nothing is dropped.

use std::net::SocketAddr;
use std::sync::Arc;

use super::connection::{Phase, Transport};
use super::waiting::Ticket;
use super::{Operation, Shard};
use crate::api::resp::{
    Asked, Credentials, REDIS_VERSION, Refusal, app_of, info, limits_of, publication, read,
};
use crate::core::error::ClientError;
use crate::core::ids::{AppIndex, ConnectionId, Slot};
use crate::core::publication::Publication;
use crate::wire::resp::{CommandReader, Reply, RespVersion, append_command, append_reply};

/// How long a connection may stay without its first `AUTH`.
pub const AUTHENTICATION_MS: u64 = 10_000;

/// Replies that may lie unread, as an outbox counts them (64 bytes each at least), before their connection is no
/// longer read.
const UNREAD_BYTES_MAX: u32 = 64 * 1024;

/// What a shard does for publishers on this listener within a turn, in units of some twenty nanoseconds: a turn
/// stays around 2 ms however many of them flood, so that nobody else waits for longer.
const WORK_PER_TURN_MAX: usize = 64 * 1024;
/// One command, and one publication besides its deliveries, in these units.
const COMMAND_WORK: usize = 8;
const PUBLISH_WORK: usize = 64;

/// Bytes that a transaction may gather before `EXEC`.
const TRANSACTION_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The state of a connection that speaks RESP.
#[derive(Debug)]
pub struct RespConnection {
    pub peer: SocketAddr,
    reader: CommandReader,
    version: RespVersion,
    /// Chosen by `AUTH`.
    app: Option<AppIndex>,
    /// Commands since `MULTI`.
    transaction: Option<Transaction>,
    /// Where the bytes held back begin in [`super::waiting::Waiting::input`].
    input_from: usize,
    /// Wrong keys in a row.
    failures: u32,
    /// No further command is read; the connection ends when the last reply is out.
    pub is_ending: bool,
    pub reads_bulk: bool,
}

/// Commands that wait for `EXEC`, as they came: then they are read like any others, within the same bounds. They
/// are carried out in order, but other publishers' publications may come between.
#[derive(Debug, Default)]
struct Transaction {
    commands: Vec<u8>,
    count: usize,
    is_refused: bool,
}

impl RespConnection {
    pub fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            reader: CommandReader::default(),
            version: RespVersion::default(),
            app: None,
            transaction: None,
            input_from: 0,
            failures: 0,
            is_ending: false,
            reads_bulk: false,
        }
    }

    pub fn is_authenticated(&self) -> bool {
        self.app.is_some()
    }
}

/// A publication whose place in its channel is awaited.
#[derive(Debug)]
pub struct RespPublishing {
    connection: ConnectionId,
    ticket: Ticket,
}

impl Shard {
    pub(super) fn receive_resp(&mut self, slot: Slot, bytes: &[u8]) {
        self.note_backend_sent(slot, bytes.len());
        if self.keep_for_later(slot, bytes) {
            return;
        }
        let used = self.read_commands(slot, bytes);
        if used < bytes.len() {
            self.waiting(slot).input = bytes[used..].to_vec();
            self.pause_reading(slot);
        }
    }

    /// Goes on with what was held back.
    pub(super) fn resume_resp(&mut self, slot: Slot, input: Vec<u8>) {
        let Some(from) = self.resp(slot).map(|resp| std::mem::take(&mut resp.input_from)) else { return };
        let used = from + self.read_commands(slot, &input[from..]);
        if used == input.len() {
            return;
        }
        self.waiting(slot).input = input;
        if let Some(resp) = self.resp(slot) {
            resp.input_from = used;
        }
        self.pause_reading(slot);
    }

    /// Carries out commands until the bytes are used up or the connection has to wait. Returns how many were used;
    /// all of them once no further command counts.
    fn read_commands(&mut self, slot: Slot, bytes: &[u8]) -> usize {
        let limits = limits_of(&self.config.limits);
        let mut arguments = std::mem::take(&mut self.arguments);
        let mut rest = bytes;
        let used = loop {
            if self.connections.hot(slot).phase != Phase::Open {
                break bytes.len();
            }
            if !rest.is_empty() && self.must_wait(slot) {
                break bytes.len() - rest.len();
            }
            let Some(resp) = self.resp(slot).filter(|resp| !resp.is_ending) else { break bytes.len() };
            match resp.reader.next(&mut rest, &mut arguments, &limits) {
                Ok(Some(command)) => {
                    let executed = self.command(slot, arguments.of(&command));
                    if let Some(mut commands) = executed {
                        // What the transaction gathered is read next, and then what follows EXEC.
                        commands.extend_from_slice(rest);
                        self.waiting(slot).input = commands;
                        self.note_blocked(slot);
                        break bytes.len();
                    }
                }
                Ok(None) => {
                    if self.connections.cold(slot).peer_ended {
                        self.close_after_answers(slot);
                    }
                    break bytes.len();
                }
                Err(error) => {
                    self.counters.violations += 1;
                    self.answer(slot, Reply::Error(&error.to_string()));
                    self.close_after_answers(slot);
                    break bytes.len();
                }
            }
        };
        self.arguments = arguments;
        used
    }

    /// Whether the connection's next command must not be begun yet. Who must wait is woken.
    fn must_wait(&mut self, slot: Slot) -> bool {
        if self.is_blocked(slot) {
            return true;
        }
        if self.spilled_letters > 0 {
            self.park(slot);
            return true;
        }
        if self.publishers_work >= WORK_PER_TURN_MAX {
            self.waiting(slot).parked = true;
            self.resting.push(self.connections.id(slot));
            return true;
        }
        if self.connections.hot(slot).outbox.queued_bytes() >= UNREAD_BYTES_MAX {
            self.waiting(slot).full = true;
            self.unread.insert(slot);
            return true;
        }
        false
    }

    /// The kernel took replies: who waited for that goes on.
    pub(super) fn replies_left(&mut self, slot: Slot) {
        let is_backend = matches!(self.connections.cold(slot).transport, Transport::Resp(_));
        let is_room = is_backend && self.connections.hot(slot).outbox.queued_bytes() < UNREAD_BYTES_MAX / 2;
        if is_room && self.unread.remove(&slot) {
            self.waiting(slot).full = false;
            self.note_blocked(slot);
        }
    }

    /// A turn ends: those who rested go on in the next.
    pub(super) fn wake_resting(&mut self) {
        self.publishers_work = 0;
        for connection in std::mem::take(&mut self.resting) {
            if self.connections.is_open(connection) {
                self.waiting(connection.slot).parked = false;
                self.note_blocked(connection.slot);
            }
        }
    }

    fn resp(&mut self, slot: Slot) -> Option<&mut RespConnection> {
        match &mut self.connections.cold_mut(slot).transport {
            Transport::Resp(resp) => Some(resp),
            _ => None,
        }
    }

    /// Carries out one command. Returns the commands of a transaction whose time has come.
    fn command<'a>(
        &mut self,
        slot: Slot,
        arguments: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> Option<Vec<u8>> {
        self.publishers_work += COMMAND_WORK;
        if arguments.clone().next().is_some_and(Refusal::is_cross_protocol) {
            self.counters.violations += 1;
            let peer = self.resp(slot).map(|resp| resp.peer);
            tracing::info!(connection = %self.name(slot), ?peer, "refused: HTTP on server.tcp");
            self.close_after_answers(slot);
            return None;
        }
        let asked = read(arguments.clone());
        if let Some(transaction) = self.resp(slot).and_then(|resp| resp.transaction.as_mut())
            && !matches!(asked, Ok(Asked::Exec | Asked::Discard | Asked::Multi | Asked::Quit | Asked::Reset))
        {
            let outcome = asked.and_then(|_| transaction.add(arguments));
            match outcome {
                Ok(()) => self.answer(slot, Reply::Simple("QUEUED")),
                Err(refusal) => {
                    transaction.is_refused = true;
                    self.answer(slot, Reply::Error(&refusal.to_string()));
                }
            }
            return None;
        }
        match asked {
            Ok(Asked::Exec) => {
                let executed = self.execute_transaction(slot);
                if let Err(refusal) = &executed {
                    self.answer(slot, Reply::Error(&refusal.to_string()));
                }
                executed.ok()
            }
            Ok(asked) => {
                if let Err(refusal) = self.carry_out(slot, asked) {
                    self.answer(slot, Reply::Error(&refusal.to_string()));
                }
                None
            }
            Err(refusal) => {
                self.answer(slot, Reply::Error(&refusal.to_string()));
                None
            }
        }
    }

    fn execute_transaction(&mut self, slot: Slot) -> Result<Vec<u8>, Refusal> {
        let resp = self.resp(slot).ok_or(Refusal::NoAuth)?;
        let transaction = resp.transaction.take().ok_or(Refusal::NoMulti("EXEC"))?;
        if transaction.is_refused {
            return Err(Refusal::Aborted);
        }
        self.answer(slot, Reply::ArrayOf(transaction.count));
        Ok(transaction.commands)
    }

    /// Carries out one command that is not part of a transaction.
    fn carry_out(&mut self, slot: Slot, asked: Asked<'_>) -> Result<(), Refusal> {
        match asked {
            Asked::Hello { version, credentials } => return self.hello(slot, version, credentials),
            Asked::Auth(credentials) => {
                if self.authenticate(slot, &credentials)? {
                    self.answer(slot, Reply::Simple("OK"));
                }
                return Ok(());
            }
            Asked::Quit => {
                self.answer(slot, Reply::Simple("OK"));
                self.close_after_answers(slot);
                return Ok(());
            }
            Asked::Reset => {
                self.reset(slot);
                self.answer(slot, Reply::Simple("RESET"));
                return Ok(());
            }
            _ => {}
        }
        let app = self.resp(slot).and_then(|resp| resp.app).ok_or(Refusal::NoAuth)?;
        match asked {
            Asked::Publish { channel, payload } => return self.publish_resp(slot, app, channel, payload),
            Asked::Ping(None) => self.answer(slot, Reply::Simple("PONG")),
            Asked::Ping(Some(text)) | Asked::Echo(text) => self.answer(slot, Reply::Bulk(text)),
            Asked::Select | Asked::ClientNote => self.answer(slot, Reply::Simple("OK")),
            Asked::ClientId => {
                let id = self.resp_id(slot);
                self.answer(slot, Reply::Integer(id));
            }
            Asked::ClientName => self.answer(slot, Reply::Null),
            Asked::Info => {
                let uptime_s = self.now.monotonic_ms.saturating_sub(self.started_ms) / 1_000;
                let text = info(env!("CARGO_PKG_VERSION"), uptime_s);
                self.answer(slot, Reply::Bulk(text.as_bytes()));
            }
            Asked::CommandList => self.answer(slot, Reply::ArrayOf(0)),
            Asked::CommandCount => self.answer(slot, Reply::Integer(0)),
            Asked::CommandDocs => self.answer(slot, Reply::Map(&[])),
            Asked::Multi => {
                let resp = self.resp(slot).ok_or(Refusal::NoAuth)?;
                if resp.transaction.is_some() {
                    return Err(Refusal::NestedMulti);
                }
                resp.transaction = Some(Transaction::default());
                self.answer(slot, Reply::Simple("OK"));
            }
            Asked::Discard => {
                let transaction = self.resp(slot).and_then(|resp| resp.transaction.take());
                transaction.ok_or(Refusal::NoMulti("DISCARD"))?;
                self.answer(slot, Reply::Simple("OK"));
            }
            Asked::Hello { .. } | Asked::Auth(_) | Asked::Quit | Asked::Reset | Asked::Exec => {}
        }
        Ok(())
    }

    fn hello(
        &mut self,
        slot: Slot,
        version: Option<RespVersion>,
        credentials: Option<Credentials<'_>>,
    ) -> Result<(), Refusal> {
        if let Some(credentials) = credentials
            && !self.authenticate(slot, &credentials)?
        {
            return Ok(());
        }
        let id = self.resp_id(slot);
        let resp = self.resp(slot).filter(|resp| resp.is_authenticated()).ok_or(Refusal::HelloNoAuth)?;
        resp.version = version.unwrap_or(resp.version);
        let number = match resp.version {
            RespVersion::Resp2 => 2,
            RespVersion::Resp3 => 3,
        };
        let facts = [
            ("server", Reply::Bulk(b"redis")),
            ("version", Reply::Bulk(REDIS_VERSION.as_bytes())),
            ("proto", Reply::Integer(number)),
            ("id", Reply::Integer(id)),
            ("mode", Reply::Bulk(b"standalone")),
            ("role", Reply::Bulk(b"master")),
            ("modules", Reply::ArrayOf(0)),
        ];
        self.answer(slot, Reply::Map(&facts));
        Ok(())
    }

    /// A number that no other connection of this process has had lately.
    fn resp_id(&self, slot: Slot) -> i64 {
        let generation = u64::from(self.connections.hot(slot).generation);
        let id = u64::from(self.id.0) << 48 | generation << 24 | u64::from(slot.0);
        i64::try_from(id & (i64::MAX as u64)).unwrap_or(0) + 1
    }

    /// `false`: too many wrong keys; the connection ends and its answer is given.
    fn authenticate(&mut self, slot: Slot, credentials: &Credentials<'_>) -> Result<bool, Refusal> {
        let app = app_of(credentials, self.apps.iter().map(|app| app.api_key.as_ref()));
        let failures_max = self.config.limits.errors_in_a_row_max;
        let name = self.name(slot);
        let Some(resp) = self.resp(slot) else { return Err(Refusal::NoAuth) };
        let peer = resp.peer;
        match app {
            Ok(app) => {
                (resp.app, resp.failures) = (Some(app), 0);
                tracing::debug!(connection = name, %peer, "a publisher authenticated");
                let cold = self.connections.cold_mut(slot);
                cold.app = app.0;
                if !cold.is_draining {
                    cold.phase_at = 0;
                    self.arm(slot);
                }
                Ok(true)
            }
            Err(refusal) => {
                resp.failures += 1;
                let is_over = resp.failures >= failures_max;
                self.counters.auth_api_key += 1;
                tracing::info!(connection = name, %peer, "a publisher was refused: wrong key in AUTH");
                if is_over {
                    // Told why, it may try again on a new connection.
                    self.answer(slot, Reply::Error(&refusal.to_string()));
                    self.close_after_answers(slot);
                    return Ok(false);
                }
                Err(refusal)
            }
        }
    }

    /// As new, but for the connection itself.
    fn reset(&mut self, slot: Slot) {
        if let Some(resp) = self.resp(slot) {
            resp.app = None;
            resp.transaction = None;
            resp.version = RespVersion::default();
        }
        if !self.connections.cold(slot).is_draining {
            self.set_phase_deadline(slot, AUTHENTICATION_MS);
        }
    }

    fn publish_resp(
        &mut self,
        slot: Slot,
        app: AppIndex,
        channel: &[u8],
        payload: &[u8],
    ) -> Result<(), Refusal> {
        let settings = &self.config.apps[usize::from(app.0)];
        let (channel, data) = publication(settings, channel, payload, &mut self.json)?;
        self.counters.publishes_resp += 1;
        let publication = Publication::plain(data, self.now.unix_ms);
        let connection = self.connections.id(slot);
        let ticket = self.waiting(slot).promise();
        let operation = self.begin(Operation::Resp(RespPublishing { connection, ticket }));
        // Deliveries happen after this input, so what they will cost is counted by those who listen now.
        self.publishers_work += PUBLISH_WORK + self.listeners_count(app, channel);
        self.route_publication(operation, app, channel, Arc::new(publication), None);
        Ok(())
    }

    fn listeners_count(&self, app: AppIndex, channel: &str) -> usize {
        let handle = self.channels.find(app, channel);
        handle.map_or(0, |handle| self.channels.get(handle).subscribers_count())
    }

    /// The owner's answer: how many heard the publication, as far as the owner knows.
    pub(super) fn resp_published(&mut self, publishing: &RespPublishing, result: Result<u32, ClientError>) {
        let RespPublishing { connection, ticket } = *publishing;
        if !self.connections.is_open(connection) {
            return;
        }
        let slot = connection.slot;
        let version = self.resp(slot).map_or(RespVersion::default(), |resp| resp.version);
        let mut reply = std::mem::take(&mut self.scratch);
        reply.clear();
        match result {
            Ok(subscribers) => append_reply(Reply::Integer(subscribers.into()), version, &mut reply),
            Err(error) => {
                let refusal = Refusal::Call(error.into());
                append_reply(Reply::Error(&refusal.to_string()), version, &mut reply);
            }
        }
        self.complete_reply(slot, ticket, &reply);
        self.scratch = reply;
        self.after_answer(slot);
        self.note_blocked(slot);
    }

    /// Answers a command at once, behind the replies that are still awaited.
    fn answer(&mut self, slot: Slot, reply: Reply<'_>) {
        let version = self.resp(slot).map_or(RespVersion::default(), |resp| resp.version);
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        append_reply(reply, version, &mut bytes);
        let is_queued =
            self.connections.cold_mut(slot).waiting.as_mut().is_some_and(|waiting| waiting.queue(&bytes));
        if !is_queued {
            self.push_bytes(slot, &[], &bytes);
        }
        self.scratch = bytes;
    }
}

impl Transaction {
    fn add<'a>(&mut self, arguments: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Result<(), Refusal> {
        append_command(arguments, &mut self.commands);
        self.count += 1;
        if self.commands.len() > TRANSACTION_BYTES_MAX {
            // Nothing of it will be carried out, so nothing of it is kept.
            self.commands = Vec::new();
            return Err(Refusal::LongTransaction { max: TRANSACTION_BYTES_MAX });
        }
        Ok(())
    }
}
