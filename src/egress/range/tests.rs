use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn every_special_range_is_told_at_its_first_and_last_address_and_not_beside_them() {
    let table = [
        ("0.0.0.0", "0.255.255.255", Special::Unspecified),
        ("10.0.0.0", "10.255.255.255", Special::Private),
        ("100.64.0.0", "100.127.255.255", Special::Shared),
        ("127.0.0.0", "127.255.255.255", Special::Loopback),
        ("169.254.0.0", "169.254.255.255", Special::LinkLocal),
        ("172.16.0.0", "172.31.255.255", Special::Private),
        ("192.0.0.0", "192.0.0.255", Special::Reserved),
        ("192.0.2.0", "192.0.2.255", Special::Documentation),
        ("192.88.99.0", "192.88.99.255", Special::Reserved),
        ("192.168.0.0", "192.168.255.255", Special::Private),
        ("198.18.0.0", "198.19.255.255", Special::Benchmarking),
        ("198.51.100.0", "198.51.100.255", Special::Documentation),
        ("203.0.113.0", "203.0.113.255", Special::Documentation),
        ("224.0.0.0", "239.255.255.255", Special::Multicast),
        ("240.0.0.0", "255.255.255.254", Special::Reserved),
        ("::", "::", Special::Unspecified),
        ("::1", "::1", Special::Loopback),
        ("::2", "::ffff:ffff", Special::Translated),
        ("::ffff:0:0", "::ffff:255.255.255.255", Special::Translated),
        (
            "64:ff9b:1::",
            "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
            Special::Translated,
        ),
        ("100::", "100::ffff:ffff:ffff:ffff", Special::Reserved),
        ("2001::", "2001:0:ffff::", Special::Translated),
        ("2001:1::", "2001:1ff:ffff::", Special::Reserved),
        ("2001:db8::", "2001:db8:ffff::", Special::Documentation),
        ("2002::", "2002:ffff:ffff::", Special::Translated),
        ("3fff::", "3fff:fff::", Special::Documentation),
        ("fc00::", "fdff:ffff::", Special::Private),
        ("fe80::", "febf:ffff::", Special::LinkLocal),
        ("fec0::", "feff:ffff::", Special::Private),
        ("ff00::", "ffff:ffff::", Special::Multicast),
        ("4000::", "fbff::", Special::Reserved),
    ];
    for (first, last, expected) in table {
        for text in [first, last] {
            assert_eq!(special(address(text)), Some(expected), "{text}");
        }
    }
    let public = [
        "1.0.0.0",
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
        "192.0.1.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2000::",
        "2001:200::",
        "2001:db7::",
        "2001:db9::",
        "2003::",
        "2606:4700::1111",
        "3ffe:ffff::",
        "64:ff9b::1.1.1.1",
    ];
    for text in public {
        assert_eq!(special(address(text)), None, "{text}");
    }
}

#[test]
fn broadcast_is_many_hosts() {
    assert_eq!(
        special(address("255.255.255.255")),
        Some(Special::Multicast)
    );
}

#[test]
fn metadata_services_are_told_by_name_also_in_public_ranges() {
    for text in [
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::254",
        "fd20:ce::254",
        "64:ff9b::169.254.169.254",
    ] {
        assert_eq!(special(address(text)), Some(Special::Metadata), "{text}");
    }
    assert_eq!(special(address("168.63.129.17")), None);
}

#[test]
fn a_translated_address_is_what_it_carries() {
    for (text, expected) in [
        ("64:ff9b::10.0.0.1", Special::Private),
        ("64:ff9b::127.0.0.1", Special::Loopback),
        ("64:ff9b::100.64.0.1", Special::Shared),
        ("64:ff9b::198.18.0.1", Special::Benchmarking),
    ] {
        assert_eq!(special(address(text)), Some(expected), "{text}");
    }
}

#[test]
fn networks_are_read_exactly() {
    for text in ["10.0.0.0/8", "10.1.2.3/32", "fd00::/8", "0.0.0.0/0"] {
        assert_eq!(Network::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "10.0.0.0",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/+8",
        "10.0.0.0/",
        "10.0.0.0/8/8",
        "fd00::/129",
        "fd00::1/64",
        "x/8",
    ] {
        assert_eq!(Network::parse(text), None, "{text}");
    }
}

#[test]
fn only_private_and_shared_networks_can_be_granted() {
    for text in [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "192.168.1.1/32",
        "172.16.0.0/12",
        "100.64.0.0/10",
        "fd12::/16",
    ] {
        assert!(Network::parse(text).unwrap().can_be_granted(), "{text}");
    }
    for text in [
        "0.0.0.0/0",
        "8.0.0.0/7",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.0.0.0/8",
        "224.0.0.0/4",
        "fe80::/10",
        "::/0",
        "64:ff9b::/96",
    ] {
        assert!(!Network::parse(text).unwrap().can_be_granted(), "{text}");
    }
}
