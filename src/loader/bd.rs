//! U-Boot's board information, `bd_t`, as it was for a 440 before U-Boot knew device trees: 128
//! bytes, big-endian.

use ppckvm_fdt::board::Board;

/// Size in bytes.
const SIZE: usize = 128;

/// The facts that the firmware of a real board would tell a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Firmware<'a> {
    /// The board.
    pub board: &'a Board,
    /// The command line; `None` leaves the kernel's own.
    pub bootargs: Option<&'a str>,
}

/// Offsets of the fields, by U-Boot's names without `bi_`.
mod field {
    pub const MEMSIZE: usize = 4;
    pub const FLASHSTART: usize = 8;
    pub const FLASHSIZE: usize = 12;
    pub const ENETADDR: usize = 36;
    pub const ETHSPEED: usize = 42;
    pub const INTFREQ: usize = 44;
    pub const BUSFREQ: usize = 48;
    pub const BAUDRATE: usize = 52;
    pub const PROCFREQ: usize = 92;
    pub const PLB_BUSFREQ: usize = 96;
    pub const PCI_BUSFREQ: usize = 100;
    pub const ENET1ADDR: usize = 110;
    pub const OPBFREQ: usize = 116;
}

/// The board information of a machine with `ram` bytes of memory.
pub(super) fn board_info(firmware: &Firmware<'_>, ram: u32) -> Vec<u8> {
    let board = firmware.board;
    let clocks = &board.clocks;
    let mut info = vec![0; SIZE];
    let mut put = |offset: usize, bytes: &[u8]| {
        info[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    for (offset, word) in [
        (field::MEMSIZE, ram),
        (field::FLASHSTART, board.boot_flash.base),
        (field::FLASHSIZE, board.boot_flash.size),
        (field::INTFREQ, clocks.cpu_hz),
        (field::BUSFREQ, clocks.plb_hz),
        (field::BAUDRATE, board.uarts[0].current_speed),
        (field::PROCFREQ, clocks.cpu_hz),
        (field::PLB_BUSFREQ, clocks.plb_hz),
        (field::PCI_BUSFREQ, clocks.sysclk_hz),
        (field::OPBFREQ, clocks.opb_hz),
    ] {
        put(offset, &word.to_be_bytes());
    }
    put(field::ENETADDR, &board.emacs[0].mac);
    put(field::ENET1ADDR, &board.emacs[1].mac);
    put(field::ETHSPEED, &100u16.to_be_bytes());
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_wrapper_finds_what_it_reads() {
        let board = &Board::bamboo();
        let firmware = Firmware {
            board,
            bootargs: None,
        };
        let info = board_info(&firmware, 64 << 20);
        assert_eq!(info.len(), 128);
        assert_eq!(
            info[..8],
            [0, 0, 0, 0, 4, 0, 0, 0],
            "memory from 0 to 64 MiB"
        );
        assert_eq!(info[36..42], board.emacs[0].mac);
        assert_eq!(info[110..116], board.emacs[1].mac);
        assert_eq!(info[44..48], 533_333_328u32.to_be_bytes());
    }
}
