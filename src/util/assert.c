/* SPDX-License-Identifier: MIT */
/*
 * assert.c - says which assertion failed and aborts
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/assert.h"

static void put(const char *text)
{
	ssize_t n = write(STDERR_FILENO, text, strlen(text));

	(void)n;
}

void assert_failed(const char *what, const char *file, int line)
{
	char digits[12];
	char *p = digits + sizeof(digits);

	*--p = '\0';
	do
		*--p = (char)('0' + line % 10);
	while ((line /= 10) > 0);
	put("quire: assertion failed: ");
	put(what);
	put(" at ");
	put(file);
	put(":");
	put(p);
	put("\n");
	abort();
}
