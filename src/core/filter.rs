//! Which publications a subscriber wants, told from their tags.
//!
//! A filter is a tree of comparisons under `and`, `or` and `not`. It is kept flat, parents before their children, so
//! that neither reading nor judging it needs recursion, and judging it allocates nothing.

use std::cmp::Ordering;

use super::publication::Publication;

/// Most comparisons and groups of one filter.
pub const NODES_MAX: usize = 64;

/// Most groups inside one another.
pub const DEPTH_MAX: usize = 8;

/// A checked filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Each group is followed by its members, one whole subtree after the other. Never empty.
    nodes: Box<[Node]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Node {
    /// `members`: direct ones, at least one, and exactly one of [`Join::Not`].
    Group {
        join: Join,
        members: u8,
    },
    Test {
        key: Box<str>,
        test: Test,
    },
}

/// How the members of a group make one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Join {
    And,
    Or,
    Not,
}

/// What a tag is asked. A tag that is absent satisfies only those that say so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    Equal(Box<str>),
    /// Also when absent.
    NotEqual(Box<str>),
    In(Box<[Box<str>]>),
    /// Also when absent.
    NotIn(Box<[Box<str>]>),
    Exists,
    /// When absent.
    NotExists,
    StartsWith(Box<str>),
    EndsWith(Box<str>),
    Contains(Box<str>),
    /// Compared as decimal numbers, of any length; what is no number satisfies none of these.
    Less(Box<str>),
    LessOrEqual(Box<str>),
    Greater(Box<str>),
    GreaterOrEqual(Box<str>),
}

impl Filter {
    /// Whether a publication is wanted. O(nodes × tags), no allocation.
    pub fn lets_through(&self, publication: &Publication) -> bool {
        self.matches(|name| publication.tag(name))
    }

    /// Whether a publication with these tags is wanted. `tag`: the value of the tag with a name.
    fn matches<'t>(&self, tag: impl Fn(&str) -> Option<&'t str>) -> bool {
        // Read from the back, a group comes after its members: their answers lie on top of this stack of bits.
        const { assert!(NODES_MAX <= u64::BITS as usize) };
        let mut answers = 0_u64;
        for node in self.nodes.iter().rev() {
            let answer = match node {
                Node::Test { key, test } => test.accepts(tag(key)),
                Node::Group { join, members } => {
                    let all = u64::MAX >> (u64::BITS - u32::from(*members));
                    let theirs = answers & all;
                    answers = answers.unbounded_shr(u32::from(*members));
                    match join {
                        Join::And => theirs == all,
                        Join::Or => theirs != 0,
                        Join::Not => theirs == 0,
                    }
                }
            };
            answers = (answers << 1) | u64::from(answer);
        }
        answers == 1
    }
}

impl Test {
    fn accepts(&self, tag: Option<&str>) -> bool {
        let compared = |to: &str| tag.and_then(|tag| compare_decimals(tag, to));
        match self {
            Self::Equal(value) => tag == Some(value),
            Self::NotEqual(value) => tag != Some(value),
            Self::In(values) => tag.is_some_and(|tag| values.iter().any(|value| **value == *tag)),
            Self::NotIn(values) => tag.is_none_or(|tag| values.iter().all(|value| **value != *tag)),
            Self::Exists => tag.is_some(),
            Self::NotExists => tag.is_none(),
            Self::StartsWith(value) => tag.is_some_and(|tag| tag.starts_with(&**value)),
            Self::EndsWith(value) => tag.is_some_and(|tag| tag.ends_with(&**value)),
            Self::Contains(value) => tag.is_some_and(|tag| tag.contains(&**value)),
            Self::Less(value) => compared(value).is_some_and(Ordering::is_lt),
            Self::LessOrEqual(value) => compared(value).is_some_and(Ordering::is_le),
            Self::Greater(value) => compared(value).is_some_and(Ordering::is_gt),
            Self::GreaterOrEqual(value) => compared(value).is_some_and(Ordering::is_ge),
        }
    }
}

/// Why something is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("a filter has at most {NODES_MAX} comparisons and groups")]
    TooMany,
    #[error("groups of a filter are nested at most {DEPTH_MAX} deep")]
    TooDeep,
    #[error("a group of a filter has no members, or more than one to negate")]
    Members,
    #[error("a filter is one comparison or one group")]
    NotOne,
    #[error(
        "a comparison of a filter lacks its key, its value or its values, or the value is no decimal number"
    )]
    Operands,
    #[error("a filter knows no such comparison or group")]
    Unknown,
}

/// Builds a filter from its parts in the order they were written.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<Node>,
    /// Places of the groups that are open, outermost first.
    open: Vec<usize>,
}

impl Builder {
    /// Opens a group: what follows are its members, until it is closed.
    pub fn open(&mut self, join: Join) -> Result<(), FilterError> {
        if self.open.len() == DEPTH_MAX {
            return Err(FilterError::TooDeep);
        }
        self.push(Node::Group { join, members: 0 })?;
        self.open.push(self.nodes.len() - 1);
        Ok(())
    }

    /// Closes the group opened last.
    pub fn close(&mut self) -> Result<(), FilterError> {
        let group = self.open.pop().and_then(|place| self.nodes.get(place));
        match group {
            Some(Node::Group { join: Join::Not, members: 1 }) => Ok(()),
            Some(Node::Group { join: Join::And | Join::Or, members: 1.. }) => Ok(()),
            _ => Err(FilterError::Members),
        }
    }

    /// Adds a comparison by its name in the client protocol: `eq neq in nin ex nex sw ew ct lt lte gt gte`.
    ///
    /// `value`: empty if there is none; `values`: for `in` and `nin` alone.
    pub fn test(
        &mut self,
        key: &str,
        name: &str,
        value: &str,
        values: Box<[Box<str>]>,
    ) -> Result<(), FilterError> {
        let decimal = || Decimal::read(value).map(|_| value.into()).ok_or(FilterError::Operands);
        let test = match name {
            "eq" => Test::Equal(value.into()),
            "neq" => Test::NotEqual(value.into()),
            "in" => Test::In(values),
            "nin" => Test::NotIn(values),
            "ex" => Test::Exists,
            "nex" => Test::NotExists,
            "sw" => Test::StartsWith(value.into()),
            "ew" => Test::EndsWith(value.into()),
            "ct" => Test::Contains(value.into()),
            "lt" => Test::Less(decimal()?),
            "lte" => Test::LessOrEqual(decimal()?),
            "gt" => Test::Greater(decimal()?),
            "gte" => Test::GreaterOrEqual(decimal()?),
            _ => return Err(FilterError::Unknown),
        };
        let lacks = match &test {
            Test::In(values) | Test::NotIn(values) => values.is_empty(),
            Test::StartsWith(value) | Test::EndsWith(value) | Test::Contains(value) => value.is_empty(),
            _ => false,
        };
        if key.is_empty() || lacks {
            return Err(FilterError::Operands);
        }
        self.push(Node::Test { key: key.into(), test })
    }

    /// The filter, once every group is closed.
    pub fn finish(self) -> Result<Filter, FilterError> {
        if self.nodes.is_empty() || !self.open.is_empty() {
            return Err(FilterError::NotOne);
        }
        Ok(Filter { nodes: self.nodes.into() })
    }

    fn push(&mut self, node: Node) -> Result<(), FilterError> {
        if self.nodes.len() == NODES_MAX {
            return Err(FilterError::TooMany);
        }
        match self.open.last() {
            Some(place) => match &mut self.nodes[*place] {
                Node::Group { members, .. } => *members += 1,
                Node::Test { .. } => unreachable!("only groups are opened"),
            },
            None if !self.nodes.is_empty() => return Err(FilterError::NotOne),
            None => {}
        }
        self.nodes.push(node);
        Ok(())
    }
}

/// A decimal number as it is written, without its superfluous zeros.
struct Decimal<'t> {
    is_negative: bool,
    whole: &'t str,
    fraction: &'t str,
}

impl<'t> Decimal<'t> {
    fn read(text: &'t str) -> Option<Self> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let is_zero = whole.is_empty() && fraction.is_empty();
        Some(Self { is_negative: is_negative && !is_zero, whole, fraction })
    }
}

/// `None`: one of them is no decimal number. Exact at any length, unlike a conversion to floats.
fn compare_decimals(left: &str, right: &str) -> Option<Ordering> {
    let (left, right) = (Decimal::read(left)?, Decimal::read(right)?);
    let size = |one: &Decimal<'_>, other: &Decimal<'_>| {
        (one.whole.len(), one.whole, one.fraction).cmp(&(other.whole.len(), other.whole, other.fraction))
    };
    Some(match (left.is_negative, right.is_negative) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => size(&left, &right),
        (true, true) => size(&right, &left),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(key: &str, name: &str, value: &str) -> Result<Filter, FilterError> {
        let mut builder = Builder::default();
        let values =
            if value.is_empty() { Box::default() } else { value.split(',').map(Box::from).collect() };
        builder.test(key, name, value, values)?;
        builder.finish()
    }

    fn tag(value: &str) -> [(Box<str>, Box<str>); 2] {
        [("other".into(), "1".into()), ("t".into(), value.into())]
    }

    fn judge(filter: &Filter, tags: &[(Box<str>, Box<str>)]) -> bool {
        filter.matches(|name| tags.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value))
    }

    #[test]
    fn comparisons() {
        // Name, operand, values that satisfy it, values that do not, and whether absence does.
        type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str], bool);
        let table: [Row; 13] = [
            ("eq", "a", &["a"], &["A", "", "aa"], false),
            ("neq", "a", &["A", ""], &["a"], true),
            ("in", "a,b", &["a", "b"], &["c", "a,b", ""], false),
            ("nin", "a,b", &["c", ""], &["a", "b"], true),
            ("ex", "", &["a", ""], &[], false),
            ("nex", "", &[], &["a", ""], true),
            ("sw", "ab", &["ab", "abc"], &["a", "xab"], false),
            ("ew", "ab", &["ab", "cab"], &["b", "abx"], false),
            ("ct", "ab", &["ab", "xabx"], &["ba", ""], false),
            (
                "lt",
                "10",
                &["9", "-10", "9.99", "+9", "0009"],
                &["10", "10.0", "11", "x", "", "9e9", "1."],
                false,
            ),
            ("lte", "10", &["9", "10", "10.00"], &["10.01", "x"], false),
            ("gt", "-1.5", &["-1.49", "0", "-0", "3"], &["-1.5", "-1.50", "-2", "."], false),
            ("gte", "0", &["0", "-0", "-0.00", "12345678901234567890123"], &["-0.1", "NaN", "--1"], false),
        ];
        for (name, operand, yes, no, absent) in table {
            let filter = leaf("t", name, operand).expect(name);
            for value in yes {
                assert!(judge(&filter, &tag(value)), "{value:?} {name} {operand}");
            }
            for value in no {
                assert!(!judge(&filter, &tag(value)), "{value:?} {name} {operand}");
            }
            assert_eq!(judge(&filter, &[]), absent, "nothing {name} {operand}");
        }
        for (key, name, value) in [
            ("", "eq", "a"),
            ("t", "in", ""),
            ("t", "nin", ""),
            ("t", "sw", ""),
            ("t", "ew", ""),
            ("t", "ct", ""),
            ("t", "gt", "1e5"),
            ("t", "lte", ""),
        ] {
            assert_eq!(leaf(key, name, value), Err(FilterError::Operands), "{key} {name} {value}");
        }
        assert_eq!(leaf("t", "like", "a"), Err(FilterError::Unknown));
    }

    #[test]
    fn numbers_are_compared_at_any_length() {
        let long = "9".repeat(400);
        assert_eq!(compare_decimals(&format!("{long}.1"), &format!("{long}.2")), Some(Ordering::Less));
        assert_eq!(compare_decimals(&format!("-{long}1"), &format!("-{long}")), Some(Ordering::Less));
        assert_eq!(compare_decimals("0.1", "0.10"), Some(Ordering::Equal));
        assert_eq!(compare_decimals("0.09", "0.1"), Some(Ordering::Less));
    }

    #[test]
    fn groups_are_checked() {
        let test = |builder: &mut Builder| builder.test("t", "ex", "", Box::default());
        let mut builder = Builder::default();
        assert_eq!(builder.close(), Err(FilterError::Members));
        assert_eq!(Builder::default().finish(), Err(FilterError::NotOne));
        test(&mut builder).unwrap();
        assert_eq!(test(&mut builder), Err(FilterError::NotOne));
        let mut builder = Builder::default();
        builder.open(Join::Not).unwrap();
        assert_eq!(builder.close(), Err(FilterError::Members));
        let mut builder = Builder::default();
        (0..DEPTH_MAX).for_each(|_| builder.open(Join::And).unwrap());
        assert_eq!(builder.open(Join::And), Err(FilterError::TooDeep));
        assert_eq!(builder.finish(), Err(FilterError::NotOne));
        let mut builder = Builder::default();
        builder.open(Join::Or).unwrap();
        (1..NODES_MAX).for_each(|_| test(&mut builder).unwrap());
        assert_eq!(test(&mut builder), Err(FilterError::TooMany));
        builder.close().unwrap();
        assert!(judge(&builder.finish().unwrap(), &tag("")));
    }

    /// A filter as a tree, judged by recursion.
    #[derive(Debug, Clone)]
    enum Tree {
        Has(u8),
        Group(Join, Vec<Tree>),
    }

    impl Tree {
        fn judge(&self, has: u8) -> bool {
            match self {
                Self::Has(tag) => has >> tag & 1 == 1,
                Self::Group(Join::And, members) => members.iter().all(|member| member.judge(has)),
                Self::Group(Join::Or, members) => members.iter().any(|member| member.judge(has)),
                Self::Group(Join::Not, members) => !members[0].judge(has),
            }
        }

        fn build(&self, builder: &mut Builder) -> Result<(), FilterError> {
            match self {
                Self::Has(tag) => builder.test(&tag.to_string(), "ex", "", Box::default()),
                Self::Group(join, members) => {
                    builder.open(*join)?;
                    members.iter().try_for_each(|member| member.build(builder))?;
                    builder.close()
                }
            }
        }
    }

    fn any_tree() -> impl Strategy<Value = Tree> {
        let leaf = (0_u8..8).prop_map(Tree::Has);
        leaf.prop_recursive(5, 50, 6, |inner| {
            let members = |inner| prop::collection::vec(inner, 1..6);
            prop_oneof![
                members(inner.clone()).prop_map(|members| Tree::Group(Join::And, members)),
                members(inner.clone()).prop_map(|members| Tree::Group(Join::Or, members)),
                inner.prop_map(|member| Tree::Group(Join::Not, vec![member])),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_a_tree(tree in any_tree(), has in any::<u8>()) {
            let mut builder = Builder::default();
            let built = tree.build(&mut builder);
            prop_assume!(built != Err(FilterError::TooMany));
            let tags: Vec<_> =
                (0..8).filter(|tag| has >> tag & 1 == 1).map(|tag| (tag.to_string().into(), "".into())).collect();
            prop_assert_eq!(judge(&builder.finish().unwrap(), &tags), tree.judge(has));
        }
    }
}
