//! Operations begun here whose answer comes later, from another shard or the engine.

use super::letter::OperationId;

/// A table of waiting operations. Ids of ended ones are recognised as such.
#[derive(Debug)]
pub struct Operations<T> {
    entries: Vec<Entry<T>>,
    vacant: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Operations<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Operations<T> {
    /// Remembers an operation until its answer. O(1).
    pub fn begin(&mut self, value: T) -> OperationId {
        if let Some(index) = self.vacant.pop() {
            let entry = &mut self.entries[index as usize];
            entry.generation = entry.generation.wrapping_add(1);
            entry.value = Some(value);
            return OperationId { index, generation: entry.generation };
        }
        let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 operations at once");
        self.entries.push(Entry { generation: 0, value: Some(value) });
        OperationId { index, generation: 0 }
    }

    /// Ends an operation and returns what was remembered; `None` if it has ended before.
    pub fn end(&mut self, id: OperationId) -> Option<T> {
        let entry = self.entries.get_mut(id.index as usize)?;
        if entry.generation != id.generation {
            return None;
        }
        let value = entry.value.take()?;
        self.vacant.push(id.index);
        Some(value)
    }

    /// An operation that is still waiting.
    pub fn get_mut(&mut self, id: OperationId) -> Option<&mut T> {
        let entry = self.entries.get_mut(id.index as usize)?;
        if entry.generation == id.generation { entry.value.as_mut() } else { None }
    }

    /// All that are waiting. O(most that ever waited at once).
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter_map(|entry| entry.value.as_mut())
    }

    /// Operations waiting.
    pub fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_operation_is_not_found_again() {
        let mut operations = Operations::default();
        let first = operations.begin("first");
        assert_eq!(operations.end(first), Some("first"));
        assert_eq!(operations.end(first), None);
        let second = operations.begin("second");
        assert_eq!(first.index, second.index);
        assert_eq!(operations.end(first), None);
        assert_eq!(operations.get_mut(second), Some(&mut "second"));
        assert_eq!(operations.len(), 1);
    }
}
