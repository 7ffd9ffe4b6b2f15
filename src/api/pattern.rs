//! Patterns of channel names.

/// Longest pattern, in bytes: as long as the longest usual name.
pub const PATTERN_BYTES_MAX: usize = 255;

/// Whether `name` matches: `*` stands for any characters or none, `?` for exactly one byte, everything else for
/// itself. An empty pattern matches every name.
///
/// O(pattern × name) at worst, without recursion or allocation.
pub fn matches(pattern: &str, name: &str) -> bool {
    if pattern.is_empty() {
        return true;
    }
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // The last star, and where in the name what follows it was tried last.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(n) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((after, tried)) = star else { return false };
                star = Some((after, tried + 1));
                p = after + 1;
                n = tried + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_and_question_marks() {
        let table = [
            ("", "anything", true),
            ("chat", "chat", true),
            ("chat", "chats", false),
            ("chat", "cha", false),
            ("*", "", true),
            ("?", "", false),
            ("*", "chat", true),
            ("news:*", "news:sport", true),
            ("news:*", "new:sport", false),
            ("*:sport", "news:sport", true),
            ("n*t", "news:sport", true),
            ("n*o*t", "news:sport", true),
            ("n*x*t", "news:sport", false),
            ("ch?t", "chat", true),
            ("ch?t", "cht", false),
            ("**a**", "bab", true),
            ("*?", "", false),
            ("*?b", "aab", true),
            ("[a]", "a", false),
            ("[a]", "[a]", true),
            ("a*b", "a*c", false),
        ];
        for (pattern, name, want) in table {
            assert_eq!(matches(pattern, name), want, "{pattern:?} {name:?}");
        }
    }

    /// The definition, in exponential time.
    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], _) => name.is_empty(),
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| by_definition(rest, &name[skip..])),
            ([b'?', rest @ ..], [_, name @ ..]) => by_definition(rest, name),
            ([wanted, rest @ ..], [byte, name @ ..]) => wanted == byte && by_definition(rest, name),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab*?]{1,7}", name in "[ab]{0,8}") {
            prop_assert_eq!(matches(&pattern, &name), by_definition(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
