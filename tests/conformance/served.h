/* SPDX-License-Identifier: MIT */
/*
 * served.h - the tests as clients of a server: which of them cannot be, and why
 */
#ifndef QUIRE_CONFORMANCE_SERVED_H
#define QUIRE_CONFORMANCE_SERVED_H

#include <stdbool.h>
#include <stddef.h>

struct conformance_test;

/* Whether QUIRE_SERVER makes this program a client. */
bool is_served(void);

/* Why a client cannot do what a test asks for; NULL: it can. */
const char *reason_not_served(const char *test);

/* Whether all that is listed for this program is there: no reason outlives its test. */
bool served_list_is_right(const struct conformance_test *tests, size_t n);

#endif
