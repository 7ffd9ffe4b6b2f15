//! Pages to read, served as they are written: Markdown is text.

/// One page under `/docs/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    ComingFromPusher,
}

impl Page {
    /// The page at a path.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/docs/coming-from-pusher" => Some(Self::ComingFromPusher),
            _ => None,
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::ComingFromPusher => include_str!("../../docs/coming-from-pusher.md"),
        }
    }
}
