/*
 * The watchdog up to its reset. The guest starts twice when the machine reboots on a reset: TSR
 * and DBSR tell which time it is.
 */
#include "bare.h"

#define TCR_WRC 0x30000000
#define POWER_OFF 0xEF7FF000

static void tcr_wrc_can_only_be_set(void)
{
    if (mfspr(TSR) & TSR_WRS)
        return skip();
    expect("before", mfspr(TCR) & TCR_WRC, 0);
    mtspr(TCR, 0x10000000);
    mtspr(TCR, 0);
    expect("one bit", mfspr(TCR) & TCR_WRC, 0x10000000);
    mtspr(TCR, 0x20000000);
    expect("both", mfspr(TCR) & TCR_WRC, TCR_WRC);
}

static void a_watchdog_that_is_fed_does_not_reset(void)
{
    if (mfspr(TSR) & TSR_WRS)
        return skip();
    mtspr(TCR, TCR_WRC);
    for (int n = 0; n < 10; n++) {
        at("timeout", n);
        mtspr(TBL_W, 0);
        mtspr(TBL_W, 0x00100000);
        mtspr(TSR, TSR_ENW | TSR_WIS);
        expect("TSR", mfspr(TSR), 0);
    }
}

static void the_reset_is_recorded(void)
{
    if (!(mfspr(TSR) & TSR_WRS))
        return skip();
    expect("TSR[WRS]", mfspr(TSR) & TSR_WRS, 0x30000000);
    expect("TCR[WRC]", mfspr(TCR) & TCR_WRC, 0);
}

void finish(void)
{
    if (mfspr(TSR) & TSR_WRS) {
        store32(POWER_OFF, 0x5555);
        for (;;)
            ;
    }
    mtspr(TCR, TCR_WRC);
    mtspr(TSR, TSR_ENW | TSR_WIS);
    /* Three timeouts of 2^21 ticks, and nobody feeds it. */
    mtspr(TBL_W, 0);
    for (u32 n = 0; n < 0x10000000; n++)
        asm volatile("" : : : "memory");
    print("FAIL the_watchdog_resets: it did not\n");
    system_reset();
}

const struct test tests[] = {
    TEST(tcr_wrc_can_only_be_set), TEST(a_watchdog_that_is_fed_does_not_reset),
    TEST(the_reset_is_recorded), {},
};
