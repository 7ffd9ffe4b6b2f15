//! What shards tell the control thread: their figures when asked, and that nobody is left after a drain.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::mesh::Mesh;
use crate::core::ids::ShardId;
use crate::metrics::Snapshot;
use crate::shard::letter::{Notice, Order};

/// Questions a shard may leave unanswered before it is not asked any more: orders are never dropped, so those to a
/// shard that hangs would pile up with every scrape.
const UNANSWERED_MAX: u64 = 16;

/// The shard that did not answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silent(pub ShardId);

/// One place for all notices: [`Reports::follow`] takes them in, everybody else on this thread waits here.
#[derive(Debug)]
pub struct Reports {
    mesh: Arc<Mesh>,
    shards: RefCell<Vec<Report>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Report {
    /// Questions so far, and answers so far; they come in order.
    asked: u64,
    answered: u64,
    latest: Snapshot,
    is_drained: bool,
}

impl Reports {
    pub fn new(mesh: Arc<Mesh>) -> Self {
        let shards = (0..mesh.shards()).map(|_| Report::default()).collect();
        Self { mesh, shards: RefCell::new(shards), changed: Notify::new() }
    }

    /// Takes notices in, for ever.
    pub async fn follow(&self) {
        loop {
            let (ShardId(source), notice) = self.mesh.next_notice().await;
            if let Some(report) = self.shards.borrow_mut().get_mut(usize::from(source)) {
                match notice {
                    Notice::Statistics(snapshot) => {
                        report.answered += 1;
                        report.latest = *snapshot;
                    }
                    Notice::Drained => report.is_drained = true,
                }
            }
            self.changed.notify_waiters();
        }
    }

    /// Every shard's figures, none older than this call, in the order of their ids.
    pub async fn statistics(&self, limit: Duration) -> Result<Vec<Snapshot>, Silent> {
        let numbers = self.ask_all()?;
        let missing = |shards: &[Report]| {
            shards.iter().zip(&numbers).position(|(report, number)| report.answered < *number)
        };
        let all_answered = self.until(|shards| missing(shards).is_none());
        if tokio::time::timeout(limit, all_answered).await.is_err()
            && let Some(shard) = missing(&self.shards.borrow())
        {
            return Err(Silent(ShardId(shard as u16)));
        }
        Ok(self.shards.borrow().iter().map(|report| report.latest.clone()).collect())
    }

    /// Waits until every shard has said that it has no connection left.
    pub async fn drained(&self) {
        self.until(|shards| shards.iter().all(|report| report.is_drained)).await;
    }

    /// The number of each shard's question. Nobody is asked if one of them has stopped answering.
    fn ask_all(&self) -> Result<Vec<u64>, Silent> {
        let mut shards = self.shards.borrow_mut();
        let hangs = |report: &Report| report.asked.saturating_sub(report.answered) >= UNANSWERED_MAX;
        if let Some(shard) = shards.iter().position(hangs) {
            return Err(Silent(ShardId(shard as u16)));
        }
        for (report, id) in shards.iter_mut().zip(0..) {
            report.asked += 1;
            self.mesh.order(ShardId(id), Order::Statistics);
        }
        Ok(shards.iter().map(|report| report.asked).collect())
    }

    async fn until(&self, holds: impl Fn(&[Report]) -> bool) {
        loop {
            // Made before the look, so that no change between the two is missed.
            let changed = self.changed.notified();
            if holds(&self.shards.borrow()) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    /// For answers that come; and for those that do not.
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(2);

    fn answer(mesh: &Mesh, shard: u16, connections: u64) {
        let snapshot = Snapshot { connections, ..Snapshot::default() };
        mesh.notify(ShardId(shard), Notice::Statistics(Box::new(snapshot)));
    }

    fn with_reports<F: Future<Output = ()>>(test: impl FnOnce(Arc<Mesh>, Rc<Reports>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime.expect("a runtime"), async {
            let mesh = Mesh::new(2).expect("two eventfds");
            let reports = Rc::new(Reports::new(Arc::clone(&mesh)));
            let following = Rc::clone(&reports);
            tokio::task::spawn_local(async move { following.follow().await });
            test(mesh, reports).await;
        });
    }

    /// Asks, lets the shards in `answering` answer, and returns what came of it.
    async fn ask(
        mesh: &Mesh,
        reports: &Rc<Reports>,
        limit: Duration,
        answering: &[(u16, u64)],
    ) -> Result<Vec<u64>, Silent> {
        let asking = Rc::clone(reports);
        let figures = tokio::task::spawn_local(async move { asking.statistics(limit).await });
        tokio::task::yield_now().await;
        for (shard, connections) in answering {
            answer(mesh, *shard, *connections);
        }
        let figures = figures.await.expect("no panic")?;
        Ok(figures.iter().map(|snapshot| snapshot.connections).collect())
    }

    #[test]
    fn figures_come_from_every_shard_and_are_not_old() {
        with_reports(|mesh, reports| async move {
            assert_eq!(ask(&mesh, &reports, LONG, &[(1, 11), (0, 10)]).await, Ok(vec![10, 11]));
            assert_eq!(ask(&mesh, &reports, SHORT, &[(0, 20)]).await, Err(Silent(ShardId(1))));
            // The late answer to that question is no answer to the next one.
            assert_eq!(ask(&mesh, &reports, SHORT, &[(0, 30), (1, 21)]).await, Err(Silent(ShardId(1))));
            assert_eq!(ask(&mesh, &reports, LONG, &[(0, 40), (1, 31), (1, 41)]).await, Ok(vec![40, 41]));
        });
    }

    #[test]
    fn a_shard_that_hangs_is_asked_no_more_until_it_answers() {
        with_reports(|mesh, reports| async move {
            let number = |shard: usize| reports.shards.borrow()[shard].asked;
            for _ in 0..UNANSWERED_MAX {
                assert_eq!(ask(&mesh, &reports, SHORT, &[(0, 1)]).await, Err(Silent(ShardId(1))));
            }
            assert_eq!(ask(&mesh, &reports, LONG, &[]).await, Err(Silent(ShardId(1))), "at once");
            assert_eq!((number(0), number(1)), (UNANSWERED_MAX, UNANSWERED_MAX));
            for _ in 0..UNANSWERED_MAX {
                answer(&mesh, 1, 1);
            }
            tokio::task::yield_now().await;
            assert_eq!(ask(&mesh, &reports, LONG, &[(0, 2), (1, 3)]).await, Ok(vec![2, 3]));
        });
    }

    #[test]
    fn a_drain_is_over_when_nobody_is_left_anywhere() {
        with_reports(|mesh, reports| async move {
            mesh.notify(ShardId(1), Notice::Drained);
            assert!(tokio::time::timeout(SHORT, reports.drained()).await.is_err());
            mesh.notify(ShardId(0), Notice::Drained);
            assert!(tokio::time::timeout(LONG, reports.drained()).await.is_ok());
        });
    }
}
