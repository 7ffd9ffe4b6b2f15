//! What the writers of answers append to a body, whoever's API it is.

use crate::wire::json::append_u64;

pub(super) fn append(text: &str, body: &mut Vec<u8>) {
    body.extend_from_slice(text.as_bytes());
}

/// `name` as it stands, with its quotes and colon, and a number.
pub(super) fn append_count(name: &str, count: u64, body: &mut Vec<u8>) {
    append(name, body);
    append_u64(count, body);
}

/// The items with commas between them.
pub(super) fn append_list<T>(
    items: impl IntoIterator<Item = T>,
    body: &mut Vec<u8>,
    mut append_item: impl FnMut(T, &mut Vec<u8>),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        append_item(item, body);
    }
}
