//! What a kernel's configuration must have for the virtio devices of a machine. A build directory's
//! `.config` is checked for it; without an option, a device is there and nobody uses it.

use crate::loader::Need;
use crate::machine::spec::Spec;
use crate::machine::spec::device::Device;
use crate::machine::spec::place::Bus;

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

/// What a device needs of the kernel, besides its bus.
fn of_device(device: &Device) -> &'static [Need] {
    match device {
        Device::Disk(_) => &[Need {
            names: &["CONFIG_VIRTIO_BLK"],
            why: "the guest will not have the disks",
            module: true,
        }],
        Device::Net(_) => &[Need {
            names: &["CONFIG_VIRTIO_NET"],
            why: "the guest will not have the network interfaces",
            module: true,
        }],
        Device::Console(_) => &[Need {
            names: &["CONFIG_VIRTIO_CONSOLE"],
            why: "the guest will not have the consoles hvc0 and so on",
            module: true,
        }],
        Device::Share(_) => &[
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
        Device::Vsock(_) => &[Need {
            names: &["CONFIG_VIRTIO_VSOCKETS"],
            why: "the guest will not have the socket device",
            module: true,
        }],
        Device::Balloon => &[Need {
            names: &["CONFIG_VIRTIO_BALLOON"],
            why: "the guest will not give memory back",
            module: true,
        }],
    }
}

/// What the devices that the user attached need of the kernel, each need once.
pub(crate) fn of(spec: &Spec) -> Vec<Need> {
    let on = |bus| spec.devices.iter().any(|device| device.place.bus == bus);
    let mut needs = Vec::new();
    needs.extend(on(Bus::Mmio).then_some(BUS_MMIO));
    needs.extend(on(Bus::Pci).then_some(BUS_PCI).into_iter().flatten());
    for device in &spec.devices {
        for need in of_device(&device.device) {
            if !needs.contains(need) {
                needs.push(*need);
            }
        }
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::serial::Serial;
    use crate::machine::spec::place::Place;

    #[test]
    fn devices_need_their_drivers_and_their_bus() {
        assert_eq!(of(&Spec::default()), []);
        let names = |place| {
            let console = || Device::Console(Serial::Null).at(place);
            let spec = Spec {
                devices: vec![console(), console(), Device::Balloon.at(place)],
                ..Spec::default()
            };
            let needs = of(&spec).into_iter().map(|need| need.names[0]);
            needs.collect::<Vec<_>>()
        };
        let devices = ["CONFIG_VIRTIO_CONSOLE", "CONFIG_VIRTIO_BALLOON"];
        let mmio = [&["CONFIG_VIRTIO_MMIO"][..], &devices].concat();
        assert_eq!(names(Place::MMIO), mmio);
        let pci = [&["CONFIG_PCI", "CONFIG_VIRTIO_PCI"][..], &devices].concat();
        assert_eq!(names(Place::PCI), pci);
    }
}
