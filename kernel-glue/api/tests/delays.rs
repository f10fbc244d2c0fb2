//! Delays: a guest that only waits for its time base is not waited for, and misses nothing meanwhile.

use std::sync::Arc;

use ppckvm_api::{
    Accel, Clock, Engine, EngineChoice, GuestMemory, Kvm, Region, TlbWord0, TlbWord1, TlbWord2,
    Tlbe, Vcpu, VcpuExit, VmOptions,
};
use vm_memory::{Bytes, GuestAddress, GuestRegionMmap};

const RAM: usize = 1 << 20;
const START: u64 = 0x1000;
const HANDLER: u64 = 0x2000;
/// Ticks that the guest waits for, a fifth of a second.
const DELAY: u32 = 200_000;
/// When the decrementer interrupts it.
const DECREMENTER: u32 = 50_000;

/// A CPU with `words` at [`START`], and a handler of the decrementer's interrupt that leaves the time in
/// r20 and counts in r21.
fn vcpu(engine: Engine, words: &[u32]) -> Vcpu {
    let region = Arc::new(Region::new(RAM).expect("memory"));
    let mapping = GuestRegionMmap::with_arc(region.clone(), GuestAddress(0)).expect("fits");
    let memory = GuestMemory::from_regions(vec![mapping]).expect("one region");
    let handler = [
        0x7E8C_42E6, // mftb r20
        0x3AB5_0001, // addi r21,r21,1
        0x3EC0_0800, // lis r22,0x0800
        0x7ED0_53A6, // mtspr TSR,r22
        0x4C00_0064, // rfi
    ];
    for (at, words) in [(START, words), (HANDLER, &handler)] {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        memory
            .write_slice(&bytes, GuestAddress(at))
            .expect("inside RAM");
    }
    let options = VmOptions {
        clock: Clock::Host,
        timer_hz: 1_000_000,
        engine: EngineChoice::Only(engine),
        windows: true,
    };
    let kvm = Kvm::open(Accel::Inproc).expect("this process");
    let mut vm = kvm.create_vm(region, options);
    vm.set_memory_slot(0, 0, RAM as u64, 0);
    let mut vcpu = vm.create_vcpu().expect("a cpu");
    vcpu.set_tlb(
        0,
        Tlbe {
            tid: 0,
            word0: TlbWord0::from(0x290),
            word1: TlbWord1::from(0),
            word2: TlbWord2::from(0x7),
        },
    );
    let mut regs = vcpu.regs();
    regs.pc = START;
    regs.gpr[3] = DELAY.into();
    regs.gpr[4] = DECREMENTER.into();
    vcpu.set_regs(&regs);
    vcpu
}

/// `mftb r10`, then a loop of `mftb r9; subf r9,r10,r9; cmplw r9,r3; blt`, then a system reset.
const WAIT: [u32; 7] = [
    0x7D4C_42E6,
    0x7D2C_42E6,
    0x7D2A_4850,
    0x7C09_1840,
    0x4180_FFF4,
    0x3C60_3000,
    0x7C74_4BA6,
];

fn run(vcpu: &mut Vcpu) {
    let exit = vcpu.run().expect("runs");
    assert!(matches!(exit, VcpuExit::Reset { .. }), "{exit:?}");
    let regs = vcpu.regs();
    assert!(regs.gpr[9] >= DELAY.into(), "it waited for all of it");
    // Whatever the host's speed: each read is an eighth further on, once there were 128 and 8 ticks.
    let retired = vcpu.statistics().retired;
    assert!(retired < 40_000, "{retired} instructions");
}

#[test]
fn a_delay_takes_few_instructions() {
    for engine in [Engine::Interpreter, Engine::Translator] {
        run(&mut vcpu(engine, &WAIT));
    }
}

#[test]
fn a_timer_that_is_due_in_a_delay_interrupts_it_then() {
    let mut words = vec![
        0x38C0_2000, // li r6,0x2000
        0x7CDA_63A6, // mtspr IVOR10,r6
        0x38C0_0000, // li r6,0
        0x7CDF_0BA6, // mtspr IVPR,r6
        0x7C96_03A6, // mtspr DEC,r4
        0x3CC0_0400, // lis r6,0x0400
        0x7CD4_53A6, // mtspr TCR,r6: the decrementer interrupts
        0x7C00_8146, // wrteei 1
    ];
    words.extend(WAIT);
    for engine in [Engine::Interpreter, Engine::Translator] {
        let mut vcpu = vcpu(engine, &words);
        run(&mut vcpu);
        let regs = vcpu.regs();
        let since = regs.gpr[20].wrapping_sub(regs.gpr[10]) as u32;
        assert_eq!(regs.gpr[21], 1, "it was interrupted once");
        assert!(since < DELAY, "the interrupt came in the delay: {since}");
        // DEC was set a few instructions before the delay began.
        assert!(
            since + 40_000 > DECREMENTER,
            "it did not come early: {since}"
        );
    }
}
