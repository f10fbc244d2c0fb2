//! What holds for the UIC.

use super::regs::{CR, ER, MSR, PR, SR, SRS, TR, VCR, VR, bit};
use super::*;

/// A chip as Linux leaves it after initialisation, with one input set up.
fn chip(input: u32, edge: bool, high: bool) -> Chip {
    let mut chip = Chip::new();
    for register in [ER, CR, TR] {
        chip.write(register, 0).unwrap();
    }
    // Unused inputs rest low, so they are made active high.
    let polarity = if high { u32::MAX } else { !bit(input) };
    chip.set_input(input, !high);
    chip.write(PR, polarity).unwrap();
    chip.write(TR, if edge { bit(input) } else { 0 }).unwrap();
    chip.write(SR, u32::MAX).unwrap();
    chip.write(ER, bit(input)).unwrap();
    assert_eq!(chip.read(SR), Ok(0));
    chip
}

#[test]
fn input_n_is_bit_n_from_the_top() {
    for input in 0..32 {
        let mut chip = chip(input, false, true);
        chip.set_input(input, true);
        assert_eq!(chip.read(MSR), Ok(0x8000_0000 >> input));
    }
    assert_eq!(bit(32), 0);
}

#[test]
fn polarity_is_honoured_for_levels() {
    for high in [false, true] {
        let mut chip = chip(28, false, high);
        assert!(!chip.noncritical());
        chip.set_input(28, high);
        assert!(chip.noncritical(), "active high: {high}");
    }
}

#[test]
fn an_edge_is_latched_in_its_direction_only() {
    for rising in [false, true] {
        let mut chip = chip(5, true, rising);
        chip.set_input(5, rising);
        assert_eq!(chip.read(SR), Ok(bit(5)));
        chip.write(SR, bit(5)).unwrap();
        // The line still stands there, but an edge is over once it is cleared.
        assert_eq!(chip.read(SR), Ok(0));
        chip.set_input(5, !rising);
        assert_eq!(chip.read(SR), Ok(0), "the other edge does nothing");
        chip.set_input(5, rising);
        assert_eq!(chip.read(SR), Ok(bit(5)));
    }
}

#[test]
fn clearing_a_level_that_is_asserted_has_no_effect() {
    let mut chip = chip(0, false, true);
    chip.set_input(0, true);
    chip.write(SR, bit(0)).unwrap();
    assert_eq!(chip.read(SR), Ok(bit(0)));
    assert!(chip.noncritical());
}

#[test]
fn a_level_stays_latched_until_it_is_cleared() {
    let mut chip = chip(0, false, true);
    chip.set_input(0, true);
    chip.set_input(0, false);
    assert_eq!(chip.read(SR), Ok(bit(0)));
    chip.write(SR, bit(0)).unwrap();
    assert_eq!(chip.read(SR), Ok(0));
    assert!(!chip.noncritical());
}

#[test]
fn a_level_that_is_masked_is_pending_when_unmasked() {
    let mut chip = chip(3, false, true);
    chip.write(ER, 0).unwrap();
    chip.set_input(3, true);
    assert!(!chip.noncritical());
    assert_eq!(chip.read(MSR), Ok(0));
    chip.write(ER, bit(3)).unwrap();
    assert!(chip.noncritical());
}

#[test]
fn changing_polarity_or_trigger_looks_at_the_line_again() {
    let mut chip = Chip::new();
    chip.write(TR, u32::MAX).unwrap();
    chip.write(SR, u32::MAX).unwrap();
    chip.write(PR, u32::MAX).unwrap();
    assert_eq!(chip.read(SR), Ok(0), "edge inputs do not react to either");
    chip.write(TR, !bit(7)).unwrap();
    assert_eq!(chip.read(SR), Ok(0), "low is not asserted when active high");
    chip.write(PR, !bit(7)).unwrap();
    assert_eq!(chip.read(SR), Ok(bit(7)));
}

#[test]
fn status_set_raises_an_input_by_software() {
    let mut chip = chip(9, false, true);
    chip.write(SRS, bit(9)).unwrap();
    assert!(chip.noncritical());
    assert_eq!(chip.read(SRS), Ok(bit(9)));
    chip.write(SR, bit(9)).unwrap();
    assert!(!chip.noncritical());
}

#[test]
fn the_critical_register_picks_the_output() {
    let mut chip = chip(4, false, true);
    chip.set_input(4, true);
    assert_eq!((chip.noncritical(), chip.critical()), (true, false));
    chip.write(CR, bit(4)).unwrap();
    assert_eq!((chip.noncritical(), chip.critical()), (false, true));
}

#[test]
fn the_vector_counts_from_the_end_with_the_highest_priority() {
    let mut chip = Chip::new();
    chip.write(PR, u32::MAX).unwrap();
    chip.write(SR, u32::MAX).unwrap();
    chip.write(VCR, 0xFFF0_0002).unwrap();
    assert_eq!(chip.read(VCR), Ok(0xFFF0_0000), "bit 30 does not exist");
    assert_eq!(chip.read(VR), Ok(0), "nothing is pending");

    chip.write(SRS, bit(2) | bit(20) | bit(31)).unwrap();
    chip.write(ER, bit(2) | bit(20)).unwrap();
    assert_eq!(chip.read(VR), Ok(0), "nothing critical is pending");
    chip.write(CR, u32::MAX).unwrap();
    assert_eq!(chip.read(VR), Ok(0xFFF0_0000 + 11 * 512), "input 31 first");
    chip.write(VCR, 0xFFF0_0001).unwrap();
    assert_eq!(chip.read(VR), Ok(0xFFF0_0000 + 2 * 512), "input 0 first");
    chip.write(CR, !bit(2)).unwrap();
    assert_eq!(chip.read(VR), Ok(0xFFF0_0000 + 20 * 512));
}

#[test]
fn masked_status_and_vector_are_read_only() {
    let mut chip = chip(4, false, true);
    let before = chip.state();
    chip.write(MSR, u32::MAX).unwrap();
    chip.write(VR, u32::MAX).unwrap();
    assert_eq!(chip.state(), before);
    assert_eq!(chip.read(9), Err(AccessError::NoRegister { offset: 9 }));
    assert_eq!(chip.write(9, 0), Err(AccessError::NoRegister { offset: 9 }));
}

#[test]
fn a_reset_clears_the_registers_and_keeps_the_wires() {
    let mut chip = chip(4, false, true);
    chip.write(VCR, 0x1000).unwrap();
    chip.set_input(4, true);
    chip.reset();
    let state = chip.state();
    assert_eq!(
        (state.er, state.cr, state.pr, state.tr, state.vcr),
        (0, 0, 0, 0, 0)
    );
    assert_eq!(state.inputs, bit(4));
    // Active low is the reset polarity: every input that rests low asserts.
    assert_eq!(state.sr, !bit(4));
    assert!(!chip.noncritical() && !chip.critical());
}

/// UIC1 behind UIC0, as on the board, with the core's two inputs.
fn cascade() -> (Uic, Uic, IrqLine, IrqLine) {
    let external = IrqLine::detached();
    let critical = IrqLine::detached();
    let mut uic0 = Uic::new(external.clone(), critical.clone());
    let mut uic1 = Uic::new(uic0.line(30), uic0.line(31));
    for uic in [&mut uic0, &mut uic1] {
        for (register, value) in [(ER, 0), (CR, 0), (PR, u32::MAX), (TR, 0), (SR, u32::MAX)] {
            uic.write(register, value).unwrap();
        }
    }
    uic0.write(CR, bit(31)).unwrap();
    uic0.write(ER, bit(0) | bit(30) | bit(31)).unwrap();
    (uic0, uic1, external, critical)
}

#[test]
fn a_cascaded_interrupt_reaches_the_core() {
    let (mut uic0, mut uic1, external, critical) = cascade();
    let emac = uic1.line(28);
    uic1.write(ER, bit(28)).unwrap();
    emac.set(true);
    assert!(external.is_asserted() && !critical.is_asserted());
    assert_eq!(DcrDevice::read(&mut uic0, MSR), Ok(bit(30)));
    assert_eq!(DcrDevice::read(&mut uic1, MSR), Ok(bit(28)));

    // Linux masks the input of the cascade, serves, clears inside out, and unmasks.
    uic0.write(ER, bit(0) | bit(31)).unwrap();
    assert!(!external.is_asserted());
    emac.set(false);
    uic1.write(SR, bit(28)).unwrap();
    uic0.write(SR, bit(30)).unwrap();
    uic0.write(ER, bit(0) | bit(30) | bit(31)).unwrap();
    assert!(!external.is_asserted());
    assert_eq!(DcrDevice::read(&mut uic0, MSR), Ok(0));
}

#[test]
fn a_critical_interrupt_is_cascaded_to_the_critical_input() {
    let (_uic0, mut uic1, external, critical) = cascade();
    let line = uic1.line(5);
    uic1.write(CR, bit(5)).unwrap();
    uic1.write(ER, bit(5)).unwrap();
    line.set(true);
    assert!(!external.is_asserted() && critical.is_asserted());
}

#[test]
fn linux_level_flow_takes_one_interrupt_per_assertion() {
    let (mut uic0, _uic1, external, _critical) = cascade();
    let uart = uic0.line(0);
    for _ in 0..3 {
        uart.set(true);
        assert!(external.is_asserted());
        // get_irq: the lowest set bit of MSR.
        let msr = DcrDevice::read(&mut uic0, MSR).unwrap();
        assert_eq!(31 - msr.trailing_zeros(), 0);
        // mask; the handler makes the device drop its line; ack and unmask.
        let er = DcrDevice::read(&mut uic0, ER).unwrap();
        uic0.write(ER, er & !bit(0)).unwrap();
        assert!(!external.is_asserted());
        uart.set(false);
        uic0.write(SR, bit(0)).unwrap();
        uic0.write(ER, er).unwrap();
        assert!(!external.is_asserted(), "no interrupt is left over");
    }
}

#[test]
fn a_pci_slot_at_rest_is_silent_and_asserts_low() {
    let (mut uic0, _uic1, external, _critical) = cascade();
    let slot = uic0.active_low_line(28);
    uic0.write(PR, !bit(28)).unwrap();
    uic0.write(SR, bit(28)).unwrap();
    uic0.write(ER, bit(28)).unwrap();
    assert!(!external.is_asserted());
    let second_pin = slot.another();
    second_pin.set(true);
    assert!(external.is_asserted());
    drop(second_pin);
    uic0.write(SR, bit(28)).unwrap();
    assert!(!external.is_asserted());
}

#[test]
fn a_state_taken_up_drives_the_outputs() {
    let (mut uic0, _uic1, external, critical) = cascade();
    uic0.line(0).set(true);
    let state = uic0.state();
    uic0.reset();
    assert!(!external.is_asserted());
    uic0.set_state(state);
    assert_eq!(uic0.state(), state);
    assert!(external.is_asserted() && !critical.is_asserted());
}
