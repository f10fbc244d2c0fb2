/* Time base, decrementer, fixed-interval timer, watchdog up to its interrupt. */
#include "bare.h"

#define MODE (MSR_ME | MSR_CE | MSR_EE | MSR_PR)

/* Loops GPR3 times and counts in GPR4. */
CODE(loop, "mtctr 3\n 1: addi 4,4,1\n bdnz 1b\n");

static u64 time_base(void)
{
    u32 high, low;
    do {
        high = mfspr(TBU);
        low = mfspr(TBL);
    } while (high != mfspr(TBU));
    return (u64)high << 32 | low;
}

static void set_time_base(u32 high, u32 low)
{
    mtspr(TBL_W, 0);
    mtspr(TBU_W, high);
    mtspr(TBL_W, low);
}

static void the_time_base_counts(void)
{
    u64 before = time_base();
    in[3] = 1000;
    run_to_end(loop, MSR_ME);
    expect("it moved on", time_base() - before >= 1000, 1);
    for (int n = 0; n < 100; n++) {
        u64 next = time_base();
        expect("it never goes back", next >= before, 1);
        before = next;
    }
}

static void the_time_base_is_written_and_carries(void)
{
    set_time_base(0x12345678, 0x10000000);
    expect("TBU", mfspr(TBU), 0x12345678);
    expect("TBL", mfspr(TBL) - 0x10000000 < 0x01000000, 1);
    set_time_base(0x12345678, 0xFFFFFF00);
    in[3] = 0x200;
    run_to_end(loop, MSR_ME);
    expect("TBU after the carry", mfspr(TBU), 0x12345679);
    expect("TBL after the carry", mfspr(TBL) < 0x10000000, 1);
    set_time_base(0, 0);
}

static void the_decrementer_counts_down(void)
{
    mtspr(DEC, 0x40000000);
    u32 before = mfspr(DEC);
    in[3] = 1000;
    run_to_end(loop, MSR_ME);
    u32 after = mfspr(DEC);
    expect("it counted", before - after >= 1000 && before - after < 0x10000000, 1);
    expect("no expiry", mfspr(TSR) & TSR_DIS, 0);
}

/* At the rate of the time base. */
static void the_decrementer_counts_as_the_time_base(void)
{
    mtspr(DEC, 0x40000000);
    u32 sum = mfspr(TBL) + mfspr(DEC);
    in[3] = 5000;
    run_to_end(loop, MSR_ME);
    u32 moved = mfspr(TBL) + mfspr(DEC) - sum;
    /* Between the two reads only a little time passes. */
    expect("they stay together", moved + 0x00100000 < 0x00200000, 1);
}

static void the_decrementer_expires_and_stops_at_0(void)
{
    mtspr(DEC, 100);
    in[3] = 1000;
    run_to_end(loop, MSR_ME);
    expect("DIS", mfspr(TSR) & TSR_DIS, TSR_DIS);
    expect("DEC", mfspr(DEC), 0);
    mtspr(TSR, TSR_DIS);
    expect("DIS, cleared", mfspr(TSR) & TSR_DIS, 0);
    in[3] = 1000;
    run_to_end(loop, MSR_ME);
    expect("DEC later", mfspr(DEC), 0);
    expect("DIS later", mfspr(TSR) & TSR_DIS, 0);
}

static void writing_0_to_the_decrementer_is_no_expiry(void)
{
    mtspr(DEC, 0x01000000);
    mtspr(DEC, 0);
    in[3] = 1000;
    run_to_end(loop, MSR_ME);
    expect("DIS", mfspr(TSR) & TSR_DIS, 0);
    expect("DEC", mfspr(DEC), 0);
}

static u32 count;

static int count_and_clear(struct frame *frame)
{
    (void)frame;
    count++;
    mtspr(TSR, TSR_DIS | TSR_FIS);
    return 1;
}

static void the_decrementer_interrupts_once(void)
{
    count = 0;
    hooks[DECREMENTER] = count_and_clear;
    mtspr(TCR, mfspr(TCR) | TCR_DIE);
    mtspr(DEC, 500);
    in[3] = 20000;
    run_to_end(loop, MODE);
    expect("interrupts", count, 1);
    expect("the loop", out[4], 20000);
}

static void the_decrementer_reloads_itself(void)
{
    count = 0;
    hooks[DECREMENTER] = count_and_clear;
    mtspr(DECAR, 0x20000);
    mtspr(TCR, mfspr(TCR) | TCR_DIE | TCR_ARE);
    mtspr(DEC, 1);
    /* As long as it takes for eight periods of TBL, then some more is no matter. */
    u32 started = mfspr(TBL), before = 0;
    do {
        in[3] = 5000;
        run_to_end(loop, MODE);
        before = count;
    } while (mfspr(TBL) - started < 8 * 0x20000 && count < 100);
    u32 passed = mfspr(TBL) - started;
    expect("one interrupt a period", before >= 8 && before <= passed / 0x20000 + 1, 1);
    expect("DEC runs", mfspr(DEC) <= 0x20000 && mfspr(DEC) != 0, 1);
    mtspr(TCR, mfspr(TCR) & ~TCR_ARE);
}

/* A reload of 0 is one: DEC is 0 and stops there. */
static void a_reload_of_0_stops_the_decrementer(void)
{
    mtspr(DECAR, 0);
    mtspr(TCR, mfspr(TCR) | TCR_ARE);
    mtspr(DEC, 100);
    for (int n = 0; n < 2; n++) {
        at("look", n);
        in[3] = 1000;
        run_to_end(loop, MSR_ME);
        expect("DIS", mfspr(TSR) & TSR_DIS, n ? 0 : TSR_DIS);
        expect("DEC", mfspr(DEC), 0);
        mtspr(TSR, TSR_DIS);
    }
    mtspr(TCR, mfspr(TCR) & ~TCR_ARE);
}

/* DIS stays until it is cleared; the request is DIS and DIE and EE. */
static void an_expiry_is_held_until_it_is_cleared(void)
{
    mtspr(DEC, 1);
    in[3] = 10;
    run_to_end(loop, MODE);
    expect("DIS without DIE", mfspr(TSR) & TSR_DIS, TSR_DIS);
    mtspr(TCR, mfspr(TCR) | TCR_DIE);
    run(loop, MODE);
    expect_non_critical(DECREMENTER, loop, MODE);
    run(loop, MODE);
    expect_non_critical(DECREMENTER, loop, MODE);
    mtspr(TCR, mfspr(TCR) & ~TCR_DIE);
    in[3] = 10;
    run_to_end(loop, MODE);
    expect("DIS after them", mfspr(TSR) & TSR_DIS, TSR_DIS);
    /* A new value leaves it. */
    mtspr(DEC, 0x10000000);
    expect("DIS after a write of DEC", mfspr(TSR) & TSR_DIS, TSR_DIS);
    mtspr(TSR, TSR_DIS);
    expect("cleared", mfspr(TSR) & TSR_DIS, 0);
}

/* FIT: bits 12, 16, 20 and 24 of the time base, counted from the least significant. */
static void each_fixed_interval_has_its_bit(void)
{
    for (u32 code = 0; code < 4; code++) {
        u32 bit = 1u << (12 + 4 * code);
        at("period", code);
        set_time_base(0, 0);
        mtspr(TCR, (mfspr(TCR) & ~0x03000000) | code << 24);
        mtspr(TSR, TSR_FIS);
        mtspr(TBL_W, bit - 0x800);
        expect("FIS before", mfspr(TSR) & TSR_FIS, 0);
        /* Until the bit has risen. */
        while (!(mfspr(TBL) & bit))
            ;
        expect("FIS after", mfspr(TSR) & TSR_FIS, TSR_FIS);
        mtspr(TSR, TSR_FIS);
        /* The bit's fall is no timeout. */
        mtspr(TBL_W, bit * 2 - 1);
        in[3] = 10;
        run_to_end(loop, MSR_ME);
        expect("FIS at the fall", mfspr(TSR) & TSR_FIS, 0);
    }
}

static void writing_the_time_base_times_out_too(void)
{
    mtspr(TCR, mfspr(TCR) & ~0x03000000);
    set_time_base(0, 0);
    mtspr(TSR, TSR_FIS);
    mtspr(TBL_W, 0x1000);
    expect("FIS", mfspr(TSR) & TSR_FIS, TSR_FIS);
}

static void the_fixed_interval_repeats(void)
{
    count = 0;
    hooks[FIXED_INTERVAL] = count_and_clear;
    set_time_base(0, 0);
    mtspr(TCR, (mfspr(TCR) & ~0x03000000) | 1 << 24 | TCR_FIE);
    u32 counted;
    do {
        in[3] = 5000;
        run_to_end(loop, MODE);
        counted = count;
    } while (mfspr(TBL) < 8 * 0x20000 && count < 100);
    expect("at least", counted >= 7, 1);
    expect("at most", counted <= mfspr(TBL) / 0x20000 + 1, 1);
}

/* Watchdog: bit 20 of the time base at TCR[WP] = 0. */
static void rise_of_the_watchdogs_bit(u32 bit)
{
    set_time_base(0, 0);
    if (bit < 32)
        mtspr(TBL_W, 1u << bit);
    else
        mtspr(TBU_W, 1);
}

static void the_watchdog_goes_from_enw_to_wis(void)
{
    for (u32 code = 0; code < 4; code++) {
        at("period", code);
        u32 bit = 20 + 4 * code;
        mtspr(TCR, (mfspr(TCR) & ~0xC0000000) | code << 30);
        set_time_base(0, 0);
        mtspr(TSR, TSR_ENW | TSR_WIS);
        rise_of_the_watchdogs_bit(bit);
        expect("after one timeout", mfspr(TSR) & (TSR_ENW | TSR_WIS), TSR_ENW);
        rise_of_the_watchdogs_bit(bit);
        expect("after two", mfspr(TSR) & (TSR_ENW | TSR_WIS), TSR_ENW | TSR_WIS);
        /* TCR[WRC] is 0: a third one does nothing. */
        rise_of_the_watchdogs_bit(bit);
        expect("after three", mfspr(TSR) & (TSR_ENW | TSR_WIS), TSR_ENW | TSR_WIS);
        mtspr(TSR, TSR_WIS);
        expect("WIS cleared", mfspr(TSR) & (TSR_ENW | TSR_WIS), TSR_ENW);
    }
    set_time_base(0, 0);
    mtspr(TCR, mfspr(TCR) & ~0xC0000000);
}

static int clear_watchdog(struct frame *frame)
{
    (void)frame;
    count++;
    mtspr(TSR, TSR_WIS);
    return 1;
}

/* By itself, without a write to the time base: two periods of 2^21 ticks. */
static void the_watchdog_interrupts_by_itself(void)
{
    count = 0;
    hooks[WATCHDOG] = clear_watchdog;
    set_time_base(0, 0);
    mtspr(TSR, TSR_ENW | TSR_WIS);
    mtspr(TBL_W, 0x000FF000);
    mtspr(TCR, mfspr(TCR) | TCR_WIE);
    for (u32 n = 0; n < 2000 && count == 0; n++) {
        in[3] = 5000;
        /* EE is 0: it is a critical interrupt. */
        run_to_end(loop, MSR_ME | MSR_CE);
    }
    expect("interrupts", count, 1);
    expect("the time base", mfspr(TBL) >= 0x00300000, 1);
    set_time_base(0, 0);
}

/* DBCR0[FT]: timers stand still while a debug event is in DBSR. */
static void debug_events_freeze_the_timers(void)
{
    mtspr(DBCR0, DBCR0_IDM | DBG_TRAP | DBCR0_FT);
    asm(".pushsection .text.code; .globl frozen_trap; frozen_trap: trap; .popsection");
    extern u32 frozen_trap[];
    run(frozen_trap, MSR_ME | MSR_DE);
    expect("the interrupt", end.vector, DEBUG);
    mtspr(DEC, 0x01000000);
    u32 tb = mfspr(TBL), dec = mfspr(DEC);
    in[3] = 1000;
    run_to_end(loop, MSR_ME);
    expect("TBL", mfspr(TBL), tb);
    expect("DEC", mfspr(DEC), dec);
    mtspr(DBSR, 0xFFFFFFFF);
    in[3] = 1000;
    run_to_end(loop, MSR_ME);
    expect("TBL moves on", mfspr(TBL) - tb >= 1000, 1);
}

static void tsr_bits_are_cleared_by_ones(void)
{
    mtspr(DEC, 1);
    set_time_base(0, 0);
    mtspr(TCR, mfspr(TCR) & ~0xC3000000);
    mtspr(TBL_W, 0x1000);
    in[3] = 10;
    run_to_end(loop, MSR_ME);
    expect("both", mfspr(TSR) & (TSR_DIS | TSR_FIS), TSR_DIS | TSR_FIS);
    mtspr(TSR, 0);
    expect("zeroes", mfspr(TSR) & (TSR_DIS | TSR_FIS), TSR_DIS | TSR_FIS);
    mtspr(TSR, TSR_FIS);
    expect("one of them", mfspr(TSR) & (TSR_DIS | TSR_FIS), TSR_DIS);
}

const struct test tests[] = {
    TEST(the_time_base_counts), TEST(the_time_base_is_written_and_carries),
    TEST(the_decrementer_counts_down), TEST(the_decrementer_counts_as_the_time_base),
    TEST(the_decrementer_expires_and_stops_at_0), TEST(writing_0_to_the_decrementer_is_no_expiry),
    TEST(the_decrementer_interrupts_once), TEST(the_decrementer_reloads_itself),
    TEST(a_reload_of_0_stops_the_decrementer), TEST(an_expiry_is_held_until_it_is_cleared),
    TEST(each_fixed_interval_has_its_bit), TEST(writing_the_time_base_times_out_too),
    TEST(the_fixed_interval_repeats), TEST(the_watchdog_goes_from_enw_to_wis),
    TEST(the_watchdog_interrupts_by_itself), TEST(debug_events_freeze_the_timers),
    TEST(tsr_bits_are_cleared_by_ones), {},
};
