//! A DHCP server (RFC 2131) with one address to give, also to clients that speak BOOTP (RFC 951).

use std::net::Ipv4Addr;

use smoltcp::wire::{
    DhcpFlags, DhcpMessageType, DhcpOpCode, DhcpPacket, DhcpRepr, EthernetAddress,
};

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

/// Where a message's options are, what begins them, and what ends them.
const OPTIONS: usize = 240;
const MAGIC: u32 = 0x6382_5363;
const END: u8 = 255;

/// Options that a BOOTP client does not know.
const LEASE_TIME: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;

/// Answers a client's message.
pub fn answer(link: &mut Link, message: &[u8]) {
    let Ok(packet) = DhcpPacket::new_checked(message) else {
        return;
    };
    if packet.opcode() != DhcpOpCode::Request {
        return;
    }
    let Ok(request) = DhcpRepr::parse(&packet) else {
        if is_bootp(&packet) {
            let client = Client::of(&packet);
            send(link, &client, DhcpMessageType::Ack, address::GUEST, true);
        }
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
    send(link, &Client::of(&packet), message_type, your_ip, false);
}

/// Who asks, in either protocol.
struct Client {
    mac: EthernetAddress,
    transaction: u32,
    ip: Ipv4Addr,
    /// It hears only what goes to all.
    broadcast: bool,
}

impl Client {
    fn of(packet: &DhcpPacket<&[u8]>) -> Self {
        Client {
            mac: packet.client_hardware_address(),
            transaction: packet.transaction_id(),
            ip: packet.client_ip(),
            broadcast: packet.flags().contains(DhcpFlags::BROADCAST),
        }
    }
}

/// Whether a message is from before DHCP: it has no type (RFC 1534, 2).
fn is_bootp(packet: &DhcpPacket<&[u8]>) -> bool {
    packet.magic_number() != MAGIC || packet.options().all(|option| option.kind != MESSAGE_TYPE)
}

/// Makes an answer one for a BOOTP client, who is told nothing that only DHCP knows (RFC 1534).
fn without_dhcp_options(message: &mut [u8]) {
    let mut at = OPTIONS;
    while let Some(&[kind, length]) = message.get(at..).and_then(|rest| rest.first_chunk()) {
        let next = match kind {
            0 => at + 1,
            END => return,
            _ => at + 2 + usize::from(length),
        };
        if matches!(kind, MESSAGE_TYPE | SERVER | LEASE_TIME)
            && let Some(option) = message.get_mut(at..next)
        {
            // Padding.
            option.fill(0);
        }
        at = next;
    }
}

fn send(
    link: &mut Link,
    client: &Client,
    message_type: DhcpMessageType,
    your_ip: Ipv4Addr,
    bootp: bool,
) {
    if !client.mac.is_unicast() || link.is_full() {
        return;
    }
    let protocol = if bootp { "bootp" } else { "dhcp" };
    tracing::debug!(
        "{protocol}: {message_type:?} of {your_ip} to {}",
        client.mac
    );
    let grants = message_type != DhcpMessageType::Nak;
    let lease = grants && !your_ip.is_unspecified();
    let reply = DhcpRepr {
        message_type,
        transaction_id: client.transaction,
        secs: 0,
        client_hardware_address: client.mac,
        client_ip: client.ip,
        your_ip,
        server_ip: address::GATEWAY,
        router: grants.then_some(address::GATEWAY),
        subnet_mask: grants.then_some(address::MASK),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: client.broadcast,
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
    let (to, ip) = if !client.ip.is_unspecified() && grants {
        (client.mac, client.ip)
    } else if client.broadcast {
        (EthernetAddress::BROADCAST, Ipv4Addr::BROADCAST)
    } else {
        (client.mac, Ipv4Addr::BROADCAST)
    };
    let datagram = Datagram {
        from: (address::GATEWAY, SERVER_PORT),
        to: (ip, CLIENT_PORT),
        length: reply.buffer_len().max(BOOTP),
    };
    link.send_ip_to(to, datagram.packet_len(), |bytes| {
        datagram.emit(bytes, |payload| {
            reply
                .emit(&mut DhcpPacket::new_unchecked(&mut *payload))
                .expect("the buffer has the length that the message asked for");
            if bootp {
                without_dhcp_options(payload);
            }
        });
    });
}
