//! The run page against `struct kvm_run` as `kvm-bindings` has it for this host.

use std::mem::offset_of;

use kvm_bindings as kvm;
use kvm_bindings::kvm_run;
use ppc440_kvm::{Exit, ResetKind, RunPage, exit_reason};

#[test]
fn the_head_is_kvms() {
    assert_eq!(
        offset_of!(RunPage, request_interrupt_window),
        offset_of!(kvm_run, request_interrupt_window)
    );
    assert_eq!(
        offset_of!(RunPage, immediate_exit),
        offset_of!(kvm_run, immediate_exit)
    );
    assert_eq!(
        offset_of!(RunPage, exit_reason),
        offset_of!(kvm_run, exit_reason)
    );
    assert_eq!(
        offset_of!(RunPage, ready_for_interrupt_injection),
        offset_of!(kvm_run, ready_for_interrupt_injection)
    );
    assert_eq!(offset_of!(RunPage, if_flag), offset_of!(kvm_run, if_flag));
    assert_eq!(offset_of!(RunPage, cr8), offset_of!(kvm_run, cr8));
    assert_eq!(
        offset_of!(RunPage, apic_base),
        offset_of!(kvm_run, apic_base)
    );
    assert_eq!(
        offset_of!(RunPage, exit),
        offset_of!(kvm_run, __bindgen_anon_1)
    );
}

#[test]
fn the_exit_numbers_are_kvms() {
    for (ours, theirs) in [
        (exit_reason::UNKNOWN, kvm::KVM_EXIT_UNKNOWN),
        (exit_reason::HLT, kvm::KVM_EXIT_HLT),
        (exit_reason::MMIO, kvm::KVM_EXIT_MMIO),
        (exit_reason::INTR, kvm::KVM_EXIT_INTR),
        (exit_reason::DCR, kvm::KVM_EXIT_DCR),
        (exit_reason::INTERNAL_ERROR, kvm::KVM_EXIT_INTERNAL_ERROR),
        (exit_reason::WATCHDOG, kvm::KVM_EXIT_WATCHDOG),
        (exit_reason::SYSTEM_EVENT, kvm::KVM_EXIT_SYSTEM_EVENT),
    ] {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ppc440_kvm::SYSTEM_EVENT_RESET, kvm::KVM_SYSTEM_EVENT_RESET);
}

/// Where a member of the union is, from the union's start.
macro_rules! at {
    ($($field:tt)+) => {
        offset_of!(kvm_run, __bindgen_anon_1.$($field)+) - offset_of!(kvm_run, __bindgen_anon_1)
    };
}

/// The union after an exit was written.
fn written(exit: Exit) -> Vec<u8> {
    let mut page = RunPage::default();
    exit.write_to(&mut page);
    page.exit.0.to_vec()
}

#[test]
fn the_members_of_the_union_are_kvms() {
    let data = [0xA0, 0xA1, 0xA2, 0xA3, 0, 0, 0, 0];
    let (gpa, write) = (0xEF60_0300u64, true);
    let union = written(Exit::Mmio {
        gpa,
        len: 4,
        write,
        data,
    });
    assert_eq!(union[at!(mmio.phys_addr)..][..8], gpa.to_ne_bytes());
    assert_eq!(union[at!(mmio.data)..][..8], data);
    assert_eq!(union[at!(mmio.len)..][..4], 4u32.to_ne_bytes());
    assert_eq!(union[at!(mmio.is_write)], 1);

    let (dcrn, data) = (0xC0, 0x1234_5678u32);
    let union = written(Exit::Dcr { dcrn, write, data });
    assert_eq!(union[at!(dcr.dcrn)..][..4], u32::from(dcrn).to_ne_bytes());
    assert_eq!(union[at!(dcr.data)..][..4], data.to_ne_bytes());
    assert_eq!(union[at!(dcr.is_write)], 1);

    let union = written(Exit::Reset {
        kind: ResetKind::System,
        by_watchdog: false,
    });
    let kind = kvm::KVM_SYSTEM_EVENT_RESET.to_ne_bytes();
    assert_eq!(union[at!(system_event.type_)..][..4], kind);
}
