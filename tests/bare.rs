//! Guests without an operating system, for what only supervisor code sees.
//!
//! Each guest checks itself and prints `PASS name` or `FAIL name: what is .., not ..`. The lists
//! here say which names must come, so that a check cannot vanish. The sources are in
//! `tests/guests/bare`, and so is how QEMU fares with the same guests.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::PathBuf;

use ppckvm::testing::Guest;
use ppckvm::{Clock, Cpu, Machine, OnReset, Outcome, ResetKind};

fn guest(name: &str) -> PathBuf {
    let folder = std::env::var_os("BARE_GUESTS").unwrap_or_else(|| {
        panic!(
            "BARE_GUESTS is not set: the guests are missing; run tests/run.sh, or build them and \
             set their paths with: set -a; eval \"$(tests/guests/build.sh all)\"; set +a"
        )
    });
    let path = PathBuf::from(folder).join(format!("{name}.elf"));
    assert!(
        path.is_file(),
        "{} is missing; build the guests again with tests/guests/build.sh all",
        path.display()
    );
    path
}

/// Boots a guest to its end. Time is counted in instructions: the same run each time.
fn boot(name: &str, cpu: Cpu, on_reset: OnReset) -> (Outcome, String) {
    let machine = Machine::new()
        .kernel(guest(name))
        .cpu(cpu)
        .clock(Clock::Virtual)
        .on_reset(on_reset);
    let mut guest = Guest::start(machine).unwrap();
    let outcome = guest.end().unwrap();
    (outcome, guest.vm.output_text())
}

/// Holds what a guest printed against the checks that it must have made, in their order.
fn assert_passed(name: &str, output: &str, checks: &[&str]) {
    let failures: Vec<_> = output.lines().filter(|l| l.contains("FAIL")).collect();
    assert!(failures.is_empty(), "{name}:\n{}", failures.join("\n"));
    let passed: Vec<_> = output
        .lines()
        .filter_map(|l| l.strip_prefix("PASS "))
        .collect();
    assert_eq!(passed, checks, "{name}:\n{output}");
}

fn passes(name: &str, checks: &[&str]) {
    for cpu in [Cpu::Interp, Cpu::Auto] {
        let (outcome, output) = boot(name, cpu, OnReset::Exit);
        assert_passed(name, &output, checks);
        assert_eq!(
            outcome,
            Outcome::Reset(ResetKind::System),
            "{name} on {cpu:?}"
        );
    }
    // Past the test harness, which keeps what a test that passes prints.
    let _ = writeln!(
        std::io::stderr(),
        "bare-metal guest {name}: {} checks on 2 CPU tiers",
        checks.len()
    );
}

#[test]
fn interrupts_are_the_manuals() {
    passes(
        "interrupts",
        &[
            "system_call",
            "program_illegal",
            "program_privileged",
            "sprs_of_problem_state",
            "program_trap",
            "program_floating_point",
            "fp_unavailable",
            "data_tlb",
            "data_storage",
            "hints_never_fault",
            "instruction_tlb",
            "instruction_storage",
            "integer_accesses_need_no_alignment",
            "integer_accesses_are_aligned_under_flsta",
            "floats_need_words_in_one_quadword",
            "dcbz_needs_a_page_that_is_cached",
            "external_input",
            "critical_input",
            "decrementer",
            "fixed_interval",
            "watchdog",
            "debug_trap_event",
            "machine_check",
            "unclaimed_addresses_read_0",
            "the_msr_has_twelve_bits",
            "each_return_takes_its_own_pair",
            "vectors_have_16_and_12_bits",
        ],
    );
}

#[test]
fn interrupts_nest_and_go_first_as_the_manual_says() {
    passes(
        "order",
        &[
            "critical_nests_in_non_critical",
            "critical_waits_for_critical",
            "asynchronous_priorities",
            "priorities_inside_an_instruction",
            "reservations_over_interrupts",
            "a_store_conditional_survives_its_fault",
            "wait_ends_with_the_decrementer",
            "wait_ends_with_the_fixed_interval",
            "wait_ends_with_the_watchdog",
            "wait_with_a_request_pending_is_over_at_once",
        ],
    );
}

#[test]
fn translation_is_the_manuals() {
    passes(
        "mmu",
        &[
            "page_1k",
            "page_4k",
            "page_16k",
            "page_64k",
            "page_256k",
            "page_1m",
            "page_16m",
            "page_256m",
            "low_bits_of_epn_and_rpn_do_not_count",
            "pages_of_1k_are_apart",
            "the_address_space_is_part_of_the_match",
            "the_pid_is_part_of_the_match",
            "each_combination_of_permissions",
            "user_and_supervisor_see_their_own_permissions",
            "little_endian_data",
            "little_endian_code",
            "two_byte_orders_of_one_page",
            "tlbsx_finds_by_space_and_tid",
            "entries_read_back_word_by_word",
            "one_word_at_a_time_takes_effect_at_once",
            "replaced_entries_no_longer_translate",
            "code_of_a_replaced_entry_does_not_run",
            "a_miss_in_the_second_page_changes_nothing",
            "no_permission_in_the_second_page_changes_nothing",
            "a_fault_in_the_first_page_names_the_access",
            "accesses_cross_into_another_real_page",
            "lmw_restarts",
            "stmw_restarts",
            "lswi_restarts",
            "stswi_restarts",
            "lswx_restarts",
            "stswx_restarts",
            "a_string_of_no_bytes_touches_nothing",
            "a_fetch_in_the_next_page_misses_there",
            "accesses_wrap_at_the_end_of_the_address_space",
        ],
    );
}

#[test]
fn timers_are_the_manuals() {
    passes(
        "timers",
        &[
            "the_time_base_counts",
            "the_time_base_is_written_and_carries",
            "the_decrementer_counts_down",
            "the_decrementer_counts_as_the_time_base",
            "the_decrementer_expires_and_stops_at_0",
            "writing_0_to_the_decrementer_is_no_expiry",
            "the_decrementer_interrupts_once",
            "the_decrementer_reloads_itself",
            "a_reload_of_0_stops_the_decrementer",
            "an_expiry_is_held_until_it_is_cleared",
            "each_fixed_interval_has_its_bit",
            "writing_the_time_base_times_out_too",
            "the_fixed_interval_repeats",
            "the_watchdog_goes_from_enw_to_wis",
            "the_watchdog_interrupts_by_itself",
            "debug_events_freeze_the_timers",
            "tsr_bits_are_cleared_by_ones",
        ],
    );
}

#[test]
fn changed_code_runs_changed() {
    passes(
        "code",
        &[
            "changed_from_outside_with_the_sequence",
            "changed_from_outside_without_the_sequence",
            "changed_byte_by_byte",
            "changed_through_another_address",
            "changes_itself_with_the_sequence",
            "changes_itself_without_the_sequence",
            "changes_its_next_instruction",
            "a_loop_changes_itself_each_time_round",
            "a_loop_changes_what_it_calls",
            "a_hot_loop_is_patched",
            "every_store_changes_code",
            "a_store_over_a_page_end_changes_code",
            "a_mapping_changes_under_code",
            "invalidating_the_caches_keeps_memory",
            "data_beside_code",
        ],
    );
}

#[test]
fn debug_events_are_the_manuals() {
    passes(
        "debug",
        &[
            "each_instruction_compare_stops_before_it",
            "two_compares_are_told_apart",
            "compares_need_idm_and_de",
            "compares_choose_user_or_supervisor",
            "compares_take_ranges",
            "data_compares_tell_loads_from_stores",
            "data_compares_look_at_each_byte",
            "a_watchpoint_is_stepped_over",
            "a_miss_goes_before_the_data_compare",
            "single_steps_stop_behind_each_instruction",
            "single_steps_go_over_device_accesses",
            "a_trap_event_goes_before_the_program_interrupt",
            "a_branch_event_is_one_of_a_taken_branch",
            "dbsr_is_cleared_by_ones",
            "handlers_of_critical_interrupts_are_not_watched",
        ],
    );
}

#[test]
fn the_boards_units_answer() {
    passes(
        "board",
        &[
            "registers_read_back",
            "status_is_set_by_srs_and_cleared_by_ones",
            "cr_chooses_the_output",
            "the_vector_is_that_of_the_first_critical_input",
            "a_level_input_pends_as_long_as_its_line",
            "an_edge_input_pends_once_per_edge",
            "polarity_turns_level_and_edge_round",
            "uic1_comes_through_inputs_30_and_31",
            "looped_bytes_interrupt_and_arrive",
            "the_uart_has_its_registers",
            "sdram0_tells_the_memory_size",
            "cpr0_and_sdr0_tell_the_clocks",
            "the_mal_comes_out_of_its_reset",
            "dcrs_of_nobody_do_not_trap",
        ],
    );
}

#[test]
fn the_watchdog_resets_and_leaves_its_mark() {
    let before = [
        "tcr_wrc_can_only_be_set",
        "a_watchdog_that_is_fed_does_not_reset",
    ];
    for cpu in [Cpu::Interp, Cpu::Auto] {
        let (outcome, output) = boot("watchdog", cpu, OnReset::Exit);
        assert_passed("watchdog", &output, &before);
        assert_eq!(outcome, Outcome::WatchdogReset(ResetKind::System));
        // The same guest after that reset finds its cause and powers off.
        let (outcome, output) = boot("watchdog", cpu, OnReset::Reboot);
        let both = [before[0], before[1], "the_reset_is_recorded"];
        assert_passed("watchdog", &output, &both);
        assert_eq!(outcome, Outcome::PoweredOff);
    }
    let _ = writeln!(
        std::io::stderr(),
        "bare-metal guest watchdog: 3 checks on 2 CPU tiers"
    );
}
