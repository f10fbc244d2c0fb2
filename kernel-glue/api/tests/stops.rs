//! Breakpoints, watchpoints and single steps of a debugger, on each engine that the host has.

use std::sync::Arc;

use ppckvm_api::{
    Accel, Clock, Engine, EngineChoice, GuestMemory, Kvm, ResetKind, Stop, TlbWord0, TlbWord1,
    TlbWord2, Tlbe, Vcpu, VcpuExit, VmOptions, WatchFor, Where, memory_file,
};
use vm_memory::{Bytes, GuestAddress, GuestRegionMmap};

const RAM: usize = 1 << 20;

/// Counts in r5 and stores it at r6 until CTR is 0, then resets the system.
const LOOP: [u32; 5] = [
    0x38A5_0001, // addi r5,r5,1
    0x90A6_0000, // stw r5,0(r6)
    0x4200_FFF8, // bdnz 0x1000
    0x3C60_3000, // lis r3,0x3000
    0x7C74_4BA6, // mtspr DBCR0,r3
];
const LAPS: u64 = 1000;

/// A guest about to run the loop, which stores at `store`, with the engines that there are.
fn guests(store: u32) -> impl Iterator<Item = (Vcpu, GuestMemory)> {
    let engines = [Engine::Interpreter, Engine::Translator];
    let engines = engines.into_iter().filter(|engine| engine.is_supported());
    engines.map(move |engine| {
        let region = Arc::new(memory_file(RAM).expect("a memory file"));
        let mapping = GuestRegionMmap::with_arc(region.clone(), GuestAddress(0)).expect("fits");
        let memory = GuestMemory::from_regions(vec![mapping]).expect("one region");
        for (at, word) in (0x1000..).step_by(4).zip(LOOP) {
            let bytes = word.to_be_bytes();
            memory.write_slice(&bytes, GuestAddress(at)).expect("RAM");
        }
        let options = VmOptions {
            clock: Clock::Virtual,
            timer_hz: 1_000_000,
            engine: EngineChoice::Only(engine),
            windows: true,
        };
        let kvm = Kvm::open(Accel::Inproc).expect("this process");
        let mut vm = kvm.create_vm(region, options);
        vm.set_memory_slot(0, 0, RAM as u64, 0);
        let mut vcpu = vm.create_vcpu().expect("a cpu");
        let whole = Tlbe {
            tid: 0,
            word0: TlbWord0::from(0x290),
            word1: TlbWord1::from(0),
            word2: TlbWord2::from(0x7),
        };
        vcpu.set_tlb(0, whole);
        let mut regs = vcpu.regs();
        regs.pc = 0x1000;
        regs.ctr = LAPS;
        regs.gpr[6] = store.into();
        vcpu.set_regs(&regs);
        (vcpu, memory)
    })
}

fn stops(vcpu: &mut Vcpu, stop: Stop, pc: u64) {
    assert_eq!(vcpu.run().expect("runs"), VcpuExit::Debug(stop));
    assert_eq!(vcpu.regs().pc, pc);
    vcpu.pass_stop();
}

fn ends(vcpu: &mut Vcpu) {
    let reset = VcpuExit::Reset {
        kind: ResetKind::System,
        by_watchdog: false,
    };
    assert_eq!(vcpu.run().expect("runs"), reset);
    assert_eq!(vcpu.regs().gpr[5], LAPS);
}

#[test]
fn a_breakpoint_stops_each_lap_and_leaves_memory_and_debug_registers_alone() {
    for place in [Where::Effective(0x1008), Where::Physical(0x1008)] {
        for (mut vcpu, memory) in guests(0x5000) {
            let sprs = vcpu.state().sprs;
            vcpu.add_breakpoint(place).expect("room");
            for lap in 1..=LAPS {
                stops(&mut vcpu, Stop::Breakpoint, 0x1008);
                assert_eq!(vcpu.regs().gpr[5], lap);
            }
            let word: [u8; 4] = memory.read_obj(GuestAddress(0x1008)).expect("RAM");
            assert_eq!(u32::from_be_bytes(word), LOOP[2]);
            assert_eq!(vcpu.state().sprs, sprs);
            ends(&mut vcpu);
        }
    }
}

#[test]
fn a_breakpoint_in_code_that_was_hot_stops_it_and_once_removed_does_not() {
    for (mut vcpu, _) in guests(0x5000) {
        vcpu.add_breakpoint(Where::Effective(0x100C)).expect("room");
        stops(&mut vcpu, Stop::Breakpoint, 0x100C);
        let mut regs = vcpu.regs();
        (regs.pc, regs.ctr, regs.gpr[5]) = (0x1000, LAPS, 0);
        vcpu.set_regs(&regs);
        vcpu.add_breakpoint(Where::Effective(0x1004)).expect("room");
        stops(&mut vcpu, Stop::Breakpoint, 0x1004);
        assert!(vcpu.remove_breakpoint(Where::Effective(0x1004)));
        assert!(!vcpu.remove_breakpoint(Where::Effective(0x1004)));
        vcpu.remove_stops();
        ends(&mut vcpu);
    }
}

#[test]
fn a_watchpoint_sees_stores_across_a_page_border_from_either_side() {
    // The store covers 0x4FFE to 0x5001.
    for watched in [0x4FFE, 0x5001] {
        for (mut vcpu, memory) in guests(0x4FFE) {
            let (ea, kind) = (watched, WatchFor::Stores);
            vcpu.add_watchpoint(ea, 1, kind).expect("room");
            for lap in 1..=LAPS as u32 {
                stops(&mut vcpu, Stop::Watchpoint { ea, kind }, 0x1004);
                let before: [u8; 4] = memory.read_obj(GuestAddress(0x4FFE)).expect("RAM");
                assert_eq!(u32::from_be_bytes(before), lap - 1, "not stored yet");
            }
            ends(&mut vcpu);
        }
    }
}

#[test]
fn a_watchpoint_for_loads_or_beside_what_is_stored_does_not_stop() {
    for (mut vcpu, _) in guests(0x5000) {
        vcpu.add_watchpoint(0x5000, 4, WatchFor::Loads)
            .expect("room");
        vcpu.add_watchpoint(0x5004, 4, WatchFor::Both)
            .expect("room");
        vcpu.add_watchpoint(0x4FFC, 4, WatchFor::Both)
            .expect("room");
        ends(&mut vcpu);
    }
}

#[test]
fn a_step_runs_one_instruction_also_from_a_breakpoint() {
    for (mut vcpu, _) in guests(0x5000) {
        vcpu.add_breakpoint(Where::Effective(0x1008)).expect("room");
        stops(&mut vcpu, Stop::Breakpoint, 0x1008);
        for pc in [0x1000, 0x1004, 0x1008] {
            vcpu.step_next();
            stops(&mut vcpu, Stop::Stepped, pc);
        }
        vcpu.remove_stops();
        ends(&mut vcpu);
    }
}

#[test]
fn there_are_so_many_breakpoints_and_no_more() {
    for (mut vcpu, _) in guests(0x5000) {
        let places = (0x8000..).step_by(4).map(Where::Effective);
        let armed = places
            .take(1000)
            .take_while(|place| vcpu.add_breakpoint(*place).is_ok());
        assert_eq!(armed.count(), 64);
        assert!(vcpu.add_watchpoint(0x5000, 0, WatchFor::Both).is_err());
        ends(&mut vcpu);
    }
}
