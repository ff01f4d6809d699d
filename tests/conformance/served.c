/* SPDX-License-Identifier: MIT */
/*
 * served.c - the tests that a client of a server cannot pass
 *
 * All that a mapping promises holds for a client, too: the tests say so. What is listed here looks into the engine, or gives it orders, which
 * is another process's and serves others; it is skipped, with its reason.
 */
#include "served.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

#define BUDGET    "the memory budget is the server's: quire_set_memory is EPERM, and QUIRE_MEMORY not asked for"
#define SETTINGS  "it sets up an engine of its own by the environment, and the server's is there already"
#define FAILURES  "it makes the engine's system calls fail, and these are another process's"
#define FUNCTIONS "functions of the program's (callbacks, hooks, pagers) and filters run in the process that the engine is in"
#define JOURNAL                                                                                                                    \
	"the journal is the server's, and does not end with the program: tests/server/test-commits.c kills the one and the other"
#define COUNTERS "it measures the engine's memory, and the server's has served others before"

static const struct {
	const char *program, *test, *why;
} not_served[] = {
    {"ask", "B02_resident_makes_no_system_call", "the pages' states are in the server's memory: it is asked, by messages"},
    {"atomic", "B01_hooks_see_what_is_committed", FUNCTIONS},
    {"atomic", "B01_commit_that_a_hook_refuses_has_not_happened", FUNCTIONS},
    {"atomic", "B01_what_is_behind_a_filter_cannot_be_atomic", FUNCTIONS},
    {"atomic", "B01_program_that_is_killed_leaves_its_last_commit", JOURNAL},
    {"atomic", "B01_plain_mapping_after_a_crash_shows_the_last_commit", JOURNAL},
    {"atomic", "B01_another_process_is_kept_out", "clients of one server share the file: none is kept out by another"},
    {"atomic", "B01_many_commits_go_through_a_small_journal", SETTINGS},
    {"atomic", "B01_commit_that_the_journal_does_not_hold_is_ENOSPC", SETTINGS},
    {"atomic", "B01_journal_that_is_too_small_is_refused", SETTINGS},
    {"bad-input", "settings_out_of_range_are_EINVAL", SETTINGS},
    {"bad-input", "settings_are_taken", SETTINGS},
    {"bad-input", "settings_that_are_refused_leave_earlier_ones_in_force", SETTINGS},
    {"bad-input", "budget_smaller_than_one_readahead", BUDGET},
    {"bad-input", "budget_that_is_all_locked", BUDGET},
    {"bad-input", "budget_in_the_environment_is_too_small", SETTINGS},
    {"bad-input", "budget_in_the_environment_is_no_size", SETTINGS},
    {"bad-input", "trap_in_the_environment_is_none", SETTINGS},
    {"bad-input", "no_swap_space_left", SETTINGS},
    {"errno", "M19_mmap_ENFILE_out_of_files", FAILURES},
    {"errno", "M19_munmap_mmap_msync_EDQUOT_over_the_quota", FAILURES},
    {"errno", "M19_munmap_mmap_msync_EIO_write_that_fails", FAILURES},
    {"errno", "M19_munmap_mmap_msync_ENOSPC_full_disk", FAILURES},
    {"errno", "M19_munmap_mmap_msync_EFBIG_over_the_limit_of_file_sizes", FAILURES},
    {"errno", "M19_msync_EIO_sync_that_fails", FAILURES},
    {"errno", "M19_madvise_EFAULT_populate_of_what_cannot_be_read", FAILURES},
    {"errno", "M19_mlock_EAGAIN_page_that_cannot_be_brought_in", FAILURES},
    {"faults", "M20_page_that_cannot_be_read_is_SIGBUS_ADRERR", FAILURES},
    {"flags", "M11_huge_pages_are_not_cut", BUDGET},
    {"flags", "M11_file_of_hugetlbfs_is_mapped_by_its_pages", BUDGET},
    {"flags", "M11_huge_pages_shrink_and_do_not_grow_or_move", BUDGET},
    {"flags", "M11_huge_pages_lie_beside_others", BUDGET},
    {"fork", "M18_calls_with_functions_are_refused_in_a_child", FUNCTIONS},
    {"fork", "M18_callback_is_not_inherited", FUNCTIONS},
    {"fork", "M18_pages_that_are_on_their_way_at_a_fork_are_right", FUNCTIONS},
    {"fork", "M18_page_that_cannot_be_had_is_an_error_in_a_child", FUNCTIONS},
    {"fork", "M18_child_sets_the_budget", BUDGET},
    {"fork", "M18_child_outlives_the_engine_that_is_killed", "the engine is not its parent's: the child lives on with the server"},
    {"fork", "M18_child_outlives_the_engine_that_exits", "the engine is not its parent's: the child lives on with the server"},
    {"machinery", "B04_a_smaller_budget_is_kept_at_once", BUDGET},
    {"machinery", "B04_a_larger_budget_is_used", BUDGET},
    {"machinery", "B04_a_budget_below_what_is_locked_is_ENOMEM", BUDGET},
    {"machinery", "B04_a_small_budget_is_slow_but_right", BUDGET},
    {"written", "B06_costs_nothing_before_anybody_asks", COUNTERS},
};

bool is_served(void)
{
	const char *server = getenv("QUIRE_SERVER");

	return server && *server && strcmp(server, "off");
}

const char *reason_not_served(const char *test)
{
	for (size_t i = 0; is_served() && i < sizeof(not_served) / sizeof(not_served[0]); i++)
		if (!strcmp(not_served[i].test, test))
			return not_served[i].why;
	return NULL;
}

static bool is_of_this_program(const char *program)
{
	static const char prefix[] = "conform-";
	const char *name = program_invocation_short_name;

	if (strncmp(name, prefix, sizeof(prefix) - 1))
		return false;
	name += sizeof(prefix) - 1;
	return !strcmp(name, program);
}

bool served_list_is_right(const struct conformance_test *tests, size_t n)
{
	bool right = true;

	for (size_t i = 0; i < sizeof(not_served) / sizeof(not_served[0]); i++) {
		size_t at = 0;

		if (!is_of_this_program(not_served[i].program))
			continue;
		while (at < n && strcmp(tests[at].name, not_served[i].test))
			at++;
		if (at == n)
			fprintf(stderr, "served.c lists %s, which %s does not have\n", not_served[i].test,
				program_invocation_short_name);
		right &= at < n;
	}
	return right;
}
