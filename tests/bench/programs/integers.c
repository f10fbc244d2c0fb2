/*
 * integers [COUNT]: COUNT rounds (1500) of what ordinary programs do with integers: a linked list
 * that is searched, turned and sorted; products of small matrices; a state machine over text; and a
 * CRC of everything, bit by bit. All of it fits a first-level cache, nothing leaves user mode, and
 * the result depends on the rounds alone, so that every machine must print the same.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint16_t crc_byte(uint16_t crc, uint8_t byte)
{
	for (int bit = 0; bit < 8; bit++) {
		int odd = (crc ^ byte) & 1;

		crc >>= 1;
		byte >>= 1;
		if (odd)
			crc ^= 0xA001;
	}
	return crc;
}

static uint16_t crc_word(uint16_t crc, uint32_t word)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		crc = crc_byte(crc, word >> shift);
	return crc;
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* A list. */

enum { ITEMS = 160, SEARCHES = 40 };

struct item {
	struct item *next;
	int16_t key, place;
};

typedef int order(const struct item *, const struct item *);

static int by_key(const struct item *a, const struct item *b)
{
	return a->key != b->key ? a->key - b->key : a->place - b->place;
}

static int by_place(const struct item *a, const struct item *b)
{
	return a->place - b->place;
}

static struct item *merge(struct item *a, struct item *b, order *compare)
{
	struct item *head = NULL, **end = &head;

	while (a && b) {
		struct item **smaller = compare(a, b) <= 0 ? &a : &b;

		*end = *smaller;
		end = &(*end)->next;
		*smaller = *end;
	}
	*end = a ? a : b;
	return head;
}

/* Merges runs of 1, 2, 4... items, kept by the logarithm of their length. */
static struct item *sort(struct item *list, order *compare)
{
	struct item *runs[16] = { NULL };

	while (list) {
		struct item *run = list;
		int n = 0;

		list = list->next;
		run->next = NULL;
		for (; runs[n]; n++) {
			run = merge(runs[n], run, compare);
			runs[n] = NULL;
		}
		runs[n] = run;
	}
	for (int n = 0; n < 16; n++)
		if (runs[n])
			list = list ? merge(runs[n], list, compare) : runs[n];
	return list;
}

static struct item *reverse(struct item *list)
{
	struct item *done = NULL;

	while (list) {
		struct item *rest = list->next;

		list->next = done;
		done = list;
		list = rest;
	}
	return done;
}

static struct item *find(struct item *list, int key)
{
	while (list && list->key != key)
		list = list->next;
	return list;
}

static uint16_t lists(uint16_t crc, uint32_t *random)
{
	static struct item items[ITEMS];
	struct item *list = NULL;

	for (int n = 0; n < ITEMS; n++) {
		items[n].next = list;
		items[n].key = next_random(random) % 256;
		items[n].place = n;
		list = &items[n];
	}
	for (int n = 0; n < SEARCHES; n++) {
		struct item *found = find(list, next_random(random) % 256);

		if (found)
			crc = crc_word(crc, found->place);
		if (n % 8 == 0)
			list = reverse(list);
	}
	list = sort(list, by_key);
	for (struct item *item = list; item; item = item->next)
		crc = crc_byte(crc, item->key);
	list = sort(list, by_place);
	for (struct item *item = list; item; item = item->next)
		crc = crc_byte(crc, item->key);
	return crc;
}

/* Matrices. */

enum { SIDE = 20 };

static int16_t a[SIDE][SIDE], b[SIDE][SIDE];
static int32_t c[SIDE][SIDE];

static void add_constant(int16_t value)
{
	for (int row = 0; row < SIDE; row++)
		for (int column = 0; column < SIDE; column++)
			a[row][column] += value;
}

static void product(void)
{
	for (int row = 0; row < SIDE; row++)
		for (int column = 0; column < SIDE; column++) {
			int32_t sum = 0;

			for (int n = 0; n < SIDE; n++)
				sum += (int32_t)a[row][n] * b[n][column];
			c[row][column] = sum;
		}
}

static void product_of_fields(void)
{
	for (int row = 0; row < SIDE; row++)
		for (int column = 0; column < SIDE; column++) {
			int32_t sum = 0;

			for (int n = 0; n < SIDE; n++) {
				int32_t both = (int32_t)a[row][n] * b[n][column];

				sum += (both >> 2 & 0xF) * (both >> 5 & 0x7F);
			}
			c[row][column] = sum;
		}
}

/* Counts rises and gives a number that depends on the order of the elements. */
static uint32_t digest(void)
{
	uint32_t result = 0;
	int32_t before = 0;

	for (int row = 0; row < SIDE; row++)
		for (int column = 0; column < SIDE; column++) {
			int32_t now = c[row][column];

			result = now > before ? result + 10 : result * 3 + 1;
			before = now;
		}
	return result;
}

static uint16_t matrices(uint16_t crc, uint32_t *random)
{
	for (int row = 0; row < SIDE; row++)
		for (int column = 0; column < SIDE; column++) {
			a[row][column] = next_random(random) % 512 - 256;
			b[row][column] = next_random(random) % 512 - 256;
		}
	product();
	crc = crc_word(crc, digest());
	add_constant(7);
	product_of_fields();
	return crc_word(crc, digest());
}

/* A state machine that reads numbers: 12, -3.5, +6e-4, and what only begins like one. */

enum state { START, SIGNED, INTEGER, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, POWER, WRONG, STATES };

static int is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static enum state step(enum state state, char c)
{
	switch (state) {
	case START:
		if (is_digit(c))
			return INTEGER;
		return c == '+' || c == '-' ? SIGNED : c == '.' ? POINT : WRONG;
	case SIGNED:
		return is_digit(c) ? INTEGER : c == '.' ? POINT : WRONG;
	case INTEGER:
		if (is_digit(c))
			return INTEGER;
		return c == '.' ? FRACTION : c == 'e' || c == 'E' ? EXPONENT : WRONG;
	case POINT:
		return is_digit(c) ? FRACTION : WRONG;
	case FRACTION:
		return is_digit(c) ? FRACTION : c == 'e' || c == 'E' ? EXPONENT : WRONG;
	case EXPONENT:
		return is_digit(c) ? POWER : c == '+' || c == '-' ? EXPONENT_SIGN : WRONG;
	case EXPONENT_SIGN:
	case POWER:
		return is_digit(c) ? POWER : WRONG;
	default:
		return WRONG;
	}
}

static uint16_t numbers(uint16_t crc, uint32_t *random)
{
	static const char *const words[] = { "5012,", "-874,", "+122,", "35.54400,", ".1234500,",
		"-110.700,", "+0.64400,", "5.500e+3,", "-.123e-2,", "-87e+832,", "+0.6e-12,", "T0.3e-1F,",
		"-T.T++Tq,", "1T3.4e4z,", "34.0e-T^," };
	static char text[2000];
	unsigned ended[STATES] = { 0 }, passed[STATES] = { 0 };
	enum state state = START;
	size_t length = 0;

	for (;;) {
		const char *word = words[next_random(random) % 15];

		if (length + strlen(word) >= sizeof text)
			break;
		strcpy(text + length, word);
		length += strlen(word);
	}
	/* Once as it is, once damaged, so that other ways are taken. */
	for (int pass = 0; pass < 2; pass++) {
		for (const char *at = text; *at; at++) {
			if (*at == ',') {
				ended[state]++;
				state = START;
			} else {
				enum state next = step(state, *at);

				passed[next] += next != state;
				state = next;
			}
		}
		for (size_t at = 0; at < length; at += 7)
			if (text[at] != ',')
				text[at] ^= pass + 1;
	}
	for (int n = 0; n < STATES; n++)
		crc = crc_word(crc_word(crc, ended[n]), passed[n]);
	return crc;
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1500;
	uint32_t random = 440;
	uint16_t crc = 0;

	for (int round = 0; round < count; round++) {
		crc = lists(crc, &random);
		crc = matrices(crc, &random);
		crc = numbers(crc, &random);
	}
	printf("integers: %d rounds, result %04x\n", count, crc);
	return 0;
}
