//! Every error code and close code of the Centrifuge protocol, provoked at a whole shard in both generations.
//!
//! What cannot be provoked, and why:
//!
//! | code | |
//! | --- | --- |
//! | error 101 unauthorized | a client without a right token is no client: it is closed, or told 109 |
//! | error 104 method not found, second generation | its commands are names of fields; an unknown one closes (3501), and rpc is not served (108) |
//! | error 113 concurrent pagination | of map subscriptions, which are not served |
//! | close 3000 connection closed | a client's own close is answered in kind, and the server never ends without a reason |
//! | close 3009 write error | a peer that cannot be written to cannot be told; its connection is reset |
//! | close 3013 too many requests | of unidirectional transports; here a command too many is refused with 111, and fifty refusals close (3509) |
//! | close 3014 state invalidated | nothing yet invalidates what a connection was granted |
//! | close 3506 inappropriate protocol | nobody is closed for what a publisher sent: bytes that are no JSON are shown in base64 |
//! | unsubscribe 2502 state invalidated | as 3014 |

use std::collections::BTreeSet;
use std::sync::Arc;

#[path = "support/mod.rs"]
mod support;

use polycast::core::ids::AppIndex;
use polycast::core::publication::{Numbered, Payload, Publication};
use polycast::engine::{Answer, ChannelKey};
use polycast::shard::input::Input;
use polycast::shard::letter::Order;
use support::{At, Process, at, token, token_by};

const NOT_PROVOKED_ERRORS: [u32; 2] = [101, 113];
const NOT_PROVOKED_CLOSES: [u32; 5] = [3_000, 3_009, 3_013, 3_014, 3_506];

const A: At = at(0, 0);
const B: At = at(0, 1);

/// Which generation of the protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    V1,
    V2,
}

use Speaks::{V1, V2};

const METHODS: [&str; 12] = [
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "ping",
    "send",
    "rpc",
    "refresh",
    "sub_refresh",
];

impl Speaks {
    /// A command with the id 7.
    fn command(self, method: &str, params: &str) -> String {
        match self {
            V2 => format!(r#"{{"id":7,"{method}":{params}}}"#),
            V1 => {
                let number = METHODS.iter().position(|name| *name == method).expect("a method");
                format!(r#"{{"id":7,"method":{number},"params":{params}}}"#)
            }
        }
    }

    fn connect(self, process: &mut Process, at: At, claims: &str) {
        match self {
            V1 => process.connect_v1(at, claims),
            V2 => process.connect(at, claims),
        };
    }

    /// What the server says to a connect with this token.
    fn answer_to(self, process: &mut Process, token: &str) -> Vec<String> {
        process.open(A);
        process.ask(A, &self.command("connect", &format!(r#"{{"token":"{token}"}}"#)))
    }

    fn subscribe(self, process: &mut Process, channel: &str) -> Vec<String> {
        process.ask(A, &self.command("subscribe", &format!(r#"{{"channel":"{channel}"}}"#)))
    }
}

/// A process of one shard. `limits`: lines of that table; `client`: of `[apps.centrifuge]`.
fn process(limits: &str, client: &str) -> Process {
    let more = format!(
        "[apps.centrifuge]\nping_interval = \"1h\"\n{client}\n[[apps.namespaces]]\nname = \"\"\n\
         allow_subscribe_for_client = true\nallow_publish_for_client = true\n\
         [[apps.namespaces]]\nname = \"kept\"\nhistory_size = 5\nhistory_ttl = \"60s\"\nforce_recovery = true\n\
         allow_subscribe_for_client = true\nallow_history_for_client = true"
    );
    Process::new(1, &format!("[limits]\n{limits}"), &more)
}

/// What the client hears within so many seconds. A close frame that nobody takes is gone after five.
fn hear_for(process: &mut Process, seconds: usize) -> Vec<String> {
    let mut heard = Vec::new();
    for _ in 0..seconds {
        process.pass(1_000);
        heard.extend(process.heard(A));
    }
    heard
}

/// As [`process`], with the user 42 connected.
fn with_client(speaks: Speaks, limits: &str, client: &str) -> Process {
    let mut process = process(limits, client);
    speaks.connect(&mut process, A, r#"{"sub":"42"}"#);
    process
}

type Provoke = fn(Speaks) -> Vec<String>;

/// Code, message, whether it is temporary, and how to bring it about.
const ERRORS: [(u32, &str, bool, Provoke); 12] = [
    (100, "internal server error", true, |speaks| {
        let mut process = with_client(speaks, "", "");
        process.engine_is_down = true;
        speaks.subscribe(&mut process, "a")
    }),
    (102, "unknown channel", false, |speaks| speaks.subscribe(&mut with_client(speaks, "", ""), "none:a")),
    (103, "permission denied", false, |speaks| speaks.subscribe(&mut with_client(speaks, "", ""), "$a")),
    (104, "method not found", false, |speaks| {
        assert_eq!(speaks, V1);
        with_client(speaks, "", "").ask(A, r#"{"id":7,"method":99,"params":{}}"#)
    }),
    (105, "already subscribed", false, |speaks| {
        let mut process = with_client(speaks, "", "");
        speaks.subscribe(&mut process, "a");
        speaks.subscribe(&mut process, "a")
    }),
    (106, "limit exceeded", false, |speaks| {
        let mut process = with_client(speaks, "", "channel_limit = 1");
        speaks.subscribe(&mut process, "a");
        speaks.subscribe(&mut process, "b")
    }),
    (107, "bad request", false, |speaks| {
        speaks.subscribe(&mut with_client(speaks, "", "channel_max_length = 3"), "long")
    }),
    (108, "not available", false, |speaks| {
        with_client(speaks, "", "").ask(A, &speaks.command("history", r#"{"channel":"a"}"#))
    }),
    (109, "token expired", false, |speaks| {
        speaks.answer_to(&mut process("", ""), &token(r#"{"sub":"42","exp":1}"#))
    }),
    (110, "expired", false, |speaks| {
        speaks.answer_to(&mut process("", ""), &token(r#"{"sub":"42","expire_at":1}"#))
    }),
    (111, "too many requests", true, |speaks| {
        let mut process = with_client(speaks, "publishes_per_second_max = 1\nrate_burst = \"1s\"", "");
        let publish = speaks.command("publish", r#"{"channel":"a","data":1}"#);
        process.ask(A, &publish);
        process.ask(A, &publish)
    }),
    (112, "unrecoverable position", false, |speaks| {
        let since = r#"{"channel":"kept:a","limit":1,"since":{"offset":1,"epoch":"another"}}"#;
        with_client(speaks, "", "").ask(A, &speaks.command("history", since))
    }),
];

#[test]
fn every_error_code_in_both_generations() {
    for (code, message, is_temporary, provoke) in ERRORS {
        for speaks in [V1, V2] {
            if (code, speaks) == (104, V2) {
                continue;
            }
            let temporary = if is_temporary && speaks == V2 { r#","temporary":true"# } else { "" };
            let want = format!(r#"{{"id":7,"error":{{"code":{code},"message":"{message}"{temporary}}}}}"#);
            assert_eq!(provoke(speaks), [want], "{code} {speaks:?}");
        }
    }
    let seen: BTreeSet<u32> = ERRORS.iter().map(|(code, ..)| *code).chain(NOT_PROVOKED_ERRORS).collect();
    assert_eq!(seen, (100..=113).collect());
}

/// What the second generation is told, whether its clients come back, what the first is told, and how to bring it
/// about. The words are the same unless the first has its own.
struct Close {
    code: u32,
    reason: &'static str,
    comes_back: bool,
    code_v1: u32,
    reason_v1: Option<&'static str>,
    provoke: Provoke,
}

const fn close(code: u32, reason: &'static str, comes_back: bool, code_v1: u32, provoke: Provoke) -> Close {
    Close { code, reason, comes_back, code_v1, reason_v1: None, provoke }
}

fn disconnected(speaks: Speaks, params: &str) -> Vec<String> {
    let mut process = with_client(speaks, "", "");
    process.call(0, "disconnect", &format!(r#"{{"user":"42"{params}}}"#));
    process.heard(A)
}

fn closes() -> Vec<Close> {
    vec![
        close(3_001, "shutdown", true, 3_001, |speaks| {
            let mut process = with_client(speaks, "", "");
            process.order(|| Order::Drain { spread_ms: 0 });
            process.pass(200);
            process.heard(A)
        }),
        close(3_004, "internal server error", true, 3_004, |speaks| {
            let mut process = process("", "");
            process.engine_is_down = true;
            speaks.answer_to(&mut process, &token(r#"{"sub":"42","channels":["a"]}"#))
        }),
        Close {
            reason_v1: Some("expired"),
            ..close(3_005, "connection expired", true, 3_005, |speaks| {
                let mut process = process("", "expired_close_delay = \"1s\"");
                let exp = process.now_s() + 10;
                speaks.connect(&mut process, A, &format!(r#"{{"sub":"42","exp":{exp}}}"#));
                process.pass(10_500);
                assert_eq!(process.heard(A), [""; 0], "there is time for a refresh");
                hear_for(&mut process, 3)
            })
        },
        close(3_006, "subscription expired", true, 3_006, |speaks| {
            let mut process = with_client(speaks, "", "expired_close_delay = \"1s\"");
            let expire_at = process.now_s() + 10;
            process.call(
                0,
                "subscribe",
                &format!(r#"{{"user":"42","channel":"a","expire_at":{expire_at}}}"#),
            );
            process.heard(A);
            hear_for(&mut process, 14)
        }),
        close(3_008, "slow", true, 3_008, |speaks| {
            let mut process = with_client(speaks, "", "queue_max_size = 4096");
            speaks.subscribe(&mut process, "a");
            let data = "x".repeat(1_000);
            for _ in 0..6 {
                process.call(0, "publish", &format!(r#"{{"channel":"a","data":"{data}"}}"#));
            }
            process.heard(A)
        }),
        close(3_010, "insufficient state", true, 3_010, |speaks| {
            let mut process = with_client(speaks, "", "");
            let token = token(r#"{"sub":"42","channels":["a"]}"#);
            process.ask(A, &speaks.command("refresh", &format!(r#"{{"token":"{token}"}}"#)))
        }),
        close(3_011, "force reconnect", true, 3_011, |speaks| {
            disconnected(speaks, r#","disconnect":{"code":3011,"reason":"force reconnect"}"#)
        }),
        close(3_012, "no pong", true, 3_000, |speaks| {
            let mut process = Process::new(1, "", "[apps.centrifuge]\nping_interval = \"25s\"");
            speaks.connect(&mut process, A, r#"{"sub":"42"}"#);
            hear_for(&mut process, 34)
        }),
        close(3_500, "invalid token", false, 3_002, |speaks| {
            let forged = token_by("a secret of somebody else's making", r#"{"sub":"42"}"#);
            speaks.answer_to(&mut process("", ""), &forged)
        }),
        close(3_501, "bad request", false, 3_003, |speaks| {
            let mut process = process("", "");
            process.open(A);
            speaks.subscribe(&mut process, "a")
        }),
        close(3_502, "stale", false, 3_007, |speaks| {
            // What a client speaks is known from its first command on.
            let mut process = process("", "");
            let answer = speaks.answer_to(&mut process, &token(r#"{"sub":"42","exp":1}"#));
            assert!(answer[0].contains("109"), "{answer:?}");
            hear_for(&mut process, 11)
        }),
        close(3_503, "force disconnect", false, 3_012, |speaks| disconnected(speaks, "")),
        close(3_504, "connection limit", false, 3_013, |speaks| {
            let single = "user_subscribe_to_personal = true\nuser_personal_single_connection = true";
            let mut process = with_client(speaks, "", single);
            V2.connect(&mut process, B, r#"{"sub":"42"}"#);
            process.heard(A)
        }),
        close(3_505, "channel limit", false, 3_003, |speaks| {
            let two = token(r#"{"sub":"42","channels":["a","b"]}"#);
            speaks.answer_to(&mut process("", "channel_limit = 1"), &two)
        }),
        close(3_507, "permission denied", false, 3_003, |speaks| {
            let mut process = process("", "disallow_anonymous_connection_tokens = true");
            speaks.answer_to(&mut process, &token(r#"{"sub":""}"#))
        }),
        close(3_508, "not available", false, 3_003, |speaks| {
            let send = speaks.command("send", r#"{"data":1}"#).replace("\"id\":7,", "");
            with_client(speaks, "", "").ask(A, &send)
        }),
        close(3_509, "too many errors", false, 3_003, |speaks| {
            let mut process = with_client(speaks, "errors_in_a_row_max = 2", "");
            assert!(speaks.subscribe(&mut process, "$a")[0].contains("103"));
            speaks.subscribe(&mut process, "$a")
        }),
        close(4_001, "later", true, 4_001, |speaks| {
            disconnected(speaks, r#","disconnect":{"code":4001,"reason":"later"}"#)
        }),
        close(4_501, "never", false, 4_501, |speaks| {
            disconnected(speaks, r#","disconnect":{"code":4501,"reason":"never"}"#)
        }),
    ]
}

#[test]
fn every_close_code_in_both_generations() {
    for Close { code, reason, comes_back, code_v1, reason_v1, provoke } in closes() {
        let heard = provoke(V2);
        assert_eq!(heard.last(), Some(&format!("close {code} {reason}")), "{heard:?}");
        let is_terminal = matches!(code, 3_500..=3_999 | 4_500..=4_999);
        assert_eq!(comes_back, !is_terminal, "{code}: clients go by its number");
        let heard = provoke(V1);
        let reason = reason_v1.unwrap_or(reason);
        let want = format!(r#"close {code_v1} {{"reason":"{reason}","reconnect":{comes_back}}}"#);
        assert_eq!(heard.last(), Some(&want), "{heard:?}");
    }
    let seen: BTreeSet<u32> = closes().iter().map(|close| close.code).chain(NOT_PROVOKED_CLOSES).collect();
    let known = [3_000, 3_001, 3_004, 3_005, 3_006].into_iter().chain(3_008..=3_014).chain(3_500..=3_509);
    assert_eq!(seen, known.chain([4_001, 4_501]).collect());
}

#[test]
fn every_end_of_a_subscription_in_both_generations() {
    let ended: [(&str, Option<&str>, Provoke); 3] = [
        (r#"{"code":2000,"reason":"server unsubscribe"}"#, Some("{}"), |speaks| {
            let mut process = with_client(speaks, "", "");
            speaks.subscribe(&mut process, "kept:a");
            process.call(0, "unsubscribe", r#"{"user":"42","channel":"kept:a"}"#);
            process.heard(A)
        }),
        (r#"{"code":2500,"reason":"insufficient state"}"#, Some(r#"{"resubscribe":true}"#), |speaks| {
            let mut process = with_client(speaks, "", "");
            speaks.subscribe(&mut process, "kept:a");
            // The stream is another one all at once.
            let data = Payload::Json(b"1".as_slice().into());
            let publication = Publication::plain(data, 0);
            let channel = ChannelKey { app: AppIndex(0), name: "kept:a".into() };
            let numbered = Numbered { offset: 9, publication: Arc::new(publication) };
            let epoch = "another".into();
            process.input(0, Input::Engine(Answer::Delivery { channel, epoch, numbered }));
            process.heard(A)
        }),
        // The first generation has no words for it: its connection ends.
        (r#"{"code":2501,"reason":"subscription expired"}"#, None, |speaks| {
            let mut process = with_client(speaks, "", "expired_close_delay = \"1s\"");
            let exp = process.now_s() + 10;
            let token = token(&format!(r#"{{"sub":"42","channel":"kept:a","exp":{exp}}}"#));
            let params = format!(r#"{{"channel":"kept:a","token":"{token}"}}"#);
            process.ask(A, &speaks.command("subscribe", &params));
            hear_for(&mut process, 14)
        }),
    ];
    for (told_v2, told_v1, provoke) in ended {
        let want = format!(r#"{{"push":{{"channel":"kept:a","unsubscribe":{told_v2}}}}}"#);
        assert_eq!(provoke(V2), [want]);
        let want = told_v1.map_or_else(
            || r#"close 3006 {"reason":"subscription expired","reconnect":true}"#.to_owned(),
            |told| format!(r#"{{"result":{{"type":3,"channel":"kept:a","data":{told}}}}}"#),
        );
        assert_eq!(provoke(V1), [want]);
    }
}
