//! Who may use the backend API: whoever presents the app's API key.

use std::borrow::Cow;

use crate::auth::api_key::ApiKey;
use crate::wire::http::{Head, query_value};

/// Why a request is refused; answered with status 401. Each names what would help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    #[error("no API key: send it as X-API-Key, as \"Authorization: apikey KEY\" or as ?api_key=KEY")]
    Missing,
    #[error("the API key is not that of apps.api_key")]
    Wrong,
    /// Also said to those who present a key.
    #[error("the API is off: apps.api_key is not set")]
    Off,
}

/// Judges the key a request presents. `key`: the app's, `None` if it has none.
///
/// The first of these counts, whether right or wrong: header `X-API-Key`, header `Authorization: apikey KEY` (the
/// scheme in any case), query parameter `api_key`. A key given twice is none. Keys compare in constant time.
pub fn authorize(head: &Head<'_>, key: Option<&ApiKey>) -> Result<(), Unauthorized> {
    let key = key.ok_or(Unauthorized::Off)?;
    let presented = presented(head)?;
    if key.matches(&presented) { Ok(()) } else { Err(Unauthorized::Wrong) }
}

fn presented<'a>(head: &Head<'a>) -> Result<Cow<'a, str>, Unauthorized> {
    if let Some(key) = head.single("x-api-key").map_err(|_| Unauthorized::Wrong)? {
        return Ok(Cow::Borrowed(key));
    }
    if let Some(credentials) = head.single("authorization").map_err(|_| Unauthorized::Wrong)?
        && let Some((scheme, key)) = credentials.split_once(' ')
        && scheme.eq_ignore_ascii_case("apikey")
    {
        return Ok(Cow::Borrowed(key.trim_start_matches(' ')));
    }
    query_value(head.query, "api_key").ok_or(Unauthorized::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::secret::Secret;
    use crate::wire::http::{HttpLimits, parse_head};

    #[test]
    fn t5_12_the_key_and_only_the_key_opens() {
        let (missing, wrong) = (Err(Unauthorized::Missing), Err(Unauthorized::Wrong));
        // (query, headers, want)
        let table = [
            ("", "", missing),
            ("", "X-API-Key: api-key\r\n", Ok(())),
            ("", "x-api-key:   api-key  \r\n", Ok(())),
            ("", "X-API-Key: API-KEY\r\n", wrong),
            ("", "X-API-Key: api-ke\r\n", wrong),
            ("", "X-API-Key: api-keyy\r\n", wrong),
            ("", "X-API-Key:\r\n", wrong),
            ("", "X-API-Key: \"api-key\"\r\n", wrong),
            ("", "X-API-Key: api-key\r\nX-API-Key: api-key\r\n", wrong),
            ("", "X-API-Key: \u{ff}\r\n", wrong),
            ("", "Authorization: apikey api-key\r\n", Ok(())),
            ("", "Authorization: ApiKey api-key\r\n", Ok(())),
            ("", "Authorization: APIKEY  api-key\r\n", Ok(())),
            ("", "Authorization: apikey API-KEY\r\n", wrong),
            ("", "Authorization: apikey\r\n", missing),
            ("", "Authorization: apikeyapi-key\r\n", missing),
            ("", "Authorization: Bearer api-key\r\n", missing),
            ("", "Authorization: apikey api-key\r\nAuthorization: apikey api-key\r\n", wrong),
            ("?api_key=api-key", "", Ok(())),
            ("?a=b&api_key=api%2Dkey", "", Ok(())),
            ("?api_key=api-kex", "", wrong),
            ("?api_key=", "", wrong),
            ("?api_key", "", wrong),
            ("?api_key=%zz", "", missing),
            ("?API_KEY=api-key", "", missing),
            ("?api_key=api-key", "Authorization: Bearer x\r\n", Ok(())),
            // The first one given counts.
            ("?api_key=api-key", "X-API-Key: wrong\r\n", wrong),
            ("", "X-API-Key: wrong\r\nAuthorization: apikey api-key\r\n", wrong),
            ("?api_key=api-key", "Authorization: apikey wrong\r\n", wrong),
            ("?api_key=wrong", "X-API-Key: api-key\r\n", Ok(())),
        ];
        let key = ApiKey::new(&Secret::from("api-key"));
        for (query, headers, want) in table {
            let text = format!("POST /api{query} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
            let head = parse_head(text.as_bytes(), &HttpLimits::default());
            let head = head.expect("well formed").expect("complete");
            assert_eq!(authorize(&head, key.as_ref()), want, "{text}");
            assert_eq!(authorize(&head, None), Err(Unauthorized::Off), "{text}");
        }
    }
}
