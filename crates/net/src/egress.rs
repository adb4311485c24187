//! RFC 6890 and RFC 4291: which addresses an outbound connection may go to.
//!
//! A destination is named either by whoever runs the program ([`Egress::Named`]) or by a stranger,
//! in a request or a document ([`Egress::Public`]). A stranger's name must not become a way into
//! our own network, so that its addresses are judged after resolution and the connection goes to
//! the very address that was judged.
//!
//! The tables of IPv4 refuse by list, since all the rest is routed. IPv6 is allowed by list: of
//! the whole space only `2000::/3` is global unicast, and whatever embeds an IPv4 address (mapped,
//! NAT64, 6to4, Teredo) is outside it or refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who named the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Egress {
    /// The operator or the user, in configuration: any address may be reached. Plain `http` goes
    /// to loopback only.
    Named,
    /// A stranger: `https` only, and only to addresses of the public internet.
    Public,
}

/// Networks of IPv4 that are not the public internet: address, prefix length, rule.
const V4_REFUSED: [(Ipv4Addr, u8, &str); 18] = [
    (Ipv4Addr::UNSPECIFIED, 8, "this network (RFC 1122)"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private (RFC 1918)"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared address space (RFC 6598)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback (RFC 1122)"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's host agent behind a public address"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local (RFC 3927)"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private (RFC 1918)"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments (RFC 6890)"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation (RFC 5737)"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "AS112 (RFC 7535)"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "AMT (RFC 7450)"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay (RFC 7526)"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private (RFC 1918)"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking (RFC 2544)"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation (RFC 5737)"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation (RFC 5737)"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast (RFC 5771)"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved or broadcast (RFC 1112)"),
];

/// Networks inside `2000::/3` that are not the public internet.
const V6_REFUSED: [(Ipv6Addr, u8, &str); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "protocol assignments, Teredo (RFC 2928)"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation (RFC 3849)"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4 (RFC 3056)"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation (RFC 9637)"),
];

/// Judges one address for a destination that a stranger named; the error says which rule
/// refuses it.
pub fn vet_public(address: IpAddr) -> Result<(), &'static str> {
    match address {
        IpAddr::V4(v4) => vet_v4(v4),
        IpAddr::V6(v6) => vet_v6(v6),
    }
}

fn vet_v4(address: Ipv4Addr) -> Result<(), &'static str> {
    let bits = address.to_bits();
    let hit = V4_REFUSED.iter().find(|(network, length, _)| {
        let mask = u32::MAX << (32 - u32::from(*length));
        bits & mask == network.to_bits()
    });
    hit.map_or(Ok(()), |(_, _, rule)| Err(rule))
}

fn vet_v6(address: Ipv6Addr) -> Result<(), &'static str> {
    let bits = address.to_bits();
    if bits >> 125 != 0b001 {
        return Err("not global unicast (RFC 4291)");
    }
    let hit = V6_REFUSED.iter().find(|(network, length, _)| {
        let mask = u128::MAX << (128 - u32::from(*length));
        bits & mask == network.to_bits()
    });
    hit.map_or(Ok(()), |(_, _, rule)| Err(rule))
}

/// Judges all addresses that a name resolved to. One bad answer among good ones refuses all: an
/// honest public name has none, and a mixed answer is how a later connection is steered inside.
pub(crate) fn vet(
    egress: Egress,
    encrypted: bool,
    addresses: &[IpAddr],
) -> Result<(), &'static str> {
    match egress {
        Egress::Public if !encrypted => Err("a destination named by a stranger must use https"),
        Egress::Public => addresses.iter().try_for_each(|address| vet_public(*address)),
        Egress::Named if encrypted => Ok(()),
        Egress::Named if addresses.iter().all(IpAddr::is_loopback) => Ok(()),
        Egress::Named => Err("plain http goes to loopback only; use https"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check_public(address: &str) -> Result<(), &'static str> {
        vet_public(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_of_the_public_internet_are_allowed() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "168.63.129.15",
            "168.63.129.17",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2a00::1",
            "3ffe::1",
        ] {
            assert_eq!(check_public(address), Ok(()), "{address}");
        }
    }

    #[test]
    fn addresses_of_our_own_network_are_refused() {
        for address in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "192.168.255.255",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(check_public(address).is_err(), "{address}");
        }
    }

    proptest! {
        #[test]
        fn what_the_standard_library_calls_internal_is_refused(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let internal = v4.is_private() || v4.is_loopback() || v4.is_link_local()
                || v4.is_multicast() || v4.is_broadcast() || v4.is_documentation()
                || v4.is_unspecified();
            prop_assert!(!internal || vet_public(v4.into()).is_err());
        }

        #[test]
        fn no_ipv6_form_of_an_ipv4_address_is_allowed(bits: u32) {
            let bits = u128::from(bits);
            for network in [0, 0xffff_u128 << 32, 0x0064_ff9b_u128 << 96, 0x2002_u128 << 112] {
                let shift = if network >> 112 == 0x2002 { 80 } else { 0 };
                let address = Ipv6Addr::from_bits(network | (bits << shift));
                prop_assert!(vet_public(address.into()).is_err(), "{}", address);
            }
        }

        #[test]
        fn nothing_outside_global_unicast_is_allowed(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            prop_assert!(bits >> 125 == 1 || vet_public(address.into()).is_err());
        }
    }

    #[test]
    fn one_bad_answer_refuses_all() {
        let good: IpAddr = "1.1.1.1".parse().expect("an address");
        let bad: IpAddr = "10.0.0.1".parse().expect("an address");
        let loopback: IpAddr = "127.0.0.1".parse().expect("an address");
        assert!(vet(Egress::Public, true, &[good]).is_ok());
        assert!(vet(Egress::Public, true, &[good, bad]).is_err());
        assert!(vet(Egress::Public, false, &[good]).is_err());
        assert!(vet(Egress::Named, true, &[bad]).is_ok());
        assert!(vet(Egress::Named, false, &[loopback]).is_ok());
        assert!(vet(Egress::Named, false, &[loopback, bad]).is_err());
        assert!(vet(Egress::Named, false, &[good]).is_err());
    }
}
