//! The options that attach virtio devices. Their order on the command line is the order of the
//! devices' slots, which is why they are read here and not derived.
//!
//! A new device adds a variant to [`Device`], an argument to [`arguments`], a line to
//! [`VirtioArgs::from_arg_matches`] and an arm to [`Device::apply`].

use clap::error::Error;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use ppckvm::{Console, ConsoleOption, Disk, Machine, Net, Place, Serial, Share, Vsock};

/// One device that was asked for.
#[derive(Clone, Debug)]
enum Device {
    Console(ConsoleOption),
    Balloon(Place),
    Net(Net),
    Disk(Disk),
    Share(Share),
    Vsock(Vsock),
}

/// The devices in their order.
#[derive(Clone, Debug, Default)]
pub struct VirtioArgs {
    devices: Vec<Device>,
    /// Where the entropy device is, or that there is none.
    rng: Option<Place>,
}

/// The heading of these options in the help.
const HEADING: &str = "Devices";

fn arguments() -> Vec<Arg> {
    vec![
        Arg::new("net")
            .long("net")
            .value_name("NETWORK")
            .action(ArgAction::Append)
            .value_parser(|text: &str| text.parse::<Net>())
            .help(
                "A network device, once for each: user[,hostfwd=tcp|udp:HOST:PORT-:GUESTPORT]... for \
                 a network of its own that needs no privileges (gateway and host 10.0.2.2, DNS \
                 10.0.2.3, guest 10.0.2.15), tap=NAME, or unix=PATH for passt's socket; then \
                 [,mac=M][,pcap=FILE][,bus=mmio|pci][,legacy]",
            ),
        Arg::new("console")
            .long("console")
            .value_name("DEST")
            .action(ArgAction::Append)
            .value_parser(|text: &str| text.parse::<ConsoleOption>())
            .help(
                "A virtio console, hvc0 and so on in Linux: DEST[,bus=mmio|pci][,legacy], where DEST is \
                 stdio, null, file=PATH, pty, unix=PATH or tcp=HOST:PORT as for --serial; a comma in \
                 it is written twice",
            ),
        Arg::new("balloon")
            .long("balloon")
            .value_name("KEYS")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("")
            .value_parser(|text: &str| text.parse::<Place>())
            .help(
                "A balloon, through which the guest gives memory that it does not use back to the \
                 host: [bus=mmio|pci][,legacy]",
            ),
        Arg::new("disk")
            .long("disk")
            .value_name("KEYS")
            .action(ArgAction::Append)
            .value_parser(|text: &str| text.parse::<Disk>())
            .help(
                "A disk: path=FILE[,format=raw|qcow2][,readonly][,overlay]\
                 [,backing=none|beside|any][,serial=S]\
                 [,bus=mmio|pci][,legacy]; the first is /dev/vda",
            ),
        Arg::new("share")
            .long("share")
            .value_name("KEYS")
            .action(ArgAction::Append)
            .value_parser(|text: &str| text.parse::<Share>())
            .help(
                "A folder that the guest mounts over 9P: \
                 path=DIR,tag=NAME[,readonly][,bus=mmio|pci][,legacy]; repeatable",
            ),
        Arg::new("vsock")
            .long("vsock")
            .value_name("KEYS")
            .action(ArgAction::Append)
            .value_parser(|text: &str| text.parse::<Vsock>())
            .help(
                "Streams between the guest and Unix sockets: cid=N,uds=PATH[,bus=mmio|pci][,legacy]; \
                 who connects to PATH says CONNECT PORT, and what the guest connects to is PATH_PORT",
            ),
        Arg::new("rng")
            .long("rng")
            .value_name("KEYS")
            .value_parser(|text: &str| text.parse::<Place>())
            .help("Where the entropy device is: [bus=mmio|pci][,legacy]"),
        Arg::new("no-rng")
            .long("no-rng")
            .action(ArgAction::SetTrue)
            .conflicts_with("rng")
            .help("No entropy device"),
    ]
}

impl Args for VirtioArgs {
    fn augment_args(command: Command) -> Command {
        let arguments = arguments();
        command.args(arguments.into_iter().map(|arg| arg.help_heading(HEADING)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Adds an option's values, each with where it stands on the command line.
fn collect<T: Clone + Send + Sync + 'static>(
    found: &mut Vec<(usize, Device)>,
    matches: &ArgMatches,
    id: &str,
    device: impl Fn(T) -> Device,
) {
    let indices = matches.indices_of(id).into_iter().flatten();
    let values = matches.get_many::<T>(id).into_iter().flatten();
    found.extend(indices.zip(values.map(|value| device(value.clone()))));
}

impl FromArgMatches for VirtioArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut found: Vec<(usize, Device)> = Vec::new();
        collect(&mut found, matches, "console", Device::Console);
        collect(&mut found, matches, "balloon", Device::Balloon);
        collect(&mut found, matches, "net", Device::Net);
        collect(&mut found, matches, "disk", Device::Disk);
        collect(&mut found, matches, "share", Device::Share);
        collect(&mut found, matches, "vsock", Device::Vsock);
        found.sort_by_key(|(index, _)| *index);
        let place = matches.get_one::<Place>("rng").copied();
        let rng = match matches.get_flag("no-rng") {
            true => None,
            false => Some(place.unwrap_or_default()),
        };
        Ok(VirtioArgs {
            devices: found.into_iter().map(|(_, device)| device).collect(),
            rng,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Device {
    fn apply(self, machine: Machine) -> Machine {
        match self {
            Device::Console(ConsoleOption { destination, place }) => {
                machine.virtio_console(Console::serial(destination), place)
            }
            Device::Balloon(place) => machine.balloon(place),
            Device::Net(net) => machine.net(net),
            Device::Disk(disk) => machine.disk(disk),
            Device::Share(share) => machine.share(share),
            Device::Vsock(vsock) => machine.vsock(vsock),
        }
    }
}

impl VirtioArgs {
    /// The number of the console that has standard input.
    pub fn stdio_console(&self) -> Option<usize> {
        let consoles = self.devices.iter().filter_map(|device| match device {
            Device::Console(console) => Some(&console.destination),
            _ => None,
        });
        let mut consoles = consoles.enumerate();
        let found = consoles.find(|(_, destination)| **destination == Serial::Stdio);
        found.map(|(number, _)| number)
    }

    /// Whether a console has standard input.
    pub fn uses_stdio(&self) -> bool {
        self.stdio_console().is_some()
    }

    /// Attaches the devices.
    pub fn apply(self, mut machine: Machine) -> Machine {
        for device in self.devices {
            machine = device.apply(machine);
        }
        machine.rng(self.rng)
    }
}
