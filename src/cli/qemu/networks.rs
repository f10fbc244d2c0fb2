//! Network cards and what is at their other ends.

use std::net::{IpAddr, Ipv4Addr};

use ppckvm::{Device, DeviceSpec, HostForward, Net, Network, Place, UserNet};

use super::draft::{Card, CardEnd, Draft, Note, Part};
use super::table::Fate;

/// The card that this machine has in place of any other.
pub const CARD: &str = "virtio-net-pci";

/// Adds the cards of `-nic` and `-net`, or QEMU's default one.
pub fn resolve(draft: &mut Draft) {
    let cards = std::mem::take(&mut draft.cards);
    let is_default = !draft.names_networks && !draft.no_defaults;
    if is_default {
        draft.notes.push(Note {
            at: None,
            fate: Fate::Mapped,
            text: format!("without -nic, the user network on a {CARD}; QEMU's card is an e1000"),
            is_said: false,
        });
        let user = Network::User(UserNet::default());
        attach(draft, Net::new(user));
    }
    for card in cards {
        let at = card.at;
        let net = card_on_network(draft, card);
        if let Some(net) = draft.check(at, net).flatten() {
            attach(draft, net);
        }
    }
    for part in std::mem::take(&mut draft.hub_ends) {
        draft.say(part.at, Fate::Accepted, "no -net nic is left for it");
    }
}

fn attach(draft: &mut Draft, net: Net) {
    draft.spec.devices.push(Device::Net(net).at(Place::PCI));
}

fn card_on_network(draft: &mut Draft, card: Card) -> Result<Option<Net>, String> {
    match card.model.as_deref() {
        Some(
            "virtio" | CARD | "virtio-net-pci-non-transitional" | "virtio-net-pci-transitional",
        ) => {}
        Some(model) => {
            return Err(format!(
                "there is no {model} here; the nearest is model={CARD}"
            ));
        }
        None => draft.say(
            card.at,
            Fate::Mapped,
            format!("the card is a {CARD}; without a model, QEMU's is an e1000"),
        ),
    }
    let network = match card.end {
        CardEnd::Own(part) => network(part)?,
        CardEnd::Named(id) => named(draft, &id)?,
        CardEnd::Hub if draft.hub_ends.is_empty() => {
            let text = "there is no network at its other end, so it is left out; write -net user";
            draft.say(card.at, Fate::Accepted, text);
            return Ok(None);
        }
        CardEnd::Hub => network(draft.hub_ends.remove(0))?,
    };
    with_mac(network, card.mac).map(Some)
}

fn with_mac(network: Network, mac: Option<String>) -> Result<Net, String> {
    let mac = mac.map(|mac| {
        let parsed = mac.parse();
        parsed.map_err(|error| format!("mac={mac}: {error}"))
    });
    Ok(Net {
        mac: mac.transpose()?,
        ..Net::new(network)
    })
}

/// A card of `-device`.
///
/// # Errors
/// A network that there is not.
pub fn device(draft: &mut Draft, part: &mut Part) -> Result<DeviceSpec, String> {
    let properties = &mut part.properties;
    let id = properties.take("netdev");
    let mac = properties.take("mac");
    properties.ignore(&[
        "id",
        "vectors",
        "mq",
        "romfile",
        "rombar",
        "mrg_rxbuf",
        "csum",
        "gso",
        "packed",
    ]);
    let id = id.ok_or("there is no network at its other end; write netdev=ID")?;
    let network = named(draft, &id)?;
    Ok(Device::Net(with_mac(network, mac)?).at(Place::PCI))
}

/// The network that `-netdev` names; each has one card.
fn named(draft: &mut Draft, id: &str) -> Result<Network, String> {
    let is = |part: &&mut Part| part.properties.clone().take("id").as_deref() == Some(id);
    let part = draft.netdevs.iter_mut().find(is);
    let part = part.ok_or_else(|| format!("there is no -netdev with id={id}"))?;
    if std::mem::replace(&mut part.is_used, true) {
        return Err(format!(
            "the -netdev with id={id} has a card already; name another"
        ));
    }
    let part = part.clone();
    // Its card is the next, and this machine numbers them.
    let is_card = |device: &&DeviceSpec| matches!(device.device, Device::Net(_));
    let number = draft.spec.devices.iter().filter(is_card).count();
    let names = &mut draft.conduct.network_names;
    names.push((id.to_owned(), format!("net{number}")));
    network(part)
}

/// The network that a back end is.
fn network(part: Part) -> Result<Network, String> {
    let Part {
        name,
        mut properties,
        ..
    } = part;
    properties.ignore(&["id", "vlan"]);
    let network = match name.as_str() {
        "user" => {
            let forwards = properties.take_all("hostfwd").into_iter();
            let forwards: Result<Vec<HostForward>, String> =
                forwards.map(|text| forward(&text)).collect();
            let restrict = properties.take_switch("restrict")?.unwrap_or_default();
            // What these say is so in any case, or concerns a part that is not there.
            properties.ignore(&[
                "ipv4",
                "ipv6",
                "hostname",
                "ipv6-net",
                "ipv6-host",
                "ipv6-dns",
            ]);
            for (key, only) in [
                ("net", "10.0.2.0/24"),
                ("host", "10.0.2.2"),
                ("dns", "10.0.2.3"),
                ("dhcpstart", "10.0.2.15"),
            ] {
                if let Some(value) = properties.take(key).filter(|value| value != only) {
                    return Err(format!("{key}={value}: the user network has {key}={only}"));
                }
            }
            Network::User(UserNet {
                forwards: forwards?,
                restrict,
                ..UserNet::default()
            })
        }
        "tap" => {
            for script in ["script", "downscript"] {
                if let Some(file) = properties.take(script).filter(|file| file != "no") {
                    return Err(format!(
                        "{script}={file}: no scripts are run; set the interface up before, and write \
                         {script}=no"
                    ));
                }
            }
            properties.ignore(&["vhost", "queues", "sndbuf", "br"]);
            let name = properties.take("ifname");
            Network::Tap(name.ok_or("the interface is not named; write ifname=NAME,script=no")?)
        }
        "stream" => {
            let server = properties.take_switch("server")?.unwrap_or_default();
            let kind = properties.take("addr.type");
            let path = properties.take("addr.path");
            properties.ignore(&["reconnect", "reconnect-ms"]);
            match (server, kind.as_deref(), path) {
                (false, Some("unix"), Some(path)) => Network::Unix(path.into()),
                _ => {
                    return Err(
                        "a stream connects to a Unix socket; write addr.type=unix,addr.path=PATH"
                            .into(),
                    );
                }
            }
        }
        "socket" | "dgram" | "bridge" | "hubport" | "l2tpv3" | "vde" | "vhost-user" | "passt"
        | "vhost-vdpa" | "af-xdp" | "netmap" => {
            return Err(format!(
                "there is no network '{name}' here; write user, tap,ifname=NAME or \
                 stream,addr.type=unix,addr.path=PATH"
            ));
        }
        _ => return Err(format!("Parameter 'type' does not accept value '{name}'")),
    };
    properties.end()?;
    Ok(network)
}

/// A forwarded port; without an address, QEMU listens on all of the host's.
fn forward(text: &str) -> Result<HostForward, String> {
    let mut forward: HostForward = text
        .parse()
        .map_err(|error| format!("hostfwd={text}: {error}"))?;
    let names_address = text.split(':').nth(1).is_some_and(|host| !host.is_empty());
    if !names_address && forward.host.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        forward.host.set_ip(Ipv4Addr::UNSPECIFIED.into());
    }
    Ok(forward)
}
