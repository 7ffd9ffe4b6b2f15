//! What a seed makes of a run: how many of everything, which settings, what is going to happen.

use std::sync::Arc;

use polycast::auth::{Keys, PusherKeys, Secret, sign};
use polycast::config::Config;
use polycast::core::channel::SERVER_TO_USER;

use super::random::Random;

pub const API_KEY: &str = "an API key for a run of the simulation";
const SECRETS: [&str; 2] = [
    "the first secret of a simulated broker, long enough",
    "the second secret of a simulated broker, as long",
];

/// Unix time at which every run begins, in milliseconds.
pub const EPOCH_MS: u64 = 1_800_000_000_000;

/// Grace for a refresh and the spread of expiries, in milliseconds.
pub const EXPIRY_MS: std::ops::RangeInclusive<u64> = 25_000..=27_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    Memory,
    /// Late, out of order, repeating itself, failing.
    Slow,
}

#[derive(Debug)]
pub struct Scenario {
    pub shards: u16,
    pub lane_letters: usize,
    pub engine: EngineKind,
    pub clients: usize,
    /// Clients of Pusher's dialect, besides the others.
    pub pushers: usize,
    pub backends: usize,
    /// Backends that publish with a Redis client.
    pub publishers: usize,
    pub users: u64,
    /// Without history: plain names. With history: in the namespace `kept`. In `newest` and `oldest` slow readers
    /// lose publications. The namespace `gone` goes at the reload.
    pub channels: Vec<String>,
    pub history_size: u64,
    /// Subscriptions to kept channels can recover without asking for it.
    pub forces_recovery: bool,
    /// Publications in kept channels are told as differences whether publishers ask for it or not.
    pub publishes_deltas: bool,
    /// Pusher's clients are told how many they are.
    pub subscribers_are_counted: bool,
    /// Everybody is told of joins and leaves.
    pub pushes_joins: bool,
    /// Every client wants every channel, recovers wherever it can, and is cut off again and again.
    pub is_under_fire: bool,
    /// When most connections break at once, the latest first.
    pub storms_ms: Vec<u64>,
    /// Publications without which peers go on being active.
    pub publications_min: usize,
    pub queue_bytes_max: u32,
    pub data_bytes_max: usize,
    pub ping_interval_s: u64,
    pub pong_timeout_ms: u64,
    pub position_check_ms: u64,
    /// How long clients and backends are active.
    pub active_ms: u64,
    /// Time between two actions of one peer, on average.
    pub pace_ms: u64,
    /// Bytes a socket holds for a peer that does not read.
    pub room: usize,
    /// Shards pause now and then.
    pub has_stalls: bool,
    /// Some clients stop reading, do not answer pings, or speak nonsense.
    pub has_odd_clients: bool,
    pub tokens_expire: bool,
    /// All tokens expire at this Unix second, whoever has one.
    pub common_expiry_s: Option<u64>,
    /// Everything stands still from one fake moment to the other.
    pub standstill_ms: Option<(u64, u64)>,
    pub waits_for_expiry: bool,
    pub reload_at_ms: Option<u64>,
    /// When the wall clock is set back, and by how much.
    pub clock_step: Option<(u64, u64)>,
    /// How long the closes of the drain at the end are spread; `None`: clients leave by themselves.
    pub drain_ms: Option<u64>,
}

impl Scenario {
    pub fn new(random: &mut Random) -> Self {
        let mut channels = Vec::new();
        for number in 0..random.between(1, 3) {
            channels.push(format!("plain{number}"));
        }
        for number in 0..random.between(0, 3) {
            channels.push(format!("kept:{number}"));
        }
        if random.percent(30) {
            channels.push((*random.pick(&["newest:0", "oldest:0"])).to_owned());
        }
        let reload_at_ms = random.percent(50).then(|| random.between(200, 3_000));
        if reload_at_ms.is_some() {
            channels.push("gone:0".to_owned());
        }
        let tokens_expire = random.percent(50);
        let active_ms = random.between(300, 6_000);
        let ping_interval_s = random.between(1, 25);
        Self {
            shards: random.between(1, 4) as u16,
            lane_letters: if random.percent(40) { 1 } else { random.length(64) },
            engine: if random.percent(50) { EngineKind::Memory } else { EngineKind::Slow },
            clients: random.between(2, 14) as usize,
            backends: random.between(1, 3) as usize,
            publishers: 0,
            pushers: 0,
            subscribers_are_counted: false,
            users: random.between(1, 5),
            channels,
            history_size: if random.percent(20) { random.between(1, 3) } else { random.between(4, 500) },
            forces_recovery: random.percent(50),
            publishes_deltas: random.percent(50),
            pushes_joins: random.percent(50),
            is_under_fire: false,
            storms_ms: Vec::new(),
            publications_min: 0,
            queue_bytes_max: if random.percent(40) { random.between(4_096, 20_000) as u32 } else { 1 << 20 },
            data_bytes_max: *random.pick(&[20, 300, 3_000, 40_000]),
            ping_interval_s,
            pong_timeout_ms: random.between(800, (ping_interval_s * 1_000 - 100).min(8_000)),
            position_check_ms: random.between(1_000, 4_000),
            active_ms,
            pace_ms: random.between(2, 200),
            room: *random.pick(&[200, 2_000, 30_000, 200_000]),
            has_stalls: random.percent(50),
            has_odd_clients: random.percent(50),
            tokens_expire,
            common_expiry_s: None,
            standstill_ms: None,
            waits_for_expiry: tokens_expire && random.percent(70),
            reload_at_ms,
            clock_step: random.percent(30).then(|| (random.between(100, 5_000), random.between(1, 20_000))),
            drain_ms: random.percent(60).then(|| random.between(0, 4_000)),
        }
    }

    /// Twenty clients that want to miss nothing, two hundred publications, and connections that break: one by one, and
    /// most of them at once.
    pub fn fire(random: &mut Random) -> Self {
        let active_ms = random.between(1_000, 6_000);
        let storms = random.between(1, 4);
        let mut storms_ms: Vec<_> = (0..storms).map(|_| random.between(200, active_ms)).collect();
        storms_ms.sort_unstable_by(|one, other| other.cmp(one));
        Self {
            shards: random.between(2, 4) as u16,
            clients: 20,
            backends: 2,
            channels: (0..random.between(1, 2)).map(|number| format!("kept:{number}")).collect(),
            history_size: random.between(2, 200),
            queue_bytes_max: 1 << 20,
            data_bytes_max: 100,
            active_ms,
            // Four actions of backends in five publish, one to three at a time.
            pace_ms: active_ms / 60,
            room: 30_000,
            has_odd_clients: false,
            tokens_expire: false,
            waits_for_expiry: false,
            reload_at_ms: None,
            is_under_fire: true,
            storms_ms,
            publications_min: 200,
            ..Self::new(random)
        }
    }

    /// Everybody at once: who speaks Centrifuge's dialect, and backends of every kind.
    pub fn crossing(random: &mut Random) -> Self {
        let mut scenario = Self::new(random);
        let channels =
            ["private-a", "presence-a", "presence-b", "cache-a", "private-cache-a", "presence-cache-a"];
        scenario.channels.extend(channels.into_iter().filter(|_| random.percent(50)).map(str::to_owned));
        scenario
            .channels
            .extend((0..2).filter(|_| random.percent(50)).map(|user| channel_of(&format!("u{user}"))));
        scenario.publishers = random.between(0, 2) as usize;
        scenario.pushers = random.between(1, 8) as usize;
        scenario.subscribers_are_counted = random.percent(30);
        let storms = random.between(0, 2);
        scenario.storms_ms = (0..storms).map(|_| random.between(100, scenario.active_ms)).collect();
        scenario.storms_ms.sort_unstable_by(|one, other| other.cmp(one));
        scenario
    }

    /// Whether a ping may lie behind more than the network carries within the time for a pong. Where everybody meets, there
    /// is as much as that in small pieces.
    pub fn is_narrow(&self) -> bool {
        let is_flooded = self.pushers > 0 && self.room <= 2_000;
        is_flooded || self.data_bytes_max >= if self.room <= 2_000 { 3_000 } else { 40_000 }
    }

    /// Many clients that do nothing but expire in one second, at a shard that is then late.
    pub fn mass_expiry(clients: usize, random: &mut Random) -> Self {
        let expires_s = EPOCH_MS / 1_000 + 10;
        let late_ms = 10_000 + EXPIRY_MS.start();
        Self {
            shards: 1,
            engine: EngineKind::Memory,
            clients,
            backends: 0,
            queue_bytes_max: 1 << 20,
            data_bytes_max: 20,
            ping_interval_s: 25,
            pong_timeout_ms: 8_000,
            active_ms: 2_000,
            pace_ms: 1_000,
            room: 30_000,
            has_stalls: false,
            has_odd_clients: false,
            tokens_expire: true,
            common_expiry_s: Some(expires_s),
            standstill_ms: Some((late_ms, late_ms + 950)),
            waits_for_expiry: true,
            reload_at_ms: None,
            clock_step: None,
            drain_ms: None,
            ..Self::new(random)
        }
    }

    pub fn config(&self, is_reloaded: bool) -> Arc<Config> {
        let (current, previous) = if is_reloaded { (SECRETS[1], SECRETS[0]) } else { (SECRETS[0], "") };
        let namespace = |name: &str, more: &str| {
            format!(
                "[[apps.namespaces]]\nname = \"{name}\"\nallow_subscribe_for_client = true\n\
                 allow_publish_for_client = true\nallow_tags_filter = true\n{more}"
            )
        };
        let kept = format!(
            "history_size = {}\nhistory_ttl = \"300s\"\nallow_recovery = true\nforce_recovery = {}\n\
             allow_history_for_subscriber = true\nallowed_delta_types = [\"fossil\"]\ndelta_publish = {}\n",
            self.history_size, self.forces_recovery, self.publishes_deltas
        );
        let shown = format!(
            "presence = true\njoin_leave = true\nforce_push_join_leave = {}\nallow_presence_for_client = true\n",
            self.pushes_joins
        );
        let kept = kept + &shown;
        let (pusher, open) = if self.pushers == 0 { (String::new(), "") } else { self.pushers_config() };
        // Bounds that nobody reaches: a command from elsewhere waits for the word of its user's shard.
        let limits = if self.history_size.is_multiple_of(3) {
            "[limits]\nuser_commands_per_second_max = 1000000\n"
        } else {
            ""
        };
        let mut text = format!(
            "{limits}[[apps]]\nid = \"1\"\nkey = \"key\"\nsecret = \"{}\"\napi_key = \"{API_KEY}\"\n\
             token_hmac_secret_key = \"{current}\"\n\
             token_hmac_previous_secret_key = \"{previous}\"\n[apps.centrifuge]\nqueue_max_size = {}\n\
             ping_interval = \"{}s\"\npong_timeout = \"{}ms\"\nchannel_position_check_delay = \"{}ms\"\n\
             {pusher}[[apps.pusher.webhooks]]\nurl = \"http://nobody/\"\nevent_types = [\"channel_occupied\", \
             \"channel_vacated\", \"subscription_count\"]\n{}{}",
            SECRETS[0],
            self.queue_bytes_max,
            self.ping_interval_s,
            self.pong_timeout_ms,
            self.position_check_ms,
            namespace("", &(shown + open)),
            namespace("kept", &kept),
        );
        text.push_str(&namespace("newest", "slow_consumer = \"conflate\"\n"));
        text.push_str(&namespace("oldest", "slow_consumer = \"drop_oldest\"\n"));
        if !is_reloaded {
            text.push_str(&namespace("gone", ""));
        }
        let mut no_file = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        Arc::new(Config::load(&text, [], &mut no_file).expect("the simulation's own configuration is valid"))
    }

    /// `[apps.pusher]`, and what its clients need in their namespace.
    fn pushers_config(&self) -> (String, &'static str) {
        let pusher = format!(
            "[apps.pusher]\nactivity_timeout = \"{}s\"\npong_timeout = \"{}ms\"\nqueue_max_size = {}\n\
             client_events_per_second = 60000\nmessage_max_size = 65536\nevent_data_max_size = 65536\n\
             subscription_count = {}\n",
            self.ping_interval_s, self.pong_timeout_ms, self.queue_bytes_max, self.subscribers_are_counted
        );
        (pusher, "allow_subscribe_for_anonymous = true\nallow_publish_for_subscriber = true\n")
    }

    /// What proves to Pusher's clients and backends that the app knows of it.
    pub fn signature(&self, text: &str) -> String {
        let keys = PusherKeys::new("key", &Secret::from(SECRETS[0]), None).expect("the secret is not empty");
        format!("key:{}", keys.sign(text.as_bytes()))
    }

    /// A connection token; `expires_s`: its `exp`.
    pub fn token(&self, user: &str, expires_s: Option<u64>) -> String {
        let exp = expires_s.map_or_else(String::new, |exp| format!(",\"exp\":{exp}"));
        signed(&format!("{{\"sub\":\"{user}\",\"info\":{{\"of\":\"{user}\"}}{exp}}}"))
    }

    /// A token that lets a user into a channel.
    pub fn subscription_token(&self, user: &str, channel: &str) -> String {
        signed(&format!("{{\"sub\":\"{user}\",\"channel\":\"{channel}\"}}"))
    }
}

/// Right before the reload and, as the previous secret, after it.
fn signed(claims: &str) -> String {
    let keys = Keys::from_bytes(SECRETS[0].as_bytes()).expect("the secret is not empty");
    sign(claims.as_bytes(), &keys)
}

/// Whether a slow reader of the channel may miss publications, and whether it may miss even the newest.
pub fn may_miss(channel: &str) -> (bool, bool) {
    (channel.starts_with("newest:") || channel.starts_with("oldest:"), channel.starts_with("oldest:"))
}

/// Whether publications of the channel get offsets.
pub fn is_numbered(channel: &str) -> bool {
    channel.starts_with("kept:")
}

/// Whether subscribers of the channel need a proof, and only they may publish there and see who is there.
pub fn is_proven(channel: &str) -> bool {
    channel.starts_with("private-") || is_presence(channel)
}

/// Whether users in the channel are told of one another.
pub fn is_presence(channel: &str) -> bool {
    channel.starts_with("presence-")
}

/// The user whose channel this is: nobody else hears it, and no client publishes there.
pub fn owner(channel: &str) -> Option<&str> {
    channel.strip_prefix(SERVER_TO_USER)
}

/// Whether only subscribers see who is there.
pub fn is_closed(channel: &str) -> bool {
    is_proven(channel) || owner(channel).is_some()
}

/// Where what is sent to a user goes.
pub fn channel_of(user: &str) -> String {
    format!("{SERVER_TO_USER}{user}")
}

/// Whether new subscribers are told the last publication.
pub fn keeps_latest(channel: &str) -> bool {
    let rest = channel.strip_prefix("private-").or_else(|| channel.strip_prefix("presence-"));
    rest.unwrap_or(channel).starts_with("cache-")
}

/// Whether the name is possible in Pusher's dialect.
pub fn is_pushers(channel: &str) -> bool {
    !channel.contains(':')
}

/// Whether it is kept who is in the channel.
pub fn is_shown(channel: &str) -> bool {
    is_numbered(channel) || !channel.contains(':')
}
