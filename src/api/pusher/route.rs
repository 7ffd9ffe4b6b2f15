//! Path → what is asked of which app.

use crate::wire::http::percent_decode;

/// What is asked, as far as the path tells. Names are decoded, but not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// One event into one or several channels.
    Events,
    /// Several events, each into one channel.
    BatchEvents,
    /// Channels with subscribers.
    Channels,
    /// One channel.
    Channel(Box<str>),
    /// Who is in a presence channel.
    Users(Box<str>),
    /// End a user's connections.
    TerminateConnections(Box<str>),
    /// How many connections the app has. Not in Pusher's own API, but in that of others that serve its clients.
    Connections,
}

impl Endpoint {
    /// The one method it is asked with.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Events | Self::BatchEvents | Self::TerminateConnections(_) => "POST",
            Self::Channels | Self::Channel(_) | Self::Users(_) | Self::Connections => "GET",
        }
    }
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// As the path names it; `None`: it does not, and the key in the query tells.
    pub app: Option<Box<str>>,
    /// `None`: the API has no such endpoint.
    pub endpoint: Option<Endpoint>,
}

/// Reads a path, undecoded and without what may stand before `/apps`. `None`: it is none of this API.
///
/// `/users/{id}/terminate_connections` without an app is what the library for Python asks.
pub fn route(path: &str) -> Option<Route> {
    if let Some(user) = terminated(path) {
        return Some(Route { app: None, endpoint: Some(Endpoint::TerminateConnections(user)) });
    }
    let rest = path.strip_prefix("/apps/")?;
    let (app, rest) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let app = Some(percent_decode(app).map_or_else(|| app.into(), Into::into));
    Some(Route { app, endpoint: endpoint(rest) })
}

fn endpoint(path: &str) -> Option<Endpoint> {
    if let Some(user) = terminated(path) {
        return Some(Endpoint::TerminateConnections(user));
    }
    match path {
        "/events" => return Some(Endpoint::Events),
        "/batch_events" => return Some(Endpoint::BatchEvents),
        "/channels" => return Some(Endpoint::Channels),
        "/connections" => return Some(Endpoint::Connections),
        _ => {}
    }
    let channel = path.strip_prefix("/channels/")?;
    match channel.split_once('/') {
        None => name(channel).map(Endpoint::Channel),
        Some((channel, "users")) => name(channel).map(Endpoint::Users),
        Some(_) => None,
    }
}

fn terminated(path: &str) -> Option<Box<str>> {
    let user = path.strip_prefix("/users/")?.strip_suffix("/terminate_connections")?;
    if user.contains('/') { None } else { name(user) }
}

fn name(encoded: &str) -> Option<Box<str>> {
    percent_decode(encoded).filter(|name| !name.is_empty()).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        use Endpoint::*;
        let table = [
            ("/apps/1/events", Some("1"), Some(Events)),
            ("/apps/app-id/batch_events", Some("app-id"), Some(BatchEvents)),
            ("/apps/1/channels", Some("1"), Some(Channels)),
            ("/apps/1/channels/presence-a", Some("1"), Some(Channel("presence-a".into()))),
            ("/apps/1/channels/a%40b;c", Some("1"), Some(Channel("a@b;c".into()))),
            ("/apps/1/channels/presence-a/users", Some("1"), Some(Users("presence-a".into()))),
            (
                "/apps/1/users/u%201/terminate_connections",
                Some("1"),
                Some(TerminateConnections("u 1".into())),
            ),
            ("/users/u1/terminate_connections", None, Some(TerminateConnections("u1".into()))),
            ("/apps/1/connections", Some("1"), Some(Connections)),
            ("/apps/1", Some("1"), None),
            ("/apps/", Some(""), None),
            ("/apps/1/", Some("1"), None),
            ("/apps/1/events/", Some("1"), None),
            ("/apps/1/channels/", Some("1"), None),
            ("/apps/1/channels/a/b", Some("1"), None),
            ("/apps/1/channels/%zz", Some("1"), None),
            ("/apps/1/users//terminate_connections", Some("1"), None),
            ("/apps/1/users/a/b/terminate_connections", Some("1"), None),
        ];
        for (path, app, endpoint) in table {
            let want = Route { app: app.map(Into::into), endpoint };
            assert_eq!(route(path), Some(want), "{path}");
        }
        for path in ["/", "/apps", "/app/key", "/users/u1", "/users//terminate_connections", "/api/apps/1"] {
            assert_eq!(route(path), None, "{path}");
        }
    }
}
