//! The keys of `net`.

use super::place::{BUS, LEGACY};
use super::{Key, KeyList, NotWritable, OptionError, SWITCH, Table, Takes, text_of};
use crate::host::net::{HostForward, Net, Network, ParseForwardError, UserNet};

pub(super) static TABLE: Table = Table {
    option: "net",
    about: "A network device; the user network needs no privileges, and the guest there is \
            10.0.2.15, its gateway and the host 10.0.2.2, its name server 10.0.2.3",
    keys: &[
        Key::new(
            "user",
            Takes::Nothing,
            "a network in this process, which needs no privileges",
        )
        .alternative(),
        Key::new(
            "tap",
            Takes::Text("NAME"),
            "a TAP interface of the host; a new one if there is none and you may make it",
        )
        .alternative(),
        Key::new(
            "unix",
            Takes::Path("PATH"),
            "a Unix stream socket that listens at PATH, such as passt's or QEMU's -netdev stream",
        )
        .alternative(),
        Key::new(
            "hostfwd",
            Takes::Text("tcp|udp:HOST:PORT-:GUESTPORT"),
            "for user: a port of the host that leads into the guest; HOST is 127.0.0.1 when left \
             out, and port 0 takes a free one and prints it",
        )
        .many(),
        Key::new(
            "restrict",
            SWITCH,
            "for user: the guest reaches neither the host nor anything outside; forwarded ports \
             stay",
        )
        .or("off"),
        Key::new(
            "linklocal",
            SWITCH,
            "for user: the guest reaches 169.254.0.0/16, where clouds hand out credentials",
        )
        .or("off"),
        Key::new(
            "mac",
            Takes::Text("M"),
            "the device's address; 52:54:00:12:34:56 and up without it",
        ),
        Key::new(
            "pcap",
            Takes::Path("FILE"),
            "a file that gets every frame, for tcpdump -r FILE",
        ),
        BUS,
        LEGACY,
    ],
    alternatives: "network",
    bare: None,
    mistakes: &[("ifname", "tap"), ("macaddr", "mac"), ("socket", "unix")],
    several: true,
};

pub(super) fn read(list: &KeyList) -> Result<Net, OptionError> {
    let mut forwards: Vec<HostForward> = Vec::new();
    for forward in list.values("hostfwd") {
        let forward = forward.parse();
        forwards.push(
            forward.map_err(|error: ParseForwardError| OptionError::List(error.to_string()))?,
        );
    }
    let restrict = list.switch("restrict")?;
    let link_local = list.switch("linklocal")?;
    let of_user = [
        (!forwards.is_empty()).then_some("hostfwd"),
        restrict.map(|_| "restrict"),
        link_local.map(|_| "linklocal"),
    ];
    let network = match list.alternative()? {
        ("tap", Some(name)) => Network::Tap(name.into()),
        ("unix", Some(path)) => Network::Unix(path.into()),
        _ => Network::User(UserNet {
            forwards,
            restrict: restrict.unwrap_or_default(),
            link_local: link_local.unwrap_or_default(),
            ..UserNet::default()
        }),
    };
    let is_user = matches!(network, Network::User(_));
    if let Some(key) = of_user.into_iter().flatten().next().filter(|_| !is_user) {
        return Err(OptionError::List(format!(
            "{key} is for the user network; on a tap or a unix socket, the host forwards and filters"
        )));
    }
    Ok(Net {
        network,
        mac: list.parsed("mac")?,
        pcap: list.value("pcap").map(Into::into),
    })
}

pub(super) fn write(net: &Net) -> Result<KeyList, NotWritable> {
    let unwritable = |why| NotWritable {
        what: "a network".into(),
        why,
    };
    let mut list = KeyList::new(&TABLE);
    list = match &net.network {
        Network::User(user) if !user.resolvers.is_empty() => {
            return Err(unwritable("it has name servers of its own"));
        }
        Network::User(user) => {
            let list = list.with_flag("user", true);
            let forwards = user.forwards.iter();
            let list = forwards.fold(list, |list, forward| list.with("hostfwd", forward));
            let on = |is_on: bool| is_on.then_some("on");
            list.with_some("restrict", on(user.restrict))
                .with_some("linklocal", on(user.link_local))
        }
        Network::Tap(name) => list.with("tap", name),
        Network::Unix(path) => list.with("unix", text_of("net", path)?),
        Network::Frames(_) => return Err(unwritable("it is queues of frames in memory")),
    };
    list = list.with_some("mac", net.mac);
    let pcap = net.pcap.as_deref();
    let pcap = pcap.map(|path| text_of("pcap", path)).transpose()?;
    Ok(list.with_some("pcap", pcap))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Net, OptionError> {
        read(&KeyList::parse(&TABLE, text)?)
    }

    #[test]
    fn an_option_names_a_network_and_its_keys() {
        let net = parse(
            "user,hostfwd=tcp:127.0.0.1:2222-:22,mac=52:54:0:aB:1:2,hostfwd=udp::69-:69,\
             pcap=/tmp/a=b",
        )
        .unwrap();
        let Network::User(user) = &net.network else {
            panic!("{net:?}")
        };
        assert_eq!(user.forwards.len(), 2);
        assert!(!user.restrict && !user.link_local);
        assert_eq!(net.mac.unwrap().to_string(), "52:54:00:ab:01:02");
        assert_eq!(net.pcap, Some("/tmp/a=b".into()));
        let net = parse("user,restrict=on,linklocal=on").unwrap();
        assert!(matches!(&net.network, Network::User(user) if user.restrict && user.link_local));
        assert_eq!(read(&write(&net).unwrap()).unwrap(), net);
        assert_eq!(
            parse("tap=tap0").unwrap(),
            Net::new(Network::Tap("tap0".into()))
        );
        assert_eq!(
            parse("unix=/tmp/s").unwrap(),
            Net::new(Network::Unix("/tmp/s".into()))
        );
    }

    #[test]
    fn what_names_no_network_is_refused_with_a_remedy() {
        for (text, part) in [
            ("mac=52:54:00:12:34:56", "write user, tap=NAME or unix=PATH"),
            ("tap=", "tap needs a value; write tap=NAME"),
            (
                "bridge",
                "`bridge` is no key; there are user, tap, unix, hostfwd, restrict, linklocal, mac",
            ),
            ("user,tap=tap0", "two networks"),
            ("user,user", "twice"),
            ("user,mtu=9000", "is no key"),
            ("user,hostfwd=x", "no protocol"),
            ("user,restrict", "restrict needs a value"),
            ("user,restrict=maybe", "restrict=maybe: use on or off"),
            ("unix=s,restrict=on", "restrict is for the user network"),
            ("tap=t,linklocal=off", "the host forwards and filters"),
            ("tap=t,hostfwd=tcp::1-:1", "the host forwards"),
            ("user,mac=52:54:00:12:34", "six bytes"),
            ("user,mac=52:54:00:12:34:56:78", "six bytes"),
            ("user,mac=52:54:00:12:34:+5", "six bytes"),
            ("user,mac=53:54:00:12:34:56", "multicast"),
            ("user,mac=0:0:0:0:0:0", "no device's"),
            ("user,mac=2:0:0:0:0:1,mac=2:0:0:0:0:2", "twice"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
