/* SPDX-License-Identifier: MIT */
/*
 * errors.c - the public calls that make errors of a mapping values: guarded access, and who is asked
 */
#include <errno.h>
#include <quire/guard.h>
#include <string.h>

#include "entry.h"
#include "fault/guard.h"
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
		r = space_set_on_error(engine->space, addr, rounded, (struct error_callback){callback, callback ? arg : NULL});
	return entry_end(&entry, r);
}
