//! The keys of `console`.

use super::place::{BUS, LEGACY};
use super::{Key, KeyList, NotWritable, OptionError, Table, Takes, text_of};
use crate::host::serial::Serial;

pub(super) static TABLE: Table = Table {
    option: "console",
    about: "A virtio console, hvc0 and so on in Linux; it leads where a serial port can lead",
    keys: &[
        Key::new(
            "stdio",
            Takes::Nothing,
            "standard input and output; on a terminal, Ctrl-a is for the launcher",
        )
        .alternative(),
        Key::new(
            "null",
            Takes::Nothing,
            "nowhere: output is dropped, and nothing comes in",
        )
        .alternative(),
        Key::new("file", Takes::Path("PATH"), "a file, made anew, for output").alternative(),
        Key::new("pty", Takes::Nothing, "a new pseudo-terminal").alternative(),
        Key::new(
            "unix",
            Takes::Path("PATH"),
            "a Unix socket that listens at PATH",
        )
        .alternative(),
        Key::new(
            "tcp",
            Takes::Text("HOST:PORT"),
            "a TCP socket that listens; port 0 takes a free one",
        )
        .alternative(),
        Key::new(
            "unix-connect",
            Takes::Path("PATH"),
            "a connection to who listens at a Unix socket's PATH",
        )
        .alternative(),
        Key::new(
            "tcp-connect",
            Takes::Text("HOST:PORT"),
            "a connection to who listens there",
        )
        .alternative(),
        Key::new(
            "fd",
            Takes::Number("N"),
            "a descriptor that this process was started with: a socket that listens or is connected, \
             or a file",
        )
        .alternative(),
        BUS,
        LEGACY,
    ],
    alternatives: "destination",
    bare: None,
    mistakes: &[("none", "null"), ("path", "file"), ("socket", "unix")],
    several: true,
};

pub(super) fn read(list: &KeyList) -> Result<Serial, OptionError> {
    let text = match list.alternative()? {
        (name, None) => name.to_owned(),
        (name, Some(value)) => format!("{name}={value}"),
    };
    text.parse()
        .map_err(|error| OptionError::List(format!("{error}")))
}

pub(super) fn write(serial: &Serial) -> Result<KeyList, NotWritable> {
    let list = KeyList::new(&TABLE);
    Ok(match serial {
        Serial::Stdio => list.with_flag("stdio", true),
        Serial::Null => list.with_flag("null", true),
        Serial::File(path) => list.with("file", text_of("console", path)?),
        Serial::Pty => list.with_flag("pty", true),
        Serial::Unix(path) => list.with("unix", text_of("console", path)?),
        Serial::Tcp(address) => list.with("tcp", address),
        Serial::UnixConnect(path) => list.with("unix-connect", text_of("console", path)?),
        Serial::TcpConnect(address) => list.with("tcp-connect", address),
        Serial::Descriptor(number) => list.with("fd", number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Serial, OptionError> {
        read(&KeyList::parse(&TABLE, text)?)
    }

    #[test]
    fn a_console_leads_to_one_destination() {
        assert_eq!(parse("file=/tmp/a,,b"), Ok(Serial::File("/tmp/a,b".into())));
        assert_eq!(parse("pty"), Ok(Serial::Pty));
        for (text, part) in [
            ("", "no destination is named; write stdio, null, file=PATH"),
            ("bus=pci", "no destination is named"),
            ("pty,null", "two destinations"),
            ("tcp=5555", "tcp=HOST:PORT"),
            ("tty", "there are stdio, null, file, pty"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
