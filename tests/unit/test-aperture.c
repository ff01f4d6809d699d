/* SPDX-License-Identifier: MIT */
/*
 * test-aperture.c - mappings of the engine's own onto frames of 2 MiB
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/aperture.h"
#include "cache/chunk.h"
#include "sys/page_size.h"
#include "util/fail.h"

struct fixture {
	struct apertures apertures;
	struct frames frames;
};

static int make(void **state)
{
	static struct fixture fixture;

	(void)page_size();
	memset(&fixture, 0, sizeof(fixture));
	*state = &fixture;
	return apertures_create(&fixture.apertures) == 0 ? frames_create(NULL, 2 * CHUNK_PAGES, &fixture.frames) : -1;
}

static int destroy(void **state)
{
	struct fixture *fixture = *state;

	fail_arm(FAIL_MAP, 0, false);
	apertures_done(&fixture->apertures);
	frames_close(&fixture->frames);
	return 0;
}

static bool is_mapped(char *addr)
{
	unsigned char in_core;

	return mincore(addr, page_size(), &in_core) == 0;
}

static void what_is_put_into_an_open_one_is_in_the_frames(void **state)
{
	struct fixture *fixture = *state;
	struct buffer *aperture = aperture_try(&fixture->apertures);
	char page[65536];

	assert_non_null(aperture);
	assert_int_equal(aperture_open(&fixture->apertures, aperture, &fixture->frames, CHUNK_PAGES), 0);
	memset(aperture->data, 7, (size_t)CHUNK_PAGES << page_shift);
	aperture_put(&fixture->apertures, aperture);
	assert_int_equal(frames_read(&fixture->frames, 2 * CHUNK_PAGES - 1, 1, page), 0);
	assert_int_equal(page[0], 7);
	/* The addresses are kept, and show nothing. */
	assert_true(is_mapped(aperture->data));
	assert_int_equal(mprotect(aperture->data, page_size(), PROT_READ), 0);
	assert_int_equal(aperture->data[0], 0);
}

/* Two are never at once onto one place, and there is no more than there are. */
static void there_are_so_many(void **state)
{
	struct fixture *fixture = *state;
	struct buffer *all[APERTURES];

	for (unsigned i = 0; i < APERTURES; i++) {
		all[i] = aperture_try(&fixture->apertures);
		assert_non_null(all[i]);
		for (unsigned k = 0; k < i; k++)
			assert_ptr_not_equal(all[i]->data, all[k]->data);
	}
	assert_null(aperture_try(&fixture->apertures));
	/* Never opened. */
	aperture_put(&fixture->apertures, all[3]);
	assert_ptr_equal(aperture_try(&fixture->apertures), all[3]);
	for (unsigned i = 0; i < APERTURES; i++)
		aperture_put(&fixture->apertures, all[i]);
}

/* Where the kernel fails to place a mapping, what was at the addresses may be gone, and somebody else's may be there since. */
static void addresses_that_may_be_lost_are_not_touched_again(void **state)
{
	struct fixture *fixture = *state;
	struct buffer *lost = aperture_try(&fixture->apertures), *stuck = aperture_try(&fixture->apertures);
	unsigned left = 0;

	fail_arm(FAIL_MAP, 1, false);
	assert_int_equal(aperture_open(&fixture->apertures, lost, &fixture->frames, 0), -ENOMEM);
	assert_int_equal(aperture_open(&fixture->apertures, stuck, &fixture->frames, 0), 0);
	fail_arm(FAIL_MAP, 1, false);
	aperture_put(&fixture->apertures, stuck);
	for (struct buffer *other; (other = aperture_try(&fixture->apertures)); left++) {
		assert_ptr_not_equal(other, lost);
		assert_ptr_not_equal(other, stuck);
		other->next = NULL;
	}
	assert_int_equal(left, APERTURES - 2);
	apertures_done(&fixture->apertures);
	assert_true(is_mapped(lost->data));
	assert_true(is_mapped(stuck->data));
}

static void frames_whose_descriptor_is_gone_are_not_opened(void **state)
{
	struct fixture *fixture = *state;
	struct buffer *aperture = aperture_try(&fixture->apertures);
	struct frames gone = fixture->frames;

	gone.identity.ino++;
	assert_int_equal(aperture_open(&fixture->apertures, aperture, &gone, 0), -EBADF);
	assert_ptr_equal(aperture_try(&fixture->apertures), aperture);
	aperture_put(&fixture->apertures, aperture);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_is_put_into_an_open_one_is_in_the_frames),
	    TEST(there_are_so_many),
	    TEST(addresses_that_may_be_lost_are_not_touched_again),
	    TEST(frames_whose_descriptor_is_gone_are_not_opened),
	};

	return cmocka_run_group_tests_name("aperture", tests, NULL, NULL);
}
