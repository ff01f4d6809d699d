/* SPDX-License-Identifier: MIT */
/*
 * errors.c - the public calls that make errors of a mapping values: guarded access, who is asked, and hooks
 */
#include <errno.h>
#include <quire/guard.h>
#include <string.h>

#include "entry.h"
#include "fault/guard.h"
#include "object/hooks.h"
#include "sys/page_size.h"

/* ---- guarded access ---- */

struct quire_guard *quire_guard_enter(struct quire_guard *guard)
{
	guard_enter(guard);
	return guard;
}

void quire_guard_leave(struct quire_guard **scope)
{
	if (!*scope)
		return;
	guard_leave(*scope);
	*scope = NULL;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Bytes from addr to the end of its page. */
static size_t rest_of_page(const char *addr)
{
	return page_size() - ((uintptr_t)addr & (page_size() - 1));
}

/* Page by page, so that what was copied when one cannot be had is known. 0 or -errno. */
static int copy_guarded(char *to, const char *from, size_t len, size_t *ret_done)
{
	struct quire_guard guard;
	volatile size_t done = 0;
	int r = 0;

	QUIRE_GUARD(&guard) {
		while (done < len) {
			size_t at = done, n = least(len - at, least(rest_of_page(to + at), rest_of_page(from + at)));

			memcpy(to + at, from + at, n);
			done = at + n;
		}
	}
	QUIRE_ERROR(&guard) {
		r = message_set(guard.error, "the page of %p cannot be had: %s", guard.addr,
				guard.error == ENODATA ? "it lies past the end of its file" : strerrordesc_np(guard.error));
	}
	if (ret_done)
		*ret_done = done;
	return r;
}

static int copy(const char *call, void *to, const void *from, size_t len, size_t *ret_done)
{
	int r;

	message_clear();
	r = copy_guarded(to, from, len, ret_done);
	if (r == 0)
		return 0;
	message_finish(call, -r);
	errno = -r;
	return -1;
}

int quire_load(void *to, const void *addr, size_t len, size_t *ret_done)
{
	return copy("quire_load", to, addr, len, ret_done);
}

int quire_store(void *addr, const void *from, size_t len, size_t *ret_done)
{
	return copy("quire_store", addr, from, len, ret_done);
}

/* ---- who is asked ---- */

int quire_on_error(void *addr, size_t len, enum quire_error_answer (*callback)(void *arg, const struct quire_error *error),
		   void *arg)
{
	struct engine *engine;
	struct entry entry;
	size_t rounded;
	int r = 0;

	entry_begin(&entry, "quire_on_error");
	if ((uintptr_t)addr & (page_size() - 1))
		r = message_set(EINVAL, "the address %p is not a multiple of the page size, %zu", addr, page_size());
	else if (!entry_round(addr, len, &rounded))
		r = message_set(ENOMEM, "the range at %p of %zu bytes lies outside of the address space", addr, len);
	else if (len > 0)
		r = entry_engine(&engine);
	if (r == 0 && len > 0)
		r = space_set_on_error(entry_space(engine), addr, rounded,
				       (struct error_callback){callback, callback ? arg : NULL});
	return entry_end(&entry, r);
}

/* ---- hooks ---- */

static int set_hooks(void *arg, const struct part *part)
{
	int r;

	if (!part->object || part->object->kind != OBJECT_FILE)
		return message_set(ENODEV, "the memory at %p has no file whose pages could pass hooks", (void *)part->addr);
	r = object_set_hooks(part->object, arg);
	if (r == -EBUSY)
		message_set(
		    EBUSY,
		    "the file mapped at %p has hooks already, or a page in memory that has not passed any: set them before the "
		    "first touch, or put the pages out first with MADV_PAGEOUT",
		    (void *)part->addr);
	return r;
}

int quire_set_page_hooks(const void *addr, const struct quire_page_hooks *hooks)
{
	char *page = (char *)((uintptr_t)addr & ~(uintptr_t)(page_size() - 1));
	struct quire_page_hooks copy = {0};
	struct engine *engine;
	struct entry entry;
	int r = 0;

	entry_begin(&entry, "quire_set_page_hooks");
	if (!hooks || hooks->size < sizeof(size_t) || hooks->size > 4096)
		r = message_set(EINVAL, "the field size is %zu; it has to be sizeof(struct quire_page_hooks)",
				hooks ? hooks->size : 0);
	if (r == 0)
		r = entry_engine(&engine);
	if (r == 0)
		r = space_check(entry_space(engine), page, page_size());
	if (r == 0) {
		memcpy(&copy, hooks, hooks->size < sizeof(copy) ? hooks->size : sizeof(copy));
		r = space_visit(entry_space(engine), page, page_size(), set_hooks, &copy);
	}
	return entry_end(&entry, r);
}
