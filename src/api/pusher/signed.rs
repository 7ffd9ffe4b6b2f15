//! Who may ask: whoever signs the request with the app's secret.
//!
//! The signature covers method, path and query, and with the query the digest of the body. So all of it is judged
//! by the head; the body, once it is there, is only compared with its digest.

use std::borrow::Cow;

use data_encoding::HEXLOWER_PERMISSIVE;
use md5::{Digest, Md5};

use super::replay::Mark;
use crate::auth::pusher::{PusherKeys, request_text};
use crate::wire::http::percent_decode;

/// A request's query, cut into parameters.
///
/// Every parameter is kept as it was sent and decoded; `+` stays, as Pusher's libraries write `%20` for a space.
#[derive(Debug)]
pub struct Query<'q> {
    parameters: Vec<Parameter<'q>>,
}

#[derive(Debug)]
struct Parameter<'q> {
    /// Lower-cased.
    name: Box<str>,
    sent: &'q str,
    decoded: Cow<'q, str>,
}

/// Parameters that one request may have.
const PARAMETERS_MAX: usize = 64;

impl<'q> Query<'q> {
    /// `query`: undecoded, without the `?`.
    pub fn read(query: &'q str) -> Result<Self, Unauthorized> {
        let mut parameters: Vec<Parameter<'q>> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, sent) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(decoded)) = (percent_decode(name), percent_decode(sent)) else {
                return Err(Unauthorized::Query);
            };
            if parameters.len() == PARAMETERS_MAX {
                return Err(Unauthorized::Query);
            }
            parameters.push(Parameter { name: name.to_lowercase().into(), sent, decoded });
        }
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        match parameters.array_windows().any(|[one, other]| one.name == other.name) {
            true => Err(Unauthorized::Repeated),
            false => Ok(Self { parameters }),
        }
    }

    /// The decoded value; a parameter without one has the empty value.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|parameter| *parameter.name == *name).map(|found| &*found.decoded)
    }

    /// Names and values, decoded or as they were sent.
    fn pairs(&self, decoded: bool) -> Vec<(&str, &str)> {
        let parameters = self.parameters.iter();
        parameters.map(|p| (&*p.name, if decoded { &*p.decoded } else { p.sent })).collect()
    }
}

/// Which parameter names the key, so that the app can be found by it.
pub const KEY: &str = "auth_key";
const SIGNATURE: &str = "auth_signature";

/// The digest of the body that was signed; `None`: none was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyDigest(Option<[u8; 16]>);

impl BodyDigest {
    /// Compares a body with what was signed. O(length).
    pub fn judge(self, body: &[u8]) -> Result<(), Unauthorized> {
        match self.0 {
            Some(signed) if signed == <[u8; 16]>::from(Md5::digest(body)) => Ok(()),
            Some(_) => Err(Unauthorized::BodyDiffers),
            None if body.is_empty() => Ok(()),
            None => Err(Unauthorized::BodyUnsigned),
        }
    }
}

/// A signature that is right, and what it is right for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    pub digest: BodyDigest,
    pub mark: Mark,
}

/// Why a request is refused; answered with status 401. Each names what would help, none the expected digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    #[error("the query is not well encoded, or has too many parameters")]
    Query,
    #[error("a query parameter is given twice")]
    Repeated,
    #[error("auth_key is missing")]
    NoKey,
    #[error("auth_key is not the key of this app")]
    Key,
    #[error("auth_version must be 1.0")]
    Version,
    #[error("auth_timestamp must be a Unix time in seconds")]
    NoTimestamp,
    #[error("auth_timestamp is more than {window_s} s off: the clock here says {now_s}")]
    Timestamp { window_s: u32, now_s: u64 },
    #[error("body_md5 must be 32 hexadecimal digits")]
    Digest,
    #[error("auth_signature is missing")]
    NoSignature,
    #[error(
        "auth_signature is wrong: sign METHOD, path and the sorted query without auth_signature, joined by newlines"
    )]
    Signature,
    #[error(
        "this very request was taken before; sign what is to be done again anew, not within the same second"
    )]
    Again,
    #[error(
        "auth_timestamp is no later than that of requests the server had to forget: set the clock, or raise apps.pusher.replay_cache"
    )]
    Forgotten,
    #[error("the body is not signed: body_md5 is missing")]
    BodyUnsigned,
    #[error("body_md5 is not the digest of the body")]
    BodyDiffers,
}

/// What is judged beside the query.
#[derive(Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// The paths that the client may have signed, undecoded: proxies and prefixes change it under way.
    pub paths: &'a [&'a str],
    /// Unix time in seconds.
    pub now_s: u64,
    /// How far the client's clock may be off.
    pub window_s: u32,
}

/// Judges a request's signature. Paths and values count decoded; as sent too, for clients that sign what they send.
pub fn authenticate(
    query: &Query<'_>,
    request: &Request<'_>,
    keys: &PusherKeys,
) -> Result<Proof, Unauthorized> {
    if query.value(KEY).ok_or(Unauthorized::NoKey)? != keys.key() {
        return Err(Unauthorized::Key);
    }
    if query.value("auth_version") != Some("1.0") {
        return Err(Unauthorized::Version);
    }
    let timestamp =
        query.value("auth_timestamp").filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let timestamp: u64 = timestamp.and_then(|text| text.parse().ok()).ok_or(Unauthorized::NoTimestamp)?;
    let Request { now_s, window_s, .. } = *request;
    if timestamp.abs_diff(now_s) > u64::from(window_s) {
        return Err(Unauthorized::Timestamp { window_s, now_s });
    }
    let digest = match query.value("body_md5") {
        None => None,
        Some(digits) => {
            let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
            Some(bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(Unauthorized::Digest)?)
        }
    };
    let signature = query.value(SIGNATURE).ok_or(Unauthorized::NoSignature)?;
    let mut forms = vec![query.pairs(true), query.pairs(false)];
    forms.dedup();
    let mut paths: Vec<Cow<'_, str>> = Vec::new();
    for path in request.paths {
        for path in percent_decode(path).into_iter().chain([Cow::Borrowed(*path)]) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    let mut texts = paths
        .iter()
        .flat_map(|path| forms.iter().map(move |pairs| request_text(request.method, path, pairs)));
    let signature = texts
        .find_map(|text| keys.verify_signature(signature, text.as_bytes()).ok())
        .ok_or(Unauthorized::Signature)?;
    Ok(Proof { digest: BodyDigest(digest), mark: Mark { signed_s: timestamp, signature } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::secret::Secret;

    const APP_KEY: &str = "278d425bdf160c739803";
    const SECRET: &str = "7ad3773142a6692b25b8";
    const BODY: &[u8] = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    const MD5: &str = "ec365a775a4cd0599faeb73354201b6f";
    const SIGNED: &str = "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
    const NOW_S: u64 = 1_353_088_179;

    fn keys() -> PusherKeys {
        PusherKeys::new(APP_KEY, &Secret::from(SECRET), None).expect("not empty")
    }

    fn sign(text: &str) -> String {
        keys().sign(text.as_bytes())
    }

    fn judge(method: &str, paths: &[&str], query: &str, now_s: u64) -> Result<BodyDigest, Unauthorized> {
        let request = Request { method, paths, now_s, window_s: 600 };
        authenticate(&Query::read(query)?, &request, &keys()).map(|proof| proof.digest)
    }

    /// A signed GET with these further parameters, as sent and as signed.
    fn get(path: &str, sent: &str, signed: &str, paths: &[&str]) -> Result<BodyDigest, Unauthorized> {
        let head = format!("auth_key={APP_KEY}&auth_timestamp={NOW_S}&auth_version=1.0");
        let signature = sign(&format!("GET\n{path}\n{head}&{signed}"));
        judge("GET", paths, &format!("{head}&{sent}&auth_signature={signature}"), NOW_S)
    }

    #[test]
    fn the_published_example() {
        let query = format!(
            "auth_key={APP_KEY}&auth_timestamp={NOW_S}&auth_version=1.0&body_md5={MD5}&auth_signature={SIGNED}"
        );
        let digest = judge("POST", &["/apps/3/events"], &query, NOW_S).expect("the signature is right");
        assert_eq!(digest.judge(BODY), Ok(()));
        assert_eq!(digest.judge(b"{}"), Err(Unauthorized::BodyDiffers));
        assert_eq!(digest.judge(b""), Err(Unauthorized::BodyDiffers));
        // In any order, and with names in any case.
        let mixed = format!(
            "body_md5={MD5}&Auth_Signature={SIGNED}&AUTH_KEY={APP_KEY}&auth_version=1.0&auth_timestamp={NOW_S}"
        );
        assert_eq!(judge("POST", &["/apps/3/events"], &mixed, NOW_S), Ok(digest));
        assert_eq!(judge("GET", &["/apps/3/events"], &query, NOW_S), Err(Unauthorized::Signature));
        assert_eq!(judge("POST", &["/apps/4/events"], &query, NOW_S), Err(Unauthorized::Signature));
    }

    #[test]
    fn t4_01_the_clock_may_be_ten_minutes_off() {
        let query = format!(
            "auth_key={APP_KEY}&auth_timestamp={NOW_S}&auth_version=1.0&body_md5={MD5}&auth_signature={SIGNED}"
        );
        for (now_s, is_right) in
            [(NOW_S - 600, true), (NOW_S + 600, true), (NOW_S - 601, false), (NOW_S + 601, false)]
        {
            let got = judge("POST", &["/apps/3/events"], &query, now_s);
            let late = Unauthorized::Timestamp { window_s: 600, now_s };
            assert_eq!(got.map(|_| ()), if is_right { Ok(()) } else { Err(late) }, "{now_s}");
            assert!(late.to_string().contains("600 s") && late.to_string().contains(&now_s.to_string()));
        }
    }

    #[test]
    fn t4_03_what_is_not_signed_is_refused() {
        let right = format!("auth_key={APP_KEY}&auth_timestamp={NOW_S}&auth_version=1.0&body_md5={MD5}");
        let table = [
            (right.replace("auth_key", "key"), Unauthorized::NoKey),
            (right.replace(APP_KEY, "app-key"), Unauthorized::Key),
            (right.clone(), Unauthorized::NoSignature),
            (format!("{right}&auth_signature="), Unauthorized::Signature),
            (format!("{right}&auth_signature={}", SIGNED.to_uppercase()), Unauthorized::Signature),
            (format!("{right}&auth_signature={SIGNED}&auth_key={APP_KEY}"), Unauthorized::Repeated),
            (format!("{right}&auth_signature={SIGNED}&Auth_Version=1.0"), Unauthorized::Repeated),
            (format!("{right}&auth_signature={SIGNED}&info=a"), Unauthorized::Signature),
            (format!("{right}&auth_signature={SIGNED}&info=%zz"), Unauthorized::Query),
            (right.replace("1.0", "1.1") + "&auth_signature=" + SIGNED, Unauthorized::Version),
            (right.replace("&auth_version=1.0", ""), Unauthorized::Version),
            (right.replace("auth_timestamp=", "auth_timestamp=-"), Unauthorized::NoTimestamp),
            (right.replace("auth_timestamp=", "auth_timestamp=%2B"), Unauthorized::NoTimestamp),
            (
                right.replace(&NOW_S.to_string(), "99999999999999999999") + "&auth_signature=" + SIGNED,
                Unauthorized::NoTimestamp,
            ),
            (right.replace(MD5, "xyz") + "&auth_signature=" + SIGNED, Unauthorized::Digest),
            (right.replace(MD5, "ec36") + "&auth_signature=" + SIGNED, Unauthorized::Digest),
        ];
        for (query, want) in table {
            assert_eq!(judge("POST", &["/apps/3/events"], &query, NOW_S), Err(want), "{query}");
        }
        let many = "a&".repeat(PARAMETERS_MAX + 1);
        assert_eq!(Query::read(&many).map(|_| ()), Err(Unauthorized::Query));
    }

    #[test]
    fn a_body_must_be_signed_and_nothing_may_be() {
        let none = get("/apps/3/channels", "x=1", "x=1", &["/apps/3/channels"]).expect("signed");
        assert_eq!(none.judge(b""), Ok(()));
        assert_eq!(none.judge(b"{}"), Err(Unauthorized::BodyUnsigned));
        // What the library for Python sends with every GET.
        let empty = "body_md5=d41d8cd98f00b204e9800998ecf8427e";
        let empty = get("/apps/3/channels", empty, empty, &["/apps/3/channels"]).expect("signed");
        assert_eq!(empty.judge(b""), Ok(()));
        assert_eq!(empty.judge(b"{}"), Err(Unauthorized::BodyDiffers));
    }

    #[test]
    fn values_and_paths_are_signed_decoded_or_as_sent() {
        let path = "/apps/3/channels";
        let (sent, decoded) = ("filter_by_prefix=a%20b=@,;%C3%A9", "filter_by_prefix=a b=@,;é");
        assert!(get(path, sent, decoded, &[path]).is_ok());
        assert!(get(path, sent, sent, &[path]).is_ok());
        // A plus is a plus.
        assert!(get(path, "info=a+b", "info=a+b", &[path]).is_ok());
        assert_eq!(get(path, "info=a+b", "info=a b", &[path]), Err(Unauthorized::Signature));
        // With a prefix in front or without, decoded or not.
        let (long, short) = ("/socket/apps/3/channels/caf%C3%A9", "/apps/3/channels/caf%C3%A9");
        for signed in [long, short, "/socket/apps/3/channels/café", "/apps/3/channels/café"] {
            assert!(get(signed, "x=1", "x=1", &[long, short]).is_ok(), "{signed}");
        }
        assert_eq!(get("/apps/3/channels/cafe", "x=1", "x=1", &[long, short]), Err(Unauthorized::Signature));
    }

    #[test]
    fn names_are_sorted_by_themselves() {
        // `=` is greater than `-`, so sorting whole pairs would turn these round.
        let (sent, signed) = ("x-b=2&x=1", "x=1&x-b=2");
        assert!(get("/apps/3/channels", sent, signed, &["/apps/3/channels"]).is_ok());
    }
}
