//! `polycast token`: a connection token, signed as a backend would.

use clap::Args;

use super::source::Source;
use super::{Outcome, Refusal};
use crate::auth::{Keys, Policy, Secret, sign, verify_connection};
use crate::config::{Config, duration_ms};
use crate::wire::json::{Json, append_string, append_u64, without_raw_newlines};

/// What the token should say.
#[derive(Debug, Args)]
pub struct Wish {
    /// Who connects; without it the token is an anonymous one.
    #[arg(long, value_name = "ID", default_value = "")]
    pub user: String,
    /// How long it is good: a duration like 90s, 15m, 24h, or "never".
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = lifetime)]
    pub exp: Lifetime,
    /// Shown to others beside what the user publishes.
    #[arg(long, value_name = "JSON")]
    pub info: Option<String>,
    #[command(flatten)]
    pub key: KeyChoice,
}

/// Which key signs, or verifies.
#[derive(Debug, Args)]
pub struct KeyChoice {
    /// The HS256 secret itself, instead of the configuration's.
    #[arg(long, value_name = "TEXT")]
    pub secret: Option<String>,
    /// Whose key, of the apps in the configuration; without it the first one's.
    #[arg(long, value_name = "ID", conflicts_with = "secret")]
    pub app: Option<String>,
}

/// How long a token is good, in seconds; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(pub Option<u64>);

fn lifetime(text: &str) -> Result<Lifetime, String> {
    if text == "never" {
        return Ok(Lifetime(None));
    }
    match duration_ms(text) {
        Some(ms) if ms >= 1_000 => Ok(Lifetime(Some(ms / 1_000))),
        Some(_) => Err("a token counts whole seconds; write at least 1s, or never".to_owned()),
        None => Err("write a duration like 90s, 15m, 24h, or never".to_owned()),
    }
}

/// A key, what else the configuration asks of tokens, and whose key it is.
#[derive(Debug)]
pub struct Chosen {
    pub keys: Keys,
    pub policy: Policy,
    pub owner: String,
}

impl KeyChoice {
    pub fn find(&self, source: &mut Source) -> Result<Chosen, Refusal> {
        if let Some(secret) = &self.secret {
            let keys = Keys::new(&Secret::from(secret.as_str()), None);
            let keys = keys.ok_or_else(|| Refusal::config("--secret: an empty secret signs nothing"))?;
            return Ok(Chosen { keys, policy: Policy::default(), owner: "the given secret".to_owned() });
        }
        let config = source.read().map_err(Refusal::config)?;
        self.find_in(&config, source)
    }

    fn find_in(&self, config: &Config, source: &Source) -> Result<Chosen, Refusal> {
        let wanted = |id: &str| self.app.as_deref().is_none_or(|app| app == id);
        let Some(app) = config.apps.iter().find(|app| wanted(&app.id)) else {
            return Err(Refusal::config(format!("{} has no such app; see --app", source.name())));
        };
        let secret = app.token_hmac_secret_key.as_ref();
        if secret.is_some_and(|secret| source.has_made(secret)) {
            return Err(Refusal::config(
                "the embedded default makes up another secret at every start; give --config or --secret",
            ));
        }
        let keys = secret.and_then(|secret| Keys::new(secret, app.token_hmac_previous_secret_key.as_ref()));
        let Some(keys) = keys else {
            let missing = format!("token_hmac_secret_key of app \"{}\" is not set", app.id);
            return Err(Refusal::config(missing));
        };
        let policy = app.centrifuge.as_ref().map_or_else(Policy::default, |settings| Policy {
            audience: settings.token_audience.clone(),
            issuer: settings.token_issuer.clone(),
            disallow_anonymous: settings.disallow_anonymous_connection_tokens,
            info_bytes_max: config.limits.info_bytes_max,
        });
        Ok(Chosen { keys, policy, owner: format!("app \"{}\"", app.id) })
    }
}

/// Makes a token and, before it is printed, looks at it as the broker will.
pub fn make(source: &mut Source, wish: &Wish, now_s: u64) -> Result<Outcome, Refusal> {
    let Chosen { keys, policy, .. } = wish.key.find(source)?;
    let mut json = Json::new();
    let token = sign(&claims(wish, &policy, &mut json, now_s)?, &keys);
    verify_connection(&token, &keys, &policy, &mut json, now_s)
        .map_err(|error| Refusal::no(format!("the broker would refuse this token: {error}")))?;
    Ok(Outcome::yes(format!("{token}\n")))
}

fn claims(wish: &Wish, policy: &Policy, json: &mut Json, now_s: u64) -> Result<Vec<u8>, Refusal> {
    let mut claims = b"{\"sub\":".to_vec();
    append_string(&wish.user, &mut claims);
    if let Lifetime(Some(lifetime_s)) = wish.exp {
        claims.extend_from_slice(b",\"exp\":");
        append_u64(now_s.saturating_add(lifetime_s), &mut claims);
    }
    for (claim, value) in [("aud", &policy.audience), ("iss", &policy.issuer)] {
        if let Some(value) = value {
            claims.extend_from_slice(format!(",\"{claim}\":").as_bytes());
            append_string(value, &mut claims);
        }
    }
    if let Some(info) = &wish.info {
        let info = json.parse(info.as_bytes());
        let info = info.map_err(|error| Refusal::no(format!("--info is not JSON: {error}")))?;
        claims.extend_from_slice(b",\"info\":");
        claims.extend_from_slice(&without_raw_newlines(info.raw()));
    }
    claims.push(b'}');
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    fn wish(user: &str, exp: &str, info: Option<&str>) -> Wish {
        let key = KeyChoice { secret: Some("secret".to_owned()), app: None };
        let exp = lifetime(exp).expect(exp);
        Wish { user: user.to_owned(), exp, info: info.map(str::to_owned), key }
    }

    fn payload(token: &str) -> String {
        let payload = token.split('.').nth(1).expect("three parts");
        let bytes = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url");
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }

    #[test]
    fn tokens_say_what_was_wished() {
        let table = [
            (wish("42", "never", None), r#"{"sub":"42"}"#),
            (wish("", "90s", None), r#"{"sub":"","exp":1800000090}"#),
            (
                wish("a\"b", "1h", Some("{\"name\": \"Ada\",\n\"n\":1}")),
                r#"{"sub":"a\"b","exp":1800003600,"info":{"name": "Ada", "n":1}}"#,
            ),
        ];
        for (wish, want) in table {
            let Outcome { code, text } = make(&mut Source::new(None), &wish, NOW_S).expect(want);
            assert_eq!((code, payload(text.trim_end()).as_str()), (0, want));
        }
    }

    #[test]
    fn what_the_broker_would_refuse_is_not_made() {
        let table = [
            (wish(&"u".repeat(256), "1h", None), "256 bytes"),
            (wish("a\nb", "1h", None), "control"),
            (wish("42", "1h", Some("{")), "--info is not JSON"),
            (wish("42", "1h", Some("1,\"sub\":\"root\"")), "--info is not JSON"),
        ];
        for (wish, want) in table {
            let refusal = make(&mut Source::new(None), &wish, NOW_S).expect_err(want);
            assert!(refusal.reason.contains(want), "{}", refusal.reason);
        }
    }

    #[test]
    fn lifetimes_are_read() {
        let table = [("never", Some(None)), ("90s", Some(Some(90))), ("24h", Some(Some(86_400)))];
        for (text, want) in table.into_iter().chain(["", "0", "0s", "300ms", "soon"].map(|text| (text, None)))
        {
            assert_eq!(lifetime(text).ok().map(|Lifetime(s)| s), want, "{text:?}");
        }
    }

    #[test]
    fn the_key_is_the_configurations() {
        let text = "[[apps]]\nid = \"one\"\ntoken_hmac_secret_key = \"first\"\n[apps.centrifuge]\n\
                    token_audience = \"here\"\ntoken_issuer = \"us\"\n\
                    [[apps]]\nid = \"two\"\ntoken_hmac_secret_key = \"second\"\n[[apps]]\nid = \"three\"\n";
        let config =
            Config::load(text, [], &mut |_| Err(std::io::ErrorKind::NotFound.into())).expect("valid");
        let source = Source::new(Some("a.toml".into()));
        let choose = |app: Option<&str>| {
            KeyChoice { secret: None, app: app.map(str::to_owned) }.find_in(&config, &source)
        };
        let first = choose(None).expect("the first app");
        let mut json = Json::new();
        let payload = claims(&wish("42", "never", None), &first.policy, &mut json, NOW_S).expect("claims");
        assert_eq!(String::from_utf8_lossy(&payload), r#"{"sub":"42","aud":"here","iss":"us"}"#);
        let token = sign(&payload, &choose(Some("two")).expect("the second app").keys);
        let verify = |chosen: &Chosen| {
            verify_connection(&token, &chosen.keys, &chosen.policy, &mut Json::new(), NOW_S).is_ok()
        };
        assert!(!verify(&first) && choose(Some("two")).is_ok_and(|second| verify(&second)));
        for (app, want) in [("three", "not set"), ("four", "no such app")] {
            let refusal = choose(Some(app)).expect_err(want);
            assert!(refusal.reason.contains(want), "{}", refusal.reason);
        }
    }

    #[test]
    fn a_made_up_secret_signs_nothing_for_later() {
        let mut source = Source::new(None);
        let config = source.read_with(Vec::new()).expect("valid");
        let refusal = KeyChoice { secret: None, app: None }.find_in(&config, &source).expect_err("refused");
        assert!(refusal.reason.contains("--config"), "{}", refusal.reason);
    }
}
