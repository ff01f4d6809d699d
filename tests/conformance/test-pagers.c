/* SPDX-License-Identifier: MIT */
/*
 * test-pagers.c - pagers of the program's own (M25), what they can do wrong, and filters (B05)
 *
 * What the pagers of these tests hold is bytes in memory, or nothing at all: they compute what is asked for.
 */
#include "children.h"
#include "support.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#include <quire/pager.h>

#define STORE_PAGES 64
#define HELD_MOST   256

/* A pager over bytes in memory, whose transfers can be held, and made to lie. */
struct store {
	unsigned char bytes[STORE_PAGES * 65536]; /* whatever the size of a page is */
	_Atomic uint64_t size;
	_Atomic unsigned reads, writes, syncs, fills, closes, discards, resizes;
	_Atomic int read_error, write_error, sync_error, size_error, fill_error;
	_Atomic long lie_read, lie_write; /* bytes to say instead; 0: the truth */
	_Atomic bool hold;                /* transfers are not completed */
	struct quire_pager_request held[HELD_MOST];
	_Atomic unsigned n_held;
	_Atomic uint64_t last_id;
	_Atomic size_t last_len;
	sem_t holding, closed;
	pthread_mutex_t lock;
};

static struct store *store_new(size_t pages)
{
	struct store *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->size = PAGES(pages);
	for (size_t i = 0; i < PAGES(pages); i++)
		s->bytes[i] = pattern((off_t)i);
	sem_init(&s->holding, 0, 0);
	sem_init(&s->closed, 0, 0);
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

static void wait_for(sem_t *sem)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 60;
	while (sem_timedwait(sem, &end))
		assert_int_equal(errno, EINTR);
}

/* When its pager is gone. */
static void store_free(struct store *s)
{
	wait_for(&s->closed);
	assert_int_equal(s->closes, 1);
	free(s);
}

static int store_size(void *arg, uint64_t *ret_bytes)
{
	struct store *s = arg;

	*ret_bytes = s->size;
	return s->size_error;
}

static void transfer(struct store *s, const struct quire_pager_request *r)
{
	size_t left = r->offset < s->size ? s->size - r->offset : 0, n = r->len < left ? r->len : left;
	long lie = r->op == QUIRE_PAGER_READ ? s->lie_read : s->lie_write;
	int error = r->op == QUIRE_PAGER_READ ? s->read_error : s->write_error;

	if (r->op == QUIRE_PAGER_READ)
		memcpy(r->buf, s->bytes + r->offset, n);
	else if (!error)
		memcpy(s->bytes + r->offset, r->buf, n);
	s->last_id = r->id;
	quire_pager_complete(r->id, error, lie ? (size_t)lie : r->op == QUIRE_PAGER_READ ? n : r->len);
}

/* Whether it is held. */
static bool hold(struct store *s, const struct quire_pager_request *r)
{
	bool held;

	pthread_mutex_lock(&s->lock);
	held = s->hold && s->n_held < HELD_MOST;
	if (held)
		s->held[s->n_held++] = *r;
	pthread_mutex_unlock(&s->lock);
	if (held)
		sem_post(&s->holding);
	return held;
}

static void store_read(void *arg, const struct quire_pager_request *r)
{
	struct store *s = arg;

	s->reads++;
	s->last_len = r->len;
	if (!hold(s, r))
		transfer(s, r);
}

static void store_write(void *arg, const struct quire_pager_request *r)
{
	struct store *s = arg;

	s->writes++;
	s->last_len = r->len;
	if (!hold(s, r))
		transfer(s, r);
}

/* Ends what was held; error 0: properly. */
static void let_go(struct store *s, int error)
{
	for (;;) {
		struct quire_pager_request r;

		pthread_mutex_lock(&s->lock);
		s->hold = false;
		if (s->n_held == 0) {
			pthread_mutex_unlock(&s->lock);
			return;
		}
		r = s->held[--s->n_held];
		pthread_mutex_unlock(&s->lock);
		if (error)
			quire_pager_complete(r.id, error, 0);
		else
			transfer(s, &r);
	}
}

static int store_fault(void *arg, uint64_t offset, void *page)
{
	struct store *s = arg;

	s->reads++;
	if (!s->read_error)
		memcpy(page, s->bytes + offset, page_size);
	return s->read_error;
}

static int store_populate(void *arg, void *memory, size_t len)
{
	struct store *s = arg;

	s->fills++;
	assert_int_equal(len, s->size);
	for (size_t i = 0; i < len; i++)
		((unsigned char *)memory)[i] = pattern((off_t)i);
	return s->fill_error;
}

static int store_sync(void *arg)
{
	struct store *s = arg;

	s->syncs++;
	return s->sync_error;
}

static int store_resize(void *arg, uint64_t bytes)
{
	struct store *s = arg;

	s->resizes++;
	if (bytes > sizeof(s->bytes))
		return ENOSPC;
	if (bytes < s->size)
		memset(s->bytes + bytes, 0, s->size - bytes);
	s->size = bytes;
	return 0;
}

static int store_discard(void *arg, uint64_t offset, uint64_t len)
{
	struct store *s = arg;

	s->discards++;
	memset(s->bytes + offset, 0, len);
	return 0;
}

static void store_close(void *arg)
{
	struct store *s = arg;

	s->closes++;
	sem_post(&s->closed);
}

static const struct quire_pager_ops whole = {
    .ops_size = sizeof(whole),
    .name = "store",
    .size = store_size,
    .read = store_read,
    .write = store_write,
    .sync = store_sync,
    .resize = store_resize,
    .discard = store_discard,
    .close = store_close,
};

static const struct quire_pager_ops on_demand = {
    .ops_size = sizeof(on_demand), .name = "on demand", .size = store_size, .fault = store_fault, .close = store_close};

static const struct quire_pager_ops at_once = {
    .ops_size = sizeof(at_once), .name = "at once", .size = store_size, .populate = store_populate, .close = store_close};

static int open_pager(const struct quire_pager_ops *ops, void *arg, int oflags)
{
	int fd = quire_open_pager(ops, arg, oflags | O_CLOEXEC);

	check_call(fd, 0, "quire_open_pager", __FILE__, __LINE__);
	return fd;
}

/* A store of n pages, mapped; no descriptor is left. */
static char *mapped(struct store *s, const struct quire_pager_ops *ops, size_t n)
{
	int fd = open_pager(ops, s, O_RDWR);
	char *p = map_shared(fd, n);

	assert_int_equal(close(fd), 0);
	return p;
}

/* ---- filling ---- */

static void M25_pages_are_read_when_they_are_touched(void **state)
{
	struct store *s = store_new(8);
	char *p = mapped(s, &whole, 8);

	(void)state;
	assert_int_equal(s->reads, 0);
	assert_pattern(p, PAGES(8), 0);
	assert_true(s->reads > 0);
	unmap(p, 8);
	assert_int_equal(s->writes, 0);
	store_free(s);
}

static void M25_fault_is_called_for_each_page_that_is_touched_and_no_other(void **state)
{
	struct store *s = store_new(32);
	int fd = open_pager(&on_demand, s, O_RDONLY);
	char *p = map(NULL, PAGES(32), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	for (size_t i = 0; i < 16; i++) {
		assert_pattern(p + PAGES(i), PAGES(1), PAGES(i));
		assert_int_equal(s->reads, i + 1);
	}
	assert_pattern(p + PAGES(31), PAGES(1), PAGES(31));
	assert_pattern(p, PAGES(1), 0);
	assert_int_equal(s->reads, 17);
	unmap(p, 32);
	assert_int_equal(close(fd), 0);
	store_free(s);
}

static void M25_last_page_that_the_fault_fills_ends_in_zeros(void **state)
{
	struct store *s = store_new(2);
	int fd;
	char *p;

	(void)state;
	s->size = PAGES(1) + 100;
	fd = open_pager(&on_demand, s, O_RDONLY);
	p = map(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, 0);
	assert_pattern(p + PAGES(1), 100, PAGES(1));
	assert_zeros(p + PAGES(1) + 100, PAGES(1) - 100);
	unmap(p, 2);
	assert_int_equal(close(fd), 0);
	store_free(s);
}

static void M25_populate_is_called_once_when_it_is_mapped(void **state)
{
	struct store *s = store_new(8);
	int fd = open_pager(&at_once, s, O_RDWR);
	char *p, *q;

	(void)state;
	assert_int_equal(s->fills, 0);
	p = map_shared(fd, 8);
	assert_int_equal(s->fills, 1);
	q = map(NULL, PAGES(4), PROT_READ, MAP_SHARED, fd, (off_t)PAGES(4));
	assert_pattern(p, PAGES(8), 0);
	assert_pattern(q, PAGES(4), PAGES(4));
	p[PAGES(5)] = 7;
	assert_int_equal(q[PAGES(1)], 7);
	unmap(p, 8);
	unmap(q, 4);
	/* It is memory as long as it is open. */
	p = map_shared(fd, 8);
	assert_int_equal(p[PAGES(5)], 7);
	assert_int_equal(s->fills, 1);
	unmap(p, 8);
	assert_int_equal(close(fd), 0);
	store_free(s);
}

static void M25_what_populate_fills_may_be_larger_than_the_budget(void **state)
{
	struct store *s = store_new(STORE_PAGES);
	size_t n = 2 * stats().budget_bytes / page_size;
	int fd;
	char *p;

	(void)state;
	s->size = PAGES(n);
	fd = open_pager(&at_once, s, O_RDWR);
	p = map_shared(fd, n);
	assert_pattern(p, PAGES(n), 0);
	unmap(p, n);
	assert_int_equal(close(fd), 0);
	store_free(s);
}

static void M25_failed_populate_fails_the_mapping_and_is_tried_again(void **state)
{
	struct store *s = store_new(2);
	int fd = open_pager(&at_once, s, O_RDONLY);
	char *p;

	(void)state;
	s->fill_error = ENXIO;
	assert_fails(quire_mmap(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, 0), ENXIO);
	assert_message("quire_mmap", "at once");
	s->fill_error = 0;
	p = map(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, 0);
	assert_int_equal(s->fills, 2);
	assert_pattern(p, PAGES(2), 0);
	unmap(p, 2);
	assert_int_equal(close(fd), 0);
	store_free(s);
}

/* ---- writing ---- */

static void M25_stores_reach_the_pager(void **state)
{
	struct store *s = store_new(8);
	char *p = mapped(s, &whole, 8);

	(void)state;
	p[PAGES(3)] = 1;
	assert_ok(quire_msync(p, PAGES(8), MS_SYNC));
	assert_int_equal(s->bytes[PAGES(3)], 1);
	assert_int_equal(s->syncs, 1);
	p[PAGES(5) + 9] = 2;
	unmap(p, 8);
	assert_int_equal(s->bytes[PAGES(5) + 9], 2);
	assert_int_equal(s->bytes[PAGES(5) + 10], pattern((off_t)PAGES(5) + 10));
	store_free(s);
}

static void M25_pages_come_and_go_under_pressure(void **state)
{
	struct store *s = store_new(STORE_PAGES);
	char *p = mapped(s, &whole, STORE_PAGES);

	(void)state;
	for (int round = 1; round < 4; round++) {
		for (size_t i = 0; i < STORE_PAGES; i++)
			p[PAGES(i) + 1] = (char)(i + (size_t)round);
		pressure();
		for (size_t i = 0; i < STORE_PAGES; i++) {
			assert_int_equal((unsigned char)p[PAGES(i) + 1], (unsigned char)(i + (size_t)round));
			assert_int_equal((unsigned char)p[PAGES(i) + 2], pattern((off_t)PAGES(i) + 2));
		}
	}
	evict(p, STORE_PAGES);
	unmap(p, STORE_PAGES);
	store_free(s);
}

static void M25_private_stores_never_reach_the_pager(void **state)
{
	struct store *s = store_new(4);
	int fd = open_pager(&whole, s, O_RDONLY);
	char *p = map_private(fd, 4);

	(void)state;
	p[PAGES(1)] = 1;
	assert_int_equal((unsigned char)p[PAGES(1) + 1], pattern((off_t)PAGES(1) + 1));
	assert_int_equal(p[PAGES(1)], 1);
	unmap(p, 4);
	assert_int_equal(s->writes, 0);
	assert_int_equal(close(fd), 0);
	store_free(s);
}

static void M25_write_of_the_last_page_ends_where_the_object_ends_or_is_aligned(void **state)
{
	struct quire_pager_ops aligned = whole;
	struct store *s = store_new(1);
	char *p;

	(void)state;
	s->size = 1000;
	p = mapped(s, &whole, 1);
	p[999] = 1;
	p[1000] = 1;
	assert_ok(quire_msync(p, PAGES(1), MS_SYNC));
	assert_int_equal(s->last_len, 1000);
	unmap(p, 1);
	store_free(s);

	s = store_new(1);
	s->size = 1000;
	aligned.align = 512;
	p = mapped(s, &aligned, 1);
	p[999] = 1;
	p[1000] = 1;
	assert_ok(quire_msync(p, PAGES(1), MS_SYNC));
	assert_int_equal(s->last_len, 1024);
	unmap(p, 1);
	store_free(s);
}

static void M25_transfers_are_as_long_as_they_should_be(void **state)
{
	struct quire_pager_ops ops = whole;
	struct store *s = store_new(16);
	char *p;

	(void)state;
	ops.best_size = PAGES(1);
	p = mapped(s, &ops, 16);
	assert_ok(quire_madvise(p, PAGES(16), MADV_POPULATE_READ));
	assert_int_equal(s->reads, 16);
	assert_int_equal(s->last_len, PAGES(1));
	unmap(p, 16);
	store_free(s);
}

/* ---- on other threads ---- */

static void *let_go_later(void *arg)
{
	struct store *s = arg;

	wait_for(&s->holding);
	let_go(s, 0);
	return NULL;
}

static void M25_transfer_is_completed_later_by_any_thread(void **state)
{
	struct store *s = store_new(4);
	char *p = mapped(s, &whole, 4);
	pthread_t thread;

	(void)state;
	s->hold = true;
	assert_int_equal(pthread_create(&thread, NULL, let_go_later, s), 0);
	assert_pattern(p, PAGES(4), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	unmap(p, 4);
	store_free(s);
}

static pthread_t toucher;
static _Atomic int ran_on_toucher;

static void read_from_mapping(void *arg, const struct quire_pager_request *r)
{
	char *copy = malloc(r->len), *p = quire_mmap(NULL, r->len, PROT_READ, MAP_PRIVATE, *(int *)arg, (off_t)r->offset);

	ran_on_toucher |= pthread_equal(pthread_self(), toucher);
	if (!copy || p == MAP_FAILED) {
		quire_pager_complete(r->id, errno, 0);
		return;
	}
	memcpy(copy, p, r->len);
	memcpy(r->buf, copy, r->len);
	quire_munmap(p, r->len);
	free(copy);
	quire_pager_complete(r->id, 0, r->len);
}

static int size_of_file(void *arg, uint64_t *ret_bytes)
{
	struct stat st;

	if (fstat(*(int *)arg, &st))
		return errno;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

static void M25_operation_may_allocate_and_map_another_object(void **state)
{
	struct quire_pager_ops ops = {.ops_size = sizeof(ops), .size = size_of_file, .read = read_from_mapping, .threads = 2};
	int file = file_new(PAGES(32)), fd = open_pager(&ops, &file, O_RDONLY);
	char *p = map(NULL, PAGES(32), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	toucher = pthread_self();
	assert_pattern(p, PAGES(32), 0);
	assert_false(ran_on_toucher);
	unmap(p, 32);
	assert_int_equal(close(fd), 0);
}

static _Atomic int inside, most_inside;

static int count_inside(void *arg, uint64_t offset, void *page)
{
	int now = ++inside, most = most_inside;

	(void)arg;
	(void)offset;
	while (now > most && !atomic_compare_exchange_weak(&most_inside, &most, now))
		;
	for (int i = 0; i < 1000; i++)
		sched_yield();
	memset(page, 1, page_size);
	inside--;
	return 0;
}

static int size_64(void *arg, uint64_t *ret_bytes)
{
	(void)arg;
	*ret_bytes = PAGES(64);
	return 0;
}

static void *touch_every_fourth(void *arg)
{
	char *p = arg;

	for (size_t i = 0; i < 64; i += 4)
		(void)*(volatile char *)(p + PAGES(i));
	return NULL;
}

static void M25_one_thread_runs_one_operation_at_a_time(void **state)
{
	struct quire_pager_ops ops = {.ops_size = sizeof(ops), .size = size_64, .fault = count_inside};
	int fd = open_pager(&ops, NULL, O_RDONLY);
	char *p = map(NULL, PAGES(64), PROT_READ, MAP_SHARED, fd, 0);
	pthread_t threads[4];

	(void)state;
	inside = most_inside = 0;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, touch_every_fourth, p + PAGES(i) % PAGES(4)), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(most_inside, 1);
	unmap(p, 64);
	assert_int_equal(close(fd), 0);
}

/* ---- the descriptor ---- */

static void M25_descriptor_tells_the_size(void **state)
{
	struct store *s = store_new(4);
	int fd;
	char *p;

	(void)state;
	s->size = PAGES(3) + 5;
	fd = open_pager(&on_demand, s, O_RDONLY);
	assert_int_equal(file_size(fd), PAGES(3) + 5);
	p = map(NULL, PAGES(5), PROT_READ, MAP_SHARED, fd, 0);
	assert_loads(p + PAGES(3) + 4, pattern((off_t)PAGES(3) + 4));
	assert_loads(p + PAGES(3) + 5, 0);
	assert_past_the_end(p + PAGES(4));
	unmap(p, 5);
	assert_int_equal(close(fd), 0);
	store_free(s);
}

static void M25_descriptor_is_nothing_to_the_kernel(void **state)
{
	struct store *s = store_new(4);
	int fd = open_pager(&whole, s, O_RDWR);
	char byte = 1;

	(void)state;
	errno = 0;
	assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(pread(fd, &byte, 1, 0), -1);
	assert_int_equal(write(fd, &byte, 1), -1);
	assert_int_equal(errno, EPERM);
	assert_ptr_equal(mmap(NULL, PAGES(1), PROT_READ, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(errno, EACCES);
	assert_ptr_equal(mmap(NULL, PAGES(1), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), MAP_FAILED);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)PAGES(1)), -1);
	assert_int_equal(close(fd), 0);
	store_free(s);
}

static void M25_open_mode_limits_the_protection(void **state)
{
	struct store *s = store_new(4);
	int fd = open_pager(&whole, s, O_RDONLY), again = dup(fd);
	char *p;

	(void)state;
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, fd, 0), EACCES);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, again, 0), EACCES);
	assert_message("quire_mmap", "O_RDONLY");
	/* What can be set of a descriptor's flags changes nothing. */
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK), 0);
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_DSYNC | O_SYNC | O_RDWR);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, fd, 0), EACCES);
	p = map(NULL, PAGES(2), PROT_READ, MAP_SHARED, fd, 0);
	assert_fails(quire_mprotect(p, PAGES(1), RW), EACCES);
	assert_fails(quire_ftruncate(fd, 1), EINVAL);
	unmap(p, 2);
	close(fd);
	close(again);
	store_free(s);
}

static void M25_bad_mappings_of_a_pager_are_refused_as_those_of_files(void **state)
{
	struct store *s = store_new(2);
	int fd = open_pager(&whole, s, O_RDWR);
	char *p;

	(void)state;
	assert_fails(quire_mmap(NULL, 0, RW, MAP_SHARED, fd, 0), EINVAL);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED, fd, 1), EINVAL);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, 0, fd, 0), EINVAL);
	assert_fails(quire_mmap(NULL, PAGES(1), RW, MAP_SHARED_VALIDATE | 0x10000000, fd, 0), EOPNOTSUPP);
	assert_fails(quire_mmap(NULL, PAGES(2), RW, MAP_SHARED, fd, (off_t)(INT64_MAX & ~(PAGES(1) - 1))), EOVERFLOW);
	p = map_shared(fd, 2);
	assert_fails(quire_mmap(p, PAGES(1), RW, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0), EEXIST);
	assert_int_equal(map(p, PAGES(1), RW, MAP_SHARED | MAP_FIXED, fd, (off_t)PAGES(1)), p);
	assert_pattern(p, PAGES(1), PAGES(1));
	unmap(p, 2);
	close(fd);
	store_free(s);
}

static void M25_close_comes_once_when_the_last_of_all_is_gone(void **state)
{
	struct store *s = store_new(4);
	int fd = open_pager(&whole, s, O_RDWR), again = dup(fd), other;
	char *p = map_shared(fd, 4);

	(void)state;
	close(fd);
	close(again);
	/* Another pager: by then the first one was looked at. */
	other = open_pager(&whole, s, O_RDWR);
	assert_int_equal(s->closes, 0);
	assert_pattern(p, PAGES(4), 0);
	unmap(p + PAGES(1), 3);
	assert_int_equal(s->closes, 0);
	unmap(p, 1);
	wait_for(&s->closed);
	assert_int_equal(s->closes, 1);
	close(other);
	wait_for(&s->closed);
	assert_int_equal(s->closes, 2);
	free(s);
}

static void M25_descriptor_alone_keeps_the_pager_and_its_pages(void **state)
{
	struct store *s = store_new(4), *other = store_new(1);
	int fd = open_pager(&whole, s, O_RDWR);
	char *p = map_shared(fd, 4);

	(void)state;
	assert_pattern(p, PAGES(4), 0);
	unmap(p, 4);
	/* Another, and by the time that it is gone the first one was looked at. */
	assert_int_equal(close(open_pager(&whole, other, O_RDONLY)), 0);
	store_free(other);
	assert_int_equal(s->closes, 0);
	p = map_shared(fd, 4);
	assert_pattern(p, PAGES(4), 0);
	unmap(p, 4);
	close(fd);
	store_free(s);
}

static void M25_descriptor_in_a_child_keeps_the_pager_open(void **state)
{
	struct store *s = store_new(1);
	int fd = open_pager(&whole, s, O_RDWR), pipes[2];
	struct store *other = store_new(1);
	pid_t pid;
	char byte;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		close(pipes[1]);
		/* Until the parent has closed its end, or is gone. */
		_exit(read(pipes[0], &byte, 1) == 0 ? 0 : 1);
	}
	assert_true(pid > 0);
	close(pipes[0]);
	close(fd);
	/* Looked at meanwhile. */
	assert_int_equal(close(open_pager(&whole, other, O_RDONLY)), 0);
	store_free(other);
	assert_int_equal(s->closes, 0);
	close(pipes[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	store_free(s);
}

/* ---- size ---- */

static void M25_ftruncate_asks_the_pager_to_resize(void **state)
{
	struct store *s = store_new(4);
	int fd = open_pager(&whole, s, O_RDWR);
	char *p = map_shared(fd, 8);

	(void)state;
	assert_pattern(p, PAGES(4), 0);
	assert_past_the_end(p + PAGES(4));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(8)));
	assert_int_equal(file_size(fd), PAGES(8));
	assert_int_equal(s->size, PAGES(8));
	assert_zeros(p + PAGES(4), PAGES(4));
	assert_stores(p + PAGES(6), 1);
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(2) + 10));
	assert_int_equal(file_size(fd), PAGES(2) + 10);
	assert_past_the_end(p + PAGES(3));
	assert_zeros(p + PAGES(2) + 10, PAGES(1) - 10);
	assert_fails(quire_ftruncate(fd, (off_t)sizeof(s->bytes) + 1), ENOSPC);
	assert_int_equal(file_size(fd), PAGES(2) + 10);
	assert_fails(quire_ftruncate(fd, -1), EINVAL);
	unmap(p, 8);
	close(fd);
	store_free(s);
}

/* A pager that thinks about a cut until somebody was told that there is nothing past the new end, or for a while; and refuses. */
static sem_t thinking, asked;

static int store_refuse(void *arg, uint64_t bytes)
{
	struct store *s = arg;
	struct timespec end;

	(void)bytes;
	s->resizes++;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += 300000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	sem_post(&thinking);
	while (sem_timedwait(&asked, &end) && errno == EINTR)
		;
	return EPERM;
}

static enum quire_error_answer answer_zeros(void *arg, const struct quire_error *error)
{
	(void)arg;
	(void)error;
	sem_post(&asked);
	return QUIRE_ANSWER_ZERO;
}

static void *cut_in_vain(void *arg)
{
	assert_fails(quire_ftruncate(*(int *)arg, (off_t)PAGES(2) + 10), EPERM);
	return NULL;
}

/* Whoever answers errors with zeros gets none in the place of what is there. */
static void M25_cut_that_the_pager_refuses_takes_nothing(void **state)
{
	struct quire_pager_ops refuses = whole;
	struct store *s = store_new(8);
	pthread_t thread;
	char *p, *q;
	int fd;

	(void)state;
	sem_init(&thinking, 0, 0);
	sem_init(&asked, 0, 0);
	refuses.resize = store_refuse;
	fd = open_pager(&refuses, s, O_RDWR);
	p = map_shared(fd, 8);
	q = map_private(fd, 8);
	assert_ok(quire_madvise(p, PAGES(8), MADV_RANDOM));
	assert_ok(quire_madvise(q, PAGES(8), MADV_RANDOM));
	assert_ok(quire_on_error(p, PAGES(8), answer_zeros, NULL));
	assert_ok(quire_on_error(q, PAGES(8), answer_zeros, NULL));
	for (size_t i = 2; i < 8; i += 2) {
		assert_int_equal(pthread_create(&thread, NULL, cut_in_vain, &fd), 0);
		wait_for(&thinking);
		assert_loads(p + PAGES(i) + 11, pattern((off_t)PAGES(i) + 11));
		assert_loads(q + PAGES(i + 1), pattern((off_t)PAGES(i + 1)));
		pthread_join(thread, NULL);
	}
	assert_int_equal(s->resizes, 3);
	assert_pattern(p, PAGES(8), 0);
	assert_pattern(q, PAGES(8), 0);
	unmap(p, 8);
	unmap(q, 8);
	assert_int_equal(close(fd), 0);
	store_free(s);
}

static void M25_size_without_resize_is_fixed(void **state)
{
	struct store *s = store_new(4);
	int fd = open_pager(&at_once, s, O_RDWR);

	(void)state;
	assert_fails(quire_ftruncate(fd, 1), EPERM);
	assert_int_equal(ftruncate(fd, 1), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(file_size(fd), PAGES(4));
	assert_fails(quire_mmap(NULL, PAGES(8), RW, MAP_SHARED | QUIRE_MAP_EXTEND, fd, 0), EPERM);
	close(fd);
	store_free(s);
}

static void M25_size_that_has_changed_is_seen_by_the_next_mapping(void **state)
{
	struct store *s = store_new(8);
	int fd;
	char *p, *q;

	(void)state;
	s->size = PAGES(4);
	fd = open_pager(&whole, s, O_RDWR);
	p = map_shared(fd, 8);
	assert_past_the_end(p + PAGES(5));
	s->size = PAGES(6);
	q = map_shared(fd, 1);
	assert_pattern(p, PAGES(6), 0);
	assert_past_the_end(p + PAGES(6));
	assert_int_equal(file_size(fd), PAGES(6));
	/* What the kernel is told of the size means nothing. */
	assert_int_equal(ftruncate(fd, 1), 0);
	unmap(q, 1);
	q = map_shared(fd, 1);
	assert_int_equal(file_size(fd), PAGES(6));
	assert_pattern(p, PAGES(6), 0);
	unmap(q, 1);
	unmap(p, 8);
	close(fd);
	store_free(s);
}

static void M25_extend_resizes_the_object(void **state)
{
	struct store *s = store_new(1);
	int fd = open_pager(&whole, s, O_RDWR);
	char *p = map(NULL, PAGES(3), RW, MAP_SHARED | QUIRE_MAP_EXTEND, fd, 0);

	(void)state;
	assert_int_equal(s->size, PAGES(3));
	p[PAGES(2)] = 1;
	unmap(p, 3);
	assert_int_equal(s->bytes[PAGES(2)], 1);
	close(fd);
	store_free(s);
}

static void M25_remove_discards(void **state)
{
	struct quire_pager_ops ops = whole;
	struct store *s = store_new(4);
	char *p = mapped(s, &whole, 4);

	(void)state;
	assert_pattern(p, PAGES(4), 0);
	assert_ok(quire_madvise(p + PAGES(1), PAGES(2), MADV_REMOVE));
	assert_true(s->discards > 0);
	assert_zeros(p + PAGES(1), PAGES(2));
	assert_pattern(p + PAGES(3), PAGES(1), PAGES(3));
	unmap(p, 4);
	store_free(s);
	s = store_new(4);
	ops.discard = NULL;
	p = mapped(s, &ops, 4);
	assert_fails(quire_madvise(p, PAGES(2), MADV_REMOVE), EOPNOTSUPP);
	unmap(p, 4);
	store_free(s);
}

/* ---- tables ---- */

static void assert_refused(struct quire_pager_ops ops, int oflags, int error, const char *word)
{
	struct store *s = store_new(1);

	assert_fails(quire_open_pager(&ops, s, oflags), error);
	assert_message("quire_open_pager", word);
	/* Never opened, never closed. */
	assert_int_equal(s->closes, 0);
	free(s);
}

static void M25_bad_tables_are_refused_by_name(void **state)
{
	struct quire_pager_ops ops = whole;

	(void)state;
	ops.size = NULL;
	assert_refused(ops, O_RDWR, EINVAL, "`size`");
	ops = whole;
	ops.read = NULL;
	assert_refused(ops, O_RDWR, EINVAL, "none of the operations");
	ops.read = store_read;
	ops.fault = store_fault;
	assert_refused(ops, O_RDWR, EINVAL, "more than one");
	ops = at_once;
	ops.write = store_write;
	assert_refused(ops, O_RDWR, EINVAL, "`populate`");
	ops = whole;
	ops.align = 3;
	assert_refused(ops, O_RDWR, EINVAL, "align");
	ops.align = 2 * page_size;
	assert_refused(ops, O_RDWR, EINVAL, "align");
	ops = whole;
	ops.best_size = 1 << 30;
	assert_refused(ops, O_RDWR, EINVAL, "best_size");
	ops = whole;
	ops.threads = 1000;
	assert_refused(ops, O_RDWR, EINVAL, "threads");
	ops = whole;
	ops.ops_size = 0;
	assert_refused(ops, O_RDWR, EINVAL, "ops_size");
	assert_fails(quire_open_pager(NULL, NULL, O_RDONLY), EINVAL);
	assert_refused(whole, O_WRONLY, EINVAL, "O_RDWR");
	assert_refused(on_demand, O_RDWR, EROFS, "`write`");
}

static int size_of_too_much(void *arg, uint64_t *ret_bytes)
{
	(void)arg;
	*ret_bytes = UINT64_MAX;
	return 0;
}

static int size_that_fails(void *arg, uint64_t *ret_bytes)
{
	(void)arg;
	(void)ret_bytes;
	return -ENODEV;
}

static void M25_size_that_cannot_be_had_fails_the_open(void **state)
{
	struct quire_pager_ops ops = whole;

	(void)state;
	ops.size = size_of_too_much;
	assert_refused(ops, O_RDWR, EFBIG, "size");
	ops.size = size_that_fails;
	assert_refused(ops, O_RDWR, ENODEV, "size");
}

/* ---- what pagers do wrong ---- */

static void B05_read_that_fails_is_SIGBUS_and_tried_again(void **state)
{
	struct store *s = store_new(4);
	char *p = mapped(s, &whole, 4);

	(void)state;
	s->read_error = EIO;
	assert_load_raises(p + PAGES(2), SIGBUS, BUS_ADRERR);
	s->read_error = -ENXIO;
	assert_load_raises(p + PAGES(2), SIGBUS, BUS_ADRERR);
	s->read_error = 1000000;
	assert_load_raises(p + PAGES(2), SIGBUS, BUS_ADRERR);
	s->read_error = 0;
	assert_pattern(p, PAGES(4), 0);
	unmap(p, 4);
	store_free(s);
}

static void B05_fault_that_fails_is_SIGBUS(void **state)
{
	struct store *s = store_new(4);
	int fd = open_pager(&on_demand, s, O_RDONLY);
	char *p = map(NULL, PAGES(4), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	s->read_error = EDOM;
	assert_load_raises(p, SIGBUS, BUS_ADRERR);
	s->read_error = 0;
	assert_pattern(p, PAGES(4), 0);
	unmap(p, 4);
	close(fd);
	store_free(s);
}

static void B05_short_read_is_never_a_page_of_zeros(void **state)
{
	struct store *s = store_new(4);
	char *p = mapped(s, &whole, 4);

	(void)state;
	s->lie_read = 100;
	assert_load_raises(p, SIGBUS, BUS_ADRERR);
	s->lie_read = 0;
	assert_pattern(p, PAGES(4), 0);
	unmap(p, 4);
	store_free(s);
}

static void B05_read_of_more_than_was_asked_for_is_an_error(void **state)
{
	struct store *s = store_new(4);
	char *p = mapped(s, &whole, 4);

	(void)state;
	s->lie_read = (long)PAGES(1000);
	assert_load_raises(p, SIGBUS, BUS_ADRERR);
	s->lie_read = -1;
	assert_load_raises(p, SIGBUS, BUS_ADRERR);
	s->lie_read = 0;
	assert_pattern(p, PAGES(4), 0);
	unmap(p, 4);
	store_free(s);
}

static void *populate_one(void *arg)
{
	return (void *)(intptr_t)(quire_madvise(arg, PAGES(1), MADV_POPULATE_READ) ? errno : 0);
}

static void B05_pager_is_told_of_its_lies(void **state)
{
	struct store *s = store_new(1);
	char *p = mapped(s, &whole, 1);
	struct quire_pager_request r;
	pthread_t thread;
	void *error;

	(void)state;
	s->hold = true;
	assert_int_equal(pthread_create(&thread, NULL, populate_one, p), 0);
	wait_for(&s->holding);
	r = s->held[--s->n_held];
	assert_int_equal(r.op, QUIRE_PAGER_READ);
	assert_fails(quire_pager_complete(r.id, 0, r.len - 1), EINVAL);
	assert_message("quire_pager_complete", "EIO");
	assert_fails(quire_pager_complete(r.id, 0, r.len), ESTALE);
	assert_int_equal(pthread_join(thread, &error), 0);
	assert_int_equal((intptr_t)error, EFAULT);

	assert_int_equal(pthread_create(&thread, NULL, populate_one, p), 0);
	wait_for(&s->holding);
	r = s->held[--s->n_held];
	memcpy(r.buf, s->bytes + r.offset, r.len);
	assert_ok(quire_pager_complete(r.id, 0, r.len));
	assert_fails(quire_pager_complete(r.id, 0, r.len), ESTALE);
	assert_message("quire_pager_complete", "completed before");
	assert_fails(quire_pager_complete(r.id ^ 1, 0, 0), ESTALE);
	assert_fails(quire_pager_complete(0, 0, 0), ESTALE);
	assert_fails(quire_pager_complete(UINT64_MAX, 0, 0), ESTALE);
	assert_int_equal(pthread_join(thread, &error), 0);
	assert_int_equal((intptr_t)error, 0);
	assert_pattern(p, PAGES(1), 0);
	unmap(p, 1);
	store_free(s);
	assert_fails(quire_pager_complete(r.id, EIO, 0), ESTALE);
	assert_message("quire_pager_complete", "closed");
}

static void B05_write_that_fails_is_told_and_nothing_is_lost(void **state)
{
	struct store *s = store_new(4);
	char *p = mapped(s, &whole, 4);

	(void)state;
	p[PAGES(1)] = 1;
	s->write_error = ENOSPC;
	assert_fails(quire_msync(p, PAGES(4), MS_SYNC), ENOSPC);
	assert_fails(quire_munmap(p, PAGES(4)), ENOSPC);
	assert_int_equal(p[PAGES(1)], 1);
	s->write_error = 0;
	s->lie_write = 1;
	assert_fails(quire_msync(p, PAGES(4), MS_SYNC), EIO);
	s->lie_write = 0;
	s->sync_error = EDQUOT;
	assert_fails(quire_msync(p, PAGES(4), MS_SYNC), EDQUOT);
	s->sync_error = 0;
	assert_ok(quire_msync(p, PAGES(4), MS_SYNC));
	assert_int_equal(s->bytes[PAGES(1)], 1);
	unmap(p, 4);
	store_free(s);
}

#define STUCK_THREADS 40

static struct {
	char *addr;
	_Atomic int errors[STUCK_THREADS];
	_Atomic int next;
	sem_t done;
} stuck;

/* By a call, which returns the error instead of raising it. */
static void *touch_stuck(void *arg)
{
	size_t i = (size_t)(intptr_t)arg;

	stuck.errors[i] = quire_madvise(stuck.addr + PAGES(i), PAGES(1), MADV_POPULATE_READ) ? errno : 0;
	sem_post(&stuck.done);
	return NULL;
}

/* All that a program does with other objects goes on. */
static void work_elsewhere(void)
{
	int file = file_new(PAGES(64)), fd;
	struct store *other = store_new(8);
	char *p = map_shared(file, 64), *q = map_anonymous(64), *o;

	fd = open_pager(&whole, other, O_RDWR);
	o = map_shared(fd, 8);
	assert_pattern(p, PAGES(64), 0);
	assert_pattern(o, PAGES(8), 0);
	for (size_t i = 0; i < 64; i++) {
		p[PAGES(i)] = 1;
		q[PAGES(i)] = 2;
	}
	pressure();
	assert_ok(quire_msync(p, PAGES(64), MS_SYNC));
	assert_int_equal(file_byte(file, (off_t)PAGES(63)), 1);
	evict(p, 64);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(p[PAGES(i)] + q[PAGES(i)], 3);
	assert_ok(quire_mprotect(p, PAGES(32), PROT_READ));
	unmap(p, 64);
	unmap(q, 64);
	unmap(o, 8);
	close(fd);
	store_free(other);
	file_close(file);
}

static void B05_pager_that_never_answers_keeps_nobody_else(void **state)
{
	struct store *s = store_new(STORE_PAGES);
	char *p = mapped(s, &whole, STORE_PAGES);
	pthread_t threads[STUCK_THREADS];
	unsigned failed = 0;

	(void)state;
	stuck.addr = p;
	assert_ok(quire_madvise(p, PAGES(STORE_PAGES), MADV_RANDOM));
	sem_init(&stuck.done, 0, 0);
	s->hold = true;
	for (size_t i = 0; i < STUCK_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, touch_stuck, (void *)(intptr_t)i), 0);
	/* As many as it takes. */
	for (unsigned i = 0; i < 4; i++)
		wait_for(&s->holding);
	work_elsewhere();
	/* A time limit of the program's own: those that wait get the error, and the next touch tries again. */
	assert_ok(quire_pager_complete(s->held[--s->n_held].id, ETIMEDOUT, 0));
	wait_for(&stuck.done);
	let_go(s, ETIMEDOUT);
	for (size_t i = 0; i < STUCK_THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_true(stuck.errors[i] == 0 || stuck.errors[i] == EFAULT);
		failed += stuck.errors[i] == EFAULT;
	}
	assert_true(failed > 0);
	assert_pattern(p, PAGES(STORE_PAGES), 0);
	unmap(p, STORE_PAGES);
	store_free(s);
}

static void *load_stuck(void *arg)
{
	size_t i = (size_t)(intptr_t)arg;

	unsigned char byte = *(volatile unsigned char *)(stuck.addr + PAGES(i));

	return (void *)(intptr_t)byte;
}

static void B05_threads_that_touch_what_does_not_come_keep_nobody_else(void **state)
{
	struct quire_pager_ops ops = whole;
	struct store *s = store_new(STORE_PAGES);
	pthread_t threads[STUCK_THREADS];
	void *byte;
	char *p;

	(void)state;
	/* More than the engine has threads for faults at first. */
	ops.depth = 16;
	stuck.addr = p = mapped(s, &ops, STORE_PAGES);
	assert_ok(quire_madvise(p, PAGES(STORE_PAGES), MADV_RANDOM));
	s->hold = true;
	for (size_t i = 0; i < STUCK_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, load_stuck, (void *)(intptr_t)i), 0);
	for (unsigned i = 0; i < ops.depth; i++)
		wait_for(&s->holding);
	work_elsewhere();
	let_go(s, 0);
	for (size_t i = 0; i < STUCK_THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], &byte), 0);
		assert_int_equal((intptr_t)byte, pattern((off_t)PAGES(i)));
	}
	unmap(p, STORE_PAGES);
	store_free(s);
}

static void *sync_stuck(void *arg)
{
	assert_ok(quire_msync(arg, PAGES(STORE_PAGES), MS_SYNC));
	sem_post(&stuck.done);
	return NULL;
}

static void B05_pager_that_takes_no_writes_keeps_nobody_else(void **state)
{
	struct quire_pager_ops ops = whole;
	struct store *s = store_new(STORE_PAGES);
	pthread_t thread;
	char *p;

	(void)state;
	ops.depth = 8;
	p = mapped(s, &ops, STORE_PAGES);
	sem_init(&stuck.done, 0, 0);
	/* Each a write of its own. */
	for (size_t i = 0; i < STORE_PAGES; i += 2)
		p[PAGES(i)] = 1;
	s->hold = true;
	assert_int_equal(pthread_create(&thread, NULL, sync_stuck, p), 0);
	for (unsigned i = 0; i < 4; i++)
		wait_for(&s->holding);
	work_elsewhere();
	let_go(s, 0);
	wait_for(&stuck.done);
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (size_t i = 0; i < STORE_PAGES; i += 2)
		assert_int_equal(s->bytes[PAGES(i)], 1);
	unmap(p, STORE_PAGES);
	store_free(s);
}

static int inner_error;

static void touch_itself(void *arg, const struct quire_pager_request *r)
{
	char **p = arg;

	inner_error = quire_madvise(*p + PAGES(30), PAGES(1), MADV_POPULATE_READ) ? errno : 0;
	memset(r->buf, 1, r->len);
	quire_pager_complete(r->id, 0, r->len);
}

static void B05_pager_that_touches_itself_is_stopped(void **state)
{
	struct quire_pager_ops ops = {
	    .ops_size = sizeof(ops), .size = size_64, .read = touch_itself, .best_size = PAGES(1), .depth = 1};
	static char *p;
	int fd = open_pager(&ops, &p, O_RDONLY);

	(void)state;
	p = map(NULL, PAGES(64), PROT_READ, MAP_SHARED, fd, 0);
	assert_loads(p, 1);
	assert_int_equal(inner_error, EFAULT);
	unmap(p, 64);
	close(fd);
}

/* ---- filters ---- */

/* A descriptor of the filters over the file. */
static int open_filters(const char *filters, const char *path, int oflags)
{
	char name[1024];
	int fd;

	snprintf(name, sizeof(name), "%s:file:%s", filters, path);
	fd = quire_open(name, oflags | O_CLOEXEC, 0);
	check_call(fd, 0, name, __FILE__, __LINE__);
	return fd;
}

static void B05_path_is_opened_as_by_open(void **state)
{
	char path[FILE_PATH_MAX], name[FILE_PATH_MAX + 8];
	int file = file_named(PAGES(2), path), fd;
	char byte;

	(void)state;
	snprintf(name, sizeof(name), "file:%s", path);
	fd = quire_open(name, O_RDONLY, 0);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal((unsigned char)byte, pattern(0));
	close(fd);
	assert_int_equal(unlink(path), 0);
	assert_fails(quire_open(path, O_RDONLY, 0), ENOENT);
	assert_message("quire_open", path);
	fd = quire_open(path, O_RDWR | O_CREAT | O_EXCL, 0640);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, &byte, 1), 1);
	close(fd);
	file_close(file);
}

static void B05_injected_read_error_is_SIGBUS_once(void **state)
{
	char path[FILE_PATH_MAX];
	int file = file_named(PAGES(8), path), fd = open_filters("error:op=read,count=2", path, O_RDONLY);
	char *p = map(NULL, PAGES(8), PROT_READ, MAP_SHARED, fd, 0);

	(void)state;
	/* The page with its neighbours, and then alone. */
	assert_ok(quire_madvise(p, PAGES(8), MADV_RANDOM));
	assert_load_raises(p + PAGES(3), SIGBUS, BUS_ADRERR);
	(void)load(p + PAGES(3));
	assert_pattern(p, PAGES(8), 0);
	unmap(p, 8);
	close(fd);
	file_close(file);
}

static void B05_injected_write_error_is_told_and_nothing_is_lost(void **state)
{
	char path[FILE_PATH_MAX];
	int file = file_named(PAGES(4), path), fd = open_filters("error:op=write,errno=ENOSPC,count=1", path, O_RDWR);
	char *p = map_shared(fd, 4);

	(void)state;
	p[PAGES(1)] = 1;
	assert_fails(quire_msync(p, PAGES(4), MS_SYNC), ENOSPC);
	assert_ok(quire_msync(p, PAGES(4), MS_SYNC));
	assert_int_equal(file_byte(file, (off_t)PAGES(1)), 1);
	unmap(p, 4);
	close(fd);
	file_close(file);
}

static void B05_many_errors_lose_and_invent_nothing(void **state)
{
	char path[FILE_PATH_MAX];
	int file = file_named(PAGES(64), path), fd = open_filters("error:rate=0.2,seed=5", path, O_RDWR);
	char *p = map_shared(fd, 64);

	(void)state;
	for (int round = 1; round < 20; round++) {
		for (size_t i = 0; i < 64; i++)
			while (store(p + PAGES(i) + (size_t)round, round) != 0)
				;
		while (quire_msync(p, PAGES(64), round % 2 ? MS_SYNC : MS_ASYNC) != 0)
			;
		(void)quire_madvise(p, PAGES(64), MADV_PAGEOUT);
		for (size_t i = 0; i < 64; i++) {
			int byte;

			while ((byte = load(p + PAGES(i) + (size_t)round)) < 0)
				assert_int_equal(byte, -SIGBUS);
			assert_int_equal(byte, round);
			while ((byte = load(p + PAGES(i))) < 0)
				;
			assert_int_equal(byte, pattern((off_t)PAGES(i)));
		}
	}
	while (quire_munmap(p, PAGES(64)) != 0)
		;
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(file_byte(file, (off_t)PAGES(i) + 19), 19);
	close(fd);
	file_close(file);
}

static size_t count_lines(const char *path, const char *word)
{
	FILE *trace = fopen(path, "r");
	char line[256];
	size_t n = 0;

	assert_non_null(trace);
	while (fgets(line, sizeof(line), trace))
		n += strstr(line, word) != NULL;
	fclose(trace);
	return n;
}

static void B05_trace_tells_of_every_transfer(void **state)
{
	char path[FILE_PATH_MAX], trace[FILE_PATH_MAX], filters[FILE_PATH_MAX + 64];
	int file = file_named(PAGES(16), path), traced = file_named(0, trace), fd;
	struct quire_stats before;
	char *p;

	(void)state;
	snprintf(filters, sizeof(filters), "trace:file=%s:delay:us=1", trace);
	fd = open_filters(filters, path, O_RDWR);
	settle();
	before = stats();
	p = map_shared(fd, 16);
	for (size_t i = 0; i < 16; i++)
		p[PAGES(i)] = 1;
	assert_ok(quire_msync(p, PAGES(16), MS_SYNC));
	unmap(p, 16);
	assert_int_equal(count_lines(trace, " read "), grown(before, read_calls));
	assert_int_equal(count_lines(trace, " write "), grown(before, write_calls));
	assert_int_equal(count_lines(trace, " sync "), 1);
	close(fd);
	file_close(traced);
	file_close(file);
}

static void B05_size_under_filters_is_that_of_the_file(void **state)
{
	char path[FILE_PATH_MAX];
	int file = file_named(PAGES(2), path), fd = open_filters("error:rate=0", path, O_RDWR);
	char *p = map_shared(fd, 8);

	(void)state;
	assert_int_equal(file_size(fd), PAGES(2));
	assert_ok(quire_ftruncate(fd, (off_t)PAGES(4)));
	assert_int_equal(file_size(file), PAGES(4));
	assert_int_equal(file_size(fd), PAGES(4));
	assert_zeros(p + PAGES(2), PAGES(2));
	assert_int_equal(ftruncate(file, (off_t)PAGES(6)), 0);
	assert_zeros(p + PAGES(4), PAGES(2));
	while (file_size(fd) != (off_t)PAGES(6))
		sched_yield();
	assert_past_the_end(p + PAGES(6));
	unmap(p, 8);
	close(fd);
	fd = open_filters("error:op=resize,errno=EDQUOT", path, O_RDWR);
	assert_fails(quire_ftruncate(fd, 1), EDQUOT);
	assert_int_equal(file_size(fd), PAGES(6));
	close(fd);
	file_close(file);
}

static void B05_bad_names_are_refused_by_part(void **state)
{
	char path[FILE_PATH_MAX], name[FILE_PATH_MAX + 64];
	int file = file_named(PAGES(1), path);

	(void)state;
	assert_fails(quire_open("gopher:x", O_RDONLY, 0), EINVAL);
	assert_message("quire_open", "gopher");
	assert_fails(quire_open("error:rate=7:x", O_RDONLY, 0), EINVAL);
	assert_message("quire_open", "rate=7");
	assert_fails(quire_open("", O_RDONLY, 0), EINVAL);
	assert_fails(quire_open(NULL, O_RDONLY, 0), EINVAL);
	assert_fails(quire_open("error:file:/tmp", O_RDONLY, 0), ENODEV);
	assert_fails(quire_open("error:file:/nonexistent", O_RDONLY, 0), ENOENT);
	assert_fails(quire_open("trace:file=/nonexistent/trace:/dev/null", O_RDONLY, 0), ENODEV);
	snprintf(name, sizeof(name), "trace:file=/nonexistent/trace:%s", path);
	assert_fails(quire_open(name, O_RDONLY, 0), ENOENT);
	assert_message("quire_open", "/nonexistent/trace");
	snprintf(name, sizeof(name), "error:%s", path);
	assert_fails(quire_open(name, O_WRONLY, 0), EINVAL);
	file_close(file);
}

static const struct conformance_test tests[] = {
    TEST(M25_pages_are_read_when_they_are_touched),
    TEST(M25_fault_is_called_for_each_page_that_is_touched_and_no_other),
    TEST(M25_last_page_that_the_fault_fills_ends_in_zeros),
    TEST(M25_populate_is_called_once_when_it_is_mapped),
    TEST(M25_what_populate_fills_may_be_larger_than_the_budget),
    TEST(M25_failed_populate_fails_the_mapping_and_is_tried_again),
    TEST(M25_stores_reach_the_pager),
    TEST(M25_pages_come_and_go_under_pressure),
    TEST(M25_private_stores_never_reach_the_pager),
    TEST(M25_write_of_the_last_page_ends_where_the_object_ends_or_is_aligned),
    TEST(M25_transfers_are_as_long_as_they_should_be),
    TEST(M25_transfer_is_completed_later_by_any_thread),
    TEST(M25_operation_may_allocate_and_map_another_object),
    TEST(M25_one_thread_runs_one_operation_at_a_time),
    TEST(M25_descriptor_tells_the_size),
    TEST(M25_descriptor_is_nothing_to_the_kernel),
    TEST(M25_open_mode_limits_the_protection),
    TEST(M25_bad_mappings_of_a_pager_are_refused_as_those_of_files),
    TEST(M25_close_comes_once_when_the_last_of_all_is_gone),
    TEST(M25_descriptor_alone_keeps_the_pager_and_its_pages),
    TEST(M25_descriptor_in_a_child_keeps_the_pager_open),
    TEST(M25_ftruncate_asks_the_pager_to_resize),
    TEST(M25_cut_that_the_pager_refuses_takes_nothing),
    TEST(M25_size_without_resize_is_fixed),
    TEST(M25_size_that_has_changed_is_seen_by_the_next_mapping),
    TEST(M25_extend_resizes_the_object),
    TEST(M25_remove_discards),
    TEST(M25_bad_tables_are_refused_by_name),
    TEST(M25_size_that_cannot_be_had_fails_the_open),
    TEST(B05_read_that_fails_is_SIGBUS_and_tried_again),
    TEST(B05_fault_that_fails_is_SIGBUS),
    TEST(B05_short_read_is_never_a_page_of_zeros),
    TEST(B05_read_of_more_than_was_asked_for_is_an_error),
    TEST(B05_pager_is_told_of_its_lies),
    TEST(B05_write_that_fails_is_told_and_nothing_is_lost),
    TEST(B05_pager_that_never_answers_keeps_nobody_else),
    TEST(B05_threads_that_touch_what_does_not_come_keep_nobody_else),
    TEST(B05_pager_that_takes_no_writes_keeps_nobody_else),
    TEST(B05_pager_that_touches_itself_is_stopped),
    TEST(B05_path_is_opened_as_by_open),
    TEST(B05_injected_read_error_is_SIGBUS_once),
    TEST(B05_injected_write_error_is_told_and_nothing_is_lost),
    TEST(B05_many_errors_lose_and_invent_nothing),
    TEST(B05_trace_tells_of_every_transfer),
    TEST(B05_size_under_filters_is_that_of_the_file),
    TEST(B05_bad_names_are_refused_by_part),
};

CONFORMANCE_MAIN(tests)
