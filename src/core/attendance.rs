//! Which users are in a channel, whatever the number of their clients.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::ids::ClientId;
use super::publication::ClientInfo;

/// The distinct users of one channel. Anonymous clients are nobody. Entering and leaving are O(log users).
#[derive(Debug, Default)]
pub struct Attendance {
    /// In the order they came, under numbers that only grow.
    users: BTreeMap<u64, Attendee>,
    /// By id.
    numbers: HashMap<Box<str>, u64>,
    /// Whose client it is.
    clients: HashMap<ClientId, u64>,
    next: u64,
}

/// One user.
#[derive(Debug)]
struct Attendee {
    /// As the first of its clients came.
    info: Arc<ClientInfo>,
    clients: u32,
}

impl Attendance {
    /// A client came. `true`: it is the first of its user.
    pub fn enter(&mut self, info: &Arc<ClientInfo>) -> bool {
        if info.user.is_empty() || self.clients.contains_key(&info.client) {
            return false;
        }
        let number = self.numbers.get(&info.user).copied();
        let attendee = number.and_then(|number| self.users.get_mut(&number));
        if let (Some(number), Some(attendee)) = (number, attendee) {
            attendee.clients += 1;
            self.clients.insert(info.client, number);
            return false;
        }
        self.numbers.insert(info.user.clone(), self.next);
        self.users.insert(self.next, Attendee { info: Arc::clone(info), clients: 1 });
        self.clients.insert(info.client, self.next);
        self.next += 1;
        true
    }

    /// A client left. `true`: it was the last of its user.
    pub fn leave(&mut self, client: ClientId) -> bool {
        let Some(number) = self.clients.remove(&client) else { return false };
        let Some(attendee) = self.users.get_mut(&number) else { return false };
        attendee.clients -= 1;
        if attendee.clients > 0 {
            return false;
        }
        if let Some(gone) = self.users.remove(&number) {
            self.numbers.remove(&gone.info.user);
        }
        true
    }

    pub fn contains(&self, user: &str) -> bool {
        self.numbers.contains_key(user)
    }

    /// In the order they came.
    pub fn users(&self) -> impl Iterator<Item = &Arc<ClientInfo>> {
        self.users.values().map(|attendee| &attendee.info)
    }

    pub fn users_count(&self) -> usize {
        self.users.len()
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info(client: u8, user: &str) -> Arc<ClientInfo> {
        let client = ClientId([client; 16]);
        Arc::new(ClientInfo { user: user.into(), client, connection_info: None, channel_info: None })
    }

    #[test]
    fn only_the_first_and_the_last_client_of_a_user_count() {
        let mut all = Attendance::default();
        assert!(all.enter(&info(1, "a")) && all.enter(&info(2, "b")));
        assert!(!all.enter(&info(3, "a")) && !all.enter(&info(3, "a")));
        assert!(!all.enter(&info(4, "")), "nobody");
        let ids = |all: &Attendance| all.users().map(|info| info.client.0[0]).collect::<Vec<_>>();
        assert_eq!(ids(&all), [1, 2]);
        assert!(!all.leave(ClientId([1; 16])));
        assert_eq!(ids(&all), [1, 2], "what the first client said stays");
        assert!(all.leave(ClientId([3; 16])));
        assert!(!all.leave(ClientId([3; 16])) && !all.leave(ClientId([4; 16])));
        assert!(all.contains("b") && !all.contains("a"));
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(steps in proptest::collection::vec((any::<bool>(), 0_u8..12, 0_u8..4), 0..200)) {
            let (mut attendance, mut list) = (Attendance::default(), Vec::<(u8, u8)>::new());
            for (enters, client, user) in steps {
                let has = |list: &[(u8, u8)], user| list.iter().any(|entry| entry.1 == user);
                if enters {
                    let is_new = list.iter().all(|entry| entry.0 != client);
                    let want = is_new && !has(&list, user);
                    if is_new {
                        list.push((client, user));
                    }
                    prop_assert_eq!(attendance.enter(&info(client, &user.to_string())), want);
                } else {
                    let at = list.iter().position(|entry| entry.0 == client);
                    let left = at.map(|at| list.remove(at).1);
                    let want = left.is_some_and(|user| !has(&list, user));
                    prop_assert_eq!(attendance.leave(ClientId([client; 16])), want);
                }
                let users: std::collections::BTreeSet<_> = list.iter().map(|entry| entry.1).collect();
                prop_assert_eq!(attendance.users_count(), users.len());
                prop_assert_eq!(attendance.is_empty(), users.is_empty());
                prop_assert_eq!(attendance.clients.len(), list.len());
            }
        }
    }
}
