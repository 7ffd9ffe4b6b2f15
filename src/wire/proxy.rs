//! The PROXY protocol, versions 1 and 2: what a proxy in front says about whom it speaks for, before anything else.
//!
//! Only what a trusted proxy sends may be looked at here. Whether it speaks the protocol at all is seen from the
//! first bytes: no request of ours begins like either header.
//! Source: <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1, line end included.
const LINE_BYTES_MAX: usize = 107;
/// Fixed part of version 2.
const FIXED_BYTES: usize = 16;
/// Longest header of version 2: addresses and what proxies add about TLS. The format would allow 64 KiB.
const HEADER_BYTES_MAX: usize = 4 * 1024;

/// A header that is none; the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    #[error("a PROXY line is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    #[error("a PROXY line does not name a protocol, two addresses and two ports")]
    Line,
    #[error("a PROXY header has version or command {0:#04x}")]
    Command(u8),
    #[error("a PROXY header is too short for its addresses")]
    Addresses,
    #[error("a PROXY header is longer than {HEADER_BYTES_MAX} bytes")]
    TooLong,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preface {
    /// More bytes must come.
    Partial,
    /// No header: all bytes belong to what follows.
    Absent,
    /// A header of so many bytes. `client`: `None` where the proxy speaks for itself or does not say.
    Header { bytes: usize, client: Option<SocketAddr> },
}

/// Reads the header a connection may begin with. `bytes`: everything received so far. No allocation.
pub fn read_preface(bytes: &[u8]) -> Result<Preface, ProxyError> {
    for (signature, read) in
        [(SIGNATURE_1, read_line as fn(&[u8]) -> Result<Preface, ProxyError>), (SIGNATURE_2, read_binary)]
    {
        if bytes.starts_with(signature) {
            return read(bytes);
        }
        if signature.starts_with(bytes) {
            return Ok(Preface::Partial);
        }
    }
    Ok(Preface::Absent)
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n`, or `PROXY UNKNOWN` and anything.
fn read_line(bytes: &[u8]) -> Result<Preface, ProxyError> {
    let looked_at = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = looked_at.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_BYTES_MAX {
            Ok(Preface::Partial)
        } else {
            Err(ProxyError::LineTooLong)
        };
    };
    let line = std::str::from_utf8(&looked_at[SIGNATURE_1.len()..end]).map_err(|_| ProxyError::Line)?;
    let header = |client| Preface::Header { bytes: end + 2, client };
    let mut words = line.split(' ');
    let protocol = words.next().unwrap_or_default();
    if protocol == "UNKNOWN" {
        return Ok(header(None));
    }
    let [Some(source), Some(target), Some(source_port), Some(target_port), None] =
        [words.next(), words.next(), words.next(), words.next(), words.next()]
    else {
        return Err(ProxyError::Line);
    };
    let address = |text: &str| -> Option<IpAddr> {
        match protocol {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let port = |text: &str| -> Option<u16> {
        let is_plain =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        if is_plain { text.parse().ok() } else { None }
    };
    match (address(source), address(target), port(source_port), port(target_port)) {
        (Some(source), Some(_), Some(port), Some(_)) => Ok(header(Some(SocketAddr::new(source, port)))),
        _ => Err(ProxyError::Line),
    }
}

/// Version 2.
fn read_binary(bytes: &[u8]) -> Result<Preface, ProxyError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else { return Ok(Preface::Partial) };
    let [.., command, family, high, low] = *fixed;
    if !matches!(command, 0x20 | 0x21) {
        return Err(ProxyError::Command(command));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED_BYTES + length > HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    let Some(body) = rest.get(..length) else { return Ok(Preface::Partial) };
    let header = |client| Preface::Header { bytes: FIXED_BYTES + length, client };
    // LOCAL: the proxy itself, as its health checks.
    if command == 0x20 {
        return Ok(header(None));
    }
    let source: (IpAddr, u16) = match family {
        // TCP over IPv4 and IPv6: source, target, source port, target port.
        0x11 => {
            let (addresses, _) = body.split_first_chunk::<12>().ok_or(ProxyError::Addresses)?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = *addresses;
            (Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))
        }
        0x21 => {
            let (addresses, _) = body.split_first_chunk::<36>().ok_or(ProxyError::Addresses)?;
            let source = addresses.first_chunk::<16>().ok_or(ProxyError::Addresses)?;
            (Ipv6Addr::from(*source).into(), u16::from_be_bytes([addresses[32], addresses[33]]))
        }
        // Unix sockets, datagrams, unspecified: nothing that names a client of ours.
        _ => return Ok(header(None)),
    };
    Ok(header(Some(source.into())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [SIGNATURE_2, &[command, family], &length, body].concat()
    }

    /// Name, bytes, and what they are: length and address, `""` for none.
    type Row = (&'static str, Vec<u8>, Result<(usize, &'static str), ProxyError>);

    fn table() -> Vec<Row> {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0xDC, 0x04, 0x01, 0xBB];
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 0x01]);
        six[15] = 7;
        six[32..34].copy_from_slice(&[0x01, 0x00]);
        let line = |text: &str| text.as_bytes().to_vec();
        let with_tlv = [&four[..], &[0x20, 0, 1, 9]].concat();
        vec![
            ("TCP4", line("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"), Ok((42, "192.0.2.1:56324"))),
            ("TCP6", line("PROXY TCP6 2001::7 ::1 256 443\r\n"), Ok((32, "[2001::7]:256"))),
            ("unknown", line("PROXY UNKNOWN\r\n"), Ok((15, ""))),
            ("unknown with more", line("PROXY UNKNOWN ffff::1 ::1 1 2\r\n"), Ok((31, ""))),
            ("port 0", line("PROXY TCP4 192.0.2.1 192.0.2.2 0 0\r\n"), Ok((36, "192.0.2.1:0"))),
            ("other protocol", line("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"), Err(ProxyError::Line)),
            ("wrong family", line("PROXY TCP4 ::1 ::1 1 2\r\n"), Err(ProxyError::Line)),
            ("no address", line("PROXY TCP4 localhost 192.0.2.2 1 2\r\n"), Err(ProxyError::Line)),
            ("a port too large", line("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n"), Err(ProxyError::Line)),
            ("a port with a sign", line("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n"), Err(ProxyError::Line)),
            ("a port with a zero", line("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n"), Err(ProxyError::Line)),
            ("too few words", line("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"), Err(ProxyError::Line)),
            ("too many words", line("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"), Err(ProxyError::Line)),
            ("two spaces", line("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), Err(ProxyError::Line)),
            ("not UTF-8", b"PROXY \xFF\r\n".to_vec(), Err(ProxyError::Line)),
            ("without end", [SIGNATURE_1, &[b'1'; 101]].concat(), Err(ProxyError::LineTooLong)),
            ("version 2, TCP4", binary(0x21, 0x11, &four), Ok((28, "192.0.2.1:56324"))),
            ("version 2, TCP6", binary(0x21, 0x21, &six), Ok((52, "[2001::7]:256"))),
            ("version 2, with more", binary(0x21, 0x11, &with_tlv), Ok((32, "192.0.2.1:56324"))),
            ("version 2, the proxy itself", binary(0x20, 0x00, &[]), Ok((16, ""))),
            ("version 2, itself with addresses", binary(0x20, 0x11, &four), Ok((28, ""))),
            ("version 2, unspecified", binary(0x21, 0x00, &[1, 2]), Ok((18, ""))),
            ("version 2, unix", binary(0x21, 0x31, &[0; 216]), Ok((232, ""))),
            ("version 2, datagrams", binary(0x21, 0x12, &four), Ok((28, ""))),
            ("version 2, too short", binary(0x21, 0x11, &four[..11]), Err(ProxyError::Addresses)),
            ("version 2, far too short", binary(0x21, 0x21, &four), Err(ProxyError::Addresses)),
            ("version 3", binary(0x31, 0x11, &four), Err(ProxyError::Command(0x31))),
            ("another command", binary(0x22, 0x11, &four), Err(ProxyError::Command(0x22))),
            ("very long", binary(0x21, 0x11, &[0; 4_081]), Err(ProxyError::TooLong)),
        ]
    }

    #[test]
    fn t7_12_headers_of_both_versions() {
        for (name, mut bytes, want) in table() {
            let want = want.map(|(bytes, client)| Preface::Header { bytes, client: client.parse().ok() });
            assert_eq!(read_preface(&bytes), want, "{name}");
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
            assert_eq!(read_preface(&bytes), want, "{name}, with what follows");
            if let Ok(Preface::Header { bytes: length, .. }) = want {
                for cut in 0..length {
                    assert_eq!(read_preface(&bytes[..cut]), Ok(Preface::Partial), "{name}, {cut} bytes");
                }
            }
        }
    }

    #[test]
    fn what_is_no_header_is_left_alone() {
        for text in ["GET / HTTP/1.1\r\n", "PING\r\n", "PROXY\r\n", "*1\r\n", "\r\n\r\nGET", "proxy TCP4 "] {
            assert_eq!(read_preface(text.as_bytes()), Ok(Preface::Absent), "{text:?}");
        }
        for text in ["", "P", "PROXY", "\r\n\r\n"] {
            assert_eq!(read_preface(text.as_bytes()), Ok(Preface::Partial), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(tail in proptest::collection::vec(any::<u8>(), 0..300), version in 0..3_u8) {
            let head: &[u8] = match version { 0 => b"", 1 => SIGNATURE_1, _ => SIGNATURE_2 };
            let bytes = [head, &tail].concat();
            if let Ok(Preface::Header { bytes: length, .. }) = read_preface(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
