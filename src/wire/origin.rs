//! Which web pages may connect: the Origin header against the operator's list (RFC 6454 section 7).

/// One entry of the list of allowed origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// `*`: every origin, `null` too.
    Any,
    /// `null`: pages without an origin (files, sandboxed frames).
    Null,
    /// `https://example.com`, `http://localhost:3000`: scheme, host and port as they are.
    Exact(Box<str>),
    /// `*.example.com`, `https://*.example.com:8443`: every host below, not the host itself.
    Subdomains {
        /// `None`: any scheme.
        scheme: Option<Box<str>>,
        /// Without the `*`, with the leading dot.
        suffix: Box<str>,
        /// `None`: the scheme's default.
        port: Option<u16>,
    },
}

/// What is wrong with an entry of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginPatternError {
    #[error("an origin is scheme://host, scheme://host:port, *.host, null or *; without path or user")]
    Malformed,
    #[error("the scheme is missing: write https://host or http://host")]
    SchemeMissing,
}

impl std::str::FromStr for OriginPattern {
    type Err = OriginPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let (scheme, authority) = match text.split_once("://") {
            Some((scheme, authority)) => (Some(scheme), authority),
            None => (None, text),
        };
        if scheme.is_some_and(|scheme| !is_scheme(scheme)) {
            return Err(OriginPatternError::Malformed);
        }
        let (host, port) = split_authority(authority.strip_prefix('*').unwrap_or(authority))
            .ok_or(OriginPatternError::Malformed)?;
        if authority.starts_with('*') {
            if host.len() < 2 || !host.starts_with('.') {
                return Err(OriginPatternError::Malformed);
            }
            return Ok(Self::Subdomains { scheme: scheme.map(Box::from), suffix: host.into(), port });
        }
        if scheme.is_none() {
            return Err(OriginPatternError::SchemeMissing);
        }
        if host.starts_with('.') {
            return Err(OriginPatternError::Malformed);
        }
        Ok(Self::Exact(text.into()))
    }
}

/// Whether a page of this origin may connect.
///
/// `origin`: the Origin header. `host`: what the client addressed ([`super::http::Head::host`]); a page of that
/// very host and port always may. Without an Origin header the question is not asked: native clients send none.
/// Scheme and host compare without regard to case, a default port equals a missing one. No allocation.
pub fn origin_allowed(origin: &str, host: Option<&str>, allowed: &[OriginPattern]) -> bool {
    let parsed = Origin::parse(origin);
    if let (Some(parsed), Some(host)) = (&parsed, host)
        && parsed.is_served_by(host)
    {
        return true;
    }
    allowed.iter().any(|pattern| match (pattern, &parsed) {
        (OriginPattern::Any, _) => true,
        (OriginPattern::Null, _) => origin == "null",
        (OriginPattern::Exact(text), Some(parsed)) => {
            Origin::parse(text).is_some_and(|wanted| parsed.equals(&wanted))
        }
        (OriginPattern::Subdomains { scheme, suffix, port }, Some(parsed)) => {
            scheme.as_deref().is_none_or(|scheme| scheme.eq_ignore_ascii_case(parsed.scheme))
                && parsed.is_below(suffix)
                && parsed.port() == port.or(default_port(parsed.scheme))
        }
        (OriginPattern::Exact(_) | OriginPattern::Subdomains { .. }, None) => false,
    })
}

/// `scheme://host[:port]` and nothing else.
#[derive(Debug, Clone, Copy)]
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (host, port) = split_authority(authority)?;
        is_scheme(scheme).then_some(Self { scheme, host, port })
    }

    fn port(&self) -> Option<u16> {
        self.port.or(default_port(self.scheme))
    }

    fn equals(&self, other: &Origin<'_>) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host.eq_ignore_ascii_case(other.host)
            && self.port() == other.port()
    }

    /// `host`: a Host header. Where TLS ends in front of us the scheme is the page's, so its default port counts.
    fn is_served_by(&self, host: &str) -> bool {
        split_authority(host).is_some_and(|(host, port)| {
            self.host.eq_ignore_ascii_case(host) && self.port() == port.or(default_port(self.scheme))
        })
    }

    /// `suffix` begins with a dot, so `evilexample.com` does not end in `.example.com`.
    fn is_below(&self, suffix: &str) -> bool {
        let (host, suffix) = (self.host.as_bytes(), suffix.as_bytes());
        host.len() > suffix.len() && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else {
        None
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Host (IPv6 with its brackets) and port. `None`: empty, or anything a host cannot contain.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_end = match authority.strip_prefix('[') {
        Some(inner) => inner.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(host_end)?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match inner {
        Some(inner) => inner.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')),
        None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')),
    };
    if host.is_empty() || inner == Some("") || !is_host {
        return None;
    }
    match port.strip_prefix(':') {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        Some(_) => None,
        None => port.is_empty().then_some((host, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: &str, host: Option<&str>, list: &[&str]) -> bool {
        let list: Vec<OriginPattern> = list.iter().map(|text| text.parse().expect("valid pattern")).collect();
        origin_allowed(origin, host, &list)
    }

    #[test]
    fn t5_9_same_origin() {
        let rows = [
            ("http://example.com", "example.com", true),
            ("http://example.com:8000", "example.com:8000", true),
            ("http://EXAMPLE.com", "example.COM", true),
            ("http://example.com", "example.com:80", true),
            ("https://example.com", "example.com", true),
            ("https://example.com", "example.com:443", true),
            ("http://[::1]:8000", "[::1]:8000", true),
            ("http://example.com", "example.com:8000", false),
            ("http://example.com:8000", "example.com", false),
            ("https://example.com", "example.com:80", false),
            ("http://example.com.evil.org", "example.com", false),
            ("http://evilexample.com", "example.com", false),
            ("http://example.co", "example.com", false),
            ("null", "null", false),
            ("", "", false),
            ("http://", "", false),
            ("http://example.com/", "example.com", false),
            ("http://u@example.com", "example.com", false),
            ("http://example.com:80:80", "example.com", false),
            ("http://example.com:", "example.com", false),
            ("http://example.com:99999", "example.com:99999", false),
            ("http://example.com http://evil.org", "example.com", false),
            ("http://exa%6dple.com", "example.com", false),
            ("http://[::1", "[::1", false),
            ("http://[]", "[]", false),
        ];
        for (origin, host, want) in rows {
            assert_eq!(allowed(origin, Some(host), &[]), want, "{origin} at {host}");
            assert!(!allowed(origin, None, &[]), "{origin} without a host");
        }
    }

    #[test]
    fn t5_9_listed_origins() {
        let rows = [
            ("https://example.com", "https://example.com", true),
            ("https://example.com", "https://example.com:443", true),
            ("https://example.com:443", "https://EXAMPLE.com", true),
            ("https://example.com", "http://example.com", false),
            ("https://example.com", "https://example.com:8443", false),
            ("https://example.com", "https://example.com.evil.org", false),
            ("https://example.com", "https://www.example.com", false),
            ("https://example.com", "https://example.com/", false),
            ("https://example.com", "https://example.com@evil.org", false),
            ("https://example.com", "null", false),
            ("*.example.com", "https://a.example.com", true),
            ("*.example.com", "http://a.b.EXAMPLE.com", true),
            ("*.example.com", "https://a.example.com:8443", false),
            ("*.example.com", "https://example.com", false),
            ("*.example.com", "https://.example.com", false),
            ("*.example.com", "https://evilexample.com", false),
            ("*.example.com", "https://a.example.com.evil.org", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "http://a.example.com", false),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            ("https://*.example.com:8443", "https://a.example.com", false),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("null", "null", true),
            ("null", "NULL", false),
            ("null", "https://null", false),
            ("*", "https://anything.org:1", true),
            ("*", "null", true),
        ];
        for (pattern, origin, want) in rows {
            assert_eq!(allowed(origin, Some("broker.local"), &[pattern]), want, "{origin} by {pattern}");
        }
        assert!(allowed("http://b", None, &["http://a", "http://b"]));
    }

    #[test]
    fn patterns_that_stop_the_start() {
        let rows = [
            ("", OriginPatternError::Malformed),
            ("example.com", OriginPatternError::SchemeMissing),
            ("localhost:3000", OriginPatternError::SchemeMissing),
            ("https://example.com/", OriginPatternError::Malformed),
            ("https://example.com/path", OriginPatternError::Malformed),
            ("https://a*.example.com", OriginPatternError::Malformed),
            ("https://*example.com", OriginPatternError::Malformed),
            ("*.", OriginPatternError::Malformed),
            ("**", OriginPatternError::Malformed),
            ("https://*", OriginPatternError::Malformed),
            ("https://.example.com", OriginPatternError::Malformed),
            ("https://example.com:port", OriginPatternError::Malformed),
            ("https://example.com:65536", OriginPatternError::Malformed),
            ("https://user@example.com", OriginPatternError::Malformed),
            ("1http://example.com", OriginPatternError::Malformed),
            (" https://example.com", OriginPatternError::Malformed),
        ];
        for (text, want) in rows {
            assert_eq!(text.parse::<OriginPattern>(), Err(want), "{text:?}");
        }
    }
}
