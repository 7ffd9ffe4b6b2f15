//! For whom a proxy speaks, by the headers it adds to a request.
//!
//! Every proxy appends the address it sees to what came with the request, and a client may have written anything
//! before: so the list is read from its end, and only as far as the proxies are trusted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::http::Head;

/// The client a request comes from: `peer`, unless that is a trusted proxy and says otherwise.
///
/// `X-Forwarded-For` counts first, being what proxies append by default, then `Forwarded` (RFC 7239), then
/// `X-Real-IP`; a proxy must remove those of them that it does not write. The port is 0 where none is told. No
/// allocation.
pub fn client_address(head: &Head<'_>, peer: SocketAddr, is_trusted: impl Fn(IpAddr) -> bool) -> SocketAddr {
    let mut client = peer;
    if !is_trusted(peer.ip()) {
        return peer;
    }
    let mut follow = |told: Option<SocketAddr>| -> bool {
        let Some(told) = told else { return false };
        client = told;
        is_trusted(told.ip())
    };
    // Lists may be spread over several headers, which stand in order.
    let from_the_end = |name| head.values(name).rev().flat_map(|list| list.rsplit(|byte| *byte == b','));
    if head.values("x-forwarded-for").next().is_some() {
        from_the_end("x-forwarded-for").all(|entry| follow(address(entry)));
    } else if head.values("forwarded").next().is_some() {
        from_the_end("forwarded").all(|element| follow(forwarded_for(element)));
    } else if let Some(entry) = head.values("x-real-ip").next_back() {
        follow(address(entry));
    }
    client
}

/// The `for` parameter of one element of `Forwarded`. `None`: none, or one that names no address.
fn forwarded_for(element: &[u8]) -> Option<SocketAddr> {
    let mut nodes = std::str::from_utf8(element).ok()?.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    });
    let (node, None) = (nodes.next()?, nodes.next()) else { return None };
    address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node).as_bytes())
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, 0));
    }
    if let Some(ip) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return ip.parse::<Ipv6Addr>().ok().map(|ip| SocketAddr::new(ip.into(), 0));
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::{HttpLimits, parse_head};

    #[test]
    fn t7_12_the_last_address_that_no_trusted_proxy_has() {
        // (headers, want); the peer is 10.0.0.1, and 10.x is trusted.
        let table = [
            ("", "10.0.0.1:9"),
            ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1:0"),
            ("X-Forwarded-For: 192.0.2.1:80\r\n", "192.0.2.1:80"),
            ("X-Forwarded-For: 2001:db8::1\r\n", "[2001:db8::1]:0"),
            ("X-Forwarded-For: [2001:db8::1]:80\r\n", "[2001:db8::1]:80"),
            ("X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\n", "192.0.2.1:0"),
            ("X-Forwarded-For: 203.0.113.9,192.0.2.1, 10.0.0.2\r\n", "192.0.2.1:0"),
            ("X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.2\r\n", "192.0.2.1:0"),
            ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n", "192.0.2.1:0"),
            ("X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n", "10.0.0.3:0"),
            ("X-Forwarded-For: 203.0.113.9, unknown, 10.0.0.2\r\n", "10.0.0.2:0"),
            ("X-Forwarded-For: 203.0.113.9, \r\n", "10.0.0.1:9"),
            ("X-Forwarded-For:\r\n", "10.0.0.1:9"),
            (
                "X-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.8\r\n",
                "192.0.2.1:0",
            ),
            ("Forwarded: for=192.0.2.1\r\n", "192.0.2.1:0"),
            ("Forwarded: For=\"[2001:db8::1]:4711\"\r\n", "[2001:db8::1]:4711"),
            ("Forwarded: proto=https;for=192.0.2.1;by=10.0.0.1\r\n", "192.0.2.1:0"),
            ("Forwarded: for=203.0.113.9, for=192.0.2.1;proto=http, for=10.0.0.2\r\n", "192.0.2.1:0"),
            ("Forwarded: for=203.0.113.9, for=_hidden\r\n", "10.0.0.1:9"),
            ("Forwarded: for=192.0.2.1;for=192.0.2.2\r\n", "10.0.0.1:9"),
            ("Forwarded: proto=https\r\n", "10.0.0.1:9"),
            ("X-Real-IP: 192.0.2.1\r\n", "192.0.2.1:0"),
            ("X-Real-IP: a\r\n", "10.0.0.1:9"),
        ];
        let is_trusted = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10);
        for (headers, want) in table {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
            let head = parse_head(text.as_bytes(), &HttpLimits::default());
            let head = head.expect("well formed").expect("complete");
            let of = |peer: &str| client_address(&head, peer.parse().expect(peer), is_trusted).to_string();
            assert_eq!(of("10.0.0.1:9"), want, "{headers}");
            assert_eq!(of("192.0.2.66:9"), "192.0.2.66:9", "a stranger's {headers}");
        }
    }
}
