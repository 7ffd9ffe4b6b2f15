//! Accepting: one-shot accepts into direct descriptors, each with an address slot of its own.
//!
//! Not multishot: that writes every peer's address into the same memory. Accepts are armed only while there is
//! room: a full descriptor table would accept clients and drop them.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use io_uring::{opcode, types};

use super::listener::Listeners;
use super::ring::{Kind, Ring, Token};
use crate::shard::input::Entrance;

/// Accepts armed at once, over all listeners of a shard.
const PLACES: u32 = 64;

/// One accept and the memory its peer's address goes to.
struct Place {
    /// Boxed: the kernel writes here, so it must not move.
    address: Box<MaybeUninit<libc::sockaddr_storage>>,
    length: Box<libc::socklen_t>,
    is_armed: bool,
}

/// All accepts of one shard.
pub struct Accepts {
    listeners: Listeners,
    places: Vec<Place>,
    armed: u32,
    is_stopped: bool,
}

/// What an accept brought.
#[derive(Debug)]
pub enum Accepted {
    Connection {
        slot: u32,
        peer: SocketAddr,
        entrance: Entrance,
    },
    /// The peer went away before it was accepted, or accepting was stopped.
    Nothing,
    /// The kernel has no room: accepting should rest a little.
    Exhausted(io::Error),
}

impl Accepts {
    pub fn new(listeners: Listeners) -> Self {
        let places = (0..PLACES).map(|_| Place {
            address: Box::new(MaybeUninit::zeroed()),
            length: Box::new(0),
            is_armed: false,
        });
        Self { listeners, places: places.collect(), armed: 0, is_stopped: false }
    }

    /// Arms idle accepts, as many as there is room for beyond those already armed.
    pub fn arm(&mut self, ring: &mut Ring, room: u32) -> io::Result<()> {
        if self.is_stopped || self.armed >= room.min(PLACES) || self.listeners.0.is_empty() {
            return Ok(());
        }
        for (place, number) in self.places.iter_mut().zip(0_u32..) {
            if self.armed >= room {
                break;
            }
            if place.is_armed {
                continue;
            }
            let (listener, _) = &self.listeners.0[number as usize % self.listeners.0.len()];
            *place.length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            let address = place.address.as_mut_ptr().cast::<libc::sockaddr>();
            let entry = opcode::Accept::new(types::Fd(listener.as_raw_fd()), address, &mut *place.length)
                .file_index(Some(types::DestinationSlot::auto_target()))
                .build()
                .user_data(Token { kind: Kind::Accept, generation: 0, slot: number }.pack());
            // SAFETY: address and length are boxed, touched by nobody until the completion, and this value lives
            // as long as its ring runs; the listener stays open until every accept has completed.
            unsafe { ring.push(&entry)? };
            place.is_armed = true;
            self.armed += 1;
        }
        Ok(())
    }

    /// Reads what one accept brought.
    pub fn complete(&mut self, number: u32, result: i32) -> Accepted {
        let place = &mut self.places[number as usize];
        assert!(place.is_armed, "an accept completes once");
        place.is_armed = false;
        self.armed -= 1;
        if let Ok(slot) = u32::try_from(result) {
            let peer = peer_address(place);
            let (_, entrance) = self.listeners.0[number as usize % self.listeners.0.len()];
            return Accepted::Connection { slot, peer, entrance };
        }
        let error = io::Error::from_raw_os_error(-result);
        match -result {
            libc::ENFILE | libc::EMFILE | libc::ENOMEM | libc::ENOBUFS => Accepted::Exhausted(error),
            _ => Accepted::Nothing,
        }
    }

    /// Accepts no more; those armed are cancelled and the listeners close once they have completed.
    pub fn stop(&mut self, ring: &mut Ring) -> io::Result<()> {
        self.is_stopped = true;
        for (place, number) in self.places.iter().zip(0_u32..) {
            if place.is_armed {
                let target = Token { kind: Kind::Accept, generation: 0, slot: number }.pack();
                let entry =
                    opcode::AsyncCancel::new(target).build().user_data(Token::of(Kind::Cancel).pack());
                // SAFETY: the entry names no memory.
                unsafe { ring.push(&entry)? };
            }
        }
        self.close_if_idle();
        Ok(())
    }

    /// After [`Self::stop`]: closes the listeners as soon as the kernel names them no more.
    pub fn close_if_idle(&mut self) {
        if self.is_stopped && self.armed == 0 {
            self.listeners.0.clear();
        }
    }
}

fn peer_address(place: &Place) -> SocketAddr {
    // SAFETY: the memory was zeroed at first and is a plain struct of integers, valid whatever the kernel wrote.
    let storage = unsafe { place.address.assume_init_ref() };
    let storage: *const libc::sockaddr_storage = storage;
    // SAFETY: every address begins with its family.
    let family = libc::c_int::from(unsafe { (*storage).ss_family });
    match family {
        libc::AF_INET6 => {
            // SAFETY: the family says so, and the storage is large and aligned enough for every family.
            let name = unsafe { &*storage.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            SocketAddr::new(IpAddr::V6(ip), u16::from_be(name.sin6_port))
        }
        libc::AF_INET => {
            // SAFETY: as above.
            let name = unsafe { &*storage.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
            SocketAddr::new(IpAddr::V4(ip), u16::from_be(name.sin_port))
        }
        _ => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    }
}
