//! RFC 7239: `Forwarded`, and `X-Forwarded-For`: from which address a trusted proxy took a request.
//!
//! Each proxy adds who came to it at the end, so that only the end can be believed: what stands
//! before it was sent by whoever came. The list is read from its end, as long as it names proxies
//! that are trusted; the first address that is none of them is the source. Where the next hop
//! cannot be read, or hides itself, the last that could is the source: a proxy, never somebody whom
//! the caller chose.
//!
//! One of the two headers is read, the one that the proxy writes. The other one comes through it as
//! it was sent. Absent on purpose: `by`, `host` and `proto`. No header says where we are reached.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Hops of one request that are looked at.
pub const FORWARDED_HOPS_MAX: usize = 16;

/// Networks of trusted proxies.
pub const PROXIES_MAX: usize = 64;

/// The header in which proxies say from whom a request came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses, separated by commas.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

impl ForwardedHeader {
    /// Both.
    pub const ALL: [Self; 2] = [Self::XForwardedFor, Self::Forwarded];

    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// Addresses that begin with the same bits, such as `10.0.0.0/8`; one address alone where there is
/// no `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most).ok_or(NetworkError)?
            }
            Some(_) => return Err(NetworkError),
        };
        let network = Self { address, bits };
        // `10.1.2.3/8` is a mistake about one of its two halves, and `::ffff:10.0.0.0/8` no network
        // of IPv4.
        let first = match address {
            IpAddr::V4(ip) => IpAddr::from((ip.to_bits() & mask(32, bits) as u32).to_be_bytes()),
            IpAddr::V6(ip) => IpAddr::from((ip.to_bits() & mask(128, bits)).to_be_bytes()),
        };
        if first != address || address.to_canonical() != address {
            return Err(NetworkError);
        }
        Ok(network)
    }
}

/// The first `bits` of `width` bits.
fn mask(width: u32, bits: u8) -> u128 {
    let all = if width == 128 { u128::MAX } else { (1 << width) - 1 };
    all ^ all.checked_shr(u32::from(bits)).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The text is no address and no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkError;

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an address, or the first address of a network such as `10.0.0.0/8`")
    }
}

impl std::error::Error for NetworkError {}

/// Which proxies are believed, and in which header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Their addresses; none where nobody is believed.
    pub networks: Vec<Network>,
    /// What they write.
    pub header: ForwardedHeader,
}

impl TrustedProxies {
    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Where a request came from that `peer` sent, with the lines of the header in their order.
    pub fn source<'l, I>(&self, peer: IpAddr, lines: I) -> IpAddr
    where
        I: IntoIterator<Item = &'l [u8]>,
        I::IntoIter: DoubleEndedIterator,
    {
        let mut source = peer.to_canonical();
        let mut hops = 0;
        for line in lines.into_iter().rev() {
            if !self.trusts(source) {
                return source;
            }
            let Some(line) = elements(line, self.header) else { return source };
            for hop in line.into_iter().rev() {
                hops += 1;
                if !self.trusts(source) || hops > FORWARDED_HOPS_MAX {
                    return source;
                }
                let Some(address) = hop else { return source };
                source = address;
            }
        }
        source
    }
}

/// The hops of one line, in their order; nothing for a hop that hides itself or cannot be read, and
/// nothing at all where the line cannot be read.
fn elements(line: &[u8], header: ForwardedHeader) -> Option<Vec<Option<IpAddr>>> {
    let line = std::str::from_utf8(line).ok().filter(|line| line.is_ascii())?;
    match header {
        ForwardedHeader::XForwardedFor => {
            Some(line.split(',').map(|hop| node(hop.trim_matches([' ', '\t']))).collect())
        }
        ForwardedHeader::Forwarded => forwarded(line),
    }
}

/// RFC 7239 section 4: elements separated by commas, each of pairs separated by semicolons. Read
/// from its beginning, since a comma in a quoted string separates nothing.
fn forwarded(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let (mut hops, mut rest) = (Vec::new(), line);
    loop {
        let mut hop: Option<Option<IpAddr>> = None;
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            let (name, after) = rest.split_once('=')?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            let (value, after) = value(after)?;
            if name.eq_ignore_ascii_case("for") && hop.replace(node(&value)).is_some() {
                // Section 4: "Each parameter MUST NOT occur more than once per field-value."
                return None;
            }
            rest = after.trim_start_matches([' ', '\t']);
            match rest.strip_prefix(';') {
                Some(next) => rest = next,
                None => break,
            }
        }
        hops.push(hop.flatten());
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Some(hops),
            None => return None,
        }
    }
}

/// RFC 9110 section 5.6.2: a character of a token.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 sections 5.6.2 and 5.6.4: a token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return (end > 0).then(|| (value.to_owned(), rest));
    };
    let (mut value, mut chars) = (String::new(), quoted.char_indices());
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            ' '..='~' | '\t' => value.push(char),
            _ => return None,
        }
    }
    None
}

/// RFC 7239 section 6: an address, perhaps with a port; nothing for `unknown` and for an obfuscated
/// identifier. IPv6 stands in brackets; in `X-Forwarded-For` without as well.
fn node(text: &str) -> Option<IpAddr> {
    let address = if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else if let Ok(address) = text.parse::<SocketAddr>() {
        address.ip()
    } else {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        IpAddr::V6(inner.parse().ok()?)
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn proxies(header: ForwardedHeader) -> TrustedProxies {
        let networks = ["127.0.0.1", "10.0.0.0/8", "::1", "2001:db8:1::/48"];
        let networks = networks.map(|text| text.parse().expect("a network")).to_vec();
        TrustedProxies { networks, header }
    }

    /// The source of a request whose peer is on this machine.
    fn source(header: ForwardedHeader, lines: &[&str]) -> String {
        let lines = lines.iter().map(|line| line.as_bytes());
        proxies(header).source(ip("127.0.0.1"), lines).to_string()
    }

    #[test]
    fn a_peer_that_is_not_trusted_says_nothing() {
        for header in ForwardedHeader::ALL {
            let lines = [b"198.51.100.1".as_slice(), b"for=198.51.100.1"];
            assert_eq!(proxies(header).source(ip("192.0.2.1"), lines), ip("192.0.2.1"));
            let nobody = TrustedProxies { networks: Vec::new(), header };
            assert_eq!(nobody.source(ip("127.0.0.1"), lines), ip("127.0.0.1"));
            assert_eq!(proxies(header).source(ip("127.0.0.1"), []), ip("127.0.0.1"));
        }
    }

    #[test]
    fn the_end_is_believed_and_not_what_the_caller_wrote_before_it() {
        use ForwardedHeader::{Forwarded, XForwardedFor};
        for (header, lines, expected) in [
            (XForwardedFor, &["198.51.100.1"][..], "198.51.100.1"),
            (XForwardedFor, &["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            (XForwardedFor, &["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
            (XForwardedFor, &["203.0.113.9,198.51.100.1 ,\t10.0.0.1"], "198.51.100.1"),
            (XForwardedFor, &["203.0.113.9, 198.51.100.1", "10.0.0.1"], "198.51.100.1"),
            (XForwardedFor, &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (XForwardedFor, &["198.51.100.1:4711"], "198.51.100.1"),
            (XForwardedFor, &["2001:db8::7"], "2001:db8::7"),
            (XForwardedFor, &["[2001:db8::7]:1"], "2001:db8::7"),
            (XForwardedFor, &["::ffff:198.51.100.1"], "198.51.100.1"),
            (Forwarded, &["for=198.51.100.1"], "198.51.100.1"),
            (
                Forwarded,
                &["for=203.0.113.9;proto=http, For=198.51.100.1;by=10.0.0.1"],
                "198.51.100.1",
            ),
            (Forwarded, &["for=203.0.113.9, for=\"[2001:db8::7]:4711\""], "2001:db8::7"),
            (Forwarded, &["for=\"198.51.100.1:80\" , for=10.0.0.1"], "198.51.100.1"),
            (Forwarded, &["for=\"a, for=203.0.113.9\"", "for=198.51.100.1"], "198.51.100.1"),
            (Forwarded, &["for=\"198.51\\.100.1\""], "198.51.100.1"),
        ] {
            assert_eq!(source(header, lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_makes_the_proxy_the_source() {
        use ForwardedHeader::{Forwarded, XForwardedFor};
        for (header, lines, expected) in [
            (XForwardedFor, &["203.0.113.9, "][..], "127.0.0.1"),
            (XForwardedFor, &["203.0.113.9, unknown"], "127.0.0.1"),
            (XForwardedFor, &["203.0.113.9, 198.51.100.1.1"], "127.0.0.1"),
            (XForwardedFor, &["203.0.113.9, x, 10.0.0.2"], "10.0.0.2"),
            (XForwardedFor, &["203.0.113.9", ""], "127.0.0.1"),
            (XForwardedFor, &["203.0.113.9 198.51.100.1"], "127.0.0.1"),
            (XForwardedFor, &["for=203.0.113.9"], "127.0.0.1"),
            (XForwardedFor, &["203.0.113.9\u{a0}"], "127.0.0.1"),
            (Forwarded, &["203.0.113.9"], "127.0.0.1"),
            (Forwarded, &["for=203.0.113.9, for=unknown"], "127.0.0.1"),
            (Forwarded, &["for=203.0.113.9, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            (Forwarded, &["for=203.0.113.9, proto=https"], "127.0.0.1"),
            (Forwarded, &["for=203.0.113.9;for=198.51.100.1"], "127.0.0.1"),
            // A quote that the caller left open swallows what the proxy added.
            (Forwarded, &["for=203.0.113.9;x=\", for=198.51.100.1"], "127.0.0.1"),
            (Forwarded, &["for=203.0.113.9;x=\", for=\"[2001:db8::7]\""], "127.0.0.1"),
            (Forwarded, &["for=203.0.113.9;x=\", for=\"198.51.100.1\""], "127.0.0.1"),
            (Forwarded, &["for=203.0.113.9,"], "127.0.0.1"),
            (Forwarded, &["for = 203.0.113.9"], "127.0.0.1"),
            (Forwarded, &["for=\"203.0.113.9"], "127.0.0.1"),
            (Forwarded, &["for=2001:db8::7"], "127.0.0.1"),
        ] {
            assert_eq!(source(header, lines), expected, "{lines:?}");
        }
        let many = vec!["10.0.0.1"; FORWARDED_HOPS_MAX].join(",");
        let line = format!("198.51.100.1,{many}");
        assert_eq!(source(XForwardedFor, &[&line]), "10.0.0.1", "too many hops");
    }

    #[test]
    fn a_network_is_written_in_one_way() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1/128", "::1", "127.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
        ] {
            let network: Network = text.parse().expect(text);
            assert!(network.contains(ip(inside)) && !network.contains(ip(outside)), "{text}");
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.1.0.0/8",
            "10.0.0/8",
            "::/129",
            "::1/64",
            "localhost",
            " 10.0.0.1",
            "::ffff:10.0.0.1",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_caller_writes_the_proxy_behind_it_decides(
            before in "[ -~]{0,60}",
            is_line in any::<bool>(),
        ) {
            let added = "198.51.100.1";
            let lines = if is_line {
                vec![before, added.to_owned()]
            } else {
                vec![format!("{before}, {added}")]
            };
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            prop_assert_eq!(source(ForwardedHeader::XForwardedFor, &lines), added);
            let lines: Vec<String> = lines
                .iter()
                .map(|line| line.strip_suffix(added).map_or((*line).to_owned(), |start| format!("{start}for={added}")))
                .collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let told = source(ForwardedHeader::Forwarded, &lines);
            prop_assert!(told == added || told == "127.0.0.1", "{}", told);
        }
    }
}
