/* SPDX-License-Identifier: MIT */
/*
 * test-users.c - a server for a group: two users are served, and each tries to reach what is the other's
 *
 * Four users, by number: one has the server, two are of its group, and one is not. Without root none of it can be tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <quire/quire.h>
#include <quire/shm.h>

#include "support.h"

enum { SERVER_UID = 64001, OWNER_UID, OTHER_UID, STRANGER_UID, GROUP_GID = 64010 };

#define SECRET "a secret of the owner's"
#define KEY    0x51524531

static char folder[64], socket_name[96], command[96];
static _Atomic unsigned *turn;

static void become(uid_t uid, gid_t gid, const gid_t *more)
{
	EXPECT(setgroups(more ? 1 : 0, more) == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0);
	/* It was taken away with the user, and /proc/self with it. */
	EXPECT(prctl(PR_SET_DUMPABLE, 1) == 0);
}

/* Where the build is need not be a place for others. */
static int copy_command(void)
{
	int from = open(getenv("QUIRE_COMMAND"), O_RDONLY | O_CLOEXEC), to, r = 0;
	char bytes[65536];
	ssize_t n;

	snprintf(command, sizeof(command), "%s/quire", folder);
	to = open(command, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	if (from < 0 || to < 0)
		return -1;
	while ((n = read(from, bytes, sizeof(bytes))) > 0 && r == 0)
		r = write(to, bytes, (size_t)n) == n ? 0 : -1;
	close(from);
	close(to);
	return n < 0 ? -1 : r;
}

static void serve(void)
{
	char group[16];

	snprintf(group, sizeof(group), "%d", GROUP_GID);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Of the group, too: else it may not give it the socket. */
	become(SERVER_UID, SERVER_UID, &(gid_t){GROUP_GID});
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (freopen("/dev/null", "w", stderr))
		execl(command, "quire", "serve", "--socket", socket_name, "--memory", "4M", "--group", group, NULL);
	_exit(127);
}

static int begin(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	page = (size_t)sysconf(_SC_PAGESIZE);
	turn = mmap(NULL, page, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	atomic_store(turn, 0);
	strcpy(folder, "/var/tmp/quire-users.XXXXXX");
	if (!mkdtemp(folder) || chmod(folder, 0755) < 0 || chown(folder, SERVER_UID, SERVER_UID) < 0 || copy_command() < 0)
		return -1;
	snprintf(socket_name, sizeof(socket_name), "%s/socket", folder);
	server = fork();
	if (server == 0)
		serve();
	while (!listens(socket_name))
		usleep(2000);
	return 0;
}

static int finish(void **state)
{
	char name[128];
	int status;

	(void)state;
	if (geteuid() != 0)
		return 0;
	kill(server, SIGTERM);
	status = end_of(server);
	snprintf(name, sizeof(name), "%s.lock", socket_name);
	unlink(name);
	unlink(command);
	munmap((void *)turn, page);
	return status ? status : rmdir(folder);
}

static bool cannot_be_tried(void)
{
	if (geteuid() == 0)
		return false;
	print_message("# other users cannot be tried without root\n");
	return true;
}

static pid_t run_as(uid_t uid, int (*run)(void *arg), void *arg)
{
	pid_t child = fork();
	char text[16];

	assert_true(child >= 0);
	if (child > 0)
		return child;
	signal(SIGBUS, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGABRT, SIG_DFL);
	/* The one by its first group, the other by one that it has beside. */
	if (uid == OWNER_UID)
		become(uid, uid, &(gid_t){GROUP_GID});
	else if (uid == OTHER_UID)
		become(uid, GROUP_GID, &(gid_t){SERVER_UID});
	else
		become(uid, uid, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv("QUIRE_SERVER", socket_name, 1);
	snprintf(text, sizeof(text), "%d", SERVER_UID);
	setenv("QUIRE_SERVER_USER", text, 1);
	_exit(run(arg));
}

static void await(unsigned least)
{
	while (atomic_load(turn) < least)
		usleep(500);
}

/* ---- who is served ---- */

static int map_some(void *arg)
{
	char *p = quire_mmap(NULL, PAGES(4), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT(p != MAP_FAILED && p[0] == 0);
	p[0] = 1;
	return arg ? 1 : 0;
}

static int trust_nobody(void *arg)
{
	char text[40];

	(void)arg;
	unsetenv("QUIRE_SERVER_USER");
	snprintf(text, sizeof(text), "QUIRE_SERVER_USER=%d", SERVER_UID);
	EXPECT(quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EPERM);
	EXPECT(strstr(quire_errormsg(), text));
	setenv("QUIRE_SERVER_USER", "64002", 1);
	EXPECT(quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EPERM);
	setenv("QUIRE_SERVER_USER", "no such user", 1);
	EXPECT(quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL);
	return 0;
}

static int is_not_let_in(void *arg)
{
	int error = *(int *)arg;

	EXPECT(quire_mmap(NULL, page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == error);
	return 0;
}

static void members_of_the_group_are_served_and_others_are_not(void **state)
{
	struct stat st;

	(void)state;
	if (cannot_be_tried())
		skip();
	assert_int_equal(stat(socket_name, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0660);
	assert_int_equal(st.st_gid, GROUP_GID);
	assert_int_equal(end_of(run_as(SERVER_UID, map_some, NULL)), 0);
	assert_int_equal(end_of(run_as(OWNER_UID, map_some, NULL)), 0);
	assert_int_equal(end_of(run_as(OTHER_UID, map_some, NULL)), 0);
	assert_int_equal(end_of(run_as(OTHER_UID, trust_nobody, NULL)), 0);
	assert_int_equal(end_of(run_as(STRANGER_UID, is_not_let_in, &(int){EACCES})), 0);
	/* Nor when somebody has opened the door. */
	assert_int_equal(chmod(socket_name, 0666), 0);
	assert_int_equal(end_of(run_as(STRANGER_UID, is_not_let_in, &(int){EPROTO})), 0);
}

/* ---- names ---- */

static void make_name(const char *name, mode_t mode)
{
	int fd = quire_shm_open(name, O_RDWR | O_CREAT | O_EXCL, mode);
	char *p;

	EXPECT(fd >= 0 && quire_ftruncate(fd, (off_t)PAGES(2)) == 0);
	p = quire_mmap(NULL, PAGES(2), RW, MAP_SHARED, fd, 0);
	EXPECT(p != MAP_FAILED);
	strcpy(p, SECRET);
}

static void name_is_well(const char *name)
{
	int fd = quire_shm_open(name, O_RDWR, 0);
	struct stat st;
	char *p;

	EXPECT(fd >= 0 && fstat(fd, &st) == 0 && st.st_size == (off_t)PAGES(2));
	p = quire_mmap(NULL, PAGES(2), RW, MAP_SHARED, fd, 0);
	EXPECT(p != MAP_FAILED && strcmp(p, SECRET) == 0 && p[page] == 0);
	EXPECT(quire_shm_unlink(name) == 0);
}

static int own_names(void *arg)
{
	umask(0);
	make_name("/users-closed", 0600);
	/* Its group is the owner's. The memfd's may be the server's, of which the other one is. */
	make_name("/users-open", 0664);
	make_name("/users-group", 0660);
	atomic_store(turn, 1);
	await(2);
	name_is_well("/users-closed");
	name_is_well("/users-open");
	name_is_well("/users-group");
	return arg ? 1 : 0;
}

/* A descriptor that allows reading, in the hands of who wants more. */
static void try_to_write_by(int fd)
{
	static const int modes[] = {O_RDWR, O_WRONLY, O_WRONLY | O_DSYNC, O_RDWR | O_DSYNC, O_RDWR | O_TRUNC};
	char path[64], *p;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		EXPECT(open(path, modes[i]) < 0 && errno == EACCES);
	EXPECT(fchmod(fd, 0666) < 0 && ftruncate(fd, 0) < 0 && quire_ftruncate(fd, 0) < 0 && pwrite(fd, "x", 1, 0) < 0);
	EXPECT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page) < 0);
	EXPECT(quire_mmap(NULL, page, RW, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EACCES);
	EXPECT(quire_mmap(NULL, PAGES(4), RW, MAP_SHARED | QUIRE_MAP_EXTEND, fd, 0) == MAP_FAILED);
	p = quire_mmap(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, 0);
	EXPECT(p != MAP_FAILED && strcmp(p, SECRET) == 0);
	EXPECT(quire_mprotect(p, PAGES(2), RW) < 0 && errno == EACCES);
	EXPECT(quire_madvise(p, PAGES(2), MADV_REMOVE) < 0 && errno == EACCES);
	/* What it does by itself it does to its own copy. */
	if (mprotect(p, PAGES(2), RW) == 0)
		p[0] = 'X';
	(void)quire_madvise(p, PAGES(2), MADV_DONTNEED);
	(void)quire_msync(p, PAGES(2), MS_SYNC | MS_INVALIDATE);
}

static int want_names(void *arg)
{
	static const char *const names[] = {"/users-closed", "/users-group"};
	int fd;

	await(1);
	for (size_t i = 0; i < 2; i++) {
		EXPECT(quire_shm_open(names[i], O_RDONLY, 0) < 0 && errno == EACCES);
		EXPECT(quire_shm_open(names[i], O_RDWR | O_TRUNC, 0) < 0 && errno == EACCES);
		EXPECT(quire_shm_open(names[i], O_RDWR | O_CREAT, 0666) < 0 && errno == EACCES);
		EXPECT(quire_shm_open(names[i], O_RDWR | O_CREAT | O_EXCL, 0666) < 0 && errno == EEXIST);
		EXPECT(quire_shm_unlink(names[i]) < 0 && errno == EACCES);
	}
	EXPECT(quire_shm_open("/users-open", O_RDWR, 0) < 0 && errno == EACCES);
	EXPECT(quire_shm_open("/users-open", O_RDONLY | O_TRUNC, 0) < 0 || true);
	EXPECT(quire_shm_unlink("/users-open") < 0 && errno == EACCES);
	fd = quire_shm_open("/users-open", O_RDONLY, 0);
	EXPECT(fd >= 0);
	try_to_write_by(fd);
	return arg ? 1 : 0;
}

static void P01_name_of_another_user_is_had_as_its_mode_allows(void **state)
{
	pid_t owner;

	(void)state;
	if (cannot_be_tried())
		skip();
	owner = run_as(OWNER_UID, own_names, NULL);
	assert_int_equal(end_of(run_as(OTHER_UID, want_names, NULL)), 0);
	atomic_store(turn, 2);
	assert_int_equal(end_of(owner), 0);
}

/* The socket for the reply is another user's: the kernel would say so of it. */
static int ask_by_a_socket_of_roots(void *arg)
{
	const int *reply = arg;
	struct hello hello = hello_ours((uint32_t)page);
	struct hello_reply answer;
	struct call_request request = {.name = CALL_SHM_OPEN, .arg = {O_RDWR}, .in_len = sizeof("/users-closed")};
	struct call_reply result = {.result = 1};
	struct channel_message out = {.head = &hello, .head_len = sizeof(hello)};
	struct channel_message in = {.head = &answer, .head_len = sizeof(answer)};
	int fd;

	strcpy(socket_path, socket_name);
	await(1);
	fd = raw_connect();
	EXPECT(channel_send(fd, &out) == 0 && channel_receive(fd, &in) == 0 && answer.result == 0);
	out = (struct channel_message){.head = &request,
				       .head_len = sizeof(request),
				       .body = (char[]){"/users-closed"},
				       .body_len = sizeof("/users-closed"),
				       .fds = {reply[1]},
				       .n_fds = 1};
	in = (struct channel_message){.head = &result, .head_len = sizeof(result)};
	EXPECT(channel_send(fd, &out) == 0 && channel_receive(reply[0], &in) == 0);
	EXPECT(result.result == -EACCES && in.n_fds == 0);
	return 0;
}

static void P01_caller_is_who_has_connected(void **state)
{
	int pair[2];
	pid_t owner;

	(void)state;
	if (cannot_be_tried())
		skip();
	assert_int_equal(channel_pair(pair), 0);
	owner = run_as(OWNER_UID, own_names, NULL);
	assert_int_equal(end_of(run_as(OTHER_UID, ask_by_a_socket_of_roots, pair)), 0);
	atomic_store(turn, 2);
	assert_int_equal(end_of(owner), 0);
	close(pair[0]);
	close(pair[1]);
}

/* ---- segments ---- */

static int own_segments(void *arg)
{
	int id = quire_shmget(KEY, page, IPC_CREAT | IPC_EXCL | 0600);
	struct shmid_ds ds;
	char *p;

	EXPECT(id >= 0);
	p = quire_shmat(id, NULL, 0);
	EXPECT(p != (char *)-1);
	strcpy(p, SECRET);
	atomic_store(turn, 1);
	await(2);
	EXPECT(strcmp(p, SECRET) == 0);
	EXPECT(quire_shmctl(id, IPC_STAT, &ds) == 0 && ds.shm_perm.uid == OWNER_UID && (ds.shm_perm.mode & 0777) == 0600);
	EXPECT(ds.shm_nattch == 1 && quire_shmctl(id, IPC_RMID, NULL) == 0);
	return arg ? 1 : 0;
}

static int want_segments(void *arg)
{
	struct shmid_ds ds = {.shm_perm = {.uid = OTHER_UID, .gid = GROUP_GID, .mode = 0666}};

	await(1);
	EXPECT(quire_shmget(KEY, page, 0600) < 0 && errno == EACCES);
	EXPECT(quire_shmget(KEY, page, IPC_CREAT | 0666) < 0 && errno == EACCES);
	for (int id = 0; id < 64; id++) {
		EXPECT(quire_shmat(id, NULL, 0) == (void *)-1 && (errno == EACCES || errno == EINVAL));
		EXPECT(quire_shmat(id, NULL, SHM_RDONLY) == (void *)-1);
		EXPECT(quire_shmctl(id, IPC_STAT, &ds) < 0 && quire_shmctl(id, IPC_RMID, NULL) < 0);
		ds.shm_perm.uid = OTHER_UID;
		EXPECT(quire_shmctl(id, IPC_SET, &ds) < 0);
	}
	return arg ? 1 : 0;
}

static void P01_segment_of_another_user_is_had_as_its_mode_allows(void **state)
{
	pid_t owner;

	(void)state;
	if (cannot_be_tried())
		skip();
	owner = run_as(OWNER_UID, own_segments, NULL);
	assert_int_equal(end_of(run_as(OTHER_UID, want_segments, NULL)), 0);
	atomic_store(turn, 2);
	assert_int_equal(end_of(owner), 0);
}

/* ---- the command ---- */

static const char *const remove_name[] = {"quire", "shm", "--remove", "/users-closed", NULL};
static const char *const remove_segment[] = {"quire", "shm", "--remove", "0", NULL};

static int run_command(void *arg)
{
	if (!freopen("/dev/null", "w", stderr))
		return 126;
	execv(command, arg);
	return 127;
}

static int own_both(void *arg)
{
	EXPECT(quire_shmget(KEY, page, IPC_CREAT | IPC_EXCL | 0600) == 0);
	umask(0);
	make_name("/users-closed", 0600);
	return arg ? 1 : 0;
}

static void P01_command_removes_ones_own_and_the_servers_user_all(void **state)
{
	(void)state;
	if (cannot_be_tried())
		skip();
	assert_int_equal(end_of(run_as(OWNER_UID, own_both, NULL)), 0);
	assert_int_equal(end_of(run_as(OTHER_UID, run_command, (void *)(uintptr_t)remove_name)), 1);
	assert_int_equal(end_of(run_as(OTHER_UID, run_command, (void *)(uintptr_t)remove_segment)), 1);
	assert_int_equal(end_of(run_as(OWNER_UID, run_command, (void *)(uintptr_t)remove_name)), 0);
	assert_int_equal(end_of(run_as(OWNER_UID, run_command, (void *)(uintptr_t)remove_name)), 1);
	assert_int_equal(end_of(run_as(SERVER_UID, run_command, (void *)(uintptr_t)remove_segment)), 0);
	assert_int_equal(end_of(run_as(SERVER_UID, run_command, (void *)(uintptr_t)remove_segment)), 1);
}

/* ---- more than one user may have ---- */

static int connect_often(void *arg)
{
	struct hello hello = hello_ours((uint32_t)page);
	struct hello_reply reply = {.result = 0};
	int n = 0;

	strcpy(socket_path, socket_name);
	for (; n < 400 && reply.result == 0; n++) {
		struct channel_message out = {.head = &hello, .head_len = sizeof(hello)};
		struct channel_message in = {.head = &reply, .head_len = sizeof(reply)};
		int fd = raw_connect();

		EXPECT(channel_send(fd, &out) == 0 && channel_receive(fd, &in) == 0);
	}
	EXPECT(n > 200 && n <= 251 && reply.result == -EPROTO && strstr(reply.detail, "as many clients"));
	atomic_store(turn, 1);
	await(2);
	return arg ? 1 : 0;
}

static void user_has_so_many_processes_and_others_have_theirs(void **state)
{
	pid_t other;

	(void)state;
	if (cannot_be_tried())
		skip();
	other = run_as(OTHER_UID, connect_often, NULL);
	await(1);
	assert_int_equal(end_of(run_as(OTHER_UID, is_not_let_in, &(int){EPROTO})), 0);
	assert_int_equal(end_of(run_as(OWNER_UID, map_some, NULL)), 0);
	atomic_store(turn, 2);
	assert_int_equal(end_of(other), 0);
}

static int make_many(void *arg)
{
	char name[32];
	int n = 0, fd = 0;

	for (; n < 1100 && fd >= 0; n++) {
		snprintf(name, sizeof(name), "/users-%d", n);
		fd = quire_shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
		if (fd >= 0)
			close(fd);
	}
	EXPECT(fd < 0 && errno == ENOSPC && n == 1025);
	for (n = 0, fd = 0; n < 1100 && fd >= 0; n++)
		fd = quire_shmget(IPC_PRIVATE, page, 0600);
	EXPECT(fd < 0 && errno == ENOSPC && n == 1025);
	return arg ? 1 : 0;
}

static int make_one_more(void *arg)
{
	EXPECT(quire_shm_open("/users-one-more", O_RDWR | O_CREAT, 0600) >= 0 && quire_shmget(IPC_PRIVATE, page, 0600) >= 0);
	return arg ? 1 : 0;
}

static void user_has_so_many_names_and_segments_and_others_have_theirs(void **state)
{
	(void)state;
	if (cannot_be_tried())
		skip();
	assert_int_equal(end_of(run_as(OWNER_UID, make_many, NULL)), 0);
	assert_int_equal(end_of(run_as(OTHER_UID, make_one_more, NULL)), 0);
}

/* ---- files ---- */

/* The owner's, which others may read. */
static int make_owned(mode_t mode, int *ret_reader)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char name[64], *bytes = calloc(2, page);

	assert_true(fd >= 0);
	strcpy(bytes, SECRET);
	assert_int_equal(pwrite(fd, bytes, 2 * page, 0), 2 * page);
	free(bytes);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	*ret_reader = open(name, O_RDONLY | O_CLOEXEC);
	assert_true(*ret_reader >= 0);
	assert_int_equal(fchown(fd, OWNER_UID, OWNER_UID), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	return fd;
}

static int own_file(void *arg)
{
	char *p = quire_mmap(NULL, PAGES(2), RW, MAP_SHARED, *(int *)arg, 0);

	EXPECT(p != MAP_FAILED && strcmp(p, SECRET) == 0);
	p[page] = 1;
	atomic_store(turn, 1);
	await(2);
	EXPECT(strcmp(p, SECRET) == 0 && p[page] == 1);
	EXPECT(quire_msync(p, PAGES(2), MS_SYNC) == 0);
	return 0;
}

static int want_file(void *arg)
{
	int reader = *(int *)arg;
	void *p;

	await(1);
	/* A lease is not had by the server's rights: nobody is held off by it. */
	p = quire_mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_DENYWRITE, reader, 0);
	EXPECT(p != MAP_FAILED || errno == ETXTBSY);
	EXPECT(quire_mmap(NULL, page, PROT_READ, MAP_SHARED | QUIRE_MAP_ATOMIC, reader, 0) == MAP_FAILED);
	EXPECT(quire_mmap(NULL, page, PROT_READ, MAP_SHARED | QUIRE_MAP_SNAPSHOT, reader, 0) == MAP_FAILED);
	try_to_write_by(reader);
	return 0;
}

static void P01_file_that_one_user_may_read_is_not_written_by_him(void **state)
{
	int reader, fd, size;
	pid_t owner;
	char *bytes;

	(void)state;
	if (cannot_be_tried())
		skip();
	fd = make_owned(0644, &reader);
	owner = run_as(OWNER_UID, own_file, &fd);
	assert_int_equal(end_of(run_as(OTHER_UID, want_file, &reader)), 0);
	atomic_store(turn, 2);
	assert_int_equal(end_of(owner), 0);
	size = (int)lseek(fd, 0, SEEK_END);
	assert_int_equal(size, 2 * page);
	bytes = malloc(2 * page);
	assert_int_equal(pread(fd, bytes, 2 * page, 0), 2 * page);
	assert_string_equal(bytes, SECRET);
	assert_int_equal(bytes[page], 1);
	free(bytes);
	close(reader);
	close(fd);
}

static int map_with_journal(void *arg)
{
	EXPECT(quire_mmap(NULL, page, RW, MAP_SHARED, *(int *)arg, 0) == MAP_FAILED && errno == EPERM);
	EXPECT(strstr(quire_errormsg(), "journal"));
	return 0;
}

/* It says where it is, and the server would open that. */
static void P01_journal_that_another_user_names_is_not_opened(void **state)
{
	static const char mark[] = "1 00112233445566778899aabbccddeeff /etc/shadow";
	int reader, fd;

	(void)state;
	if (cannot_be_tried())
		skip();
	fd = make_owned(0666, &reader);
	if (fsetxattr(fd, "user.quire.journal", mark, sizeof(mark) - 1, 0) < 0) {
		print_message("# this filesystem has no attributes\n");
		skip();
	}
	assert_int_equal(end_of(run_as(OTHER_UID, map_with_journal, &fd)), 0);
	close(reader);
	close(fd);
}

/* ---- what was another's ---- */

static int leave_secrets(void *arg)
{
	char *p = quire_mmap(NULL, PAGES(1500), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *q = quire_mmap(NULL, PAGES(1500), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	EXPECT(p != MAP_FAILED && q != MAP_FAILED);
	for (size_t i = 0; i < 1500; i++) {
		strcpy(p + PAGES(i), SECRET);
		strcpy(q + PAGES(i), SECRET);
	}
	return arg ? 1 : 0;
}

static int look_for_secrets(void *arg)
{
	char *p = quire_mmap(NULL, PAGES(1500), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *q = quire_mmap(NULL, PAGES(1500), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	EXPECT(p != MAP_FAILED && q != MAP_FAILED);
	for (size_t i = 0; i < PAGES(1500); i++)
		EXPECT(p[i] == 0 && q[i] == 0);
	return arg ? 1 : 0;
}

static void M18_memory_of_another_user_comes_as_zeros(void **state)
{
	(void)state;
	if (cannot_be_tried())
		skip();
	assert_int_equal(end_of(run_as(OWNER_UID, leave_secrets, NULL)), 0);
	assert_int_equal(end_of(run_as(OTHER_UID, look_for_secrets, NULL)), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(members_of_the_group_are_served_and_others_are_not),
	    TEST(P01_name_of_another_user_is_had_as_its_mode_allows),
	    TEST(P01_caller_is_who_has_connected),
	    TEST(P01_segment_of_another_user_is_had_as_its_mode_allows),
	    TEST(P01_command_removes_ones_own_and_the_servers_user_all),
	    TEST(user_has_so_many_processes_and_others_have_theirs),
	    TEST(user_has_so_many_names_and_segments_and_others_have_theirs),
	    TEST(P01_file_that_one_user_may_read_is_not_written_by_him),
	    TEST(P01_journal_that_another_user_names_is_not_opened),
	    TEST(M18_memory_of_another_user_comes_as_zeros),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
