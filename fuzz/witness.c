/* SPDX-License-Identifier: MIT */
/*
 * witness.c - a process that is a client of a server, and knows what it has stored
 */
#include "witness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <quire/quire.h>

#include "host.h"

enum { PAGE = 4096, PAGES = 32 };

struct memory {
	unsigned char *file, *own;
};

static unsigned char byte_of(size_t page, unsigned round)
{
	return (unsigned char)(1 + (page * 7 + round) % 250);
}

static bool map(struct memory *ret)
{
	int fd = host_file(PAGES);

	ret->file = quire_mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ret->own = quire_mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	close(fd);
	return ret->file != MAP_FAILED && ret->own != MAP_FAILED;
}

static bool is_as_stored(const struct memory *memory, unsigned round)
{
	for (size_t i = 0; i < PAGES; i++)
		if (memory->file[i * PAGE + i] != byte_of(i, round) || memory->own[i * PAGE + i] != byte_of(i, round))
			return false;
	return true;
}

static void store(const struct memory *memory, unsigned round)
{
	for (size_t i = 0; i < PAGES; i++)
		memory->file[i * PAGE + i] = memory->own[i * PAGE + i] = byte_of(i, round);
}

/* What it had, what it stores now, a mapping that it makes, and its file, which is not another's. */
static bool look(const struct memory *memory, unsigned round)
{
	unsigned char *p;

	if (round > 0 && !is_as_stored(memory, round))
		return false;
	store(memory, round + 1);
	p = quire_mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || p[5] != 0)
		return false;
	p[5] = 1;
	return quire_munmap(p, PAGE) == 0 && quire_msync(memory->file, PAGES * PAGE, MS_SYNC) == 0 &&
	       is_as_stored(memory, round + 1);
}

__attribute__((noreturn)) static void witness_main(int from, int to, const char *path)
{
	struct memory memory;
	unsigned round = 0;
	char order, well;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv("QUIRE_SERVER", path, 1);
	while (read(from, &order, 1) == 1) {
		well = round > 0 || map(&memory);
		if (well && order == 'h')
			memory.file[PAGE + 1] ^= 1;
		well = well && look(&memory, round);
		round++;
		if (!well)
			fprintf(stderr, "witness, round %u: %s\n", round, quire_errormsg());
		if (write(to, &well, 1) != 1)
			break;
	}
	_exit(0);
}

bool witness_start(struct witness *witness)
{
	int orders[2], answers[2];

	snprintf(witness->folder, sizeof(witness->folder), "/var/tmp/quire-fuzz.XXXXXX");
	if (!mkdtemp(witness->folder) || pipe2(orders, O_CLOEXEC) < 0 || pipe2(answers, O_CLOEXEC) < 0)
		return false;
	snprintf(witness->path, sizeof(witness->path), "%s/socket", witness->folder);
	witness->pid = fork();
	if (witness->pid == 0) {
		close(orders[1]);
		close(answers[0]);
		witness_main(orders[0], answers[1], witness->path);
	}
	close(orders[0]);
	close(answers[1]);
	witness->to = orders[1];
	witness->from = answers[0];
	return witness->pid > 0;
}

bool witness_is_well(const struct witness *witness, bool harm)
{
	char well = 0;
	ssize_t n;

	if (write(witness->to, harm ? "h" : "?", 1) != 1)
		return false;
	do
		n = read(witness->from, &well, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 && well;
}

void witness_stop(struct witness *witness)
{
	char name[128];

	close(witness->to);
	(void)waitpid(witness->pid, NULL, 0);
	close(witness->from);
	snprintf(name, sizeof(name), "%s.lock", witness->path);
	unlink(name);
	unlink(witness->path);
	rmdir(witness->folder);
}
