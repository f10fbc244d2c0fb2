use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::host::block::{Disk, Format};
use crate::host::net::{Mac, Net, Network, UserNet};
use crate::host::serial::Serial;
use crate::host::share::Share;
use crate::host::vsock::Vsock;
use crate::loader::Image;
use crate::machine::spec::device::{Device, DeviceSpec};
use crate::machine::spec::memory_size::MemorySize;
use crate::machine::spec::place::{Bus, Place};
use crate::machine::spec::{Accel, Clock, Cpu};
use crate::vm::outcome::{OnPanic, OnReset};

const FILE: &str = "/etc/vm/machine.toml";

fn parse(text: &str) -> Result<Spec, ConfigError> {
    ConfigFile::parse(Path::new(FILE), text)?.unchecked_spec()
}

/// Any text that a file or the command line can have: quotes, commas, other scripts.
fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 ,='\"\\\\#\\[\\]\u{e4}\u{4e2d}\\t.-]{1,12}"
}

fn path() -> impl Strategy<Value = PathBuf> {
    text().prop_map(|name| PathBuf::from(format!("/{name}")))
}

fn serial() -> impl Strategy<Value = Serial> {
    prop_oneof![
        Just(Serial::Stdio),
        Just(Serial::Null),
        Just(Serial::Pty),
        path().prop_map(Serial::File),
        path().prop_map(Serial::Unix),
        (1u16..).prop_map(|port| Serial::Tcp(format!("[::1]:{port}"))),
        path().prop_map(Serial::UnixConnect),
        (1u16..).prop_map(|port| Serial::TcpConnect(format!("[::1]:{port}"))),
        any::<u32>().prop_map(Serial::Descriptor),
    ]
}

fn disk() -> impl Strategy<Value = Device> {
    let format = proptest::option::of(prop_oneof![Just(Format::Raw), Just(Format::Qcow2)]);
    let serial = proptest::option::of("[ -~]{1,20}");
    (path(), format, 0..3, serial).prop_map(|(path, format, access, serial)| {
        let mut disk = Disk::file(path);
        if let Some(format) = format {
            disk = disk.format(format);
        }
        disk = match access {
            0 => disk,
            1 => disk.readonly(),
            _ => disk.overlay(),
        };
        Device::Disk(match serial {
            None => disk,
            Some(serial) => disk.serial(serial).unwrap(),
        })
    })
}

fn network() -> impl Strategy<Value = Network> {
    let forward = (any::<bool>(), any::<u16>(), 1u16..).prop_map(|(udp, host, guest)| {
        let protocol = if udp { "udp" } else { "tcp" };
        format!("{protocol}:127.0.0.1:{host}-10.0.2.15:{guest}")
            .parse()
            .unwrap()
    });
    let user = proptest::collection::vec(forward, 0..3).prop_map(|forwards| {
        Network::User(UserNet {
            forwards,
            ..UserNet::default()
        })
    });
    prop_oneof![
        user,
        text().prop_map(Network::Tap),
        path().prop_map(Network::Unix),
    ]
}

fn net() -> impl Strategy<Value = Device> {
    let mac =
        proptest::option::of(any::<[u8; 5]>().prop_map(|[a, b, c, d, e]| Mac([2, a, b, c, d, e])));
    (network(), mac, proptest::option::of(path())).prop_map(|(network, mac, pcap)| {
        Device::Net(Net {
            mac,
            pcap,
            ..Net::new(network)
        })
    })
}

fn device() -> impl Strategy<Value = DeviceSpec> {
    let share = (path(), "[!-~]{1,31}", any::<(bool, bool)>()).prop_map(
        |(path, tag, (readonly, setid))| {
            Device::Share(Share {
                path,
                tag,
                readonly,
                setid,
            })
        },
    );
    let vsock = (3..u32::MAX, path()).prop_map(|(cid, uds)| Device::Vsock(Vsock { cid, uds }));
    let device = prop_oneof![
        disk(),
        net(),
        share,
        vsock,
        serial().prop_map(Device::Console),
        Just(Device::Balloon),
    ];
    (device, place()).prop_map(|(device, place)| device.at(place))
}

fn place() -> impl Strategy<Value = Place> {
    (any::<bool>(), any::<bool>()).prop_map(|(pci, legacy)| Place {
        bus: if pci { Bus::Pci } else { Bus::Mmio },
        legacy,
    })
}

fn boot() -> impl Strategy<Value = Spec> {
    let image = || proptest::option::of(path().prop_map(Image::File));
    let words = || proptest::option::of(text());
    let options = (proptest::option::of(any::<u32>()), words());
    (image(), image(), image(), options, words()).prop_map(
        |(kernel, initrd, dtb, (load_address, fit_config), append)| {
            let mut spec = Spec::default();
            (spec.boot.kernel, spec.boot.initrd, spec.boot.dtb) = (kernel, initrd, dtb);
            spec.boot.kernel_options.load_address = load_address;
            spec.boot.kernel_options.fit_config = fit_config;
            spec.boot.append = append;
            spec
        },
    )
}

fn spec() -> impl Strategy<Value = Spec> {
    let choices = (
        prop_oneof![Just(Accel::Auto), Just(Accel::Kvm), Just(Accel::Inproc)],
        prop_oneof![Just(Cpu::Auto), Just(Cpu::Interp), Just(Cpu::Jit)],
        prop_oneof![
            Just(Clock::Host),
            Just(Clock::HostStrict),
            Just(Clock::Virtual)
        ],
        prop_oneof![Just(OnReset::Exit), Just(OnReset::Reboot)],
        prop_oneof![Just(OnPanic::Exit), Just(OnPanic::Continue)],
    );
    let rest = (
        1u64..1 << 20,
        proptest::option::of(path()),
        proptest::option::of((0u64..1_000_000, 0u32..1000)),
        any::<bool>(),
        proptest::collection::vec(serial(), 0..4),
        proptest::collection::vec(device(), 0..8),
        proptest::option::of(place()),
    );
    (boot(), choices, rest).prop_map(
        |(boot, choices, (memory, symbols, timeout, timed, serial, mut devices, rng))| {
            // A file can have one of each of these.
            let mut seen = (false, false);
            devices.retain(|spec| match spec.device {
                Device::Vsock(_) => !std::mem::replace(&mut seen.0, true),
                Device::Balloon => !std::mem::replace(&mut seen.1, true),
                _ => true,
            });
            let (accel, cpu, clock, on_reset, on_panic) = choices;
            let time = |(seconds, millis)| Duration::new(seconds, millis * 1_000_000);
            Spec {
                memory: MemorySize::from_bytes(memory << 10),
                accel,
                cpu,
                clock,
                on_reset,
                on_panic,
                symbols,
                timeout: timeout.map(time),
                timed,
                serial,
                devices,
                rng,
                ..boot
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same_machine(spec in spec()) {
        let text = spec.to_toml(None).unwrap();
        let again = parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(again, spec, "{}", text);
    }

    #[test]
    fn devices_are_on_the_command_line_what_they_are_in_a_file(spec in device()) {
        let list = devices::write(&spec).unwrap();
        let again = DeviceSpec::from_keys(list.table().option, &list.to_string());
        prop_assert_eq!(again, Ok(spec), "{}", list);
    }
}

#[test]
fn every_key_of_every_device_is_printed_and_read() {
    for table in DEVICES {
        for key in table.keys {
            let values = |other: &Key| match other.takes {
                Takes::Number(_) => "42".to_owned(),
                // A default is not printed.
                Takes::Choice(choices) => {
                    let mut words = choices.iter().map(|choice| choice.word);
                    let other = words.rfind(|word| Some(*word) != other.default);
                    other.unwrap().to_owned()
                }
                Takes::Path(_) | Takes::Input(_) => "/a".to_owned(),
                _ if other.name == "hostfwd" => "tcp:127.0.0.1:1-10.0.2.15:2".to_owned(),
                _ if other.name == "mac" => "52:54:00:00:00:01".to_owned(),
                _ if matches!(other.name, "tcp" | "tcp-connect") => "127.0.0.1:1".to_owned(),
                _ => "t".to_owned(),
            };
            let needs_another = table.keys.iter().any(|key| key.alternative) && !key.alternative;
            let first = table
                .keys
                .iter()
                .find(|key| key.alternative && needs_another);
            let mut list = KeyList::new(table);
            for other in table
                .keys
                .iter()
                .filter(|other| other.required || other.name == key.name || Some(*other) == first)
            {
                let value = (other.takes != Takes::Nothing).then(|| values(other));
                list.add(other.name, value.as_deref()).unwrap();
            }
            let device = devices::read(&list).unwrap();
            let spec = Spec {
                devices: vec![device],
                ..Spec::default()
            };
            let text = spec.to_toml(None).unwrap();
            assert!(
                text.contains(&format!("{} = ", key.name)),
                "{}: {text}",
                key.name
            );
            assert_eq!(parse(&text).unwrap(), spec, "{text}");
        }
    }
}

#[test]
fn devices_keep_the_order_of_the_file() {
    let spec = parse(
        "[[disk]]\npath = '/a'\n[[net]]\nuser = true\n[vsock]\ncid = 3\nuds = '/v'\n\
         [[disk]]\npath = '/b'\nreadonly = true\n[rng]\nbus = 'pci'\n",
    )
    .unwrap();
    let disk = |path: &str| Disk::file(path);
    let uds = "/v".into();
    let expected: Vec<DeviceSpec> = vec![
        disk("/a").into(),
        Net::new(Network::User(UserNet::default())).into(),
        Vsock { cid: 3, uds }.into(),
        disk("/b").readonly().into(),
    ];
    assert_eq!(spec.devices, expected);
    assert_eq!(spec.rng, Some(Place::PCI));
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let spec = parse(
        "kernel = 'uImage'\nserial = ['file=log', 'tcp=:1']\n[[share]]\npath = '../x'\ntag = 't'\n",
    )
    .unwrap();
    assert_eq!(spec.boot.kernel, Some(Image::File("/etc/vm/uImage".into())));
    let serial = [Serial::File("/etc/vm/log".into()), Serial::Tcp(":1".into())];
    assert_eq!(spec.serial, serial);
    let Device::Share(share) = &spec.devices[0].device else {
        panic!("{spec:?}")
    };
    assert_eq!(share.path.to_str(), Some("/etc/vm/../x"));
    // What is printed holds wherever it is put.
    let mut spec = Spec::default();
    spec.boot.kernel = Some(Image::File("uImage".into()));
    let text = spec.to_toml(Some(Path::new("/home"))).unwrap();
    assert!(text.contains("kernel = \"/home/uImage\""), "{text}");
}

#[test]
fn numbers_can_be_numbers_and_lists_one_text() {
    let spec = parse(
        "load-address = 0x40_0000\nserial = 'pty'\n[[net]]\nuser = true\nhostfwd = 'tcp::1-:2'",
    )
    .unwrap();
    assert_eq!(spec.boot.kernel_options.load_address, Some(0x40_0000));
    assert_eq!(spec.serial, [Serial::Pty]);
    assert_eq!(spec.devices.len(), 1);
    let spec = parse("load-address = 4096\nstats = false\n").unwrap();
    assert_eq!(spec.boot.kernel_options.load_address, Some(4096));
    assert!(!spec.timed);
}

#[test]
fn what_the_command_line_says_is_forgotten() {
    let text = "kernel = 'a'\nmemory = '64M'\nsymbols = 's'\n[rng]\nbus = 'pci'\n";
    let mut file = ConfigFile::parse(Path::new(FILE), text).unwrap();
    file.forget("kernel");
    file.forget("symbols");
    file.forget("rng");
    let spec = file.spec().unwrap();
    assert_eq!(spec.boot.kernel, None);
    assert_eq!(spec.memory, MemorySize::from_bytes(64 << 20));
    assert_eq!(spec.rng, Some(Place::MMIO));
}

#[test]
fn what_is_wrong_is_named_with_line_key_and_remedy() {
    for (text, message) in [
        (
            "memory = '64M'\nmemroy = '1G'\n",
            "line 2: `memroy` is no key; write memory; there are kernel, ",
        ),
        (
            "\n\nmemory = 64\n",
            "line 3: memory: this is a whole number, and must be a text; write memory = \"SIZE\"",
        ),
        (
            "memory = '256'\n",
            "line 1: memory: memory=256: `256` has no unit; write 256M",
        ),
        (
            "stats = 'yes'",
            "line 1: stats: this is a text, and must be true or false; write stats = true",
        ),
        (
            "cpu = 'fast'",
            "line 1: cpu: cpu=fast: use auto, interp, jit",
        ),
        (
            "serial = [1]",
            "line 1: serial: this is a whole number, and must be a text or a list of texts; write serial = [\"DEST\"]",
        ),
        ("kernel = \n", "line 1: "),
        (
            "disk = 'a'",
            "line 1: disk: this is a text, and must be a table of keys; write [[disk]]",
        ),
        (
            "[[disk]]\nreadonly = true\n",
            "line 1: disk: path is missing; write path=FILE",
        ),
        (
            "[[disk]]\npath = 'a'\nro = true\n",
            "line 3: disk: `ro` is no key; write readonly; there are path",
        ),
        (
            "[[disk]]\npath = 'a'\nformat = 'vmdk'\n",
            "line 3: disk: format=vmdk: use raw or qcow2",
        ),
        (
            "[[disk]]\npath = 7\n",
            "line 2: disk.path: this is a whole number, and must be a text",
        ),
        (
            "[[vsock]]\ncid = 3\nuds = 'a'\n[[vsock]]\ncid = 4\nuds = 'b'\n",
            "line 4: vsock: there can be one; leave the others out",
        ),
        (
            "no-rng = true\n[rng]\n",
            "line 2: rng: rng and no-rng exclude each other",
        ),
        (
            "[[dsk]]\npath = 'a'",
            "line 1: `dsk` is no key; write [[disk]]; there are",
        ),
    ] {
        let error = parse(text).unwrap_err().to_string();
        let expected = format!("{FILE}: {message}");
        assert!(error.contains(&expected), "{text}\n{error}\n{expected}");
    }
}

#[test]
fn a_file_that_is_not_there_is_found_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machine.toml");
    let error = ConfigFile::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("machine.toml: cannot be read: No such file"),
        "{error}"
    );
    std::fs::write(&path, "memory = '64M'\n[[disk]]\npath = 'root.img'\n").unwrap();
    let error = Spec::from_toml_file(&path).unwrap_err().to_string();
    assert!(
        error.contains("line 3: disk.path: ") && error.contains("root.img: No such file"),
        "{error}"
    );
    std::fs::write(folder.path().join("root.img"), "").unwrap();
    Spec::from_toml_file(&path).unwrap();
}

#[test]
fn what_is_in_memory_is_not_written() {
    let disk = crate::host::block::MemoryDisk::zeros(512).unwrap();
    let spec = Spec {
        devices: vec![Disk::memory(&disk).into()],
        ..Spec::default()
    };
    let error = spec.to_toml(None).unwrap_err().to_string();
    assert_eq!(error, "a disk cannot be written down: it is in memory");
}
