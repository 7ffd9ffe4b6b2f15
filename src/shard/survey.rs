//! Questions that only all shards together can answer.

use std::sync::Arc;

use super::backend::Part;
use super::letter::{Findings, Letter, OperationId, Question};
use super::{Operation, Shard};
use crate::api::call::ChannelCount;
use crate::api::pattern::matches;
use crate::core::ids::{ShardId, Slot};

impl Shard {
    /// Sends the question to every shard; each answers its own part.
    pub(super) fn ask_all_shards(&mut self, part: Part, question: &Question) {
        let question = Arc::new(question.clone());
        for target in (0..self.channels.placement().shards).map(ShardId) {
            let part = Part { gather: part.gather, call: part.call, channel: part.channel };
            if target == self.id {
                let findings = self.answer_question(&question);
                self.found(&part, findings);
            } else {
                let operation = self.begin(Operation::Backend(part));
                self.send(target, Letter::Survey { operation, question: Arc::clone(&question) });
            }
        }
    }

    /// Another shard asks.
    pub(super) fn surveyed_by(&mut self, source: ShardId, operation: OperationId, question: &Question) {
        let findings = self.answer_question(question);
        self.send(source, Letter::Surveyed { operation, findings });
    }

    pub(super) fn survey_answered(&mut self, operation: OperationId, findings: Findings) {
        if let Some(Operation::Backend(part)) = self.operations.end(operation) {
            self.found(&part, findings);
        }
    }

    fn answer_question(&mut self, question: &Question) -> Findings {
        match question {
            Question::Disconnect { app, user, client, whitelist, disconnect } => {
                let slots: Vec<Slot> = match client {
                    Some(client) => self.seal.open(*client).map_or_else(Vec::new, |address| {
                        let is_here =
                            address.shard == self.id && self.connections.is_open(address.connection);
                        let slot = address.connection.slot;
                        if is_here && self.connections.app(slot) == *app { vec![slot] } else { Vec::new() }
                    }),
                    None => self.users.connections_of(&self.connections, *app, user),
                };
                for slot in slots {
                    let is_other_user = !user.is_empty() && *self.connections.cold(slot).user != **user;
                    if !is_other_user && !whitelist.contains(&self.client_id(slot)) {
                        self.disconnect(slot, disconnect.clone());
                    }
                }
                Findings::Done
            }
            Question::Channels { app, pattern } => {
                let heard = self.channels.iter().filter(|channel| {
                    channel.key.app == *app && channel.is_heard() && matches(pattern, &channel.key.name)
                });
                let counts = heard.map(|channel| ChannelCount {
                    channel: Arc::clone(&channel.key.name),
                    clients: u32::try_from(channel.subscribers_count()).unwrap_or(u32::MAX),
                });
                Findings::Channels(counts.collect())
            }
            Question::Info { app } => {
                let heads = self.users.heads(&self.connections, *app);
                let users = heads.into_iter().map(|slot| self.connections.cold(slot).user.clone()).collect();
                Findings::Info {
                    clients: self.counters.clients,
                    users,
                    channels: self.channels.iter().filter(|c| c.is_heard()).count() as u64,
                    subscriptions: self.counters.subscriptions,
                }
            }
        }
    }
}
