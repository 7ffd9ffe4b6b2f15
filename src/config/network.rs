//! Address ranges, as in `trusted_proxies`.

use std::net::{IpAddr, Ipv6Addr};

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// IPv4 addresses as `::ffff:a.b.c.d`, which is also how a listener on `[::]` sees them.
    first: u128,
    mask: u128,
}

impl Network {
    /// `None`: not an address or range, or bits are set behind the prefix.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            // A sign or a leading zero would parse as a number but is a slip.
            Some(digits) if digits != "0" && !digits.starts_with(|c: char| ('1'..='9').contains(&c)) => {
                return None;
            }
            Some(digits) => digits.parse().ok().filter(|bits| *bits <= width)?,
        };
        let mask = u128::MAX.checked_shl(width - prefix).unwrap_or(0);
        let first = bits(address);
        (first & mask == first).then_some(Self { first, mask })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.first
    }
}

fn bits(address: IpAddr) -> u128 {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_their_addresses_only() {
        let table = [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::1", "::1", true),
            ("::1", "127.0.0.1", false),
        ];
        for (network, address, want) in table {
            let address = address.parse().expect("the table has addresses");
            let network = Network::parse(network).expect(network);
            assert_eq!(network.contains(address), want, "{network:?} {address}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in
            ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08", "::/129", "proxy"]
        {
            assert_eq!(Network::parse(text), None, "{text:?}");
        }
    }
}
