/* SPDX-License-Identifier: MIT */
/*
 * model.c - what the harness knows about the window
 */
#include "model.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	m->pages = m->windows[0];
	/* All processes of a program have one model. */
	for (int i = 0; i < FILES; i++) {
		m->files[i].marks =
		    mmap(NULL, FILE_PAGES_MAX * (size_t)page_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (m->files[i].marks == MAP_FAILED)
			abort();
	}
}

void model_free(struct model *m)
{
	for (int i = 0; i < FILES; i++)
		munmap(m->files[i].marks, FILE_PAGES_MAX * (size_t)page_bytes());
}

void model_reset(struct model *m, const int64_t file_bytes[FILES])
{
	memset(m->windows, 0, sizeof(m->windows));
	memset(m->lives, 0, sizeof(m->lives));
	memset(m->lived, 0, sizeof(m->lived));
	m->lives[0] = m->lived[0] = true;
	m->pages = m->windows[0];
	m->next_fragment = 1;
	m->next_object = FILES;
	for (int i = 0; i < FILES; i++) {
		m->files[i].bytes = file_bytes[i];
		if (m->files[i].marked)
			memset(m->files[i].marks, 0, (size_t)(FILE_PAGES_MAX * page_bytes()));
		m->files[i].marked = false;
	}
}

void model_turn(struct model *m, int64_t process)
{
	m->pages = m->windows[process];
}

int model_living(const struct model *m)
{
	int n = 0;

	for (int i = 0; i < PROCESSES; i++)
		n += m->lives[i];
	return n;
}

/* The window of a process that has ended is empty. */
static struct model_page *every_page(struct model *m, int64_t i)
{
	return &m->windows[i / WINDOW_PAGES][i % WINDOW_PAGES];
}

struct model_page *model_at(struct model *m, int64_t addr)
{
	if (addr < 0 || addr >= WINDOW_PAGES * page_bytes())
		return NULL;
	return &m->pages[addr / page_bytes()];
}

bool model_file_mapped(const struct model *m, int64_t file)
{
	for (int64_t i = 0; i < PROCESSES * WINDOW_PAGES; i++) {
		const struct model_page *p = every_page((struct model *)m, i);

		if (page_is_file(p) && p->object == file)
			return true;
	}
	return false;
}

int64_t model_locked(const struct model *m)
{
	int64_t n = 0;

	for (int64_t i = 0; i < PROCESSES * WINDOW_PAGES; i++)
		n += every_page((struct model *)m, i)->locked;
	return n;
}

void model_range(int64_t addr, int64_t len, int64_t *ret_first, int64_t *ret_last)
{
	int64_t end = len < 0 ? WINDOW_PAGES : pages_of(addr % page_bytes() + len) + addr / page_bytes();

	*ret_first = addr < 0 ? WINDOW_PAGES : addr / page_bytes();
	*ret_last = end < WINDOW_PAGES ? end : WINDOW_PAGES;
}

struct model_page model_mmap_page(struct model *m, const struct op *op)
{
	struct model_page page = {
	    .fragment = m->next_fragment++,
	    .prot = (int)op->prot,
	    .shared = (op->flags & MAP_TYPE) != MAP_PRIVATE,
	    .locked = (op->flags & MAP_LOCKED) != 0,
	    .may_write = true,
	};

	if ((op->flags & MAP_ANONYMOUS) || op->fd >= FILES * FD_MODES) {
		page.object = m->next_object++;
		page.zero_device = !(op->flags & MAP_ANONYMOUS) && !page.shared;
		return page;
	}
	page.object = (uint32_t)(op->fd / FD_MODES);
	page.offset = op->offset;
	page.may_write = !page.shared || op->fd % FD_MODES == FD_RW;
	return page;
}

static void lay(struct model *m, int64_t at, int64_t pages, struct model_page page)
{
	for (int64_t i = 0; i < pages; i++) {
		struct model_page *p = model_at(m, at + i * page_bytes());

		if (p != NULL) {
			*p = page;
			p->offset += i * page_bytes();
		}
	}
}

void model_foreign(struct model *m, const struct op *op)
{
	struct model_page page = {
	    .fragment = m->next_fragment++,
	    .object = m->next_object++,
	    .prot = (int)op->prot,
	    .foreign = true,
	    .may_write = true,
	};

	lay(m, op->addr, pages_of(op->len), page);
}

void model_mmap(struct model *m, const struct op *op, int64_t at)
{
	struct model_page page = model_mmap_page(m, op);

	if (at != NOWHERE)
		lay(m, at, pages_of(op->len), page);
}

void model_munmap(struct model *m, const struct op *op)
{
	int64_t first, last;

	model_range(op->addr, op->len, &first, &last);
	for (int64_t i = first; i < last; i++)
		m->pages[i] = (struct model_page){0};
}

void model_split(struct model *m, int64_t addr, int64_t len)
{
	int64_t first, last;
	uint32_t old = 0;

	model_range(addr, len, &first, &last);
	for (int64_t i = first; i < last; i++) {
		struct model_page *p = &m->pages[i];

		if (page_is_hole(p)) {
			old = 0;
			continue;
		}
		if (p->fragment != old) {
			old = p->fragment;
			m->next_fragment++;
		}
		p->fragment = m->next_fragment - 1;
	}
}

void model_mprotect(struct model *m, const struct op *op)
{
	int64_t first, last;

	model_split(m, op->addr, op->len);
	model_range(op->addr, op->len, &first, &last);
	for (int64_t i = first; i < last; i++)
		m->pages[i].prot = (int)op->prot;
}

void model_lock(struct model *m, const struct op *op, bool locked)
{
	int64_t first, last;

	model_split(m, op->addr, op->len);
	model_range(op->addr, op->len, &first, &last);
	for (int64_t i = first; i < last; i++)
		m->pages[i].locked = locked && !page_is_hole(&m->pages[i]);
	for (int64_t i = first; i < last; i++)
		m->pages[i].present = m->pages[i].locked && (m->pages[i].present || !(op->flags & MLOCK_ONFAULT));
}

void model_unlock_all(struct model *m)
{
	for (int64_t i = 0; i < WINDOW_PAGES; i++)
		m->pages[i].locked = m->pages[i].present = false;
	model_split(m, 0, WINDOW_PAGES * page_bytes());
}

void model_forget_present(struct model *m, int64_t file)
{
	for (int64_t i = 0; i < PROCESSES * WINDOW_PAGES; i++) {
		struct model_page *p = every_page(m, i);

		if (page_is_file(p) && p->object == file)
			p->present = false;
	}
}

void model_advise(struct model *m, const struct op *op)
{
	int64_t first, last;

	model_range(op->addr, op->len, &first, &last);
	for (int64_t i = first; i < last; i++) {
		struct model_page *p = &m->pages[i];

		if (page_is_hole(p))
			continue;
		if (op->advice == MADV_DONTFORK || op->advice == MADV_DOFORK)
			p->no_fork = op->advice == MADV_DONTFORK;
		if (op->advice == MADV_WIPEONFORK || op->advice == MADV_KEEPONFORK)
			p->wiped = op->advice == MADV_WIPEONFORK;
	}
}

void model_minherit(struct model *m, const struct op *op)
{
	int64_t first, last;

	model_split(m, op->addr, op->len);
	model_range(op->addr, op->len, &first, &last);
	for (int64_t i = first; i < last; i++) {
		m->pages[i].no_fork = op->how == WORD_NONE;
		/* What is hidden stays as it was. */
		if (op->how != WORD_NONE)
			m->pages[i].wiped = op->how == WORD_ZERO;
	}
}

/* ---- processes ---- */

void model_fork(struct model *m, int64_t child)
{
	for (int64_t i = 0; i < WINDOW_PAGES; i++) {
		struct model_page p = m->pages[i];

		if (p.no_fork)
			p = (struct model_page){0};
		p.locked = p.present = false;
		m->windows[child][i] = p;
	}
	m->lives[child] = m->lived[child] = true;
}

void model_exit(struct model *m, int64_t process)
{
	memset(m->windows[process], 0, sizeof(m->windows[process]));
	m->lives[process] = false;
}

/* rules_mremap() has seen to it that the old range is one fragment, or that old_len is 0. */
void model_mremap(struct model *m, const struct op *op, int64_t at)
{
	int64_t old_pages = pages_of(op->len), new_pages = pages_of(op->new_len);
	struct model_page head = *model_at(m, op->addr);

	head.fragment = m->next_fragment++;
	head.present = false;
	if (op->flags & MREMAP_DONTUNMAP) {
		struct model_page left = head;

		/* The old pages are new, empty memory. */
		left.fragment = m->next_fragment++;
		left.locked = false;
		lay(m, op->addr, old_pages, left);
	} else if (old_pages != 0) {
		for (int64_t i = 0; i < old_pages; i++)
			*model_at(m, op->addr + i * page_bytes()) = (struct model_page){0};
	}
	if (at != NOWHERE)
		lay(m, at, new_pages, head);
}

/* ---- bytes of files ---- */

static void unmark(struct model_file *f, int64_t from, int64_t to, unsigned char marks)
{
	int64_t end = FILE_PAGES_MAX * page_bytes();

	for (int64_t i = from; f->marked && i < to && i < end; i++)
		f->marks[i] &= (unsigned char)~marks;
}

static void mark(struct model_file *f, int64_t from, int64_t to)
{
	int64_t end = FILE_PAGES_MAX * page_bytes();

	for (int64_t i = from; i < to && i < end; i++) {
		f->marks[i] = BYTE_UNSPECIFIED | BYTE_WAS_UNSPECIFIED;
		f->marked = true;
	}
}

void model_store(struct model *m, const struct model_page *page, int64_t in_page, int64_t n)
{
	struct model_file *f;
	int64_t from = page->offset + in_page, to = from + n;

	if (!page_is_file(page) || !page->shared)
		return;
	f = &m->files[page->object];
	unmark(f, from, to < f->bytes ? to : f->bytes, BYTE_UNSPECIFIED);
	mark(f, from > f->bytes ? from : f->bytes, to);
}

void model_truncate(struct model *m, int64_t file, int64_t bytes)
{
	struct model_file *f = &m->files[file];

	model_forget_present(m, file);
	/* A cut zeroes what it cuts off; a growth may do the same for what was stored behind the end before. */
	if (bytes < f->bytes)
		unmark(f, bytes, FILE_PAGES_MAX * page_bytes(), BYTE_UNSPECIFIED);
	else if (bytes > f->bytes && m->growth_zeroes)
		unmark(f, f->bytes, FILE_PAGES_MAX * page_bytes(), BYTE_UNSPECIFIED);
	f->bytes = bytes;
}

void model_write(struct model *m, int64_t file, int64_t offset, int64_t n)
{
	struct model_file *f = &m->files[file];

	/* Up to its new end only: what was stored in the page behind that stays as it is. */
	if (offset + n > f->bytes) {
		if (m->growth_zeroes)
			unmark(f, f->bytes, offset + n, BYTE_UNSPECIFIED);
		f->bytes = offset + n;
	}
	unmark(&m->files[file], offset, offset + n, BYTE_UNSPECIFIED);
}

bool model_byte_specified(const struct model *m, int64_t file, int64_t at, bool private)
{
	const struct model_file *f = &m->files[file];

	if (!f->marked || at < 0 || at >= FILE_PAGES_MAX * page_bytes())
		return true;
	return (f->marks[at] & (private ? BYTE_WAS_UNSPECIFIED : BYTE_UNSPECIFIED)) == 0;
}
