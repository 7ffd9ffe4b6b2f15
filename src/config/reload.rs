//! What a running server can take over from a new configuration, and what needs a restart.

use super::{App, Centrifuge, Config, Limits, Pusher, Server};

/// Apps were added, removed, renamed or put into another order: connections know their app by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("apps were added, removed or renamed, which needs a restart; nothing was taken over")]
pub struct AppsDiffer;

impl Config {
    /// What a server that runs under `self` takes over from `new`: secrets, API keys, namespaces and limits.
    ///
    /// Everything else stays as it runs; its changed keys are the second part of the answer.
    pub fn take_over(&self, mut new: Self) -> Result<(Self, Vec<&'static str>), AppsDiffer> {
        let kept = self.reload_difference(&new);
        if kept.contains(&"apps") {
            return Err(AppsDiffer);
        }
        new.server = self.server.clone();
        for (running, new) in self.apps.iter().zip(&mut new.apps) {
            new.centrifuge = match (&running.centrifuge, new.centrifuge.take()) {
                (Some(running), Some(new)) => Some(Centrifuge {
                    channel_max_length: new.channel_max_length,
                    channel_limit: new.channel_limit,
                    queue_max_size: new.queue_max_size,
                    ..running.clone()
                }),
                (running, _) => running.clone(),
            };
            new.pusher = match (&running.pusher, new.pusher.take()) {
                (Some(running), Some(new)) => Some(Pusher {
                    path_prefix: running.path_prefix.clone(),
                    activity_timeout_ms: running.activity_timeout_ms,
                    pong_timeout_ms: running.pong_timeout_ms,
                    webhooks: running.webhooks.clone(),
                    ..new
                }),
                // On or off is what it started as, but without a secret nobody can be told from anybody.
                (running, _) => running.clone().filter(|_| new.key.is_some() && new.secret.is_some()),
            };
        }
        Ok((new, kept))
    }

    /// Keys whose change needs a restart; empty: `new` can take the place of `self` in the running server.
    ///
    /// Secrets, API keys, namespaces, `[limits]`, the limits of `[apps.centrifuge]` and most of `[apps.pusher]` may
    /// change without. Apps are told apart by their place, so their list of ids may not.
    pub fn reload_difference(&self, new: &Self) -> Vec<&'static str> {
        let mut changed = Vec::new();
        let mut differs = |key, differs: bool| {
            if differs && !changed.contains(&key) {
                changed.push(key);
            }
        };
        // Taken apart so that a new field is not forgotten here.
        let Server {
            http,
            tcp,
            ops,
            shards,
            accept_backlog,
            trusted_proxies,
            allowed_origins,
            drain_grace_ms,
            drain_spread_ms,
            log_format,
            log_level,
        } = &self.server;
        differs("server.http", *http != new.server.http);
        differs("server.tcp", *tcp != new.server.tcp);
        differs("server.ops", *ops != new.server.ops);
        differs("server.shards", *shards != new.server.shards);
        differs("server.accept_backlog", *accept_backlog != new.server.accept_backlog);
        differs("server.trusted_proxies", *trusted_proxies != new.server.trusted_proxies);
        differs("server.allowed_origins", *allowed_origins != new.server.allowed_origins);
        differs("server.drain_grace", *drain_grace_ms != new.server.drain_grace_ms);
        differs("server.drain_spread", *drain_spread_ms != new.server.drain_spread_ms);
        differs("server.log_format", *log_format != new.server.log_format);
        differs("server.log_level", *log_level != new.server.log_level);
        let _: &Limits = &self.limits;

        if !self.apps.iter().map(|app| &app.id).eq(new.apps.iter().map(|app| &app.id)) {
            differs("apps", true);
            return changed;
        }
        for (old, new) in self.apps.iter().zip(&new.apps) {
            let App {
                id: _,
                key: _,
                secret: _,
                previous_secret: _,
                token_hmac_secret_key: _,
                token_hmac_previous_secret_key: _,
                api_key: _,
                centrifuge,
                pusher,
                namespaces: _,
            } = old;
            match (centrifuge, &new.centrifuge) {
                (Some(old), Some(new)) => centrifuge_difference(old, new, &mut differs),
                (old, new) => differs("apps.centrifuge.enabled", old.is_some() != new.is_some()),
            }
            match (pusher, &new.pusher) {
                (Some(old), Some(new)) => {
                    differs("apps.pusher.path_prefix", old.path_prefix != new.path_prefix);
                    differs(
                        "apps.pusher.activity_timeout",
                        old.activity_timeout_ms != new.activity_timeout_ms,
                    );
                    differs("apps.pusher.pong_timeout", old.pong_timeout_ms != new.pong_timeout_ms);
                    differs("apps.pusher.webhooks", old.webhooks != new.webhooks);
                }
                (old, new) => differs("apps.pusher.enabled", old.is_some() != new.is_some()),
            }
        }
        changed
    }
}

fn centrifuge_difference(old: &Centrifuge, new: &Centrifuge, differs: &mut impl FnMut(&'static str, bool)) {
    let Centrifuge {
        ping_interval_ms,
        pong_timeout_ms,
        stale_close_delay_ms,
        expired_close_delay_ms,
        channel_position_check_delay_ms: _,
        channel_max_length: _,
        channel_limit: _,
        queue_max_size: _,
        allow_anonymous_connect_without_token,
        disallow_anonymous_connection_tokens,
        token_audience,
        token_issuer,
        personal_channel,
        single_connection,
    } = old;
    differs("apps.centrifuge.ping_interval", *ping_interval_ms != new.ping_interval_ms);
    differs("apps.centrifuge.pong_timeout", *pong_timeout_ms != new.pong_timeout_ms);
    differs("apps.centrifuge.stale_close_delay", *stale_close_delay_ms != new.stale_close_delay_ms);
    differs("apps.centrifuge.expired_close_delay", *expired_close_delay_ms != new.expired_close_delay_ms);
    differs(
        "apps.centrifuge.allow_anonymous_connect_without_token",
        *allow_anonymous_connect_without_token != new.allow_anonymous_connect_without_token,
    );
    differs(
        "apps.centrifuge.disallow_anonymous_connection_tokens",
        *disallow_anonymous_connection_tokens != new.disallow_anonymous_connection_tokens,
    );
    differs("apps.centrifuge.user_subscribe_to_personal", *personal_channel != new.personal_channel);
    differs("apps.centrifuge.user_personal_single_connection", *single_connection != new.single_connection);
    differs("apps.centrifuge.token_audience", *token_audience != new.token_audience);
    differs("apps.centrifuge.token_issuer", *token_issuer != new.token_issuer);
}
