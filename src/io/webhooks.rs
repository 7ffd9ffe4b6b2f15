//! The webhooks' thread: takes what shards say has happened, and tells backends.
//!
//! It exists only where a webhook is configured. It is apart from the control thread, whose runtime submits
//! nothing while one of its tasks is busy: a backend's TLS handshake must not hold up health checks, nor a drain.
//! Its runtime is plain tokio, because what a dropped request leaves behind there is a closed socket.
//!
//! Shards never wait: their queue is bounded, and when it is full its oldest entry gives way and is counted.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use hyper::Uri;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::clock::Clock;
use super::outgoing::Outgoing;
use crate::auth::PusherKeys;
use crate::config::{Config, Webhook};
use crate::core::happening::Happening;
use crate::core::ids::AppIndex;
use crate::metrics::{Kind, Series};
use crate::webhooks::{Attempts, Debounce, LANE_EVENTS_MAX, LANES, Lane, append_event, body, lane_of, wants};

/// What shards may say ahead of the thread.
const SAID_MAX: usize = 10_000;

/// Events of one request, where a webhook takes several.
const BATCH_EVENTS_MAX: usize = 100;

/// How long the process may live on at its end for what is still to be told.
const FAREWELL: Duration = Duration::from_secs(3);

/// Between shards and the thread.
#[derive(Debug)]
pub struct Said {
    queue: ArrayQueue<Happening>,
    news: Notify,
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    waiting: AtomicU64,
}

impl Said {
    fn new() -> Self {
        Self {
            queue: ArrayQueue::new(SAID_MAX),
            news: Notify::new(),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }
    }

    /// From a shard. Never waits.
    pub fn say(&self, happening: Happening) {
        if self.queue.force_push(happening).is_some() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.news.notify_one();
    }

    /// The figures, for `/metrics`.
    pub fn series(&self) -> Vec<Series> {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let events = |labels, figure| Series {
            name: "polycast_webhook_events_total",
            labels,
            kind: Kind::Counter,
            help: "Events for webhooks, by what came of them.",
            value: read(figure),
        };
        vec![
            events("outcome=\"delivered\"", &self.delivered),
            events("outcome=\"failed\"", &self.failed),
            events("outcome=\"dropped\"", &self.dropped),
            Series {
                name: "polycast_webhook_events_waiting",
                labels: "",
                kind: Kind::Gauge,
                help: "Events for webhooks that are not delivered yet.",
                value: read(&self.waiting),
            },
        ]
    }
}

/// The thread, as the others see it.
#[derive(Debug)]
pub struct Webhooks {
    pub said: Arc<Said>,
    /// What is signed with changes by a reload.
    config: watch::Sender<Arc<Config>>,
    end: oneshot::Sender<oneshot::Sender<()>>,
}

impl Webhooks {
    /// Starts the thread if there is something to do for it.
    pub fn start(config: &Arc<Config>, clock: Clock) -> io::Result<Option<Self>> {
        let mut apps = config.apps.iter();
        if apps.all(|app| app.pusher.as_ref().is_none_or(|options| options.webhooks.is_empty())) {
            return Ok(None);
        }
        let said = Arc::new(Said::new());
        let (sender, receiver) = watch::channel(Arc::clone(config));
        let (end, ending) = oneshot::channel();
        let hooks = Hooks { said: Arc::clone(&said), config: receiver, clock };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("webhooks".into()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, hooks.run(ending));
        })?;
        Ok(Some(Self { said, config: sender, end }))
    }

    /// Secrets were read anew.
    pub fn reload(&self, config: &Arc<Config>) {
        self.config.send_replace(Arc::clone(config));
    }

    /// Nothing will be said any more: waits, within bounds, until all is told.
    pub async fn farewell(self) {
        let (done, finished) = oneshot::channel();
        if self.end.send(done).is_ok() && timeout(FAREWELL, finished).await.is_err() {
            tracing::warn!("events for webhooks were left when the time to deliver them was over");
        }
    }
}

/// What the thread is made of.
struct Hooks {
    said: Arc<Said>,
    config: watch::Receiver<Arc<Config>>,
    clock: Clock,
}

impl Hooks {
    async fn run(self, mut ending: oneshot::Receiver<oneshot::Sender<()>>) {
        let receivers = self.receivers();
        let mut debounce = Debounce::default();
        let mut ready = Vec::new();
        loop {
            let now_ms = self.clock.now().monotonic_ms;
            while let Some(happening) = self.said.queue.pop() {
                debounce.take(happening, now_ms, &mut ready);
            }
            debounce.release(now_ms, &mut ready);
            self.hand_out(&mut ready, &receivers);
            let rest = debounce.next_due_ms().map(|due_ms| due_ms.saturating_sub(now_ms));
            tokio::select! {
                () = self.said.news.notified() => {}
                () = sleep(Duration::from_millis(rest.unwrap_or(u64::MAX >> 20))) => {}
                asked = &mut ending => {
                    while let Some(happening) = self.said.queue.pop() {
                        debounce.take(happening, now_ms, &mut ready);
                    }
                    debounce.release_all(&mut ready);
                    self.hand_out(&mut ready, &receivers);
                    while self.said.waiting.load(Ordering::Relaxed) > 0 {
                        sleep(Duration::from_millis(5)).await;
                    }
                    if let Ok(done) = asked {
                        let _ = done.send(());
                    }
                    return;
                }
            }
        }
    }

    /// One per webhook, each with a task per lane.
    fn receivers(&self) -> Vec<Receiver> {
        let outgoing = Outgoing::new();
        let config = Arc::clone(&self.config.borrow());
        let mut receivers = Vec::new();
        for (app, index) in config.apps.iter().zip(0..) {
            for hook in app.pusher.iter().flat_map(|options| &options.webhooks) {
                let hook = Rc::new(hook.clone());
                // With several events to a request there is no need for several requests at once.
                let (lanes, events_max, batch) = match hook.batching {
                    true => (1, LANES * LANE_EVENTS_MAX, BATCH_EVENTS_MAX),
                    false => (LANES, LANE_EVENTS_MAX, 1),
                };
                let lanes = (0..lanes).map(|_| {
                    let mouth = Rc::new(Mouth {
                        said: Arc::clone(&self.said),
                        config: self.config.clone(),
                        clock: self.clock,
                        app: AppIndex(index),
                        hook: Rc::clone(&hook),
                        outgoing: outgoing.clone(),
                        lane: RefCell::new(Lane::new(events_max)),
                        news: Notify::new(),
                        batch,
                        is_known_bad: Cell::new(false),
                    });
                    let speaking = Rc::clone(&mouth);
                    tokio::task::spawn_local(async move { speaking.run().await });
                    mouth
                });
                receivers.push(Receiver {
                    app: AppIndex(index),
                    lanes: lanes.collect(),
                    hook: Rc::clone(&hook),
                });
            }
        }
        receivers
    }

    fn hand_out(&self, ready: &mut Vec<Happening>, receivers: &[Receiver]) {
        for happening in ready.drain(..) {
            let kind = happening.what.kind();
            let mut event: Option<Arc<[u8]>> = None;
            for receiver in receivers {
                if receiver.app != happening.app || !wants(&receiver.hook, kind, &happening.channel) {
                    continue;
                }
                let event = event.get_or_insert_with(|| {
                    let mut text = Vec::new();
                    append_event(&happening, &mut text);
                    text.into()
                });
                let mouth = &receiver.lanes[lane_of(&happening.channel, receiver.lanes.len())];
                if mouth.lane.borrow_mut().push(Arc::clone(event)) {
                    self.said.waiting.fetch_add(1, Ordering::Relaxed);
                } else {
                    self.said.dropped.fetch_add(1, Ordering::Relaxed);
                }
                mouth.news.notify_one();
            }
        }
    }
}

/// One webhook.
struct Receiver {
    app: AppIndex,
    hook: Rc<Webhook>,
    lanes: Vec<Rc<Mouth>>,
}

/// One lane of one webhook: tells one request after the other.
struct Mouth {
    said: Arc<Said>,
    config: watch::Receiver<Arc<Config>>,
    clock: Clock,
    app: AppIndex,
    hook: Rc<Webhook>,
    outgoing: Outgoing,
    lane: RefCell<Lane>,
    news: Notify,
    /// Events of one request at most.
    batch: usize,
    /// The latest attempt failed; said once, not with every attempt.
    is_known_bad: Cell<bool>,
}

impl Mouth {
    async fn run(&self) {
        let Ok(target) = self.hook.url.parse::<Uri>() else { return };
        loop {
            let events = self.lane.borrow_mut().take(self.batch);
            if events.is_empty() {
                self.news.notified().await;
                continue;
            }
            let is_delivered = self.deliver(&target, &events).await;
            let counter = if is_delivered { &self.said.delivered } else { &self.said.failed };
            counter.fetch_add(events.len() as u64, Ordering::Relaxed);
            self.said.waiting.fetch_sub(events.len() as u64, Ordering::Relaxed);
        }
    }

    /// Tries until it is accepted, or for five minutes.
    async fn deliver(&self, target: &Uri, events: &[Arc<[u8]>]) -> bool {
        let mut attempts = Attempts::begin(self.clock.now().monotonic_ms);
        loop {
            let problem = match self.attempt(target, events).await {
                Ok(200..=299) => {
                    if self.is_known_bad.replace(false) {
                        tracing::info!(webhook = %shown(target), "a webhook is accepted again");
                    }
                    return true;
                }
                Ok(status) => format!("status {status}"),
                Err(problem) => problem,
            };
            if !self.is_known_bad.replace(true) {
                tracing::warn!(webhook = %shown(target), problem, "a webhook was not accepted, and is tried again");
            }
            let Some(rest_ms) = attempts.failed(self.clock.now().monotonic_ms) else {
                tracing::error!(webhook = %shown(target), problem, events = events.len(), "a webhook was given up");
                return false;
            };
            sleep(Duration::from_millis(rest_ms)).await;
        }
    }

    /// Stamped and signed anew each time, under the secret of the moment.
    async fn attempt(&self, target: &Uri, events: &[Arc<[u8]>]) -> Result<u16, String> {
        let body = body(events, self.clock.now().unix_ms);
        let keys = {
            let config = self.config.borrow();
            let app = &config.apps[usize::from(self.app.0)];
            let pair = app.key.as_deref().zip(app.secret.as_ref());
            pair.and_then(|(key, secret)| PusherKeys::new(key, secret, None))
        };
        let keys = keys.ok_or("the app has no key or no secret any more")?;
        let signature = keys.sign(&body);
        // Exactly so: receivers refuse it with a charset behind.
        let mut headers = vec![
            ("content-type", "application/json"),
            ("x-pusher-key", keys.key()),
            ("x-pusher-signature", &*signature),
            ("user-agent", concat!("polycast/", env!("CARGO_PKG_VERSION"))),
        ];
        headers.extend(self.hook.headers.iter().map(|(name, value)| (&**name, &**value)));
        self.outgoing.post(target, &headers, body).await.map_err(|error| error.to_string())
    }
}

/// Without what may be secret.
fn shown(target: &Uri) -> String {
    format!("{}://{}{}", target.scheme_str().unwrap_or(""), target.host().unwrap_or(""), target.path())
}
