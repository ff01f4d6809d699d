/* SPDX-License-Identifier: MIT */
/*
 * world.c - the two sides in step, and the first difference between them
 *
 * Each operation: rules_allow() says whether it runs; both sides run it; the results are compared; the model follows; rules
 * bring back what Linux changed by a failed call. At the end every page of the windows is compared, everything is unmapped,
 * and the files are compared.
 *
 * Both sides are in one process, so that one fork is of both. What is done in a child is done there by the same functions, on its own
 * copy of the sides; the model, the results and the difference are shared. The end checks are made in every process that lives.
 */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((format(printf, 2, 3))) static bool differ(struct world *w, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (w->difference[0] == '\0') {
		vsnprintf(w->difference, sizeof(w->difference), format, args);
		snprintf(w->message, sizeof(w->message), "%s", w->sides[SUBJECT].calls->errormsg());
	}
	va_end(args);
	return false;
}

/* ---- opening ---- */

/* Whether the file system zeroes what was stored behind the end when the file grows: by ftruncate, and by write. Rule 3. */
static bool growth_zeroes(const char *directory)
{
	size_t page = (size_t)page_bytes();
	bool zeroes = true;

	for (int way = 0; way < 4; way++) {
		int fd = open_unlinked(directory);
		volatile unsigned char *p;

		if (fd < 0 || ftruncate(fd, 100) != 0)
			return false;
		p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			return false;
		p[200] = 7;
		if (way >= 2 && fsync(fd) != 0)
			zeroes = false;
		p[200] = 7;
		if ((way % 2 == 0 ? ftruncate(fd, 300) : pwrite(fd, "x", 1, 300)) < 0)
			zeroes = false;
		zeroes = zeroes && p[200] == 0;
		munmap((void *)p, page);
		close(fd);
	}
	return zeroes;
}

struct world *world_open(const struct calls *subject, const char *directory, size_t pressure_bytes)
{
	struct world *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (w == MAP_FAILED)
		return NULL;
	w->sides = calloc(SIDES, sizeof(*w->sides));
	if (w->sides == NULL)
		abort();
	model_init(&w->model);
	family_begin(&w->family);
	w->model.growth_zeroes = growth_zeroes(directory);
	if (!side_open(&w->sides[ORACLE], &calls_kernel, directory) || !side_open(&w->sides[SUBJECT], subject, directory))
		return NULL;
	if (pressure_bytes != 0) {
		w->sides[SUBJECT].pressure = pressure_new(subject, directory, pressure_bytes);
		if (w->sides[SUBJECT].pressure == NULL)
			return NULL;
	}
	return w;
}

void world_close(struct world *w)
{
	pressure_free(w->sides[SUBJECT].pressure);
	for (int i = 0; i < SIDES; i++)
		side_close(&w->sides[i]);
	model_free(&w->model);
	free(w->sides);
	munmap(w, sizeof(*w));
}

/* ---- bytes ---- */

/* Compares n loaded bytes of the page's in_page on. */
static bool compare_bytes(struct world *w, const struct model_page *page, int64_t in_page, size_t n, const char *what)
{
	const unsigned char *a = (unsigned char *)w->sides[ORACLE].page, *b = (unsigned char *)w->sides[SUBJECT].page;

	w->compared_bytes += n;
	if (memcmp(a, b, n) == 0)
		return true;
	for (size_t i = 0; i < n; i++) {
		int64_t at = page->offset + in_page + (int64_t)i;

		if (a[i] == b[i])
			continue;
		if (page_is_file(page) && !model_byte_specified(&w->model, page->object, at, !page->shared))
			continue;
		return differ(w, "%s: byte %" PRId64 " of the page is %#x on the %s, %#x on the %s", what, in_page + (int64_t)i,
			      a[i], w->sides[ORACLE].calls->name, b[i], w->sides[SUBJECT].calls->name);
	}
	return true;
}

static const char *trap_name(const struct trap *t)
{
	if (t->sig == 0)
		return "no signal";
	if (t->sig == SIGSEGV)
		return t->code == SEGV_MAPERR   ? "SIGSEGV SEGV_MAPERR"
		       : t->code == SEGV_ACCERR ? "SIGSEGV SEGV_ACCERR"
						: "SIGSEGV (odd code)";
	return t->code == BUS_ADRERR ? "SIGBUS BUS_ADRERR" : "SIGBUS (odd code)";
}

static bool compare_traps(struct world *w, const struct trap *a, const struct trap *b, bool addresses, const char *what)
{
	int64_t page = page_bytes();

	if (a->sig != b->sig || a->code != b->code)
		return differ(w, "%s: %s (code %d) on the %s, %s (code %d) on the %s", what, trap_name(a), a->code,
			      w->sides[ORACLE].calls->name, trap_name(b), b->code, w->sides[SUBJECT].calls->name);
	if (addresses && a->sig != 0 && (int64_t)a->addr / page != (int64_t)b->addr / page)
		return differ(w, "%s: si_addr lies in page %" PRId64 " on the %s, in page %" PRId64 " on the %s", what,
			      (int64_t)a->addr / page, w->sides[ORACLE].calls->name, (int64_t)b->addr / page,
			      w->sides[SUBJECT].calls->name);
	return true;
}

/* Loads n bytes on both sides and compares them. page says what is mapped there. */
static bool compare_loads(struct world *w, unsigned char *const at[SIDES], size_t n, const struct model_page *page, int64_t in_page,
			  const char *what)
{
	struct result r[SIDES] = {{0}};
	bool loaded;

	loaded = side_load(&w->sides[ORACLE], at[ORACLE], n, &r[ORACLE]);
	side_load(&w->sides[SUBJECT], at[SUBJECT], n, &r[SUBJECT]);
	if (!compare_traps(w, &r[ORACLE].trap, &r[SUBJECT].trap, false, what))
		return false;
	return !loaded || compare_bytes(w, page, in_page, n, what);
}

/* Rules 2 and 3: bytes from … to of the file by read(2). */
static bool compare_file(struct world *w, int file, int64_t from, int64_t to, const char *what)
{
	struct model_page page = {.fragment = 1, .object = (uint32_t)file, .shared = true};
	int64_t bytes = w->model.files[file].bytes;

	for (page.offset = from; page.offset < to && page.offset < bytes; page.offset += page_bytes()) {
		size_t n = (size_t)(bytes - page.offset < page_bytes() ? bytes - page.offset : page_bytes());

		for (int i = 0; i < SIDES; i++) {
			struct side *s = &w->sides[i];
			ssize_t got = pread(s->file[file], s->page, n, page.offset);

			if (got != (ssize_t)n)
				return differ(w, "%s: read of file %d at %" PRId64 " gave %zd of %zu bytes on the %s (%s)", what,
					      file, page.offset, got, n, s->calls->name, got < 0 ? strerror(errno) : "short");
		}
		if (!compare_bytes(w, &page, 0, n, what)) {
			size_t used = strlen(w->difference);

			snprintf(w->difference + used, sizeof(w->difference) - used, " (file %d, page %" PRId64 ")", file,
				 page.offset / page_bytes());
			return false;
		}
	}
	return true;
}

static bool compare_file_sizes(struct world *w, const char *what)
{
	for (int file = 0; file < FILES; file++) {
		for (int i = 0; i < SIDES; i++) {
			struct side *s = &w->sides[i];
			struct stat st;

			if (fstat(s->file[file], &st) != 0 || st.st_size != w->model.files[file].bytes)
				return differ(w, "%s: file %d has %" PRId64 " bytes on the %s, %" PRId64 " are right", what, file,
					      (int64_t)st.st_size, s->calls->name, w->model.files[file].bytes);
		}
	}
	return true;
}

/* ---- results ---- */

static bool compare_results(struct world *w, const struct op *op, const struct result *a, const struct result *b,
			    enum rules_compare how)
{
	const char *kernel = w->sides[ORACLE].calls->name, *subject = w->sides[SUBJECT].calls->name;

	if (how == COMPARE_NOTHING)
		return true;
	if (how == COMPARE_SUCCESS) {
		if ((a->ret == -1) == (b->ret == -1))
			return true;
	} else if (a->ret == b->ret && a->err == b->err) {
		return compare_traps(w, &a->trap, &b->trap, true, op->kind == OP_STORE ? "store" : "load");
	}
	return differ(w, "result: %" PRId64 " %s on the %s, %" PRId64 " %s on the %s", a->ret,
		      a->ret == -1 ? strerrorname_np(a->err) : "", kernel, b->ret, b->ret == -1 ? strerrorname_np(b->err) : "",
		      subject);
}

/* ---- after an operation ---- */

static bool succeeded(const struct world *w, size_t i)
{
	return w->results[ORACLE][i].ret != -1;
}

/* Compares pages of a mapping outside the window, then unmaps it on both sides. pages[i] is its page i. */
static bool finish_elsewhere(struct world *w, int64_t pages, const struct model_page *head)
{
	bool same = true;

	for (int64_t i = 0; i < pages && same; i++) {
		struct model_page page = *head;
		unsigned char *at[SIDES];

		page.offset += i * page_bytes();
		for (int s = 0; s < SIDES; s++)
			at[s] = (unsigned char *)w->sides[s].elsewhere + i * page_bytes();
		same = compare_loads(w, at, (size_t)page_bytes(), &page, 0, "page of a mapping outside the window");
	}
	for (int s = 0; s < SIDES; s++) {
		if (w->sides[s].calls->munmap(w->sides[s].elsewhere, (size_t)(pages * page_bytes())) != 0 && same)
			same = differ(w, "munmap outside the window: %s on the %s", strerror(errno), w->sides[s].calls->name);
	}
	return same;
}

static bool after_mmap(struct world *w, const struct op *op, int64_t at)
{
	struct model_page head;

	if (at != ELSEWHERE) {
		model_mmap(&w->model, op, at);
		return true;
	}
	head = model_mmap_page(&w->model, op);
	return finish_elsewhere(w, pages_of(op->len), &head);
}

static bool after_mremap(struct world *w, const struct op *op, int64_t at)
{
	struct model_page head = *model_at(&w->model, op->addr);

	model_mremap(&w->model, op, at == ELSEWHERE ? NOWHERE : at);
	return at != ELSEWHERE || finish_elsewhere(w, pages_of(op->new_len), &head);
}

/* Rule 2. */
static bool after_msync(struct world *w, const struct op *op)
{
	int64_t first, last;

	if (!(op->flags & MS_SYNC))
		return true;
	model_range(op->addr, op->len, &first, &last);
	for (int64_t i = first; i < last; i++) {
		const struct model_page *p = &w->model.pages[i];

		if (page_is_file(p) && p->shared &&
		    !compare_file(w, (int)p->object, p->offset, p->offset + page_bytes(), "file after msync"))
			return false;
	}
	return true;
}

/* Rule 2: a file that nobody maps any more. */
static bool after_munmap(struct world *w, const struct op *op)
{
	bool mapped[FILES];

	for (int i = 0; i < FILES; i++)
		mapped[i] = model_file_mapped(&w->model, i);
	model_munmap(&w->model, op);
	for (int i = 0; i < FILES; i++) {
		if (mapped[i] && !model_file_mapped(&w->model, i) &&
		    !compare_file(w, i, 0, INT64_MAX, "file after its last munmap"))
			return false;
	}
	return true;
}

static bool after_access(struct world *w, const struct op *op, const struct result *r)
{
	const struct model_page *page = model_at(&w->model, op->addr);
	int64_t in_page = op->addr % page_bytes();

	if (r->trap.sig != 0)
		return true;
	if (op->kind == OP_LOAD)
		return compare_bytes(w, page, in_page, (size_t)op->size, "load");
	model_store(&w->model, page, in_page, op->size);
	return true;
}

/* Pages that a hole has taken away, also those of other mappings. */
static void forget_removed(struct world *w, const struct op *op)
{
	int64_t first, last;

	model_range(op->addr, op->len, &first, &last);
	for (int64_t i = first; i < last; i++) {
		if (page_is_file(&w->model.pages[i]))
			model_forget_present(&w->model, w->model.pages[i].object);
	}
}

/* Rule 12. */
static bool after_mincore(struct world *w, const struct op *op, size_t i)
{
	int64_t first, last;

	model_range(op->addr, op->len, &first, &last);
	for (int64_t page = first; page < last; page++) {
		for (int s = 0; s < SIDES && w->model.pages[page].present; s++) {
			if (!(w->results[s][i].loaded >> (page - first) & 1))
				return differ(w, "mincore: page %" PRId64 " is locked, and not resident on the %s", page,
					      w->sides[s].calls->name);
		}
	}
	return true;
}

static bool after_success(struct world *w, const struct op *op, const struct result *r, size_t i)
{
	switch ((enum op_kind)op->kind) {
	case OP_MMAP:
		return after_mmap(w, op, r->ret);
	case OP_MUNMAP:
		return after_munmap(w, op);
	case OP_MPROTECT:
		model_mprotect(&w->model, op);
		return true;
	case OP_MREMAP:
		return after_mremap(w, op, r->ret);
	case OP_LOAD:
	case OP_STORE:
		return after_access(w, op, r);
	case OP_MSYNC:
		return after_msync(w, op);
	case OP_MADVISE:
	case OP_POSIX_MADVISE:
		model_split(&w->model, op->addr, op->len);
		if (op->kind == OP_MADVISE)
			model_advise(&w->model, op);
		if (op->kind == OP_MADVISE && op->advice == MADV_REMOVE)
			forget_removed(w, op);
		return true;
	case OP_MLOCK:
	case OP_MUNLOCK:
		model_lock(&w->model, op, op->kind == OP_MLOCK);
		return true;
	case OP_TRUNCATE:
		model_truncate(&w->model, op->fd / FD_MODES, op->size);
		return compare_file_sizes(w, "after truncate");
	case OP_WRITE:
		model_write(&w->model, op->file, op->offset, op->len);
		return true;
	case OP_CUT:
		model_truncate(&w->model, op->file, op->size);
		return true;
	case OP_MINCORE:
		return after_mincore(w, op, i);
	case OP_FOREIGN:
		return after_munmap(w, op) && (model_foreign(&w->model, op), true);
	case OP_UNLOCK_ALL:
		model_unlock_all(&w->model);
		return true;
	case OP_MINHERIT:
		model_minherit(&w->model, op);
		return true;
	case OP_REOPEN:
	case OP_PRESSURE:
	case OP_FORK:
	case OP_EXIT:
	case OP_KINDS:
		break;
	}
	return true;
}

static void after_failure(struct world *w, const struct op *op, int error)
{
	for (int i = 0; i < SIDES; i++) {
		if (w->sides[i].calls->partial)
			rules_restore(&w->model, &w->sides[i], op);
	}
	if (op->kind != OP_LOAD && op->kind != OP_STORE && op->addr >= 0)
		model_split(&w->model, op->addr, op->len);
	/* Advice about forks over a hole is taken around it. */
	if (op->kind == OP_MADVISE && error == ENOMEM)
		model_advise(&w->model, op);
}

/* Rule 7: a load and a store of the same byte make a copy on both sides. */
static void settle(struct world *w, const struct op *op, int64_t addr, int64_t len)
{
	int64_t first, last;

	if (addr < 0 || addr >= WINDOW_PAGES * page_bytes())
		return;
	model_range(addr, len, &first, &last);
	for (int64_t i = first; i < last; i++) {
		for (int s = 0; s < SIDES && rules_settle(&w->model.pages[i], op); s++) {
			unsigned char *at = w->sides[s].window + i * page_bytes(), byte;
			struct trap trap;

			if (guard_load(&byte, at, 1, &trap))
				guard_store(at, &byte, 1, &trap);
		}
	}
}

/* ---- processes ---- */

enum work { WORK_OP, WORK_COMPARE, WORK_UNMAP };

static bool work(void *arg, int command);

static bool run_fork(struct world *w, size_t i)
{
	const struct op *op = &w->program->ops[i];

	w->results[ORACLE][i] = w->results[SUBJECT][i] = (struct result){0};
	if (!family_fork(&w->family, (int)op->child, work, w))
		return differ(w, "fork: %s", strerrorname_np(errno));
	model_fork(&w->model, op->child);
	return true;
}

/* Rule 15. */
static void settle_children(struct world *w)
{
	for (int s = 0; s < SIDES && w->unsettled; s++) {
		if (w->sides[s].calls->settle != NULL)
			w->sides[s].calls->settle(model_living(&w->model) - 1);
	}
	w->unsettled = false;
}

static bool run_exit(struct world *w, size_t i)
{
	const struct op *op = &w->program->ops[i];
	bool mapped[FILES];

	w->results[ORACLE][i] = w->results[SUBJECT][i] = (struct result){0};
	for (int file = 0; file < FILES; file++)
		mapped[file] = model_file_mapped(&w->model, file);
	family_end(&w->family, (int)op->in, (enum exit_way)op->how);
	model_exit(&w->model, op->in);
	w->unsettled = true;
	if (op->value == 0)
		return true;
	settle_children(w);
	for (int file = 0; file < FILES; file++) {
		if (mapped[file] && !model_file_mapped(&w->model, file) &&
		    !compare_file(w, file, 0, INT64_MAX, "file after the end of the last process that mapped it"))
			return false;
	}
	return true;
}

static bool died(struct world *w, int process)
{
	int sig = family_bury(&w->family, process);

	model_exit(&w->model, process);
	return differ(w, "process %d has died of signal %d (0: not known)", process, sig);
}

/* Has a process do something, and hears how it went. */
static bool let(struct world *w, int64_t process, enum work what)
{
	enum family_answer answer;

	model_turn(&w->model, process);
	answer = family_ask(&w->family, (int)process, what, work, w);
	return answer == FAMILY_DIED ? died(w, (int)process) : answer == FAMILY_YES;
}

/* What reads files of which the last mapping goes, or writes to one that nobody maps. */
static bool needs_settled(const struct op *op)
{
	return op->kind == OP_MUNMAP || op->kind == OP_FOREIGN || op->kind == OP_WRITE || op->kind == OP_CUT;
}

/* In process 0. */
static bool step(struct world *w, size_t i)
{
	const struct op *op = &w->program->ops[i];

	model_turn(&w->model, op->in >= 0 && op->in < PROCESSES ? op->in : 0);
	if (!rules_allow(&w->model, op)) {
		w->results[ORACLE][i] = w->results[SUBJECT][i] = (struct result){.skipped = true};
		w->skipped_ops++;
		return true;
	}
	w->run_ops++;
	if (op->kind == OP_EXIT)
		return run_exit(w, i);
	if (needs_settled(op))
		settle_children(w);
	if (!let(w, op->in, WORK_OP))
		return false;
	if (op->kind == OP_FORK && !family_meet(&w->family, (int)op->child))
		return died(w, (int)op->child);
	return true;
}

/* ---- one operation, in the process that does it ---- */

static bool run_op(struct world *w, size_t i)
{
	const struct op *op = &w->program->ops[i];
	struct result *r[SIDES] = {&w->results[ORACLE][i], &w->results[SUBJECT][i]};
	enum rules_compare how;
	bool same;

	if (op->kind == OP_FORK)
		return run_fork(w, i);
	how = rules_compare(&w->model, op);
	for (int s = 0; s < SIDES; s++) {
		struct op instead = w->sides[s].calls->partial ? rules_for_partial(&w->model, op) : *op;

		side_run(&w->sides[s], &instead, r[s]);
	}
	if (!compare_results(w, op, r[ORACLE], r[SUBJECT], how))
		return false;
	same = true;
	if (succeeded(w, i))
		same = after_success(w, op, r[ORACLE], i);
	else
		after_failure(w, op, r[ORACLE]->err);
	if (op->kind == OP_MMAP || op->kind == OP_MREMAP)
		settle(w, op, r[ORACLE]->ret, op->kind == OP_MMAP ? op->len : op->new_len);
	else
		settle(w, op, op->addr, op->len);
	return same;
}

/* ---- the end ---- */

/* Pages that are mapped, and the first page of each hole. */
static bool compare_window(struct world *w)
{
	for (int64_t i = 0; i < WINDOW_PAGES; i++) {
		const struct model_page *page = &w->model.pages[i];
		unsigned char *at[SIDES];
		char what[80];

		if (i > 0 && page_is_hole(page) && page_is_hole(page - 1))
			continue;
		for (int s = 0; s < SIDES; s++)
			at[s] = w->sides[s].window + i * page_bytes();
		snprintf(what, sizeof(what), "at the end, page %" PRId64 " of the window of process %d", i, family_self());
		if (!compare_loads(w, at, (size_t)page_bytes(), page, 0, what))
			return false;
	}
	return true;
}

static bool unmap_windows(struct world *w)
{
	bool same = true;

	for (int s = 0; s < SIDES; s++) {
		struct side *side = &w->sides[s];

		if (side->calls->munmap(side->window, WINDOW_PAGES * (size_t)page_bytes()) != 0)
			same = differ(w, "munmap of the window: %s on the %s: %s", strerrorname_np(errno), side->calls->name,
				      side->calls->errormsg());
	}
	return same;
}

static bool work(void *arg, int command)
{
	struct world *w = arg;

	switch (command) {
	case WORK_OP:
		return run_op(w, w->at);
	case WORK_COMPARE:
		return compare_window(w);
	default:
		return unmap_windows(w);
	}
}

static bool in_all(struct world *w, enum work what, int first, int last)
{
	bool same = true;

	for (int i = first; i <= last; i++)
		same = (!w->model.lives[i] || let(w, i, what)) && same;
	return same;
}

/* The number says how children end: whether process 0 has unmapped everything before, whether they do so themselves, which way. */
static bool end_processes(struct world *w)
{
	int64_t bits = w->program->number < 0 ? 0 : w->program->number;
	bool same = true;

	if (bits & 1)
		same = in_all(w, WORK_UNMAP, 0, 0);
	if (bits & 2)
		same = in_all(w, WORK_UNMAP, 1, PROCESSES - 1) && same;
	for (int i = 1; i < PROCESSES; i++) {
		if (!w->model.lives[i])
			continue;
		family_end(&w->family, i, (enum exit_way)(bits / 4 % EXIT_WAYS));
		model_exit(&w->model, i);
		w->unsettled = true;
	}
	if (!(bits & 1))
		same = in_all(w, WORK_UNMAP, 0, 0) && same;
	settle_children(w);
	return same;
}

/* After a difference. */
static void kill_processes(struct world *w)
{
	family_kill(&w->family);
	for (int i = 1; i < PROCESSES; i++) {
		if (w->family.pids[i] == 0)
			continue;
		family_bury(&w->family, i);
		model_exit(&w->model, i);
	}
	model_turn(&w->model, 0);
	unmap_windows(w);
}

static bool check_promises(struct world *w)
{
	char message[256];

	for (int s = 0; s < SIDES; s++) {
		const struct calls *c = w->sides[s].calls;

		if (c->check != NULL && !c->check(message, sizeof(message)))
			return differ(w, "%s: %s", c->name, message);
	}
	return true;
}

static bool compare_files(struct world *w)
{
	if (!compare_file_sizes(w, "at the end"))
		return false;
	for (int file = 0; file < FILES; file++) {
		if (!compare_file(w, file, 0, INT64_MAX, "file at the end"))
			return false;
	}
	return true;
}

bool world_run(struct world *w, const struct program *p)
{
	bool same = true;

	w->program = p;
	w->difference[0] = '\0';
	w->at = 0;
	model_reset(&w->model, p->file_bytes);
	for (int s = 0; s < SIDES; s++) {
		if (!side_reset(&w->sides[s], p))
			return differ(w, "the files cannot be made");
	}
	while (same && w->at < p->op_count) {
		same = step(w, w->at);
		w->at = w->at + (same ? 1 : 0);
	}
	same = same && in_all(w, WORK_COMPARE, 0, PROCESSES - 1) && end_processes(w);
	if (!same)
		kill_processes(w);
	return same && compare_files(w) && check_promises(w);
}

/* ---- the log ---- */

static void print_result(const struct op *op, const struct result *r, FILE *out)
{
	if (r->trap.sig != 0)
		fprintf(out, "%s", trap_name(&r->trap));
	else if (op->kind == OP_LOAD)
		fprintf(out, "%#" PRIx64, r->loaded);
	else if (op->kind == OP_STORE)
		fputs("stored", out);
	else if (r->ret == -1)
		fprintf(out, "%s", r->err != 0 ? strerrorname_np(r->err) : "-1");
	else if (r->ret == ELSEWHERE)
		fputs("elsewhere", out);
	else if (op->kind == OP_MMAP || op->kind == OP_MREMAP)
		fprintf(out, "page %" PRId64, r->ret / page_bytes());
	else
		fprintf(out, "%" PRId64, r->ret);
}

void world_print_log(const struct world *w, FILE *out)
{
	const struct program *p = w->program;

	for (size_t i = 0; i < p->op_count && i <= w->at; i++) {
		const struct result *a = &w->results[ORACLE][i], *b = &w->results[SUBJECT][i];

		fprintf(out, "%4zu ", i);
		op_print(&p->ops[i], out);
		fputs("  -> ", out);
		if (a->skipped) {
			fputs("not run\n", out);
			continue;
		}
		print_result(&p->ops[i], a, out);
		if (a->ret != b->ret || a->err != b->err || a->trap.sig != b->trap.sig || a->trap.code != b->trap.code ||
		    a->loaded != b->loaded) {
			fputs(" | ", out);
			print_result(&p->ops[i], b, out);
		}
		fputc('\n', out);
	}
}
