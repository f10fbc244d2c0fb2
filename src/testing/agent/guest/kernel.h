/* Sizes, the kernel's calls, and texts. */

#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <asm/stat.h>
#include <asm/termbits.h>
#include <asm/unistd.h>
#include <linux/reboot.h>
#include <linux/stat.h>

#define FOLDER "/.ppckvm"
#define PORT_NAME "ppckvm.agent"

/* Most bytes of a message's body. A request to run a command is one message. */
#define MOST_BODY 131072
/* Most bytes of data in a message from here. */
#define MOST_DATA 32768
/* Bytes of standard input that the host may be ahead: `WINDOW` in protocol.rs. */
#define WINDOW 65536
#define MOST_PATH 4096
/* Folders that are open while a tree is read. */
#define MOST_DEPTH 64
#define MOST_WORDS 4096

enum {
	EPERM = 1, ENOENT = 2, EINTR = 4, EAGAIN = 11, EACCES = 13, EEXIST = 17, ENOTDIR = 20,
	EINVAL = 22, ENAMETOOLONG = 36, ELOOP = 40,
};

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

struct dirent64 {
	u64 ino;
	long long off;
	unsigned short reclen;
	u8 type;
	char name[];
};

struct pollfd {
	int fd;
	short events, revents;
};

enum { POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16 };

/* ---- The kernel's calls. ---- */

/* A negative result is an error's number. */
static long call(long number, long a, long b, long c, long d, long e)
{
	register long r0 __asm__("r0") = number;
	register long r3 __asm__("r3") = a;
	register long r4 __asm__("r4") = b;
	register long r5 __asm__("r5") = c;
	register long r6 __asm__("r6") = d;
	register long r7 __asm__("r7") = e;
	__asm__ volatile("sc\n\tbns+ 1f\n\tneg %1,%1\n1:"
			 : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7)
			 :
			 : "memory", "cr0", "ctr", "xer", "r8", "r9", "r10", "r11", "r12");
	return r3;
}

#define CALL(number, a, b, c, d, e) \
	call(__NR_##number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define CALL3(number, a, b, c) CALL(number, a, b, c, 0, 0)

static int open(const char *path, int flags, int mode) { return CALL3(open, path, flags, mode); }
static int close(int fd) { return CALL3(close, fd, 0, 0); }
static long read(int fd, void *to, long count) { return CALL3(read, fd, to, count); }
static long write(int fd, const void *from, long count) { return CALL3(write, fd, from, count); }
static long mkdir(const char *path, int mode) { return CALL3(mkdir, path, mode, 0); }

/* ---- Memory and texts; the compiler calls the first two by itself. ---- */

void *memcpy(void *to, const void *from, unsigned long count)
{
	char *t = to;
	const char *f = from;
	while (count--)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int value, unsigned long count)
{
	char *t = to;
	while (count--)
		*t++ = value;
	return to;
}

static int length(const char *text)
{
	int count = 0;
	while (text[count])
		count++;
	return count;
}

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* What follows `start` in `text`, or 0 when it begins otherwise. */
static const char *after(const char *text, const char *start)
{
	while (*start)
		if (*text++ != *start++)
			return 0;
	return text;
}

/* Appends a text; 0 when there is no room for it. */
static int append(char *to, const char *text, int room)
{
	int at = length(to), count = length(text);
	if (at + count + 1 > room)
		return 0;
	memcpy(to + at, text, count + 1);
	return 1;
}

static u32 number_at(const u8 *at)
{
	return (u32)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static void put_number(u8 *at, u32 number)
{
	at[0] = number >> 24, at[1] = number >> 16, at[2] = number >> 8, at[3] = number;
}

static void write_all(int fd, const void *from, long count)
{
	const char *at = from;
	while (count > 0) {
		long done = write(fd, at, count);
		if (done == -EINTR || done == -EAGAIN)
			continue;
		if (done <= 0)
			return;
		at += done, count -= done;
	}
}

static void say(const char *what, const char *of)
{
	char line[256];
	line[0] = 0;
	append(line, "ppckvm agent: ", sizeof line);
	append(line, what, sizeof line);
	append(line, of, sizeof line);
	append(line, "\n", sizeof line);
	write_all(2, line, length(line));
}

/* Reads a small file as a text without its line feed; 0 when it cannot be read. */
static int read_text(const char *path, char *to, int room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	int count = 0;
	while (count < room - 1) {
		long got = read(fd, to + count, room - 1 - count);
		if (got <= 0)
			break;
		count += got;
	}
	close(fd);
	while (count > 0 && to[count - 1] == '\n')
		count--;
	to[count] = 0;
	return 1;
}

static void sleep_ms(int milliseconds)
{
	CALL3(poll, 0, 0, milliseconds);
}
