/* What asks for interrupts, for the guests that take them. */
#ifndef REQUESTS_H
#define REQUESTS_H

#include "bare.h"

/* Every bit but WE and the enables of what would come at once. */
#define USER (MSR_CE | MSR_EE | MSR_PR | MSR_FP | MSR_ME | MSR_FE0 | MSR_DWE | MSR_DE | MSR_FE1 | \
              MSR_IS | MSR_DS)
#define SUPERVISOR (USER & ~MSR_PR)

/* UIC0; input 16 has nothing wired to it. */
#define UIC0_SR 0xC0
#define UIC0_SRS 0xC1
#define UIC0_ER 0xC2
#define UIC0_CR 0xC3
#define UIC0_TR 0xC5
#define INPUT 0x00008000

static inline void uic_request(int critical)
{
    mtdcr(UIC0_TR, INPUT);
    mtdcr(UIC0_CR, critical ? INPUT : 0);
    mtdcr(UIC0_ER, INPUT);
    mtdcr(UIC0_SRS, INPUT);
}

static inline void uic_quiet(void)
{
    mtdcr(UIC0_ER, 0);
    mtdcr(UIC0_TR, 0xFFFFFFFF);
    mtdcr(UIC0_SR, 0xFFFFFFFF);
    mtdcr(UIC0_CR, 0);
}

/* Two rises of the watchdog's bit: ENW, then WIS. */
static inline void watchdog_request(void)
{
    mtspr(TSR, TSR_ENW | TSR_WIS);
    for (int n = 0; n < 2; n++) {
        mtspr(TBL_W, 0);
        mtspr(TBL_W, 0x00100000);
    }
    mtspr(TCR, mfspr(TCR) | TCR_WIE);
}

#endif
