//! Connections of trusted proxies, whose first bytes may say for whom the proxy speaks.

use std::net::{IpAddr, SocketAddr};

use super::Shard;
use super::connection::Transport;
use super::http::HttpConnection;
use super::input::Entrance;
use super::resp::{AUTHENTICATION_MS, RespConnection};
use crate::core::ids::Slot;
use crate::wire::proxy::{Preface, read_preface};

/// A connection whose first bytes have not been judged.
#[derive(Debug)]
pub struct Fresh {
    proxy: SocketAddr,
    entrance: Entrance,
    /// What has arrived of a PROXY header.
    bytes: Vec<u8>,
}

impl Shard {
    pub(super) fn accepted(&mut self, slot: Slot, peer: SocketAddr, entrance: Entrance) {
        self.connections.open(slot);
        self.counters.connections_accepted += 1;
        self.counters.connections = u64::from(self.connections.count());
        if self.is_draining {
            self.close(slot, false);
            return;
        }
        if !self.is_trusted_proxy(peer.ip()) {
            self.begin_speaking(slot, peer, entrance);
            return;
        }
        let fresh = Fresh { proxy: peer, entrance, bytes: Vec::new() };
        self.connections.cold_mut(slot).transport = Transport::Fresh(Box::new(fresh));
        self.set_phase_deadline(slot, u64::from(self.config.limits.header_timeout_ms));
    }

    /// From here on the connection is what its listener serves, and `peer` is whom it belongs to.
    fn begin_speaking(&mut self, slot: Slot, peer: SocketAddr, entrance: Entrance) {
        tracing::debug!(connection = %self.name(slot), %peer, ?entrance, "connected");
        let header_ms = u64::from(self.config.limits.header_timeout_ms);
        let cold = self.connections.cold_mut(slot);
        let deadline_ms = match entrance {
            Entrance::Http => {
                cold.transport = Transport::Http(Box::new(HttpConnection::new(peer)));
                cold.is_head_timed = true;
                header_ms
            }
            Entrance::Resp => {
                cold.transport = Transport::Resp(Box::new(RespConnection::new(peer)));
                AUTHENTICATION_MS
            }
        };
        if !cold.is_draining {
            self.set_phase_deadline(slot, deadline_ms);
        }
    }

    /// Reads a PROXY header, if the connection begins with one, and goes on with what lies behind.
    pub(super) fn receive_preface(&mut self, slot: Slot, bytes: &[u8]) {
        let Transport::Fresh(mut fresh) = std::mem::take(&mut self.connections.cold_mut(slot).transport)
        else {
            return;
        };
        fresh.bytes.extend_from_slice(bytes);
        match read_preface(&fresh.bytes) {
            Ok(Preface::Partial) => self.connections.cold_mut(slot).transport = Transport::Fresh(fresh),
            Ok(Preface::Absent) => {
                self.begin_speaking(slot, fresh.proxy, fresh.entrance);
                self.read_on(slot, &mut fresh.bytes);
            }
            Ok(Preface::Header { bytes, client }) => {
                self.begin_speaking(slot, client.unwrap_or(fresh.proxy), fresh.entrance);
                if let Some(rest) = fresh.bytes.get_mut(bytes..).filter(|rest| !rest.is_empty()) {
                    self.read_on(slot, rest);
                }
            }
            Err(error) => {
                self.counters.violations += 1;
                tracing::info!(connection = %self.name(slot), proxy = %fresh.proxy, %error, "closed");
                self.close(slot, false);
            }
        }
    }

    /// Whether what this peer says about others is believed.
    pub(super) fn is_trusted_proxy(&self, peer: IpAddr) -> bool {
        self.config.server.trusted_proxies.iter().any(|network| network.contains(peer))
    }
}
