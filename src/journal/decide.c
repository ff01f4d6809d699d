/* SPDX-License-Identifier: MIT */
/*
 * decide.c - what journals that committed as one have to ask each other
 *
 * The other journal is read, and not written; with a lock for readers, so that nobody changes it meanwhile. If somebody has it open, it
 * is read all the same: a commit that is found there counts, but one that is not found may have been looked for in the wrong moment.
 *
 * A journal that is not there any more was either removed in order, when nobody could ask for anything in it, or it was moved or lost.
 * In order its file has no mark left; of a file that is not there either, or that cannot be marked, nothing is known.
 */
#include "journal/decide.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "journal/place.h"
#include "journal/scan.h"
#include "pager/file.h"
#include "util/fail.h"
#include "util/message.h"

#define SUFFIX "-quire"

/* What is asked of the other journal, and what it says. */
struct inquiry {
	const uint64_t *unit;
	bool committed; /* it has the unit, and it counts */
	bool in_doubt;  /* it has prepared it, and does not know more */
};

static bool is_unit(const uint64_t a[2], const uint64_t b[2])
{
	return a[0] == b[0] && a[1] == b[1];
}

static int on_commit(void *arg, const struct scan_commit *commit)
{
	struct inquiry *inquiry = arg;

	if (is_unit(commit->unit, inquiry->unit) && !commit->prepared)
		inquiry->committed = true;
	return 0;
}

/* What is in doubt there stays so. */
static int on_doubt(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret)
{
	struct inquiry *inquiry = arg;

	(void)party;
	(void)name;
	inquiry->in_doubt |= is_unit(unit, inquiry->unit);
	*ret = false;
	return 0;
}

/* ---- the other journal ---- */

struct other {
	int fd; /* -1: it was removed in order */
	bool busy;
};

/* Its own header says which journal it is: whether it is the one. One without a header is none, or -EUCLEAN. */
static int is_the_one(int fd, const unsigned char uuid[16], bool *ret)
{
	unsigned char there[16];
	int r = journal_place_uuid(fd, there);

	*ret = r == 0 && memcmp(there, uuid, sizeof(there)) == 0;
	return r;
}

/* A descriptor of the file that a journal of this name stands beside. */
static int file_beside(const char *name)
{
	size_t len = strlen(name);
	char *path;
	int fd;

	if (len <= strlen(SUFFIX) || strcmp(name + len - strlen(SUFFIX), SUFFIX) != 0)
		return message_set(ENOENT, "the journal %s, which another one waits for, is not there", name);
	path = fail_now(FAIL_ALLOC) ? NULL : strndup(name, len - strlen(SUFFIX));
	if (!path)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		fd = message_set(errno, "the journal %s, which another one waits for, is not there, nor is its file: %s", name,
				 strerror(errno));
	free(path);
	return fd;
}

/*
 * The journal is not where it was, or another one is there. Its file tells where it went. => A descriptor; -1 and *ret_removed; -errno.
 */
static int other_search(const char *name, const unsigned char uuid[16], bool *ret_removed)
{
	struct journal_place place;
	int file = file_beside(name);
	bool the_one = false;
	int r;

	if (file < 0)
		return file;
	r = journal_place_find(file, PLACE_LOOK, &place);
	if (r == 0) {
		if (place.fd >= 0)
			r = is_the_one(place.fd, uuid, &the_one);
		if (r == 0 && !the_one && fgetxattr(file, "user.quire.journal", NULL, 0) < 0 && errno != ENODATA)
			r = message_set(
			    ENOENT,
			    "the journal %s, which another one waits for, is not there, and its file cannot tell what became of it",
			    name);
		if (r == 0 && the_one) {
			r = place.fd;
			place.fd = -1;
		} else if (r == 0) {
			*ret_removed = true;
			r = -1;
		}
		journal_place_done(&place);
	}
	close(file);
	return r;
}

/* Finds it, and keeps who would write it away for as long as it is open here. 0 or -errno. */
static int other_open(const char *name, const unsigned char uuid[16], struct other *ret)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	bool the_one = false, removed = false;
	int r = 0;

	if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
		return message_set(errno, "the journal %s, which another one waits for, cannot be opened: %s", name,
				   strerror(errno));
	if (fd >= 0)
		r = is_the_one(fd, uuid, &the_one);
	if (r < 0 && r != -EUCLEAN) {
		close(fd);
		return r;
	}
	if (!the_one) {
		if (fd >= 0)
			close(fd);
		fd = other_search(name, uuid, &removed);
		if (fd < 0 && !removed)
			return fd;
	}
	*ret = (struct other){.fd = fd, .busy = fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) != 0};
	return 0;
}

static int inquire(struct io *io, const struct other *other, struct inquiry *inquiry)
{
	struct scan_visitor visitor = {.arg = inquiry, .commit = on_commit, .with_complete = true};
	struct pager *pager;
	int r;

	/* Who died may have written it and not synced: what is answered here has to stay so after the next crash. */
	while ((r = fail_now(FAIL_SYNC) ? -EIO : fdatasync(other->fd) < 0 ? -errno : 0) == -EINTR)
		;
	if (r == 0)
		r = file_pager_open(io, other->fd, false, false, true, &pager);
	if (r < 0)
		return r;
	r = journal_scan(pager, NULL, on_doubt, inquiry, &visitor, NULL, NULL);
	pager->ops->close(pager);
	return r;
}

/* ---- the questions ---- */

int decide_resolve(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret)
{
	struct inquiry inquiry = {.unit = unit};
	struct other other;
	int r = other_open(name, party->uuid, &other);

	if (r < 0)
		return r;
	if (other.fd >= 0) {
		r = inquire(arg, &other, &inquiry);
		close(other.fd);
		if (other.busy && !inquiry.committed)
			r = message_set(EBUSY, "the journal %s, which another one waits for, is in use by another process", name);
	}
	if (r == 0)
		*ret = inquiry.committed;
	return r;
}

int decide_asks(void *arg, const struct journal_party *party, const char *name, const uint64_t unit[2], bool *ret)
{
	struct inquiry inquiry = {.unit = unit};
	struct other other;
	int r = other_open(name, party->uuid, &other);

	if (r < 0)
		return r;
	if (other.fd >= 0) {
		r = inquire(arg, &other, &inquiry);
		close(other.fd);
	}
	if (r == 0)
		*ret = inquiry.in_doubt || (other.fd >= 0 && other.busy);
	return r;
}
