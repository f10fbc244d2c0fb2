/*
 * Entry, the 16 interrupt vectors, and `run`, which executes a piece of code and comes back with
 * the interrupt that ended it.
 *
 * The kernel part of a guest runs in supervisor state with MSR = ME. TLB entry 63 maps the first
 * 256 MiB one to one with all permissions, entry 62 does so for address space 1, and entry 61 maps
 * the devices at 0xE0000000.
 */
#include "frame.h"

    .section .vectors, "ax"
    .globl start
start:
    /* What must be mapped first; all other entries go afterwards. */
    li      r3, 0
    mtspr   MMUCR, r3
    mtspr   PID, r3
    lis     r4, 0
    ori     r4, r4, 0x0290          /* EPN 0, V, 256 MiB */
    li      r5, 0
    li      r6, 0x013F              /* G, all permissions */
    li      r7, 63
    tlbwe   r5, r7, 1
    tlbwe   r6, r7, 2
    tlbwe   r4, r7, 0
    ori     r8, r4, 0x0100          /* TS = 1 */
    li      r7, 62
    tlbwe   r5, r7, 1
    tlbwe   r6, r7, 2
    tlbwe   r8, r7, 0
    lis     r4, 0xE000
    ori     r8, r4, 0x0290
    li      r6, 0x0503              /* I, G, SW, SR */
    li      r7, 61
    tlbwe   r4, r7, 1
    tlbwe   r6, r7, 2
    tlbwe   r8, r7, 0
    li      r7, 60
    li      r4, 0
1:  tlbwe   r4, r7, 0
    addic.  r7, r7, -1
    bge     1b
    isync

    lis     r1, kernel_stack_end@h
    ori     r1, r1, kernel_stack_end@l
    stwu    r4, -64(r1)

    lis     r3, vector_0@h
    mtspr   IVPR, r3
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    li      r3, vector_\n@l
    mtspr   IVOR0 + \n, r3
    .endr
    li      r3, 0
    mtspr   TCR, r3
    mtspr   DBCR0, r3
    mtspr   ESR, r3
    /* rfi reaches every bit of the MSR, on any machine. */
    li      r3, MSR_ME
    mtspr   SRR1, r3
    lis     r3, main@h
    ori     r3, r3, main@l
    mtspr   SRR0, r3
    rfi

/*
 * A vector: all registers into the frame of its class, below which its stack is. `pair` is the
 * number of the first save register, `finish` returns through it.
 */
    .macro  vector n, pair, scratch, frame, finish
    .balign 16
vector_\n:
    mtspr   \scratch, r1
    lis     r1, \frame@h
    ori     r1, r1, \frame@l
    stw     r0, 0(r1)
    stmw    r2, 8(r1)
    mfspr   r4, \scratch
    stw     r4, 4(r1)
    mfspr   r4, \pair
    stw     r4, FRAME_PC(r1)
    mfspr   r4, \pair + 1
    stw     r4, FRAME_MSR(r1)
    li      r4, \n
    lis     r5, \finish@h
    ori     r5, r5, \finish@l
    b       record
    .endm

    vector 0, CSRR0, SPRG1, critical_frame, finish_critical
    vector 1, CSRR0, SPRG2, machine_check_frame, finish_critical
    vector 2, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 3, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 4, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 5, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 6, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 7, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 8, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 9, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 10, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 11, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 12, CSRR0, SPRG1, critical_frame, finish_critical
    vector 13, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 14, SRR0, SPRG0, non_critical_frame, finish_non_critical
    vector 15, CSRR0, SPRG1, critical_frame, finish_critical

/* r1 the frame, r4 the vector's number, r5 where to go to resume. */
record:
    stw     r4, FRAME_VECTOR(r1)
    stw     r5, FRAME_FINISH(r1)
    mfmsr   r4
    stw     r4, FRAME_HANDLER_MSR(r1)
    mfcr    r4
    stw     r4, FRAME_CR(r1)
    mflr    r4
    stw     r4, FRAME_LR(r1)
    mfctr   r4
    stw     r4, FRAME_CTR(r1)
    mfxer   r4
    stw     r4, FRAME_XER(r1)
    .macro  keep register, offset
    mfspr   r4, \register
    stw     r4, \offset(r1)
    .endm
    keep    SRR0, FRAME_SRR0
    keep    SRR1, FRAME_SRR0 + 4
    keep    CSRR0, FRAME_CSRR0
    keep    CSRR1, FRAME_CSRR0 + 4
    keep    MCSRR0, FRAME_MCSRR0
    keep    MCSRR1, FRAME_MCSRR0 + 4
    keep    ESR, FRAME_ESR
    keep    DEAR, FRAME_DEAR
    keep    DBSR, FRAME_DBSR
    keep    MCSR, FRAME_MCSR
    keep    TSR, FRAME_TSR
    mr      r3, r1
    li      r4, 0
    stwu    r4, -64(r1)
    bl      interrupt
    cmpwi   r3, 0
    beq     leave
    addi    r1, r1, 64
    lwz     r4, FRAME_CR(r1)
    mtcr    r4
    lwz     r4, FRAME_LR(r1)
    mtlr    r4
    lwz     r4, FRAME_XER(r1)
    mtxer   r4
    lwz     r4, FRAME_FINISH(r1)
    mtctr   r4
    bctr

    .macro  finish pair, return
    lwz     r4, FRAME_CTR(r1)
    mtctr   r4
    lwz     r4, FRAME_PC(r1)
    mtspr   \pair, r4
    lwz     r4, FRAME_MSR(r1)
    mtspr   \pair + 1, r4
    lwz     r0, 0(r1)
    lmw     r2, 8(r1)
    lwz     r1, 4(r1)
    \return
    .endm

finish_non_critical:
    finish  SRR0, rfi
finish_critical:
    finish  CSRR0, rfci

/* void run_from(const struct frame *): becomes what the frame says; an interrupt comes back. */
    .globl  run_from
run_from:
    stwu    r1, -96(r1)
    mflr    r0
    stw     r0, 100(r1)
    stmw    r14, 16(r1)
    mfcr    r0
    stw     r0, 8(r1)
    lis     r4, run_stack@ha
    stw     r1, run_stack@l(r4)
    lwz     r0, FRAME_PC(r3)
    mtspr   SRR0, r0
    lwz     r0, FRAME_MSR(r3)
    mtspr   SRR1, r0
    lwz     r0, FRAME_CR(r3)
    mtcr    r0
    lwz     r0, FRAME_LR(r3)
    mtlr    r0
    lwz     r0, FRAME_CTR(r3)
    mtctr   r0
    lwz     r0, FRAME_XER(r3)
    mtxer   r0
    mr      r1, r3
    lmw     r2, 8(r1)
    lwz     r0, 0(r1)
    lwz     r1, 4(r1)
    rfi

/* The interrupt that ends `run_from`. */
leave:
    lis     r4, run_stack@ha
    lwz     r1, run_stack@l(r4)
    lwz     r0, 8(r1)
    mtcr    r0
    lmw     r14, 16(r1)
    lwz     r0, 100(r1)
    mtspr   SRR0, r0
    addi    r1, r1, 96
    li      r0, MSR_ME
    mtspr   SRR1, r0
    rfi

/* void system_reset(void) */
    .globl  system_reset
system_reset:
    lis     r3, 0x3000
    mtspr   DBCR0, r3
1:  b       1b

    .bss
    .balign 64
    .space  16384
kernel_stack_end:
    .space  8192
non_critical_frame:
    .space  FRAME_SIZE
    .balign 64
    .space  8192
critical_frame:
    .space  FRAME_SIZE
    .balign 64
    .space  8192
machine_check_frame:
    .space  FRAME_SIZE
    .globl  run_stack
    .balign 4
run_stack:
    .space  4
