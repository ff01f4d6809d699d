/* SPDX-License-Identifier: MIT */
/*
 * cat.c - quire cat: prints files through a mapping
 *
 * Each file is mapped a window at a time and copied from there. The copy goes through a buffer, because write(2) on a page that
 * is not resident fails with EFAULT under the signal trap, and fwrite hands large blocks to write(2) as they are.
 *
 * A page that cannot be had (the file was truncated meanwhile, the disk has failed) raises SIGBUS in that copy. The handler is
 * installed before the first mapping, so that the engine passes on to it what it cannot resolve.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <quire/quire.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A window is a multiple of every page size there is. It bounds addresses, not memory: that is the budget's business. */
#define WINDOW_BYTES ((off_t)256 << 20)
#define BUFFER_BYTES ((size_t)128 << 10)

static char buffer[BUFFER_BYTES];

/* The window being copied, for the handler. NULL: any SIGBUS is somebody else's. */
static const char *volatile window;
static volatile size_t window_bytes;
static volatile size_t window_lost_at;
static sigjmp_buf window_lost;

static void bus_handler(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;

	(void)context;
	if (window && at >= (uintptr_t)window && at - (uintptr_t)window < window_bytes) {
		window_lost_at = at - (uintptr_t)window;
		siglongjmp(window_lost, 1);
	}
	signal(sig, SIG_DFL);
	raise(sig);
}

static void catch_bus(void)
{
	struct sigaction action = {.sa_sigaction = bus_handler, .sa_flags = SA_SIGINFO};

	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, NULL);
}

/* Copies len bytes of a mapping to standard output. => 0; -EIO a page was lost; other: the errno of standard output, positive. */
static int window_copy(const char *from, size_t len)
{
	volatile size_t done = 0;

	window_bytes = len;
	window = from;
	if (sigsetjmp(window_lost, 1)) {
		window = NULL;
		return -EIO;
	}
	while (done < len) {
		size_t n = len - done < sizeof(buffer) ? len - done : sizeof(buffer);

		memcpy(buffer, from + done, n);
		if (fwrite(buffer, 1, n, stdout) != n) {
			window = NULL;
			return errno ? errno : EIO;
		}
		done += n;
	}
	window = NULL;
	return 0;
}

/* The size of what fd refers to, in bytes. => -1 it has none: mapping it says why it cannot be mapped. */
static off_t size_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -1;
	if (S_ISREG(st.st_mode))
		return st.st_size;
	return S_ISBLK(st.st_mode) ? lseek(fd, 0, SEEK_END) : -1;
}

/*
 * Prints the window of a file that starts at offset.
 * => The bytes printed; fewer than asked, 0 too, when the file ends there; -1 this file cannot be printed further, which was
 *    said; -2 standard output takes no more.
 */
static off_t cat_window(const char *name, int fd, off_t offset)
{
	off_t size = size_of(fd);
	off_t left = size > offset ? size - offset : 0;
	size_t used = (size_t)(left < WINDOW_BYTES ? left : WINDOW_BYTES);
	/* Of an empty file a page is mapped all the same: whether it can be is part of the answer. */
	size_t len = used ? used : quire_pagesize();
	char *map = quire_mmap(NULL, len, PROT_READ, MAP_SHARED, fd, offset);
	int error;

	if (map == MAP_FAILED) {
		cli_error(&cat_verb, "%s: %s", name, quire_errormsg());
		return -1;
	}
	quire_madvise(map, len, MADV_SEQUENTIAL);
	error = window_copy(map, used);
	quire_munmap(map, len);
	if (error > 0)
		return -2;
	if (error < 0) {
		cli_error(&cat_verb, "%s: the page at byte %jd could not be read: an I/O error, or the file became shorter", name,
			  (intmax_t)offset + (intmax_t)window_lost_at);
		return -1;
	}
	if (size < 0) {
		cli_error(&cat_verb, "%s: it has no size, so there is no end to print up to", name);
		return -1;
	}
	return (off_t)used;
}

/* Prints one file. => as cat_window; the size is asked for again before each window, since a file may grow meanwhile. */
static off_t cat_file(const char *name, int fd)
{
	off_t offset = 0;
	off_t n;

	do {
		n = cat_window(name, fd, offset);
		offset += n;
	} while (n == WINDOW_BYTES);
	return n;
}

/* Opens without waiting for the other end of a pipe, which cannot be mapped anyhow. => -1 and errno */
static int open_file(const char *name)
{
	int fd = open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		fcntl(fd, F_SETFL, 0);
	return fd;
}

static int cat_run(int n, char **args)
{
	int status = CLI_OK;

	if (n == 0)
		return cli_usage(&cat_verb, "needs a file");
	catch_bus();
	for (int i = 0; i < n; i++) {
		int fd = open_file(args[i]);
		off_t printed;

		if (fd < 0) {
			status = cli_error(&cat_verb, "%s: %s", args[i], strerror(errno));
			continue;
		}
		printed = cat_file(args[i], fd);
		close(fd);
		if (printed == -2)
			return CLI_FAILED;
		if (printed < 0)
			status = CLI_FAILED;
	}
	return status;
}

const struct verb cat_verb = {
    .name = "cat",
    .arguments = "FILE...",
    .summary = "print files through a mapping",
    .text =
	"Maps each FILE, shared and read-only, and writes it to standard output. A file that cannot be opened, mapped or read is\n"
	"named with the reason, the others are printed, and the exit status is 1.\n",
    .run = cat_run,
};
