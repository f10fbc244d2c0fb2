/*
 * Writes a pattern to the first virtio disk for ever, to be killed at any time.
 *
 * Request number i follows from the seed alone: what it does, where, and to how many units of 4 KiB.
 * It prints `seed S units N`, a dot for each request that is done, and `flushed I` when all requests
 * below I are flushed; numbers are hexadecimal. tests/disk_kills.rs makes the same requests and holds
 * the image against them.
 */
#include "bare.h"

/* virtio-mmio, of which the board has 32; registers are little-endian. */
#define SLOT(n) (0xEF700000u + 0x200u * (n))
#define SLOTS 32
#define DEVICE_ID 0x08
#define DRIVER_FEATURES 0x20
#define DRIVER_FEATURES_SEL 0x24
#define QUEUE_NUM 0x38
#define QUEUE_READY 0x44
#define QUEUE_NOTIFY 0x50
#define STATUS 0x70
#define QUEUE_DESC 0x80
#define QUEUE_DRIVER 0x90
#define QUEUE_DEVICE 0xA0
#define CAPACITY 0x100
#define BLOCK_DEVICE 2
#define FLUSH_DISCARD_ZEROES (1u << 9 | 1u << 13 | 1u << 14)

enum { IN, OUT, FLUSH = 4, DISCARD = 11, ZEROES = 13 };

#define ENTRIES 4
#define UNIT 4096
#define MOST_UNITS 16

struct descriptor {
    u32 address, high, length;
    u16 flags, next;
};

static volatile struct descriptor descriptors[ENTRIES] __attribute__((aligned(4096)));
static volatile u16 available[2 + ENTRIES + 1] __attribute__((aligned(4096)));
static volatile u16 used[2 + 4 * ENTRIES + 1] __attribute__((aligned(4096)));
static u32 data[MOST_UNITS * UNIT / 4] __attribute__((aligned(4096)));
static u32 header[4], range[4];
static volatile u8 status;
static u32 slot, state;
static u16 requests;

static u32 swap(u32 value) { return __builtin_bswap32(value); }
static u16 swap16(u16 value) { return __builtin_bswap16(value); }
static u32 get(u32 reg) { return swap(load32(slot + reg)); }
static void set(u32 reg, u32 value) { store32(slot + reg, swap(value)); }

static u32 next_random(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static void describe(u32 number, volatile void *at, u32 length, u16 flags)
{
    descriptors[number].address = swap((u32)at);
    descriptors[number].high = 0;
    descriptors[number].length = swap(length);
    descriptors[number].flags = swap16(flags);
    descriptors[number].next = swap16(number + 1);
}

/* Does one request; gives its status. */
static u8 request(u32 kind, u32 unit, void *bytes, u32 length)
{
    header[0] = swap(kind);
    header[1] = 0;
    header[2] = swap(unit * (UNIT / 512));
    header[3] = 0;
    status = 0xEE;
    describe(0, header, sizeof header, 1);
    if (length)
        describe(1, bytes, length, 1);
    describe(length ? 2 : 1, &status, 1, 2);
    available[2 + requests % ENTRIES] = 0;
    requests++;
    asm volatile("msync" : : : "memory");
    available[1] = swap16(requests);
    asm volatile("msync" : : : "memory");
    set(QUEUE_NOTIFY, 0);
    while (swap16(used[1]) != requests)
        ;
    asm volatile("msync" : : : "memory");
    return status;
}

static int find_disk(void)
{
    for (u32 n = 0; n < SLOTS; n++) {
        slot = SLOT(n);
        if (get(DEVICE_ID) == BLOCK_DEVICE)
            return 1;
    }
    return 0;
}

static void start_disk(void)
{
    set(STATUS, 0);
    set(STATUS, 3);
    set(DRIVER_FEATURES_SEL, 0);
    set(DRIVER_FEATURES, FLUSH_DISCARD_ZEROES);
    set(DRIVER_FEATURES_SEL, 1);
    set(DRIVER_FEATURES, 1);
    set(STATUS, 11);
    set(QUEUE_NUM, ENTRIES);
    set(QUEUE_DESC, (u32)descriptors);
    set(QUEUE_DRIVER, (u32)available);
    set(QUEUE_DEVICE, (u32)used);
    set(QUEUE_READY, 1);
    set(STATUS, 15);
}

static void failed(const char *what, u32 number)
{
    print("failed ");
    print(what);
    print(" ");
    print_hex(number);
    print("\n");
}

static void pattern(void)
{
    if (!find_disk()) {
        print("no disk\n");
        return;
    }
    start_disk();
    u32 seed = mfspr(268) * 2654435761u | 1;
    u32 units = get(CAPACITY) / (UNIT / 512);
    print("seed ");
    print_hex(seed);
    print(" units ");
    print_hex(units);
    print("\n");
    state = seed;
    for (u32 number = 0;;) {
        u32 together = 1 + next_random() % 8;
        for (u32 n = 0; n < together; n++, number++) {
            u32 kind = next_random() % 10;
            u32 count = 1 + next_random() % MOST_UNITS;
            u32 unit = next_random() % (units - MOST_UNITS);
            u8 end;
            if (kind < 7) {
                u32 *to = data;
                for (u32 n = 0; n < count; n++)
                    for (u32 w = 0; w < UNIT / 16; w++) {
                        *to++ = seed;
                        *to++ = number;
                        *to++ = unit + n;
                        *to++ = ~number;
                    }
                end = request(OUT, unit, data, count * UNIT);
            } else {
                range[0] = swap(unit * (UNIT / 512));
                range[1] = 0;
                range[2] = swap(count * (UNIT / 512));
                range[3] = kind == 9 ? swap(1) : 0;
                end = request(kind == 7 ? DISCARD : ZEROES, 0, range, sizeof range);
            }
            print(".");
            if (end)
                failed("request", number);
        }
        if (request(FLUSH, 0, 0, 0))
            failed("flush", number);
        else {
            print("\nflushed ");
            print_hex(number);
            print("\n");
        }
    }
}

const struct test tests[] = { TEST(pattern), { 0, 0 } };
