//! A publisher with a Redis client: commands in long pipelines, cut anywhere, and a reply to each in its turn.

use std::collections::VecDeque;

use polycast::shard::input::Entrance;

use super::around::{Around, Stage, Writer};
use super::ledger::{self, Broken, Kind, Outcome};
use super::mutant::Mutant;
use super::scenario::{API_KEY, EngineKind};

/// Commands under way at once.
const PIPELINE_MAX: usize = 400;

/// Length of a text that comes back, in bytes.
pub const TEXT_BYTES_MAX: usize = 4_000;

/// What is due next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    Line(&'static str),
    Text(String),
    /// How many heard a publication.
    Count {
        channel: String,
        number: usize,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reply {
    Line(String),
    Text(String),
}

#[derive(Debug)]
pub struct Publisher {
    name: usize,
    socket: Option<usize>,
    writer: Writer,
    inbound: Vec<u8>,
    expected: VecDeque<Due>,
    act_ms: u64,
    asleep_until_ms: u64,
    texts: u64,
    /// It has asked for the end of the connection.
    is_ending: bool,
    /// It sends FIN once everything is written.
    finishes: bool,
}

impl Publisher {
    pub fn new(name: usize) -> Self {
        Self {
            name,
            socket: None,
            writer: Writer::default(),
            inbound: Vec::new(),
            expected: VecDeque::new(),
            act_ms: 0,
            asleep_until_ms: 0,
            texts: 0,
            is_ending: false,
            finishes: false,
        }
    }

    pub fn next_ms(&self, stage: Stage) -> Option<u64> {
        let acts = stage == Stage::Active && !self.is_ending;
        acts.then_some(self.act_ms).into_iter().chain(self.writer.next_ms()).min()
    }

    /// When it will read again, if there is something to read.
    pub fn reads_ms(&self) -> Option<u64> {
        self.socket.map(|_| self.asleep_until_ms)
    }

    pub fn is_away(&self) -> bool {
        self.socket.is_none()
    }

    /// No more sleep: the run comes to its end.
    pub fn calm_down(&mut self) {
        self.asleep_until_ms = 0;
    }

    /// One step. `false`: there was nothing to do.
    pub fn step(&mut self, around: &mut Around<'_>) -> Result<bool, Broken> {
        let now_ms = around.now.monotonic_ms;
        if let Some(socket) = self.socket {
            if self.asleep_until_ms <= now_ms && around.sockets[socket].is_readable() {
                self.read(socket, around).map_err(|what| format!("publisher {}: {what}", self.name))?;
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
            self.begin(around);
        }
        if self.expected.len() > PIPELINE_MAX {
            return;
        }
        match around.random.below(100) {
            0..60 => self.publish(1, 4, around),
            60..66 => self.publish(20, 150, around),
            66..78 => self.ask_for_texts(around),
            78..84 => self.ask_for_all_or_nothing(around),
            84..88 => self.asleep_until_ms = around.now.monotonic_ms + around.random.below(3_000),
            88..91 => self.end(around),
            91..93 => self.be_cut(around),
            _ => {}
        }
    }

    fn begin(&mut self, around: &mut Around<'_>) {
        let socket = around.connect_to(Entrance::Resp);
        self.socket = Some(socket);
        around
            .trace
            .note(around.now.monotonic_ms, format_args!("publisher {} connects, socket {socket}", self.name));
        self.inbound.clear();
        self.asleep_until_ms = 0;
        self.ask(&["AUTH", API_KEY], Due::Line("+OK"));
    }

    fn ask(&mut self, words: &[&str], due: Due) {
        let out = &mut self.writer.bytes;
        out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        self.expected.push_back(due);
    }

    fn publish(&mut self, low: u64, high: u64, around: &mut Around<'_>) {
        for _ in 0..around.random.between(low, high) {
            let (channel, number, data) = publication(around);
            self.ask(&["PUBLISH", &channel, &data], Due::Count { channel: channel.clone(), number });
        }
    }

    /// Replies that tell which command they are to.
    fn ask_for_texts(&mut self, around: &mut Around<'_>) {
        for _ in 0..around.random.between(1, 20) {
            self.texts += 1;
            let text = format!("{} {}", self.texts, "y".repeat(around.data_bytes().min(TEXT_BYTES_MAX - 20)));
            self.ask(&["ECHO", &text], Due::Text(text.clone()));
        }
    }

    /// A transaction: its replies come when it is carried out.
    fn ask_for_all_or_nothing(&mut self, around: &mut Around<'_>) {
        const HEADS: [&str; 5] = ["*0", "*1", "*2", "*3", "*4"];
        self.ask(&["MULTI"], Due::Line("+OK"));
        let count = around.random.index(HEADS.len());
        let mut counts = Vec::new();
        for _ in 0..count {
            let (channel, number, data) = publication(around);
            self.ask(&["PUBLISH", &channel, &data], Due::Line("+QUEUED"));
            counts.push(Due::Count { channel, number });
        }
        self.ask(&["EXEC"], Due::Line(HEADS[count]));
        self.expected.extend(counts);
    }

    fn end(&mut self, around: &mut Around<'_>) {
        self.is_ending = true;
        if around.random.percent(50) {
            self.ask(&["QUIT"], Due::Line("+OK"));
        } else {
            self.finishes = true;
        }
    }

    fn be_cut(&mut self, around: &mut Around<'_>) {
        if let Some(socket) = self.socket {
            around.sockets[socket].reset_by_peer();
        }
        self.ended();
    }

    fn read(&mut self, socket: usize, around: &mut Around<'_>) -> Result<(), Broken> {
        if around.sockets[socket].has_ended() {
            if !self.expected.is_empty() && !around.is_draining {
                return Err(format!(
                    "the connection ended, {:?} and {} more are not answered",
                    self.expected[0],
                    self.expected.len() - 1
                ));
            }
            self.leave(around);
            return Ok(());
        }
        let bytes = around.sockets[socket].read(around.random);
        self.inbound.extend_from_slice(&bytes);
        let mut replies = Vec::new();
        while let Some(reply) = take_reply(&mut self.inbound)? {
            replies.push(reply);
        }
        if replies.len() > 1 && around.saboteur.strikes(Mutant::SwapReplies) {
            let last = replies.len() - 1;
            replies.swap(last - 1, last);
        }
        replies.into_iter().try_for_each(|reply| self.judge(reply, around))
    }

    fn judge(&mut self, reply: Reply, around: &mut Around<'_>) -> Result<(), Broken> {
        let due = self.expected.pop_front().ok_or_else(|| format!("{reply:?} to nothing"))?;
        around.trace.note(
            around.now.monotonic_ms,
            format_args!("publisher {} got {:?}", self.name, shortened(&reply)),
        );
        match (&due, &reply) {
            (Due::Line(want), Reply::Line(line)) if line == want => Ok(()),
            (Due::Text(want), Reply::Text(text)) if text == want => Ok(()),
            (Due::Count { channel, number }, Reply::Line(line)) => {
                let heard = line.strip_prefix(':').map(str::parse::<usize>);
                let outcome = match heard {
                    Some(Ok(heard)) if heard <= around.sockets.len() => Outcome::Taken,
                    None if line.starts_with("-ERR ") && may_fail(channel, around) => Outcome::Refused,
                    _ => return Err(format!("publication {number} was answered with {line:?}")),
                };
                around.trace.count("published with RESP");
                around.ledger.answered(*number, channel, outcome, None)
            }
            _ => Err(format!("{:?} where {due:?} was due", shortened(&reply))),
        }
    }

    /// Everything that was under way has come to its end.
    pub fn settled(&self) -> Result<(), Broken> {
        match self.expected.front() {
            None => Ok(()),
            Some(due) => Err(format!("publisher {}: {due:?} is not answered", self.name)),
        }
    }

    /// Closes.
    pub fn leave(&mut self, around: &mut Around<'_>) {
        if let Some(socket) = self.socket {
            around.sockets[socket].close_by_peer();
        }
        self.ended();
    }

    fn ended(&mut self) {
        self.socket = None;
        self.expected.clear();
        self.writer.bytes.clear();
        (self.is_ending, self.finishes) = (false, false);
    }
}

fn publication(around: &mut Around<'_>) -> (String, usize, String) {
    let channel = around.channel();
    let number = around.ledger.publish(std::slice::from_ref(&channel), Kind::default());
    let data = ledger::data(number, around.data_bytes());
    (channel, number, data)
}

fn may_fail(channel: &str, around: &Around<'_>) -> bool {
    around.scenario.engine == EngineKind::Slow || (around.is_reloaded && channel.starts_with("gone:"))
}

/// Takes one whole reply off the front of what was received. `None`: more is needed.
fn take_reply(bytes: &mut Vec<u8>) -> Result<Option<Reply>, Broken> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let start = end + 2;
    let Some(length) = line.strip_prefix('$') else {
        bytes.drain(..start);
        return Ok(Some(Reply::Line(line)));
    };
    let length: usize = length.parse().map_err(|_| format!("a reply that begins with {line:?}"))?;
    if bytes.len() < start + length + 2 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes[start..start + length]).into_owned();
    bytes.drain(..start + length + 2);
    Ok(Some(Reply::Text(text)))
}

fn shortened(reply: &Reply) -> &str {
    let (Reply::Line(text) | Reply::Text(text)) = reply;
    &text[..text.len().min(40)]
}
