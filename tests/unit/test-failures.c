/* SPDX-License-Identifier: MIT */
/*
 * test-failures.c - public calls while memory, the kernel or the storage fail
 *
 * Each test takes one call and lets the first thing that can fail in it fail, then the second, and so on until the call has run
 * without meeting a failure; once for each kind of failure, and once with all of a kind failing. A call that fails must have
 * changed nothing (I6), nothing that was stored may be lost (I1), and the same call must succeed when the failure is over.
 *
 * The one exception that docs/compatibility.md allows: what replaces a mapping may leave a hole in its place when the kernel runs
 * out of memory in the middle.
 *
 * A test runs in a process of its own, since a failure that ends in an assertion ends the process.
 */
#include <dirent.h>
#include <sys/eventfd.h>

#include "../conformance/support.h"
#include "util/fail.h"

#define EACH    8    /* pages of a region at first */
#define ROOM    16   /* pages of it that are looked after */
#define SPAN    64   /* from the start of one region to that of the next */
#define ENOUGH  400  /* failing things in one call: more are taken for an endless loop */
#define FOREIGN 0x77 /* what the mapping of the kernel is full of */

enum place { FILE_SHARED, FILE_PRIVATE, MEMORY, MEMORY_SHARED, REGIONS, KERNEL = REGIONS, FREE, PLACES };

/* What a page of a region is. */
enum form {
	GONE,     /* not mapped */
	READABLE, /* … but not writable */
	WRITABLE,
	BEYOND, /* past the end of the object, or of no interest any more */
};

struct region {
	char *addr;
	enum form form[ROOM];
	unsigned char *want; /* the bytes of the object, or of the private pages; ROOM pages */
};

static struct {
	char *base;
	struct region regions[REGIONS];
	struct region elsewhere; /* what was moved; its want is another region's. addr NULL: nothing */
	int file, private_file, fresh_file;
	off_t file_bytes;
	bool kernel_mapping; /* is still there */
	bool all_out;        /* pages are out before the call */
} world;

/* The region that the call is about. */
static enum place which;

/* ---- what is being tried ---- */

static const char *const kind_names[] = {"memory", "mapping", "reading", "writing", "syncing", "making a frame"};

static struct {
	const char *call;
	enum fail_kind kind;
	int64_t nth;
	bool every;
} attempt;

static void tell_attempt(void)
{
	char line[200];
	int n = snprintf(line, sizeof(line), "%s, region %d: %s%s fails for the %lld. time\n", attempt.call, (int)which,
			 attempt.every ? "always, " : "", kind_names[attempt.kind], (long long)attempt.nth);
	ssize_t done = write(STDERR_FILENO, line, (size_t)n);

	(void)done;
}

static void on_abort(int signo)
{
	tell_attempt();
	signal(signo, SIG_DFL);
	raise(signo);
}

#define expect(condition, ...) ((condition) ? (void)0 : (tell_attempt(), print_error(__VA_ARGS__), _fail(__FILE__, __LINE__)))

/* ---- the world ---- */

static char *place_addr(enum place place)
{
	return world.base + PAGES(place * SPAN);
}

static unsigned char *want_page(const struct region *region, unsigned page)
{
	return region->want + PAGES(page);
}

static void put(struct region *region, unsigned page, unsigned char value)
{
	assert_int_equal(store(region->addr + PAGES(page), value), 0);
	want_page(region, page)[0] = value;
}

static void make_region(enum place place, int fd, int flags)
{
	struct region *region = &world.regions[place];

	if (!region->want)
		region->want = malloc(PAGES(ROOM));
	assert_non_null(region->want);
	region->addr = map(place_addr(place), PAGES(EACH), RW, flags, fd, 0);
	assert_ptr_equal(region->addr, place_addr(place));
	memset(region->want, 0, PAGES(ROOM));
	for (size_t i = 0; i < PAGES(EACH) && fd >= 0; i++)
		region->want[i] = pattern((off_t)i);
	for (unsigned i = 0; i < ROOM; i++)
		region->form[i] = i < EACH ? WRITABLE : GONE;
	/* Some pages stored to, some loaded, some of both out again, some never touched. */
	for (unsigned i = 0; i < 4; i++)
		put(region, i, (unsigned char)(0x10 * place + i + 1));
	load(region->addr + PAGES(4));
	load(region->addr + PAGES(5));
	assert_ok(
	    quire_madvise(region->addr + PAGES(world.all_out ? 0 : 2), PAGES(world.all_out ? EACH : 3), 21 /* MADV_PAGEOUT */));
	put(region, 3, (unsigned char)(0x10 * place + 9));
}

static void make_world(void)
{
	char *kernel;

	if (!world.base)
		world.base = quiet();
	world.file = file_new(PAGES(EACH));
	world.private_file = file_new(PAGES(EACH));
	world.fresh_file = file_new(PAGES(EACH));
	world.file_bytes = (off_t)PAGES(EACH);
	world.elsewhere = (struct region){0};
	make_region(FILE_SHARED, world.file, MAP_SHARED);
	make_region(FILE_PRIVATE, world.private_file, MAP_PRIVATE);
	make_region(MEMORY, ANON, MAP_PRIVATE | MAP_ANONYMOUS);
	make_region(MEMORY_SHARED, ANON, MAP_SHARED | MAP_ANONYMOUS);
	kernel = mmap(place_addr(KERNEL), PAGES(EACH), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_equal(kernel, place_addr(KERNEL));
	memset(kernel, FOREIGN, PAGES(EACH));
	world.kernel_mapping = true;
}

/* A page that can be stored to keeps what is stored, and has all its bytes. */
static void check_page(struct region *region, unsigned page)
{
	char *addr = region->addr + PAGES(page);
	unsigned char *want = want_page(region, page);
	int got, stored;

	if (region->form[page] == BEYOND)
		return;
	got = load(addr);
	if (region->form[page] == GONE) {
		expect(got == -SIGSEGV, "page %u at %p answers %d and should not be mapped\n", page, (void *)addr, got);
		return;
	}
	expect(got == want[0], "page %u at %p answers %d, not %d\n", page, (void *)addr, got, want[0]);
	expect(memcmp(addr, want, page_size) == 0, "page %u at %p has other bytes\n", page, (void *)addr);
	stored = store(addr + page_size - 1, want[page_size - 1] ^ 1);
	if (region->form[page] == READABLE) {
		expect(stored == -SIGSEGV, "page %u at %p can be stored to: %d\n", page, (void *)addr, stored);
		return;
	}
	expect(stored == 0, "page %u at %p cannot be stored to: %d\n", page, (void *)addr, stored);
	want[page_size - 1] ^= 1;
}

static void check_world(void)
{
	for (unsigned r = 0; r < REGIONS; r++)
		for (unsigned i = 0; i < ROOM; i++)
			check_page(&world.regions[r], i);
	for (unsigned i = 0; i < ROOM && world.elsewhere.addr; i++)
		if (world.elsewhere.form[i] != GONE)
			check_page(&world.elsewhere, i);
	for (size_t i = 0; i < PAGES(EACH) && world.kernel_mapping; i++) {
		int got = load(place_addr(KERNEL) + i);

		expect(got == FOREIGN, "byte %zu of the kernel's own mapping answers %d\n", i, got);
	}
}

static void check_file(int fd, const unsigned char *want, off_t bytes)
{
	unsigned char *got = malloc(PAGES(ROOM));
	ssize_t n = pread(fd, got, PAGES(ROOM), 0);

	expect(n == bytes, "the file has %zd bytes, not %lld\n", n, (long long)bytes);
	for (off_t i = 0; i < bytes; i++)
		expect(got[i] == want[i], "byte %lld of the file is 0x%02x, not 0x%02x\n", (long long)i, got[i], want[i]);
	free(got);
}

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void end_world(void)
{
	for (unsigned i = 0; i < ROOM && world.elsewhere.addr; i++)
		if (world.elsewhere.form[i] != GONE)
			assert_ok(quire_munmap(world.elsewhere.addr + PAGES(i), page_size));
	assert_ok(quire_munmap(world.base, PAGES(PLACES * SPAN)));
	check_file(world.file, world.regions[FILE_SHARED].want, world.file_bytes);
	for (size_t i = 0; i < PAGES(EACH); i++)
		world.regions[FILE_PRIVATE].want[i] = pattern((off_t)i);
	check_file(world.private_file, world.regions[FILE_PRIVATE].want, (off_t)PAGES(EACH));
	file_close(world.file);
	file_close(world.private_file);
	file_close(world.fresh_file);
}

/* ---- what a call must not change ---- */

struct picture {
	struct {
		int prot, flags;
		off_t offset;
	} pages[PLACES * SPAN]; /* prot -1: not managed */
	uint64_t areas, objects, locked_bytes;
};

static void take_picture(struct picture *ret)
{
	struct quire_area_stats area;

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < PLACES * SPAN; i++) {
		char *addr = world.base + PAGES(i);

		if (quire_area_stats_get(addr, &area) < 0) {
			ret->pages[i].prot = -1;
			continue;
		}
		ret->pages[i].prot = area.prot;
		ret->pages[i].flags = area.flags;
		ret->pages[i].offset = area.flags & MAP_ANONYMOUS ? 0 : area.offset + (addr - (char *)area.addr);
	}
	ret->areas = stats().areas;
	ret->objects = stats().objects;
	ret->locked_bytes = stats().locked_bytes;
}

/* hole: these pages may have gone, then the world is told. */
static void compare_pictures(struct picture *before, const struct picture *after, enum place hole, size_t from, size_t to)
{
	bool torn = false;

	for (size_t i = 0; i < PLACES * SPAN; i++) {
		if (memcmp(&before->pages[i], &after->pages[i], sizeof(after->pages[i])) == 0)
			continue;
		torn = hole < PLACES && i >= hole * SPAN + from && i < hole * SPAN + to && after->pages[i].prot == -1;
		expect(torn, "page %zu of place %zu was protection %d flags %#x offset %lld and is %d %#x %lld\n", i % SPAN,
		       i / SPAN, before->pages[i].prot, (unsigned)before->pages[i].flags, (long long)before->pages[i].offset,
		       after->pages[i].prot, (unsigned)after->pages[i].flags, (long long)after->pages[i].offset);
		if (hole < REGIONS)
			world.regions[hole].form[i % SPAN] = GONE;
	}
	/* Looked at by the kernel's eyes. */
	if (hole == KERNEL && load(place_addr(KERNEL) + PAGES(from)) == -SIGSEGV)
		world.kernel_mapping = false;
	if (torn)
		return;
	expect(before->areas == after->areas, "there were %llu areas and are %llu\n", (unsigned long long)before->areas,
	       (unsigned long long)after->areas);
	expect(before->objects == after->objects, "there were %llu objects and are %llu\n", (unsigned long long)before->objects,
	       (unsigned long long)after->objects);
	expect(before->locked_bytes == after->locked_bytes, "%llu bytes were locked and are %llu\n",
	       (unsigned long long)before->locked_bytes, (unsigned long long)after->locked_bytes);
}

/* ---- the loop ---- */

struct call {
	int (*run)(void);    /* 0 or the errno; EFAULT: an access raised SIGBUS */
	void (*done)(void);  /* tells the world what a success has changed; may be NULL */
	int other_errors[2]; /* documented beside those of the kind of failure; 0: none */
	bool tears;          /* pages from … to of hole may be lost when the kernel fails */
	enum place hole;
	size_t from, to;
	bool steps; /* many calls: what the first have done stays, and is known to the world */
};

static bool is_documented(const struct call *call, int error)
{
	static const int errors[] = {ENOMEM, ENOMEM, EIO, EIO, EIO, ENOMEM};

	return error == errors[attempt.kind] || error == call->other_errors[0] || error == call->other_errors[1];
}

/* One attempt. Whether a failure was met. */
static bool try_once(const struct call *call)
{
	static struct picture before, after;
	bool may_tear = attempt.kind == FAIL_MAP && call->tears;
	uint64_t fired;
	int error;

	make_world();
	take_picture(&before);
	fail_arm(attempt.kind, attempt.nth, attempt.every);
	error = call->run();
	fired = atomic_load(&fail_count[attempt.kind]);
	fail_arm(attempt.kind, 0, false);
	if (error) {
		expect(fired, "%s, though nothing failed: %s\n", strerrorname_np(error), quire_errormsg());
		expect(is_documented(call, error), "%s is not documented: %s\n", strerrorname_np(error), quire_errormsg());
		take_picture(&after);
		if (!call->steps)
			compare_pictures(&before, &after, may_tear ? call->hole : PLACES, call->from, call->to);
		check_world();
		error = call->run();
		expect(!error, "%s when the failure is over: %s\n", strerrorname_np(error), quire_errormsg());
	}
	if (call->done)
		call->done();
	check_world();
	end_world();
	return fired;
}

/* What ended is gone, and what it held. */
static void check_left_over(const struct quire_stats *start, unsigned fds)
{
	struct quire_stats now;

	settle();
	now = stats();
	expect(now.areas == start->areas && now.objects == start->objects, "%llu areas and %llu objects are left over\n",
	       (unsigned long long)(now.areas - start->areas), (unsigned long long)(now.objects - start->objects));
	expect(open_fds() == fds, "there were %u descriptors and are %u\n", fds, open_fds());
	expect(now.dirty_bytes == start->dirty_bytes, "%lld bytes more are dirty\n",
	       (long long)(now.dirty_bytes - start->dirty_bytes));
	expect(now.swapped_bytes == start->swapped_bytes, "%lld bytes more are out\n",
	       (long long)(now.swapped_bytes - start->swapped_bytes));
}

static void try_call(const char *name, const struct call *call)
{
	struct quire_stats start;
	unsigned fds;

	signal(SIGABRT, on_abort);
	attempt.call = name;
	attempt.kind = FAIL_ALLOC;
	attempt.nth = 0;
	/* What is made at the first time only, a swap file too, is made now. */
	pressure();
	try_once(call);
	settle();
	start = stats();
	fds = open_fds();
	for (attempt.kind = 0; attempt.kind < FAIL_KINDS; attempt.kind++) {
		attempt.every = false;
		for (attempt.nth = 1; try_once(call); attempt.nth++)
			expect(attempt.nth < ENOUGH, "there is no end\n");
		attempt.every = true;
		attempt.nth = 1;
		try_once(call);
		check_left_over(&start, fds);
	}
}

#define TRY(...)   try_call(__func__, &(struct call){__VA_ARGS__})
#define EVERYWHERE for (which = 0; which < REGIONS; which++)

static int answer(intptr_t result)
{
	return result == -1 ? errno : 0;
}

static struct region *region(void)
{
	return &world.regions[which];
}

static void becomes(struct region *of, unsigned from, unsigned to, enum form form)
{
	for (unsigned i = from; i < to; i++)
		of->form[i] = form;
}

static bool is_shared(void)
{
	return which == FILE_SHARED || which == MEMORY_SHARED;
}

/* ---- making mappings ---- */

static char *made;

static int fd_of(enum place place, int file)
{
	return place == FILE_SHARED || place == FILE_PRIVATE ? file : ANON;
}

static int flags_of(enum place place)
{
	return (place == FILE_SHARED || place == MEMORY_SHARED ? MAP_SHARED : MAP_PRIVATE) |
	       (place == MEMORY || place == MEMORY_SHARED ? MAP_ANONYMOUS : 0);
}

static int run_map(void)
{
	made = quire_mmap(place_addr(FREE), PAGES(EACH), RW, flags_of(which), fd_of(which, world.fresh_file), 0);
	return answer((intptr_t)made);
}

static void done_map(void)
{
	expect(made == place_addr(FREE), "it is at %p\n", (void *)made);
	for (unsigned i = 0; i < EACH; i++) {
		int want = fd_of(which, 1) > 0 ? pattern((off_t)PAGES(i)) : 0;

		expect(load(made + PAGES(i)) == want, "page %u answers %d\n", i, load(made + PAGES(i)));
		expect(store(made + PAGES(i), 1) == 0, "page %u cannot be stored to\n", i);
	}
}

static void a_mapping_that_cannot_be_made_leaves_nothing_behind(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_map, .done = done_map);
}

static int run_map_stack(void)
{
	made = quire_mmap(NULL, PAGES(EACH), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, ANON, 0);
	return answer((intptr_t)made);
}

static void done_map_stack(void)
{
	expect(store(made, 1) == 0, "it cannot be stored to\n");
	expect(load(made - 1) == -SIGSEGV, "it has no guard\n");
	expect(quire_munmap(made, PAGES(EACH)) == 0, "it cannot be unmapped: %s\n", quire_errormsg());
}

static void a_stack_that_cannot_be_made_leaves_no_guard_behind(void **state)
{
	(void)state;
	which = MEMORY;
	TRY(.run = run_map_stack, .done = done_map_stack);
}

static int run_map_locked(void)
{
	made = quire_mmap(place_addr(FREE), PAGES(EACH), RW, flags_of(which) | MAP_LOCKED, fd_of(which, world.fresh_file), 0);
	return answer((intptr_t)made);
}

static void a_locked_mapping_that_cannot_be_made_leaves_nothing_locked(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_map_locked, .done = done_map, .other_errors = {EAGAIN});
}

static int run_map_again(void)
{
	made = quire_mmap(place_addr(FREE), PAGES(EACH), RW, MAP_SHARED, world.file, 0);
	return answer((intptr_t)made);
}

static void done_map_again(void)
{
	for (unsigned i = 0; i < EACH; i++)
		expect(load(made + PAGES(i)) == want_page(&world.regions[FILE_SHARED], i)[0], "page %u differs\n", i);
}

static void a_second_mapping_of_a_file_that_cannot_be_made_leaves_the_first(void **state)
{
	(void)state;
	TRY(.run = run_map_again, .done = done_map_again);
}

static int run_replace(void)
{
	made = quire_mmap(region()->addr + PAGES(2), PAGES(2), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ANON, 0);
	return answer((intptr_t)made);
}

static void done_replace(void)
{
	for (unsigned i = 2; i < 4; i++) {
		expect(load(region()->addr + PAGES(i)) == 0, "page %u is not a new one\n", i);
		region()->form[i] = BEYOND;
	}
}

static void a_mapping_that_cannot_be_replaced_is_there_or_a_hole(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_replace, .done = done_replace, .tears = true, .hole = which, .from = 2, .to = 4);
}

/* ---- unmapping ---- */

static int run_unmap(void)
{
	return answer(quire_munmap(region()->addr, PAGES(EACH)));
}

static void done_unmap(void)
{
	becomes(region(), 0, ROOM, GONE);
	if (which == FILE_SHARED)
		check_file(world.file, region()->want, world.file_bytes);
}

static void a_mapping_that_cannot_be_unmapped_is_still_there_with_its_bytes(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_unmap, .done = done_unmap);
}

static int run_unmap_middle(void)
{
	return answer(quire_munmap(region()->addr + PAGES(2), PAGES(3)));
}

static void done_unmap_middle(void)
{
	becomes(region(), 2, 5, GONE);
}

static void a_mapping_that_cannot_be_split_is_still_whole(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_unmap_middle, .done = done_unmap_middle);
}

static int run_unmap_all(void)
{
	return answer(quire_munmap(world.base, PAGES(PLACES * SPAN)));
}

static void done_unmap_all(void)
{
	for (unsigned r = 0; r < REGIONS; r++)
		becomes(&world.regions[r], 0, ROOM, GONE);
	world.kernel_mapping = false;
}

static void of_many_mappings_that_cannot_all_be_unmapped_none_is(void **state)
{
	(void)state;
	TRY(.run = run_unmap_all, .done = done_unmap_all);
}

/* ---- protecting ---- */

static int run_protect(void)
{
	return answer(quire_mprotect(region()->addr + PAGES(1), PAGES(4), PROT_READ));
}

static void done_protect(void)
{
	becomes(region(), 1, 5, READABLE);
}

static void a_protection_that_cannot_be_changed_is_the_old_one(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_protect, .done = done_protect);
}

static int run_close_and_open(void)
{
	int error = answer(quire_mprotect(region()->addr, PAGES(EACH), PROT_NONE));

	return error ? error : answer(quire_mprotect(region()->addr, PAGES(EACH), RW));
}

static int run_reopen(void)
{
	int error = run_close_and_open();

	/* The way back is not to fail. */
	atomic_store(&fail_left[attempt.kind], 0);
	if (error)
		assert_ok(quire_mprotect(region()->addr, PAGES(EACH), RW));
	return error;
}

static void what_cannot_be_made_accessible_again_keeps_its_bytes(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_reopen, .steps = true);
}

/* ---- sharing with children ---- */

static int run_share(void)
{
	return answer(quire_minherit(region()->addr, PAGES(EACH), QUIRE_INHERIT_SHARE));
}

/* Page by page: what has come to be shared stays so, with all its bytes. */
static void memory_that_cannot_be_made_shared_keeps_its_bytes(void **state)
{
	(void)state;
	for (unsigned out = 0; out < 2; out++) {
		world.all_out = out;
		EVERYWHERE
		TRY(.run = run_share, .steps = true);
	}
}

/* ---- moving ---- */

static char *moved;

/* The first n pages of the region are at moved now, of which the first kept have their bytes. */
static void note_moved(unsigned from, unsigned n)
{
	world.elsewhere.addr = moved;
	world.elsewhere.want = region()->want;
	for (unsigned i = 0; i < ROOM; i++)
		world.elsewhere.form[i] = i < n ? WRITABLE : GONE;
	becomes(region(), 0, from, GONE);
}

static int run_grow(void)
{
	moved = quire_mremap(region()->addr, PAGES(EACH), PAGES(EACH + 4), 0);
	return answer((intptr_t)moved);
}

static void done_grow(void)
{
	expect(moved == region()->addr, "it has moved to %p\n", (void *)moved);
	becomes(region(), EACH, EACH + 4, which == MEMORY ? WRITABLE : BEYOND);
}

static void a_mapping_that_cannot_grow_is_as_long_as_before(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_grow, .done = done_grow);
}

static int run_shrink(void)
{
	return answer((intptr_t)quire_mremap(region()->addr, PAGES(EACH), PAGES(5), 0));
}

static void done_shrink(void)
{
	becomes(region(), 5, EACH, GONE);
}

static void a_mapping_that_cannot_shrink_is_as_long_as_before(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_shrink, .done = done_shrink);
}

static int run_grow_away(void)
{
	moved = quire_mremap(region()->addr, PAGES(4), PAGES(6), MREMAP_MAYMOVE);
	return answer((intptr_t)moved);
}

static void done_grow_away(void)
{
	note_moved(4, 6);
	/* Pages 4 and 5 are in both places: of a file the same, of private memory new. */
	if (!is_shared())
		becomes(region(), 4, 6, READABLE);
	for (unsigned i = 4; i < 6; i++) {
		char *there = moved + PAGES(i);

		if (which == MEMORY)
			expect(load(there) == 0, "page %u is not a new one\n", i);
		else
			expect(load(there) == want_page(region(), i)[0], "page %u differs\n", i);
		world.elsewhere.form[i] = BEYOND;
	}
	if (!is_shared())
		becomes(region(), 4, 6, WRITABLE);
}

static void a_mapping_that_cannot_move_to_grow_stays_where_it_is(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_grow_away, .done = done_grow_away);
}

static int run_move(void)
{
	moved = quire_mremap(region()->addr, PAGES(EACH), PAGES(EACH), MREMAP_MAYMOVE | MREMAP_FIXED, place_addr(FREE));
	return answer((intptr_t)moved);
}

static void done_move(void)
{
	note_moved(EACH, EACH);
}

static void a_mapping_that_cannot_move_to_a_free_place_stays_where_it_is(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_move, .done = done_move);
}

static enum place target(void)
{
	return (which + 1) % REGIONS;
}

static int run_move_over(void)
{
	moved = quire_mremap(region()->addr, PAGES(4), PAGES(4), MREMAP_MAYMOVE | MREMAP_FIXED, place_addr(target()) + PAGES(2));
	return answer((intptr_t)moved);
}

static void done_move_over(void)
{
	note_moved(4, 4);
	/* Looked at as what it was moved over, too. */
	becomes(&world.regions[target()], 2, 6, BEYOND);
}

static void a_mapping_that_cannot_move_over_another_stays_and_so_does_that_or_it_is_a_hole(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_move_over, .done = done_move_over, .tears = is_shared(), .hole = target(), .from = 2, .to = 6);
}

static int run_move_over_kernel(void)
{
	moved = quire_mremap(region()->addr, PAGES(4), PAGES(4), MREMAP_MAYMOVE | MREMAP_FIXED, place_addr(KERNEL) + PAGES(2));
	return answer((intptr_t)moved);
}

static void done_move_over_kernel(void)
{
	note_moved(4, 4);
	world.kernel_mapping = false;
}

static void a_mapping_that_cannot_move_over_one_of_the_kernel_leaves_that_alone(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_move_over_kernel, .done = done_move_over_kernel, .tears = is_shared(), .hole = KERNEL, .from = 2, .to = 6);
}

static int run_move_and_shrink(void)
{
	moved = quire_mremap(region()->addr, PAGES(EACH), PAGES(3), MREMAP_MAYMOVE | MREMAP_FIXED, place_addr(FREE));
	return answer((intptr_t)moved);
}

static void done_move_and_shrink(void)
{
	note_moved(EACH, 3);
}

static void a_mapping_that_cannot_move_and_shrink_does_neither(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_move_and_shrink, .done = done_move_and_shrink);
}

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static int run_leave(void)
{
	moved = quire_mremap(region()->addr, PAGES(EACH), PAGES(EACH), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, place_addr(FREE));
	return answer((intptr_t)moved);
}

static void done_leave(void)
{
	note_moved(0, EACH);
	for (unsigned i = 0; i < EACH && !is_shared(); i++) {
		int want = which == MEMORY ? 0 : pattern((off_t)PAGES(i));

		expect(load(region()->addr + PAGES(i)) == want, "page %u of the old place is not as new\n", i);
	}
	if (!is_shared())
		becomes(region(), 0, EACH, BEYOND);
}

static void a_mapping_whose_pages_cannot_be_moved_away_keeps_them(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_leave, .done = done_leave);
}

static int run_duplicate(void)
{
	moved = quire_mremap(region()->addr, 0, PAGES(EACH), MREMAP_MAYMOVE);
	return answer((intptr_t)moved);
}

static void done_duplicate(void)
{
	note_moved(0, EACH);
}

static void a_mapping_that_cannot_be_duplicated_is_there_once(void **state)
{
	(void)state;
	for (which = 0; which < REGIONS; which++)
		if (is_shared())
			TRY(.run = run_duplicate, .done = done_duplicate);
}

/* ---- storage ---- */

static int run_sync(void)
{
	return answer(quire_msync(region()->addr, PAGES(EACH), MS_SYNC));
}

static void done_sync(void)
{
	if (which == FILE_SHARED)
		check_file(world.file, region()->want, world.file_bytes);
}

static void what_cannot_be_synced_is_written_by_the_next_msync(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_sync, .done = done_sync);
}

static int run_lengthen(void)
{
	return answer(quire_ftruncate(world.file, (off_t)PAGES(EACH + 2)));
}

static void done_lengthen(void)
{
	world.file_bytes = (off_t)PAGES(EACH + 2);
}

static void a_file_that_cannot_be_lengthened_keeps_its_bytes(void **state)
{
	(void)state;
	TRY(.run = run_lengthen, .done = done_lengthen);
}

static int run_cut(void)
{
	return answer(quire_ftruncate(world.file, (off_t)PAGES(3) + 10));
}

static void done_cut(void)
{
	struct region *file = &world.regions[FILE_SHARED];

	world.file_bytes = (off_t)PAGES(3) + 10;
	memset(want_page(file, 3) + 10, 0, page_size - 10);
	for (unsigned i = 4; i < EACH; i++) {
		int got = load(file->addr + PAGES(i));

		expect(got == -SIGBUS, "page %u past the end answers %d\n", i, got);
	}
	becomes(file, 4, EACH, BEYOND);
}

static void a_file_that_cannot_be_cut_off_keeps_its_bytes(void **state)
{
	(void)state;
	TRY(.run = run_cut, .done = done_cut);
}

/* ---- advice and locking ---- */

static int advice;

static int run_advise(void)
{
	return answer(quire_madvise(region()->addr, PAGES(EACH), advice));
}

static void done_advise(void)
{
	if (advice != MADV_DONTNEED || is_shared())
		return;
	for (size_t i = 0; i < PAGES(EACH); i++)
		region()->want[i] = which == FILE_PRIVATE ? pattern((off_t)i) : 0;
}

static void advice_that_cannot_be_followed_loses_nothing(void **state)
{
	static const int all[] = {MADV_WILLNEED,         MADV_SEQUENTIAL,    20 /* MADV_COLD */,
				  21 /* MADV_PAGEOUT */, MADV_POPULATE_READ, MADV_POPULATE_WRITE};

	(void)state;
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		advice = all[i];
		EVERYWHERE
		TRY(.run = run_advise,
		    .other_errors = {advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE ? EFAULT : 0});
	}
}

static void pages_that_are_not_needed_are_forgotten_whatever_fails(void **state)
{
	(void)state;
	advice = MADV_DONTNEED;
	EVERYWHERE
	TRY(.run = run_advise, .done = done_advise);
}

static int run_remove(void)
{
	return answer(quire_madvise(region()->addr + PAGES(2), PAGES(2), MADV_REMOVE));
}

static void done_remove(void)
{
	memset(want_page(region(), 2), 0, PAGES(2));
}

static void pages_that_are_removed_read_as_zeros_whatever_fails(void **state)
{
	(void)state;
	for (which = 0; which < REGIONS; which++)
		if (is_shared())
			TRY(.run = run_remove, .done = done_remove);
}

static int run_lock(void)
{
	return answer(quire_mlock(region()->addr, PAGES(EACH)));
}

static void done_lock(void)
{
	expect(resident_pages(region()->addr, EACH) == EACH, "not all is resident\n");
	assert_ok(quire_munlock(region()->addr, PAGES(EACH)));
}

static void pages_that_cannot_be_locked_are_not(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_lock, .done = done_lock, .other_errors = {EAGAIN, ENOMEM});
}

/* ---- asking ---- */

/* Every other page, and all of them; the end is told whatever fails. */
static int run_prefetch(void)
{
	struct iovec ranges[EACH / 2 + 1];
	int told = eventfd(0, EFD_CLOEXEC), error;
	uint64_t value = 0;

	for (unsigned i = 0; i < EACH / 2; i++)
		ranges[i] = (struct iovec){region()->addr + PAGES(2 * i), 1};
	ranges[EACH / 2] = (struct iovec){region()->addr, PAGES(EACH)};
	error = answer(quire_prefetch(ranges, EACH / 2 + 1, told));
	if (error == 0)
		expect(read(told, &value, sizeof(value)) == sizeof(value) && value == 1, "the end was not told\n");
	close(told);
	return error;
}

static void a_list_that_cannot_be_brought_in_comes_to_an_end_all_the_same(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_prefetch, .other_errors = {EAGAIN});
}

static int run_epoch(void)
{
	struct iovec ranges[EACH];
	uint64_t since;
	int error = answer(quire_epoch(region()->addr, PAGES(EACH), &since)), count;

	if (error)
		return error;
	put(region(), 5, 0x77);
	count = quire_written(region()->addr, PAGES(EACH), since, ranges, EACH);
	for (int i = 0; i < count; i++)
		if ((char *)ranges[i].iov_base <= region()->addr + PAGES(5) &&
		    (char *)ranges[i].iov_base + ranges[i].iov_len > region()->addr + PAGES(5))
			return 0;
	expect(count < 0, "a store was not told\n");
	return errno;
}

static void a_store_that_cannot_be_noted_is_told_all_the_same(void **state)
{
	(void)state;
	for (which = 0; which < REGIONS; which++)
		if (is_shared())
			TRY(.run = run_epoch, .steps = true);
}

/* ---- errors as values ---- */

static enum quire_error_answer let_fail(void *arg, const struct quire_error *error)
{
	(void)error;
	++*(unsigned *)arg;
	return QUIRE_ANSWER_FAIL;
}

static unsigned times_asked;

static int run_on_error(void)
{
	times_asked = 0;
	return answer(quire_on_error(region()->addr + PAGES(2), PAGES(3), let_fail, &times_asked));
}

static void a_callback_that_cannot_be_set_changes_nothing(void **state)
{
	(void)state;
	EVERYWHERE
	TRY(.run = run_on_error);
}

/* ---- faults ---- */

static int run_load(void)
{
	int error = 0;

	for (unsigned i = 0; i < EACH; i++) {
		int got = load(region()->addr + PAGES(i)), want = want_page(region(), i)[0];

		expect(got == want || got == -SIGBUS, "page %u answers %d, not %d\n", i, got, want);
		error = got == want ? error : EFAULT;
	}
	return error;
}

static int run_store(void)
{
	int error = 0;

	for (unsigned i = 0; i < EACH; i++) {
		int got = store(region()->addr + PAGES(i), 0x80 + (int)i);

		expect(got == 0 || got == -SIGBUS, "page %u answers %d\n", i, got);
		if (got == 0)
			want_page(region(), i)[0] = (unsigned char)(0x80 + i);
		else
			error = EFAULT;
	}
	return error;
}

static void a_page_that_cannot_be_loaded_raises_sigbus_and_never_shows_wrong_bytes(void **state)
{
	(void)state;
	for (unsigned out = 0; out < 2; out++) {
		world.all_out = out;
		EVERYWHERE
		TRY(.run = run_load, .other_errors = {EFAULT});
	}
}

static void a_page_that_cannot_be_stored_to_raises_sigbus_and_keeps_its_bytes(void **state)
{
	(void)state;
	for (unsigned out = 0; out < 2; out++) {
		world.all_out = out;
		EVERYWHERE
		TRY(.run = run_store, .other_errors = {EFAULT}, .steps = true);
	}
}

/* ---- the budget ---- */

static size_t budget;

static int run_set_memory(void)
{
	return answer(quire_set_memory(budget - PAGES(100)));
}

static void done_set_memory(void)
{
	assert_ok(quire_set_memory(budget));
}

static void a_budget_that_cannot_be_kept_is_not_set(void **state)
{
	(void)state;
	budget = stats().budget_bytes;
	TRY(.run = run_set_memory, .done = done_set_memory);
	assert_int_equal(stats().budget_bytes, budget);
}

/* ---- more than fits into the budget ---- */

#define LARGE 1500

static uint32_t seed = 1;

static uint32_t number(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

static void a_program_that_pages_all_the_time_loses_nothing_while_everything_fails_now_and_then(void **state)
{
	static const int64_t every[FAIL_KINDS] = {[FAIL_ALLOC] = 301, [FAIL_READ] = 23, [FAIL_WRITE] = 5, [FAIL_FRAME] = 29};
	char *addr[REGIONS];
	unsigned char *want[REGIONS];
	int files[2];
	unsigned raised = 0;

	(void)state;
	files[0] = file_new(PAGES(LARGE));
	files[1] = file_new(PAGES(LARGE));
	for (which = 0; which < REGIONS; which++) {
		addr[which] = map(NULL, PAGES(LARGE), RW, flags_of(which), fd_of(which, files[which % 2]), 0);
		want[which] = malloc(LARGE);
		for (unsigned i = 0; i < LARGE; i++)
			want[which][i] = which < MEMORY ? pattern((off_t)PAGES(i)) : 0;
	}
	for (unsigned kind = 0; kind < FAIL_KINDS; kind++)
		fail_arm(kind, every[kind], true);
	for (unsigned step = 0; step < 12000; step++) {
		unsigned i = number() % LARGE, value = number() % 256;
		int got;

		which = number() % REGIONS;
		attempt.nth = step;
		if (number() % 2) {
			got = load(addr[which] + PAGES(i));
			expect(got == want[which][i] || got == -SIGBUS, "page %u answers %d, not %d\n", i, got, want[which][i]);
		} else {
			got = store(addr[which] + PAGES(i), (int)value);
			if (got == 0)
				want[which][i] = (unsigned char)value;
		}
		raised += got == -SIGBUS;
		if (step % 1000 == 999)
			(void)quire_msync(addr[FILE_SHARED], PAGES(LARGE), MS_ASYNC);
	}
	for (unsigned kind = 0; kind < FAIL_KINDS; kind++)
		fail_arm(kind, 0, false);
	assert_true(raised > 0);
	for (which = 0; which < REGIONS; which++)
		for (unsigned i = 0; i < LARGE; i++) {
			int got = load(addr[which] + PAGES(i));

			expect(got == want[which][i], "page %u answers %d, not %d\n", i, got, want[which][i]);
		}
	/* Errors of writes that nobody was told of may come up now, once. */
	if (quire_msync(addr[FILE_SHARED], PAGES(LARGE), MS_SYNC) < 0)
		assert_ok(quire_msync(addr[FILE_SHARED], PAGES(LARGE), MS_SYNC));
	for (unsigned i = 0; i < LARGE; i++)
		assert_int_equal(file_byte(files[0], (off_t)PAGES(i)), want[FILE_SHARED][i]);
	for (which = 0; which < REGIONS; which++) {
		unmap(addr[which], LARGE);
		free(want[which]);
	}
	/* With the mapping's handlers gone nothing is left of what was out. */
	assert_int_equal(stats().swapped_bytes, 0);
}

/* ---- the first mapping ---- */

static unsigned threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static size_t mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	size_t n = 0;
	int c;

	while ((c = fgetc(maps)) != EOF)
		n += c == '\n';
	fclose(maps);
	return n;
}

static void an_engine_that_cannot_start_leaves_nothing_and_starts_when_it_can(void **state)
{
	char *p = MAP_FAILED;
	unsigned fds = 0, failures = 0;
	size_t maps = 0;

	(void)state;
	signal(SIGABRT, on_abort);
	attempt.call = __func__;
	attempt.kind = FAIL_ALLOC;
	for (attempt.nth = 1; p == MAP_FAILED; attempt.nth++) {
		fail_arm(FAIL_ALLOC, attempt.nth, false);
		p = quire_mmap(NULL, page_size, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		fail_arm(FAIL_ALLOC, 0, false);
		if (p != MAP_FAILED)
			break;
		if (errno == EPERM)
			skip_because(quire_errormsg());
		expect(errno == ENOMEM || errno == EAGAIN, "%s: %s\n", strerrorname_np(errno), quire_errormsg());
		if (failures++ == 0)
			fds = open_fds();
		expect(open_fds() == fds, "there were %u descriptors and are %u\n", fds, open_fds());
		/* . and .. and this one. */
		expect(threads() == 3, "%u threads are left\n", threads() - 3);
		expect(attempt.nth < ENOUGH, "there is no end\n");
		/* malloc has grown to its size by then. */
		if (failures == 10)
			maps = mappings();
		if (failures > 10)
			expect(mappings() <= maps + 4, "there were %zu mappings and are %zu\n", maps, mappings());
	}
	assert_true(failures > 0);
	assert_int_equal(store(p, 1), 0);
	assert_int_equal(load(p), 1);
}

/* A process of its own for each, with nothing more in its environment. */
#define ALONE(name) TEST_IN_OWN_PROCESS(name, "")

static const struct conformance_test tests[] = {
    TEST_BEFORE_START(an_engine_that_cannot_start_leaves_nothing_and_starts_when_it_can, ""),
    ALONE(a_mapping_that_cannot_be_made_leaves_nothing_behind),
    ALONE(a_locked_mapping_that_cannot_be_made_leaves_nothing_locked),
    ALONE(a_stack_that_cannot_be_made_leaves_no_guard_behind),
    ALONE(a_second_mapping_of_a_file_that_cannot_be_made_leaves_the_first),
    ALONE(a_mapping_that_cannot_be_replaced_is_there_or_a_hole),
    ALONE(a_mapping_that_cannot_be_unmapped_is_still_there_with_its_bytes),
    ALONE(a_mapping_that_cannot_be_split_is_still_whole),
    ALONE(of_many_mappings_that_cannot_all_be_unmapped_none_is),
    ALONE(a_protection_that_cannot_be_changed_is_the_old_one),
    ALONE(what_cannot_be_made_accessible_again_keeps_its_bytes),
    ALONE(memory_that_cannot_be_made_shared_keeps_its_bytes),
    ALONE(a_mapping_that_cannot_grow_is_as_long_as_before),
    ALONE(a_mapping_that_cannot_shrink_is_as_long_as_before),
    ALONE(a_mapping_that_cannot_move_to_grow_stays_where_it_is),
    ALONE(a_mapping_that_cannot_move_to_a_free_place_stays_where_it_is),
#ifdef WITH_KNOWN_DEFECTS /* see docs/testing.md */
    ALONE(a_mapping_that_cannot_move_over_another_stays_and_so_does_that_or_it_is_a_hole),
    ALONE(a_mapping_that_cannot_move_over_one_of_the_kernel_leaves_that_alone),
    ALONE(a_mapping_that_cannot_move_and_shrink_does_neither),
#endif
    ALONE(a_mapping_whose_pages_cannot_be_moved_away_keeps_them),
    ALONE(a_mapping_that_cannot_be_duplicated_is_there_once),
    ALONE(what_cannot_be_synced_is_written_by_the_next_msync),
    ALONE(a_file_that_cannot_be_lengthened_keeps_its_bytes),
    ALONE(a_file_that_cannot_be_cut_off_keeps_its_bytes),
    ALONE(advice_that_cannot_be_followed_loses_nothing),
    ALONE(pages_that_are_not_needed_are_forgotten_whatever_fails),
    ALONE(pages_that_are_removed_read_as_zeros_whatever_fails),
    ALONE(pages_that_cannot_be_locked_are_not),
    ALONE(a_list_that_cannot_be_brought_in_comes_to_an_end_all_the_same),
    ALONE(a_store_that_cannot_be_noted_is_told_all_the_same),
    ALONE(a_callback_that_cannot_be_set_changes_nothing),
    ALONE(a_page_that_cannot_be_loaded_raises_sigbus_and_never_shows_wrong_bytes),
    ALONE(a_page_that_cannot_be_stored_to_raises_sigbus_and_keeps_its_bytes),
    ALONE(a_budget_that_cannot_be_kept_is_not_set),
    ALONE(a_program_that_pages_all_the_time_loses_nothing_while_everything_fails_now_and_then),
};

CONFORMANCE_MAIN(tests)
