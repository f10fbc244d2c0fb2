//! What a kernel's configuration must have for the virtio devices of a machine. A build directory's
//! `.config` is checked for it; without an option, a device is there and nobody uses it.

use super::Attachment;
use crate::host::place::Bus;
use crate::loader::Need;

const BUS_MMIO: Need = Need {
    names: &["CONFIG_VIRTIO_MMIO"],
    why: "the kernel will not find virtio devices with bus=mmio",
    module: true,
};
const BUS_PCI: [Need; 2] = [
    Need {
        names: &["CONFIG_PCI"],
        why: "the kernel will not find devices with bus=pci",
        module: false,
    },
    Need {
        names: &["CONFIG_VIRTIO_PCI"],
        why: "the kernel will not find virtio devices with bus=pci",
        module: true,
    },
];

/// What messages call a device, but for a number or a tag after it, and what it needs.
const DEVICES: [(&str, &[Need]); 6] = [
    (
        "disk",
        &[Need {
            names: &["CONFIG_VIRTIO_BLK"],
            why: "the guest will not have the disks",
            module: true,
        }],
    ),
    (
        "net",
        &[Need {
            names: &["CONFIG_VIRTIO_NET"],
            why: "the guest will not have the network interfaces",
            module: true,
        }],
    ),
    (
        "console",
        &[Need {
            names: &["CONFIG_VIRTIO_CONSOLE"],
            why: "the guest will not have the consoles hvc0 and so on",
            module: true,
        }],
    ),
    (
        "share",
        &[
            Need {
                names: &["CONFIG_NET_9P_VIRTIO"],
                why: "the guest will not find the shared folders",
                module: true,
            },
            Need {
                names: &["CONFIG_9P_FS"],
                why: "the guest cannot mount the shared folders",
                module: true,
            },
        ],
    ),
    (
        "vsock",
        &[Need {
            names: &["CONFIG_VIRTIO_VSOCKETS"],
            why: "the guest will not have the socket device",
            module: true,
        }],
    ),
    (
        "balloon",
        &[Need {
            names: &["CONFIG_VIRTIO_BALLOON"],
            why: "the guest will not give memory back",
            module: true,
        }],
    ),
];

/// What the devices that the user attached need of the kernel.
pub(crate) fn of(attached: &[Attachment]) -> Vec<Need> {
    let on = |bus| attached.iter().any(|device| device.place.bus == bus);
    let mut needs = Vec::new();
    needs.extend(on(Bus::Mmio).then_some(BUS_MMIO));
    needs.extend(on(Bus::Pci).then_some(BUS_PCI).into_iter().flatten());
    for (kind, of_kind) in DEVICES {
        let is_kind = |name: &str| {
            let rest = name.strip_prefix(kind);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
        };
        if attached.iter().any(|device| is_kind(&device.name)) {
            needs.extend(of_kind);
        }
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::place::Place;
    use crate::host::serial::Console;
    use crate::machine::Machine;

    #[test]
    fn devices_need_their_drivers_and_their_bus() {
        assert_eq!(of(&[]), []);
        let names = |place| {
            let machine = Machine::new().balloon(place);
            let machine = machine.virtio_console(Console::memory(), place);
            let needs = of(&machine.additions.virtio);
            let names = needs.iter().map(|need| need.names[0]);
            names.collect::<Vec<_>>()
        };
        let devices = ["CONFIG_VIRTIO_CONSOLE", "CONFIG_VIRTIO_BALLOON"];
        let mmio = [&["CONFIG_VIRTIO_MMIO"][..], &devices].concat();
        assert_eq!(names(Place::default()), mmio);
        let pci = [&["CONFIG_PCI", "CONFIG_VIRTIO_PCI"][..], &devices].concat();
        assert_eq!(
            names(Place {
                bus: Bus::Pci,
                ..Place::default()
            }),
            pci
        );
    }
}
