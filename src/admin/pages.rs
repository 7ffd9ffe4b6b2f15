//! The page at `/` of the clients' listener.

/// The whole page, without foreign parts; it is one file, so that it can be opened and changed as one.
const PAGE: &str = include_str!("page.html");

/// Where the page takes its token from.
const TOKEN_PLACE: &str = "{{token}}";

/// The page as it is served. `token`: connects whoever opens it; `None`: the page asks for one.
pub fn index(token: Option<&str>) -> String {
    let token = token.unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    assert!(token.bytes().all(is_plain), "a compact token needs no escaping in HTML");
    PAGE.replacen(TOKEN_PLACE, token, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_the_token_in_its_one_place() {
        assert_eq!(PAGE.matches(TOKEN_PLACE).count(), 1);
        let with = index(Some("aa.bb-_.cc"));
        assert!(with.contains(r#"<meta name="polycast-token" content="aa.bb-_.cc">"#));
        let without = index(None);
        assert!(without.contains(r#"<meta name="polycast-token" content="">"#));
        for page in [with, without] {
            assert!(!page.contains(TOKEN_PLACE) && page.ends_with("</html>\n"));
        }
    }

    #[test]
    #[should_panic(expected = "no escaping")]
    fn nothing_but_a_token_is_put_in() {
        index(Some("\"><script>"));
    }
}
