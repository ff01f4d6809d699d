/* SPDX-License-Identifier: MIT */
/*
 * once.c - what came in last through a mapping whose pages are used once
 */
#include "cache/once.h"

#include <stdbool.h>

/* Full, or of more pages than it should have: with a large run come several small ones out, over time. */
static bool overflows_locked(const struct once *once, uint64_t most)
{
	return once->count == ONCE_RUNS || (once->count > 1 && once->pages > most);
}

void once_put(struct once *once, struct once_run run, uint64_t most, struct once_out *ret)
{
	ret->n = 0;
	lock_acquire(&once->lock);
	once->pages += run.pages;
	while (overflows_locked(once, most) && ret->n < ONCE_OUT) {
		ret->run[ret->n++] = once->run[once->head];
		once->pages -= once->run[once->head].pages;
		once->head = (once->head + 1) % ONCE_RUNS;
		once->count--;
	}
	once->run[(once->head + once->count++) % ONCE_RUNS] = run;
	lock_release(&once->lock);
}
