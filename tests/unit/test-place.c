/* SPDX-License-Identifier: MIT */
/*
 * test-place.c - a file's journal is found wherever the file or the journal went, and no other is taken for it
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "journal/place.h"
#include "made-journal.h"
#include "util/fail.h"
#include "util/message.h"

#define ATTRIBUTE "user.quire.journal"

static char folder[64];
static unsigned char uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}; /* as made_header() has it */

static char *path_of(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static int file_new(const char *name)
{
	int fd = open(path_of(name), O_RDWR | O_CREAT | O_CLOEXEC, 0640);

	assert_true(fd >= 0);
	return fd;
}

static bool exists(const char *name)
{
	struct stat st;

	return lstat(path_of(name), &st) == 0;
}

static bool is_marked(int fd)
{
	return fgetxattr(fd, ATTRIBUTE, NULL, 0) >= 0;
}

/* A header with this uuid and this owner. */
static void write_header(int fd, unsigned char first, int64_t owner)
{
	struct made made;
	struct journal_header *header;

	made_new(&made, 8, 1);
	header = made_header(&made, 0, 1, 0, 0);
	header->uuid[0] = first;
	header->owner = owner;
	made_sum_header(&made, 0);
	assert_int_equal(pwrite(fd, made.bytes, made.len, 0), (ssize_t)made.len);
	made_free(&made);
}

/* A file with a journal that is marked, closed again. The file's descriptor. */
static int file_with_journal(const char *name)
{
	struct journal_place place;
	int fd = file_new(name);

	assert_int_equal(journal_place_find(fd, PLACE_CREATE, &place), 0);
	write_header(place.fd, 1, 0);
	assert_int_equal(journal_place_mark(fd, &place, uuid), 0);
	journal_place_done(&place);
	return fd;
}

/* The errno, or 0; what was found is closed again. *ret_path, if wanted, is to be freed. */
static int find(int fd, enum place_mode mode, bool *ret_there, char **ret_path)
{
	struct journal_place place;
	int r = journal_place_find(fd, mode, &place);

	if (r < 0)
		return -r;
	if (ret_there)
		*ret_there = place.fd >= 0;
	if (ret_path)
		*ret_path = strdup(place.path);
	journal_place_done(&place);
	return 0;
}

static void expect_found(int fd, const char *name)
{
	bool there = false;
	char *path = NULL;
	int r = find(fd, PLACE_FIND, &there, &path);

	if (r != 0)
		print_error("%s\n", message_detail());
	assert_int_equal(r, 0);
	assert_true(there);
	assert_string_equal(path, path_of(name));
	free(path);
}

static void expect_error(int fd, enum place_mode mode, int error, const char *text)
{
	assert_int_equal(find(fd, mode, NULL, NULL), error);
	if (!strstr(message_detail(), text))
		print_error("«%s» does not have «%s»\n", message_detail(), text);
	assert_non_null(strstr(message_detail(), text));
}

/* ---- finding ---- */

static void a_file_without_a_journal_has_none(void **state)
{
	int fd = file_new("file");
	bool there = true;
	char *path = NULL;

	(void)state;
	assert_int_equal(find(fd, PLACE_FIND, &there, &path), 0);
	assert_false(there);
	assert_string_equal(path, path_of("file-quire"));
	free(path);
	assert_int_equal(find(fd, PLACE_LOOK, &there, NULL), 0);
	assert_false(there);
	assert_false(exists("file-quire"));
	close(fd);
}

static void one_is_made_beside_the_file(void **state)
{
	int fd = file_new("file");
	struct journal_place place;
	struct stat st, file;

	(void)state;
	assert_int_equal(fstat(fd, &file), 0);
	assert_int_equal(journal_place_find(fd, PLACE_CREATE, &place), 0);
	assert_string_equal(place.path, path_of("file-quire"));
	assert_int_equal(place.file.ino, file.st_ino);
	assert_int_equal(place.file.is_device, 0);
	assert_int_equal(fstat(place.fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(fcntl(place.fd, F_GETFL) & O_ACCMODE, O_RDWR);
	assert_int_equal(fcntl(place.fd, F_GETFD), FD_CLOEXEC);
	journal_place_done(&place);
	expect_found(fd, "file-quire");
	close(fd);
}

static void the_journal_gets_what_the_file_allows_and_no_more(void **state)
{
	static const mode_t modes[] = {0600, 0644, 0640, 0666, 0755, 04711};
	struct stat st;

	(void)state;
	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		int fd = file_new("file");

		assert_int_equal(fchmod(fd, modes[i]), 0);
		if (geteuid() == 0)
			assert_int_equal(fchown(fd, 1234, 5678), 0);
		assert_int_equal(fchmod(fd, modes[i]), 0);
		assert_int_equal(find(fd, PLACE_CREATE, NULL, NULL), 0);
		assert_int_equal(stat(path_of("file-quire"), &st), 0);
		assert_int_equal(st.st_mode & 07777, modes[i] & 0666);
		if (geteuid() == 0) {
			assert_int_equal(st.st_uid, 1234);
			assert_int_equal(st.st_gid, 5678);
		}
		unlink(path_of("file-quire"));
		unlink(path_of("file"));
		close(fd);
	}
}

static void a_renamed_file_finds_its_journal(void **state)
{
	int fd = file_with_journal("file");

	(void)state;
	rename(path_of("file"), path_of("other"));
	expect_found(fd, "file-quire");
	close(fd);
	fd = open(path_of("other"), O_RDWR);
	expect_found(fd, "file-quire");
	close(fd);
}

static void a_journal_that_was_moved_beside_the_renamed_file_is_found(void **state)
{
	int fd = file_with_journal("file");

	(void)state;
	rename(path_of("file"), path_of("other"));
	rename(path_of("file-quire"), path_of("other-quire"));
	expect_found(fd, "other-quire");
	/* … also when another file has taken the old names. */
	close(file_with_journal("file"));
	int held = open(path_of("file-quire"), O_RDWR);
	write_header(held, 99, 0);
	expect_found(fd, "other-quire");
	assert_int_equal(ftruncate(held, 0), 0);
	expect_found(fd, "other-quire");
	close(held);
	close(fd);
}

static void another_link_of_the_file_leads_to_its_journal(void **state)
{
	int fd = file_with_journal("file"), other;

	(void)state;
	assert_int_equal(link(path_of("file"), path_of("link")), 0);
	other = open(path_of("link"), O_RDWR);
	expect_found(other, "file-quire");
	unlink(path_of("file"));
	expect_found(other, "file-quire");
	/* This one's name is gone; the file's mark is not. */
	expect_found(fd, "file-quire");
	close(other);
	close(fd);
}

static void a_file_put_in_the_others_place_does_not_get_its_journal(void **state)
{
	int old = file_with_journal("file"), new = file_new("new");
	bool there;
	struct journal_place place;

	(void)state;
	rename(path_of("new"), path_of("file"));
	/* It is found by its name alone; that it is another file's is in the header, and the scan's to say. */
	assert_int_equal(journal_place_find(new, PLACE_FIND, &place), 0);
	assert_true(place.fd >= 0);
	journal_place_done(&place);
	expect_found(old, "file-quire");
	unlink(path_of("file-quire"));
	assert_int_equal(find(new, PLACE_FIND, &there, NULL), 0);
	assert_false(there);
	expect_error(old, PLACE_FIND, ENOENT, "is not there");
	expect_error(old, PLACE_CREATE, ENOENT, "quire recover --journal");
	assert_false(exists("file-quire"));
	close(old);
	close(new);
}

static void a_file_without_a_name_has_no_place_for_one(void **state)
{
	int fd = file_new("file");
	bool there = true;

	(void)state;
	unlink(path_of("file"));
	expect_error(fd, PLACE_CREATE, ENOENT, "no name any more");
	close(file_new("file (deleted)"));
	expect_error(fd, PLACE_CREATE, ENOENT, "no name any more");
	/* Nor does it say that there is one: it is a file like any other. */
	assert_int_equal(find(fd, PLACE_FIND, &there, NULL), 0);
	assert_false(there);
	assert_false(exists("file (deleted)-quire"));
	close(fd);
	fd = open(path_of("file (deleted)"), O_RDWR);
	assert_int_equal(find(fd, PLACE_CREATE, NULL, NULL), 0);
	assert_true(exists("file (deleted)-quire"));
	close(fd);
}

static void a_name_that_is_too_long_is_said(void **state)
{
	char name[256];
	char path[400];
	bool there;
	int fd;

	(void)state;
	memset(name, 'n', 252);
	name[252] = '\0';
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(find(fd, PLACE_FIND, &there, NULL), 0);
	assert_false(there);
	assert_int_equal(find(fd, PLACE_CREATE, NULL, NULL), ENAMETOOLONG);
	unlink(path);
	close(fd);
}

static void only_files_and_devices_have_journals(void **state)
{
	int pipe_fds[2], directory = open(folder, O_RDONLY);

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	expect_error(pipe_fds[0], PLACE_CREATE, EINVAL, "only a regular file");
	expect_error(directory, PLACE_CREATE, EINVAL, "only a regular file");
	expect_error(-1, PLACE_CREATE, EBADF, "");
	close(directory);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* ---- what is in its place ---- */

static void what_is_no_file_is_not_taken_for_a_journal(void **state)
{
	int fd = file_new("file"), target = file_new("target");

	(void)state;
	assert_int_equal(symlink(path_of("target"), path_of("file-quire")), 0);
	expect_error(fd, PLACE_FIND, ELOOP, "symbolic link");
	expect_error(fd, PLACE_CREATE, ELOOP, "symbolic link");
	unlink(path_of("file-quire"));
	assert_int_equal(mkfifo(path_of("file-quire"), 0600), 0);
	expect_error(fd, PLACE_CREATE, EINVAL, "no regular file");
	unlink(path_of("file-quire"));
	assert_int_equal(mkdir(path_of("file-quire"), 0700), 0);
	expect_error(fd, PLACE_CREATE, EISDIR, "cannot be opened");
	rmdir(path_of("file-quire"));
	close(target);
	close(fd);
}

static void a_journal_that_a_stranger_put_there_is_not_believed(void **state)
{
	int fd = file_new("file"), journal = file_new("file-quire");

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(fchown(journal, 1234, 1234), 0);
	expect_error(fd, PLACE_FIND, EACCES, "belongs to user 1234");
	assert_int_equal(fchown(fd, 1234, 1234), 0);
	expect_found(fd, "file-quire");
	close(journal);
	close(fd);
}

static void the_journal_of_another_uuid_is_not_the_one(void **state)
{
	int fd = file_with_journal("file"), journal = open(path_of("file-quire"), O_RDWR);

	(void)state;
	write_header(journal, 42, 0);
	expect_error(fd, PLACE_FIND, ESTALE, "journal of another file");
	expect_error(fd, PLACE_LOOK, ESTALE, "journal of another file");
	close(journal);
	close(fd);
}

static void a_marked_journal_that_was_emptied_is_damage(void **state)
{
	int fd = file_with_journal("file"), journal = open(path_of("file-quire"), O_RDWR);

	(void)state;
	assert_int_equal(ftruncate(journal, 0), 0);
	expect_error(fd, PLACE_CREATE, EUCLEAN, "no valid header");
	unlink(path_of("file-quire"));
	expect_error(fd, PLACE_CREATE, ENOENT, "is not there");
	close(journal);
	close(fd);
}

static void either_copy_of_the_header_tells_the_uuid(void **state)
{
	int fd = file_with_journal("file"), journal = open(path_of("file-quire"), O_RDWR);
	char *block = malloc(page_size());

	(void)state;
	assert_int_equal(pread(journal, block, page_size(), 0), (ssize_t)page_size());
	assert_int_equal(pwrite(journal, block, page_size(), (off_t)page_size()), (ssize_t)page_size());
	assert_int_equal(pwrite(journal, "torn", 4, 0), 4);
	expect_found(fd, "file-quire");
	assert_int_equal(pwrite(journal, "torn", 4, (off_t)page_size() + 1000), 4);
	expect_error(fd, PLACE_FIND, EUCLEAN, "no valid header");
	free(block);
	close(journal);
	close(fd);
}

static void a_mark_that_is_not_understood_is_refused(void **state)
{
	static const char *const marks[] = {
	    "",
	    "1",
	    "1 0102030405060708090a0b0c0d0e0f10",
	    "1 0102030405060708090a0b0c0d0e0f10 ",
	    "1 0102030405060708090a0b0c0d0e0f10 relative",
	    "1 0102030405060708090a0b0c0d0e0f1g /path",
	    "1 0102030405060708090A0b0c0d0e0f10 /path",
	    "2 0102030405060708090a0b0c0d0e0f10 /path",
	    "1 0102030405060708090a0b0c0d0e0f10-/path",
	};
	int fd = file_new("file");

	(void)state;
	for (unsigned i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		assert_int_equal(fsetxattr(fd, ATTRIBUTE, marks[i], strlen(marks[i]), 0), 0);
		expect_error(fd, PLACE_CREATE, EUCLEAN, "not one that this program understands");
	}
	assert_int_equal(fsetxattr(fd, ATTRIBUTE, "1 0102030405060708090a0b0c0d0e0f10 /p\0h", 40, 0), 0);
	expect_error(fd, PLACE_CREATE, EUCLEAN, "not one that this program understands");
	close(fd);
}

/* ---- the lock ---- */

static void who_comes_second_is_refused(void **state)
{
	int fd = file_new("file");
	struct journal_place place;
	bool there = false;

	(void)state;
	assert_int_equal(journal_place_find(fd, PLACE_CREATE, &place), 0);
	expect_error(fd, PLACE_CREATE, EBUSY, "in use by another process");
	write_header(place.fd, 1, 4321);
	expect_error(fd, PLACE_FIND, EBUSY, "in use by process 4321");
	assert_int_equal(journal_place_mark(fd, &place, uuid), 0);
	expect_error(fd, PLACE_FIND, EBUSY, "in use by process 4321");
	assert_int_equal(link(path_of("file"), path_of("link")), 0);
	int other = open(path_of("link"), O_RDWR);
	expect_error(other, PLACE_CREATE, EBUSY, "in use by process 4321");
	assert_int_equal(find(fd, PLACE_LOOK, &there, NULL), 0);
	assert_true(there);
	journal_place_done(&place);
	expect_found(fd, "file-quire");
	expect_found(other, "file-quire");
	close(other);
	close(fd);
}

/* That of another file, at the place that the mark tells of, is not locked while it is looked at. */
static void the_journal_of_another_file_may_be_in_use(void **state)
{
	int fd = file_with_journal("file"), new;
	struct journal_place place;

	(void)state;
	rename(path_of("file"), path_of("other"));
	rename(path_of("file-quire"), path_of("other-quire"));
	new = file_new("file");
	assert_int_equal(journal_place_find(new, PLACE_CREATE, &place), 0);
	write_header(place.fd, 2, 4321);
	expect_found(fd, "other-quire");
	journal_place_done(&place);
	close(new);
	close(fd);
}

static void looking_takes_no_lock(void **state)
{
	int fd = file_with_journal("file");
	struct journal_place look, place;

	(void)state;
	assert_int_equal(journal_place_find(fd, PLACE_LOOK, &look), 0);
	assert_int_equal(fcntl(look.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(journal_place_find(fd, PLACE_FIND, &place), 0);
	journal_place_done(&place);
	journal_place_done(&look);
	close(fd);
}

/* ---- a journal that was moved, and named ---- */

static void a_journal_is_taken_from_where_it_is_said_to_be(void **state)
{
	int fd = file_with_journal("file"), other;
	struct journal_place place;

	(void)state;
	rename(path_of("file-quire"), path_of("elsewhere"));
	expect_error(fd, PLACE_FIND, ENOENT, "is not there");
	assert_int_equal(journal_place_at(fd, path_of("elsewhere"), PLACE_FIND, &place), 0);
	assert_string_equal(place.path, path_of("elsewhere"));
	journal_place_done(&place);
	assert_int_equal(journal_place_at(fd, path_of("nowhere"), PLACE_FIND, &place), -ENOENT);
	other = file_new("wrong");
	write_header(other, 3, 0);
	assert_int_equal(journal_place_at(fd, path_of("wrong"), PLACE_FIND, &place), -ESTALE);
	close(other);
	close(fd);
}

/* ---- the end ---- */

static void removing_takes_the_mark_and_the_journal(void **state)
{
	int fd = file_with_journal("file");
	struct journal_place place;
	bool there;

	(void)state;
	assert_true(is_marked(fd));
	assert_int_equal(journal_place_find(fd, PLACE_FIND, &place), 0);
	assert_int_equal(journal_place_remove(fd, &place), 0);
	assert_int_equal(place.fd, -1);
	journal_place_done(&place);
	assert_false(is_marked(fd));
	assert_false(exists("file-quire"));
	assert_int_equal(find(fd, PLACE_FIND, &there, NULL), 0);
	assert_false(there);
	close(fd);
}

static void what_has_taken_the_journals_name_is_not_removed(void **state)
{
	int fd = file_with_journal("file");
	struct journal_place place;

	(void)state;
	assert_int_equal(journal_place_find(fd, PLACE_FIND, &place), 0);
	rename(path_of("file-quire"), path_of("moved"));
	close(file_new("file-quire"));
	assert_int_equal(journal_place_remove(fd, &place), 0);
	assert_true(exists("file-quire"));
	assert_true(exists("moved"));
	assert_false(is_marked(fd));
	journal_place_done(&place);
	close(fd);
}

/* The file is never left with a mark and without the journal. */
static void what_fails_leaves_no_mark_without_a_journal(void **state)
{
	int fd = file_with_journal("file");
	struct journal_place place;

	(void)state;
	assert_int_equal(journal_place_find(fd, PLACE_FIND, &place), 0);
	fail_arm(FAIL_SYNC, 1, false);
	assert_int_equal(journal_place_remove(fd, &place), -EIO);
	assert_true(exists("file-quire"));
	fail_arm(FAIL_SYNC, 1, false);
	assert_int_equal(journal_place_mark(fd, &place, uuid), -EIO);
	assert_true(exists("file-quire"));
	assert_int_equal(journal_place_mark(fd, &place, uuid), 0);
	fail_arm(FAIL_SYNC, 2, false);
	assert_int_equal(journal_place_remove(fd, &place), -EIO);
	assert_false(is_marked(fd));
	journal_place_done(&place);
	unlink(path_of("file-quire"));
	fail_arm(FAIL_SYNC, 1, false);
	expect_error(fd, PLACE_CREATE, EIO, "cannot be synced");
	assert_false(exists("file-quire"));
	close(fd);
}

static void memory_that_is_refused_is_an_error(void **state)
{
	int fd = file_with_journal("file");
	int64_t nth = 1;

	(void)state;
	for (;; nth++) {
		fail_arm(FAIL_ALLOC, nth, false);
		int r = find(fd, PLACE_FIND, NULL, NULL);

		if (atomic_load(&fail_count[FAIL_ALLOC]) == 0)
			break;
		assert_int_equal(r, ENOMEM);
	}
	fail_arm(FAIL_ALLOC, 0, false);
	assert_true(nth > 2);
	expect_found(fd, "file-quire");
	close(fd);
}

/* As a user who may not write the folder: in a child, since it is for good. */
static void a_folder_that_cannot_be_written_is_said(void **state)
{
	int fd = file_new("file");
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(fchmod(fd, 0666), 0);
	assert_int_equal(chmod(folder, 0555), 0);
	pid = fork();
	if (pid == 0) {
		bool there = true;
		bool right = geteuid() != 0 || (setgid(65534) == 0 && setuid(65534) == 0);

		right = right && find(fd, PLACE_FIND, &there, NULL) == 0 && !there;
		right = right && find(fd, PLACE_CREATE, NULL, NULL) == EACCES;
		right =
		    right && strstr(message_detail(), "a journal is needed beside the file") && strstr(message_detail(), folder);
		_exit(right ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chmod(folder, 0755), 0);
	assert_int_equal(status, 0);
	close(fd);
}

/* One who takes the journal's lock just when it is removed has the one that is there. */
static void one_that_is_removed_meanwhile_is_not_taken(void **state)
{
	(void)state;
	for (int round = 0; round < 50; round++) {
		int fd = file_new("file");
		int status;
		pid_t pid = fork();

		for (int i = 0; i < 20; i++) {
			struct journal_place place;
			int r = journal_place_find(fd, PLACE_CREATE, &place);
			struct stat here, there;

			if (r == -EBUSY)
				continue;
			bool right = r == 0 && fstat(place.fd, &here) == 0 && stat(place.path, &there) == 0 &&
				     here.st_ino == there.st_ino && journal_place_remove(fd, &place) == 0;

			if (!right && pid == 0)
				_exit(1);
			assert_true(right);
			journal_place_done(&place);
		}
		if (pid == 0)
			_exit(0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		close(fd);
	}
}

/* ---- */

static int set_up(void **state)
{
	const char *parent = getenv("TMPDIR");

	(void)state;
	snprintf(folder, sizeof(folder), "%s/quire-test.XXXXXX", parent && strlen(parent) < 40 ? parent : "/var/tmp");
	return mkdtemp(folder) && chmod(folder, 0755) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"file",      "file-quire", "other",          "other-quire",
					    "link",      "new",        "target",         "wrong",
					    "elsewhere", "moved",      "file (deleted)", "file (deleted)-quire"};

	(void)state;
	fail_arm(FAIL_SYNC, 0, false);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(path_of(names[i]));
	return rmdir(folder);
}

#define PLACE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    PLACE(a_file_without_a_journal_has_none),
	    PLACE(one_is_made_beside_the_file),
	    PLACE(the_journal_gets_what_the_file_allows_and_no_more),
	    PLACE(a_renamed_file_finds_its_journal),
	    PLACE(a_journal_that_was_moved_beside_the_renamed_file_is_found),
	    PLACE(another_link_of_the_file_leads_to_its_journal),
	    PLACE(a_file_put_in_the_others_place_does_not_get_its_journal),
	    PLACE(a_file_without_a_name_has_no_place_for_one),
	    PLACE(a_name_that_is_too_long_is_said),
	    PLACE(only_files_and_devices_have_journals),
	    PLACE(what_is_no_file_is_not_taken_for_a_journal),
	    PLACE(a_journal_that_a_stranger_put_there_is_not_believed),
	    PLACE(the_journal_of_another_uuid_is_not_the_one),
	    PLACE(a_marked_journal_that_was_emptied_is_damage),
	    PLACE(either_copy_of_the_header_tells_the_uuid),
	    PLACE(a_mark_that_is_not_understood_is_refused),
	    PLACE(who_comes_second_is_refused),
	    PLACE(the_journal_of_another_file_may_be_in_use),
	    PLACE(looking_takes_no_lock),
	    PLACE(a_journal_is_taken_from_where_it_is_said_to_be),
	    PLACE(removing_takes_the_mark_and_the_journal),
	    PLACE(what_has_taken_the_journals_name_is_not_removed),
	    PLACE(what_fails_leaves_no_mark_without_a_journal),
	    PLACE(memory_that_is_refused_is_an_error),
	    PLACE(a_folder_that_cannot_be_written_is_said),
	    PLACE(one_that_is_removed_meanwhile_is_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
