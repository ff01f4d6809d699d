/* SPDX-License-Identifier: MIT */
/*
 * rules.c - which mappings of a program are Quire's: the table
 *
 * Asked for each mmap of the program's from top to bottom; the first rule that applies decides. The loader's mappings, thread stacks and
 * malloc's are made inside of the C library and never come here.
 */
#include "rules.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "meeting.h"

#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6
#endif

struct question {
	const struct rules_settings *settings;
	struct rules_request *request;
	char name[PATH_MAX]; /* "": not asked for yet */
};

static bool is_low(struct question *q)
{
#ifdef MAP_32BIT
	return q->request->flags & MAP_32BIT;
#else
	(void)q;
	return false;
#endif
}

static bool is_huge(struct question *q)
{
	return q->request->flags & MAP_HUGETLB;
}

static bool is_stack(struct question *q)
{
	return q->request->flags & (MAP_GROWSDOWN | MAP_STACK);
}

static bool is_code(struct question *q)
{
	return q->request->prot & PROT_EXEC;
}

static bool is_private_memory(struct question *q)
{
	return (q->request->flags & MAP_ANONYMOUS) && (q->request->flags & MAP_TYPE) == MAP_PRIVATE &&
	       q->request->prot != PROT_NONE && q->settings->anonymous;
}

static bool is_memory(struct question *q)
{
	return q->request->flags & MAP_ANONYMOUS;
}

static bool is_no_file(struct question *q)
{
	return fstat(q->request->fd, &q->request->st) < 0 || !S_ISREG(q->request->st.st_mode);
}

static bool is_in_memory(struct question *q)
{
	static const unsigned long kinds[] = {TMPFS_MAGIC,      RAMFS_MAGIC, HUGETLBFS_MAGIC,
					      PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP2_SUPER_MAGIC};
	struct statfs fs;

	if (fstatfs(q->request->fd, &fs) < 0)
		return true;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if ((unsigned long)fs.f_type == kinds[i])
			return true;
	return false;
}

static const char *name_of(struct question *q)
{
	char link[64];
	ssize_t n;

	if (!q->name[0]) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", q->request->fd);
		n = readlink(link, q->name, sizeof(q->name) - 1);
		q->name[n > 0 ? n : 0] = '\0';
	}
	return q->name;
}

static bool is_meeting_place(struct question *q)
{
	static const char *const names[] = {"*-shm", "*/lock.mdb", "*.mdb-lock", "*-lock"};

	if ((q->request->flags & MAP_TYPE) == MAP_PRIVATE || !(q->request->prot & PROT_WRITE))
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (fnmatch(names[i], name_of(q), 0) == 0) {
			meeting_note(name_of(q));
			return true;
		}
	return false;
}

static bool is_met(struct question *q)
{
	const struct rules_request *r = q->request;
	enum meeting met = meeting_decide(name_of(q), &r->st, r->fd, (r->flags & MAP_TYPE) != MAP_PRIVATE);

	q->request->meets = met == MEETING_ALONE;
	q->request->refused = met == MEETING_REFUSED;
	return met == MEETING_KERNELS || met == MEETING_REFUSED;
}

/* The whole name, or its last part where the pattern has no slash. */
static bool is_not_wanted(struct question *q)
{
	const char *match = q->settings->match, *name = name_of(q), *slash = strrchr(name, '/');

	return match && fnmatch(match, strchr(match, '/') || !slash ? name : slash + 1, 0) != 0;
}

static const struct rule {
	const char *name;
	bool (*applies)(struct question *q);
	bool quire;
} table[] = {
    /* What the engine does not serve, or serves by the kernel anyhow. */
    {"MAP_32BIT: the engine has no say in where memory lies", is_low, false},
    {"huge pages of the kernel's pool", is_huge, false},
    /* A call to the engine on a stack of its own memory cannot be served (EDEADLK), and the program knows nothing of that. */
    {"a stack", is_stack, false},
    /* Libraries and code that is made at run time: small, in use all the time, and a fault on it costs the most. */
    {"memory that is executed", is_code, false},
    {"private memory without a file, which was asked for", is_private_memory, true},
    /* It is what malloc is made of; in a budget of the engine's it would be swapped to a file, where the kernel has memory. */
    {"memory without a file", is_memory, false},
    {"no regular file", is_no_file, false},
    {"a file that is memory already, or made as it is read", is_in_memory, false},
    /* SQLite's WAL index, LMDB's readers: programs meet there by loads and stores, and locks of other processes lie in it. */
    {"a file by which processes meet", is_meeting_place, false},
    {"a file that does not match", is_not_wanted, false},
    /* LMDB's data: told of in the lock file, with no system call. Asked last, since it is claimed here. */
    {"a file with a lock file, which another program has, too", is_met, false},
};

bool rules_decide(const struct rules_settings *settings, struct rules_request *request, const char **ret_why)
{
	struct question q = {.settings = settings, .request = request};
	int saved_errno = errno;
	const char *why = "a regular file that the program has mapped";
	bool quire = true;

	q.name[0] = '\0';
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].applies(&q)) {
			why = table[i].name;
			quire = table[i].quire;
			break;
		}
	if (ret_why)
		*ret_why = why;
	errno = saved_errno;
	return quire;
}
