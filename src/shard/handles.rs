//! A short list of handles that is mostly empty or has one entry.

/// Distinct handles (slots or channels), in no promised order: none or one inline, more on the heap. 16 bytes.
#[derive(Debug, Default)]
pub enum Handles {
    #[default]
    None,
    One(u32),
    /// Boxed, because a bare vector would make the common cases half as large again.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<u32>>),
}

/// Below this capacity a list that shrinks keeps its memory.
const SHRINK_ENTRIES_MIN: usize = 64;

impl Handles {
    #[inline]
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(handle) => std::slice::from_ref(handle),
            Self::Many(handles) => handles,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// O(entries): a scan of four bytes each.
    pub fn contains(&self, handle: u32) -> bool {
        self.as_slice().contains(&handle)
    }

    /// Appends a handle that is not contained.
    pub fn insert(&mut self, handle: u32) {
        match self {
            Self::None => *self = Self::One(handle),
            Self::One(first) => *self = Self::Many(Box::new(vec![*first, handle])),
            Self::Many(handles) => handles.push(handle),
        }
    }

    /// Removes a handle; `false` if it is not contained. O(entries).
    pub fn remove(&mut self, handle: u32) -> bool {
        match self {
            Self::One(first) if *first == handle => {
                *self = Self::None;
                true
            }
            Self::Many(handles) => {
                let Some(at) = handles.iter().position(|entry| *entry == handle) else { return false };
                handles.swap_remove(at);
                match handles[..] {
                    [last] => *self = Self::One(last),
                    _ if handles.capacity() > SHRINK_ENTRIES_MIN
                        && handles.len() * 4 < handles.capacity() =>
                    {
                        handles.shrink_to(handles.len() * 2);
                    }
                    _ => {}
                }
                true
            }
            Self::None | Self::One(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec((any::<bool>(), 0_u32..200), 0..600)) {
            let (mut handles, mut set) = (Handles::default(), std::collections::BTreeSet::new());
            for (inserts, handle) in steps {
                if !inserts {
                    prop_assert_eq!(handles.remove(handle), set.remove(&handle));
                } else if set.insert(handle) {
                    handles.insert(handle);
                }
                let mut got = handles.as_slice().to_vec();
                got.sort_unstable();
                prop_assert_eq!(got, set.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(handles.contains(handle), set.contains(&handle));
            }
        }
    }

    #[test]
    fn stays_small() {
        assert_eq!(size_of::<Handles>(), 16);
    }
}
