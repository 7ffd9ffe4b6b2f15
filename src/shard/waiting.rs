//! What a connection needs while an answer is awaited: replies in request order, and commands held back.

use std::collections::VecDeque;

use super::answers::LongAnswer;
use super::backend::ApiRequest;
use super::greeting::Greeting;
use super::sign_in::SigningIn;
use crate::core::command::{Command, Request};

/// Exists only while something is awaited or held back.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Replies in the order of their requests, each complete or still awaited. The front one is awaited.
    replies: VecDeque<Option<Vec<u8>>>,
    /// Number of the front reply.
    first: u32,
    /// Of the replies that are complete.
    replies_bytes: usize,
    /// Commands decoded but not yet carried out.
    pub held: VecDeque<Request>,
    /// A command that has been counted and may be carried out, before those held back.
    pub granted: Option<Box<Request>>,
    /// A backend's request that may be carried out once, and now may, before what came after it.
    pub taken: Option<Box<ApiRequest>>,
    /// Bytes received but not yet looked at.
    pub input: Vec<u8>,
    /// Commands under way that may change what later ones can do: nothing is begun before their answers.
    pub barriers: u16,
    /// The answer to connect, while it waits for subscriptions.
    pub greeting: Option<Box<Greeting>>,
    /// The answer to sign-in, while it waits for the user's channel.
    pub signing_in: Option<Box<SigningIn>>,
    /// The connection waits for other shards to take its publications.
    pub parked: bool,
    /// Replies lie unread: no further command is begun before the peer takes them.
    pub full: bool,
    /// A long answer is on its way.
    pub answer: Option<LongAnswer>,
    /// Receiving was stopped because enough is held back.
    pub paused: bool,
}

/// Names one awaited reply of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u32);

/// Replies that may be awaited at once; a further publish waits for one of them.
const REPLIES_MAX: usize = 256;
/// Bytes of complete ones that may wait behind an awaited one before nothing further is begun.
const REPLIES_BYTES_MAX: usize = 64 * 1024;

impl Waiting {
    /// Promises a reply in its place.
    pub fn promise(&mut self) -> Ticket {
        self.replies.push_back(None);
        let place = u32::try_from(self.replies.len() - 1).unwrap_or(u32::MAX);
        Ticket(self.first.wrapping_add(place))
    }

    /// A reply that is ready but must wait for those before it; `false`: nothing is awaited, send it at once.
    pub fn queue(&mut self, reply: &[u8]) -> bool {
        if self.replies.is_empty() {
            return false;
        }
        self.replies.push_back(Some(reply.to_vec()));
        self.replies_bytes += reply.len();
        true
    }

    /// Completes a promised reply. `true`: its turn has come, and it is to be sent at once; otherwise it is kept.
    /// An unknown ticket is ignored.
    pub fn complete(&mut self, ticket: Ticket, reply: &[u8]) -> bool {
        let place = ticket.0.wrapping_sub(self.first) as usize;
        if place == 0 && matches!(self.replies.front(), Some(None)) {
            self.replies.pop_front();
            self.first = self.first.wrapping_add(1);
            return true;
        }
        if let Some(entry) = self.replies.get_mut(place) {
            *entry = Some(reply.to_vec());
            self.replies_bytes += reply.len();
        }
        false
    }

    /// The next reply whose turn it is.
    pub fn next_ready(&mut self) -> Option<Vec<u8>> {
        if let Some(Some(_)) = self.replies.front() {
            self.first = self.first.wrapping_add(1);
            let reply = self.replies.pop_front().flatten();
            self.replies_bytes -= reply.as_ref().map_or(0, Vec::len);
            return reply;
        }
        None
    }

    /// Whether any reply is awaited.
    pub fn awaits_reply(&self) -> bool {
        !self.replies.is_empty()
    }

    /// Whether further commands must wait.
    pub fn is_blocked(&self) -> bool {
        self.barriers > 0
            || self.parked
            || self.full
            || self.replies.len() >= REPLIES_MAX
            || self.replies_bytes >= REPLIES_BYTES_MAX
            || self.holds_beginning()
    }

    fn holds_beginning(&self) -> bool {
        !self.replies.is_empty() && self.held.front().is_some_and(|request| begins_to_hear(&request.command))
    }

    /// Whether something that the peer sent is still to be looked at.
    pub fn holds_anything(&self) -> bool {
        self.paused || !self.held.is_empty() || !self.input.is_empty()
    }

    /// Whether nothing is awaited nor held, so that the memory can go.
    pub fn is_idle(&self) -> bool {
        self.barriers == 0
            && self.greeting.is_none()
            && self.signing_in.is_none()
            && self.granted.is_none()
            && self.taken.is_none()
            && !self.parked
            && !self.full
            && self.answer.is_none()
            && !self.paused
            && self.replies.is_empty()
            && self.held.is_empty()
            && self.input.is_empty()
    }
}

/// Whether the client hears a channel from the reply on. Such a command is carried out only when its reply can leave at
/// once: behind an awaited reply it would be overtaken by the channel's first publications.
pub fn begins_to_hear(command: &Command) -> bool {
    matches!(command, Command::Subscribe(_) | Command::SignIn { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::command::Subscribe;

    #[test]
    fn a_subscribe_waits_for_the_replies_before_it() {
        let mut waiting = Waiting::default();
        let ticket = waiting.promise();
        let subscribe = Subscribe { channel: "a".into(), ..Subscribe::default() };
        waiting.held.push_back(Request { tag: 2, command: Command::Subscribe(subscribe) });
        assert!(waiting.is_blocked());
        assert!(waiting.complete(ticket, b"published"));
        assert!(!waiting.is_blocked());
    }

    #[test]
    fn replies_that_wait_are_bounded_in_bytes() {
        let mut waiting = Waiting::default();
        let ticket = waiting.promise();
        waiting.queue(&[0; REPLIES_BYTES_MAX - 1]);
        assert!(!waiting.is_blocked());
        waiting.queue(b"x");
        assert!(waiting.is_blocked());
        assert!(waiting.complete(ticket, b"published"));
        while waiting.next_ready().is_some() {}
        assert!(!waiting.is_blocked());
    }

    #[test]
    fn replies_leave_in_request_order() {
        let mut waiting = Waiting::default();
        assert!(!waiting.queue(b"nothing is awaited"));
        let (first, second) = (waiting.promise(), waiting.promise());
        assert!(waiting.queue(b"third"));
        assert!(!waiting.complete(second, b"second"));
        assert_eq!(waiting.next_ready(), None);
        assert!(waiting.complete(first, b"first"));
        for want in ["second", "third"] {
            assert_eq!(waiting.next_ready().as_deref(), Some(want.as_bytes()));
        }
        assert!(waiting.is_idle());
        assert!(!waiting.complete(first, b"late"));
        assert_eq!(waiting.next_ready(), None);
    }
}
