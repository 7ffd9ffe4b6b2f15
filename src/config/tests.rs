use std::collections::BTreeSet;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::raw::{RawApp, RawCentrifuge, RawConfig, RawLimits, RawNamespace, RawPusher, RawServer};
use super::webhook::RawWebhook;
use super::*;
use crate::core::namespace::SlowConsumer;

const LONG: &str = "0123456789abcdef0123456789abcdef";

fn no_file(_: &str) -> std::io::Result<Vec<u8>> {
    Err(std::io::ErrorKind::NotFound.into())
}

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::load(text, [], &mut no_file)
}

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(text, variables.collect::<Vec<_>>(), &mut |path| match path {
        "/key" => Ok(b"from-a-file\n".to_vec()),
        "/crlf" => Ok(b"two\nlines\r\n".to_vec()),
        "/empty" => Ok(b"\n".to_vec()),
        "/binary" => Ok(vec![0xFF]),
        _ => no_file(path),
    })
}

/// An app that works, with `more` inside its table.
fn app(more: &str) -> String {
    format!("[[apps]]\nid = \"1\"\ntoken_hmac_secret_key = \"{LONG}\"\napi_key = \"{LONG}\"\n{more}")
}

fn exposed(secret: Option<&Secret>) -> Option<&str> {
    secret.map(Secret::expose)
}

#[test]
fn a_whole_file_is_read() {
    let text = r#"
        [server]
        http = ["127.0.0.1:9000", "localhost:9001"]
        tcp = []
        ops = "127.0.0.1:9002"
        shards = 2
        trusted_proxies = ["10.0.0.0/8"]
        allowed_origins = ["https://Example.com"]
        drain_grace = 1
        drain_spread = "300ms"
        log_format = "json"
        log_level = "debug"
        [limits]
        message_bytes_max = 4096
        [[apps]]
        id = "1"
        token_hmac_secret_key = "t"
        token_hmac_previous_secret_key = ""
        api_key = "0123456789abcdef0123456789abcdef"
        [apps.centrifuge]
        ping_interval = "1m"
        token_audience = "us"
        [[apps.namespaces]]
        name = "chat"
        allow_subscribe_for_client = true
        history_size = 10
        history_ttl = "300s"
        [[apps]]
        id = "other"
        [apps.centrifuge]
        allow_anonymous_connect_without_token = true
    "#;
    let config = load(text).expect("it is valid");
    let http: Vec<String> = config.server.http.iter().map(ToString::to_string).collect();
    assert_eq!(http, ["127.0.0.1:9000", "127.0.0.1:9001", "[::1]:9001"]);
    assert!(config.server.tcp.is_empty());
    assert_eq!(config.server.shards.map(NonZeroU16::get), Some(2));
    assert_eq!((config.server.drain_grace_ms, config.server.drain_spread_ms), (1_000, 300));
    assert_eq!((config.server.log_format, config.server.log_level), (LogFormat::Json, LogLevel::Debug));
    assert_eq!(config.server.allowed_origins, ["https://Example.com".parse().expect("it is an origin")]);
    assert!(config.server.trusted_proxies[0].contains([10, 1, 2, 3].into()));
    assert_eq!((config.limits.message_bytes_max, config.limits.fragments_max), (4_096, 1_024));

    let [first, other] = &config.apps[..] else { panic!("two apps: {config:?}") };
    assert_eq!(exposed(first.token_hmac_secret_key.as_ref()), Some("t"));
    assert_eq!(exposed(first.token_hmac_previous_secret_key.as_ref()), None);
    let centrifuge = first.centrifuge.as_ref().expect("it is on");
    assert_eq!((centrifuge.ping_interval_ms, centrifuge.pong_timeout_ms), (60_000, 8_000));
    assert_eq!(
        (centrifuge.token_audience.as_deref(), centrifuge.token_issuer.as_deref()),
        (Some("us"), None)
    );
    let chat = first.namespace("$chat:x").expect("it is configured");
    assert!(chat.allow_subscribe_for_client && chat.is_numbered());
    assert_eq!((chat.history_size, chat.history_ttl_s), (10, 300));
    assert!(!first.namespace("x").expect("there is always one").allow_subscribe_for_client);
    assert_eq!(first.namespace("news:x"), None);
    assert!(other.centrifuge.is_some() && other.api_key.is_none());

    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    let want = [
        "apps.0.token_hmac_secret_key: 1 bytes are easier to guess than 32 or more",
        "apps.1.api_key: not set, so the backend API refuses every request for app \"other\"",
    ];
    assert_eq!(warnings, want);
}

#[test]
fn refusals_name_the_key_and_what_to_do() {
    let table: Vec<(String, &str)> = vec![
        // The tree itself.
        (String::new(), "apps: missing; write at least one [[apps]] table"),
        ("[server]\nhttp = ".into(), "line 2: http: "),
        ("[server]\nhtpp = \"\"".into(), "line 2: htpp: unknown field `htpp`, expected one of `http`, "),
        ("[sever]".into(), "line 1: unknown field `sever`"),
        (app("[apps.centrifuge]\nping = 1"), "line 6: ping: unknown field `ping`"),
        (app("[[apps.namespaces]]\nname = \"\"\nhistory = 1"), "line 7: history: unknown field `history`"),
        ("[server]\nshards = \"two\"".into(), "line 2: shards: invalid type: string \"two\", expected u64"),
        ("[server]\nshards = -1".into(), "line 2: shards: invalid value: integer `-1`, expected u64"),
        (
            "[server]\ndrain_grace = \"5 s\"".into(),
            "line 2: drain_grace: invalid value: string \"5 s\", expected",
        ),
        ("[server]\ndrain_grace = -1".into(), "line 2: drain_grace: invalid value: integer `-1`"),
        (
            "[server]\nlog_level = \"loud\"".into(),
            "line 2: log_level: unknown variant `loud`, expected one of",
        ),
        ("[server]\nops = \"a\"\nops = \"b\"".into(), "line 3: ops: duplicate key"),
        // What other versions may serve.
        (
            app("[[apps.pusher.webhooks]]\nurl = \"http://a/\""),
            "apps.0.pusher.webhooks.0.event_types: missing; write some of channel_occupied",
        ),
        (
            app("[apps.centrifuge]\nuser_connection_limit = 0"),
            "apps.0.centrifuge.user_connection_limit: not served by this version; remove it",
        ),
        ("[limits]\nqueue_frames_max = 16384".into(), "line 2: queue_frames_max: unknown field"),
        (app("[apps.socketio]"), "apps.0.socketio: not served"),
        (app("[apps.carotene]"), "apps.0.carotene: not served"),
        (app("[[apps]]\n[apps.stream]"), "apps.1.stream: not served"),
        (app("[apps.centrifuge]\ncompat = \"v3\""), "line 6: compat: unknown variant `v3`"),
        (
            app("[[apps.namespaces]]\nname=\"\"\n[[apps.namespaces]]\nchannel_regex=\"a\""),
            "apps.0.namespaces.1.channel_regex: not served",
        ),
        // Server.
        (
            "[server]\nhttp = \"8000\"\n[[apps]]".into(),
            "server.http: \"8000\" is not possible; write an address",
        ),
        (
            "[server]\nhttp = \"example.com:80\"\n[[apps]]".into(),
            "server.http: \"example.com:80\" is not possible",
        ),
        ("[server]\nhttp = []\n[[apps]]".into(), "server.http: missing; write at least one address"),
        (
            "[server]\nhttp = [\"[::1]:1\", \"localhost:1\"]\n[[apps]]".into(),
            "server.http: \"localhost:1\" is already used by server.http",
        ),
        (
            "[server]\nops = \"127.0.0.1:8000\"\n[[apps]]".into(),
            "server.ops: \"127.0.0.1:8000\" is already used by server.http",
        ),
        ("[server]\nops = \"\"\n[[apps]]".into(), "server.ops: \"\" is not possible"),
        (
            "[server]\nops = \"127.0.0.1:8001\"\n[[apps]]".into(),
            "server.ops: \"127.0.0.1:8001\" is already used by server.tcp",
        ),
        (
            "[server]\ntcp = \"localhost:8000\"\n[[apps]]".into(),
            "server.tcp: \"127.0.0.1:8000\" is already used by server.http",
        ),
        (
            "[server]\ntcp = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n[[apps]]".into(),
            "server.tcp: \"127.0.0.1:1\" is already used by server.tcp",
        ),
        (
            "[server]\nshards = 257\n[[apps]]".into(),
            "server.shards: 257 is out of range; choose 0 to 256 shards",
        ),
        (
            "[server]\ncontrol_threads = 0\n[[apps]]".into(),
            "server.control_threads: \"0\" is not possible; one control thread is all this version serves",
        ),
        (
            "[server]\ncontrol_threads = 2\n[[apps]]".into(),
            "server.control_threads: \"2\" is not possible; one control thread is all this version serves",
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.1/8\"]\n[[apps]]".into(),
            "server.trusted_proxies: \"10.0.0.1/8\"",
        ),
        (
            "[server]\nallowed_origins = [\"example.com\"]\n[[apps]]".into(),
            "server.allowed_origins: \"example.com\"",
        ),
        ("[limits]\nmessage_bytes_max = 0\n[[apps]]".into(), "limits.message_bytes_max: 0 is out of range"),
        (
            "[limits]\nwrite_timeout = \"2d\"\n[[apps]]".into(),
            "limits.write_timeout: 172800000 is out of range; choose 100 to 3600000 milliseconds",
        ),
        // Apps.
        ("[[apps]]".into(), "apps.0.id: missing; write 1 to 64 letters"),
        ("[[apps]]\nid = \"a b\"".into(), "apps.0.id: \"a b\" is not possible; write 1 to 64"),
        ("[[apps]]\nid = \"\"".into(), "apps.0.id: \"\" is not possible"),
        (
            "[[apps]]\nid = \"api\"".into(),
            "apps.0.id: \"api\" is not possible; paths of the server begin with it",
        ),
        (app("[[apps]]\nid = \"1\""), "apps.1.id: \"1\" is already used by apps.0"),
        ("[[apps]]\nid = \"1\"\napi_key = \"\"".into(), "apps.0.api_key: an empty secret protects nothing"),
        (
            "[[apps]]\nid = \"1\"\ntoken_hmac_secret_key = \"\"".into(),
            "apps.0.token_hmac_secret_key: an empty secret",
        ),
        ("[[apps]]\nid = \"1\"\napi_key = 4711".into(), "line 3: api_key: a secret must be a text in quotes"),
        (
            "[[apps]]\nid = \"1\"\n[apps.centrifuge]\nenabled = true".into(),
            "apps.0.centrifuge.enabled: Centrifuge clients could not connect; set token_hmac_secret_key, or",
        ),
        (
            app("[apps.centrifuge]\npong_timeout = 25"),
            "apps.0.centrifuge.pong_timeout: 25000 ms must be less than ping_interval (25000 ms)",
        ),
        (app("[apps.centrifuge]\nping_interval = 0"), "apps.0.centrifuge.ping_interval: 0 is out of range"),
        (
            app("[apps.centrifuge]\nping_interval = \"1500ms\""),
            "apps.0.centrifuge.ping_interval: \"1500ms\" is not",
        ),
        (app("[apps.centrifuge]\nchannel_limit = 0"), "apps.0.centrifuge.channel_limit: 0 is out of range"),
        (app("key = \"\""), "apps.0.key: \"\" is not possible; write 1 to 64 letters"),
        (app("key = \"a:b\""), "apps.0.key: \"a:b\" is not possible"),
        (app("secret = \"\""), "apps.0.secret: an empty secret protects nothing"),
        (
            app("key = \"k\"\n[[apps]]\nid = \"2\"\nkey = \"k\""),
            "apps.1.key: \"k\" is already used by apps.0",
        ),
        (
            app("key = \"k\"\n[apps.pusher]\nenabled = true"),
            "apps.0.pusher.enabled: Pusher clients could not connect; set both key and secret",
        ),
        (app("[apps.pusher]\npath_prefix = \"x\""), "apps.0.pusher.path_prefix: \"x\" is not possible"),
        (app("[apps.pusher]\npath_prefix = \"/x/\""), "apps.0.pusher.path_prefix: \"/x/\" is not possible"),
        (
            app("[apps.pusher]\nactivity_timeout = \"1500ms\""),
            "apps.0.pusher.activity_timeout: \"1500ms\" is not possible; write whole seconds",
        ),
        (
            app("[apps.centrifuge]\nuser_personal_single_connection = true"),
            "apps.0.centrifuge.user_personal_single_connection: \"true\" is not possible; it goes with",
        ),
        (app("[apps.pusher]\nwatchlist_limit = 0"), "apps.0.pusher.watchlist_limit: 0 is out of range"),
        (app("[apps.pusher]\ncache_ttl = 0"), "apps.0.pusher.cache_ttl: 0 is out of range"),
        (
            app("[apps.pusher]\nreplay_cache = 10000001"),
            "apps.0.pusher.replay_cache: 10000001 is out of range",
        ),
        // Namespaces.
        (app("[[apps.namespaces]]"), "apps.0.namespaces.0.name: missing; write \"\" for channels without"),
        (app("[[apps.namespaces]]\nname = \"a\""), "apps.0.namespaces.0.name: \"a\" is not possible"),
        (app("[[apps.namespaces]]\nname = \"a:b\""), "apps.0.namespaces.0.name: \"a:b\" is not possible"),
        (
            app("[[apps.namespaces]]\nname = \"ab\"\n[[apps.namespaces]]\nname = \"ab\""),
            "apps.0.namespaces.1.name: \"ab\" is already used by apps.0.namespaces.0",
        ),
        (
            app("[[apps.namespaces]]\nname = \"\"\nallowed_delta_types = [\"fossil\"]"),
            "apps.0.namespaces.0.allowed_delta_types: \"fossil\" is not possible; only channels with a history",
        ),
        (
            app(
                "[[apps.namespaces]]\nname = \"\"\nhistory_size = 1\nhistory_ttl = 9\nauto_cache_recover = true\n\
                 force_recovery_mode = \"cache\"",
            ),
            "apps.0.namespaces.0.auto_cache_recover: \"true\" is not possible; set force_recovery = true and",
        ),
        (
            app("[[apps.namespaces]]\nname = \"\"\nhistory_size = 1"),
            "apps.0.namespaces.0.history_ttl: history needs both",
        ),
        (
            app("[[apps.namespaces]]\nname = \"\"\nhistory_ttl = 1"),
            "apps.0.namespaces.0.history_size: history needs both",
        ),
        (
            app("[[apps.namespaces]]\nname = \"\"\nallow_recovery = true"),
            "apps.0.namespaces.0.allow_recovery: \"true\" is not possible; only channels with a history",
        ),
        (
            app("[[apps.namespaces]]\nname = \"\"\nhistory_size = 1\nhistory_ttl = 9\nhistory_meta_ttl = 8"),
            "apps.0.namespaces.0.history_meta_ttl: \"8s\" is not possible; positions must be remembered",
        ),
        (
            app("[[apps.namespaces]]\nname = \"\"\nhistory_size = 1\nhistory_ttl = \"300ms\""),
            "apps.0.namespaces.0.history_ttl: \"300ms\" is not possible; write whole seconds",
        ),
        (
            app(
                "[[apps.namespaces]]\nname = \"\"\nhistory_size = 1\nhistory_ttl = 1\nslow_consumer = \"conflate\"",
            ),
            "apps.0.namespaces.0.slow_consumer: a channel with history promises every publication",
        ),
        (
            app(
                "[[apps.namespaces]]\nname = \"\"\nhistory_size = 1\nhistory_ttl = 1\nslow_consumer = \"drop_oldest\"",
            ),
            "apps.0.namespaces.0.slow_consumer: a channel with history promises every publication",
        ),
    ];
    for (text, want) in table {
        let text = text.replace("\n[[apps]]", "\n[[apps]]\nid = \"x\"").replace("id = \"x\"\nid", "id");
        match load(&text) {
            Ok(_) => panic!("accepted, but should say {want:?}:\n{text}"),
            Err(error) => assert!(error.to_string().starts_with(want), "{error}\nnot {want:?}:\n{text}"),
        }
    }
}

#[test]
fn the_rules_of_centrifugo_v2_hold_for_what_is_not_written() {
    let text = |compat: &str, more: &str| {
        app(&format!("[apps.centrifuge]\ncompat = \"{compat}\"\n[[apps.namespaces]]\nname = \"ns\"\n{more}"))
    };
    let of = |text: &str, name: &str| {
        let config = load(text).expect("valid");
        let n = config.apps[0].namespace(name).expect("configured").clone();
        [
            n.allow_subscribe_for_client,
            n.allow_user_limited_channels,
            n.allow_presence_for_subscriber,
            n.allow_history_for_subscriber,
            n.force_push_join_leave,
            n.allow_subscribe_for_anonymous,
            n.allow_publish_for_client,
            n.allow_publish_for_subscriber,
            n.allow_presence_for_client,
            n.allow_history_for_client,
        ]
    };
    let shown = |open: &str| -> Vec<bool> { open.chars().map(|c| c == 'y').collect() };
    let closed = "allow_subscribe_for_client = false\nallow_user_limited_channels = false\n\
                  allow_presence_for_subscriber = false\nallow_history_for_subscriber = false\n\
                  join_leave = true\nforce_push_join_leave = false";
    let table = [
        ("", "", "ns:a", "nnnnnnnnnn"),
        ("v2", "", "ns:a", "yyyynnnnnn"),
        ("v2", "join_leave = true", "ns:a", "yyyyynnnnn"),
        ("", "join_leave = true", "ns:a", "nnnnnnnnnn"),
        ("v2", closed, "ns:a", "nnnnnnnnnn"),
        // Also for channels of which nothing is written.
        ("v2", closed, "a", "yyyynnnnnn"),
    ];
    for (compat, more, channel, want) in table {
        assert_eq!(of(&text(compat, more), channel).to_vec(), shown(want), "{compat:?} {more} {channel}");
    }
}

#[test]
fn a_lossy_consumer_is_fine_without_history() {
    let config = load(&app("[[apps.namespaces]]\nname = \"\"\nslow_consumer = \"conflate\"")).expect("valid");
    let namespace = config.apps[0].namespace("x").expect("it is configured");
    assert_eq!(namespace.slow_consumer, SlowConsumer::Conflate);
}

#[test]
fn the_dialect_is_on_when_somebody_can_authenticate() {
    let table = [
        ("", false),
        ("token_hmac_secret_key = \"t\"", true),
        ("token_hmac_secret_key = \"t\"\n[apps.centrifuge]\nenabled = true", true),
        ("token_hmac_secret_key = \"t\"\n[apps.centrifuge]\nenabled = false", false),
        ("token_hmac_previous_secret_key = \"t\"", false),
        ("[apps.centrifuge]\nallow_anonymous_connect_without_token = true", true),
        ("[apps.centrifuge]\nenabled = true\nallow_anonymous_connect_without_token = true", true),
        ("[apps.centrifuge]\nenabled = false", false),
    ];
    for (more, on) in table {
        let config = load(&format!("[[apps]]\nid = \"1\"\n{more}")).expect("valid");
        assert_eq!(config.apps[0].centrifuge.is_some(), on, "{more}");
        let warned = config.warnings.iter().any(|w| matches!(w, ConfigWarning::CentrifugeOff { .. }));
        assert_eq!(warned, !on && !more.contains("enabled"), "{more}");
    }
}

#[test]
fn pusher_is_on_when_there_are_key_and_secret() {
    let table: [(&str, bool, &[&str]); 7] = [
        ("", false, &[]),
        ("key = \"k\"\nsecret = \"s\"", true, &[]),
        ("key = \"k\"\nsecret = \"s\"\n[apps.pusher]\nenabled = true", true, &[]),
        ("key = \"k\"\nsecret = \"s\"\n[apps.pusher]\nenabled = false", false, &[]),
        ("key = \"k\"", false, &["apps.0.secret"]),
        ("secret = \"s\"", false, &["apps.0.key"]),
        ("previous_secret = \"s\"", false, &[]),
    ];
    for (more, on, warned) in table {
        let config = load(&app(more)).expect("valid");
        assert_eq!(config.apps[0].pusher.is_some(), on, "{more}");
        let keys = config.warnings.iter().filter_map(|warning| match warning {
            ConfigWarning::PusherOff { key, .. } => Some(&**key),
            _ => None,
        });
        assert_eq!(keys.collect::<Vec<_>>(), warned, "{more}");
    }
    let config =
        load(&app("key = \"k\"\nsecret = \"s\"\n[apps.pusher]\npath_prefix = \"/a/b\"")).expect("valid");
    let pusher = config.apps[0].pusher.as_ref().expect("it is on");
    assert_eq!((&*pusher.path_prefix, pusher.authorized_within_ms), ("/a/b", None));
    assert_eq!((pusher.activity_timeout_ms, pusher.pong_timeout_ms), (120_000, 30_000));
}

#[test]
fn secrets_are_never_shown() {
    let secret = "hush-hush";
    let names = ["token_hmac_secret_key", "api_key", "secret", "previous_secret"];
    let lines = names.map(|name| format!("{name} = \"{secret}\"\n")).concat();
    let text = format!("[[apps]]\nid = \"1\"\n{lines}");
    let raw: RawConfig = toml::from_str(&text).expect("valid");
    let config = load(&text).expect("valid");
    for shown in [format!("{raw:?}"), format!("{config:?}")] {
        assert!(shown.contains("***") && !shown.contains(secret), "{shown}");
    }
    for broken in [
        "api_key = 'hush-hush",
        "api_key = [\"hush-hush\"]",
        "api_key = \"hush-hush\" x",
        "api_key = hush-hush",
    ] {
        let error = load(&format!("[[apps]]\nid = \"1\"\n{broken}")).expect_err(broken);
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("line 3: api_key: ") && !shown.contains("hush"), "{shown}");
    }
}

#[test]
fn the_environment_overrides_the_file() {
    let file = app("[[apps.namespaces]]\nname = \"\"");
    let config = load_with(
        &file,
        &[
            ("HOME", "/root"),
            ("POLYCAST_CONFIG", "/etc/polycast.toml"),
            ("POLYCAST_SERVER__HTTP", "[\"127.0.0.1:1\", \"127.0.0.1:2\"]"),
            ("POLYCAST_SERVER__OPS", "127.0.0.1:3"),
            ("POLYCAST_SERVER__SHARDS", "3"),
            ("POLYCAST_SERVER__DRAIN_GRACE", "7"),
            ("POLYCAST_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("POLYCAST_APPS__0__API_KEY", "12345"),
            ("POLYCAST_APPS__0__TOKEN_HMAC_SECRET_KEY_FILE", "/key"),
            ("POLYCAST_APPS__0__TOKEN_HMAC_PREVIOUS_SECRET_KEY_FILE", "/empty"),
            ("POLYCAST_APPS__0__CENTRIFUGE__PONG_TIMEOUT", "2s"),
            ("POLYCAST_APPS__0__NAMESPACES__0__ALLOW_SUBSCRIBE_FOR_CLIENT", "true"),
            ("POLYCAST_APPS__0__NAMESPACES__1__NAME", "chat"),
            ("POLYCAST_APPS__1__ID", "2"),
            ("POLYCAST_APPS__1__API_KEY_FILE", "/crlf"),
            ("POLYCAST_SERVER_SERVICE_HOST", "10.0.0.1"),
            ("POLYCAST_PORT", "tcp://10.0.0.1:8000"),
        ],
    )
    .expect("valid");
    assert_eq!(config.server.http.len(), 2);
    assert_eq!(config.server.ops.port(), 3);
    assert_eq!(config.server.shards.map(NonZeroU16::get), Some(3));
    assert_eq!(config.server.drain_grace_ms, 7_000);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    let first = &config.apps[0];
    assert_eq!(exposed(first.api_key.as_ref()), Some("12345"));
    assert_eq!(exposed(first.token_hmac_secret_key.as_ref()), Some("from-a-file"));
    assert_eq!(exposed(first.token_hmac_previous_secret_key.as_ref()), None);
    assert_eq!(first.centrifuge.as_ref().map(|on| on.pong_timeout_ms), Some(2_000));
    assert!(first.namespace("x").is_some_and(|namespace| namespace.allow_subscribe_for_client));
    assert!(first.namespace("chat:x").is_some());
    assert_eq!(exposed(config.apps[1].api_key.as_ref()), Some("two\nlines"));
    let ignored = "environment variable POLYCAST_SERVER_SERVICE_HOST is ignored; did you mean \
                   POLYCAST_SERVER__SERVICE_HOST?";
    assert_eq!(config.warnings[0].to_string(), ignored);
}

#[test]
fn lists_in_the_environment_may_be_longer_than_ten() {
    let names: Vec<String> = (0..12).map(|i| format!("POLYCAST_APPS__0__NAMESPACES__{i}__NAME")).collect();
    let values: Vec<String> = (0..12).map(|i| format!("ns{i}")).collect();
    let variables: Vec<_> = names.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
    let config = load_with(&app(""), &variables).expect("valid");
    assert_eq!(config.apps[0].namespaces().len(), 13);
}

#[test]
fn wrong_variables_are_named() {
    let table = [
        (("POLYCAST_SERVER__HTPP", "x"), "environment variable POLYCAST_SERVER__HTPP: unknown field `htpp`"),
        (("POLYCAST_SEVER__HTTP", "x"), "environment variable POLYCAST_SEVER__HTTP: unknown field `sever`"),
        (
            ("POLYCAST_SERVER__SHARDS", "two"),
            "environment variable POLYCAST_SERVER__SHARDS: invalid type: string \"two\", expected u64",
        ),
        (("POLYCAST_SERVER__SHARDS", ""), "environment variable POLYCAST_SERVER__SHARDS: invalid type"),
        (
            ("POLYCAST_SERVER__SHARDS", "1\n[limits]"),
            "environment variable POLYCAST_SERVER__SHARDS: invalid type",
        ),
        (("POLYCAST_SERVER__TCP", "x"), "server.tcp: \"x\" is not possible"),
        (
            ("POLYCAST_APPS__2__ID", "x"),
            "environment variable POLYCAST_APPS__2__ID: there is no element 2; the next",
        ),
        (("POLYCAST_APPS__ID", "x"), "environment variable POLYCAST_APPS__ID: there is no such key"),
        (
            ("POLYCAST_APPS__99999999999999999999__ID", "x"),
            "environment variable POLYCAST_APPS__99999999999999999999",
        ),
        (("POLYCAST_SERVER__HTTP__0__0", "x"), "environment variable POLYCAST_SERVER__HTTP__0__0: "),
        (
            ("POLYCAST_SERVER__HTTP_FILE", "/key"),
            "environment variable POLYCAST_SERVER__HTTP_FILE: unknown field",
        ),
        (("POLYCAST____", ""), "environment variable POLYCAST____: unknown field ``"),
        (("POLYCAST_APPS__0__API_KEY", ""), "apps.0.api_key: an empty secret protects nothing"),
        (("POLYCAST_APPS__0__API_KEY_FILE", "/empty"), "apps.0.api_key: an empty secret protects nothing"),
        (
            ("POLYCAST_APPS__0__API_KEY_FILE", "/none"),
            "environment variable POLYCAST_APPS__0__API_KEY_FILE: cannot read \"/none\": entity not found",
        ),
        (
            ("POLYCAST_APPS__0__API_KEY_FILE", "/binary"),
            "environment variable POLYCAST_APPS__0__API_KEY_FILE: cannot read \"/binary\": it is not UTF-8",
        ),
    ];
    for (variable, want) in table {
        let error = load_with(&app(""), &[variable]).expect_err(want).to_string();
        assert!(error.starts_with(want), "{error}\nnot {want:?}");
    }
    let twice = [("POLYCAST_APPS__0__API_KEY", "a"), ("POLYCAST_APPS__0__API_KEY_FILE", "/key")];
    let error = load_with(&app(""), &twice).expect_err("both set the same key").to_string();
    assert!(error.ends_with("sets the same key; remove one"), "{error}");
}

fn counting(bytes: &mut [u8]) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = index as u8;
    }
}

#[test]
fn the_embedded_default_is_for_this_machine_only() {
    let config = Config::embedded(&mut counting).expect("valid");
    let http: Vec<String> = config.server.http.iter().map(ToString::to_string).collect();
    assert_eq!(http, ["127.0.0.1:8000", "[::1]:8000"]);
    let tcp: Vec<String> = config.server.tcp.iter().map(ToString::to_string).collect();
    assert_eq!(tcp, ["127.0.0.1:8001", "[::1]:8001"]);
    assert_eq!(config.server.ops.to_string(), "127.0.0.1:8002");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let app = &config.apps[0];
    let want = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    assert_eq!(exposed(app.api_key.as_ref()), Some(want));
    assert_eq!(exposed(app.token_hmac_secret_key.as_ref()), Some(want));
    assert_eq!(exposed(app.secret.as_ref()), Some(want));
    assert_eq!(app.key.as_deref(), Some("00010203040506070809"));
    assert!(app.centrifuge.is_some() && app.pusher.is_some());
    let namespace = app.namespace("chat").expect("there is always one");
    assert!(namespace.allow_subscribe_for_client && namespace.allow_publish_for_client);
    assert!(namespace.allow_subscribe_for_anonymous, "Pusher's public channels are public");
    assert!(namespace.allow_publish_for_subscriber, "its client events are sent by subscribers");
    assert!(!namespace.allow_publish_for_anonymous);

    let embedded = |variables: &[(&str, &str)]| {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::embedded_with(variables, &mut no_file, &mut counting)
    };
    let open = ("POLYCAST_SERVER__HTTP", "0.0.0.0:8000");
    let token = ("POLYCAST_APPS__0__TOKEN_HMAC_SECRET_KEY", LONG);
    let api = ("POLYCAST_APPS__0__API_KEY", LONG);
    let secret = ("POLYCAST_APPS__0__SECRET", LONG);
    let error = embedded(&[open, token, api]).expect_err("the secret was made up").to_string();
    assert!(error.contains("apps.0.secret was made up"), "{error}");
    let error = embedded(&[open, token, secret]).expect_err("the API key was made up").to_string();
    let want = "server.http: 0.0.0.0:8000 is reachable from other machines but apps.0.api_key was made up";
    assert!(error.starts_with(want), "{error}");
    let error = embedded(&[("POLYCAST_SERVER__OPS", "[::]:1")]).expect_err("not loopback").to_string();
    assert!(error.starts_with("server.ops: [::]:1 is reachable"), "{error}");
    let error = embedded(&[("POLYCAST_SERVER__TCP", "[::]:1")]).expect_err("not loopback").to_string();
    assert!(error.starts_with("server.tcp: [::]:1 is reachable"), "{error}");
    let off = embedded(&[("POLYCAST_SERVER__TCP", "")]).expect("off");
    assert!(off.server.tcp.is_empty());
    assert!(embedded(&[open, token, api, secret]).is_ok(), "the key is no secret");
    assert!(embedded(&[("POLYCAST_SERVER__HTTP", "127.0.0.1:0")]).is_ok());
}

#[test]
fn a_reload_tells_what_needs_a_restart() {
    let old = load(&app("")).expect("valid");
    let table: Vec<(String, &[&str])> = vec![
        (app(""), &[]),
        (app("").replace(LONG, "another secret"), &[]),
        (app("token_hmac_previous_secret_key = \"p\""), &[]),
        (app("[[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_client = true"), &[]),
        (app("[apps.centrifuge]\nchannel_limit = 7\nqueue_max_size = 65536\nchannel_max_length = 9"), &[]),
        (format!("[limits]\nmessage_bytes_max = 4096\n{}", app("")), &[]),
        (
            format!("[server]\nhttp = \"127.0.0.1:1\"\nshards = 1\nlog_level = \"warn\"\n{}", app("")),
            &["server.http", "server.shards", "server.log_level"],
        ),
        (
            format!("[server]\ndrain_spread = 1\naccept_backlog = 1\n{}", app("")),
            &["server.accept_backlog", "server.drain_spread"],
        ),
        (app("[[apps]]\nid = \"2\""), &["apps"]),
        (app("").replace("id = \"1\"", "id = \"2\""), &["apps"]),
        (app("[apps.centrifuge]\nenabled = false"), &["apps.centrifuge.enabled"]),
        (
            app("[apps.centrifuge]\nping_interval = 30\ntoken_issuer = \"i\""),
            &["apps.centrifuge.ping_interval", "apps.centrifuge.token_issuer"],
        ),
        (
            app(
                "[apps.centrifuge]\nuser_subscribe_to_personal = true\nuser_personal_single_connection = true",
            ),
            &[
                "apps.centrifuge.user_subscribe_to_personal",
                "apps.centrifuge.user_personal_single_connection",
            ],
        ),
        (app("key = \"k\"\nsecret = \"s\""), &["apps.pusher.enabled"]),
    ];
    for (text, want) in table {
        let new = load(&text).expect("valid");
        assert_eq!(old.reload_difference(&new), want, "{text}");
        match old.take_over(new) {
            Ok((taken, kept)) => {
                assert_eq!(kept, want, "{text}");
                assert!(old.reload_difference(&taken).is_empty(), "what needs a restart stays: {text}");
            }
            Err(AppsDiffer) => assert_eq!(want, ["apps"], "{text}"),
        }
    }
}

#[test]
fn a_reload_takes_over_what_pusher_clients_need_not_be_told() {
    let pusher = "key = \"k\"\nsecret = \"s\"\n[apps.pusher]\n";
    let old = load(&app(pusher)).expect("valid");
    let more =
        "debug = true\nchannel_limit = 7\nactivity_timeout = 7\npong_timeout = 7\npath_prefix = \"/p\"";
    let new = load(&app(&format!("{pusher}{more}")).replace("\"s\"", "\"t\"")).expect("valid");
    let (taken, kept) = old.take_over(new).expect("the same apps");
    let want = ["apps.pusher.path_prefix", "apps.pusher.activity_timeout", "apps.pusher.pong_timeout"];
    assert_eq!(kept, want);
    assert_eq!(exposed(taken.apps[0].secret.as_ref()), Some("t"));
    let running = old.apps[0].pusher.clone().expect("it is on");
    let want = Pusher { debug: true, channel_limit: 7, ..running };
    assert_eq!(taken.apps[0].pusher.as_ref(), Some(&want));

    let (taken, kept) = old.take_over(load(&app("")).expect("valid")).expect("the same apps");
    assert_eq!(kept, ["apps.pusher.enabled"]);
    assert_eq!(taken.apps[0].pusher, None, "without a secret nobody can prove anything");
}

#[test]
fn a_reload_takes_over_what_it_may_beside_what_it_may_not() {
    let old = load(&app("")).expect("valid");
    let new = load(&format!(
        "[server]\nlog_level = \"warn\"\n[limits]\nmessage_bytes_max = 4096\n{}",
        app("[apps.centrifuge]\nping_interval = 30\nchannel_limit = 7\n\
             [[apps.namespaces]]\nname = \"\"\nallow_subscribe_for_client = true")
        .replace(LONG, "another secret")
    ));
    let (taken, kept) = old.take_over(new.expect("valid")).expect("the same apps");
    assert_eq!(kept, ["server.log_level", "apps.centrifuge.ping_interval"]);
    assert_eq!(taken.server, old.server);
    assert_eq!(taken.limits.message_bytes_max, 4_096);
    let (app, running) = (&taken.apps[0], &old.apps[0]);
    assert_eq!(app.token_hmac_secret_key.as_ref().map(Secret::expose), Some("another secret"));
    assert!(app.namespaces()[0].allow_subscribe_for_client);
    let settings = |app: &App| app.centrifuge.as_ref().map(|c| (c.channel_limit, c.ping_interval_ms));
    assert_eq!(settings(app), Some((7, 25_000)));
    assert_eq!(settings(running), Some((128, 25_000)));
}

/// Learns the names of a struct's fields from its derived `Deserialize`.
struct FieldNames<'a>(&'a mut BTreeSet<&'static str>);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(fields);
        Err(de::Error::custom("only the names were wanted"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: Deserialize<'static>>() -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    let _ = T::deserialize(FieldNames(&mut names));
    assert!(!names.is_empty());
    names
}

/// The keys in each table of a commented file; `# key = value` is a key as well, and `# [table]` a table.
fn keys_of(text: &str) -> Vec<(&str, BTreeSet<&str>)> {
    let mut tables = Vec::new();
    for line in text.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if line.starts_with('[') {
            tables.push((line, BTreeSet::new()));
            continue;
        }
        let Some((key, _)) = line.split_once(" = ") else { continue };
        let (_, keys) = tables.last_mut().expect("keys stand in tables");
        if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            assert!(keys.insert(key), "{key} twice");
        }
    }
    tables
}

#[test]
fn the_default_file_names_every_key_with_its_default() {
    let text = default_config(None);
    let mut app_keys = fields::<RawApp>();
    assert!(app_keys.remove("centrifuge") && app_keys.remove("pusher") && app_keys.remove("namespaces"));
    let mut pusher_keys = fields::<RawPusher>();
    assert!(pusher_keys.remove("webhooks"));
    let want = vec![
        ("[server]", fields::<RawServer>()),
        ("[limits]", fields::<RawLimits>()),
        ("[[apps]]", app_keys),
        ("[apps.centrifuge]", fields::<RawCentrifuge>()),
        ("[apps.pusher]", pusher_keys),
        ("[[apps.pusher.webhooks]]", fields::<RawWebhook>()),
        ("[[apps.namespaces]]", fields::<RawNamespace>()),
    ];
    assert_eq!(keys_of(text), want);
    assert_eq!(fields::<RawConfig>(), BTreeSet::from(["server", "limits", "apps"]));

    let file = load(text).expect("valid");
    let defaults = load("[[apps]]\nid = \"1\"").expect("valid");
    assert_eq!(format!("{file:#?}"), format!("{defaults:#?}"));
}

#[test]
fn migration_files_are_valid_and_become_usable_with_two_secrets() {
    let secrets = [("POLYCAST_APPS__0__TOKEN_HMAC_SECRET_KEY", LONG), ("POLYCAST_APPS__0__API_KEY", LONG)];
    for (name, subscribe) in [("centrifugo", false), ("centrifugo-v2", true)] {
        let migration = name.parse().expect(name);
        let config = load_with(default_config(Some(migration)), &secrets).expect(name);
        assert!(config.warnings.is_empty() && config.apps[0].centrifuge.is_some(), "{name}");
        let namespace = config.apps[0].namespace("chat").expect("there is always one");
        assert_eq!(namespace.allow_subscribe_for_client, subscribe, "{name}");
        assert!(!namespace.allow_publish_for_client, "{name}");
    }
    let secrets = [("POLYCAST_APPS__0__KEY", "k"), ("POLYCAST_APPS__0__SECRET", LONG)];
    let migration = "pusher".parse().expect("it is served");
    let config = load_with(default_config(Some(migration)), &secrets).expect("valid");
    let app = &config.apps[0];
    let plain = load("[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"").expect("valid");
    assert_eq!(app.pusher, plain.apps[0].pusher, "the defaults");
    let namespace = app.namespace("chat").expect("there is always one");
    assert!(namespace.allow_subscribe_for_anonymous && namespace.allow_publish_for_subscriber);
    assert!(!namespace.allow_publish_for_client && !namespace.allow_publish_for_anonymous);
    for name in ["socketio", "carotene", "stream"] {
        let error = name.parse::<Migration>().expect_err(name).to_string();
        assert!(error.contains("not served by this version"), "{error}");
    }
    assert!("nats".parse::<Migration>().expect_err("not known").to_string().contains("not known"));
}
