//! epoll for what arrives, one blocking `send(2)` for everything that leaves.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use super::bare::{Ask, Peer, Publication, request_reply, subscribed_reply, upgrade_reply};
use crate::sys::{self, Epoll};

struct Sender {
    epoll: Epoll,
    listener: TcpListener,
    /// By descriptor.
    connections: Vec<Option<(TcpStream, Peer)>>,
    /// By channel number.
    subscribers: Vec<Vec<RawFd>>,
    upgrade: Vec<u8>,
    subscribed: Vec<u8>,
    publications: Vec<Publication>,
    buffer: Vec<u8>,
}

pub fn serve(address: SocketAddrV4, coalesce: bool) -> io::Result<()> {
    sys::descriptors_max()?;
    let listener = sys::listen(address)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd())?;
    let mut sender = Sender {
        epoll,
        listener,
        connections: Vec::new(),
        subscribers: Vec::new(),
        upgrade: upgrade_reply(),
        subscribed: subscribed_reply(),
        publications: Vec::new(),
        buffer: vec![0; 64 * 1024],
    };
    let mut ready = Vec::new();
    loop {
        sender.epoll.wait(|fd| ready.push(fd))?;
        for fd in ready.drain(..) {
            if fd == sender.listener.as_raw_fd() {
                sender.accept()?;
            } else {
                sender.read(fd);
            }
        }
        sender.flush(coalesce);
    }
}

impl Sender {
    fn accept(&mut self) -> io::Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            let fd = stream.as_raw_fd();
            self.epoll.add(fd)?;
            if self.connections.len() <= fd as usize {
                self.connections.resize_with(fd as usize + 1, || None);
            }
            self.connections[fd as usize] = Some((stream, Peer::default()));
        }
        Ok(())
    }

    fn read(&mut self, fd: RawFd) {
        let Some((stream, peer)) = &mut self.connections[fd as usize] else { return };
        let mut asks = Vec::new();
        let understood = match stream.read(&mut self.buffer) {
            Ok(count @ 1..) => peer.feed(&self.buffer[..count], &mut asks),
            Ok(0) | Err(_) => false,
        };
        if !understood {
            if let Some(channel) = peer.channel {
                self.subscribers[channel as usize].retain(|&other| other != fd);
            }
            self.connections[fd as usize] = None;
            return;
        }
        let mut answers = Vec::new();
        for ask in asks {
            match ask {
                Ask::Upgrade => send(stream, &self.upgrade),
                Ask::Subscribe { channel } => {
                    peer.channel = Some(channel);
                    let channel = channel as usize;
                    if self.subscribers.len() <= channel {
                        self.subscribers.resize_with(channel + 1, Vec::new);
                    }
                    self.subscribers[channel].push(fd);
                    send(stream, &self.subscribed);
                }
                Ask::Request { id } => send(stream, &request_reply(id)),
                Ask::Publish(publication) => {
                    answers.extend_from_slice(peer.answer());
                    self.publications.push(publication);
                }
            }
        }
        if !answers.is_empty() {
            send(stream, &answers);
        }
    }

    fn flush(&mut self, coalesce: bool) {
        if !coalesce {
            for publication in std::mem::take(&mut self.publications) {
                self.send_all(publication.channel, &publication.frame);
            }
            return;
        }
        let mut channels: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for publication in self.publications.drain(..) {
            channels.entry(publication.channel).or_default().extend_from_slice(&publication.frame);
        }
        for (channel, frames) in channels {
            self.send_all(channel, &frames);
        }
    }

    fn send_all(&mut self, channel: u32, bytes: &[u8]) {
        for &fd in self.subscribers.get(channel as usize).into_iter().flatten() {
            if let Some((stream, _)) = &mut self.connections[fd as usize] {
                send(stream, bytes);
            }
        }
    }
}

/// A failure shows as end of stream at the next read.
fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}
