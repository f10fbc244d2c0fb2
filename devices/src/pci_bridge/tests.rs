//! The bridge as Linux sets it up, and functions behind it.

use super::*;

fn bridge() -> (SharedBridge, ConfigPort, LocalRegs) {
    let shared = Arc::new(Mutex::new(Bridge::new()));
    (
        shared.clone(),
        ConfigPort(shared.clone()),
        LocalRegs(shared),
    )
}

/// A configuration read as Linux's indirect method does it, of 1, 2 or 4 bytes.
fn linux_read(port: &mut ConfigPort, bus: u8, devfn: u8, offset: u8, width: usize) -> u32 {
    let address =
        0x8000_0000 | (u32::from(bus) << 16) | (u32::from(devfn) << 8) | u32::from(offset & 0xFC);
    port.write(CFGADDR, &address.to_le_bytes()).unwrap();
    let mut data = [0; 4];
    let lane = u32::from(offset & 3);
    port.read(CFGDATA + lane, &mut data[..width]).unwrap();
    u32::from_le_bytes(data)
}

fn linux_write(port: &mut ConfigPort, devfn: u8, offset: u8, value: &[u8]) {
    let address = 0x8000_0000 | (u32::from(devfn) << 8) | u32::from(offset & 0xFC);
    port.write(CFGADDR, &address.to_le_bytes()).unwrap();
    port.write(CFGDATA + u32::from(offset & 3), value).unwrap();
}

fn local_read(regs: &mut LocalRegs, offset: u32) -> u32 {
    let mut data = [0; 4];
    regs.read(offset, &mut data).unwrap();
    u32::from_le_bytes(data)
}

#[test]
fn linux_finds_the_bridge_and_an_empty_bus() {
    let (_, mut port, _) = bridge();
    for devfn in 1..=255 {
        assert_eq!(linux_read(&mut port, 0, devfn, 0, 4), 0xFFFF_FFFF);
        assert_eq!(linux_read(&mut port, 0, devfn, 0, 2), 0x0000_FFFF);
        assert_eq!(linux_read(&mut port, 0, devfn, 0x0E, 1), 0x0000_00FF);
    }
    assert_eq!(linux_read(&mut port, 0, 0, 0x00, 4), 0x027F_1014);
    assert_eq!(linux_read(&mut port, 0, 0, 0x02, 2), 0x027F);
    assert_eq!(linux_read(&mut port, 0, 0, 0x0A, 2), 0x0680);
    assert_eq!(linux_read(&mut port, 0, 0, 0x0B, 1), 0x06);
    assert_eq!(linux_read(&mut port, 0, 0, 0x0E, 1), 0x00, "type 0 header");
    assert_eq!(
        linux_read(&mut port, 1, 0, 0x00, 4),
        0xFFFF_FFFF,
        "no bus 1"
    );
}

#[test]
fn a_disabled_config_address_reads_ones_and_writes_nothing() {
    let (shared, mut port, _) = bridge();
    port.write(CFGADDR, &4u32.to_le_bytes()).unwrap();
    port.write(CFGDATA, &[7, 0]).unwrap();
    let mut data = [0; 4];
    port.read(CFGDATA, &mut data).unwrap();
    assert_eq!(data, [0xFF; 4]);
    assert_eq!(lock(&shared).state().config.command(), 0);
}

#[test]
fn the_config_address_has_byte_lanes_too() {
    let (_, mut port, _) = bridge();
    port.write(CFGADDR + 3, &[0xFF]).unwrap();
    port.write(CFGADDR, &[0x08]).unwrap();
    let mut data = [0; 8];
    port.read(CFGADDR, &mut data).unwrap();
    assert_eq!(data, [0x08, 0, 0, 0x80, 0x00, 0x00, 0x80, 0x06]);
}

#[test]
fn linux_sets_the_bridge_up() {
    let (shared, mut port, mut regs) = bridge();
    // Everything off first.
    for offset in [0x04, 0x14, 0x24, 0x30, 0x38] {
        regs.write(offset, &[0; 4]).unwrap();
    }
    // 512 MiB of PCI memory at 0xA0000000.
    for (offset, value) in [
        (0x00, 0xA000_0000u32),
        (0x08, 0xA000_0000),
        (0x0C, 0),
        (0x04, 0xE000_0001),
        (0x34, 0),
        (0x30, 0x8000_0001),
    ] {
        regs.write(offset, &value.to_le_bytes()).unwrap();
        assert_eq!(local_read(&mut regs, offset), value);
    }
    linux_write(&mut port, 0, 0x14, &[0; 4]);
    linux_write(&mut port, 0, 0x18, &[0; 4]);
    linux_write(&mut port, 0, 0x04, &[6, 0]);
    assert_eq!(linux_read(&mut port, 0, 0, 0x04, 2), 6);

    let bridge = lock(&shared);
    assert_eq!(bridge.outbound(0xA000_0000), Some(0xA000_0000));
    assert_eq!(bridge.outbound(0xBFFF_FFFF), Some(0xBFFF_FFFF));
    assert_eq!(bridge.outbound(0xC000_0000), None);
    assert_eq!(bridge.inbound(0x7FFF_FFFF), Some(0x7FFF_FFFF));
    assert_eq!(bridge.inbound(0x8000_0000), None);
}

#[test]
fn windows_translate_and_the_bar_shows_the_windows_size() {
    let (shared, mut port, mut regs) = bridge();
    for (offset, value) in [
        (0x10, 0x9000_0000u32),
        (0x18, 0x0010_0000),
        (0x1C, 1),
        (0x14, 0xFFF0_0003),
        (0x3C, 0x0200_0000),
        (0x38, 0xFF00_0001),
    ] {
        regs.write(offset, &value.to_le_bytes()).unwrap();
    }
    assert_eq!(lock(&shared).outbound(0x9000_1234), Some(0x1_0010_1234));

    linux_write(&mut port, 0, 0x18, &[0xFF; 4]);
    assert_eq!(linux_read(&mut port, 0, 0, 0x18, 4), 0xFF00_0000);
    linux_write(&mut port, 0, 0x18, &0x4000_0000u32.to_le_bytes());
    assert_eq!(lock(&shared).inbound(0x4000_0010), None, "memory is off");
    linux_write(&mut port, 0, 0x04, &[2]);
    assert_eq!(lock(&shared).inbound(0x4000_0010), Some(0x0200_0010));
    regs.write(0x38, &[0]).unwrap();
    assert_eq!(linux_read(&mut port, 0, 0, 0x18, 4), 0, "no window, no BAR");
}

#[test]
fn local_registers_are_little_endian_and_keep_the_bits_that_exist() {
    let (_, mut port, mut regs) = bridge();
    for offset in (0x00..0x40).step_by(4) {
        regs.write(offset, &[0xFF; 4]).unwrap();
        let expected = match offset {
            0x0C | 0x1C | 0x2C => 0xFFFF_FFFF,
            0x04 | 0x14 | 0x24 => 0xFFFF_F003,
            0x30 | 0x38 => 0xFFFF_F001,
            _ => 0xFFFF_F000,
        };
        assert_eq!(local_read(&mut regs, offset), expected, "{offset:#x}");
    }
    regs.write(0x00, &[0, 0, 0, 0xA0]).unwrap();
    assert_eq!(local_read(&mut regs, 0), 0xA000_0000);
    regs.write(0x01, &[0x50]).unwrap();
    assert_eq!(local_read(&mut regs, 0), 0xA000_5000);
    assert_eq!(
        regs.read(0x40, &mut [0; 4]),
        Err(AccessError::NoRegister { offset: 0x40 })
    );
    port.reset();
    assert_eq!(local_read(&mut regs, 0), 0);
}

/// A card with 4 KiB of memory behind BAR0 and 16 I/O ports behind BAR1, both readable and
/// writable.
struct Card {
    config: ConfigSpace,
    memory: Vec<u8>,
    ports: Vec<u8>,
    /// What it would reach as a bus master, asked on each write to its memory.
    master: Option<BusMaster>,
    reached: Option<u32>,
}

impl Card {
    fn new() -> Self {
        let mut config = ConfigSpace::new(0x1AF4, 0x1042, 0x0100, 1);
        config.set_writable(regs::BAR0, 0xFFFF_F000);
        config.set_writable(regs::BAR1, 0xFFFF_FFF0);
        config.set(regs::BAR1, 1);
        Card {
            config,
            memory: vec![0; 0x1000],
            ports: vec![0; 16],
            master: None,
            reached: None,
        }
    }

    fn range(&self, bar: u8, enable: u16, address: u64, length: usize) -> Option<(usize, usize)> {
        let base = u64::from(self.config.get(bar) & !0xF);
        let offset = usize::try_from(address.checked_sub(base)?).ok()?;
        (self.config.command() & enable != 0).then_some((offset, offset + length))
    }
}

fn copy_out(cells: &[u8], range: Option<(usize, usize)>, data: &mut [u8]) -> bool {
    let cells = range.and_then(|(from, to)| cells.get(from..to));
    cells.map(|cells| data.copy_from_slice(cells)).is_some()
}

fn copy_in(cells: &mut [u8], range: Option<(usize, usize)>, data: &[u8]) -> bool {
    let cells = range.and_then(|(from, to)| cells.get_mut(from..to));
    cells.map(|cells| cells.copy_from_slice(data)).is_some()
}

impl PciFunction for Card {
    fn config_read(&mut self, register: u8) -> u32 {
        self.config.get(register)
    }

    fn config_write(&mut self, register: u8, value: u32, mask: u32) {
        self.config.write(register, value, mask);
    }

    fn memory_read(&mut self, address: u64, data: &mut [u8]) -> bool {
        let range = self.range(regs::BAR0, regs::COMMAND_MEMORY, address, data.len());
        copy_out(&self.memory, range, data)
    }

    fn memory_write(&mut self, address: u64, data: &[u8]) -> bool {
        let range = self.range(regs::BAR0, regs::COMMAND_MEMORY, address, data.len());
        if let Some(master) = &self.master {
            self.reached = master.translate(0x1000, 0x1000);
        }
        copy_in(&mut self.memory, range, data)
    }

    fn io_read(&mut self, port: u32, data: &mut [u8]) -> bool {
        let range = self.range(regs::BAR1, regs::COMMAND_IO, port.into(), data.len());
        copy_out(&self.ports, range, data)
    }

    fn io_write(&mut self, port: u32, data: &[u8]) -> bool {
        let range = self.range(regs::BAR1, regs::COMMAND_IO, port.into(), data.len());
        copy_in(&mut self.ports, range, data)
    }

    fn reset(&mut self) {
        self.config.write(regs::COMMAND, 0, u32::MAX);
    }
}

#[test]
fn a_function_in_a_slot_answers_there() {
    let (shared, mut port, _) = bridge();
    let card = || Arc::new(Mutex::new(Card::new()));
    lock(&shared).attach(1 << 3, card()).unwrap();
    assert_eq!(
        lock(&shared)
            .attach(1 << 3, card())
            .unwrap_err()
            .to_string(),
        "PCI device 1 function 0 is there already; take another slot"
    );
    assert_eq!(lock(&shared).attach(0, card()), Err(SlotTaken { devfn: 0 }));
    assert_eq!(linux_read(&mut port, 0, 8, 0, 4), 0x1042_1AF4);
    linux_write(&mut port, 8, 4, &[7, 0]);
    assert_eq!(linux_read(&mut port, 0, 8, 4, 2), 7);
    assert_eq!(linux_read(&mut port, 0, 9, 0, 4), 0xFFFF_FFFF);
    port.reset();
    assert_eq!(linux_read(&mut port, 0, 8, 4, 2), 0);
}

/// Puts a value into a local register.
fn local_write(regs: &mut LocalRegs, offset: u32, value: u32) {
    regs.write(offset, &value.to_le_bytes()).unwrap();
}

/// The received master abort bit, which is cleared.
fn aborted(port: &mut ConfigPort) -> bool {
    let status = linux_read(port, 0, 0, 0x06, 2);
    linux_write(port, 0, 0x06, &0xF900u16.to_le_bytes());
    status & 0x2000 != 0
}

#[test]
fn memory_behind_a_window_answers_at_its_translated_address() {
    let (shared, mut port, mut regs) = bridge();
    let card = Arc::new(Mutex::new(Card::new()));
    lock(&shared).attach(2 << 3, card.clone()).unwrap();
    let mut memory = MemoryWindow::new(shared.clone(), 0xA000_0000);
    let mut data = [0; 4];
    assert_eq!(
        memory.read(0x1000, &mut data),
        Err(AccessError::Unclaimed),
        "no window"
    );
    // 1 MiB at 0xA0000000 leads to PCI address 0x80000000.
    for (offset, value) in [
        (0x00, 0xA000_0000),
        (0x08, 0x8000_0000),
        (0x04, 0xFFF0_0001),
    ] {
        local_write(&mut regs, offset, value);
    }
    linux_write(&mut port, 16, 0x10, &0x8000_1000u32.to_le_bytes());
    memory.read(0x1000, &mut data).unwrap();
    assert_eq!(data, [0xFF; 4], "the card's memory is off");
    assert!(aborted(&mut port));
    linux_write(&mut port, 16, 0x04, &[3, 0]);
    memory.write(0x1FFC, &[1, 2, 3, 4]).unwrap();
    memory.read(0x1FFC, &mut data).unwrap();
    assert_eq!(data, [1, 2, 3, 4], "bytes keep their order");
    assert_eq!(lock(&card).memory[0xFFC..], [1, 2, 3, 4]);
    assert!(!aborted(&mut port));
    memory.write(0x2000, &[1]).unwrap();
    assert!(aborted(&mut port), "behind the card");
    assert_eq!(
        memory.write(0x000F_FFFE, &data),
        Err(AccessError::Unclaimed),
        "half of it is outside the window"
    );
    assert_eq!(
        memory.read(0x0010_0000, &mut data),
        Err(AccessError::Unclaimed)
    );
}

#[test]
fn ports_answer_at_their_numbers_and_an_empty_bus_reads_ones() {
    let (shared, mut port, _) = bridge();
    let mut io = IoWindow(shared.clone());
    let mut data = [0; 2];
    io.read(0x1004, &mut data).unwrap();
    assert_eq!(data, [0xFF; 2]);
    assert!(aborted(&mut port));
    lock(&shared)
        .attach(8, Arc::new(Mutex::new(Card::new())))
        .unwrap();
    linux_write(&mut port, 8, 0x14, &0x1000u32.to_le_bytes());
    assert_eq!(linux_read(&mut port, 0, 8, 0x14, 4), 0x1001);
    linux_write(&mut port, 8, 0x04, &[1, 0]);
    io.write(0x1004, &[5, 6]).unwrap();
    io.read(0x1004, &mut data).unwrap();
    assert_eq!(data, [5, 6]);
    io.write(0x1010, &data).unwrap();
    assert!(aborted(&mut port));
}

#[test]
fn a_bus_master_is_translated_while_it_is_being_called() {
    let (shared, mut port, mut regs) = bridge();
    let card = Arc::new(Mutex::new(Card::new()));
    lock(&card).master = Some(BusMaster::new(&shared));
    lock(&shared).attach(8, card.clone()).unwrap();
    linux_write(&mut port, 0, 0x04, &[6, 0]);
    linux_write(&mut port, 8, 0x04, &[6, 0]);
    // PCI memory 0 to 0x1FFF leads to 0x400000; PCI memory 0 is at 0xA0000000.
    for (offset, value) in [
        (0x30, 0xFFFF_E001),
        (0x34, 0x0040_0000),
        (0x00, 0xA000_0000),
        (0x04, 0xFFF0_0001),
    ] {
        local_write(&mut regs, offset, value);
    }
    let mut memory = MemoryWindow::new(shared.clone(), 0xA000_0000);
    memory.write(0, &[1]).unwrap();
    assert_eq!(lock(&card).reached, Some(0x0040_1000));
    let master = BusMaster::new(&shared);
    assert_eq!(master.translate(0x1000, 0x1001), None, "too long");
    assert_eq!(master.translate(0, 0), None);
    assert_eq!(master.translate(u32::MAX, 2), None);
}

#[test]
fn nobody_acknowledges_an_interrupt() {
    let mut data = [0; 4];
    Ack.read(0, &mut data).unwrap();
    assert_eq!(data, [0xFF; 4]);
    assert_eq!(Ack.write(0, &data), Ok(()));
}
