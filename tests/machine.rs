//! The library, from building a machine to its end, with guests of a few instructions.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ppckvm::testing::PATIENCE;
use ppckvm::virtio_device::{Activation, ByteOrder, VirtioDevice};
use ppckvm::vm_memory::{Bytes, GuestAddress};
use ppckvm::{
    Access, AccessError, Board, BuildError, Bus, Clock, DcrDevice, GuestMemory, Interrupt, IrqLine,
    Machine, MemorySize, MmioDevice, MmioRange, OnReset, Outcome, Place, Reached, ResetKind, Stuck,
    Tree, Trigger, Until, Vm, device_node,
};
use support::asm::{Asm, UART0, UIC0, echo, spr};

/// Where the embedder's device is.
const DEVICE: u32 = 0xD000_0000;

fn small() -> Machine {
    Machine::new().memory(MemorySize::from_bytes(4 << 20))
}

fn vm(program: Asm) -> Vm {
    small().program(0, program.bytes()).build().unwrap()
}

fn until(vm: &mut Vm, text: &str) {
    let reached = vm.run_until(Until::text(text).within(PATIENCE));
    assert_eq!(
        reached,
        Reached::Text,
        "no {text:?} in {:?}",
        vm.output_text()
    );
}

/// A register that counts resets and says what was stored.
#[derive(Default)]
struct Register {
    value: u32,
    stores: Vec<(u32, Vec<u8>)>,
    resets: usize,
}

impl MmioDevice for Register {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        let bytes = self.value.to_be_bytes();
        for (at, byte) in data.iter_mut().enumerate() {
            let register = bytes.get(offset as usize + at);
            *byte = *register.ok_or(AccessError::NoRegister { offset })?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        self.stores.push((offset, data.to_vec()));
        Ok(())
    }

    fn reset(&mut self) {
        self.resets += 1;
    }
}

impl DcrDevice for Register {
    fn read(&mut self, offset: u32) -> Result<u32, AccessError> {
        Ok(self.value + offset)
    }

    fn write(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        self.stores.push((offset, value.to_be_bytes().to_vec()));
        Ok(())
    }
}

#[test]
fn a_guest_prints_and_resets() {
    let mut vm = vm(Asm::new().print("hello\n").reset());
    assert_eq!(vm.run(), Outcome::Reset(ResetKind::System));
    assert_eq!(vm.output(), b"hello\n");
    // The end is final.
    assert_eq!(vm.run(), Outcome::Reset(ResetKind::System));
    assert_eq!(vm.output(), b"hello\n");
}

#[test]
fn a_guest_powers_off() {
    let outcome = vm(Asm::new().power_off()).run();
    assert_eq!(outcome, Outcome::PoweredOff);
    assert_eq!(outcome.exit_status(), 0);
}

#[test]
fn interrupts_without_end_are_an_outcome() {
    // The first word is illegal, and so is the one at its vector, which is the same.
    let outcome = vm(Asm::new().word(0)).run();
    assert!(
        matches!(
            outcome,
            Outcome::CannotGoOn {
                reason: Stuck::EndlessInterrupts,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(outcome.exit_status(), 33);
}

#[test]
fn a_watchdog_that_nobody_feeds_resets() {
    // TCR: the shortest period, reset the system.
    let program = Asm::new().li(3, 0x3000_0000).mtspr(spr::TCR, 3).spin();
    let mut vm = small()
        .program(0, program.bytes())
        .clock(Clock::Virtual)
        .build()
        .unwrap();
    let outcome = vm.run();
    assert_eq!(outcome, Outcome::WatchdogReset(ResetKind::System));
    assert_eq!(outcome.exit_status(), 36);
}

#[test]
fn an_embedders_mmio_device_is_loaded_and_stored() {
    let register = Arc::new(Mutex::new(Register {
        value: 0x1234_5678,
        ..Register::default()
    }));
    let program = Asm::new()
        .li(3, DEVICE)
        .lwz(4, 3, 0)
        .addi(4, 4, 1)
        .stw(4, 3, 4)
        .lbz(5, 3, 1)
        .stb(5, 3, 9)
        .reset();
    let device = register.clone();
    let mut vm = small()
        .program(0, program.bytes())
        .mmio_device(DEVICE, 16, "register", None, move |_| Box::new(device))
        .build()
        .unwrap();
    assert_eq!(vm.run(), Outcome::Reset(ResetKind::System));
    let stores = &register.lock().unwrap().stores;
    assert_eq!(
        *stores,
        [(4, vec![0x12, 0x34, 0x56, 0x79]), (9, vec![0x34])]
    );
}

/// Copies the guest word whose address is stored to it into the word after that.
struct Copier(GuestMemory);

impl MmioDevice for Copier {
    fn read(&mut self, _: u32, data: &mut [u8]) -> Result<(), AccessError> {
        data.fill(0);
        Ok(())
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        let address = data.try_into().map(u32::from_be_bytes);
        let address = address.map_err(|_| AccessError::NoRegister { offset })?;
        let (from, to) = (u64::from(address), u64::from(address) + 4);
        let word: [u8; 4] = self.0.read_obj(GuestAddress(from)).unwrap();
        self.0.write_obj(word, GuestAddress(to)).unwrap();
        Ok(())
    }
}

#[test]
fn an_embedders_device_reads_and_writes_guest_memory() {
    let program = Asm::new()
        .li(3, DEVICE)
        .li(4, 0x0010_0000)
        .li(5, 0xCAFE_F00D)
        .stw(5, 4, 0)
        .stw(4, 3, 0)
        .reset();
    let mut vm = small()
        .program(0, program.bytes())
        .mmio_device(DEVICE, 4, "copier", None, |wiring| {
            Box::new(Copier(wiring.memory))
        })
        .build()
        .unwrap();
    assert_eq!(vm.run(), Outcome::Reset(ResetKind::System));
    let mut bytes = [0; 4];
    vm.read_memory(0x0010_0004, &mut bytes).unwrap();
    assert_eq!(bytes, 0xCAFE_F00D_u32.to_be_bytes());
}

#[test]
fn an_embedders_node_is_in_the_generated_tree_and_must_be_in_a_users() {
    let registers = MmioRange::new(Board::FREE_MMIO[0].base, 0x100);
    let node = device_node("timer", "acme,timer", registers, None);
    let path = "/plb/opb/timer@ef710000";
    let plain = Machine::new().device_tree().unwrap();
    let blob = Machine::new()
        .tree_node(node.clone())
        .device_tree()
        .unwrap();
    assert_eq!(Tree::parse(&plain).unwrap().node(path), None);
    assert_eq!(Tree::parse(&blob).unwrap().node(path), Some(&node));

    let twice = Machine::new()
        .tree_node(node.clone())
        .tree_node(node.clone());
    let error = twice.device_tree().unwrap_err().to_string();
    assert!(error.contains("two of the name"), "{error}");

    let with = |dtb| {
        let machine = Machine::new().tree_node(node.clone()).rng(None);
        machine.dtb_bytes("own.dtb", dtb)
    };
    assert!(with(blob).device_tree().is_ok());
    let error = with(plain).device_tree().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the device tree own.dtb has no node {path}, so the guest would not find its device; add \
             the node to it"
        )
    );
}

#[test]
fn an_embedders_dcr_device_is_read_and_written() {
    let register = Arc::new(Mutex::new(Register {
        value: 40,
        ..Register::default()
    }));
    let program = Asm::new()
        .mfdcr(3, 0x302)
        .addi(3, 3, 1)
        .mtdcr(0x301, 3)
        .reset();
    let device = register.clone();
    let mut vm = small()
        .program(0, program.bytes())
        .dcr_device(0x300, 4, "register", None, move |_| Box::new(device))
        .build()
        .unwrap();
    assert_eq!(vm.run(), Outcome::Reset(ResetKind::System));
    assert_eq!(register.lock().unwrap().stores, [(1, vec![0, 0, 0, 43])]);
}

/// Waits for external interrupts; stores to the device for each, prints `i` and waits on.
fn interrupt_guest() -> Vec<u8> {
    const INPUT_5: u32 = 0x8000_0000 >> 5;
    Asm::new()
        .addi(3, 0, 0)
        .mtspr(spr::IVPR, 3)
        .addi(3, 0, 0x500)
        .mtspr(spr::IVOR4, 3)
        .li(3, INPUT_5)
        .mtdcr(UIC0 + 4, 3) // PR: active high
        .mtdcr(UIC0 + 2, 3) // ER
        .print("ready\n")
        .label("wait")
        .li(4, 0x0004_8000) // MSR: WE, EE
        .mtmsr(4)
        .b("wait")
        .org(0x500)
        .li(5, DEVICE)
        .stw(5, 5, 0) // the device lowers its line
        .li(3, INPUT_5)
        .mtdcr(UIC0, 3) // SR
        .print("i")
        .word(0x4C00_0064) // rfi, to the wait
        .bytes()
}

/// Lowers its line when it is stored to.
struct Bell(IrqLine);

impl MmioDevice for Bell {
    fn read(&mut self, _: u32, data: &mut [u8]) -> Result<(), AccessError> {
        data.fill(0);
        Ok(())
    }

    fn write(&mut self, _: u32, _: &[u8]) -> Result<(), AccessError> {
        self.0.set(false);
        Ok(())
    }
}

#[test]
fn an_embedders_interrupt_wakes_a_waiting_guest() {
    let (give, take) = mpsc::channel();
    let wire = Interrupt::uic0(5, Trigger::LevelHigh);
    let mut vm = small()
        .program(0, interrupt_guest())
        .mmio_device(DEVICE, 4, "bell", Some(wire), move |wiring| {
            give.send(wiring.irq.clone()).unwrap();
            Box::new(Bell(wiring.irq))
        })
        .build()
        .unwrap();
    let line = take.recv().unwrap();
    until(&mut vm, "ready\n");
    for _ in 0..3 {
        let ringer = std::thread::spawn({
            let line = line.clone();
            move || line.set(true)
        });
        until(&mut vm, "i");
        ringer.join().unwrap();
    }
    let rest = vm.run_until(Until::time(Duration::from_millis(1)));
    assert_eq!(rest, Reached::Deadline);
    assert_eq!(vm.output(), b"ready\niii");
}

/// A virtio device whose driver asks for so many parts of work with one notification.
struct Busy {
    left: u32,
    done: Arc<AtomicU32>,
}

impl VirtioDevice<GuestMemory> for Busy {
    fn device_id(&self) -> u16 {
        4
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[16]
    }

    fn config_read(&mut self, _offset: u32, data: &mut [u8], _order: ByteOrder) {
        data.fill(0);
    }

    fn activate(&mut self, _activation: Activation<GuestMemory>) {}

    fn notify(&mut self, _queue: u16) {}

    fn has_backlog(&self) -> bool {
        self.left > 0
    }

    fn work_off(&mut self) {
        self.left -= 1;
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    fn reset(&mut self) {
        self.left = 0;
    }
}

/// A guest that notifies the device in the first slot, over the legacy interface, and then says so.
fn busy(parts: u32) -> (Vm, Arc<AtomicU32>) {
    const QUEUE_PFN: u16 = 0x40;
    const QUEUE_NOTIFY: u16 = 0x50;
    let program = Asm::new()
        .li(4, 0xEF70_0000)
        // Page 0x100, in the registers' little-endian order.
        .li(3, 0x0001_0000)
        .stw(3, 4, QUEUE_PFN)
        .li(3, 0)
        .stw(3, 4, QUEUE_NOTIFY)
        .print("on\n")
        .spin();
    let done = Arc::new(AtomicU32::new(0));
    let device = Busy {
        left: parts,
        done: done.clone(),
    };
    let place = Place {
        bus: Bus::Mmio,
        legacy: true,
    };
    let machine = small().rng(None).program(0, program.bytes());
    let machine = machine.virtio_device("busy", place, Box::new(device));
    (machine.build().unwrap(), done)
}

#[test]
fn a_guest_goes_on_when_all_that_it_asked_a_device_for_is_done() {
    let (mut vm, done) = busy(1000);
    until(&mut vm, "on\n");
    assert_eq!(done.load(Ordering::SeqCst), 1000);
}

#[test]
fn a_run_ends_between_parts_of_what_a_guest_asked_a_device_for() {
    let (mut vm, done) = busy(u32::MAX);
    let reached = vm.run_until(Until::time(Duration::from_millis(20)));
    assert_eq!(reached, Reached::Deadline);
    let before = done.load(Ordering::SeqCst);
    assert!(before > 0);
    // The next run goes on where this one left off.
    let reached = vm.run_until(Until::time(Duration::from_millis(20)));
    assert_eq!(reached, Reached::Deadline);
    assert!(done.load(Ordering::SeqCst) > before);
    vm.stopper().stop();
    assert_eq!(vm.run(), Outcome::Stopped);
    assert_eq!(vm.output_text(), "");
}

#[test]
fn another_thread_stops_a_guest_that_spins_and_one_that_waits() {
    for program in [
        Asm::new().busy(),
        // An input that could interrupt, and a wait for it.
        Asm::new()
            .li(3, 0x8000_0000)
            .mtdcr(UIC0 + 2, 3)
            .li(3, 0x0004_8000)
            .mtmsr(3)
            .spin(),
    ] {
        let mut vm = vm(program);
        let stopper = vm.stopper();
        let thread = std::thread::spawn(move || stopper.stop());
        assert_eq!(vm.run(), Outcome::Stopped);
        thread.join().unwrap();
        // It can be run on, and stopped again.
        assert_eq!(vm.run_until(Until::time(Duration::ZERO)), Reached::Deadline);
        vm.stopper().stop();
        assert_eq!(vm.run(), Outcome::Stopped);
    }
}

#[test]
fn two_machines_run_side_by_side() {
    let threads: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|name| {
            std::thread::spawn(move || {
                let mut vm = vm(echo());
                for _ in 0..20 {
                    vm.write(name);
                    until(&mut vm, name);
                }
                vm.write([0]);
                (vm.run(), vm.output_text())
            })
        })
        .collect();
    let ends: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(
        ends[0],
        (Outcome::Reset(ResetKind::System), "one".repeat(20))
    );
    assert_eq!(
        ends[1],
        (Outcome::Reset(ResetKind::System), "two".repeat(20))
    );
}

#[test]
fn the_timeout_ends_a_guest() {
    let limit = Duration::from_millis(1);
    let mut vm = small()
        .program(0, Asm::new().busy().bytes())
        .timeout(limit)
        .build()
        .unwrap();
    let outcome = vm.run();
    assert_eq!(outcome, Outcome::TimedOut(limit));
    assert_eq!(outcome.exit_status(), 124);
}

#[test]
fn a_reset_that_reboots_starts_from_the_beginning() {
    let register = Arc::new(Mutex::new(Register::default()));
    // Counts in memory and in a register that a reset must clear; prints both sums.
    let program = Asm::new()
        .li(3, 0x10_0000)
        .lwz(4, 3, 0)
        .addi(4, 4, 1)
        .stw(4, 3, 0)
        .mfdcr(5, UIC0 + 2)
        .addi(6, 5, 0x0030)
        .li(7, UART0)
        .stb(6, 7, 0)
        .addi(6, 4, 0x0030)
        .stb(6, 7, 0)
        .addi(5, 5, 1)
        .mtdcr(UIC0 + 2, 5)
        .reset();
    let device = register.clone();
    let mut vm = small()
        .program(0, program.bytes())
        .on_reset(OnReset::Reboot)
        .mmio_device(DEVICE, 4, "register", None, move |_| Box::new(device))
        .build()
        .unwrap();
    until(&mut vm, "010101");
    assert!(register.lock().unwrap().resets >= 2);
}

#[test]
fn a_reset_of_the_core_leaves_the_devices_as_they_are() {
    const CORE: u32 = 0x1000_0000;
    const CHIP: u32 = 0x2000_0000;
    for (kind, expected) in [(CORE, "012345"), (CHIP, "000000")] {
        // Counts in a register of UIC0's, and prints what it finds there.
        let program = Asm::new()
            .mfdcr(5, UIC0 + 2)
            .addi(6, 5, 0x0030)
            .li(7, UART0)
            .stb(6, 7, 0)
            .addi(5, 5, 1)
            .mtdcr(UIC0 + 2, 5)
            .li(3, kind)
            .mtspr(spr::DBCR0, 3)
            .spin();
        let mut vm = small()
            .program(0, program.bytes())
            .on_reset(OnReset::Reboot)
            .build()
            .unwrap();
        until(&mut vm, expected);
    }
}

#[test]
fn code_that_was_changed_before_a_reboot_is_not_executed_after_it() {
    // Prints a letter, then makes the instruction that chose it choose another.
    let program = Asm::new()
        .li(7, UART0)
        .label("letter")
        .addi(6, 0, b'a'.into())
        .stb(6, 7, 0)
        .li(3, 0x38C0_0000 | u32::from(b'b'))
        .addi(4, 0, 8)
        .stw(3, 4, 0)
        .reset();
    let mut vm = small()
        .program(0, program.bytes())
        .on_reset(OnReset::Reboot)
        .build()
        .unwrap();
    until(&mut vm, "aaa");
}

#[test]
fn everything_written_to_the_console_comes_back() {
    let mut vm = vm(echo());
    let text: String = (0..5000).map(|n| format!("{n},")).collect();
    vm.write(&text);
    until(&mut vm, "4999,");
    assert_eq!(vm.output_text(), text);
}

#[test]
fn the_console_is_a_pipe_for_other_threads() {
    let mut vm = vm(echo());
    let mut reader = vm.console_reader().unwrap();
    assert!(vm.console_reader().is_none());
    let mut writer = vm.console_writer();
    let sent: Vec<u8> = (0..200_000u32).map(|n| (n % 255) as u8 + 1).collect();
    let expected = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.write_all(&[0]).unwrap();
    });
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        got
    });
    assert_eq!(vm.run(), Outcome::Reset(ResetKind::System));
    writing.join().unwrap();
    assert!(reading.join().unwrap() == expected);
}

#[test]
fn memory_registers_and_tlb_are_those_of_a_boot() {
    let mut vm = small()
        .program(0x1000, Asm::new().spin().bytes())
        .build()
        .unwrap();
    let registers = vm.registers();
    assert_eq!((registers.pc, registers.msr), (0x1000, 0));
    let fdt = registers.gpr[3] as u32;
    let mut header = [0; 8];
    vm.read_memory(fdt, &mut header).unwrap();
    assert_eq!(header[..4], [0xD0, 0x0D, 0xFE, 0xED]);
    let mut blob = vec![0; u32::from_be_bytes(header[4..].try_into().unwrap()) as usize];
    vm.read_memory(fdt, &mut blob).unwrap();
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(
        tree.node("/memory").unwrap().cells("reg").unwrap(),
        [0, 0, 4 << 20]
    );

    let entries = vm.tlb().iter().filter(|entry| entry.word0.v()).count();
    assert_eq!(entries, 16);
    for (ea, ram) in [
        (0, true),
        (0x3F_FFFF, true),
        (UART0, false),
        (0xFFFF_FFFC, false),
    ] {
        let to = vm.translate(ea, Access::Fetch).unwrap();
        assert_eq!(to.gpa, u64::from(ea));
        assert!(to.read && to.write && to.execute && !to.little_endian);
        assert_eq!(vm.tlb()[to.index].word2.i(), !ram);
    }

    let mut bytes = [0; 2];
    assert!(vm.read_memory((4 << 20) - 2, &mut bytes).is_ok());
    let error = vm.read_memory((4 << 20) - 1, &mut bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 bytes at 0x3fffff are not inside the guest's 0x400000 bytes of ram"
    );
    assert!(vm.write_memory(u32::MAX, &bytes).is_err());
}

#[test]
fn code_that_an_embedder_writes_is_executed() {
    let mut vm = vm(Asm::new().busy());
    assert_eq!(
        vm.run_until(Until::time(Duration::from_millis(1))),
        Reached::Deadline
    );
    // The loop's two instructions do nothing now, wherever it was.
    let program = Asm::new().word(0x6000_0000).word(0x6000_0000).reset();
    vm.write_memory(0, &program.bytes()).unwrap();
    assert_eq!(vm.run(), Outcome::Reset(ResetKind::System));
}

#[test]
fn nothing_answers_as_zero() {
    let program = Asm::new()
        .li(3, 0xD123_0000)
        .li(4, u32::MAX)
        .lwz(4, 3, 0)
        .stw(4, 3, 0)
        .mfdcr(5, 0x3FF)
        .mtdcr(0x3FF, 5)
        .reset();
    let mut vm = vm(program);
    assert_eq!(vm.run(), Outcome::Reset(ResetKind::System));
    let registers = vm.registers();
    assert_eq!((registers.gpr[4], registers.gpr[5]), (0, 0));
}

#[test]
fn the_virtual_clock_makes_runs_equal() {
    let run = || {
        let program = echo().bytes();
        let mut vm = small()
            .program(0, program)
            .clock(Clock::Virtual)
            .build()
            .unwrap();
        vm.write(b"deterministic\0");
        let outcome = vm.run();
        (outcome, vm.output(), vm.statistics().retired, vm.state())
    };
    let (first, second) = (run(), run());
    assert_eq!(first.1, b"deterministic");
    assert_eq!(first, second);
}

#[test]
fn what_cannot_be_built_is_refused_before_it_starts() {
    let program = || Asm::new().spin().bytes();
    let device = |base, size| {
        small()
            .program(0, program())
            .mmio_device(base, size, "mine", None, |_| Box::new(Register::default()))
    };
    let wired = |input| {
        let wire = Some(Interrupt::uic1(input, Trigger::LevelHigh));
        small()
            .program(0, program())
            .dcr_device(0x300, 1, "mine", wire, |_| Box::new(Register::default()))
    };
    let refused: [(Machine, &str); 9] = [
        (Machine::new(), "no kernel was given"),
        (small().program(1, program()), "on a word boundary"),
        (small().program(0, vec![]), "a word or more"),
        (small().program(0x40_0000, program()), "does not fit"),
        (device(UART0 + 4, 1), "mine overlaps uart0"),
        (
            device(0x1000, 16),
            "mine at 0x1000 lies in ram, which ends at 0x400000",
        ),
        (device(0xFFFF_0000, 0), "not a range"),
        (wired(32), "mine wants interrupt input 32"),
        (
            small().kernel_bytes("mine", vec![1; 100]),
            "mine: this is none of the known image formats",
        ),
    ];
    for (machine, reason) in refused {
        let error = machine.build().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let memory = Machine::new()
        .program(0, program())
        .memory(MemorySize::from_bytes(99 << 20));
    assert!(matches!(memory.build().unwrap_err(), BuildError::Memory(_)));
}
