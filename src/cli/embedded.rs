//! What the embedded default shows to whoever started it: once, on stdout.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::source::Source;
use crate::admin::pages;
use crate::auth::{Keys, sign};
use crate::config::Config;

/// The page at `/`, and what is printed at the start (may be empty).
///
/// Both hold only secrets that were made up for this process, and tokens signed with them. Their tokens have no
/// `exp`: they are void as soon as the process ends, since the next one makes up another secret.
pub fn introduce(source: &Source, config: &Config) -> (String, String) {
    let made =
        |secret: Option<&crate::auth::Secret>| secret.filter(|secret| source.has_made(secret)).cloned();
    let Some(app) = config.apps.first() else { return (pages::index(None), String::new()) };
    let keys = made(app.token_hmac_secret_key.as_ref()).and_then(|secret| Keys::new(&secret, None));
    let token = |user: &str| Some(sign(format!(r#"{{"sub":"{user}"}}"#).as_bytes(), keys.as_ref()?));
    let page = pages::index(token("page").as_deref());
    let api_key = made(app.api_key.as_ref());
    if !source.is_embedded() {
        return (page, String::new());
    }
    let Some(address) = config.server.http.first() else { return (page, String::new()) };
    let api_key = api_key.as_ref().map(|key| key.expose());
    let tcp = config.server.tcp.first().copied();
    let secret = made(app.secret.as_ref());
    let pusher = secret.as_ref().zip(app.key.as_deref()).filter(|_| app.pusher.is_some());
    let pusher = pusher.map(|(secret, key)| (&*app.id, key, secret.expose()));
    (page, greeting(*address, tcp, token("me").as_deref(), api_key, pusher))
}

/// `pusher`: id, key and secret of an app.
fn greeting(
    address: SocketAddr,
    tcp: Option<SocketAddr>,
    token: Option<&str>,
    api_key: Option<&str>,
    pusher: Option<(&str, &str, &str)>,
) -> String {
    let mut text = String::from("Polycast runs its embedded default: on this machine only, in memory.\n\n");
    let mut line =
        |name: &str, value: &str| writeln!(text, "  {name:<6} {value}").expect("a String takes all");
    line("page", &format!("http://{address}/"));
    line("socket", &format!("ws://{address}/connection/websocket"));
    if let Some(tcp) = tcp {
        line("redis", &format!("{tcp}: AUTH with the API key, then PUBLISH, with any Redis client"));
    }
    if let Some(token) = token {
        line("token", token);
    }
    if let Some((id, key, secret)) = pusher {
        line("pusher", &format!("app id {id}, key {key}, secret {secret}"));
    }
    if let Some(api_key) = api_key {
        let data = r#"{"channel": "chat", "data": {"text": "hello"}}"#;
        let publish = format!("curl -H 'X-API-Key: {api_key}' -d '{data}' http://{address}/api/publish");
        writeln!(text, "\nPublish from here:\n\n  {publish}").expect("a String takes all");
    }
    if token.is_some() || api_key.is_some() || pusher.is_some() {
        text.push_str("\nThese secrets were made up now and end with this process.\n");
    }
    text.push_str("A configuration of your own begins with: polycast default-config > polycast.toml\n\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_made_up_is_shown_once() {
        let mut source = Source::new(None);
        let config = source.read_with(Vec::new()).expect("valid");
        let (page, greeting) = introduce(&source, &config);
        let app = &config.apps[0];
        let api_key = app.api_key.as_ref().expect("made up").expose();
        assert_eq!(greeting.matches(api_key).count(), 1);
        assert!(!page.contains(api_key));
        for shown in [app.key.as_deref(), app.secret.as_ref().map(|secret| secret.expose())] {
            let shown = shown.expect("made up");
            assert_eq!(greeting.matches(shown).count(), 1);
            assert!(!page.contains(shown));
        }
        let secret = app.token_hmac_secret_key.as_ref().expect("made up");
        assert!(!greeting.contains(secret.expose()) && !page.contains(secret.expose()));

        let token = greeting.lines().find_map(|line| line.trim().strip_prefix("token ")).expect("a token");
        let keys = Keys::new(secret, None).expect("not empty");
        let mut json = crate::wire::json::Json::new();
        let policy = crate::auth::Policy::default();
        let identity = crate::auth::verify_connection(token.trim(), &keys, &policy, &mut json, 1);
        assert_eq!(identity.map(|identity| identity.user).as_deref(), Ok("me"));
        assert!(page.contains("content=\"eyJ"));
        assert!(greeting.contains("  page   http://127.0.0.1:8000/\n"));
        assert!(greeting.contains("  redis  127.0.0.1:8001: "));
        let curl = greeting.lines().find(|line| line.trim().starts_with("curl ")).expect("a curl line");
        assert!(curl.ends_with("http://127.0.0.1:8000/api/publish"), "{curl}");
    }

    #[test]
    fn what_the_operator_gave_is_not_shown() {
        let mut source = Source::new(None);
        let given = [
            ("TOKEN_HMAC_SECRET_KEY", "key of tokens"),
            ("API_KEY", "key of the backend"),
            ("SECRET", "key of signatures"),
        ];
        let variables = given.map(|(name, value)| (format!("POLYCAST_APPS__0__{name}"), value.to_owned()));
        let config = source.read_with(variables.to_vec()).expect("valid");
        let (page, greeting) = introduce(&source, &config);
        assert!(page.contains("content=\"\""), "the page asks for a token");
        assert!(greeting.contains("http://127.0.0.1:8000/"));
        for hidden in
            ["key of tokens", "key of the backend", "key of signatures", "token  ", "curl", "made up"]
        {
            assert!(!greeting.contains(hidden), "{hidden}: {greeting}");
        }
    }
}
