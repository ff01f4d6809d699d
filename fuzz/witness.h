/* SPDX-License-Identifier: MIT */
/*
 * witness.h - a process that is a client of a server, as programs are, and knows what it has stored
 */
#ifndef QUIRE_FUZZ_WITNESS_H
#define QUIRE_FUZZ_WITNESS_H

#include <stdbool.h>
#include <sys/types.h>

struct witness {
	pid_t pid;
	int to, from;
	char folder[64], path[96]; /* the socket where it is to be served */
};

/* It connects when it is asked first. */
bool witness_start(struct witness *witness);
/* Whether all is there, in a file and in memory of its own, and what it stores now, too. harm: it changes a byte itself before. */
bool witness_is_well(const struct witness *witness, bool harm);
void witness_stop(struct witness *witness);

#endif
