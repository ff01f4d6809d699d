/* SPDX-License-Identifier: MIT */
/*
 * fail.c - makes the Nth call of a kind fail
 */
#include "util/fail.h"

_Atomic int64_t fail_left[FAIL_KINDS];
_Atomic int64_t fail_every[FAIL_KINDS];
_Atomic uint64_t fail_count[FAIL_KINDS];
_Atomic int fail_errno;

void fail_arm(enum fail_kind kind, int64_t nth, bool every)
{
	atomic_store(&fail_every[kind], every ? nth : 0);
	atomic_store(&fail_count[kind], 0);
	atomic_store(&fail_left[kind], nth);
}

bool fail_slow(enum fail_kind kind)
{
	int64_t left = atomic_load(&fail_left[kind]);

	do {
		if (left == 0)
			return false;
	} while (!atomic_compare_exchange_weak(&fail_left[kind], &left, left == 1 ? atomic_load(&fail_every[kind]) : left - 1));
	if (left != 1)
		return false;
	atomic_fetch_add(&fail_count[kind], 1);
	return true;
}
