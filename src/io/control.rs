//! The control thread: everything that is not per message, on a tokio-uring runtime.
//!
//! It answers operators, follows signals, hands new configurations to the shards and drains them at the end. Shards
//! hear of it by orders and answer by notices; neither side ever waits for the other inside its own loop.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

use super::mesh::Mesh;
use super::ops::{Ops, OpsListener, OpsTimes};
use super::reports::Reports;
use super::ring::RingError;
use super::webhooks::Webhooks;
use crate::admin::operations::Readiness;
use crate::config::Config;
use crate::core::ids::ShardId;
use crate::shard::letter::Order;

/// Entries of the runtime's ring: a few operators and nobody else.
const RING_ENTRIES: u32 = 64;

/// How long a shard may take to say anything when it is asked whether it runs.
const SHARD_ANSWER: Duration = Duration::from_secs(1);

/// What a drain may take beyond its configured time: closes wait this long for peers that do not answer.
const DRAIN_EXTRA: Duration = Duration::from_secs(15);

/// How long to rest before the shards are asked again.
const STEP: Duration = Duration::from_millis(100);

/// Reads the configuration anew. Errors: one line for the operator.
pub type Reread = Box<dyn FnMut() -> Result<Config, String>>;

/// What the control thread is made of.
pub struct Parts {
    pub mesh: Arc<Mesh>,
    pub ops: OpsListener,
    /// As the shards have it.
    pub config: Arc<Config>,
    pub reread: Reread,
    /// `None`: none is configured.
    pub webhooks: Option<Webhooks>,
    pub version: &'static str,
}

/// The runtime, made before anything is promised: it needs io_uring as much as the shards do.
pub struct Control {
    /// Never dropped: it would wait for the accept in flight. The process ends right after its run.
    runtime: std::mem::ManuallyDrop<tokio_uring::Runtime>,
}

impl Control {
    pub fn new() -> Result<Self, RingError> {
        let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRIES))?;
        Ok(Self { runtime: std::mem::ManuallyDrop::new(runtime) })
    }

    /// Runs until the broker is drained or a second signal asks for an end at once. The process must end then.
    pub fn run(&self, parts: Parts) -> io::Result<()> {
        self.runtime.block_on(serve(parts))
    }
}

/// What the control thread's main task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    HangUp,
    Drained,
}

async fn serve(parts: Parts) -> io::Result<()> {
    let Parts { mesh, ops, mut config, mut reread, webhooks, version } = parts;
    let (sender, mut events) = unbounded_channel();
    forward(SignalKind::terminate(), Event::Stop, &sender)?;
    forward(SignalKind::interrupt(), Event::Stop, &sender)?;
    forward(SignalKind::hangup(), Event::HangUp, &sender)?;

    let said = webhooks.as_ref().map(|webhooks| Arc::clone(&webhooks.said));
    let broker = Rc::new(Broker::new(mesh, webhooks));
    let following = Rc::clone(&broker.reports);
    tokio_uring::spawn(async move { following.follow().await });
    let (reports, readiness) = (Rc::clone(&broker.reports), Rc::clone(&broker.readiness));
    tokio_uring::spawn(Ops::new(reports, readiness, said, version, OpsTimes::default()).serve(ops));
    let (starting, addresses) = (Rc::clone(&broker), Arc::clone(&config));
    tokio_uring::spawn(async move { starting.start(&addresses).await });

    let mut is_draining = false;
    while let Some(event) = events.recv().await {
        match event {
            Event::HangUp if is_draining => {}
            Event::HangUp => broker.reload(&mut config, &mut reread),
            Event::Stop if is_draining => {
                tracing::warn!("a second signal: ending at once");
                break;
            }
            Event::Stop => {
                is_draining = true;
                let (broker, config, sender) = (Rc::clone(&broker), Arc::clone(&config), sender.clone());
                tokio_uring::spawn(async move {
                    broker.drain(&config).await;
                    let _ = sender.send(Event::Drained);
                });
            }
            Event::Drained => break,
        }
    }
    Ok(())
}

/// Turns every signal of a kind into an event. From here on the signal no longer ends the process by itself.
fn forward(kind: SignalKind, event: Event, events: &UnboundedSender<Event>) -> io::Result<()> {
    let mut signals = signal(kind)?;
    let events = events.clone();
    tokio_uring::spawn(async move { while signals.recv().await.is_some() && events.send(event).is_ok() {} });
    Ok(())
}

/// The shards as the control thread sees them.
struct Broker {
    mesh: Arc<Mesh>,
    reports: Rc<Reports>,
    readiness: Rc<Cell<Readiness>>,
    /// Gone once they were told that nothing will happen any more.
    webhooks: RefCell<Option<Webhooks>>,
}

impl Broker {
    fn new(mesh: Arc<Mesh>, webhooks: Option<Webhooks>) -> Self {
        let reports = Rc::new(Reports::new(Arc::clone(&mesh)));
        let readiness = Rc::new(Cell::new(Readiness::Starting));
        Self { mesh, reports, readiness, webhooks: RefCell::new(webhooks) }
    }

    /// Ready as soon as every shard has answered once: then all of them turn.
    async fn start(&self, config: &Config) {
        while self.reports.statistics(SHARD_ANSWER).await.is_err() {
            sleep(STEP).await;
        }
        if self.readiness.get() == Readiness::Starting {
            self.readiness.set(Readiness::Ready);
            let server = &config.server;
            tracing::info!(http = ?server.http, ops = %server.ops, shards = self.mesh.shards(), "ready");
        }
    }

    /// Reads the configuration anew and gives the shards what they can take over of it.
    fn reload(&self, running: &mut Arc<Config>, reread: &mut Reread) {
        let taken = reread().and_then(|new| {
            for warning in &new.warnings {
                tracing::warn!("{warning}");
            }
            running.take_over(new).map_err(|error| error.to_string())
        });
        match taken {
            Ok((config, kept)) => {
                *running = Arc::new(config);
                self.order(|| Order::Reload(Arc::clone(running)));
                if let Some(webhooks) = &*self.webhooks.borrow() {
                    webhooks.reload(running);
                }
                tracing::info!("secrets, namespaces and limits were read anew");
                if !kept.is_empty() {
                    tracing::warn!(keys = kept.join(", "), "these keys changed too, and need a restart");
                }
            }
            Err(reason) => tracing::error!(reason, "the configuration stays as it is"),
        }
    }

    /// Not ready for the grace, so that balancers notice; then every connection is closed, spread over its time.
    async fn drain(&self, config: &Config) {
        self.readiness.set(Readiness::Draining);
        let server = &config.server;
        let grace = Duration::from_millis(server.drain_grace_ms.into());
        let spread = Duration::from_millis(server.drain_spread_ms.into());
        self.order(|| Order::Retire);
        tracing::info!(?grace, ?spread, "draining; a second signal ends at once");
        // The grace is for those who are connected, and for what brings new ones; alone there is nobody to wait for.
        let _ = timeout(grace, self.until_alone()).await;
        self.order(|| Order::Drain { spread_ms: server.drain_spread_ms.into() });
        match timeout(spread + DRAIN_EXTRA, self.reports.drained()).await {
            Ok(()) => tracing::info!("drained"),
            Err(_) => tracing::warn!("connections were left when the time to drain was over"),
        }
        let webhooks = self.webhooks.borrow_mut().take();
        if let Some(webhooks) = webhooks {
            webhooks.farewell().await;
        }
    }

    async fn until_alone(&self) {
        loop {
            let figures = self.reports.statistics(SHARD_ANSWER).await;
            if figures.is_ok_and(|shards| shards.iter().all(|shard| shard.connections == 0)) {
                return;
            }
            sleep(STEP).await;
        }
    }

    fn order(&self, order: impl Fn() -> Order) {
        for shard in 0..self.mesh.shards() {
            self.mesh.order(ShardId(shard), order());
        }
    }
}
