/* What is to be done (`job`), and the root file system. */

/* ---- What the host wrote beside this program: lines of `name value`. ---- */

static char job[MOST_PATH];
/* In hexadecimal digits; the last eight are the tag of each message. */
static char token[33];
static u32 tag;
/* Run the guest's own init, and this program beside it. */
static int after_boot;
/* Where the guest's own init is. */
static const char *init = "/init";

static void read_job(void)
{
	read_text(FOLDER "/job", job, sizeof job);
	/* It is secret from what runs here later. */
	CALL3(unlink, FOLDER "/job", 0, 0);
	char *line = job;
	while (*line) {
		char *end = line;
		while (*end && *end != '\n')
			end++;
		char *next = *end ? end + 1 : end;
		*end = 0;
		const char *value;
		if ((value = after(line, "token ")) && length(value) == 32)
			memcpy(token, value, 33);
		else if ((value = after(line, "init ")))
			init = value;
		else if (same(line, "after-boot"))
			after_boot = 1;
		line = next;
	}
	for (int i = 24; i < 32; i++) {
		u8 digit = token[i];
		tag = tag << 4 | (digit <= '9' ? digit - '0' : digit - 'a' + 10);
	}
}

/* ---- The root file system. ---- */

static void mount_at(const char *what, const char *where)
{
	mkdir(where, 0755);
	/* It fails where the kernel has none, or when it is there already. */
	CALL(mount, what, where, what, 0, 0);
}

static void node(const char *path, int mode, u32 major, u32 minor)
{
	CALL3(mknod, path, mode, major << 8 | minor);
}

/* Devices that programs expect, where the kernel has no devtmpfs. */
static void make_nodes(void)
{
	node("/dev/null", S_IFCHR | 0666, 1, 3);
	node("/dev/zero", S_IFCHR | 0666, 1, 5);
	node("/dev/full", S_IFCHR | 0666, 1, 7);
	node("/dev/random", S_IFCHR | 0666, 1, 8);
	node("/dev/urandom", S_IFCHR | 0666, 1, 9);
	node("/dev/tty", S_IFCHR | 0666, 5, 0);
	node("/dev/console", S_IFCHR | 0600, 5, 1);
}

static void mount_all(void)
{
	mount_at("proc", "/proc");
	mount_at("sysfs", "/sys");
	mount_at("devtmpfs", "/dev");
	make_nodes();
	/* Links that devtmpfs leaves to user space. */
	CALL3(symlink, "/proc/self/fd", "/dev/fd", 0);
	CALL3(symlink, "/proc/self/fd/0", "/dev/stdin", 0);
	CALL3(symlink, "/proc/self/fd/1", "/dev/stdout", 0);
	CALL3(symlink, "/proc/self/fd/2", "/dev/stderr", 0);
}

/* A number `major:minor` as a device's. */
static int parse_device(const char *text, u32 *major, u32 *minor)
{
	u32 numbers[2] = { 0, 0 };
	for (int i = 0; i < 2; i++) {
		if (*text < '0' || *text > '9')
			return 0;
		while (*text >= '0' && *text <= '9')
			numbers[i] = numbers[i] * 10 + *text++ - '0';
		if (i == 0 && *text++ != ':')
			return 0;
	}
	*major = numbers[0], *minor = numbers[1];
	return 1;
}

static char command_line[4096];

/* The last `name=value` on the kernel's command line, which is cut up for it; 0 for none. */
static int parameter(const char *name, char *to, int room)
{
	int found = 0;
	const char *at = command_line;
	while (*at) {
		const char *value = after(at, name);
		if (value && *value == '=') {
			int count = 0;
			for (value++; *value && *value != ' ' && count < room - 1; value++)
				to[count++] = *value;
			to[count] = 0;
			found = 1;
		}
		while (*at && *at != ' ')
			at++;
		while (*at == ' ')
			at++;
	}
	return found;
}

/* Whether a word stands on the kernel's command line. */
static int has_word(const char *word)
{
	const char *at = command_line;
	while (*at) {
		const char *end = after(at, word);
		if (end && (*end == 0 || *end == ' '))
			return 1;
		while (*at && *at != ' ')
			at++;
		while (*at == ' ')
			at++;
	}
	return 0;
}

/* Tries the file systems of the kernel's that are on disks. */
static long mount_any(const char *device, const char *where, long flags, const char *options)
{
	static char known[4096];
	long result = -EINVAL;
	if (!read_text("/proc/filesystems", known, sizeof known))
		return result;
	char *line = known;
	while (*line) {
		char *end = line;
		while (*end && *end != '\n')
			end++;
		char *next = *end ? end + 1 : end;
		*end = 0;
		if (*line == '\t') {
			result = CALL(mount, device, where, line + 1, flags, options);
			if (result == 0 || (result != -EINVAL && result != -EPERM))
				return result;
		}
		line = next;
	}
	return result;
}

static const char *why_no_root;

static int exists(const char *path)
{
	struct stat64 status;
	return CALL3(stat64, path, &status, 0) == 0;
}

/* Whether the root is to be a disk, by the kernel's own rule: its command line names one, and there
 * is no init in the initial RAM disk. */
static int wants_disk(void)
{
	static char root[256];
	read_text("/proc/cmdline", command_line, sizeof command_line);
	return !exists(init) && parameter("root", root, sizeof root) && !after(root, "/dev/ram");
}

/* Mounts the disk of `root=` and makes it the root; 0 when that cannot be done. */
static int enter_disk(void)
{
	static char root[256], type[64], options[1024], path[512], device[32];
	u32 major, minor;
	parameter("root", root, sizeof root);
	const char *name = after(root, "/dev/");
	if (!name) {
		why_no_root = "root= must name a device, as in root=/dev/vda";
		return 0;
	}
	append(path, "/sys/class/block/", sizeof path);
	append(path, name, sizeof path);
	append(path, "/dev", sizeof path);
	/* Drivers of disks may still be looking for them. */
	for (int tries = 0; !read_text(path, device, sizeof device) && tries < 400; tries++)
		sleep_ms(5);
	if (!parse_device(device, &major, &minor)) {
		why_no_root = "there is no such disk as root= names";
		return 0;
	}
	mkdir(FOLDER "/root", 0755);
	CALL3(mknod, FOLDER "/disk", S_IFBLK | 0600, (minor & 0xff) | major << 8 | (minor & ~0xff) << 12);
	long flags = has_word("rw") ? 0 : 1;
	parameter("rootflags", options, sizeof options);
	long result;
	if (parameter("rootfstype", type, sizeof type))
		result = CALL(mount, FOLDER "/disk", FOLDER "/root", type, flags, options);
	else
		result = mount_any(FOLDER "/disk", FOLDER "/root", flags, options);
	if (result < 0) {
		why_no_root = "the kernel cannot mount what root= names";
		return 0;
	}
	/* What was mounted for the search goes, so that the new root's own come in its place. */
	CALL3(umount2, "/dev", 2, 0);
	CALL3(umount2, "/sys", 2, 0);
	CALL3(umount2, "/proc", 2, 0);
	CALL3(chdir, FOLDER "/root", 0, 0);
	/* MS_MOVE */
	CALL(mount, ".", "/", 0, 8192, 0);
	CALL3(chroot, ".", 0, 0);
	CALL3(chdir, "/", 0, 0);
	return 1;
}
