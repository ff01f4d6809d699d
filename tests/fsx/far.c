/* SPDX-License-Identifier: MIT */
/*
 * far.c - calls and accesses in another process
 */
#include "far.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum far_command {
	FAR_MMAP,
	FAR_MUNMAP,
	FAR_MREMAP,
	FAR_MPROTECT,
	FAR_MSYNC,
	FAR_MADVISE,
	FAR_MLOCK,
	FAR_MUNLOCK,
	FAR_FTRUNCATE,
	FAR_LOAD,
	FAR_STORE,
	FAR_FORK,
	FAR_KERNEL_MMAP,
	FAR_KERNEL_MUNMAP,
};

/* In memory of all processes. */
static struct room {
	struct family family;
	int64_t arg[6];
	int64_t result;
	int error;
	bool done; /* an access */
	struct trap trap;
	char message[256];
	unsigned char bytes[FAR_BYTES];
} * room;

static const struct calls *local;
static struct calls far_calls;
static int process;

static void *pointer(int64_t arg)
{
	return (void *)(intptr_t)arg;
}

/* ---- where it is done ---- */

static int64_t make(int command)
{
	const int64_t *arg = room->arg;
	void *addr = pointer(arg[0]);
	size_t len = (size_t)arg[1];

	switch ((enum far_command)command) {
	case FAR_MMAP:
		return (intptr_t)local->mmap(addr, len, (int)arg[2], (int)arg[3], (int)arg[4], arg[5]);
	case FAR_MUNMAP:
		return local->munmap(addr, len);
	case FAR_MREMAP:
		return (intptr_t)local->mremap(addr, len, (size_t)arg[2], (int)arg[3], pointer(arg[4]));
	case FAR_MPROTECT:
		return local->mprotect(addr, len, (int)arg[2]);
	case FAR_MSYNC:
		return local->msync(addr, len, (int)arg[2]);
	case FAR_MADVISE:
		return local->madvise(addr, len, (int)arg[2]);
	case FAR_MLOCK:
		return local->mlock(addr, len);
	case FAR_MUNLOCK:
		return local->munlock(addr, len);
	case FAR_FTRUNCATE:
		return local->ftruncate((int)arg[0], arg[1]);
	case FAR_LOAD:
		room->done = guard_load(room->bytes, addr, len, &room->trap);
		return 0;
	case FAR_STORE:
		room->done = guard_store(addr, room->bytes, len, &room->trap);
		return 0;
	case FAR_KERNEL_MMAP:
		return (intptr_t)mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	case FAR_KERNEL_MUNMAP:
		return munmap(addr, len);
	case FAR_FORK:
		break;
	}
	return -1;
}

static bool work(void *arg, int command)
{
	(void)arg;
	errno = 0;
	if (command == FAR_FORK)
		room->result = family_fork(&room->family, (int)room->arg[0], work, NULL) ? 0 : -1;
	else
		room->result = make(command);
	room->error = errno;
	snprintf(room->message, sizeof(room->message), "%s", local->errormsg());
	return true;
}

/* ---- where it is decided ---- */

static int64_t ask(int command, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f)
{
	const int64_t arg[6] = {a, b, c, d, e, f};

	memcpy(room->arg, arg, sizeof(arg));
	if (family_ask(&room->family, process, command, work, NULL) == FAMILY_DIED) {
		int sig = family_bury(&room->family, process);

		snprintf(room->message, sizeof(room->message), "process %d has died of signal %d", process, sig);
		fprintf(stderr, "fsx: %s\n", room->message);
		room->trap = (struct trap){.sig = SIGCHLD};
		room->done = false;
		errno = ECHILD;
		return -1;
	}
	errno = room->error;
	return room->result;
}

static void *far_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return pointer(ask(FAR_MMAP, (intptr_t)addr, (int64_t)len, prot, flags, fd, offset));
}

static int far_munmap(void *addr, size_t len)
{
	return (int)ask(FAR_MUNMAP, (intptr_t)addr, (int64_t)len, 0, 0, 0, 0);
}

static void *far_mremap(void *addr, size_t old_len, size_t new_len, int flags, ...)
{
	va_list args;
	void *to;

	va_start(args, flags);
	to = va_arg(args, void *);
	va_end(args);
	return pointer(ask(FAR_MREMAP, (intptr_t)addr, (int64_t)old_len, (int64_t)new_len, flags, (intptr_t)to, 0));
}

static int far_mprotect(void *addr, size_t len, int prot)
{
	return (int)ask(FAR_MPROTECT, (intptr_t)addr, (int64_t)len, prot, 0, 0, 0);
}

static int far_msync(void *addr, size_t len, int flags)
{
	return (int)ask(FAR_MSYNC, (intptr_t)addr, (int64_t)len, flags, 0, 0, 0);
}

static int far_madvise(void *addr, size_t len, int advice)
{
	return (int)ask(FAR_MADVISE, (intptr_t)addr, (int64_t)len, advice, 0, 0, 0);
}

static int far_mlock(const void *addr, size_t len)
{
	return (int)ask(FAR_MLOCK, (intptr_t)addr, (int64_t)len, 0, 0, 0, 0);
}

static int far_munlock(const void *addr, size_t len)
{
	return (int)ask(FAR_MUNLOCK, (intptr_t)addr, (int64_t)len, 0, 0, 0, 0);
}

static int far_ftruncate(int fd, off_t size)
{
	return (int)ask(FAR_FTRUNCATE, fd, size, 0, 0, 0, 0);
}

static const char *far_errormsg(void)
{
	return room->message;
}

bool far_load(void *buffer, const void *memory, size_t n, struct trap *ret)
{
	if (process == 0)
		return guard_load(buffer, memory, n, ret);
	ask(FAR_LOAD, (intptr_t)memory, (int64_t)n, 0, 0, 0, 0);
	*ret = room->trap;
	if (room->done)
		memcpy(buffer, room->bytes, n);
	return room->done;
}

bool far_store(void *memory, const void *buffer, size_t n, struct trap *ret)
{
	if (process == 0)
		return guard_store(memory, buffer, n, ret);
	memcpy(room->bytes, buffer, n);
	ask(FAR_STORE, (intptr_t)memory, (int64_t)n, 0, 0, 0, 0);
	*ret = room->trap;
	return room->done;
}

void *far_kernel_mmap(size_t len)
{
	return room == NULL ? mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
			    : pointer(ask(FAR_KERNEL_MMAP, 0, (int64_t)len, 0, 0, 0, 0));
}

void far_kernel_munmap(void *addr, size_t len)
{
	if (room == NULL)
		munmap(addr, len);
	else
		ask(FAR_KERNEL_MUNMAP, (intptr_t)addr, (int64_t)len, 0, 0, 0, 0);
}

/* ---- processes ---- */

static void kill_all(void)
{
	family_kill(&room->family);
}

const struct calls *far_open(const struct calls *calls)
{
	room = mmap(NULL, sizeof(*room), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
	local = calls;
	family_begin(&room->family);
	atexit(kill_all);
	far_calls = *calls;
	far_calls.mmap = far_mmap;
	far_calls.munmap = far_munmap;
	far_calls.mremap = far_mremap;
	far_calls.mprotect = far_mprotect;
	far_calls.msync = far_msync;
	far_calls.madvise = far_madvise;
	far_calls.mlock = far_mlock;
	far_calls.munlock = far_munlock;
	far_calls.ftruncate = far_ftruncate;
	far_calls.errormsg = far_errormsg;
	return &far_calls;
}

void far_in(int n)
{
	process = n;
}

bool far_lives(int n)
{
	return n == 0 || (room != NULL && room->family.pids[n] != 0);
}

bool far_fork(int child)
{
	if (ask(FAR_FORK, child, 0, 0, 0, 0, 0) != 0)
		return false;
	if (family_meet(&room->family, child))
		return true;
	errno = ECHILD;
	return false;
}

void far_exit(int n, enum exit_way how)
{
	int children = 0;

	family_end(&room->family, n, how);
	for (int i = 1; i < FAR_PROCESSES; i++)
		children += far_lives(i);
	if (local->settle != NULL)
		local->settle(children);
	process = 0;
}
