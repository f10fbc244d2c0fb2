/* What the guests share: running code up to its interrupt, checks, TLB, SPRs, DCRs, the console. */
#ifndef BARE_H
#define BARE_H

#include "frame.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* The interrupts, by the number of their IVOR. */
enum {
    CRITICAL_INPUT, MACHINE_CHECK, DATA_STORAGE, INSTRUCTION_STORAGE, EXTERNAL_INPUT, ALIGNMENT,
    PROGRAM, FP_UNAVAILABLE, SYSTEM_CALL, AP_UNAVAILABLE, DECREMENTER, FIXED_INTERVAL, WATCHDOG,
    DATA_TLB, INSTRUCTION_TLB, DEBUG,
};

/* ESR */
#define ESR_MCI 0x80000000
#define ESR_PIL 0x08000000
#define ESR_PPR 0x04000000
#define ESR_PTR 0x02000000
#define ESR_FP 0x01000000
#define ESR_ST 0x00800000

/* TCR and TSR */
#define TCR_WIE 0x08000000
#define TCR_DIE 0x04000000
#define TCR_FIE 0x00800000
#define TCR_ARE 0x00400000
#define TSR_ENW 0x80000000
#define TSR_WIS 0x40000000
#define TSR_WRS 0x30000000
#define TSR_DIS 0x08000000
#define TSR_FIS 0x04000000

/* DBCR0 and DBSR */
#define DBCR0_IDM 0x40000000
#define DBG_ICMP 0x08000000
#define DBG_BRT 0x04000000
#define DBG_TRAP 0x01000000
#define DBG_IAC1 0x00800000
#define DBG_DAC1R 0x00080000
#define DBG_DAC1W 0x00040000
#define DBG_DAC2R 0x00020000
#define DBG_DAC2W 0x00010000
#define DBCR0_FT 0x00000001

/* CCR0: misaligned integer accesses are Alignment interrupts. */
#define CCR0_FLSTA 0x00000100

/* TLB words */
#define TLB_V 0x200
#define TLB_TS 0x100
#define SIZE_1K 0x00
#define SIZE_4K 0x10
#define SIZE_16K 0x20
#define SIZE_64K 0x30
#define SIZE_256K 0x40
#define SIZE_1M 0x50
#define SIZE_16M 0x70
#define SIZE_256M 0x90
#define TLB_W 0x800
#define TLB_I 0x400
#define TLB_M 0x200
#define TLB_G 0x100
#define TLB_E 0x080
#define UX 0x20
#define UW 0x10
#define UR 0x08
#define SX 0x04
#define SW 0x02
#define SR 0x01
#define ALL 0x3F

/* Registers to start with, or at an interrupt. */
struct frame {
    u32 gpr[32];
    u32 cr, lr, ctr, xer;
    u32 pc, msr; /* at an interrupt: its own pair of save registers */
    u32 vector, finish;
    u32 handler_msr;
    u32 srr[2], csrr[2], mcsrr[2];
    u32 esr, dear, dbsr, mcsr, tsr;
};

#define mfspr(n) ({ u32 v_; asm volatile("mfspr %0, %1" : "=r"(v_) : "i"(n) : "memory"); v_; })
#define mtspr(n, v) asm volatile("mtspr %0, %1; isync" : : "i"(n), "r"((u32)(v)) : "memory")
#define mfdcr(n) ({ u32 v_; asm volatile("mfdcr %0, %1" : "=r"(v_) : "i"(n) : "memory"); v_; })
#define mtdcr(n, v) asm volatile("mtdcr %0, %1" : : "i"(n), "r"((u32)(v)) : "memory")

/* Code to run: ends with `sc`, so that a run that meets no other interrupt ends there. */
#define CODE(name, text) \
    asm(".pushsection .text.code; .balign 32; .globl " #name "\n" #name ":\n" text \
        "\n sc\n b .\n .popsection"); \
    extern u32 name[]

/* Registers of the next run, all zero before each; its end is in `end`. */
extern struct frame start_of_run, end;
#define in start_of_run.gpr
#define out end.gpr

/*
 * Runs `code` with `msr` and the registers in `start_of_run` until an interrupt that no hook
 * takes; gives its number. Before, the save registers, ESR and DEAR get values that nothing else
 * uses.
 */
int run(const void *code, u32 msr);
/* As `run`, and the end must be the `sc`. */
void run_to_end(const void *code, u32 msr);

#define OLD_CSRR0 0xC0C0C0C0
#define OLD_CSRR1 0x00020200
#define OLD_MCSRR0 0x3C3C3C3C
#define OLD_MCSRR1 0x00001200
#define OLD_DEAR 0xDEADDEA0
/* MCI stays set over every interrupt. */
#define OLD_ESR (ESR_MCI | 0x00080000)

/* Called at an interrupt; the run goes on from the frame when it gives 1, and ends when 0. */
typedef int hook(struct frame *);
extern hook *hooks[16];
/* The interrupts of the last run in order, those that hooks took and the one that ended it. */
extern u32 taken[64], taken_count;

/* A check: fails the test and goes on. Several in one test are told apart by `what`. */
void expect(const char *what, u32 got, u32 want);
/* A detail that is printed with a failure, for tests in loops. */
void at(const char *what, u32 value);

/* This test has nothing to say on this start: neither PASS nor FAIL. */
void skip(void);

/* The end is interrupt `vector` of that class, at `pc`, in `msr`; the other classes' save
   registers hold what they held. */
void expect_non_critical(int vector, const void *pc, u32 msr);
void expect_critical(int vector, const void *pc, u32 msr);
void expect_taken(u32 count, const u8 *vectors);

/* TLB */
void tlb_set(u32 index, u32 ea, u32 size, u32 real, u32 word2);
void tlb_set_tid(u32 index, u32 ea, u32 size, u32 real, u32 word2, u32 tid);
void tlb_clear(u32 index);
/* Entries 0 to 59. */
void tlb_clear_all(void);
void tlbwe0(u32 index, u32 value);
void tlbwe1(u32 index, u32 value);
void tlbwe2(u32 index, u32 value);
u32 tlbre0(u32 index);
u32 tlbre1(u32 index);
u32 tlbre2(u32 index);

/* Memory that no guest is linked into and no loader uses, at least 16 MiB from here on. */
#define FREE 0x04000000u
/* An effective address that nothing maps unless a test does. */
#define EA 0x50000000u

static inline u32 load32(u32 address) { return *(volatile u32 *)address; }
static inline void store32(u32 address, u32 value) { *(volatile u32 *)address = value; }
static inline u8 load8(u32 address) { return *(volatile u8 *)address; }
static inline void store8(u32 address, u8 value) { *(volatile u8 *)address = value; }
void copy_code(u32 to, const u32 *code, u32 words);
void fill(u32 address, u32 bytes, u8 first);

void system_reset(void) __attribute__((noreturn));
void print(const char *text);
void print_hex(u32 value);

struct test {
    const char *name;
    void (*run)(void);
};
/* Each guest's own; a null name ends it. */
extern const struct test tests[];
#define TEST(name) { #name, name }
/* Called after the last test; resets the system unless the guest has something else. */
void finish(void) __attribute__((noreturn));

#endif
