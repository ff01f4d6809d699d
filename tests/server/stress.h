/* SPDX-License-Identifier: MIT */
/*
 * stress.h - the model of the stress test, and what its two parts have in common
 */
#ifndef QUIRE_TESTS_SERVER_STRESS_H
#define QUIRE_TESTS_SERVER_STRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE       4096u
#define WORDS      30u
#define SLOT_BYTES (PAGE / 2u)
#define SLOTS      (2u * 2048u) /* two in a page: 8 MiB of them */
#define HOT        48u          /* that half of the operations are about */
#define TAIL_AT    (PAGE + SLOTS * SLOT_BYTES)
#define TAIL_PAGES 64u
#define NUMBERS    1000000u /* of processes, in all */
#define EXTRA      14u      /* that may live beside those that are started: children */
#define STUCK_S    180.0

/* In the file. */
struct slot {
	_Atomic uint32_t lock; /* 0, or 1 + the number of the process that has it */
	_Atomic uint32_t number;
	_Atomic uint64_t word[WORDS];
};

/* ---- the model: in memory that all share by the kernel ---- */

struct slot_model {
	_Atomic uint32_t begun, done; /* numbers: what is being stored, and what was before */
	_Atomic uint32_t stored;      /* words of the one that is begun */
};

struct process {
	_Atomic pid_t pid;
	_Atomic bool dead;
	_Atomic bool truncating, killing; /* one gives way to the other */
	_Atomic int at;
	const char *_Atomic doing; /* all are of one program, so that the address means the same */
};

struct model {
	_Atomic unsigned operations, numbers, live, killed, taken_over, truncations, forks;
	_Atomic bool failed, ending;
	double end;
	struct slot_model slot[SLOTS];
	/* Of the tail, under its lock. */
	unsigned tail_pages;
	_Atomic uint64_t mark[TAIL_PAGES], next_mark[TAIL_PAGES];
	struct process process[NUMBERS];
};

struct options {
	unsigned operations, processes, kill_every;
	double seconds;
	unsigned long seed;
	bool kernel;
	const char *fault;
	int writer, reader;
};

extern struct model *model;
extern struct options options;

static inline uint64_t draw(uint64_t *rng)
{
	uint64_t z = *rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* ---- stress.c ---- */

bool is_over(void);
int take_number(void);
bool is_dead(unsigned id);

/* ---- worker.c ---- */

/* What a process does until it is killed, or all is over. */
void work_from_start(unsigned id) __attribute__((noreturn));
/* So that the server has all that it keeps once it has had a client. */
void use_swap(void) __attribute__((noreturn));
/* By a mapping, after which the file has all of it. */
void check_all_and_sync(void) __attribute__((noreturn));
/* By the kernel's calls. */
void check_file(void);

#endif
