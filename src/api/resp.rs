//! What backends ask with the Redis client they have: commands of RESP, and their refusals in Redis' words.
//!
//! Served is what clients send by themselves with default options, and publishing. Pure: who is asked for the app's
//! key and what a publication comes to is decided by the shard.

use std::borrow::Cow;

use crate::api::call::ApiError;
use crate::auth::api_key::ApiKey;
use crate::config::{App, Limits};
use crate::core::ids::AppIndex;
use crate::core::publication::Payload;
use crate::wire::json::Json;
use crate::wire::resp::{RespLimits, RespVersion};

/// The Redis version that clients are told: they choose what to send by it.
pub const REDIS_VERSION: &str = "7.4.0";

/// Arguments of one command, its name among them.
const ARGUMENTS_MAX: usize = 64;

/// Of a command beside its publication: name, channel, and the framing of up to [`ARGUMENTS_MAX`] arguments.
const COMMAND_OVERHEAD_BYTES: usize = 8 * 1024;

/// As in Redis.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// What one connection may send.
pub fn limits_of(limits: &Limits) -> RespLimits {
    RespLimits {
        argument_bytes_max: limits.publication_bytes_max,
        arguments_max: ARGUMENTS_MAX,
        command_bytes_max: limits.publication_bytes_max + COMMAND_OVERHEAD_BYTES,
        inline_bytes_max: INLINE_BYTES_MAX,
    }
}

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    Hello {
        version: Option<RespVersion>,
        credentials: Option<Credentials<'a>>,
    },
    Auth(Credentials<'a>),
    Ping(Option<&'a [u8]>),
    Echo(&'a [u8]),
    /// `PUBLISH` and `SPUBLISH`: channels here are not spread over slots.
    Publish {
        channel: &'a [u8],
        payload: &'a [u8],
    },
    Select,
    /// Names and facts about the client that it tells by itself; answered with OK.
    ClientNote,
    ClientId,
    ClientName,
    Info,
    /// `COMMAND` and `COMMAND LIST`: none is described.
    CommandList,
    CommandCount,
    CommandDocs,
    Multi,
    Exec,
    Discard,
    Quit,
    Reset,
}

/// What `AUTH` presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// `None`: the form with the key alone.
    pub user: Option<&'a [u8]>,
    pub key: &'a [u8],
}

/// Why a command is refused. The connection lives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("NOAUTH Authentication required.")]
    NoAuth,
    #[error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
         <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
    )]
    HelloNoAuth,
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongKey,
    #[error("NOPROTO unsupported protocol version")]
    Version,
    #[error("ERR unknown command '{0}', with args beginning with: ")]
    Unknown(Box<str>),
    #[error("ERR unknown subcommand '{0}'.")]
    UnknownSubcommand(Box<str>),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(&'static str),
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR DB index is out of range")]
    Database,
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR MULTI calls can not be nested")]
    NestedMulti,
    #[error("ERR {0} without MULTI")]
    NoMulti(&'static str),
    #[error("EXECABORT Transaction discarded because of previous errors.")]
    Aborted,
    #[error("ERR a transaction of at most {max} bytes is served")]
    LongTransaction { max: usize },
    #[error("ERR {0}")]
    Call(ApiError),
}

impl Refusal {
    /// The connection no longer deserves trust that its peer speaks RESP to us: it is closed.
    pub fn is_cross_protocol(command: &[u8]) -> bool {
        // A browser that was made to send its request here, with commands in the body.
        command.eq_ignore_ascii_case(b"POST") || command.eq_ignore_ascii_case(b"Host:")
    }
}

/// Reads one command. `arguments`: its name first; at least that.
pub fn read<'a>(mut arguments: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<Asked<'a>, Refusal> {
    let name = arguments.next().unwrap_or_default();
    let mut upper = [0_u8; 12];
    let upper = match upper.get_mut(..name.len()) {
        Some(upper) => {
            upper.copy_from_slice(name);
            upper.make_ascii_uppercase();
            &*upper
        }
        None => b"",
    };
    let count = arguments.len();
    let mut next = || arguments.next().unwrap_or_default();
    let arity = |name, is_right: bool| if is_right { Ok(()) } else { Err(Refusal::Arity(name)) };
    match upper {
        b"PUBLISH" | b"SPUBLISH" => {
            arity(if upper == b"PUBLISH" { "publish" } else { "spublish" }, count == 2)?;
            Ok(Asked::Publish { channel: next(), payload: next() })
        }
        b"PING" => {
            arity("ping", count <= 1)?;
            Ok(Asked::Ping((count == 1).then(next)))
        }
        b"ECHO" => {
            arity("echo", count == 1)?;
            Ok(Asked::Echo(next()))
        }
        b"AUTH" => {
            arity("auth", count >= 1)?;
            match count {
                1 => Ok(Asked::Auth(Credentials { user: None, key: next() })),
                2 => Ok(Asked::Auth(Credentials { user: Some(next()), key: next() })),
                _ => Err(Refusal::Syntax),
            }
        }
        b"HELLO" => hello(arguments),
        b"SELECT" => {
            arity("select", count == 1)?;
            match std::str::from_utf8(next()).ok().and_then(|text| text.parse::<i64>().ok()) {
                Some(0) => Ok(Asked::Select),
                Some(_) => Err(Refusal::Database),
                None => Err(Refusal::NotInteger),
            }
        }
        b"CLIENT" => client(arguments),
        b"COMMAND" => command(arguments),
        b"INFO" => Ok(Asked::Info),
        b"MULTI" => arity("multi", count == 0).map(|()| Asked::Multi),
        b"EXEC" => arity("exec", count == 0).map(|()| Asked::Exec),
        b"DISCARD" => arity("discard", count == 0).map(|()| Asked::Discard),
        b"QUIT" => Ok(Asked::Quit),
        b"RESET" => arity("reset", count == 0).map(|()| Asked::Reset),
        _ => Err(Refusal::Unknown(shown(name))),
    }
}

/// `HELLO [protover [AUTH username password] [SETNAME name]]`
fn hello<'a>(mut arguments: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<Asked<'a>, Refusal> {
    let version = match arguments.next() {
        None => None,
        Some(b"2") => Some(RespVersion::Resp2),
        Some(b"3") => Some(RespVersion::Resp3),
        Some(_) => return Err(Refusal::Version),
    };
    let mut credentials = None;
    while let Some(option) = arguments.next() {
        if option.eq_ignore_ascii_case(b"AUTH") {
            let (Some(user), Some(key)) = (arguments.next(), arguments.next()) else {
                return Err(Refusal::Syntax);
            };
            credentials = Some(Credentials { user: Some(user), key });
        } else if option.eq_ignore_ascii_case(b"SETNAME") {
            arguments.next().ok_or(Refusal::Syntax)?;
        } else {
            return Err(Refusal::Syntax);
        }
    }
    Ok(Asked::Hello { version, credentials })
}

fn client<'a>(mut arguments: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<Asked<'a>, Refusal> {
    let Some(subcommand) = arguments.next() else { return Err(Refusal::Arity("client")) };
    let is = |name: &str| subcommand.eq_ignore_ascii_case(name.as_bytes());
    match arguments.len() {
        1 if is("SETNAME") || is("NO-EVICT") || is("NO-TOUCH") => Ok(Asked::ClientNote),
        2 if is("SETINFO") => Ok(Asked::ClientNote),
        0 if is("ID") => Ok(Asked::ClientId),
        0 if is("GETNAME") => Ok(Asked::ClientName),
        _ if is("SETNAME") || is("SETINFO") => Err(Refusal::Arity("client")),
        _ => Err(Refusal::UnknownSubcommand(shown(subcommand))),
    }
}

fn command<'a>(mut arguments: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<Asked<'a>, Refusal> {
    let Some(subcommand) = arguments.next() else { return Ok(Asked::CommandList) };
    match subcommand.to_ascii_uppercase().as_slice() {
        b"COUNT" => Ok(Asked::CommandCount),
        b"DOCS" => Ok(Asked::CommandDocs),
        b"LIST" | b"INFO" => Ok(Asked::CommandList),
        _ => Err(Refusal::UnknownSubcommand(shown(subcommand))),
    }
}

/// What a peer wrote, for an error: short, and nothing but printable ASCII.
fn shown(bytes: &[u8]) -> Box<str> {
    bytes[..bytes.len().min(64)].escape_ascii().to_string().into()
}

/// The app whose key is presented. Every key is compared, in constant time each.
pub fn app_of<'k>(
    credentials: &Credentials<'_>,
    keys: impl Iterator<Item = Option<&'k ApiKey>>,
) -> Result<AppIndex, Refusal> {
    let is_default = credentials.user.is_none_or(|user| user == b"default");
    let presented = std::str::from_utf8(credentials.key).unwrap_or_default();
    let mut found = None;
    for (key, index) in keys.zip(0_u16..) {
        if key.is_some_and(|key| key.matches(presented)) && found.is_none() {
            found = Some(AppIndex(index));
        }
    }
    found.filter(|_| is_default).ok_or(Refusal::WrongKey)
}

/// The channel and data of a publication: JSON where the payload is JSON, else a string, else bytes.
pub fn publication<'a>(
    app: &App,
    channel: &'a [u8],
    payload: &[u8],
    json: &mut Json,
) -> Result<(&'a str, Payload), Refusal> {
    use crate::api::call::{BadRequest, check_channel};
    let reason = BadRequest::Channel;
    let channel = std::str::from_utf8(channel).map_err(|_| Refusal::Call(ApiError::BadRequest { reason }))?;
    check_channel(app, channel).map_err(Refusal::Call)?;
    let data = match json.text_of(payload) {
        Some(Cow::Borrowed(text)) => Payload::Json(text.into()),
        Some(Cow::Owned(text)) => Payload::Json(text.into()),
        None => Payload::Binary(payload.into()),
    };
    Ok((channel, data))
}

/// What `INFO` says: enough for clients that wait until a server has loaded, and who it really is.
pub fn info(version: &str, uptime_s: u64) -> String {
    format!(
        "# Server\r\nredis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nserver_name:polycast\r\n\
         polycast_version:{version}\r\nuptime_in_seconds:{uptime_s}\r\n\r\n\
         # Persistence\r\nloading:0\r\nasync_loading:0\r\n\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::secret::Secret;
    use crate::config::Config;

    fn read_words(line: &str) -> Result<Asked<'_>, Refusal> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        read(words.into_iter())
    }

    #[test]
    fn commands_are_understood() {
        let alone = |key| Credentials { user: None, key };
        let both = |user, key| Credentials { user: Some(user), key };
        let hello = |version, credentials| Ok(Asked::Hello { version, credentials });
        let (two, three) = (Some(RespVersion::Resp2), Some(RespVersion::Resp3));
        let publish = Ok(Asked::Publish { channel: b"chat", payload: b"{}" });
        let table: Vec<(&str, Result<Asked<'_>, Refusal>)> = vec![
            ("PUBLISH chat {}", publish.clone()),
            ("publish chat {}", publish.clone()),
            ("SPublish chat {}", publish),
            ("PUBLISH chat", Err(Refusal::Arity("publish"))),
            ("SPUBLISH chat a b", Err(Refusal::Arity("spublish"))),
            ("PING", Ok(Asked::Ping(None))),
            ("PING hi", Ok(Asked::Ping(Some(b"hi")))),
            ("PING a b", Err(Refusal::Arity("ping"))),
            ("ECHO hi", Ok(Asked::Echo(b"hi"))),
            ("ECHO", Err(Refusal::Arity("echo"))),
            ("AUTH key", Ok(Asked::Auth(alone(b"key")))),
            ("AUTH default key", Ok(Asked::Auth(both(b"default", b"key")))),
            ("AUTH", Err(Refusal::Arity("auth"))),
            ("AUTH a b c", Err(Refusal::Syntax)),
            ("HELLO", hello(None, None)),
            ("HELLO 2", hello(two, None)),
            ("hello 3 auth default key", hello(three, Some(both(b"default", b"key")))),
            ("HELLO 3 SETNAME me AUTH default key", hello(three, Some(both(b"default", b"key")))),
            ("HELLO 4", Err(Refusal::Version)),
            ("HELLO three", Err(Refusal::Version)),
            ("HELLO 3 AUTH default", Err(Refusal::Syntax)),
            ("HELLO 3 SETNAME", Err(Refusal::Syntax)),
            ("HELLO 3 WHAT", Err(Refusal::Syntax)),
            ("SELECT 0", Ok(Asked::Select)),
            ("SELECT 1", Err(Refusal::Database)),
            ("SELECT -1", Err(Refusal::Database)),
            ("SELECT a", Err(Refusal::NotInteger)),
            ("CLIENT SETNAME me", Ok(Asked::ClientNote)),
            ("CLIENT setinfo LIB-NAME ioredis", Ok(Asked::ClientNote)),
            ("CLIENT ID", Ok(Asked::ClientId)),
            ("CLIENT GETNAME", Ok(Asked::ClientName)),
            ("CLIENT SETNAME", Err(Refusal::Arity("client"))),
            ("CLIENT", Err(Refusal::Arity("client"))),
            ("CLIENT KILL a", Err(Refusal::UnknownSubcommand("KILL".into()))),
            ("INFO", Ok(Asked::Info)),
            ("INFO server clients", Ok(Asked::Info)),
            ("COMMAND", Ok(Asked::CommandList)),
            ("COMMAND DOCS", Ok(Asked::CommandDocs)),
            ("COMMAND COUNT", Ok(Asked::CommandCount)),
            ("COMMAND GETKEYS a", Err(Refusal::UnknownSubcommand("GETKEYS".into()))),
            ("MULTI", Ok(Asked::Multi)),
            ("EXEC", Ok(Asked::Exec)),
            ("DISCARD", Ok(Asked::Discard)),
            ("EXEC now", Err(Refusal::Arity("exec"))),
            ("QUIT", Ok(Asked::Quit)),
            ("RESET", Ok(Asked::Reset)),
            ("SUBSCRIBE chat", Err(Refusal::Unknown("SUBSCRIBE".into()))),
            ("GET a", Err(Refusal::Unknown("GET".into()))),
            ("a\r\nb\u{1b}", Err(Refusal::Unknown("a\\r\\nb\\x1b".into()))),
            ("", Err(Refusal::Unknown("".into()))),
            ("AVERYLONGCOMMANDNAME", Err(Refusal::Unknown("AVERYLONGCOMMANDNAME".into()))),
        ];
        for (line, want) in table {
            assert_eq!(read_words(line), want, "{line:?}");
        }
    }

    #[test]
    fn errors_are_one_line_and_begin_with_a_class() {
        let reason = crate::api::call::BadRequest::Channel;
        let call = Refusal::Call(ApiError::BadRequest { reason });
        for refusal in [Refusal::NoAuth, Refusal::HelloNoAuth, Refusal::Unknown(shown(b"a\nb")), call] {
            let text = refusal.to_string();
            assert!(!text.contains(['\r', '\n']), "{text}");
            let class = text.split(' ').next().unwrap_or_default();
            assert!(class.bytes().all(|byte| byte.is_ascii_uppercase()) && class.len() >= 3, "{text}");
        }
    }

    #[test]
    fn the_key_chooses_the_app() {
        let keys = ["one", "two"].map(|key| ApiKey::new(&Secret::from(key)));
        let of = |user: Option<&str>, key: &str| {
            let credentials = Credentials { user: user.map(str::as_bytes), key: key.as_bytes() };
            app_of(&credentials, [None, keys[0].as_ref(), keys[1].as_ref()].into_iter())
        };
        let wrong = Err(Refusal::WrongKey);
        let table = [
            (None, "one", Ok(AppIndex(1))),
            (None, "two", Ok(AppIndex(2))),
            (Some("default"), "two", Ok(AppIndex(2))),
            (Some("admin"), "two", wrong.clone()),
            (Some(""), "two", wrong.clone()),
            (None, "three", wrong.clone()),
            (None, "ONE", wrong.clone()),
            (None, "", wrong),
        ];
        for (user, key, want) in table {
            assert_eq!(of(user, key), want, "{user:?} {key}");
        }
    }

    #[test]
    fn payloads_by_what_they_are() {
        let text = "[[apps]]\nid = \"1\"\napi_key = \"k\"\n[[apps.namespaces]]\nname = \"ns\"";
        let config = Config::load(text, [], &mut |_| Ok(Vec::new())).expect("valid");
        let mut json = Json::new();
        let data = |bytes: &[u8]| Payload::Json(bytes.into());
        let table: [(&[u8], Payload); 8] = [
            (b"{\"a\": 1}", data(b"{\"a\": 1}")),
            (b" [1,\r\n2] ", data(b"[1,  2]")),
            (b"12.50", data(b"12.50")),
            (b"hello", data(b"\"hello\"")),
            (b"", data(b"\"\"")),
            ("ä\"\n".as_bytes(), data("\"ä\\\"\\n\"".as_bytes())),
            (b"{\"a\"", data(b"\"{\\\"a\\\"\"")),
            (b"\xFF\x00", Payload::Binary(b"\xFF\x00".as_slice().into())),
        ];
        for (payload, want) in table {
            let got = publication(&config.apps[0], b"chat", payload, &mut json);
            assert_eq!(got, Ok(("chat", want)), "{payload:?}");
        }
        let refused: [(&[u8], &str); 4] = [
            (b"", "ERR bad request: "),
            (b"a b", "ERR bad request: "),
            (b"\xFF", "ERR bad request: "),
            (b"other:a", "ERR unknown channel"),
        ];
        for (channel, want) in refused {
            let error = publication(&config.apps[0], channel, b"1", &mut json).expect_err("refused");
            assert!(error.to_string().starts_with(want), "{error}");
        }
    }
}
