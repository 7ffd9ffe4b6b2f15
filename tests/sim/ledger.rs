//! The truth about every channel: what the engine took, in its order, and who must have heard it.
//!
//! A publication carries a number of its own in its data. The engine's order of these numbers is the channel's order,
//! whether clients see offsets or not. A subscription must hear an unbroken piece of it.

use std::collections::{BTreeMap, BTreeSet};

use polycast::core::happening::{Happening, What};

use super::scenario::{is_numbered, may_miss};
use super::wish::Part;

/// A broken promise.
pub type Broken = String;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Unknown,
    Taken,
    Refused,
}

/// The two numbers by which a connection is known in digits.
pub type SocketId = (u64, u64);

/// What a publication is, beside its data.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// With tags that say what its number is.
    pub is_tagged: bool,
    /// A client published it.
    pub is_clients: bool,
    /// Who does not hear it.
    pub except: Option<SocketId>,
    /// What it is called where events have names.
    pub event: &'static str,
}

impl Default for Kind {
    fn default() -> Self {
        Self { is_tagged: false, is_clients: false, except: None, event: "message" }
    }
}

/// One publication in one channel; a broadcast has several with one number.
#[derive(Debug)]
struct Copy {
    channel: String,
    kind: Kind,
    outcome: Outcome,
    /// Place in the channel's order; `None`: the engine has not taken it, or past the history.
    place: Option<usize>,
    is_taken: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    epoch: u64,
    number: usize,
    kind: Kind,
}

#[derive(Debug, Default)]
pub struct Ledger {
    publications: Vec<Vec<Copy>>,
    orders: BTreeMap<String, Vec<Entry>>,
    pub received: u64,
    /// Channels of which publications may be missing for good.
    excused: BTreeSet<String>,
    /// When a client first asked to be in a channel, and how often it asked: by client id and channel.
    asked: BTreeMap<(String, String), (u64, u32)>,
    /// Channels that were said to be heard, and by how many.
    occupied: BTreeMap<String, u32>,
}

/// One subscription's way through its channel's order.
#[derive(Debug)]
pub struct Reader {
    /// Everything from this place on must be heard.
    floor: usize,
    next: Option<usize>,
    epoch: u64,
    past_history: Vec<usize>,
    /// What the subscription is to; `None`: everything.
    part: Option<Part>,
    /// Whose it is.
    socket: Option<SocketId>,
    /// It began with the last publication that was kept, which none of clients is: theirs before this place may be
    /// passed over.
    latest_floor: usize,
}

impl Reader {
    fn at(floor: usize) -> Self {
        Self {
            floor,
            next: None,
            epoch: 0,
            past_history: Vec::new(),
            part: None,
            socket: None,
            latest_floor: 0,
        }
    }

    pub fn of_part(self, part: Option<Part>) -> Self {
        Self { part, ..self }
    }

    pub fn of_socket(self, socket: SocketId) -> Self {
        Self { socket: Some(socket), ..self }
    }

    /// Whether it is to hear of the publication.
    fn wants(&self, entry: &Entry) -> bool {
        let is_excepted = self.socket.is_some() && entry.kind.except == self.socket;
        !is_excepted && self.part.is_none_or(|part| part.has(entry.number, entry.kind.is_tagged))
    }

    /// Whether it must hear of the publication at this place.
    fn needs(&self, place: usize, entry: &Entry) -> bool {
        self.wants(entry) && !(place < self.latest_floor && entry.kind.is_clients)
    }
}

impl Ledger {
    /// A publisher is about to publish: the number that its data must carry.
    pub fn publish(&mut self, channels: &[String], kind: Kind) -> usize {
        let copies = channels.iter().map(|channel| Copy {
            channel: channel.clone(),
            kind,
            outcome: Outcome::Unknown,
            place: None,
            is_taken: false,
        });
        self.publications.push(copies.collect());
        self.publications.len() - 1
    }

    /// What a publication is.
    pub fn kind(&self, number: usize) -> Option<Kind> {
        Some(self.publications.get(number)?.first()?.kind)
    }

    fn copy(&mut self, number: usize, channel: &str) -> Result<&mut Copy, Broken> {
        let copies = self.publications.get_mut(number).into_iter().flatten();
        let found = copies.into_iter().find(|copy| copy.channel == channel);
        found.ok_or_else(|| format!("publication {number} was never published in {channel}"))
    }

    /// The engine took a publication. `offset` 0: it has none.
    pub fn taken(&mut self, channel: &str, data: &[u8], offset: u64, epoch: u64) -> Result<(), Broken> {
        let number = number(data)?;
        let kind = self.copy(number, channel)?.kind;
        let order = self.orders.entry(channel.to_owned()).or_default();
        let place = (offset > 0 || !is_numbered(channel)).then_some(order.len());
        if place.is_some() {
            order.push(Entry { offset, epoch, number, kind });
        }
        let copy = self.copy(number, channel)?;
        if copy.is_taken {
            return Err(format!("publication {number} reached the engine twice in {channel}"));
        }
        (copy.is_taken, copy.place) = (true, place);
        Ok(())
    }

    /// The publisher was answered. `offset`: what the answer says, if it says anything.
    pub fn answered(
        &mut self,
        number: usize,
        channel: &str,
        outcome: Outcome,
        offset: Option<u64>,
    ) -> Result<(), Broken> {
        let publication = self.copy(number, channel)?;
        if publication.outcome != Outcome::Unknown {
            return Err(format!("publication {number} was answered twice"));
        }
        publication.outcome = outcome;
        if outcome == Outcome::Taken && !publication.is_taken {
            return Err(format!("publication {number} was answered with success before the engine took it"));
        }
        if let (Some(offset), Some(place)) = (offset, publication.place) {
            let entry = self.orders[channel][place];
            if entry.offset != offset {
                return Err(format!("publication {number} has offset {}, was told {offset}", entry.offset));
            }
        }
        Ok(())
    }

    /// An owner says something of its channel to somebody outside.
    pub fn happened(&mut self, happening: &Happening) -> Result<(), Broken> {
        let channel = happening.channel.to_string();
        let was_occupied = self.occupied.contains_key(&channel);
        match &happening.what {
            What::Occupied if !was_occupied => {
                self.occupied.insert(channel, 0);
            }
            What::Vacated if was_occupied => {
                self.occupied.remove(&channel);
            }
            What::SubscriptionCount { count: 0 } if !was_occupied => {}
            What::SubscriptionCount { count } if was_occupied => {
                self.occupied.insert(channel, *count);
            }
            what => return Err(format!("{channel}: {what:?}, and occupied was {was_occupied}")),
        }
        Ok(())
    }

    /// Channels that were said to be heard and not that they are not.
    pub fn occupied(&self) -> Vec<&str> {
        self.occupied.keys().map(String::as_str).collect()
    }

    /// The engine can no longer say what was published.
    pub fn excuse(&mut self, channel: &str) {
        if !self.excused.contains(channel) {
            self.excused.insert(channel.to_owned());
        }
    }

    /// A client was told that publications are missing for good.
    pub fn dropped(&self, channel: &str) -> Result<(), Broken> {
        let is_excused = self.excused.contains(channel);
        if is_excused { Ok(()) } else { Err(format!("{channel}: given up, though nothing was lost")) }
    }

    /// A client was told that it is subscribed.
    pub fn subscribed(&self, channel: &str) -> Reader {
        let floor = self.orders.get(channel).map_or(0, Vec::len);
        Reader::at(floor)
    }

    /// A client was told that it is subscribed, and where the stream stands.
    pub fn subscribed_at(&self, channel: &str, offset: u64, epoch: u64) -> Result<Reader, Broken> {
        let order = self.orders.get(channel).map_or(&[][..], Vec::as_slice);
        let before = |entry: &Entry| (entry.epoch, entry.offset) <= (epoch, offset);
        let place = order.iter().take_while(|entry| before(entry)).count();
        let is_known = place.checked_sub(1).map_or(offset == 0, |at| {
            let last = order[at];
            (last.epoch, last.offset) == (epoch, offset) || (offset == 0 && last.epoch < epoch)
        });
        if !is_known {
            return Err(format!("{channel}: nothing was ever at offset {offset} of life {epoch}"));
        }
        Ok(Reader { next: Some(place), epoch, ..Reader::at(place) })
    }

    /// A client was told that it cannot recover. `kept`: publications that recovery can bring at most; `top`: offset
    /// and epoch at which the stream stood then, where that is known, otherwise it stood where it stands now at most.
    pub fn unrecovered(
        &self,
        reader: &Reader,
        channel: &str,
        kept: usize,
        top: Option<(u64, u64)>,
    ) -> Result<(), Broken> {
        let order = self.orders.get(channel).map_or(&[][..], Vec::as_slice);
        let is_before =
            |entry: &&Entry| top.is_none_or(|(offset, epoch)| (entry.epoch, entry.offset) <= (epoch, offset));
        let order = &order[..order.iter().take_while(is_before).count()];
        let Some(next) = reader.next else { return Ok(()) };
        let has_new_life = order.last().is_some_and(|last| last.epoch != reader.epoch);
        if has_new_life || order.len() - next > kept {
            return Ok(());
        }
        Err(format!(
            "{channel}: {} publications were missed, {kept} are kept, none recovered",
            order.len() - next
        ))
    }

    /// A client asks to be in a channel.
    pub fn asked(&mut self, client: &str, channel: &str, now_ms: u64) {
        self.asked.entry((client.to_owned(), channel.to_owned())).or_insert((now_ms, 0)).1 += 1;
    }

    /// When a client asked to be in a channel, if it did so once.
    pub fn asked_once_ms(&self, client: &str, channel: &str) -> Option<u64> {
        let (asked_ms, times) = *self.asked.get(&(client.to_owned(), channel.to_owned()))?;
        (times == 1).then_some(asked_ms)
    }

    /// Somebody read the history.
    pub fn read(&mut self, channel: &str, number: usize, offset: u64) -> Result<(), Broken> {
        let place =
            self.copy(number, channel)?.place.ok_or("a publication in the history that has no place")?;
        let entry = self.orders[channel][place];
        if entry.offset != offset {
            return Err(format!("{channel}: offset {offset} in the history, {} in truth", entry.offset));
        }
        Ok(())
    }

    /// A subscriber was handed a publication.
    pub fn heard(
        &mut self,
        reader: &mut Reader,
        channel: &str,
        number: usize,
        offset: u64,
    ) -> Result<(), Broken> {
        self.received += 1;
        let copy = self.copy(number, channel)?;
        let Some(place) = copy.place else {
            if !copy.is_taken {
                return Err(format!("publication {number} was delivered, but the engine never took it"));
            }
            if offset != 0 || reader.past_history.contains(&number) {
                return Err(format!("publication {number}, past the history, came twice or with an offset"));
            }
            reader.past_history.push(number);
            return Ok(());
        };
        let order = &self.orders[channel];
        let entry = order[place];
        if !reader.wants(&entry) {
            return Err(format!("publication {number} of {channel} came to who wants {:?}", reader.part));
        }
        let passes_over = |from: usize| (from..place).all(|place| !reader.needs(place, &order[place]));
        if entry.offset != offset {
            return Err(format!(
                "publication {number} of {channel} has offset {}, came with {offset}",
                entry.offset
            ));
        }
        match reader.next {
            None | Some(_) if may_miss(channel).0 && reader.next.is_none_or(|next| place > next) => {}
            None if place > reader.floor && !passes_over(reader.floor) => {
                return Err(format!(
                    "{channel}: the first publication heard is at place {place}, but {} was published after the \
                     subscription was answered",
                    reader.floor
                ));
            }
            None => reader.epoch = entry.epoch,
            Some(_) if entry.epoch != reader.epoch => {
                return Err(format!("{channel}: the stream began a new life within a subscription"));
            }
            Some(next) if place < next => {
                return Err(format!("{channel}: place {place} was repeated, {next} was due"));
            }
            Some(next) if place > next && !passes_over(next) => {
                return Err(format!("{channel}: a gap, place {next} was due and {place} came"));
            }
            Some(_) => {}
        }
        reader.next = Some(place + 1);
        Ok(())
    }

    /// A subscriber was told the last publication that is kept, before all others. `None`: there is none. `is_exact`: it
    /// was the last one when the subscription began.
    pub fn latest(
        &mut self,
        reader: &mut Reader,
        channel: &str,
        number: Option<usize>,
        is_exact: bool,
    ) -> Result<(), Broken> {
        let mut next = 0;
        if let Some(number) = number {
            let copy = self.copy(number, channel)?;
            let Some(place) = copy.place.filter(|_| !copy.kind.is_clients) else {
                return Err(format!("publication {number} of {channel} is nothing that is kept"));
            };
            next = place + 1;
        }
        if is_exact {
            (reader.next, reader.latest_floor) = (Some(next), reader.floor);
        }
        Ok(())
    }

    /// A client was told that nothing for it came up to an offset of the life it knows.
    pub fn moved_on(&self, reader: &mut Reader, channel: &str, offset: u64) -> Result<(), Broken> {
        let order = self.orders.get(channel).map_or(&[][..], Vec::as_slice);
        let is_there = |entry: &Entry| (entry.epoch, entry.offset) == (reader.epoch, offset);
        let place = order.iter().position(is_there);
        let place = place.ok_or_else(|| format!("{channel}: nothing was ever at offset {offset}"))?;
        let next = reader.next.unwrap_or(reader.floor);
        if next > place + 1 || order[next..=place].iter().any(|entry| reader.wants(entry)) {
            return Err(format!(
                "{channel}: {offset} told, but what is wanted of place {next} on was not sent"
            ));
        }
        reader.next = Some(place + 1);
        Ok(())
    }

    /// Everything is at rest: a subscriber must have heard all there was.
    pub fn settled(&self, reader: &Reader, channel: &str) -> Result<(), Broken> {
        let order = self.orders.get(channel).map_or(&[][..], Vec::as_slice);
        let next = reader.next.unwrap_or(reader.floor);
        let is_needed = |place: &usize| reader.needs(*place, &order[*place]);
        let top = (next..order.len()).rev().find(is_needed).map_or(0, |last| last + 1);
        if next < top && !may_miss(channel).1 {
            return Err(format!(
                "{channel}: {top} publications were taken, a subscriber waits for place {next}"
            ));
        }
        Ok(())
    }

    /// Publications so far, answered or not.
    pub fn publications_count(&self) -> usize {
        self.publications.len()
    }
}

/// Data that carries its number and is about so long.
pub fn data(number: usize, bytes: usize) -> String {
    format!("{{\"p\":{number},\"x\":\"{}\"}}", "x".repeat(bytes))
}

/// The number in a publication's data.
pub fn number(data: &[u8]) -> Result<usize, Broken> {
    let digits = data.strip_prefix(b"{\"p\":").ok_or("the data of a publication was changed on its way")?;
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    Ok(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}
