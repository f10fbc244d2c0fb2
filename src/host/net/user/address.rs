//! The addresses of the user network, as QEMU's users know them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use smoltcp::wire::EthernetAddress;

/// The network, of 256 addresses.
pub const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 0);
/// The network's mask.
pub const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// The gateway; connections to it reach the host's loopback.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The name server, which forwards to the host's resolvers.
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// What the DHCP server gives to the guest, and where forwarded ports lead.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// Where the network's own addresses are on the wire; locally administered.
pub const MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);

/// The port of name servers.
pub const DNS_PORT: u16 = 53;

const LAST: u8 = 255;

/// Whether an address is in the network.
pub fn is_local(ip: Ipv4Addr) -> bool {
    ip.octets()[..3] == NETWORK.octets()[..3]
}

/// Whether an address is the gateway's or the name server's.
pub fn is_ours(ip: Ipv4Addr) -> bool {
    ip == GATEWAY || ip == DNS
}

/// Whether an address can be one of the guest's.
pub fn is_guest(ip: Ipv4Addr) -> bool {
    is_local(ip) && !is_ours(ip) && !matches!(ip.octets()[3], 0 | LAST)
}

/// The addresses of the host's that the guest reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Nowhere but to this network's own services.
    pub restricted: bool,
    /// Whether link-local addresses are in reach too.
    pub link_local: bool,
}

impl Reach {
    /// Where on the host a destination of the guest's is; a name server is for the resolver to
    /// tell.
    pub fn on_host(self, to: Ipv4Addr) -> Option<IpAddr> {
        if self.restricted {
            return None;
        }
        if to == GATEWAY {
            return Some(Ipv4Addr::LOCALHOST.into());
        }
        let foreign = !is_local(to)
            && !to.is_loopback()
            && !to.is_multicast()
            && !to.is_broadcast()
            && to.octets()[0] != 0
            && (self.link_local || !to.is_link_local());
        foreign.then_some(to.into())
    }
}

/// Whether a destination is the name server's.
pub fn is_name_server(to: Ipv4Addr, port: u16) -> bool {
    to == DNS && port == DNS_PORT
}

/// The name servers of a `resolv.conf`, in order; without any, the one that the C library would ask.
pub fn resolvers(text: &str) -> Vec<SocketAddr> {
    let mut found: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == "nameserver").then_some(())?;
            let ip: IpAddr = words.next()?.parse().ok()?;
            Some(SocketAddr::new(ip, DNS_PORT))
        })
        .collect();
    if found.is_empty() {
        found.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_reaches_the_hosts_loopback_only_by_the_gateway() {
        let on_host = |to| Reach::default().on_host(to);
        assert_eq!(on_host(GATEWAY), Some(Ipv4Addr::LOCALHOST.into()));
        let outside = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(on_host(outside), Some(outside.into()));
        for nowhere in [
            [127, 0, 0, 1],
            [0, 0, 0, 0],
            [0, 1, 2, 3],
            [10, 0, 2, 4],
            [10, 0, 2, 255],
            [224, 0, 0, 1],
            [255, 255, 255, 255],
            [169, 254, 169, 254],
        ] {
            assert_eq!(on_host(nowhere.into()), None, "{nowhere:?}");
        }
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        let open = Reach {
            link_local: true,
            ..Reach::default()
        };
        assert_eq!(open.on_host(metadata), Some(metadata.into()));
    }

    #[test]
    fn resolvers_come_from_the_hosts_file() {
        let text = "# comment\nsearch example\nnameserver 192.0.2.53\nnameserver  ::1 # local\n\
                    nameserver what\n nameserver 192.0.2.54\n";
        let found: Vec<_> = resolvers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.53:53", "[::1]:53", "192.0.2.54:53"]);
        assert_eq!(resolvers("")[0].to_string(), "127.0.0.1:53");
    }
}
