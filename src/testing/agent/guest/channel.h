/* The channel to the host, and the messages on it. */

/* ---- The channel. ---- */

static int channel = -1;

/* A file descriptor that no command's standard files get. */
static int high(int fd)
{
	if (fd < 0)
		return fd;
	int copy = CALL3(fcntl, fd, F_DUPFD, 10);
	close(fd);
	if (copy >= 0)
		CALL3(fcntl, copy, F_SETFD, FD_CLOEXEC);
	return copy;
}

/* Calls `found` with each name in a folder until it returns other than -1. */
static int search(const char *folder, int (*found)(const char *folder, const char *name))
{
	static u8 names[4096];
	int result = -1;
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	long count;
	while (result < 0 && (count = CALL3(getdents64, fd, names, sizeof names)) > 0)
		for (long at = 0; at < count && result < 0;) {
			struct dirent64 *entry = (struct dirent64 *)(names + at);
			at += entry->reclen;
			if (entry->name[0] != '.')
				result = found(folder, entry->name);
		}
	close(fd);
	return result;
}

static int read_below(const char *folder, const char *name, const char *file, char *to, int room)
{
	char path[512];
	path[0] = 0;
	return append(path, folder, sizeof path) && append(path, "/", sizeof path)
		&& append(path, name, sizeof path) && append(path, file, sizeof path)
		&& read_text(path, to, room);
}

static int open_port(const char *folder, const char *name)
{
	char text[64];
	u32 major, minor;
	if (!read_below(folder, name, "/name", text, sizeof text) || !same(text, PORT_NAME))
		return -1;
	if (!read_below(folder, name, "/dev", text, sizeof text) || !parse_device(text, &major, &minor))
		return -1;
	node(FOLDER "/port", S_IFCHR | 0600, major, minor);
	return open(FOLDER "/port", O_RDWR | O_CLOEXEC, 0);
}

/* Whether this virtio device has ports. */
static int has_ports(const char *folder, const char *name)
{
	char text[64];
	return read_below(folder, name, "/device", text, sizeof text) && same(text, "0x0003") ? 1 : -1;
}

/* A port of the virtio console driver's. The driver hears of its ports after it has come up. */
static int open_virtio(void)
{
	int driver = open("/sys/class/virtio-ports", O_RDONLY | O_CLOEXEC, 0);
	if (driver < 0)
		return -1;
	close(driver);
	if (search("/sys/bus/virtio/devices", has_ports) < 0)
		return -1;
	for (int tries = 0; tries < 1000; tries++) {
		int fd = search("/sys/class/virtio-ports", open_port);
		if (fd >= 0)
			return fd;
		sleep_ms(2);
	}
	return -1;
}

/* The second serial port, with nothing between its bytes and this program. */
static int open_serial(void)
{
	struct termios settings;
	node(FOLDER "/serial", S_IFCHR | 0600, 4, 65);
	int fd = open(FOLDER "/serial", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	memset(&settings, 0, sizeof settings);
	if (CALL3(ioctl, fd, TCGETS, &settings) < 0) {
		close(fd);
		return -1;
	}
	settings.c_iflag = 0;
	settings.c_oflag = 0;
	settings.c_lflag = 0;
	settings.c_cflag = B115200 | CS8 | CREAD | CLOCAL;
	settings.c_cc[VMIN] = 1;
	settings.c_cc[VTIME] = 0;
	CALL3(ioctl, fd, TCSETS, &settings);
	CALL3(ioctl, fd, TIOCEXCL, 0);
	return fd;
}

static void die(const char *why)
{
	say(why, "; the machine is powered off");
	CALL3(sync, 0, 0, 0);
	CALL(reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, 0, 0);
	CALL(reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART, 0, 0);
	for (;;)
		sleep_ms(1000);
}

/* Reads exactly so many bytes; the channel's end is this program's. */
static void receive(void *to, long count)
{
	char *at = to;
	while (count > 0) {
		long got = read(channel, at, count);
		if (got == -EINTR || got == -EAGAIN)
			continue;
		if (got <= 0)
			die("the channel to the host has ended");
		at += got, count -= got;
	}
}

/* Room for a header in front of a body, so that both go out in one call. */
static u8 out[8 + MOST_DATA];
#define BODY (out + 8)

/* Sends the first bytes of the body as a message. */
static void send(char kind, u32 count)
{
	put_number(out, tag);
	put_number(out + 4, (u32)kind << 24 | count);
	write_all(channel, out, 8 + count);
}

static void send_text(char kind, const char *text)
{
	u32 count = length(text);
	memcpy(BODY, text, count);
	send(kind, count);
}

static void send_count(u32 count)
{
	put_number(BODY, count);
	send('c', 4);
}

/* Says that a request failed: an error's number and what it is about. */
static void fail(long error, const char *what)
{
	u32 count = length(what);
	put_number(BODY, -error);
	memcpy(BODY + 4, what, count);
	send('f', 4 + count);
}

/* The next message. */
static u8 in[MOST_BODY + 1];
static char in_kind;
static u32 in_count;

static void next(void)
{
	u8 header[8];
	receive(header, 8);
	in_kind = header[4];
	in_count = number_at(header + 4) & 0xffffff;
	if (number_at(header) != tag || in_count > MOST_BODY)
		die("a message of the host's is broken");
	receive(in, in_count);
	in[in_count] = 0;
}
