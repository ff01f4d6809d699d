/* SPDX-License-Identifier: MIT */
/*
 * test-config.c - settings, the environment and the defaults
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "config.h"
#include "sys/page_size.h"
#include "util/message.h"

static int clear_environment(void **state)
{
	(void)state;
	unsetenv("QUIRE_MEMORY");
	unsetenv("QUIRE_TRAP");
	unsetenv("QUIRE_SWAP");
	unsetenv("QUIRE_DEBUG");
	unsetenv("QUIRE_EXPIRE_MS");
	unsetenv("QUIRE_KEEPER");
	unsetenv("QUIRE_POLLING");
	unsetenv("QUIRE_STATS");
	unsetenv("TMPDIR");
	message_clear();
	return 0;
}

static struct config load(const struct quire_config *given)
{
	struct config config;

	assert_int_equal(config_load(given, &config), 0);
	return config;
}

static struct config load_with(const char *name, const char *value)
{
	assert_int_equal(setenv(name, value, 1), 0);
	return load(NULL);
}

/* The settings are refused, by a sentence that has both words. */
static void refused(const struct quire_config *given, const char *word, const char *other)
{
	struct config config;

	message_clear();
	assert_int_equal(config_load(given, &config), -EINVAL);
	message_finish("call", EINVAL);
	if (strstr(message_get(), word) == NULL || strstr(message_get(), other) == NULL)
		fail_msg("«%s» does not name %s and %s", message_get(), word, other);
}

static void refused_with(const char *name, const char *value)
{
	char quoted[300];

	assert_int_equal(setenv(name, value, 1), 0);
	snprintf(quoted, sizeof(quoted), "«%s»", value);
	refused(NULL, name, quoted);
}

/* ---- sizes ---- */

static void sizes_are_understood_with_their_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
	    {"0", 0},
	    {"4096", 4096},
	    {"1K", 1024},
	    {"256M", 256u << 20},
	    {"1G", 1u << 30},
	    {"2T", 2ull << 40},
	    {"256m", 256u << 20},
	    {"64MB", 64u << 20},
	    {"64MiB", 64u << 20},
	    {"18446744073709551615", UINT64_MAX},
	    {"16777215T", 16777215ull << 40},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint64_t bytes = 1;

		if (!config_parse_size(good[i].text, &bytes) || bytes != good[i].bytes)
			fail_msg("«%s» is %llu", good[i].text, (unsigned long long)bytes);
	}
}

static void what_is_not_a_size_is_refused(void **state)
{
	static const char *const bad[] = {
	    "",
	    "M",
	    "12x",
	    "-1",
	    "+1",
	    " 1",
	    "1 ",
	    "1KK",
	    "1Mi",
	    "1MiBx",
	    "0x10",
	    "1.5G",
	    "18446744073709551616",
	    "16777216T",
	    "99999999999999999999G",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t bytes = 7;

		if (config_parse_size(bad[i], &bytes))
			fail_msg("«%s» is %llu", bad[i], (unsigned long long)bytes);
		assert_int_equal(bytes, 7);
	}
}

/* ---- each variable ---- */

static void without_any_setting_there_are_defaults(void **state)
{
	struct config config = load(NULL);

	(void)state;
	assert_int_equal(config.memory_bytes, config_default_memory());
	assert_int_equal(config.trap, QUIRE_TRAP_AUTO);
	assert_string_equal(config.swap_dir, "/var/tmp");
	assert_int_equal(config.expire_ms, 5000);
	assert_false(config.stats_at_exit);
	assert_false(config.no_uring || config.no_direct || config.no_tracking || config.no_privilege);
}

static void the_default_budget_is_part_of_the_machines_memory(void **state)
{
	uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES);

	(void)state;
	assert_true(config_default_memory() > 0);
	assert_true(config_default_memory() <= pages * page_size() / 2 + page_size());
}

static void the_memory_is_taken_from_the_environment(void **state)
{
	(void)state;
	assert_int_equal(load_with("QUIRE_MEMORY", "256M").memory_bytes, 256u << 20);
	assert_int_equal(load_with("QUIRE_MEMORY", "").memory_bytes, config_default_memory());
}

static void a_memory_that_is_no_size_is_refused_by_name(void **state)
{
	(void)state;
	refused_with("QUIRE_MEMORY", "12x");
	refused_with("QUIRE_MEMORY", "-1");
	refused_with("QUIRE_MEMORY", "99999999999999999999G");
}

static void a_memory_that_is_too_small_is_refused_with_the_least_that_works(void **state)
{
	struct quire_config given = {.size = sizeof(given), .memory_bytes = 1};
	uint64_t least = budget_minimum() << page_shift;
	char text[32];

	(void)state;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)least);
	setenv("QUIRE_MEMORY", "0", 1);
	refused(NULL, "QUIRE_MEMORY", text);
	refused(&given, "quire_configure", text);
	assert_int_equal(load_with("QUIRE_MEMORY", text).memory_bytes, least);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)least - 1);
	setenv("QUIRE_MEMORY", text, 1);
	refused(NULL, "QUIRE_MEMORY", text);
}

static void the_trap_is_taken_from_the_environment(void **state)
{
	(void)state;
	assert_int_equal(load_with("QUIRE_TRAP", "signal").trap, QUIRE_TRAP_SIGNAL);
	assert_int_equal(load_with("QUIRE_TRAP", "thread").trap, QUIRE_TRAP_THREAD);
	assert_int_equal(load_with("QUIRE_TRAP", "auto").trap, QUIRE_TRAP_AUTO);
	assert_int_equal(load_with("QUIRE_TRAP", "").trap, QUIRE_TRAP_AUTO);
}

static void an_unknown_trap_is_refused_by_name(void **state)
{
	(void)state;
	refused_with("QUIRE_TRAP", "sigbus");
	refused_with("QUIRE_TRAP", "SIGNAL");
}

static void the_swap_directory_is_the_set_one_then_the_temporary_one_then_a_fixed_one(void **state)
{
	struct quire_config given = {.size = sizeof(given), .swap_dir = "/given"};

	(void)state;
	assert_string_equal(load_with("TMPDIR", "/temporary").swap_dir, "/temporary");
	assert_string_equal(load_with("QUIRE_SWAP", "/swap").swap_dir, "/swap");
	assert_string_equal(load(&given).swap_dir, "/given");
	assert_string_equal(load_with("QUIRE_SWAP", "").swap_dir, "/temporary");
	assert_string_equal(load_with("TMPDIR", "").swap_dir, "/var/tmp");
}

/* The program may have gone elsewhere when the first page goes out. */
static void a_relative_swap_directory_is_one_of_where_the_program_is_now(void **state)
{
	const struct quire_config given = {.size = sizeof(given), .swap_dir = "given"};
	char here[1024], expected[1100];

	(void)state;
	assert_non_null(getcwd(here, sizeof(here)));
	snprintf(expected, sizeof(expected), "%s/given", here);
	assert_string_equal(load(&given).swap_dir, expected);
	snprintf(expected, sizeof(expected), "%s/a/b", here);
	assert_string_equal(load_with("QUIRE_SWAP", "a/b").swap_dir, expected);
	unsetenv("QUIRE_SWAP");
	snprintf(expected, sizeof(expected), "%s/.", here);
	assert_string_equal(load_with("TMPDIR", ".").swap_dir, expected);
}

static void a_swap_directory_whose_name_is_too_long_is_refused(void **state)
{
	static char name[5000];

	(void)state;
	memset(name, 'd', sizeof(name) - 1);
	setenv("QUIRE_SWAP", name, 1);
	refused(NULL, "swap directory", "4096");
}

static void the_words_of_debug_switch_parts_off(void **state)
{
	struct config config = load_with("QUIRE_DEBUG", "no-uring,no-tracking");

	(void)state;
	assert_true(config.no_uring && config.no_tracking);
	assert_false(config.no_direct || config.no_privilege);
	config = load_with("QUIRE_DEBUG", "no-direct,no-privilege");
	assert_true(config.no_direct && config.no_privilege);
	assert_false(config.no_uring || config.no_tracking);
	config = load_with("QUIRE_DEBUG", "");
	assert_false(config.no_uring || config.no_direct || config.no_tracking || config.no_privilege);
}

static void an_unknown_word_of_debug_is_refused_by_name(void **state)
{
	(void)state;
	setenv("QUIRE_DEBUG", "no-uring,no-such", 1);
	refused(NULL, "QUIRE_DEBUG", "«no-such»");
	setenv("QUIRE_DEBUG", "nouring", 1);
	refused(NULL, "QUIRE_DEBUG", "«nouring»");
}

static void an_unknown_word_behind_many_others_is_refused_too(void **state)
{
	char words[600] = "";

	(void)state;
	/* 255 bytes of good ones: a copy of 256 ends just before the bad one. */
	for (unsigned i = 0; i < 27; i++)
		strcat(words, i < 15 ? "no-uring," : "no-direct,");
	assert_int_equal(strlen(words), 255);
	strcat(words, "no-such");
	setenv("QUIRE_DEBUG", words, 1);
	refused(NULL, "QUIRE_DEBUG", "«no-such»");
}

static void the_age_of_dirty_pages_is_taken_from_the_environment(void **state)
{
	(void)state;
	assert_true(load_with("QUIRE_KEEPER", "").keeper);
	assert_true(load_with("QUIRE_KEEPER", "on").keeper);
	assert_false(load_with("QUIRE_KEEPER", "off").keeper);
	assert_true(load_with("QUIRE_POLLING", "").polling);
	assert_true(load_with("QUIRE_POLLING", "on").polling);
	assert_false(load_with("QUIRE_POLLING", "off").polling);
	assert_int_equal(load_with("QUIRE_EXPIRE_MS", "1").expire_ms, 1);
	assert_int_equal(load_with("QUIRE_EXPIRE_MS", "3600000").expire_ms, 3600000);
	assert_int_equal(load_with("QUIRE_EXPIRE_MS", "").expire_ms, 5000);
}

static void an_age_that_is_none_or_out_of_range_is_refused_by_name(void **state)
{
	(void)state;
	refused_with("QUIRE_EXPIRE_MS", "0");
	refused_with("QUIRE_EXPIRE_MS", "3600001");
	refused_with("QUIRE_EXPIRE_MS", "5s");
	refused_with("QUIRE_EXPIRE_MS", "-5");
	refused_with("QUIRE_EXPIRE_MS", "99999999999999999999");
}

static void an_age_that_is_small_only_when_its_high_bits_are_lost_is_refused(void **state)
{
	(void)state;
	refused_with("QUIRE_EXPIRE_MS", "4294967297");
	refused_with("QUIRE_EXPIRE_MS", "-4294967295");
}

static void statistics_at_the_end_are_switched_on_by_anything_but_0(void **state)
{
	(void)state;
	assert_true(load_with("QUIRE_STATS", "1").stats_at_exit);
	assert_false(load_with("QUIRE_STATS", "0").stats_at_exit);
	assert_false(load_with("QUIRE_STATS", "").stats_at_exit);
}

static void what_is_given_wins_over_the_environment(void **state)
{
	struct quire_config given = {
	    .size = sizeof(given),
	    .memory_bytes = 64u << 20,
	    .trap = QUIRE_TRAP_SIGNAL,
	    .swap_dir = "/given",
	    .debug = "no-direct",
	    .expire_ms = 7,
	    .keeper = QUIRE_KEEPER_OFF,
	    .polling = QUIRE_POLLING_OFF,
	};
	struct config config;

	(void)state;
	setenv("QUIRE_MEMORY", "wrong", 1);
	setenv("QUIRE_TRAP", "wrong", 1);
	setenv("QUIRE_SWAP", "/environment", 1);
	setenv("QUIRE_DEBUG", "wrong", 1);
	setenv("QUIRE_EXPIRE_MS", "wrong", 1);
	setenv("QUIRE_KEEPER", "wrong", 1);
	setenv("QUIRE_POLLING", "wrong", 1);
	config = load(&given);
	assert_int_equal(config.memory_bytes, 64u << 20);
	assert_int_equal(config.trap, QUIRE_TRAP_SIGNAL);
	assert_string_equal(config.swap_dir, "/given");
	assert_true(config.no_direct && !config.no_uring);
	assert_int_equal(config.expire_ms, 7);
	assert_false(config.keeper);
	assert_false(config.polling);
}

#define TEST(name) cmocka_unit_test_setup(name, clear_environment)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(sizes_are_understood_with_their_units),
	    TEST(what_is_not_a_size_is_refused),
	    TEST(without_any_setting_there_are_defaults),
	    TEST(the_default_budget_is_part_of_the_machines_memory),
	    TEST(the_memory_is_taken_from_the_environment),
	    TEST(a_memory_that_is_no_size_is_refused_by_name),
	    TEST(a_memory_that_is_too_small_is_refused_with_the_least_that_works),
	    TEST(the_trap_is_taken_from_the_environment),
	    TEST(an_unknown_trap_is_refused_by_name),
	    TEST(the_swap_directory_is_the_set_one_then_the_temporary_one_then_a_fixed_one),
	    TEST(a_relative_swap_directory_is_one_of_where_the_program_is_now),
	    TEST(a_swap_directory_whose_name_is_too_long_is_refused),
	    TEST(the_words_of_debug_switch_parts_off),
	    TEST(an_unknown_word_of_debug_is_refused_by_name),
	    TEST(an_unknown_word_behind_many_others_is_refused_too),
	    TEST(the_age_of_dirty_pages_is_taken_from_the_environment),
	    TEST(an_age_that_is_none_or_out_of_range_is_refused_by_name),
	    TEST(an_age_that_is_small_only_when_its_high_bits_are_lost_is_refused),
	    TEST(statistics_at_the_end_are_switched_on_by_anything_but_0),
	    TEST(what_is_given_wins_over_the_environment),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
