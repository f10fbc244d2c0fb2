//! What of the board is free for devices of an embedder's, and whose the rest is.

use std::ops::RangeInclusive;

use crate::board::{Board, Controller, Interrupt, MmioRange};

/// Inputs of one controller that nothing on the board is wired to.
type Inputs = (Controller, RangeInclusive<u8>);

impl Board {
    /// Ranges of guest physical addresses where nothing answers, for registers of an embedder's
    /// devices. All are inside what the OPB bridge decodes, so that nodes under `/plb/opb` reach
    /// them, and none is RAM of any size that the board can have.
    ///
    /// The first is a small one beside the virtio slots, the second is large: the part of the
    /// external bus on which the real board has neither its NVRAM nor its NAND flash.
    pub const FREE_MMIO: [MmioRange; 2] = [
        MmioRange::new(0xEF71_0000, 0x000E_E000),
        MmioRange::new(0x8100_0000, 0x0F00_0000),
    ];

    /// Interrupt inputs that nothing on the board is wired to.
    ///
    /// The inputs of virtio slots without a device are free as well, as long as no device is
    /// attached there.
    pub const FREE_INPUTS: [Inputs; 8] = [
        (Controller::Uic0, 5..=6),
        (Controller::Uic0, 9..=9),
        (Controller::Uic0, 12..=13),
        (Controller::Uic0, 29..=29),
        (Controller::Uic1, 3..=4),
        (Controller::Uic1, 6..=6),
        (Controller::Uic1, 10..=22),
        (Controller::Uic1, 24..=27),
    ];

    /// Whose a controller's input is, or none when it is free.
    ///
    /// Inputs that the chip uses for units that this board's machine lacks have an owner too, so
    /// that a kernel that knows the chip is not surprised.
    pub fn owner_of_interrupt(&self, controller: Controller, input: u8) -> Option<&'static str> {
        let here = (controller, input);
        let is = |wire: &Interrupt| (wire.controller, wire.input) == here;
        let mal = &self.mal0;
        let [emac0, emac1] = &self.emacs;
        let [uart0, uart1, uart2, uart3] = &self.uarts;
        let [iic0, iic1] = &self.iic;
        let units: [(&'static str, &[Interrupt]); 13] = [
            ("uart0", &[uart0.interrupt]),
            ("uart1", &[uart1.interrupt]),
            ("uart2", &[uart2.interrupt]),
            ("uart3", &[uart3.interrupt]),
            ("iic0", &[iic0.interrupt]),
            ("iic1", &[iic1.interrupt]),
            ("spi", &[self.spi.interrupt]),
            ("ebc0", &[self.ebc_interrupt]),
            ("opb", &[self.opb_interrupt]),
            (
                "mal0",
                &[mal.txeob, mal.rxeob, mal.serr, mal.txde, mal.rxde],
            ),
            ("emac0", &[emac0.interrupt, emac0.wake]),
            ("emac1", &[emac1.interrupt, emac1.wake]),
            ("usb ohci", &self.usb_ohci_interrupts),
        ];
        let owner = units.iter().find(|(_, wires)| wires.iter().any(is));
        if let Some((owner, _)) = owner {
            return Some(owner);
        }
        let mut virtio = (0..self.virtio.count).filter_map(|slot| self.virtio.slot(slot));
        if virtio.any(|slot| is(&slot.interrupt)) {
            return Some("a virtio slot");
        }
        if self.pci.slots.iter().any(|slot| is(&slot.interrupt)) {
            return Some("a pci slot");
        }
        if self.uic1.cascade.iter().flatten().any(is) {
            return Some("uic1");
        }
        let unit = OF_THE_CHIP.iter().find(|(wire, _)| *wire == here);
        unit.map(|(_, unit)| *unit)
    }
}

/// Inputs of units that the machine lacks: the memory controller's ECC errors, where QEMU has them,
/// and the USB device controller.
const OF_THE_CHIP: [((Controller, u8), &str); 2] = [
    ((Controller::Uic0, 14), "sdram0"),
    ((Controller::Uic1, 23), "usb device"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_windows_overlap_nothing_of_the_board_and_no_ram() {
        let board = Board::bamboo();
        for (index, free) in Board::FREE_MMIO.iter().enumerate() {
            for (name, mmio) in board.mmio_ranges() {
                assert!(!free.overlaps(mmio), "{free:x?} and {name}");
            }
            assert!(free.base >= board.max_memory);
            assert!(free.base >= board.opb.base && free.last() <= board.opb.last());
            assert!(
                Board::FREE_MMIO[index + 1..]
                    .iter()
                    .all(|other| !free.overlaps(*other))
            );
        }
    }

    #[test]
    fn every_input_is_free_or_has_an_owner() {
        let board = Board::bamboo();
        for controller in [Controller::Uic0, Controller::Uic1] {
            for input in 0..32 {
                let listed = Board::FREE_INPUTS
                    .iter()
                    .any(|(of, inputs)| *of == controller && inputs.contains(&input));
                let owner = board.owner_of_interrupt(controller, input);
                assert_eq!(listed, owner.is_none(), "{controller:?} {input}: {owner:?}");
            }
        }
    }

    #[test]
    fn owners_are_named() {
        let board = Board::bamboo();
        for (controller, input, owner) in [
            (Controller::Uic0, 0, Some("uart0")),
            (Controller::Uic0, 4, Some("uart3")),
            (Controller::Uic0, 15, Some("a virtio slot")),
            (Controller::Uic0, 25, Some("a pci slot")),
            (Controller::Uic0, 30, Some("uic1")),
            (Controller::Uic1, 2, Some("mal0")),
            (Controller::Uic1, 31, Some("emac1")),
            (Controller::Uic1, 3, None),
        ] {
            assert_eq!(board.owner_of_interrupt(controller, input), owner);
        }
    }
}
