# The shortest guest there is: one byte to UART0, then a system reset. Linked to run at 0; the
# loaders of ppckvm and QEMU both map the address space one to one before they enter it.

        .globl  _start
_start:
        lis     4, 0xEF60               # UART0's transmit register at 0xEF600300
        ori     4, 4, 0x0300
        li      5, '!'
        stb     5, 0(4)
        eieio
        lis     6, 0x3000               # DBCR0[RST] = system
        mtspr   308, 6
1:      b       1b
