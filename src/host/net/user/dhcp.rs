//! A DHCP server (RFC 2131) with one address to give.

use std::net::Ipv4Addr;

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};

use super::address;
use super::datagram::Datagram;
use super::link::Link;

/// The port of DHCP servers.
pub const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;

/// Seconds for which the address is given: a day.
const LEASE: u32 = 86_400;

/// The least bytes of a message, for clients from the days of BOOTP.
const BOOTP: usize = 300;

/// Answers a client's message.
pub fn answer(link: &mut Link, message: &[u8]) {
    let Ok(packet) = DhcpPacket::new_checked(message) else {
        return;
    };
    let Ok(request) = DhcpRepr::parse(&packet) else {
        return;
    };
    let for_us = request
        .server_identifier
        .is_none_or(|server| server == address::GATEWAY);
    let wanted = request.requested_ip.or_else(|| {
        let has = request.client_ip;
        (!has.is_unspecified()).then_some(has)
    });
    let (message_type, your_ip) = match request.message_type {
        DhcpMessageType::Discover => (DhcpMessageType::Offer, address::GUEST),
        DhcpMessageType::Request if !for_us => return,
        DhcpMessageType::Request if wanted.is_some_and(|ip| ip != address::GUEST) => {
            (DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED)
        }
        DhcpMessageType::Request => (DhcpMessageType::Ack, address::GUEST),
        DhcpMessageType::Inform => (DhcpMessageType::Ack, Ipv4Addr::UNSPECIFIED),
        _ => return,
    };
    let client = request.client_hardware_address;
    if !client.is_unicast() || link.is_full() {
        return;
    }
    let grants = message_type != DhcpMessageType::Nak;
    let lease = grants && !your_ip.is_unspecified();
    let reply = DhcpRepr {
        message_type,
        transaction_id: request.transaction_id,
        secs: 0,
        client_hardware_address: client,
        client_ip: request.client_ip,
        your_ip,
        server_ip: address::GATEWAY,
        router: grants.then_some(address::GATEWAY),
        subnet_mask: grants.then_some(address::MASK),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: request.broadcast,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(address::GATEWAY),
        parameter_request_list: None,
        dns_servers: grants.then(|| [address::DNS].into_iter().collect()),
        max_size: None,
        lease_duration: lease.then_some(LEASE),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    // Without an address of its own, a client hears what goes to its MAC or to all.
    let (to, ip) = if !request.client_ip.is_unspecified() && grants {
        (client, request.client_ip)
    } else if request.broadcast {
        (EthernetAddress::BROADCAST, Ipv4Addr::BROADCAST)
    } else {
        (client, Ipv4Addr::BROADCAST)
    };
    let datagram = Datagram {
        from: (address::GATEWAY, SERVER_PORT),
        to: (ip, CLIENT_PORT),
        length: reply.buffer_len().max(BOOTP),
    };
    link.send_ip_to(to, datagram.packet_len(), |bytes| {
        datagram.emit(bytes, |payload| {
            reply
                .emit(&mut DhcpPacket::new_unchecked(payload))
                .expect("the buffer has the length that the message asked for");
        });
    });
}
