//! The API as a launcher uses it: exits, answers, interrupts, registers, time.

use std::sync::Arc;
use std::thread;

use ppckvm_api::{
    Accel, Access, Clock, Engine, EngineChoice, GuestMemory, Kvm, Region, ResetKind, TlbWord0,
    TlbWord1, TlbWord2, Tlbe, Vcpu, VcpuExit, VmOptions,
};
use vm_memory::{Bytes, GuestAddress, GuestRegionMmap};

const RAM: usize = 1 << 20;
/// Where the guests put their I/O page, one to one.
const IO: u32 = 0xEF60_0000;

/// A page of 256 MiB at `ea`, one to one, with all of supervisor's permissions.
fn identity(ea: u32) -> Tlbe {
    Tlbe {
        tid: 0,
        word0: TlbWord0::from(ea & 0xF000_0000 | 0x290),
        word1: TlbWord1::from(ea & 0xF000_0000),
        word2: TlbWord2::from(0x7),
    }
}

/// A CPU that starts with `words` at 0x1000.
fn vcpu(clock: Clock, words: &[u32]) -> (Vcpu, GuestMemory) {
    let region = Arc::new(Region::new(RAM).expect("memory"));
    let mapping = GuestRegionMmap::with_arc(region.clone(), GuestAddress(0)).expect("fits");
    let memory = GuestMemory::from_regions(vec![mapping]).expect("one region");
    for (n, word) in words.iter().enumerate() {
        memory
            .write_slice(&word.to_be_bytes(), GuestAddress(0x1000 + 4 * n as u64))
            .expect("inside RAM");
    }
    let kvm = Kvm::open(Accel::Inproc).expect("this process");
    let options = VmOptions {
        clock,
        timer_hz: 1_000_000,
        engine: EngineChoice::Only(Engine::Interpreter),
        windows: true,
    };
    let mut vm = kvm.create_vm(region, options);
    vm.set_memory_slot(0, 0, RAM as u64, 0);
    let mut vcpu = vm.create_vcpu().expect("a cpu");
    vcpu.set_tlb(0, identity(0));
    vcpu.set_tlb(1, identity(IO));
    let mut regs = vcpu.regs();
    regs.pc = 0x1000;
    regs.gpr[4] = IO.into();
    vcpu.set_regs(&regs);
    (vcpu, memory)
}

fn d_form(opcode: u32, rt: u32, ra: u32, d: u32) -> u32 {
    opcode << 26 | rt << 21 | ra << 16 | d & 0xFFFF
}

fn spr_form(rt: u32, spr: u32, xo: u32) -> u32 {
    31 << 26 | rt << 21 | (spr & 31) << 16 | spr >> 5 << 11 | xo << 1
}

/// `lis r3,0x3000; mtspr DBCR0,r3`: a system reset, how these guests end.
const END: [u32; 2] = [0x3C60_3000, 0x7C74_4BA6];

fn end(mut words: Vec<u32>) -> Vec<u32> {
    words.extend(END);
    words
}

fn ended(vcpu: &mut Vcpu) {
    let reset = VcpuExit::Reset {
        kind: ResetKind::System,
        by_watchdog: false,
    };
    assert_eq!(vcpu.run().expect("runs"), reset);
}

#[test]
fn a_load_completes_with_the_bytes_that_were_filled_in() {
    // lhau r5,8(r4); stwbrx r5,0,r4
    let words = end(vec![
        d_form(43, 5, 4, 8),
        31 << 26 | 5 << 21 | 4 << 11 | 662 << 1,
    ]);
    let (mut vcpu, _memory) = vcpu(Clock::Virtual, &words);
    match vcpu.run().expect("runs") {
        VcpuExit::MmioRead(gpa, data) => {
            assert_eq!((gpa, data.len()), (u64::from(IO) + 8, 2));
            data.copy_from_slice(&[0x80, 0x01]);
        }
        exit => panic!("{exit:?}"),
    }
    assert_eq!(vcpu.exit_pc(), 0x1000);
    let bytes = [0x01, 0x80, 0xFF, 0xFF];
    let store = VcpuExit::MmioWrite(u64::from(IO) + 8, &bytes);
    assert_eq!(vcpu.run().expect("runs"), store);
    ended(&mut vcpu);
    let regs = vcpu.regs();
    assert_eq!((regs.gpr[5], regs.gpr[4]), (0xFFFF_8001, u64::from(IO) + 8));
}

#[test]
fn setting_registers_does_not_lose_an_answer() {
    // lwz r5,0(r4); mfdcr r6,0x10
    let words = end(vec![d_form(32, 5, 4, 0), spr_form(6, 0x10, 323)]);
    let (mut vcpu, _memory) = vcpu(Clock::Virtual, &words);
    match vcpu.run().expect("runs") {
        VcpuExit::MmioRead(_, data) => data.copy_from_slice(&[1, 2, 3, 4]),
        exit => panic!("{exit:?}"),
    }
    let mut regs = vcpu.regs();
    regs.gpr[7] = 77;
    vcpu.set_regs(&regs);
    match vcpu.run().expect("runs") {
        VcpuExit::DcrRead(dcrn, value) => {
            assert_eq!(dcrn, 0x10);
            *value = 0xC001_CAFE;
        }
        exit => panic!("{exit:?}"),
    }
    let regs = vcpu.regs();
    vcpu.set_regs(&regs);
    ended(&mut vcpu);
    let regs = vcpu.regs();
    assert_eq!(
        (regs.gpr[5], regs.gpr[6], regs.gpr[7]),
        (0x0102_0304, 0xC001_CAFE, 77)
    );
}

#[test]
fn a_waiting_guest_wakes_for_an_input_from_another_thread() {
    // The vector of the external interrupt: IVPR 0, IVOR4 0.
    let end_at_0: Vec<u8> = END.iter().flat_map(|word| word.to_be_bytes()).collect();
    // oris r3,r0,4 (WE); ori r3,r3,0x8000 (EE); mtmsr r3; b .
    let words = [
        d_form(15, 3, 0, 4),
        d_form(24, 3, 3, 0x8000),
        31 << 26 | 3 << 21 | 146 << 1,
        18 << 26,
    ];
    for clock in [Clock::Host, Clock::Virtual] {
        let (mut vcpu, memory) = vcpu(clock, &words);
        memory
            .write_slice(&end_at_0, GuestAddress(0))
            .expect("inside RAM");
        let handle = vcpu.handle();
        let other = thread::spawn(move || handle.set_external(true));
        ended(&mut vcpu);
        other.join().expect("the input is driven");
        assert_eq!(vcpu.regs().srr0, 0x100C, "it waits behind the mtmsr");
        assert_eq!(vcpu.statistics().exits.ext_intr, 1);
    }
}

#[test]
fn a_kick_ends_a_run_that_would_not_end() {
    let (mut vcpu, _memory) = vcpu(Clock::Host, &[18 << 26]);
    for _ in 0..3 {
        let handle = vcpu.handle();
        let other = thread::spawn(move || handle.kick());
        assert_eq!(vcpu.run().expect("runs"), VcpuExit::Kicked);
        other.join().expect("the kick is given");
    }
    assert_eq!(vcpu.regs().pc, 0x1000);
}

#[test]
fn addresses_translate_as_the_guest_would_find_them() {
    let (vcpu, _memory) = vcpu(Clock::Virtual, &[]);
    let found = vcpu
        .translate_now(IO + 0x123, Access::Load)
        .expect("mapped");
    assert_eq!(
        (found.gpa, found.index, found.write),
        (u64::from(IO) + 0x123, 1, true)
    );
    assert!(vcpu.translate(0x8000_0000).is_none());
    assert!(
        vcpu.translate(1 << 40).is_none(),
        "address space 1 is empty"
    );
    assert_eq!(vcpu.tlb()[1], identity(IO));
}
