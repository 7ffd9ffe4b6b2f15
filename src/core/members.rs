//! Who is in a channel: one entry per client, and how many distinct users that makes.

use std::collections::HashMap;

use super::ids::ClientId;
use super::publication::ClientInfo;

/// Everybody in one channel. Entering and leaving are O(1), whatever the number of members.
#[derive(Debug, Default)]
pub struct Members {
    /// In the order they came, as far as nobody left.
    entries: Vec<ClientInfo>,
    places: HashMap<ClientId, usize>,
    /// Clients of each user; anonymous ones are not counted.
    users: HashMap<Box<str>, u32>,
}

impl Members {
    /// A client is in the channel, or is so with other information than before. `true`: its user was not.
    pub fn enter(&mut self, info: ClientInfo) -> bool {
        let is_new = !info.user.is_empty() && !self.users.contains_key(&info.user);
        self.leave(info.client);
        if !info.user.is_empty() {
            *self.users.entry(info.user.clone()).or_default() += 1;
        }
        self.places.insert(info.client, self.entries.len());
        self.entries.push(info);
        is_new
    }

    /// A client is no longer in the channel. `None`: it was not; otherwise who it was, and whether its user is gone.
    pub fn leave(&mut self, client: ClientId) -> Option<(ClientInfo, bool)> {
        let place = self.places.remove(&client)?;
        let left = self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.client, place);
        }
        let mut is_gone = false;
        if let Some(count) = self.users.get_mut(&left.user) {
            *count -= 1;
            is_gone = *count == 0;
            if is_gone {
                self.users.remove(&left.user);
            }
        }
        Some((left, is_gone))
    }

    pub fn clients(&self) -> &[ClientInfo] {
        &self.entries
    }

    /// Distinct users. All anonymous clients together are one.
    pub fn users_count(&self) -> usize {
        let named: u32 = self.users.values().sum();
        self.users.len() + usize::from((named as usize) < self.entries.len())
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((any::<bool>(), 0_u8..20, 0_u8..4), 0..200)) {
            let (mut members, mut map) = (Members::default(), BTreeMap::new());
            for (enters, client, user) in steps {
                let id = ClientId([client; 16]);
                if enters {
                    let user: Box<str> = if user == 0 { "".into() } else { user.to_string().into() };
                    let is_new = !user.is_empty() && !map.values().any(|there| *there == user);
                    map.insert(client, user.clone());
                    let info = ClientInfo { user, client: id, connection_info: None, channel_info: None };
                    prop_assert_eq!(members.enter(info), is_new);
                } else {
                    let left = members.leave(id).map(|(info, is_gone)| (info.user, is_gone));
                    let want = map.remove(&client).map(|user| {
                        let is_gone = !user.is_empty() && !map.values().any(|there| *there == user);
                        (user, is_gone)
                    });
                    prop_assert_eq!(left, want);
                }
                let got: BTreeMap<u8, Box<str>> =
                    members.clients().iter().map(|info| (info.client.0[0], info.user.clone())).collect();
                prop_assert_eq!(&got, &map);
                prop_assert_eq!(members.clients().len(), map.len());
                let users: BTreeSet<_> = map.values().collect();
                prop_assert_eq!(members.users_count(), users.len());
                prop_assert_eq!(members.is_empty(), map.is_empty());
            }
        }
    }
}
