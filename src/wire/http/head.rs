//! A request head: request line, headers, and what they say about body and connection.

use std::mem::MaybeUninit;

use super::error::HttpError;

/// The most headers a request may have, whatever [`HttpLimits::headers_max`] says.
pub const HEADERS_MAX: usize = 100;

/// What a request head may be. A body's limit depends on the endpoint: see [`Body::check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    pub head_bytes_max: u16,
    /// At most [`HEADERS_MAX`] counts.
    pub headers_max: u16,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { head_bytes_max: 16 * 1024, headers_max: HEADERS_MAX as u16 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// How the body behind a head is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    /// Bytes, at least 1.
    Length(u64),
    Chunked,
}

impl Body {
    /// Refuses a body that is announced too big, before any of it is read. `limit`: bytes.
    pub fn check(self, limit: u64) -> Result<(), HttpError> {
        match self {
            Self::Length(bytes) if bytes > limit => Err(HttpError::BodyTooBig { limit }),
            _ => Ok(()),
        }
    }
}

/// A whole request head, borrowed from the bytes it was read from.
#[derive(Debug, Clone)]
pub struct Head<'a> {
    /// As sent; one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.
    pub method: &'a str,
    /// Undecoded, begins with `/`, or is `*` alone.
    pub path: &'a str,
    /// What follows the `?`, undecoded; empty if there is none. It may hold tokens: never to be logged.
    pub query: &'a str,
    pub version: Version,
    /// The connection may carry another request after this one.
    pub keep_alive: bool,
    pub body: Body,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Of an absolute target; it stands for the Host header then.
    authority: Option<&'a str>,
    bytes: &'a [u8],
    fields: [Field; HEADERS_MAX],
    fields_count: u16,
}

/// Where a header lies in [`Head::bytes`]; 16 bits suffice for every head.
#[derive(Debug, Clone, Copy, Default)]
struct Field {
    name_start: u16,
    name_bytes: u16,
    value_start: u16,
    value_bytes: u16,
}

const METHODS: [&str; 7] = ["GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", "PATCH"];

/// Reads a whole head as [`super::HeadReader`] finds it. `None`: the empty line is missing.
///
/// No allocation. Errors: everything RFC 9112 forbids, and what it allows but two parties may read differently.
pub fn parse_head<'a>(bytes: &'a [u8], limits: &HttpLimits) -> Result<Option<Head<'a>>, HttpError> {
    if bytes.len() > usize::from(limits.head_bytes_max) {
        return Err(HttpError::HeadTooBig { limit: limits.head_bytes_max });
    }
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    if bytes.starts_with(b"\r\n") {
        return Err(HttpError::RequestLine);
    }
    let headers_max = HEADERS_MAX.min(usize::from(limits.headers_max));
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let used = match request.parse_with_uninit_headers(bytes, &mut slots[..headers_max]) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(from_httparse(error, bytes, headers_max as u16)),
    };
    let bytes = &bytes[..used];
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HttpError::RequestLine);
    };
    if !METHODS.contains(&method) {
        return Err(HttpError::MethodUnknown);
    }
    let Target { authority, path, query } = split_target(target)?;
    let mut head = Head {
        method,
        path,
        query,
        version: if minor == 0 { Version::Http10 } else { Version::Http11 },
        keep_alive: false,
        body: Body::None,
        expects_continue: false,
        authority,
        bytes,
        fields: [Field::default(); HEADERS_MAX],
        fields_count: 0,
    };
    for (field, header) in head.fields.iter_mut().zip(request.headers.iter()) {
        *field = locate(bytes, header).ok_or(HttpError::Header)?;
        head.fields_count += 1;
    }
    head.judge()?;
    Ok(Some(head))
}

impl<'a> Head<'a> {
    /// Length of the head, with its empty line.
    pub fn head_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All headers in order; names as sent, values without surrounding white space.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + '_ {
        self.fields[..usize::from(self.fields_count)].iter().map(|field| {
            let name = self.slice(field.name_start, field.name_bytes);
            (std::str::from_utf8(name).unwrap_or(""), self.slice(field.value_start, field.value_bytes))
        })
    }

    /// All values of one header, in order. Names match without regard to case.
    pub fn values<'s>(&'s self, name: &'s str) -> impl DoubleEndedIterator<Item = &'a [u8]> + 's {
        self.fields[..usize::from(self.fields_count)]
            .iter()
            .filter(move |field| {
                usize::from(field.name_bytes) == name.len()
                    && self.slice(field.name_start, field.name_bytes).eq_ignore_ascii_case(name.as_bytes())
            })
            .map(|field| self.slice(field.value_start, field.value_bytes))
    }

    /// The first value of one header as text. `None`: absent, or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.values(name).next().and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The value of a header that may come once only. `Ok(None)`: absent. `Err`: repeated, or not UTF-8.
    pub fn single(&self, name: &str) -> Result<Option<&'a str>, HttpError> {
        let mut values = self.values(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(HttpError::Header);
        }
        std::str::from_utf8(value).map(Some).map_err(|_| HttpError::Header)
    }

    /// The elements of a comma-separated list over all values of one header, without white space, empty ones
    /// left out (RFC 9110 section 5.6.1). Linear in the length of the values, no allocation.
    pub fn list<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(|element| element.trim_ascii())
            .filter(|element| !element.is_empty())
    }

    /// Whether a list header has this element, without regard to case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The host (and port) the client addressed: of an absolute target, else the Host header.
    pub fn host(&self) -> Option<&'a str> {
        self.authority.or_else(|| self.header("host"))
    }

    fn slice(&self, start: u16, bytes: u16) -> &'a [u8] {
        let start = usize::from(start);
        self.bytes.get(start..start + usize::from(bytes)).unwrap_or_default()
    }

    /// Fills in what the headers say about connection and body.
    fn judge(&mut self) -> Result<(), HttpError> {
        let hosts = self.values("host").count();
        if hosts > 1 || (hosts == 0 && self.version == Version::Http11) {
            return Err(HttpError::Host);
        }
        self.keep_alive = match self.version {
            Version::Http11 => !self.has_token("connection", "close"),
            Version::Http10 => {
                self.has_token("connection", "keep-alive") && !self.has_token("connection", "close")
            }
        };
        self.body = self.judge_framing()?;
        if let Some(expectation) = self.single("expect")? {
            if !expectation.eq_ignore_ascii_case("100-continue") {
                return Err(HttpError::Expectation);
            }
            self.expects_continue = self.version == Version::Http11 && self.body != Body::None;
        }
        Ok(())
    }

    /// RFC 9112 section 6.3, without its leniencies: a length comes once, and never beside a transfer coding.
    fn judge_framing(&self) -> Result<Body, HttpError> {
        let mut lengths = self.values("content-length");
        let length = lengths.next();
        if self.values("transfer-encoding").next().is_some() {
            if length.is_some() {
                return Err(HttpError::TwoFramings);
            }
            return self.judge_transfer_encoding();
        }
        let Some(length) = length else { return Ok(Body::None) };
        if lengths.next().is_some() {
            return Err(HttpError::ContentLength);
        }
        match parse_length(length).ok_or(HttpError::ContentLength)? {
            0 => Ok(Body::None),
            bytes => Ok(Body::Length(bytes)),
        }
    }

    fn judge_transfer_encoding(&self) -> Result<Body, HttpError> {
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        let chunked_count = self.list("transfer-encoding").filter(|coding| is_chunked(coding)).count();
        let ends_chunked = self.list("transfer-encoding").last().is_some_and(is_chunked);
        if self.version == Version::Http10 || chunked_count != 1 || !ends_chunked {
            return Err(HttpError::TransferEncoding);
        }
        if self.list("transfer-encoding").count() > 1 {
            return Err(HttpError::TransferCodingUnknown);
        }
        Ok(Body::Chunked)
    }
}

struct Target<'a> {
    authority: Option<&'a str>,
    path: &'a str,
    query: &'a str,
}

/// Origin form, absolute form of http and https, or `*` (RFC 9112 section 3.2).
fn split_target(target: &str) -> Result<Target<'_>, HttpError> {
    // The parser lets bytes above ASCII pass, and a fragment is never sent.
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) || target.contains('#') {
        return Err(HttpError::Target);
    }
    if target == "*" {
        return Ok(Target { authority: None, path: target, query: "" });
    }
    let (authority, rest) = if target.starts_with('/') {
        (None, target)
    } else {
        let (scheme, rest) = target.split_once("://").ok_or(HttpError::Target)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(HttpError::Target);
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() || authority.contains('@') {
            return Err(HttpError::Target);
        }
        (Some(authority), rest)
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok(Target { authority, path: if path.is_empty() { "/" } else { path }, query })
}

/// Digits alone, below 2^64.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

fn locate(bytes: &[u8], header: &httparse::Header<'_>) -> Option<Field> {
    let start =
        |part: &[u8]| u16::try_from((part.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?).ok();
    Some(Field {
        name_start: start(header.name.as_bytes())?,
        name_bytes: u16::try_from(header.name.len()).ok()?,
        value_start: if header.value.is_empty() { 0 } else { start(header.value)? },
        value_bytes: u16::try_from(header.value.len()).ok()?,
    })
}

fn from_httparse(error: httparse::Error, bytes: &[u8], headers_max: u16) -> HttpError {
    match error {
        httparse::Error::TooManyHeaders => HttpError::TooManyHeaders { limit: headers_max },
        httparse::Error::HeaderName | httparse::Error::HeaderValue => HttpError::Header,
        // A target with a space leaves something else where the version should be.
        httparse::Error::Version
            if bytes.split(|&byte| byte == b' ').nth(2).is_some_and(|word| word.starts_with(b"HTTP/")) =>
        {
            HttpError::Version
        }
        httparse::Error::Version
        | httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token => HttpError::RequestLine,
    }
}
