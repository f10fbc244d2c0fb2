//! Serial ports, character devices and monitors: where each leads.

use ppckvm::control::{Language, MonitorSpec};
use ppckvm::{EscapeKey, Serial};

use super::draft::{Draft, Part};
use super::properties::Properties;
use super::table::Fate;

/// Where a port leads, and what else its destination says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FarEnd {
    pub serial: Serial,
    /// Whose `Ctrl-a` is, where the destination is standard input.
    pub escape: EscapeKey,
}

impl From<Serial> for FarEnd {
    fn from(serial: Serial) -> Self {
        FarEnd {
            serial,
            escape: EscapeKey::Off,
        }
    }
}

/// Gives each UART its destination.
pub fn resolve(draft: &mut Draft) {
    monitors(draft);
    let mut serials = std::mem::take(&mut draft.serials);
    if serials.is_empty() && !draft.no_defaults {
        match (draft.nographic, draft.monitors.is_empty()) {
            (true, true) => serials.push((usize::MAX, "mon:stdio".into())),
            (true, false) => serials.push((usize::MAX, "stdio".into())),
            (false, _) if draft.display.is_none() => draft.notes.push(super::draft::Note {
                at: None,
                fate: Fate::Accepted,
                text: "there is no display, and UART0 leads nowhere; write -nographic for the terminal"
                    .into(),
                is_said: true,
            }),
            _ => {}
        }
    }
    for (number, (at, destination)) in serials.into_iter().enumerate() {
        let end = far_end(draft, at, &destination);
        let Some(end) = draft.check(at, end) else {
            continue;
        };
        if end.serial == Serial::Stdio {
            draft.spec.escape = end.escape;
        }
        if end.serial == Serial::Pty {
            let label = match destination.strip_prefix("chardev:") {
                Some(id) => id.to_owned(),
                None => format!("serial{number}"),
            };
            draft.conduct.labels.push(label);
        }
        draft.spec.serial.push(end.serial);
    }
    if draft.spec.serial.is_empty() {
        draft.spec.serial.push(Serial::Null);
    }
    one_stdio(draft);
    for part in draft.chardevs.clone() {
        if !part.is_used {
            draft.note(
                part.at,
                Fate::Accepted,
                "nothing uses it, so it is not opened",
            );
        }
    }
}

/// Gives each monitor its destination; one that shares a terminal with a serial port is beside it.
fn monitors(draft: &mut Draft) {
    for (at, language, destination) in draft.monitors.clone() {
        if matches!(destination.as_str(), "none" | "null") {
            continue;
        }
        let id = destination.strip_prefix("chardev:");
        let is_beside = draft
            .serials
            .iter()
            .any(|(_, serial)| *serial == destination || serial.starts_with("mon:"));
        if language == Language::Hmp && id.is_some_and(|id| is_mux(draft, id)) && is_beside {
            draft.note(at, Fate::Mapped, "behind Ctrl-a c beside the serial port");
            continue;
        }
        let label = match id {
            Some(id) => id.to_owned(),
            None => format!("compat_monitor{}", draft.conduct.monitors.len()),
        };
        let end = far_end(draft, at, &destination);
        if let Some(FarEnd { serial, .. }) = draft.check(at, end) {
            let spec = MonitorSpec {
                language,
                at: serial,
            };
            draft.conduct.monitors.push((label, spec));
        }
    }
}

/// Standard input and output are one port's or one monitor's.
fn one_stdio(draft: &mut Draft) {
    let monitors = draft.conduct.monitors.iter();
    let mut ends: Vec<&Serial> = monitors.map(|(_, monitor)| &monitor.at).collect();
    ends.extend(&draft.spec.serial);
    let count = ends.iter().filter(|end| ***end == Serial::Stdio).count();
    if count > 1 {
        let is_of_monitor = |given: &super::draft::Given| {
            let name = given.option.trim_start_matches('-');
            matches!(name, "monitor" | "qmp" | "qmp-pretty" | "mon")
        };
        let at = draft.given.iter().rposition(is_of_monitor);
        let why = "cannot use stdio by multiple character devices; give one of them unix:PATH,server=on,wait=off";
        draft.refuse(at.unwrap_or_default(), why);
    }
}

fn is_mux(draft: &Draft, id: &str) -> bool {
    let named = draft.chardevs.iter().find(|part| named(part, id));
    named.is_some_and(|part| {
        let mux = part.properties.clone().take_switch("mux");
        mux == Ok(Some(true))
    })
}

fn named(part: &Part, id: &str) -> bool {
    part.properties.clone().take("id").as_deref() == Some(id)
}

/// A destination in the spelling of `-serial`.
///
/// # Errors
/// A destination that there is not.
pub fn far_end(draft: &mut Draft, at: usize, text: &str) -> Result<FarEnd, String> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let own = |serial: Serial| Ok(serial.into());
    match (kind, rest) {
        ("stdio", "") => own(Serial::Stdio),
        ("mon", "stdio") => Ok(FarEnd {
            serial: Serial::Stdio,
            escape: EscapeKey::On,
        }),
        ("mon", rest) => {
            draft.note(
                at,
                Fate::Accepted,
                "the monitor is beside standard input only",
            );
            far_end(draft, at, rest)
        }
        ("null" | "none", "") => own(Serial::Null),
        ("pty", "") => own(Serial::Pty),
        ("file", path) if !path.is_empty() => own(Serial::File(path.into())),
        ("chardev", id) => chardev(draft, id),
        ("unix", rest) => {
            let mut properties = Properties::parse(rest, "path");
            let path = properties.take("path").unwrap_or_default();
            socket(properties, End::Unix(path)).map(FarEnd::from)
        }
        ("tcp", rest) => {
            let mut properties = Properties::parse(rest, "address");
            let address = properties.take("address").unwrap_or_default();
            socket(properties, End::Tcp(address)).map(FarEnd::from)
        }
        ("telnet" | "websocket" | "udp" | "tn3270", _) => Err(format!(
            "there is no {kind} here; write tcp:HOST:PORT,server=on,wait=off"
        )),
        ("vc", _) => own(Serial::Null),
        ("pipe", _) => {
            Err("pairs of pipes are not there; write unix:PATH,server=on,wait=off".into())
        }
        _ if text.starts_with('/') => Err(
            "devices of the host's are not opened; open it in the shell, and write \
             `ppckvm run --serial fd=N`"
                .into(),
        ),
        _ => Err(format!(
            "'{text}' is not a valid char driver; write stdio, mon:stdio, null, file:PATH, pty, \
             unix:PATH, tcp:HOST:PORT or chardev:ID"
        )),
    }
}

/// The character device of a name; each can be used once.
///
/// # Errors
/// A name that there is not, or a back end that there is not.
pub fn chardev(draft: &mut Draft, id: &str) -> Result<FarEnd, String> {
    let part = draft.chardevs.iter_mut().find(|part| named(part, id));
    let part = part.ok_or_else(|| format!("there is no -chardev with id={id}"))?;
    if std::mem::replace(&mut part.is_used, true) {
        return Err(format!(
            "the -chardev with id={id} is used already; name another"
        ));
    }
    let Part {
        name,
        mut properties,
        ..
    } = part.clone();
    properties.ignore(&["id", "logfile", "logappend"]);
    let is_mux = properties.take_switch("mux")?.unwrap_or_default();
    let end = match name.as_str() {
        "stdio" => {
            let signals = properties.take_switch("signal")?.unwrap_or(!is_mux);
            FarEnd {
                serial: Serial::Stdio,
                escape: match (is_mux, signals) {
                    (true, _) => EscapeKey::On,
                    (false, true) => EscapeKey::Off,
                    (false, false) => EscapeKey::Auto,
                },
            }
        }
        "null" => Serial::Null.into(),
        "pty" => Serial::Pty.into(),
        "file" => {
            if properties.take_switch("append")?.unwrap_or_default() {
                return Err("a file is made anew; append=on would lose what it holds".into());
            }
            let path = properties.take("path");
            Serial::File(path.ok_or("path= is missing")?.into()).into()
        }
        "socket" => {
            let end = match (
                properties.take("fd"),
                properties.take("path"),
                properties.take("host"),
                properties.take("port"),
            ) {
                (Some(fd), ..) => End::Descriptor(fd),
                (_, Some(path), ..) => End::Unix(path),
                (_, _, host, Some(port)) => {
                    End::Tcp(format!("{}:{port}", host.unwrap_or_default()))
                }
                _ => return Err("path=, port= or fd= is missing".into()),
            };
            return socket(properties, end).map(FarEnd::from);
        }
        _ => {
            return Err(format!(
                "there is no character device '{name}' here; write stdio, null, file, pty or socket"
            ));
        }
    };
    properties.end()?;
    Ok(end)
}

enum End {
    Unix(String),
    Tcp(String),
    Descriptor(String),
}

/// A socket that listens, or one that connects.
fn socket(mut properties: Properties, end: End) -> Result<Serial, String> {
    let server = properties.take_switch("server")?.unwrap_or_default();
    // A server does not make the guest wait: what it sends first is kept for the first client.
    properties.ignore(&[
        "wait",
        "nodelay",
        "delay",
        "reconnect",
        "reconnect-ms",
        "ipv4",
        "ipv6",
    ]);
    for protocol in ["telnet", "tn3270", "websocket", "tls-creds", "abstract"] {
        if properties.has(protocol) && properties.take_switch(protocol) != Ok(Some(false)) {
            return Err(format!("{protocol} is not there; leave it out"));
        }
    }
    properties.end()?;
    Ok(match (end, server) {
        (End::Unix(path), _) if path.is_empty() => return Err("the path is missing".into()),
        (End::Unix(path), true) => Serial::Unix(path.into()),
        (End::Unix(path), false) => Serial::UnixConnect(path.into()),
        (End::Tcp(address), server) => {
            let (host, port) = address
                .rsplit_once(':')
                .filter(|(_, port)| port.parse::<u16>().is_ok())
                .ok_or_else(|| format!("'{address}' is not HOST:PORT"))?;
            match (server, host) {
                (true, "") => Serial::Tcp(format!("0.0.0.0:{port}")),
                (true, host) => Serial::Tcp(format!("{host}:{port}")),
                (false, "") => Serial::TcpConnect(format!("localhost:{port}")),
                (false, host) => Serial::TcpConnect(format!("{host}:{port}")),
            }
        }
        (End::Descriptor(number), _) => Serial::Descriptor(number.parse().map_err(|_| {
            format!("fd={number}: only numbers of inherited descriptors are known")
        })?),
    })
}
