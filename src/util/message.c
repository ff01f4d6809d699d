/* SPDX-License-Identifier: MIT */
/*
 * message.c - the sentence that goes with a thread's last error
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/message.h"

/* In the initial-exec model, so that reading it never allocates. */
static _Thread_local char sentence[400] __attribute__((tls_model("initial-exec")));
static _Thread_local char detail[320] __attribute__((tls_model("initial-exec")));

int message_set(int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	return -error;
}

void message_finish(const char *call, int error)
{
	char reason[128];

	if (detail[0])
		snprintf(sentence, sizeof(sentence), "%s: %s", call, detail);
	else
		snprintf(sentence, sizeof(sentence), "%s: %s", call, strerror_r(error, reason, sizeof(reason)));
}

void message_plain(const char *text)
{
	size_t n = 0;

	while (text[n] && n < sizeof(sentence) - 1) {
		sentence[n] = text[n];
		n++;
	}
	sentence[n] = '\0';
}

const char *message_detail(void)
{
	return detail;
}

void message_clear(void)
{
	detail[0] = '\0';
}

const char *message_get(void)
{
	return sentence;
}
