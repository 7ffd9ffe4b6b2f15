//! `polycast check-token`: what a token says to the broker, or why it says nothing.

use std::fmt::Write as _;

use clap::Args;

use super::source::Source;
use super::token::{Chosen, KeyChoice};
use super::{EXIT_NO, Outcome, Refusal};
use crate::auth::token::verify;
use crate::auth::{Identity, Policy, TokenError, verify_connection};
use crate::wire::json::{Json, Value, without_raw_newlines};

/// Which token is meant.
#[derive(Debug, Args)]
pub struct Question {
    /// The token; "-" reads it from stdin, where no list of processes shows it.
    pub token: String,
    #[command(flatten)]
    pub key: KeyChoice,
}

pub fn check(source: &mut Source, question: &Question, now_s: u64) -> Result<Outcome, Refusal> {
    let chosen = question.key.find(source)?;
    if question.token != "-" {
        return Ok(explain(&question.token, &chosen, now_s));
    }
    let token = std::io::read_to_string(std::io::stdin());
    let token = token.map_err(|error| Refusal::no(format!("cannot read the token from stdin: {error}")))?;
    Ok(explain(token.trim_end_matches(['\r', '\n']), &chosen, now_s))
}

/// Accepted: its claims and what each means. Refused: class and reason, and of an unverified token nothing else.
fn explain(token: &str, chosen: &Chosen, now_s: u64) -> Outcome {
    match accepted(token, chosen, now_s) {
        Ok(text) => Outcome::yes(text),
        Err(error) => Outcome { code: EXIT_NO, text: format!("refused: {}: {error}\n", error.class()) },
    }
}

fn accepted(token: &str, chosen: &Chosen, now_s: u64) -> Result<String, TokenError> {
    let Chosen { keys, policy, owner } = chosen;
    let mut json = Json::new();
    let identity = verify_connection(token, keys, policy, &mut json, now_s)?;
    let mut text = format!("accepted: signed with the key of {owner}\n");
    let mut payload = Vec::new();
    for (name, value) in verify(token, keys, &mut json, &mut payload)?.members() {
        let name = name.as_str().unwrap_or_default();
        let written = without_raw_newlines(value.raw());
        let meaning = meaning(&name, value, policy, now_s);
        writeln!(text, "  {name:<10} {:<24} {meaning}", String::from_utf8_lossy(&written))
            .expect("a String takes all");
    }
    text.push_str(&conclusion(&identity, now_s));
    Ok(text)
}

fn conclusion(identity: &Identity, now_s: u64) -> String {
    let who = match &*identity.user {
        "" => "somebody anonymous".to_owned(),
        user => format!("user {user:?}"),
    };
    match identity.connection_expires_s {
        None => format!("it connects {who}, without an end\n"),
        Some(end_s) if end_s <= now_s => {
            format!("it connects nobody: expire_at ends the connection before it begins ({who})\n")
        }
        Some(end_s) => format!("it connects {who} for {} s, unless it is refreshed\n", end_s - now_s),
    }
}

/// What the broker makes of one claim.
fn meaning(name: &str, value: Value<'_>, policy: &Policy, now_s: u64) -> String {
    let compared = |wanted: &Option<Box<str>>, key: &str| match wanted {
        Some(_) => format!("as {key} demands"),
        None => format!("not looked at: {key} is not set"),
    };
    match name {
        "sub" => "the user".to_owned(),
        "exp" => format!("the token expires {}", when(value, now_s)),
        "nbf" => format!("the token is good {}", when(value, now_s)),
        "expire_at" => format!("the connection expires {}; 0: never", when(value, now_s)),
        "info" | "b64info" => "shown to others beside what the user publishes".to_owned(),
        "aud" => compared(&policy.audience, "token_audience"),
        "iss" => compared(&policy.issuer, "token_issuer"),
        "channels" | "subs" => "not served by this version: the client must subscribe itself".to_owned(),
        _ => "not looked at".to_owned(),
    }
}

fn when(value: Value<'_>, now_s: u64) -> String {
    let Some(time_s) = value.as_f64() else { return "at no time".to_owned() };
    // Verified tokens hold times up to the year 9999, which a float holds exactly.
    let ahead_s = time_s - now_s as f64;
    match ahead_s >= 0.0 {
        true => format!("in {ahead_s} s"),
        false => format!("since {} s", -ahead_s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Keys, Secret, sign};

    const NOW_S: u64 = 1_800_000_000;

    fn chosen() -> Chosen {
        let keys = Keys::new(&Secret::from("secret"), None).expect("not empty");
        let policy = Policy { issuer: Some("us".into()), ..Policy::default() };
        Chosen { keys, policy, owner: "app \"1\"".to_owned() }
    }

    fn explained(claims: &str) -> Outcome {
        let chosen = chosen();
        explain(&sign(claims.as_bytes(), &chosen.keys), &chosen, NOW_S)
    }

    #[test]
    fn claims_are_told_with_their_meaning() {
        let claims = "{\"sub\":\"42\", \"exp\":1800003600, \"iss\":\"us\", \"aud\":[\"x\"],\n\
                      \"info\":{\"name\":\n\"Ada\"}, \"nbf\":1799999990, \"channels\":[\"a\"], \"x\":1}";
        let Outcome { code, text } = explained(claims);
        let want = "\
accepted: signed with the key of app \"1\"
  sub        \"42\"                     the user
  exp        1800003600               the token expires in 3600 s
  iss        \"us\"                     as token_issuer demands
  aud        [\"x\"]                    not looked at: token_audience is not set
  info       {\"name\": \"Ada\"}          shown to others beside what the user publishes
  nbf        1799999990               the token is good since 10 s
  channels   [\"a\"]                    not served by this version: the client must subscribe itself
  x          1                        not looked at
it connects user \"42\" for 3600 s, unless it is refreshed
";
        assert_eq!((code, text.as_str()), (0, want));
    }

    #[test]
    fn the_end_of_the_connection_is_told() {
        let table = [
            (r#"{"sub":"42","iss":"us"}"#, "it connects user \"42\", without an end\n"),
            (r#"{"iss":"us"}"#, "it connects somebody anonymous, without an end\n"),
            (r#"{"iss":"us","exp":1800000005,"expire_at":0}"#, "anonymous, without an end\n"),
            (r#"{"iss":"us","expire_at":1}"#, "connects nobody"),
        ];
        for (claims, want) in table {
            let Outcome { code, text } = explained(claims);
            assert!(code == 0 && text.contains(want), "{claims}: {text}");
        }
    }

    #[test]
    fn refusals_name_class_and_reason_and_nothing_of_the_token() {
        let table = [
            (r#"{"sub":"42","iss":"us","exp":5}"#, "refused: expired: exp is 5, and it is 1800000000 now\n"),
            (r#"{"sub":42,"iss":"us"}"#, "refused: bad_claim: sub is a number, must be a string\n"),
            (r#"{"sub":"42"}"#, "refused: bad_claim: iss is missing, but a value for it is configured\n"),
        ];
        for (claims, want) in table {
            let Outcome { code, text } = explained(claims);
            assert_eq!((code, text.as_str()), (EXIT_NO, want), "{claims}");
        }
        let foreign = Keys::new(&Secret::from("another"), None).expect("not empty");
        let forged = sign(br#"{"sub":"somebody-else"}"#, &foreign);
        let Outcome { code, text } = explain(&forged, &chosen(), NOW_S);
        assert!(code == EXIT_NO && text.starts_with("refused: bad_signature: "), "{text}");
        assert!(!text.contains("somebody-else"));
        let nothing = explain("", &chosen(), NOW_S);
        assert!(nothing.text.starts_with("refused: no_token: "), "{}", nothing.text);
    }
}
