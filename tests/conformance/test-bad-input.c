/* SPDX-License-Identifier: MIT */
/*
 * test-bad-input.c - what is answered to arguments, files and machines that are not as they should be
 *
 * Each answer is the documented errno or signal, and a sentence that starts with the call's name and names the value; nothing
 * that is stored already is lost, nothing else changes. The kernel has the same errno, but no sentences, and it has neither a
 * budget nor settings: most of this is left out of the oracle.
 */
#include "children.h"
#include "support.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#ifdef KERNEL_ORACLE
#define assert_message(call, word)         (void)(word)
#define assert_message_number(call, value) (void)(value)
#endif

/* ---- descriptors ---- */

static void bad_descriptor_a_pipe(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED, ends[0], 0), ENODEV);
	assert_message("quire_mmap", "pipe");
	assert_message_number("quire_mmap", ends[0]);
	close(ends[0]);
	close(ends[1]);
}

static void bad_descriptor_a_directory(void **state)
{
	int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED, fd, 0), ENODEV);
	assert_message("quire_mmap", "directory");
	assert_message_number("quire_mmap", fd);
	close(fd);
}

static void bad_descriptor_that_is_closed(void **state)
{
	int fd = dup(0);

	(void)state;
	close(fd);
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED, fd, 0), EBADF);
	assert_message_number("quire_mmap", fd);
	assert_fails(quire_ftruncate(fd, 0), EBADF);
	assert_message_number("quire_ftruncate", fd);
}

static void bad_descriptor_of_a_write_only_file(void **state)
{
	int fd = file_reopen(file_new(PAGES(1)), O_WRONLY);

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_WRITE, MAP_SHARED, fd, 0), EACCES);
	assert_message("quire_mmap", "read");
	assert_message_number("quire_mmap", fd);
}

static void bad_descriptor_of_a_read_only_file(void **state)
{
	int fd = file_reopen(file_new(PAGES(1)), O_RDONLY);

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, fd, 0), EACCES);
	assert_message("quire_mmap", "writ");
	assert_message_number("quire_mmap", fd);
}

/* ---- lengths, offsets, addresses ---- */

static void bad_length(void **state)
{
	int fd = file_new(PAGES(1));

	(void)state;
	assert_fails(quire_mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0), EINVAL);
	assert_message("quire_mmap", "length");
	assert_fails(quire_mmap(NULL, (size_t)1 << 62, PROT_READ, MAP_SHARED, fd, 0), ENOMEM);
	assert_message_number("quire_mmap", (size_t)1 << 62);
	assert_fails(quire_mmap(NULL, SIZE_MAX, PROT_READ, MAP_SHARED, fd, 0), ENOMEM);
	assert_message_number("quire_mmap", SIZE_MAX);
	assert_fails(quire_munmap(quiet(), 0), EINVAL);
	assert_message("quire_munmap", "length");
}

static void bad_offset(void **state)
{
	int fd = file_new(PAGES(1));
	off_t last = (off_t)(INT64_MAX - (int64_t)page_size + 1);

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED, fd, 1234), EINVAL);
	assert_message_number("quire_mmap", 1234);
	assert_fails(quire_mmap(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, last), EOVERFLOW);
	assert_message_number("quire_mmap", last);
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED, fd, -(off_t)PAGES(1)), EOVERFLOW);
	assert_message("quire_mmap", "offset");
}

static void bad_address_that_is_not_aligned(void **state)
{
	unsigned char vec[1];
	char *p = map_anonymous(2);
	char *odd = p + 100;

	(void)state;
	p[0] = 'k';
	assert_fails(quire_mmap(odd, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0), EINVAL);
	assert_message_number("quire_mmap", (uintptr_t)odd);
	assert_fails(quire_munmap(odd, PAGES(1)), EINVAL);
	assert_message_number("quire_munmap", (uintptr_t)odd);
	assert_fails(quire_mprotect(odd, PAGES(1), PROT_NONE), EINVAL);
	assert_message_number("quire_mprotect", (uintptr_t)odd);
	assert_fails(quire_mremap(odd, PAGES(1), PAGES(2), MREMAP_MAYMOVE), EINVAL);
	assert_message_number("quire_mremap", (uintptr_t)odd);
	assert_fails(quire_msync(odd, PAGES(1), MS_SYNC), EINVAL);
	assert_message_number("quire_msync", (uintptr_t)odd);
	assert_fails(quire_madvise(odd, PAGES(1), MADV_DONTNEED), EINVAL);
	assert_message_number("quire_madvise", (uintptr_t)odd);
	assert_fails(quire_mincore(odd, PAGES(1), vec), EINVAL);
	assert_message_number("quire_mincore", (uintptr_t)odd);
	assert_loads(p, 'k');
	unmap(p, 2);
}

static void bad_address_in_a_hole(void **state)
{
	unsigned char vec[3];
	char *p = map(quiet(), PAGES(3), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	uintptr_t hole = (uintptr_t)p + PAGES(1);

	(void)state;
	unmap(p + PAGES(1), 1);
	assert_fails(quire_mprotect(p, PAGES(3), PROT_READ), ENOMEM);
	assert_message_number("quire_mprotect", hole);
	assert_fails(quire_msync(p, PAGES(3), MS_SYNC), ENOMEM);
	assert_message_number("quire_msync", hole);
	assert_fails(quire_madvise(p, PAGES(3), MADV_NORMAL), ENOMEM);
	assert_message_number("quire_madvise", hole);
	assert_fails(quire_mlock(p, PAGES(3)), ENOMEM);
	assert_message_number("quire_mlock", hole);
	assert_fails(quire_mincore(p, PAGES(3), vec), ENOMEM);
	assert_message_number("quire_mincore", hole);
	assert_fails(quire_mremap(p, PAGES(3), PAGES(4), MREMAP_MAYMOVE), EFAULT);
	assert_message("quire_mremap", "");
	unmap(p, 3);
}

static void bad_address_that_is_taken(void **state)
{
	char *p = map_anonymous(1);

	(void)state;
	assert_fails(quire_mmap(p, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ANON, 0), EEXIST);
	assert_message_number("quire_mmap", (uintptr_t)p);
	unmap(p, 1);
}

/* ---- flags ---- */

static void bad_flags(void **state)
{
	int fd = file_new(PAGES(1));
	char *p = map_shared(fd, 1);

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, 0, fd, 0), EINVAL);
	assert_message("quire_mmap", "MAP_SHARED");
	assert_fails(quire_mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED_VALIDATE | 0x400, fd, 0), EOPNOTSUPP);
	assert_message_number("quire_mmap", 0x400);
	assert_fails(quire_mprotect(p, PAGES(1), 0x800), EINVAL);
	assert_message_number("quire_mprotect", 0x800);
	assert_fails(quire_msync(p, PAGES(1), MS_SYNC | MS_ASYNC), EINVAL);
	assert_message("quire_msync", "MS_ASYNC");
	assert_fails(quire_msync(p, PAGES(1), 0x100), EINVAL);
	assert_message_number("quire_msync", 0x100);
	assert_fails(quire_madvise(p, PAGES(1), 5555), EINVAL);
	assert_message_number("quire_madvise", 5555);
	assert_fails(quire_mlock2(p, PAGES(1), 0x40), EINVAL);
	assert_message_number("quire_mlock2", 0x40);
	assert_fails(quire_mremap(p, PAGES(1), PAGES(1), 0x1000), EINVAL);
	assert_message_number("quire_mremap", 0x1000);
	assert_fails(quire_mlockall(0x100), EINVAL);
	assert_message_number("quire_mlockall", 0x100);
	assert_loads(p, pattern(0));
	unmap(p, 1);
}

/* ---- files that change ---- */

static void file_cut_while_it_is_mapped(void **state)
{
	int fd = file_new(PAGES(4));
	char *p = map_shared(fd, 4);

	(void)state;
	memset(p, 'd', PAGES(4));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(2)));
	assert_filled(p, PAGES(2), 'd');
	assert_past_the_end(p + PAGES(2));
	assert_fails(quire_madvise(p, PAGES(4), MADV_POPULATE_READ), EFAULT);
	assert_message("quire_madvise", "end");
	assert_ok(quire_msync(p, PAGES(4), MS_SYNC));
	unmap(p, 4);
	assert_int_equal(file_size(fd), PAGES(2));
	assert_int_equal(file_byte(fd, (off_t)PAGES(2) - 1), 'd');
}

/* ---- programs with ways of their own ---- */

static sigjmp_buf behind_the_fault;
static sigset_t mask_in_handler;

static void note_mask(int signo)
{
	(void)signo;
	pthread_sigmask(SIG_BLOCK, NULL, &mask_in_handler);
	siglongjmp(behind_the_fault, 1);
}

/* It wants SIGUSR1 blocked, and not even its own signal beside it. */
static void handler_from_before_is_called_with_the_mask_it_asked_for(void **state)
{
	struct sigaction action = {.sa_handler = note_mask, .sa_flags = SA_NODEFER};
	sigset_t before;
	char *p;

	(void)state;
	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGUSR1);
	assert_int_equal(sigaction(SIGBUS, &action, NULL), 0);
	pthread_sigmask(SIG_BLOCK, NULL, &before);
	p = map_shared(file_new(PAGES(1)), 2);
	if (!sigsetjmp(behind_the_fault, 1)) {
		(void)*(volatile char *)(p + PAGES(1));
		fail_msg("a page past the end was accessible");
	}
	for (int signo = 1; signo < SIGRTMAX; signo++)
		assert_int_equal(sigismember(&mask_in_handler, signo), sigismember(&before, signo) == 1 || signo == SIGUSR1);
	unmap(p, 2);
}

static pthread_t first_thread;

static bool fills_and_finds(char *p, size_t n)
{
	bool right = true;

	for (size_t i = 0; i < n; i++)
		p[PAGES(i)] = (char)(i % 251 + 1);
	for (size_t i = 0; i < n; i++)
		right &= p[PAGES(i)] == (char)(i % 251 + 1);
	return right;
}

/* Four times the budget, when the thread that the process is named after has given its memory back. */
static void *go_on_main(void *unused)
{
	const size_t n = ((size_t)16 << 20) / page_size;
	char byte, *p;
	struct iovec here = {&byte, 1}, there = {&first_thread, 1};

	pthread_join(first_thread, NULL);
	while (process_vm_readv(getpid(), &here, 1, &there, 1, 0) == 1)
		usleep(1000);
	p = quire_mmap(NULL, PAGES(n), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_exit(p != MAP_FAILED && fills_and_finds(p, n) && quire_munmap(p, PAGES(n)) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
	return unused;
}

static void program_goes_on_without_its_first_thread(void **state)
{
	pthread_t thread;

	(void)state;
	first_thread = pthread_self();
	assert_int_equal(pthread_create(&thread, NULL, go_on_main, NULL), 0);
	pthread_exit(NULL);
}

#ifndef KERNEL_ORACLE
static long peak_kib(void)
{
	struct rusage usage;

	assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
	return usage.ru_maxrss;
}

static void lock_what_comes_or_skip(size_t len)
{
	void *p;

#ifdef SANITIZED
	skip_because("a sanitizer maps too much to lock it");
#endif
	if (syscall(SYS_mlockall, MCL_FUTURE))
		skip_because("memory cannot be locked here");
	p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		skip_because("not so much memory can be locked here");
	munmap(p, len);
}

/* The kernel brings in whatever is mapped, if it may be touched. */
static void kernel_that_locks_what_comes_does_not_bring_in_a_file(void **state)
{
	const size_t len = (size_t)256 << 20;
	int fd = file_new(0);
	long before;
	char *p;

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	lock_what_comes_or_skip(len);
	before = peak_kib();
	p = map(NULL, len, RW, MAP_SHARED, fd, 0);
	assert_loads(p + len - 1, 0);
	assert_true(peak_kib() - before < 64 << 10);
	assert_ok(quire_munmap(p, len));
	syscall(SYS_munlockall);
}

/* ---- the message itself ---- */

static void *fail_elsewhere(void *unused)
{
	(void)unused;
	quire_madvise(NULL, page_size, 4444);
	return strstr(quire_errormsg(), "4444");
}

static void message_belongs_to_its_thread(void **state)
{
	pthread_t thread;
	void *found;

	(void)state;
	assert_fails(quire_munmap((void *)1, PAGES(1)), EINVAL);
	assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
	assert_int_equal(pthread_join(thread, &found), 0);
	assert_non_null(found);
	assert_message("quire_munmap", "");
}

static void *protect_from_here(void *addr)
{
	return (void *)(intptr_t)(quire_mprotect(addr, page_size, PROT_READ) == 0 ? 0 : errno);
}

static void calls_from_a_stack_of_managed_memory_are_EDEADLK(void **state)
{
	size_t n = 64;
	char *stack = map_anonymous(n), *p = map_anonymous(1);
	pthread_attr_t attr;
	pthread_t thread;
	void *found;

	(void)state;
	assert_ok(quire_mlock(stack, PAGES(n)));
	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstack(&attr, stack, PAGES(n)), 0);
	assert_int_equal(pthread_create(&thread, &attr, protect_from_here, p), 0);
	assert_int_equal(pthread_join(thread, &found), 0);
	assert_int_equal((intptr_t)found, EDEADLK);
	assert_stores(p, 1);
	unmap(stack, n);
	unmap(p, 1);
}

static void message_is_kept_by_calls_that_succeed(void **state)
{
	char *p;

	(void)state;
	assert_fails(quire_munmap((void *)1, PAGES(1)), EINVAL);
	p = map_anonymous(1);
	unmap(p, 1);
	assert_message("quire_munmap", "");
}

static void message_is_never_null(void **state)
{
	(void)state;
	assert_non_null(quire_errormsg());
}

/* ---- what cannot be served ---- */

static void locked_over_the_limit(void **state)
{
	char *p = map_anonymous(32);

	(void)state;
	limit_locked_memory(PAGES(16));
	assert_fails(quire_mlock(p, PAGES(17)), ENOMEM);
	assert_message("quire_mlock", "RLIMIT_MEMLOCK");
	assert_message_number("quire_mlock", PAGES(17));
	assert_fails(quire_mmap(NULL, PAGES(17), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0), EAGAIN);
	assert_message("quire_mmap", "RLIMIT_MEMLOCK");
	assert_message_number("quire_mmap", PAGES(17));
	unmap(p, 32);
}

static void locked_over_the_budget(void **state)
{
	size_t n = stats().budget_bytes / page_size + 1;
	struct rlimit old, limit;

	(void)state;
	getrlimit(RLIMIT_MEMLOCK, &old);
	limit = (struct rlimit){.rlim_cur = old.rlim_max, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_MEMLOCK, &limit);
	assert_fails(quire_mmap(NULL, PAGES(n), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, ANON, 0), EAGAIN);
	assert_message("quire_mmap", "budget");
	assert_message_number("quire_mmap", PAGES(n));
	setrlimit(RLIMIT_MEMLOCK, &old);
}

static void userfaultfd_is_refused(void **state)
{
	struct sock_filter refuse[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 3, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, _IO(0xaa, 0), 0, 1), /* USERFAULTFD_IOC_NEW */
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(refuse) / sizeof(refuse[0]), .filter = refuse};

	(void)state;
	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		skip_because("system calls cannot be filtered here");
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0), EPERM);
	assert_message("quire_mmap", "userfaultfd");
	assert_message("quire_mmap", "quire probe");
}

/* ---- settings ---- */

static struct quire_config settings(void)
{
	return (struct quire_config){.size = sizeof(struct quire_config)};
}

static void settings_out_of_range_are_EINVAL(void **state)
{
	struct quire_config config = settings();

	(void)state;
	config.memory_bytes = PAGES(1);
	assert_fails(quire_configure(&config), EINVAL);
	assert_message_number("quire_configure", PAGES(1));
	config = settings();
	config.trap = (enum quire_trap)99;
	assert_fails(quire_configure(&config), EINVAL);
	assert_message_number("quire_configure", 99);
	config = settings();
	assert_ok(quire_configure(&config));
	unmap(map_anonymous(1), 1);
}

static void settings_are_taken(void **state)
{
	struct quire_config config = settings();
	char *p;

	(void)state;
	config.memory_bytes = 8 << 20;
	assert_ok(quire_configure(&config));
	p = map_anonymous(1);
	assert_int_equal(stats().budget_bytes, 8 << 20);
	unmap(p, 1);
}

static void settings_that_are_refused_leave_earlier_ones_in_force(void **state)
{
	struct quire_config config = settings();

	(void)state;
	config.memory_bytes = 8 << 20;
	config.expire_ms = 1234;
	assert_ok(quire_configure(&config));
	config.memory_bytes = 16 << 20;
	config.debug = "nonsense";
	assert_fails(quire_configure(&config), EINVAL);
	assert_message("quire_configure", "nonsense");
	unmap(map_anonymous(1), 1);
	assert_int_equal(stats().budget_bytes, 8 << 20);
}

static void settings_after_the_first_mapping_are_EBUSY(void **state)
{
	struct quire_config config = settings();
	size_t budget = stats().budget_bytes;

	(void)state;
	config.memory_bytes = 64 << 20;
	assert_fails(quire_configure(&config), EBUSY);
	assert_message("quire_configure", "first mapping");
	assert_int_equal(stats().budget_bytes, budget);
}

static void budget_smaller_than_one_readahead(void **state)
{
	size_t budget = stats().budget_bytes;

	(void)state;
	assert_fails(quire_set_memory(PAGES(1)), EINVAL);
	assert_message_number("quire_set_memory", PAGES(1));
	assert_fails(quire_set_memory(0), EINVAL);
	assert_int_equal(stats().budget_bytes, budget);
}

/* Enough for what is locked and for the buffers, and for nothing beside them. */
static void budget_that_is_all_locked(void **state)
{
	struct quire_stats before = stats();
	size_t n = before.budget_bytes / 2 / page_size;
	char *p = map_anonymous(n);

	(void)state;
	assert_ok(quire_mlock(p, PAGES(n)));
	assert_fails(quire_set_memory(stats().locked_bytes + before.buffer_bytes), ENOMEM);
	assert_message("quire_set_memory", "locked");
	assert_message_number("quire_set_memory", stats().locked_bytes);
	assert_int_equal(stats().budget_bytes, before.budget_bytes);
	unmap(p, n);
}

static void budget_in_the_environment_is_too_small(void **state)
{
	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0), EINVAL);
	assert_message("quire_mmap", "QUIRE_MEMORY");
}

static void budget_in_the_environment_is_no_size(void **state)
{
	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0), EINVAL);
	assert_message("quire_mmap", "plenty");
}

static void trap_in_the_environment_is_none(void **state)
{
	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0), EINVAL);
	assert_message("quire_mmap", "mouse");
}

static void statistics_fill_what_there_is_room_for(void **state)
{
	struct quire_stats got;

	(void)state;
	assert_fails(quire_stats_get(&got, 0), EINVAL);
	memset(&got, 0xee, sizeof(got));
	assert_ok(quire_stats_get(&got, offsetof(struct quire_stats, resident_bytes)));
	assert_int_equal(got.budget_bytes, stats().budget_bytes);
	assert_int_equal(got.resident_bytes, 0xeeeeeeeeeeeeeeee);
}

/* ---- disks ---- */

static void full_disk_at_write_back(void **state)
{
	int filler;
	int fd = file_on_full_disk(16, &filler);
	char *p = map_shared(fd, 16);

	(void)state;
	memset(p, 'f', PAGES(16));
	assert_fails(quire_msync(p, PAGES(16), MS_SYNC), ENOSPC);
	assert_message("quire_msync", "space");
	assert_filled(p, PAGES(16), 'f');
	assert_fails(quire_munmap(p, PAGES(16)), ENOSPC);
	assert_message("quire_munmap", "space");
	assert_filled(p, PAGES(16), 'f');
	assert_int_equal(ftruncate(filler, 0), 0);
	unmap(p, 16);
	assert_int_equal(file_byte(fd, (off_t)PAGES(16) - 1), 'f');
}

/* Swap on a disk of 1 MiB under a budget of 4 MiB: a store finds no room and raises SIGBUS, and what was stored is kept. */
static void no_swap_space_left(void **state)
{
	const size_t n = ((size_t)16 << 20) / page_size;
	char dir[FILE_PATH_MAX];
	size_t stored = 0;
	char *p;

	(void)state;
	mount_or_skip("size=1048576", dir);
	setenv("QUIRE_SWAP", dir, 1);
	p = map_anonymous(n);
	while (stored < n && !store(p + PAGES(stored), (int)(stored % 251) + 1))
		stored++;
	assert_in_range(stored, 1, n - 1);
	assert_int_equal(last_fault.signo, SIGBUS);
	assert_ptr_equal(last_fault.addr, p + PAGES(stored));
	assert_true(stats().error_faults > 0);
	/* Room for all the rest to come back. */
	assert_ok(quire_madvise(p + PAGES(stored / 2), PAGES(n - stored / 2), MADV_DONTNEED));
	for (size_t i = 0; i < stored / 2; i++)
		assert_loads(p + PAGES(i), (int)(i % 251) + 1);
	assert_stores(p + PAGES(stored), 1);
	unmap(p, n);
}
#endif

#ifndef KERNEL_ORACLE
/* Too few descriptors for the engine in the parent, enough in the child. */
static void child_of_a_start_that_failed_has_an_engine_of_its_own(void **state)
{
	struct rlimit few, enough;
	int status;
	pid_t child;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &enough), 0);
	few = enough;
	few.rlim_cur = 6;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_fails(quire_mmap(NULL, page_size, RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0), EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &enough), 0);
	child = fork();
	if (child == 0) {
		char *p = quire_mmap(NULL, page_size, RW, MAP_PRIVATE | MAP_ANONYMOUS, ANON, 0);

		if (p == MAP_FAILED)
			_exit(1);
		*p = 'c';
		_exit(*p == 'c' && quire_munmap(p, page_size) == 0 ? 0 : 2);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}
#endif

static const struct conformance_test tests[] = {
    TEST(bad_descriptor_a_pipe),
    TEST(bad_descriptor_a_directory),
    TEST(bad_descriptor_that_is_closed),
    TEST(bad_descriptor_of_a_write_only_file),
    TEST(bad_descriptor_of_a_read_only_file),
    TEST(bad_length),
    TEST(bad_offset),
    TEST(bad_address_that_is_not_aligned),
    TEST(bad_address_in_a_hole),
    TEST(bad_address_that_is_taken),
    TEST(bad_flags),
    TEST(file_cut_while_it_is_mapped),
    TEST_BEFORE_START(handler_from_before_is_called_with_the_mask_it_asked_for, ""),
    TEST_IN_OWN_PROCESS(program_goes_on_without_its_first_thread, "QUIRE_MEMORY=4M"),
#ifndef KERNEL_ORACLE
    TEST_IN_OWN_PROCESS(kernel_that_locks_what_comes_does_not_bring_in_a_file, ""),
    TEST(message_belongs_to_its_thread),
    TEST(calls_from_a_stack_of_managed_memory_are_EDEADLK),
    TEST(message_is_kept_by_calls_that_succeed),
    TEST(message_is_never_null),
    TEST(locked_over_the_limit),
    TEST(locked_over_the_budget),
    TEST_BEFORE_START(userfaultfd_is_refused, ""),
    TEST_BEFORE_START(child_of_a_start_that_failed_has_an_engine_of_its_own, ""),
    TEST_BEFORE_START(settings_out_of_range_are_EINVAL, ""),
    TEST_BEFORE_START(settings_are_taken, ""),
    TEST_BEFORE_START(settings_that_are_refused_leave_earlier_ones_in_force, ""),
    TEST(settings_after_the_first_mapping_are_EBUSY),
    TEST(budget_smaller_than_one_readahead),
    TEST_IN_OWN_PROCESS(budget_that_is_all_locked, ""),
    TEST_BEFORE_START(budget_in_the_environment_is_too_small, "QUIRE_MEMORY=1K"),
    TEST_BEFORE_START(budget_in_the_environment_is_no_size, "QUIRE_MEMORY=plenty"),
    TEST_BEFORE_START(trap_in_the_environment_is_none, "QUIRE_TRAP=mouse"),
    TEST(statistics_fill_what_there_is_room_for),
    TEST(full_disk_at_write_back),
    TEST_BEFORE_START(no_swap_space_left, "QUIRE_MEMORY=4M"),
#endif
};

CONFORMANCE_MAIN(tests)
