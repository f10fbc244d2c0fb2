//! `--console`: the virtio console's other end, a hub as a serial port has it.

use std::str::FromStr;
use std::sync::{Arc, Weak};

use ppckvm_api::GuestMemory;
use ppckvm_devices::virtio::console::{Console, Sink, Turns, WindowSize};

use super::Device;
use crate::host::console::{Hub, Port};
use crate::host::keys::{Key, OptionError, Options};
use crate::host::place::Place;
use crate::host::serial::Serial;

/// A virtio console: where it leads, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleOption {
    /// Where it leads.
    pub destination: Serial,
    /// How it is attached.
    pub place: Place,
}

impl FromStr for ConsoleOption {
    type Err = OptionError;

    /// Reads `DEST[,bus=mmio|pci][,legacy]`, DEST as for a serial port; a comma in it is written
    /// twice.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        const FLAGS: [&str; 3] = ["stdio", "null", "pty"];
        const VALUES: [&str; 3] = ["file", "unix", "tcp"];
        let mut keys: Vec<Key> = FLAGS.map(Key::Flag).into();
        keys.extend(VALUES.map(Key::Value));
        keys.extend(Place::KEYS);
        let options = Options::parse(text, &keys)?;
        let flags = FLAGS.iter().filter(|name| options.flag(name));
        let values = VALUES.iter().filter_map(|name| {
            let value = options.value(name)?;
            Some(format!("{name}={value}"))
        });
        let mut given: Vec<String> = flags.map(|name| (*name).to_owned()).collect();
        given.extend(values);
        let [destination] = given.as_slice() else {
            return Err(OptionError::List(
                "a console leads to one destination; write stdio, null, file=PATH, pty, unix=PATH \
                 or tcp=HOST:PORT"
                    .into(),
            ));
        };
        let destination = destination.parse();
        Ok(ConsoleOption {
            destination: destination.map_err(|error| OptionError::List(format!("{error}")))?,
            place: Place::from_options(&options)?,
        })
    }
}

/// The hub as the device's other end. The hub keeps the device, so this does not keep the hub.
struct Far(Weak<Hub>);

impl Sink for Far {
    fn send(&self, bytes: &[u8]) {
        if let Some(hub) = self.0.upgrade() {
            hub.transmit(bytes);
        }
    }

    fn has_room(&self) {
        if let Some(hub) = self.0.upgrade() {
            hub.feed();
        }
    }
}

/// The device as the hub's port.
struct Near(Console<GuestMemory>);

impl Port for Near {
    fn fill(&self, source: &mut dyn FnMut(usize) -> Vec<u8>) {
        self.0.fill(source);
    }

    fn set_size(&self, size: WindowSize) {
        self.0.set_size(size);
    }
}

/// A device between the guest and a hub; the machine's consoles share `turns`.
pub(crate) fn device(hub: &Arc<Hub>, turns: &Turns<GuestMemory>) -> Device {
    let console = Console::new(Arc::new(Far(Arc::downgrade(hub))), turns.clone());
    // What the kernel says here, programs say in the same way: no line is the kernel's for sure.
    hub.set_polled(false);
    hub.connect(Arc::new(Near(console.clone())));
    Box::new(console)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::place::Bus;

    #[test]
    fn a_console_is_a_destination_and_a_place() {
        let option: ConsoleOption = "file=/tmp/a,,b,bus=pci".parse().unwrap();
        assert_eq!(option.destination, Serial::File("/tmp/a,b".into()));
        assert_eq!(option.place.bus, Bus::Pci);
        let option: ConsoleOption = "pty".parse().unwrap();
        assert_eq!(option.destination, Serial::Pty);
        for (text, part) in [
            ("", "one destination"),
            ("bus=pci", "one destination"),
            ("pty,null", "one destination"),
            ("tcp=5555", "tcp=HOST:PORT"),
            ("tty", "`tty` is no key; there are stdio, null, pty, file"),
            ("null,bus=isa", "use mmio or pci"),
        ] {
            let error = text.parse::<ConsoleOption>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
