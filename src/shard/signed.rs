//! Requests of Pusher's server libraries: found by their path, judged by their head.

use std::net::SocketAddr;

use super::Shard;
use super::http::{ApiStyle, ApiTarget, may_go_on};
use crate::api::pusher::{
    KEY, Query, Refusal, Request, Route, Target, Unauthorized, append_refusal, authenticate, route,
};
use crate::core::ids::AppIndex;
use crate::wire::http::{Head, append_response};

/// Where a request goes, and which paths its sender may have signed.
#[derive(Debug)]
pub struct SignedRoute<'h> {
    route: Route,
    /// As sent, and as it was understood.
    paths: [&'h str; 2],
}

impl Shard {
    /// Whether a path is one of Pusher's API. `whole`: as sent; `path`: without an app's id in front.
    pub(super) fn signed_route<'h>(&self, whole: &'h str, path: &'h str) -> Option<SignedRoute<'h>> {
        let prefixes =
            self.config.apps.iter().filter_map(|app| app.pusher.as_ref()).map(|on| &*on.path_prefix);
        let stripped =
            prefixes.filter(|prefix| !prefix.is_empty()).filter_map(|prefix| whole.strip_prefix(prefix));
        [path]
            .into_iter()
            .chain(stripped)
            .find_map(|path| Some((route(path)?, path)))
            .map(|(route, path)| SignedRoute { route, paths: [whole, path] })
    }

    /// Judges a request by its head alone: its body is read only if it may be carried out. `Err`: the response.
    pub(super) fn judge_signed(
        &mut self,
        client: SocketAddr,
        head: &Head<'_>,
        signed: SignedRoute<'_>,
    ) -> Result<ApiTarget, Vec<u8>> {
        self.judged(head, signed).map_err(|refusal| {
            if let Refusal::Unauthorized(reason) = refusal {
                self.counters.auth_api_key += 1;
                tracing::info!(%client, %reason, "a backend's request was refused");
            }
            let (mut body, mut response) = (Vec::new(), Vec::new());
            let status = append_refusal(refusal, &mut body);
            let allow = match refusal {
                Refusal::Method { allow } => vec![("Allow", allow)],
                _ => Vec::new(),
            };
            append_response(status, "application/json", &allow, &body, may_go_on(head), &mut response);
            response
        })
    }

    fn judged(&self, head: &Head<'_>, signed: SignedRoute<'_>) -> Result<ApiTarget, Refusal> {
        let SignedRoute { route: Route { app, endpoint }, paths: [whole, path] } = signed;
        let endpoint = endpoint.ok_or(Refusal::UnknownEndpoint)?;
        if head.method != endpoint.method() {
            return Err(Refusal::Method { allow: endpoint.method() });
        }
        let query = Query::read(head.query)?;
        let app = match app {
            Some(id) => self.config.apps.iter().position(|app| app.id == id).ok_or(Refusal::UnknownApp)?,
            None => {
                let key = query.value(KEY).ok_or(Unauthorized::NoKey)?;
                let has_key = |keys: &crate::auth::PusherKeys| keys.key() == key;
                let of_key =
                    self.apps.iter().position(|app| app.signature_keys.as_ref().is_some_and(has_key));
                of_key.ok_or(Unauthorized::Key)?
            }
        };
        let (Some(options), Some(keys)) = (&self.config.apps[app].pusher, &self.apps[app].signature_keys)
        else {
            return Err(Refusal::AppOff);
        };
        // A proxy in front may have taken the prefix away that the client signed.
        let prefixed = format!("{}{path}", options.path_prefix);
        let request = Request {
            method: head.method,
            paths: &[whole, path, &prefixed],
            now_s: self.now.unix_ms / 1_000,
            window_s: options.auth_timestamp_window_s,
        };
        let proof = authenticate(&query, &request, keys)?;
        let target = Target::read(endpoint, &query, proof)?;
        let limit = self.config.limits.http_body_bytes_max;
        head.body.check(limit as u64).map_err(|_| Refusal::BodyTooLarge { limit })?;
        let app = AppIndex(u16::try_from(app).unwrap_or(u16::MAX));
        Ok(ApiTarget { app, style: ApiStyle::Pusher(Box::new(target)), keep_alive: head.keep_alive })
    }
}
