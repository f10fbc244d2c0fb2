//! The models of `-device`, and the drives and folders that they take: a table again.

use ppckvm::{Device, DeviceSpec, Disk, Image, Place, Share};

use super::draft::{Draft, Part};
use super::table::Fate;
use super::{networks, ports};

/// One model.
pub struct Model {
    /// Its names.
    pub names: &'static [&'static str],
    /// The group that QEMU lists it in.
    pub group: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// In words: what it is here, or what is nearest to it.
    pub text: &'static str,
    /// Makes it.
    read: fn(&mut Draft, &mut Part) -> Made,
}

/// The device that a model is; none for one that makes none of its own.
type Made = Result<Option<DeviceSpec>, String>;

const fn here(
    names: &'static [&'static str],
    group: &'static str,
    text: &'static str,
    read: fn(&mut Draft, &mut Part) -> Made,
) -> Model {
    Model {
        names,
        group,
        fate: Fate::Mapped,
        text,
        read,
    }
}

const fn not_here(names: &'static [&'static str], nearest: &'static str) -> Model {
    Model {
        names,
        group: "",
        fate: Fate::Refused,
        text: nearest,
        read: |_, _| Ok(None),
    }
}

/// All models, those that are not here with what is nearest to them.
pub static MODELS: &[Model] = &[
    here(
        &[
            "virtio-blk-pci",
            "virtio-blk",
            "virtio-blk-pci-non-transitional",
            "virtio-blk-pci-transitional",
        ],
        "Storage",
        "a disk on PCI",
        disk,
    ),
    here(
        &[
            "virtio-9p-pci",
            "virtio-9p",
            "virtio-9p-pci-non-transitional",
            "virtio-9p-pci-transitional",
        ],
        "Storage",
        "a shared folder on PCI",
        share,
    ),
    here(
        &[
            "virtio-net-pci",
            "virtio-net",
            "virtio-net-pci-non-transitional",
            "virtio-net-pci-transitional",
        ],
        "Network",
        "a network card on PCI",
        card,
    ),
    here(
        &[
            "virtio-serial-pci",
            "virtio-serial",
            "virtio-serial-pci-non-transitional",
            "virtio-serial-pci-transitional",
        ],
        "Input",
        "nothing of its own: each virtconsole is a device",
        controller,
    ),
    here(
        &["virtconsole"],
        "Input",
        "a virtio console on PCI, hvc0 and so on",
        console,
    ),
    here(
        &[
            "virtio-rng-pci",
            "virtio-rng",
            "virtio-rng-pci-non-transitional",
            "virtio-rng-pci-transitional",
        ],
        "Misc",
        "an entropy device on PCI",
        entropy,
    ),
    here(
        &[
            "virtio-balloon-pci",
            "virtio-balloon",
            "virtio-balloon-pci-non-transitional",
            "virtio-balloon-pci-transitional",
        ],
        "Misc",
        "a balloon on PCI",
        balloon,
    ),
    here(
        &["loader"],
        "Misc",
        "file= and addr= with force-raw=on: a kernel without any header, in place of -kernel",
        loader,
    ),
    not_here(
        &[
            "virtio-blk-device",
            "virtio-net-device",
            "virtio-9p-device",
            "virtio-rng-device",
            "virtio-serial-device",
            "virtio-balloon-device",
        ],
        "No 'virtio-bus' bus found, as in QEMU; write the model's -pci, or `ppckvm run` with bus=mmio",
    ),
    not_here(
        &["virtserialport"],
        "there are no named ports; the nearest is virtconsole, or `ppckvm run --vsock`",
    ),
    not_here(
        &[
            "e1000",
            "e1000e",
            "e1000-82544gc",
            "e1000-82545em",
            "pcnet",
            "tulip",
            "ne2k_pci",
            "rtl8139",
            "i82551",
            "i82557b",
            "i82559a",
            "i82559er",
            "sungem",
            "vmxnet3",
            "usb-net",
        ],
        "there is no such card; the nearest is virtio-net-pci",
    ),
    not_here(
        &[
            "am53c974",
            "dc390",
            "lsi53c810",
            "lsi53c895a",
            "mptsas1068",
            "megasas",
            "megasas-gen2",
            "virtio-scsi-pci",
            "virtio-scsi",
            "pvscsi",
        ],
        "there is no SCSI; the nearest is virtio-blk-pci: -drive file=F,if=virtio",
    ),
    not_here(
        &["scsi-hd", "scsi-cd", "scsi-block", "scsi-generic"],
        "there is no SCSI; the nearest is virtio-blk-pci: -drive file=F,if=virtio",
    ),
    not_here(
        &[
            "nvme",
            "sdhci-pci",
            "sd-card",
            "ide-hd",
            "ide-cd",
            "ide-cf",
            "ahci",
            "ich9-ahci",
            "floppy",
        ],
        DISK_TEXT,
    ),
    not_here(
        &[
            "pci-ohci",
            "piix3-usb-uhci",
            "usb-ehci",
            "nec-usb-xhci",
            "qemu-xhci",
            "usb-storage",
            "usb-kbd",
            "usb-mouse",
            "usb-tablet",
            "usb-hub",
            "usb-host",
        ],
        "there is no USB; disks and cards are virtio-blk-pci and virtio-net-pci",
    ),
    not_here(
        &[
            "sm501",
            "VGA",
            "cirrus-vga",
            "virtio-gpu-pci",
            "bochs-display",
            "ati-vga",
        ],
        "there is no display; write -nographic",
    ),
    not_here(
        &["vhost-vsock-pci"],
        "the nearest is `ppckvm run --vsock cid=N,uds=PATH,bus=pci`",
    ),
    not_here(
        &[
            "pci-bridge",
            "pcie-root-port",
            "ioh3420",
            "pvpanic-pci",
            "pvpanic",
            "edu",
            "ivshmem-plain",
            "ivshmem-doorbell",
            "virtio-mem-pci",
            "virtio-pmem-pci",
            "virtio-crypto-pci",
            "virtio-iommu-pci",
            "vhost-user-fs-pci",
            "vfio-pci",
        ],
        "there is no such device on this board",
    ),
];

const DISK_TEXT: &str =
    "there is no such disk; the nearest is virtio-blk-pci: -drive file=F,if=virtio";

/// Properties of devices that change nothing here: slots are given in order.
const OF_PCI: [&str; 9] = [
    "addr",
    "bus",
    "multifunction",
    "disable-legacy",
    "disable-modern",
    "iommu_platform",
    "ats",
    "romfile",
    "rombar",
];

/// A model by its name.
pub fn model_of(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.names.contains(&name))
}

/// Adds the devices of `-device`, then the drives that bring their own.
pub fn resolve(draft: &mut Draft) {
    for mut part in std::mem::take(&mut draft.devices) {
        let (at, made) = (part.at, make(draft, &mut part));
        if let Some(device) = draft.check(at, made).flatten() {
            draft.spec.devices.push(device);
        }
    }
    for index in 0..draft.drives.len() {
        let part = draft.drives[index].clone();
        let mut properties = part.properties.clone();
        let interface = properties.take("if");
        match interface.as_deref() {
            Some("virtio") => {
                let disk = open(draft, index, None);
                if let Some(disk) = draft.check(part.at, disk) {
                    draft.spec.devices.push(disk.at(Place::PCI));
                }
            }
            None | Some("none") if part.is_used => {}
            None | Some("none") => draft.say(
                part.at,
                Fate::Accepted,
                "no -device has this drive, so the guest does not see it; write if=virtio",
            ),
            Some(other) => draft.refuse(
                part.at,
                format!(
                    "machine type does not support if={other}; the nearest is if=virtio, a disk on PCI"
                ),
            ),
        }
    }
}

fn make(draft: &mut Draft, part: &mut Part) -> Made {
    let Some(model) = model_of(&part.name) else {
        return Err(format!("'{}' is not a valid device model name", part.name));
    };
    if model.fate == Fate::Refused {
        // What it would have taken is not to be complained of as well.
        let drive = part.properties.take("drive").unwrap_or_default();
        if let Some(drive) = draft.drives.iter_mut().find(|part| part.name == drive) {
            drive.is_used = true;
        }
        return Err(format!("{}: {}", part.name, model.text));
    }
    let made = (model.read)(draft, part)?;
    if model.group != "Misc" || part.name != "loader" {
        part.properties.ignore(&OF_PCI);
    }
    part.properties.clone().end()?;
    let text = model.text;
    draft.note(part.at, Fate::Mapped, text);
    Ok(made)
}

fn disk(draft: &mut Draft, part: &mut Part) -> Made {
    let properties = &mut part.properties;
    let drive = properties
        .take("drive")
        .ok_or("drive property not set; write drive=ID")?;
    let serial = properties.take("serial");
    properties.ignore(&[
        "id",
        "bootindex",
        "num-queues",
        "queue-size",
        "iothread",
        "logical_block_size",
        "physical_block_size",
        "write-cache",
        "config-wce",
        "scsi",
        "discard",
        "write-zeroes",
    ]);
    let index = draft.drives.iter().position(|part| part.name == drive);
    let index = index.ok_or_else(|| format!("there is no -drive with id={drive}"))?;
    Ok(Some(open(draft, index, serial)?.at(Place::PCI)))
}

/// The disk that a drive is; each has one device.
fn open(draft: &mut Draft, index: usize, serial: Option<String>) -> Result<Disk, String> {
    let is_snapshot = draft.snapshot;
    let part = &mut draft.drives[index];
    if std::mem::replace(&mut part.is_used, true) {
        return Err(format!(
            "the -drive with id={} has a device already",
            part.name
        ));
    }
    let mut properties = part.properties.clone();
    let file = properties.take("file").filter(|file| !file.is_empty());
    let mut disk = Disk::file(file.ok_or("file= is missing")?);
    if let Some(format) = properties.take("format") {
        let parsed = format.parse().map_err(|_| {
            format!("format={format}: write raw or qcow2; `qemu-img convert` makes one of another")
        })?;
        disk = disk.format(parsed);
    }
    match properties.take("media").as_deref() {
        None | Some("disk") => {}
        Some(media) => return Err(format!("media={media}: write media=disk,readonly=on")),
    }
    let is_overlay = properties.take_switch("snapshot")?.unwrap_or(is_snapshot);
    let is_readonly = properties.take_switch("readonly")?;
    let is_readonly = is_readonly
        .or(properties.take_switch("read-only")?)
        .unwrap_or_default();
    disk = match (is_readonly, is_overlay) {
        (true, _) => disk.readonly(),
        (false, true) => disk.overlay(),
        (false, false) => disk,
    };
    if let Some(serial) = serial {
        disk = disk
            .serial(&serial)
            .map_err(|error| format!("serial={serial}: {error}"))?;
    }
    properties.ignore(&[
        "if",
        "index",
        "bus",
        "unit",
        "cache",
        "aio",
        "discard",
        "detect-zeroes",
        "werror",
        "rerror",
        "copy-on-read",
        "addr",
    ]);
    properties.end()?;
    Ok(disk)
}

fn share(draft: &mut Draft, part: &mut Part) -> Made {
    let id = part
        .properties
        .take("fsdev")
        .ok_or("fsdev property not set; write fsdev=ID")?;
    let tag = part
        .properties
        .take("mount_tag")
        .filter(|tag| !tag.is_empty());
    let tag = tag.ok_or("mount_tag property not set; write mount_tag=TAG")?;
    part.properties.ignore(&["id"]);
    let is = |part: &&mut Part| part.properties.clone().take("id").as_ref() == Some(&id);
    let folder = draft.fsdevs.iter_mut().find(is);
    let folder = folder.ok_or_else(|| format!("there is no -fsdev with id={id}"))?;
    folder.is_used = true;
    let (at, driver) = (folder.at, folder.name.clone());
    let mut properties = folder.properties.clone();
    if driver != "local" {
        return Err(format!("fsdriver {driver} is not there; write local"));
    }
    let path = properties.take("path").ok_or("fsdev: path= is missing")?;
    let readonly = properties.take_switch("readonly")?.unwrap_or_default();
    let model = properties
        .take("security_model")
        .or(properties.take("security-model"));
    properties.ignore(&["id", "writeout", "fmode", "dmode", "multidevs"]);
    properties.end()?;
    if let Some(model @ ("mapped" | "mapped-xattr" | "mapped-file")) = model.as_deref() {
        let text = format!("security_model={model} is as none: owners and modes are the host's");
        draft.say(at, Fate::Accepted, text);
    }
    let share = Share {
        path: path.into(),
        tag,
        readonly,
        setid: false,
    };
    Ok(Some(share.at(Place::PCI)))
}

fn card(draft: &mut Draft, part: &mut Part) -> Made {
    networks::device(draft, part).map(Some)
}

fn controller(_: &mut Draft, part: &mut Part) -> Made {
    part.properties.ignore(&["id", "max_ports", "vectors"]);
    Ok(None)
}

fn console(draft: &mut Draft, part: &mut Part) -> Made {
    let id = part
        .properties
        .take("chardev")
        .ok_or("chardev property not set; write chardev=ID")?;
    part.properties.ignore(&["id", "name", "nr"]);
    let end = ports::chardev(draft, &id)?;
    match end.serial {
        ppckvm::Serial::Stdio => draft.spec.escape = end.escape,
        ppckvm::Serial::Pty => draft.console_labels.push(id),
        _ => {}
    }
    Ok(Some(Device::Console(end.serial).at(Place::PCI)))
}

fn entropy(draft: &mut Draft, part: &mut Part) -> Made {
    part.properties
        .ignore(&["id", "rng", "max-bytes", "period"]);
    draft.spec.rng = Some(Place::PCI);
    Ok(None)
}

fn balloon(_: &mut Draft, part: &mut Part) -> Made {
    part.properties.ignore(&[
        "id",
        "deflate-on-oom",
        "free-page-reporting",
        "guest-stats-polling-interval",
    ]);
    Ok(Some(Device::Balloon.at(Place::PCI)))
}

fn loader(draft: &mut Draft, part: &mut Part) -> Made {
    let properties = &mut part.properties;
    let number = |text: String| {
        let digits = text
            .strip_prefix("0x")
            .map(|digits| u32::from_str_radix(digits, 16));
        let number = digits.unwrap_or_else(|| text.parse());
        number.map_err(|error| format!("`{text}`: {error}"))
    };
    let address = properties.take("addr").map(number).transpose()?;
    let raw = properties.take_switch("force-raw")?.unwrap_or_default();
    let file = properties.take("file");
    properties.ignore(&["cpu-num"]);
    if properties.has("data") {
        return Err(
            "values cannot be put into memory before the start; put them into a file, and \
                    write loader,file=FILE,addr=ADDRESS,force-raw=on"
                .into(),
        );
    }
    let boot = &mut draft.spec.boot;
    let Some(file) = file else {
        return match address == boot.kernel_options.load_address {
            true => Ok(None),
            false => Err("the guest starts at the address of loader,file=FILE,addr=ADDRESS".into()),
        };
    };
    if boot.kernel.is_some() {
        return Err("there is a kernel already, and one file can be loaded; leave one out".into());
    }
    boot.kernel = Some(Image::File(file.into()));
    if raw {
        boot.kernel_options.load_address = Some(address.unwrap_or(0));
    }
    Ok(None)
}
