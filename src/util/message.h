/* SPDX-License-Identifier: MIT */
/*
 * message.h - the sentence that goes with a thread's last error
 */
#ifndef QUIRE_MESSAGE_H
#define QUIRE_MESSAGE_H

#include <errno.h>

/* Sets the calling thread's sentence and returns -error, so that a function can `return message_set(EINVAL, "…")`. Not for the fault path. */
__attribute__((format(printf, 2, 3))) int message_set(int error, const char *format, ...);

/* Puts "call: " before the sentence, or makes one from error where none was set since message_clear(). */
void message_finish(const char *call, int error);
void message_clear(void);
const char *message_get(void);
/* The sentence without the call; empty: none was set. */
const char *message_detail(void);
/* Sets the whole sentence to a text of ours. Async-signal-safe. */
void message_plain(const char *text);

#endif
