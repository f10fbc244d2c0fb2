/* Commands: a process, its standard files, and how it ended. */

/* ---- The guest's own init, which runs beside this program with --init after-boot. ---- */

static int processes = -1;

/* Goes where init has its root by now. */
static void follow_init(void)
{
	if (!after_boot)
		return;
	/* O_PATH, which Linux has since 2.6.39; without it, the root stays as it was. */
	int root = CALL(openat, processes, "1/root", O_DIRECTORY | O_CLOEXEC, 0, 0);
	if (root < 0)
		return;
	if (CALL3(fchdir, root, 0, 0) == 0)
		CALL3(chroot, ".", 0, 0);
	close(root);
}

/* ---- Commands. ---- */

static char *words[MOST_WORDS + 2];

/* The value of a variable in an environment. */
static const char *variable(char **environment, const char *name)
{
	for (; *environment; environment++) {
		const char *value = after(*environment, name);
		if (value && *value == '=')
			return value + 1;
	}
	return 0;
}

static void cannot_run(const char *what, long error)
{
	const char *why = error == -ENOENT ? ": no such command\n"
		: error == -EACCES ? ": it may not be run\n"
		: ": the kernel cannot run it\n";
	write_all(2, what, length(what));
	write_all(2, why, length(why));
	CALL3(exit_group, error == -ENOENT ? 127 : 126, 0, 0);
}

/* Becomes the command. */
static void become(char **argv, char **environment)
{
	static char path[MOST_PATH];
	const char *name = argv[0];
	for (const char *at = name; *at; at++)
		if (*at == '/')
			cannot_run(name, CALL3(execve, name, argv, environment));
	const char *folders = variable(environment, "PATH");
	long result = -ENOENT;
	while (folders && *folders) {
		int count = 0;
		while (*folders && *folders != ':' && count < MOST_PATH - 2)
			path[count++] = *folders++;
		path[count++] = '/';
		path[count] = 0;
		if (append(path, name, sizeof path)) {
			long tried = CALL3(execve, path, argv, environment);
			if (tried != -ENOENT && tried != -ENOTDIR)
				result = tried;
		}
		while (*folders && *folders != ':')
			folders++;
		if (*folders)
			folders++;
	}
	cannot_run(name, result);
}

struct process {
	/* Its standard files' other ends, and where its status comes; -1 for one that is closed. */
	int in, out, error, status;
};

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int pipe_pair(int *ends)
{
	return CALL3(pipe2, ends, O_CLOEXEC, 0);
}

/* How ready the kernel is to end this process for want of memory: -1000 for not at all. */
static void set_oom_score(const char *score)
{
	int fd = CALL(openat, processes, "self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0, 0);
	if (fd < 0)
		return;
	write(fd, score, length(score));
	close(fd);
}

/* Starts a command in a process of its own, whose parent waits for it and writes its status into a
 * pipe: the same on every kernel, and without signals. */
static int start(struct process *process, int has_input, const char *folder, char **argv,
		 char **environment)
{
	int pipes[4][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 } };
	for (int i = 0; i < 4; i++) {
		int result = pipe_pair(pipes[i]);
		if (result < 0)
			return result;
	}
	int watcher = CALL3(fork, 0, 0, 0);
	if (watcher < 0)
		return watcher;
	if (watcher == 0) {
		int child = CALL3(fork, 0, 0, 0);
		if (child == 0) {
			CALL3(setsid, 0, 0, 0);
			/* The kernel may end it for want of memory, unlike this program. */
			set_oom_score("0");
			CALL3(dup2, pipes[0][0], 0, 0);
			CALL3(dup2, pipes[1][1], 1, 0);
			CALL3(dup2, pipes[2][1], 2, 0);
			long result = CALL3(chdir, folder, 0, 0);
			if (result < 0)
				cannot_run(folder, result);
			become(argv, environment);
		}
		close(pipes[0][0]), close(pipes[0][1]);
		close(pipes[1][0]), close(pipes[1][1]);
		close(pipes[2][0]), close(pipes[2][1]);
		int status = child;
		if (child > 0)
			while (CALL(wait4, child, &status, 0, 0, 0) == -EINTR)
				;
		write_all(pipes[3][1], &status, sizeof status);
		CALL3(exit_group, 0, 0, 0);
	}
	close(pipes[0][0]), close(pipes[1][1]), close(pipes[2][1]), close(pipes[3][1]);
	process->in = pipes[0][1];
	process->out = pipes[1][0];
	process->error = pipes[2][0];
	process->status = pipes[3][0];
	/* A write that the pipe has no room for must not keep this program. */
	CALL3(fcntl, process->in, F_SETFL, O_WRONLY | O_NONBLOCK);
	if (!has_input)
		close_end(&process->in);
	return 0;
}

/* Sends what one read of a pipe has, at most so much, and returns its size; closes it at its end. */
static long pass_on(int *fd, char kind, long most)
{
	long got;
	do
		got = read(*fd, BODY, most < MOST_DATA ? most : MOST_DATA);
	while (got == -EINTR);
	if (got <= 0) {
		close_end(fd);
		return 0;
	}
	send(kind, got);
	return got;
}

/* What a pipe holds now. Who still writes into it after the command's end cannot keep it open. */
static void pass_on_rest(int *fd, char kind)
{
	int left = 0;
	if (*fd >= 0 && CALL3(ioctl, *fd, FIONREAD, &left) == 0)
		while (*fd >= 0 && left > 0)
			left -= pass_on(fd, kind, left);
	close_end(fd);
}

/* Standard input that came and was not taken yet. */
static struct {
	u8 bytes[WINDOW];
	u32 start, count;
	int ended;
} input;

static void keep_input(void)
{
	if (in_count == 0)
		input.ended = 1;
	if (in_count > WINDOW - input.count)
		die("the host sends more than it may");
	for (u32 i = 0; i < in_count; i++)
		input.bytes[(input.start + input.count + i) % WINDOW] = in[i];
	input.count += in_count;
}

static void give_input(int *fd)
{
	while (*fd >= 0 && input.count > 0) {
		u32 piece = WINDOW - input.start;
		if (piece > input.count)
			piece = input.count;
		long taken = write(*fd, input.bytes + input.start, piece);
		if (taken == -EINTR)
			continue;
		if (taken == -EAGAIN)
			return;
		if (taken <= 0) {
			/* Nobody reads it any more. */
			close_end(fd);
			break;
		}
		input.start = (input.start + taken) % WINDOW;
		input.count -= taken;
		send_count(taken);
	}
	if (*fd < 0 && input.count > 0) {
		send_count(input.count);
		input.count = 0;
	}
	if (input.ended)
		close_end(fd);
}

/* One after the other from the body of a request. */
static char *next_text(char **at, char *end)
{
	char *text = *at;
	while (*at < end && **at)
		(*at)++;
	if (*at >= end)
		die("a request of the host's is broken");
	(*at)++;
	return text;
}

static void serve(struct process *process)
{
	for (;;) {
		struct pollfd files[5] = {
			{ channel, POLLIN, 0 },
			{ process->status, POLLIN, 0 },
			{ process->out, POLLIN, 0 },
			{ process->error, POLLIN, 0 },
			{ input.count > 0 || input.ended ? process->in : -1, POLLOUT, 0 },
		};
		if (CALL3(poll, files, 5, -1) < 0)
			continue;
		if (files[2].revents)
			pass_on(&process->out, 'o', MOST_DATA);
		if (files[3].revents)
			pass_on(&process->error, 'e', MOST_DATA);
		if (files[4].revents)
			give_input(&process->in);
		if (files[1].revents)
			return;
		if (files[0].revents) {
			next();
			if (in_kind != 'I')
				die("a message of the host's comes at the wrong time");
			keep_input();
			give_input(&process->in);
		}
	}
}

/* The body: flags, folder, the numbers of words and variables, and those. */
static void run(void)
{
	static struct process process;
	char *at = (char *)in, *end = at + in_count;
	if (in_count < 5)
		die("a request of the host's is broken");
	int has_input = *at++;
	u32 arguments = (u8)at[0] << 8 | (u8)at[1], variables = (u8)at[2] << 8 | (u8)at[3];
	at += 4;
	if (arguments < 1 || arguments + variables > MOST_WORDS)
		die("a request of the host's is broken");
	const char *folder = next_text(&at, end);
	for (u32 i = 0; i < arguments; i++)
		words[i] = next_text(&at, end);
	words[arguments] = 0;
	char **environment = words + arguments + 1;
	for (u32 i = 0; i < variables; i++)
		environment[i] = next_text(&at, end);
	environment[variables] = 0;
	input.start = input.count = input.ended = 0;
	follow_init();
	int result = start(&process, has_input, folder, words, environment);
	if (result < 0)
		return fail(result, "a process for the command");
	serve(&process);
	int status = -EAGAIN;
	read(process.status, &status, sizeof status);
	close_end(&process.status);
	close_end(&process.in);
	pass_on_rest(&process.out, 'o');
	pass_on_rest(&process.error, 'e');
	/* Processes that lost their parents are this one's to bury. */
	int buried;
	while (CALL(wait4, -1, &buried, 1, 0, 0) > 0)
		;
	if (status < 0)
		return fail(status, "a process for the command");
	int signal = status & 0x7f;
	BODY[0] = signal != 0;
	BODY[1] = signal ? signal : status >> 8 & 0xff;
	send('x', 2);
}
