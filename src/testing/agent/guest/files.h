/* Files that come from the host and go to it. */

/* ---- Files that come. ---- */

static void make_folder(void)
{
	const char *path = (const char *)in + 4;
	u32 mode = number_at(in) & 07777;
	long result = mkdir(path, 0700);
	if (result == -EEXIST) {
		struct stat64 status;
		result = CALL3(stat64, path, &status, 0);
		if (result == 0 && (status.st_mode & S_IFMT) != S_IFDIR)
			result = -ENOTDIR;
		/* The mode of a folder that was there stays: it may be /tmp. */
		if (result == 0)
			return send('k', 0);
	}
	if (result == 0)
		result = CALL3(chmod, path, mode, 0);
	result < 0 ? fail(result, path) : send('k', 0);
}

static void make_link(void)
{
	char *at = (char *)in, *end = at + in_count + 1;
	const char *path = next_text(&at, end), *target = next_text(&at, end);
	CALL3(unlink, path, 0, 0);
	long result = CALL3(symlink, target, path, 0);
	result < 0 ? fail(result, path) : send('k', 0);
}

/* Writes a file: data until its end comes. */
static void make_file(void)
{
	static char path[MOST_PATH];
	u32 mode = number_at(in) & 07777;
	path[0] = 0;
	if (!append(path, (const char *)in + 4, sizeof path))
		return fail(-ENAMETOOLONG, "a file's path");
	/* A program that runs cannot be written, but replaced. */
	CALL3(unlink, path, 0, 0);
	long result = 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_LARGEFILE | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(fd, path);
	send('k', 0);
	for (next(); in_kind == 'W'; next()) {
		const u8 *at = in;
		long left = in_count;
		while (left > 0 && result == 0) {
			long done = write(fd, at, left);
			if (done == -EINTR)
				continue;
			if (done < 0) {
				result = done;
				fail(result, path);
				break;
			}
			at += done, left -= done;
		}
		if (result == 0)
			send_count(in_count);
	}
	if (in_kind != 'E')
		die("a message of the host's comes at the wrong time");
	if (result == 0) {
		result = CALL3(fchmod, fd, mode, 0);
		long closed = close(fd);
		if (result == 0)
			result = closed;
		result < 0 ? fail(result, path) : send('k', 0);
		return;
	}
	close(fd);
}

/* ---- Files that go. ---- */

/* Below the path that was asked for; empty for itself. */
static char below[MOST_PATH];

static void send_entry(char kind, u32 mode)
{
	u32 count = length(below);
	put_number(BODY, mode & 07777);
	memcpy(BODY + 4, below, count);
	send(kind, 4 + count);
}

/* Sends what has this name in a folder, unless it is a folder; whether it did not fail. */
static int send_one(int folder, const char *name, const struct stat64 *status)
{
	u32 kind = status->st_mode & S_IFMT;
	if (kind == S_IFLNK) {
		u32 count = length(below);
		memcpy(BODY, below, count + 1);
		long got = CALL(readlinkat, folder, name, BODY + count + 1, MOST_PATH, 0);
		if (got < 0)
			return fail(got, below), 0;
		send('l', count + 1 + got);
		return 1;
	}
	if (kind != S_IFREG) {
		send_text('s', below);
		return 1;
	}
	int fd = CALL(openat, folder, name, O_RDONLY | O_NOFOLLOW | O_LARGEFILE | O_CLOEXEC, 0, 0);
	if (fd < 0)
		return fail(fd, below), 0;
	send_entry('r', status->st_mode);
	for (;;) {
		long got = read(fd, BODY, MOST_DATA);
		if (got == -EINTR)
			continue;
		if (got < 0) {
			close(fd);
			return fail(got, below), 0;
		}
		if (got == 0)
			break;
		send('w', got);
	}
	close(fd);
	return 1;
}

struct level {
	int fd, length;
	long at, count;
	u8 names[1024];
};

static struct level levels[MOST_DEPTH];

/* Sends a folder and all below it; whether nothing failed. */
static int send_tree(int fd)
{
	int depth = 0;
	levels[0].fd = fd, levels[0].length = length(below);
	levels[0].at = levels[0].count = 0;
	while (depth >= 0) {
		struct level *level = &levels[depth];
		below[level->length] = 0;
		if (level->at == level->count) {
			level->at = 0;
			level->count = CALL3(getdents64, level->fd, level->names, sizeof level->names);
			if (level->count < 0)
				return fail(level->count, below), 0;
			if (level->count == 0) {
				close(level->fd);
				depth--;
				continue;
			}
		}
		struct dirent64 *entry = (struct dirent64 *)(level->names + level->at);
		level->at += entry->reclen;
		const char *name = entry->name;
		if (same(name, ".") || same(name, ".."))
			continue;
		struct stat64 status;
		if (!(level->length == 0 || append(below, "/", sizeof below))
		    || !append(below, name, sizeof below))
			return fail(-ENAMETOOLONG, below), 0;
		long result = CALL(fstatat64, level->fd, name, &status, 0x100, 0);
		if (result < 0)
			return fail(result, below), 0;
		if ((status.st_mode & S_IFMT) != S_IFDIR) {
			if (!send_one(level->fd, name, &status))
				return 0;
			continue;
		}
		if (depth + 1 == MOST_DEPTH)
			return fail(-ELOOP, below), 0;
		int inner = CALL(openat, level->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, 0);
		if (inner < 0)
			return fail(inner, below), 0;
		send_entry('d', status.st_mode);
		struct level *deeper = &levels[++depth];
		deeper->fd = inner, deeper->length = length(below);
		deeper->at = deeper->count = 0;
	}
	return 1;
}

static void close_levels(void)
{
	for (int i = 0; i < MOST_DEPTH; i++)
		levels[i].fd = -1;
}

static void send_path(void)
{
	const char *path = (const char *)in;
	struct stat64 status;
	below[0] = 0;
	/* What is asked for is followed; what lies below is sent as it is. */
	long result = CALL3(stat64, path, &status, 0);
	if (result < 0)
		return fail(result, path);
	if ((status.st_mode & S_IFMT) != S_IFDIR) {
		status.st_mode &= ~S_IFMT;
		int fd = open(path, O_RDONLY | O_LARGEFILE | O_CLOEXEC, 0);
		if (fd < 0)
			return fail(fd, path);
		send_entry('r', status.st_mode);
		long got;
		while ((got = read(fd, BODY, MOST_DATA)) > 0 || got == -EINTR)
			if (got > 0)
				send('w', got);
		close(fd);
		return got < 0 ? fail(got, path) : send('k', 0);
	}
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return fail(fd, path);
	send_entry('d', status.st_mode);
	close_levels();
	if (send_tree(fd))
		return send('k', 0);
	for (int i = 0; i < MOST_DEPTH; i++)
		close_end(&levels[i].fd);
}
