/* SPDX-License-Identifier: MIT */
/*
 * place.c - where the journal of a file is, and who has it
 *
 *      the file says (attribute)        where, and which (uuid)
 *      ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 *      nothing                          beside the file, under its name and «-quire», if there is one; another would be made there
 *      a journal                        where it says; else beside the file. It has to have the uuid. There is no other one
 *
 * The mark is set when the journal is there, and taken away before the journal is: whatever a crash comes between, a file that needs
 * its journal says so, and one that does not may have a journal too many, which the journal itself tells.
 *
 * The lock is one of an open file description. Who got one looks whether the name still leads to what he has locked: who had it before
 * may have removed the file meanwhile.
 */
#include "journal/place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "journal/scan.h"
#include "sys/identity.h"
#include "sys/page_size.h"
#include "util/fail.h"
#include "util/message.h"

#define ATTRIBUTE "user.quire.journal"
#define SUFFIX    "-quire"
#define UUID_HEX  32

/* What the file says of its journal. */
struct mark {
	bool there;
	unsigned char uuid[16];
	char path[PATH_MAX];
};

/* ---- the file ---- */

static int file_identity(int fd, struct stat *st, struct journal_identity *ret)
{
	struct statx more;

	if (fstat(fd, st) != 0)
		return message_set(errno, "%s", strerror(errno));
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return message_set(EINVAL, "only a regular file or a block device can have a journal");
	*ret = (struct journal_identity){.ino = S_ISBLK(st->st_mode) ? st->st_rdev : st->st_ino, .is_device = S_ISBLK(st->st_mode)};
	if (!ret->is_device && statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &more) == 0 && (more.stx_mask & STATX_BTIME)) {
		ret->born_sec = more.stx_btime.tv_sec;
		ret->born_nsec = more.stx_btime.tv_nsec;
	}
	return 0;
}

static bool is_same(const char *path, const struct stat *st)
{
	struct stat there;

	return stat(path, &there) == 0 && there.st_dev == st->st_dev && there.st_ino == st->st_ino;
}

/*
 * The name that the file was opened by, as it is now. => 0; -ENOENT: it has none that can be told. The kernel says «NAME (deleted)» of
 * one that is gone, and a file may be called just that: what is there under the name decides.
 */
static int file_name(int fd, const struct stat *st, char name[PATH_MAX])
{
	char link[64];
	ssize_t n;

	/* thread-self: self is the first thread, whose descriptors are gone when it has left by pthread_exit. */
	snprintf(link, sizeof(link), "/proc/thread-self/fd/%d", fd);
	n = readlink(link, name, PATH_MAX);
	if (n < 0)
		return message_set(errno, "the file's name is not known: %s: %s", link, strerror(errno));
	if (n >= PATH_MAX)
		return message_set(ENAMETOOLONG, "the file's name is longer than %d bytes", PATH_MAX - 1);
	name[n] = '\0';
	if (name[0] != '/' || !is_same(name, st))
		return message_set(ENOENT, "the file has no name any more that a journal could stand beside: it was %s", name);
	return 0;
}

/* ---- the mark ---- */

/* Whether an error means that there are no attributes here: on a filesystem without, and on devices. */
static bool has_no_attributes(int fd, int error)
{
	struct stat st;

	return error == EOPNOTSUPP || error == ENOSYS || (error == EPERM && fstat(fd, &st) == 0 && S_ISBLK(st.st_mode));
}

bool journal_place_is_clean(int file_fd)
{
	return fgetxattr(file_fd, ATTRIBUTE, NULL, 0) < 0 && errno == ENODATA;
}

bool journal_place_has_mark(int file_fd)
{
	return fgetxattr(file_fd, ATTRIBUTE, NULL, 0) >= 0;
}

static bool uuid_parse(const char *hex, unsigned char ret[16])
{
	for (int i = 0; i < 16; i++) {
		static const char digits[] = "0123456789abcdef";
		const char *high = hex[2 * i] ? strchr(digits, hex[2 * i]) : NULL;
		const char *low = high && hex[2 * i + 1] ? strchr(digits, hex[2 * i + 1]) : NULL;

		if (!low)
			return false;
		ret[i] = (unsigned char)((high - digits) << 4 | (low - digits));
	}
	return true;
}

static void uuid_print(const unsigned char uuid[16], char ret[UUID_HEX + 1])
{
	for (int i = 0; i < 16; i++)
		snprintf(ret + 2 * i, 3, "%02x", uuid[i]);
}

/* «1 UUID PATH» */
static int mark_read(int fd, struct mark *ret)
{
	char text[2 + UUID_HEX + 1 + PATH_MAX];
	ssize_t n = fgetxattr(fd, ATTRIBUTE, text, sizeof(text) - 1);
	int error = n < 0 ? errno : 0;

	ret->there = false;
	if (n < 0 && (error == ENODATA || has_no_attributes(fd, error)))
		return 0;
	if (n < 0)
		return message_set(error, "the attribute " ATTRIBUTE " of the file cannot be read: %s", strerror(errno));
	text[n] = '\0';
	if (strlen(text) != (size_t)n || strncmp(text, "1 ", 2) != 0 || n < 2 + UUID_HEX + 2 || !uuid_parse(text + 2, ret->uuid) ||
	    text[2 + UUID_HEX] != ' ' || text[2 + UUID_HEX + 1] != '/' || strlen(text + 2 + UUID_HEX + 1) >= sizeof(ret->path))
		return message_set(EUCLEAN, "the attribute " ATTRIBUTE " of the file is not one that this program understands");
	strcpy(ret->path, text + 2 + UUID_HEX + 1);
	ret->there = true;
	return 0;
}

int journal_place_mark(int file_fd, const struct journal_place *place, const unsigned char uuid[16])
{
	char text[2 + UUID_HEX + 1 + PATH_MAX], hex[UUID_HEX + 1];
	int n;

	uuid_print(uuid, hex);
	n = snprintf(text, sizeof(text), "1 %s %s", hex, place->path);
	if (n < 0 || (size_t)n >= sizeof(text))
		return message_set(ENAMETOOLONG, "%s: the name is too long", place->path);
	if (fsetxattr(file_fd, ATTRIBUTE, text, (size_t)n, 0) != 0) {
		int error = errno;

		if (has_no_attributes(file_fd, error))
			return 0;
		return message_set(error,
				   "the file cannot be given the attribute " ATTRIBUTE ", which says that %s belongs to it: %s",
				   place->path, strerror(errno));
	}
	if (fail_now(FAIL_SYNC))
		errno = EIO;
	else if (fsync(file_fd) == 0)
		return 0;
	return message_set(errno, "the file cannot be synced: %s", strerror(errno));
}

static int mark_remove(int fd)
{
	if (fremovexattr(fd, ATTRIBUTE) != 0) {
		int error = errno;

		if (error == ENODATA || has_no_attributes(fd, error))
			return 0;
		return message_set(error, "the attribute " ATTRIBUTE " cannot be taken from the file: %s", strerror(errno));
	}
	if (fail_now(FAIL_SYNC))
		errno = EIO;
	else if (fsync(fd) == 0)
		return 0;
	return message_set(errno, "the file cannot be synced: %s", strerror(errno));
}

/* ---- the journal's file ---- */

/*
 * A valid header of the journal: the newer one. Blocks may be of another length, which is not for us to refuse.
 * => 0; -EUCLEAN: there is none; -errno.
 */
static int header_read(int fd, struct journal_header *ret)
{
	static const size_t most = sizeof(page_of_zeros) * HEADER_BLOCKS;
	char *bytes = fail_now(FAIL_ALLOC) ? NULL : malloc(most);
	ssize_t n = bytes ? pread(fd, bytes, most, 0) : -1;
	int r = n < 0 ? bytes ? -errno : -ENOMEM : -EUCLEAN;

	for (size_t at = 0; n >= (ssize_t)sizeof(*ret) && at <= (size_t)n - sizeof(*ret); at = at ? at * 2 : 512) {
		struct journal_header header;

		memcpy(&header, bytes + at, sizeof(header));
		if (header.magic != JOURNAL_MAGIC || header.block_bytes < sizeof(header) || header.block_bytes > (size_t)n - at ||
		    (at != 0 && at != header.block_bytes) || (r == 0 && header.generation <= ret->generation) ||
		    header.checksum != journal_block_checksum(header.salt, bytes + at, header.block_bytes,
							      offsetof(struct journal_header, checksum)))
			continue;
		*ret = header;
		r = 0;
	}
	free(bytes);
	return r;
}

/*
 * Whether it is a file that may be believed. file: nothing but its name says that it is this one's, and somebody may have put it there
 * who may not write the file; NULL: the mark does.
 */
static int journal_admit(int fd, const char *path, const struct stat *file)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return message_set(errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return message_set(EINVAL, "%s is in the place of the file's journal, and is no regular file", path);
	if (file && st.st_uid != file->st_uid && st.st_uid != geteuid() && st.st_uid != 0)
		return message_set(EACCES,
				   "%s is in the place of the file's journal, and belongs to user %u, who does not own the file",
				   path, st.st_uid);
	return 0;
}

/* A descriptor; -ENOENT: there is none; -errno with a message. */
static int journal_open_at(const char *path, enum place_mode mode, const struct stat *file)
{
	int flags = mode == PLACE_LOOK ? O_RDONLY : O_RDWR;
	int fd = open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int r;

	if (fd < 0 && errno == ELOOP)
		return message_set(ELOOP, "%s is in the place of the file's journal, and is a symbolic link, which is not followed",
				   path);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG))
		return -ENOENT;
	if (fd < 0)
		return message_set(errno, "the file's journal %s cannot be opened: %s", path, strerror(errno));
	r = journal_admit(fd, path, file);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

/* 0; -EBUSY with a message. */
static int journal_lock(int fd, const char *path)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct journal_header header = {0};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return message_set(errno, "%s cannot be locked: %s", path, strerror(errno));
	if (header_read(fd, &header) == 0 && header.owner > 0)
		return message_set(EBUSY, "the file's journal %s is in use by process %lld", path, (long long)header.owner);
	return message_set(EBUSY, "the file's journal %s is in use by another process", path);
}

/* Whether a journal that was opened is the one of the mark. 0; -ESTALE, -EUCLEAN with a message. */
static int mark_compare(const struct mark *mark, int fd, const char *path)
{
	struct journal_header header;
	int r;

	r = header_read(fd, &header);
	if (r < 0 && r != -EUCLEAN)
		return message_set(-r, "the journal %s cannot be read: %s", path, strerror(-r));
	if (r < 0)
		return message_set(EUCLEAN,
				   "the file has the journal %s, which was overwritten or damaged: it has no valid header, and "
				   "what it had of the file is lost",
				   path);
	if (memcmp(header.uuid, mark->uuid, sizeof(mark->uuid)) == 0)
		return 0;
	return message_set(ESTALE, "%s is the journal of another file: bring back the one that this file says it has, %s", path,
			   mark->path);
}

/* Whether it is the right one and ours, now. 0; -EAGAIN: its name leads to another one by now; -errno with a message. */
static int journal_hold(int fd, const char *path, enum place_mode mode, const struct mark *mark)
{
	/* First: that of another file is not ours to lock. */
	int r = mark ? mark_compare(mark, fd, path) : 0;
	struct stat st;

	if (r < 0 || mode == PLACE_LOOK)
		return r;
	r = journal_lock(fd, path);
	if (r < 0)
		return r;
	if (fstat(fd, &st) != 0 || !is_same(path, &st))
		return -EAGAIN;
	/* Who had it before may have begun it anew. */
	return mark ? mark_compare(mark, fd, path) : 0;
}

/* Opens and locks. mark: it has to be that one; else file as in journal_admit. As journal_open_at. */
static int journal_take(const char *path, enum place_mode mode, const struct stat *file, const struct mark *mark)
{
	int fd, r;

	do {
		fd = journal_open_at(path, mode, mark ? NULL : file);
		if (fd < 0)
			return fd;
		r = journal_hold(fd, path, mode, mark);
		if (r < 0)
			close(fd);
	} while (r == -EAGAIN);
	return r < 0 ? r : fd;
}

static int directory_sync(const char *path)
{
	char *directory = fail_now(FAIL_ALLOC) ? NULL : strdup(path);
	char *slash = directory ? strrchr(directory, '/') : NULL;
	int fd, error = 0;

	if (!directory)
		return -ENOMEM;
	slash[slash == directory] = '\0';
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		error = errno;
	if (fail_now(FAIL_SYNC))
		error = EIO;
	/* Where folders cannot be synced, what is in them is as durable as it gets. */
	if (fd >= 0 && (error == EINVAL || error == EOPNOTSUPP))
		error = 0;
	if (error)
		message_set(error, "the folder %s cannot be synced: %s", directory, strerror(error));
	if (fd >= 0)
		close(fd);
	free(directory);
	return -error;
}

/* ---- a new one ---- */

/*
 * Owner and mode are the file's, as far as we may: who can read or write the journal could the file, too. Where the group cannot be given,
 * ours gets no more than everybody has.
 */
static int journal_give(int fd, const struct stat *file)
{
	mode_t mode = file->st_mode & 0666;
	struct stat st;

	if (fchown(fd, file->st_uid, file->st_gid) != 0)
		(void)!fchown(fd, (uid_t)-1, file->st_gid);
	if (fstat(fd, &st) != 0)
		return -errno;
	if (st.st_gid != file->st_gid)
		mode &= 0606 | (mode & 0006) << 3;
	if (st.st_uid != file->st_uid)
		mode |= 0600;
	return fchmod(fd, mode) != 0 ? -errno : 0;
}

/* A journal in memory over a file that is not would not be there after a crash of the machine. */
static int place_lasts(const char *path, const struct stat *file)
{
	char *directory;
	struct statfs fs;
	int r;

	if (!S_ISBLK(file->st_mode))
		return 0;
	directory = strndup(path, (size_t)(strrchr(path, '/') - path) + 1);
	if (!directory)
		return -ENOMEM;
	r = statfs(directory, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
		? message_set(EOPNOTSUPP,
			      "the journal of a device would be in %s, which is memory: make a node of the device in a folder on "
			      "storage, and open that",
			      directory)
		: 0;
	free(directory);
	return r;
}

/* A descriptor, locked; -EEXIST: somebody else has made one meanwhile; -errno with a message. */
static int journal_create(const char *path, const struct stat *file)
{
	int r = place_lasts(path, file);
	int fd;

	if (r < 0)
		return r;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return -EEXIST;
	if (fd < 0)
		return message_set(errno, "a journal is needed beside the file, and %s cannot be made: %s", path, strerror(errno));
	/* Others may have been quicker than the lock: they have it, or have removed it again. */
	r = journal_hold(fd, path, PLACE_CREATE, NULL);
	if (r < 0) {
		close(fd);
		return r == -EAGAIN ? -EEXIST : r;
	}
	r = journal_give(fd, file);
	if (r < 0)
		message_set(-r, "%s cannot be given the owner and the mode of its file: %s", path, strerror(-r));
	else
		r = directory_sync(path);
	if (r == 0)
		return fd;
	unlink(path);
	close(fd);
	return r;
}

/* ---- finding ---- */

/*
 * The file says that there is a journal: where it says, or beside the file. name: of that one; NULL: it has none. *ret_path: where it is.
 * => A descriptor, or -errno with a message: of the first place, if there is nothing at the other.
 */
static int marked_find(const struct mark *mark, const char *name, enum place_mode mode, const char **ret_path)
{
	bool two = name && strcmp(name, mark->path) != 0;
	int first = journal_take(mark->path, mode, NULL, mark);
	int fd = first;

	*ret_path = mark->path;
	if (two && (first == -ENOENT || first == -ESTALE || first == -EUCLEAN)) {
		fd = journal_take(name, mode, NULL, mark);
		if (fd == -ENOENT)
			fd = first;
		else
			*ret_path = name;
	}
	if (fd == -ENOENT)
		return message_set(
		    ENOENT,
		    "the file has a journal, %s, and it is not there%s%s: bring it back, or name it to `quire recover --journal`",
		    mark->path, two ? ", nor at " : "", two ? name : "");
	return fd;
}

static int beside_find(const char *name, enum place_mode mode, const struct stat *file)
{
	int fd;

	do {
		fd = journal_take(name, mode, file, NULL);
		if (fd == -ENOENT && mode == PLACE_CREATE)
			fd = journal_create(name, file);
	} while (fd == -EEXIST);
	return fd;
}

/* What both ways of finding begin with. path: set to a copy of it. */
static int place_begin(int file_fd, struct stat *st, struct mark *mark, struct journal_place *ret)
{
	int r = file_identity(file_fd, st, &ret->file);

	ret->fd = -1;
	ret->path = NULL;
	return r < 0 ? r : mark_read(file_fd, mark);
}

int journal_place_find(int file_fd, enum place_mode mode, struct journal_place *ret)
{
	struct journal_place place;
	struct mark mark;
	struct stat st;
	char name[PATH_MAX + sizeof(SUFFIX)];
	const char *path = name;
	int r = place_begin(file_fd, &st, &mark, &place);
	int named = r == 0 ? file_name(file_fd, &st, name) : r;

	/* One without a name has none beside it either. */
	if (r == 0 && named == -ENOENT && !mark.there && mode != PLACE_CREATE) {
		message_clear();
		*ret = place;
		return 0;
	}
	if (r == 0 && named < 0 && !mark.there)
		r = named;
	if (r < 0)
		return r;
	if (named == 0)
		strcat(name, SUFFIX);
	r = mark.there ? marked_find(&mark, named == 0 ? name : NULL, mode, &path) : beside_find(name, mode, &st);
	if (r < 0 && (r != -ENOENT || mark.there || mode == PLACE_CREATE))
		return r;
	place.fd = r < 0 ? -1 : r;
	(void)identity_get(place.fd, &place.identity);
	place.path = fail_now(FAIL_ALLOC) ? NULL : strdup(path);
	if (!place.path) {
		journal_place_done(&place);
		return -ENOMEM;
	}
	*ret = place;
	return 0;
}

int journal_place_at(int file_fd, const char *path, enum place_mode mode, struct journal_place *ret)
{
	struct journal_place place;
	struct mark mark;
	struct stat st;
	int r = place_begin(file_fd, &st, &mark, &place);

	if (r < 0)
		return r;
	place.path = realpath(path, NULL);
	if (!place.path)
		return message_set(errno, "the journal %s: %s", path, strerror(errno));
	r = journal_take(place.path, mode, &st, mark.there ? &mark : NULL);
	if (r < 0) {
		if (r == -ENOENT)
			message_set(ENOENT, "the journal %s is not there", place.path);
		free(place.path);
		return r;
	}
	place.fd = r;
	(void)identity_get(place.fd, &place.identity);
	*ret = place;
	return 0;
}

/* ---- the end ---- */

int journal_place_remove(int file_fd, struct journal_place *place)
{
	struct stat st;
	int r = place->fd < 0 ? 0 : identity_check(place->fd, &place->identity);

	if (r < 0)
		return message_set(EBADF, "%s: the descriptor of it was closed", place->path);
	r = mark_remove(file_fd);
	if (r < 0 || place->fd < 0)
		return r;
	if (fstat(place->fd, &st) != 0)
		return message_set(errno, "%s: %s", place->path, strerror(errno));
	/* Who moved it may keep it: it is not at its name, and nothing in it is needed. */
	if (is_same(place->path, &st) && unlink(place->path) != 0)
		return message_set(errno, "%s, which is not needed any more, cannot be removed: %s", place->path, strerror(errno));
	close(place->fd);
	place->fd = -1;
	return directory_sync(place->path);
}

int journal_place_uuid(int fd, unsigned char ret[16])
{
	struct journal_header header = {0};
	int r = header_read(fd, &header);

	if (r == -EUCLEAN)
		return message_set(EUCLEAN, "it is not a journal, or both copies of its header are damaged");
	if (r == 0)
		memcpy(ret, header.uuid, sizeof(header.uuid));
	return r;
}

void journal_place_done(struct journal_place *place)
{
	identity_close(place->fd, &place->identity);
	free(place->path);
	place->fd = -1;
	place->path = NULL;
}
