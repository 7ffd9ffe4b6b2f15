//! Channel names: which are valid, which namespace they belong to, and which class of access they need.

/// How a channel's name restricts who may subscribe, before any namespace option is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access<'a> {
    /// `#server-to-user-<id>`: the user of that id alone.
    ServerToUser(&'a str),
    /// `$…`: a subscription token for this very channel.
    Token,
    /// `…#a,b`: the users listed after the last `#`.
    Users(&'a str),
    /// `private-…`, `presence-…`: a proof in the client's own dialect for this very channel.
    Proof,
    /// The namespace decides.
    Namespace,
}

/// What the channels of users begin with; the user's id follows.
pub const SERVER_TO_USER: &str = "#server-to-user-";

/// Classifies a valid channel name.
pub fn access(channel: &str) -> Access<'_> {
    if let Some(user) = channel.strip_prefix(SERVER_TO_USER) {
        return Access::ServerToUser(user);
    }
    if channel.starts_with('$') {
        return Access::Token;
    }
    if let Some((_, users)) = channel.rsplit_once('#') {
        return Access::Users(users);
    }
    if channel.starts_with("private-") || channel.starts_with("presence-") {
        return Access::Proof;
    }
    Access::Namespace
}

/// Where what is sent to a user goes.
pub fn channel_of_user(user: &str) -> Box<str> {
    [SERVER_TO_USER, user].concat().into()
}

/// `presence-…`: it is kept who is in the channel, whatever its namespace says.
pub fn is_presence(channel: &str) -> bool {
    channel.starts_with("presence-")
}

/// `cache-…`, behind the prefix of its class: new subscribers are told the last publication, in the dialects that
/// have it so.
pub fn keeps_latest(channel: &str) -> bool {
    let prefixes = ["private-encrypted-", "private-", "presence-"];
    let rest = prefixes.iter().find_map(|prefix| channel.strip_prefix(prefix)).unwrap_or(channel);
    rest.starts_with("cache-")
}

/// Whether `user` is one of the comma-separated `users` of [`Access::Users`].
pub fn lists_user(users: &str, user: &str) -> bool {
    !user.is_empty() && users.split(',').any(|listed| listed == user)
}

/// The part of a channel's name that selects its namespace; `""` for channels without one.
///
/// A leading `$` is not part of the namespace's name; what follows the first `:` is not either.
pub fn namespace_name(channel: &str) -> &str {
    if channel.starts_with(SERVER_TO_USER) {
        return "";
    }
    let channel = channel.strip_prefix('$').unwrap_or(channel);
    channel.split_once(':').map_or("", |(namespace, _)| namespace)
}

/// Why a channel name cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("channel name is empty")]
    Empty,
    #[error("channel name is longer than {max} bytes")]
    TooLong { max: usize },
    /// Control, space and non-ASCII characters are refused, and so are the reserved `*`, `&` and `/`.
    #[error("channel name has a character that is not allowed at byte {at}")]
    Character { at: usize },
    /// Looks like `private-` or `presence-` in another case: a public look-alike would invite mistakes.
    #[error("channel name looks like a private or presence channel but is not one")]
    LookAlike,
}

/// Checks a name against the rules that hold in every dialect. `bytes_max`: the configured longest name.
pub fn check_name(channel: &str, bytes_max: usize) -> Result<(), NameError> {
    if channel.is_empty() {
        return Err(NameError::Empty);
    }
    if channel.len() > bytes_max {
        return Err(NameError::TooLong { max: bytes_max });
    }
    if let Some(at) =
        channel.bytes().position(|byte| !byte.is_ascii_graphic() || matches!(byte, b'*' | b'&' | b'/'))
    {
        return Err(NameError::Character { at });
    }
    for prefix in ["private-", "presence-"] {
        let looks = channel.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if looks && !channel.starts_with(prefix) {
            return Err(NameError::LookAlike);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_classified() {
        let table = [
            ("chat", Access::Namespace, ""),
            ("news:sport", Access::Namespace, "news"),
            ("news:a:b", Access::Namespace, "news"),
            ("$chat:x", Access::Token, "chat"),
            ("$x", Access::Token, ""),
            ("dialog#42,43", Access::Users("42,43"), ""),
            ("ns:dialog#a#b", Access::Users("b"), "ns"),
            ("#42", Access::Users("42"), ""),
            ("ns:#42", Access::Users("42"), "ns"),
            ("$x#1", Access::Token, ""),
            ("#server-to-user-u:1", Access::ServerToUser("u:1"), ""),
            ("private-a", Access::Proof, ""),
            ("presence-a", Access::Proof, ""),
            ("privateer", Access::Namespace, ""),
        ];
        for (name, class, namespace) in table {
            assert_eq!(access(name), class, "{name}");
            assert_eq!(namespace_name(name), namespace, "{name}");
        }
    }

    #[test]
    fn channels_that_keep_their_latest_say_so_behind_their_class() {
        for name in ["cache-a", "private-cache-a", "private-encrypted-cache-a", "presence-cache-a"] {
            assert!(keeps_latest(name), "{name}");
        }
        for name in
            ["cache", "a-cache-", "private-a", "presence-private-cache-a", "Cache-a", "private-encrypted-a"]
        {
            assert!(!keeps_latest(name), "{name}");
        }
    }

    #[test]
    fn the_empty_user_is_never_listed() {
        assert!(lists_user("a,b", "b"));
        assert!(!lists_user("a,b", "c"));
        assert!(!lists_user("", ""));
        assert!(!lists_user("a,,b", ""));
    }

    #[test]
    fn bad_names_are_refused() {
        let long = "c".repeat(256);
        let table = [
            ("", Err(NameError::Empty)),
            (long.as_str(), Err(NameError::TooLong { max: 255 })),
            ("a b", Err(NameError::Character { at: 1 })),
            ("a\0", Err(NameError::Character { at: 1 })),
            ("ä", Err(NameError::Character { at: 0 })),
            ("a/b", Err(NameError::Character { at: 1 })),
            ("Private-x", Err(NameError::LookAlike)),
            ("PRESENCE-x", Err(NameError::LookAlike)),
            ("private-x", Ok(())),
            ("privatex", Ok(())),
            ("a:b#c,d@=.;$", Ok(())),
        ];
        for (name, want) in table {
            assert_eq!(check_name(name, 255), want, "{name:?}");
        }
    }
}
