/* Numbers that assembly and C share: registers under the manual's names, and the frame. */
#ifndef FRAME_H
#define FRAME_H

#define DEC 22
#define SRR0 26
#define SRR1 27
#define PID 48
#define DECAR 54
#define CSRR0 58
#define CSRR1 59
#define DEAR 61
#define ESR 62
#define IVPR 63
#define USPRG0 256
#define TBL 268
#define TBU 269
#define SPRG0 272
#define SPRG1 273
#define SPRG2 274
#define SPRG3 275
#define TBL_W 284
#define TBU_W 285
#define PVR 287
#define DBSR 304
#define DBCR0 308
#define DBCR1 309
#define DBCR2 310
#define IAC1 312
#define IAC2 313
#define IAC3 314
#define IAC4 315
#define DAC1 316
#define DAC2 317
#define TSR 336
#define TCR 340
#define IVOR0 400
#define MCSRR0 570
#define MCSRR1 571
#define MCSR 572
#define MMUCR 946
#define CCR0 947

#define MSR_WE 0x00040000
#define MSR_CE 0x00020000
#define MSR_EE 0x00008000
#define MSR_PR 0x00004000
#define MSR_FP 0x00002000
#define MSR_ME 0x00001000
#define MSR_FE0 0x00000800
#define MSR_DWE 0x00000400
#define MSR_DE 0x00000200
#define MSR_FE1 0x00000100
#define MSR_IS 0x00000020
#define MSR_DS 0x00000010

/* struct frame of bare.h */
#define FRAME_CR 128
#define FRAME_LR 132
#define FRAME_CTR 136
#define FRAME_XER 140
#define FRAME_PC 144
#define FRAME_MSR 148
#define FRAME_VECTOR 152
#define FRAME_FINISH 156
#define FRAME_HANDLER_MSR 160
#define FRAME_SRR0 164
#define FRAME_CSRR0 172
#define FRAME_MCSRR0 180
#define FRAME_ESR 188
#define FRAME_DEAR 192
#define FRAME_DBSR 196
#define FRAME_MCSR 200
#define FRAME_TSR 204
#define FRAME_SIZE 208

#endif
