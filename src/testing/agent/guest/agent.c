/* The program that runs commands and moves files in the guest, for `ppckvm exec`.
 *
 * It is the guest's first process: the host appends it to the initial RAM disk, beside a file that
 * says what it is to do (`job`). It opens the channel to the host, greets with the host's token and
 * answers one request after the other. It has no C library, keeps all it needs in fixed buffers, and
 * calls the kernel alone, with calls that every Linux since 2.6.32 has. The messages are described
 * in `protocol.rs`, which is the other end.
 */

#include "kernel.h"
#include "root.h"
#include "channel.h"
#include "command.h"
#include "files.h"

/* Everything that was written is with the disks, and the root can be mounted again as it is. */
static void settle(void)
{
	CALL3(sync, 0, 0, 0);
	if (!after_boot)
		/* MS_REMOUNT | MS_RDONLY; it fails on what is in memory, where it does not matter. */
		CALL(mount, "", "/", "", 33, 0);
	send('k', 0);
}

static void answer(void)
{
	for (;;) {
		next();
		if (in_kind != 'R')
			follow_init();
		switch (in_kind) {
		case 'R':
			run();
			break;
		case 'D':
			make_folder();
			break;
		case 'L':
			make_link();
			break;
		case 'F':
			make_file();
			break;
		case 'G':
			send_path();
			break;
		case 'B':
			settle();
			break;
		case 'I':
			/* Standard input of a command that has ended. */
			break;
		default:
			die("a request of the host's is unknown");
		}
	}
}

/* The init of a disk, by the kernel's own rule. */
static void find_init(void)
{
	static const char *const usual[] = { "/sbin/init", "/etc/init", "/bin/init", "/bin/sh" };
	static char named[256];
	if (parameter("init", named, sizeof named)) {
		init = named;
		return;
	}
	for (int i = 0; i < 4; i++)
		if (exists(usual[i])) {
			init = usual[i];
			return;
		}
}

/* Starts the guest's own init as the first process, and goes on beside it. */
static void become_init(char **argv, char **environment)
{
	if (CALL3(fork, 0, 0, 0) == 0) {
		CALL3(setsid, 0, 0, 0);
		return;
	}
	argv[0] = (char *)init;
	CALL3(execve, init, argv, environment);
	say("the guest's init cannot be run: ", init);
	CALL3(exit_group, 1, 0, 0);
}

__attribute__((used)) static void main(long *stack)
{
	char **argv = (char **)(stack + 1), **environment = argv + stack[0] + 1;
	CALL3(umask, 022, 0, 0);
	read_job();
	mount_all();
	/* A kernel without a console starts this program with no file open. */
	int null;
	do
		null = open("/dev/null", O_RDWR, 0);
	while (null >= 0 && null < 3);
	if (null > 2)
		close(null);
	processes = high(open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
	channel = high(open_virtio());
	if (channel < 0)
		channel = high(open_serial());
	if (channel < 0)
		die("the kernel has neither a virtio port nor a second serial port (CONFIG_VIRTIO_CONSOLE, "
		    "CONFIG_SERIAL_8250)");
	int on_disk = wants_disk();
	int entered = !on_disk || enter_disk();
	if (entered && on_disk && !after_boot)
		mount_all();
	if (after_boot && entered) {
		if (!on_disk) {
			CALL3(umount2, "/dev", 2, 0);
			CALL3(umount2, "/sys", 2, 0);
			CALL3(umount2, "/proc", 2, 0);
		}
		if (on_disk)
			find_init();
		become_init(argv, environment);
	}
	set_oom_score("-1000");
	write_all(channel, "ppckvm-agent 1 ", 15);
	token[32] = '\n';
	write_all(channel, token, 33);
	if (!entered)
		fail(-ENOENT, why_no_root);
	else
		send('k', 0);
	answer();
}

__asm__(".globl _start\n"
	"_start:\n"
	"	mr 3,1\n"
	"	li 0,0\n"
	"	stwu 1,-16(1)\n"
	"	stw 0,0(1)\n"
	"	bl main\n");
