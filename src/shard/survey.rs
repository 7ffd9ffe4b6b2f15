//! Questions that only all shards together can answer.

use std::sync::Arc;

use super::backend::Part;
use super::letter::{Findings, Letter, OperationId, Question};
use super::{Operation, Shard};
use crate::api::call::ChannelCount;
use crate::api::pattern::matches;
use crate::core::ids::{AppIndex, ShardId, Slot};

impl Shard {
    /// Sends the question to every shard; each answers its own part.
    pub(super) fn ask_all_shards(&mut self, part: Part, question: &Question) {
        let question = Arc::new(question.clone());
        for target in (0..self.channels.placement().shards).map(ShardId) {
            let part = Part { gather: part.gather, call: part.call, channel: part.channel };
            let operation = self.begin(Operation::Backend(part));
            if target == self.id {
                self.surveyed_by(target, operation, &question);
            } else {
                self.send(target, Letter::Survey { operation, question: Arc::clone(&question) });
            }
        }
    }

    /// A shard asks, maybe this one. It is answered at once, or when what it wants done is done.
    pub(super) fn surveyed_by(&mut self, source: ShardId, operation: OperationId, question: &Question) {
        let findings = match question {
            Question::Users { app, whose, errand } => {
                return self.run_errand(source, operation, *app, whose, errand);
            }
            Question::Channels { app, pattern } => self.channels_like(*app, pattern),
            Question::Connections { app } => self.own_connections(*app),
            Question::Info { app } => self.own_info(*app),
        };
        self.answer_survey(source, operation, findings);
    }

    pub(super) fn answer_survey(&mut self, source: ShardId, operation: OperationId, findings: Findings) {
        if source == self.id {
            self.survey_answered(operation, findings);
        } else {
            self.send(source, Letter::Surveyed { operation, findings });
        }
    }

    pub(super) fn survey_answered(&mut self, operation: OperationId, findings: Findings) {
        if let Some(Operation::Backend(part)) = self.operations.end(operation) {
            self.found(&part, findings);
        }
    }

    fn channels_like(&self, app: AppIndex, pattern: &str) -> Findings {
        let heard = self.channels.iter().filter(|channel| {
            channel.key.app == app && channel.is_heard() && matches(pattern, &channel.key.name)
        });
        let counts = heard.map(|channel| ChannelCount {
            channel: Arc::clone(&channel.key.name),
            clients: u32::try_from(channel.subscribers_count()).unwrap_or(u32::MAX),
            users: None,
        });
        Findings::Channels(counts.collect())
    }

    fn own_connections(&self, app: AppIndex) -> Findings {
        let of_app = |slot: &Slot| {
            let cold = self.connections.cold(*slot);
            cold.is_client && cold.app == app.0
        };
        Findings::Connections(self.connections.open_slots().filter(of_app).count() as u64)
    }

    fn own_info(&self, app: AppIndex) -> Findings {
        let heads = self.users.heads(&self.connections, app);
        let users = heads.into_iter().map(|slot| self.connections.cold(slot).user.clone()).collect();
        Findings::Info {
            clients: self.counters.clients,
            users,
            channels: self.channels.iter().filter(|c| c.is_heard()).count() as u64,
            subscriptions: self.counters.subscriptions,
        }
    }
}
