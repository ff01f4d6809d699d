/* SPDX-License-Identifier: MIT */
/*
 * polled.h - reads whose end a thread watches for by itself, awake
 *
 * Between the end of a read of 60 µs and the thread that has slept through it lie 15 µs and more: the interrupt has to wake a processor
 * and the thread, and what it goes on with has gone cold. A thread that looks has neither. It gives way to any other thread that wants
 * to run, so it costs the processor only what nobody else wants.
 */
#ifndef QUIRE_SYS_POLLED_H
#define QUIRE_SYS_POLLED_H

#include <stdbool.h>
#include <stdint.h>

#include "sys/io.h"

struct polled;

/* n: threads that watch at a time. 0 or -errno, where the kernel refuses io_uring among them. */
int polled_create(unsigned n, struct polled **ret);
/* No read is under way. NULL is fine. */
void polled_destroy(struct polled *polled);

/*
 * Does a read on this thread. False: it was not done, for whatever reason; a plain one will do it, or tell what is wrong.
 * => The thread leaves its duty (util/duty.h) when another has to take it, or before it sleeps. Async-signal-safe. errno may change.
 */
bool polled_read(struct polled *polled, const struct io_transfer *transfer, ssize_t *ret_bytes);

/* How many were done so. */
uint64_t polled_reads(const struct polled *polled);

#endif
