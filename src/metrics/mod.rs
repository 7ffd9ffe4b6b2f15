//! Counters and gauges of one shard: plain integers, changed by their shard alone, copied out on request.
//!
//! The names here are the stable part of the interface: operators' dashboards stand on them.

/// What a series is, for the exposition format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $kind:ident $field:ident $name:literal $labels:literal,)*) => {
        /// One shard's figures, each a plain integer.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[doc = $help])+ pub $field: u64,)*
        }

        impl Snapshot {
            /// Every series in a fixed order: name, labels (may be empty), kind, help text, value.
            pub fn series(&self) -> Vec<Series> {
                vec![$(Series {
                    name: $name,
                    labels: $labels,
                    kind: Kind::$kind,
                    help: concat!($($help),+),
                    value: self.$field,
                },)*]
            }

        }
    };
}

/// One named figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    pub name: &'static str,
    /// `key="value"` pairs as in the exposition format, without braces.
    pub labels: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub value: u64,
}

metrics! {
    /// Open sockets, whatever they speak.
    Gauge connections "polycast_connections" "",
    /// Authenticated clients.
    Gauge clients "polycast_clients" "",
    /// Subscriptions of clients.
    Gauge subscriptions "polycast_subscriptions" "",
    /// Channels with subscribers on this shard.
    Gauge channels "polycast_channels" "",
    /// Sockets accepted since the start.
    Counter connections_accepted "polycast_connections_accepted_total" "",
    /// Publications taken, by entrance.
    Counter publishes_client "polycast_publishes_total" "entrance=\"client\"",
    /// Publications taken, by entrance.
    Counter publishes_api "polycast_publishes_total" "entrance=\"api\"",
    /// Publications taken, by entrance.
    Counter publishes_resp "polycast_publishes_total" "entrance=\"resp\"",
    /// Publications put into a subscriber's queue.
    Counter deliveries "polycast_deliveries_total" "",
    /// Sends handed to the kernel.
    Counter sends "polycast_sends_total" "",
    /// Bytes the kernel took.
    Counter sent_bytes "polycast_sent_bytes_total" "",
    /// Bytes received.
    Counter received_bytes "polycast_received_bytes_total" "",
    /// Calls of io_uring_enter.
    Counter ring_enters "polycast_ring_enters_total" "",
    /// Turns of the shard's loop.
    Counter turns "polycast_turns_total" "",
    /// Receives that found the shared buffers empty.
    Counter receive_buffers_exhausted "polycast_receive_buffers_exhausted_total" "",
    /// Authentication failures, by class.
    Counter auth_no_token "polycast_auth_failures_total" "class=\"no_token\"",
    /// Authentication failures, by class.
    Counter auth_malformed "polycast_auth_failures_total" "class=\"malformed\"",
    /// Authentication failures, by class.
    Counter auth_too_large "polycast_auth_failures_total" "class=\"too_large\"",
    /// Authentication failures, by class.
    Counter auth_duplicate_claim "polycast_auth_failures_total" "class=\"duplicate_claim\"",
    /// Authentication failures, by class.
    Counter auth_crit_unsupported "polycast_auth_failures_total" "class=\"crit_unsupported\"",
    /// Authentication failures, by class.
    Counter auth_alg_not_allowed "polycast_auth_failures_total" "class=\"alg_not_allowed\"",
    /// Authentication failures, by class.
    Counter auth_bad_signature "polycast_auth_failures_total" "class=\"bad_signature\"",
    /// Authentication failures, by class.
    Counter auth_bad_claim "polycast_auth_failures_total" "class=\"bad_claim\"",
    /// Authentication failures, by class.
    Counter auth_expired "polycast_auth_failures_total" "class=\"expired\"",
    /// Authentication failures, by class.
    Counter auth_not_yet_valid "polycast_auth_failures_total" "class=\"not_yet_valid\"",
    /// Authentication failures, by class.
    Counter auth_no_user "polycast_auth_failures_total" "class=\"no_user\"",
    /// Authentication failures, by class.
    Counter auth_api_key "polycast_auth_failures_total" "class=\"api_key\"",
    /// Connections ended by the server because they did not keep up.
    Counter slow_consumers "polycast_slow_consumers_total" "",
    /// Publications left out of the queues of connections that did not keep up, as their namespace allows.
    Counter dropped_publications "polycast_dropped_publications_total" "",
    /// Connections ended because their token expired.
    Counter expired "polycast_connections_expired_total" "",
    /// Connections ended because no answer to a ping came.
    Counter no_pong "polycast_connections_no_pong_total" "",
    /// Protocol violations that ended a connection.
    Counter violations "polycast_protocol_violations_total" "",
    /// Commands refused because they came too often.
    Counter too_many_requests "polycast_too_many_requests_total" "",
    /// Panics caught in a codec; each cost its own connection.
    Counter panics "polycast_panics_total" "",
    /// HTTP requests answered.
    Counter http_requests "polycast_http_requests_total" "",
    /// Handshakes refused, by reason.
    Counter refused_address "polycast_refused_total" "reason=\"address\"",
    /// Handshakes refused, by reason.
    Counter refused_origin "polycast_refused_total" "reason=\"origin\"",
    /// Shards that hold as many connections as they may: further ones wait in the kernel until one ends.
    Gauge full "polycast_shards_full" "",
    /// Bytes waiting in outbound chunks.
    Gauge queue_bytes "polycast_queue_bytes" "",
    /// Letters waiting because a lane is full.
    Gauge spilled_letters "polycast_spilled_letters" "",
    /// Letters sent to other shards.
    Counter letters "polycast_letters_total" "",
    /// Largest lateness of a deadline since the last report, in milliseconds.
    Gauge timer_lag_ms "polycast_timer_lag_ms" "",
    /// Streams kept by the memory engine.
    Gauge streams "polycast_streams" "",
}

impl Snapshot {
    /// Counts an authentication failure under its class, as named by the verifier.
    pub fn count_auth_failure(&mut self, class: &str) {
        let counter = match class {
            "no_token" => &mut self.auth_no_token,
            "too_large" => &mut self.auth_too_large,
            "duplicate_claim" => &mut self.auth_duplicate_claim,
            "crit_unsupported" => &mut self.auth_crit_unsupported,
            "alg_not_allowed" => &mut self.auth_alg_not_allowed,
            "bad_signature" => &mut self.auth_bad_signature,
            "bad_claim" => &mut self.auth_bad_claim,
            "expired" => &mut self.auth_expired,
            "not_yet_valid" => &mut self.auth_not_yet_valid,
            "no_user" => &mut self.auth_no_user,
            _ => &mut self.auth_malformed,
        };
        *counter += 1;
    }
}
