/* SPDX-License-Identifier: MIT */
/*
 * area.c - areas in order of address
 *
 * A sorted array of pointers: found by bisection, which the processor's caches like better than a tree; inserting moves
 * pointers, 8 bytes for each area behind, which stays below the cost of the kernel's own mmap up to tens of thousands of areas, and the kernel allows 65,530.
 */
#include "space/area.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sys/page_size.h"
#include "util/fail.h"

char *area_end(const struct area *area)
{
	return area->view.addr + (area->view.pages << page_shift);
}

uint64_t area_page(const struct area *area, const char *addr)
{
	return area->view.first + ((uint64_t)(addr - area->view.addr) >> page_shift);
}

size_t area_set_search(const struct area_set *set, const char *addr)
{
	size_t low = 0, high = set->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (area_end(set->all[middle]) <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct area *area_set_find(const struct area_set *set, const char *addr)
{
	size_t i = area_set_search(set, addr);

	return i < set->count && area_addr(set->all[i]) <= addr ? set->all[i] : NULL;
}

int area_set_prepare(struct area_set *set, size_t more)
{
	size_t capacity = set->capacity ? set->capacity : 16;
	struct area **all;

	if (set->count + more <= set->capacity)
		return 0;
	while (capacity < set->count + more)
		capacity *= 2;
	all = fail_now(FAIL_ALLOC) ? NULL : realloc(set->all, capacity * sizeof(struct area *));
	if (!all)
		return -ENOMEM;
	set->all = all;
	set->capacity = capacity;
	return 0;
}

void area_set_insert(struct area_set *set, struct area *area)
{
	size_t i = area_set_search(set, area_addr(area));

	ASSERT(set->count < set->capacity);
	ASSERT(i == set->count || area_end(area) <= area_addr(set->all[i]));
	memmove(&set->all[i + 1], &set->all[i], (set->count - i) * sizeof(struct area *));
	set->all[i] = area;
	set->count++;
	EXPENSIVE(area_set_check(set));
}

void area_set_remove(struct area_set *set, size_t index)
{
	ASSERT(index < set->count);
	memmove(&set->all[index], &set->all[index + 1], (set->count - index - 1) * sizeof(struct area *));
	set->count--;
}

bool area_set_check(const struct area_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		if (set->all[i]->view.pages == 0)
			return false;
		if (i > 0 && area_end(set->all[i - 1]) > area_addr(set->all[i]))
			return false;
	}
	return true;
}

bool area_joins(const struct area *left, const struct area *right)
{
	if (area_end(left) != area_addr(right) || left->view.object != right->view.object || left->shared != right->shared ||
	    left->prot != right->prot || left->max_prot != right->max_prot || left->anonymous != right->anonymous ||
	    left->advice != right->advice || left->once != right->once || left->view.locked != right->view.locked ||
	    left->view.tracked != right->view.tracked || left->view.small != right->view.small ||
	    left->lock_on_fault != right->lock_on_fault || left->noreserve != right->noreserve || left->nodump != right->nodump ||
	    left->view.nosync != right->view.nosync || left->guard != right->guard || left->view.denies != right->view.denies ||
	    left->huge != right->huge || left->inherit != right->inherit || left->view.on_error.call != right->view.on_error.call ||
	    left->view.on_error.arg != right->view.on_error.arg)
		return false;
	return !left->view.object || left->view.first + left->view.pages == right->view.first;
}
