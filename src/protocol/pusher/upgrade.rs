//! Which upgrade requests are this dialect's, and what it thinks of their version.

use super::codes;
use crate::core::disconnect::Disconnect;
use crate::protocol::{Accepted, AppNamed, Codec, UpgradeRequest};

const VERSIONS: std::ops::RangeInclusive<u32> = 5..=7;

/// See [`Codec::for_upgrade`]. Refusals come after the upgrade: a browser sees nothing of one before, and tries for
/// ever.
pub fn for_upgrade<'r>(request: &UpgradeRequest<'r>) -> Option<Accepted<'r>> {
    let (app, mut end) = match request.path.rsplit_once("/app/") {
        Some((prefix, key)) if !key.is_empty() && !key.contains('/') => {
            (AppNamed::ByKey { prefix, key }, None)
        }
        _ if request.path == "/app" || request.path.starts_with("/app/") => {
            (AppNamed::ByPath, Some(codes::PATH_NOT_FOUND))
        }
        _ => return None,
    };
    if end.is_none() {
        end = judge_version(request);
    }
    let end = end.map(|(code, reason)| Disconnect::Custom { code, reason: reason.into() });
    Some(Accepted { codec: Codec::Pusher, subprotocol: None, app, end })
}

/// What is wrong with the announced version. Tools announce nothing at all; they mean the current one.
fn judge_version(request: &UpgradeRequest<'_>) -> Option<(u16, &'static str)> {
    let Some(version) = request.parameter("protocol") else {
        let is_tool = request.parameter("client").is_none() && request.parameter("version").is_none();
        return (!is_tool).then_some(codes::VERSION_MISSING);
    };
    match version.parse::<u32>() {
        Ok(version) if VERSIONS.contains(&version) => None,
        Ok(_) => Some(codes::VERSION_UNSUPPORTED),
        Err(_) => Some(codes::VERSION_MALFORMED),
    }
}
