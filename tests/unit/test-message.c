/* SPDX-License-Identifier: MIT */
/*
 * test-message.c - the sentence that goes with a thread's last error
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "util/message.h"

static void there_is_an_empty_sentence_before_the_first_error(void **state)
{
	(void)state;
	assert_string_equal(message_get(), "");
}

static void setting_answers_minus_the_errno(void **state)
{
	(void)state;
	assert_int_equal(message_set(ENOSPC, "no room"), -ENOSPC);
}

static void the_sentence_begins_with_the_call(void **state)
{
	(void)state;
	message_clear();
	message_set(EINVAL, "the length is %d", 0);
	message_finish("quire_mmap", EINVAL);
	assert_string_equal(message_get(), "quire_mmap: the length is 0");
}

static void without_a_sentence_the_errno_is_put_into_words(void **state)
{
	(void)state;
	message_clear();
	message_finish("quire_munmap", ENOSPC);
	assert_string_equal(message_get(), "quire_munmap: No space left on device");
}

static void what_an_earlier_call_said_is_not_said_again(void **state)
{
	(void)state;
	message_set(EINVAL, "the length is 0");
	message_finish("quire_mmap", EINVAL);
	message_clear();
	message_finish("quire_munmap", EIO);
	assert_string_equal(message_get(), "quire_munmap: Input/output error");
}

static void a_call_that_succeeds_leaves_the_last_sentence(void **state)
{
	(void)state;
	message_clear();
	message_set(EINVAL, "the length is 0");
	message_finish("quire_mmap", EINVAL);
	message_clear();
	assert_string_equal(message_get(), "quire_mmap: the length is 0");
}

static void a_sentence_that_is_too_long_is_cut_off(void **state)
{
	char name[2000];

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	message_set(EINVAL, "%s", name);
	message_finish("quire_configure", EINVAL);
	assert_int_equal(strncmp(message_get(), "quire_configure: xxx", 20), 0);
	assert_true(strlen(message_get()) > 200 && strlen(message_get()) < sizeof(name));
}

static void *other_thread(void *arg)
{
	*(size_t *)arg = strlen(message_get());
	message_set(EINVAL, "other");
	message_finish("other", EINVAL);
	return NULL;
}

static void every_thread_has_its_own(void **state)
{
	pthread_t thread;
	size_t len = 1;

	(void)state;
	message_set(EINVAL, "mine");
	message_finish("call", EINVAL);
	assert_int_equal(pthread_create(&thread, NULL, other_thread, &len), 0);
	pthread_join(thread, NULL);
	assert_int_equal(len, 0);
	assert_string_equal(message_get(), "call: mine");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(there_is_an_empty_sentence_before_the_first_error),
	    cmocka_unit_test(setting_answers_minus_the_errno),
	    cmocka_unit_test(the_sentence_begins_with_the_call),
	    cmocka_unit_test(without_a_sentence_the_errno_is_put_into_words),
	    cmocka_unit_test(what_an_earlier_call_said_is_not_said_again),
	    cmocka_unit_test(a_call_that_succeeds_leaves_the_last_sentence),
	    cmocka_unit_test(a_sentence_that_is_too_long_is_cut_off),
	    cmocka_unit_test(every_thread_has_its_own),
	};

	return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
