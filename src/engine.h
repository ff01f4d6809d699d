/* SPDX-License-Identifier: MIT */
/*
 * engine.h - one engine: a cache, its objects, its threads, and the space of this process
 */
#ifndef QUIRE_ENGINE_H
#define QUIRE_ENGINE_H

#include "config.h"
#include "fault/prefetch.h"
#include "fault/traps/trap.h"
#include "object/committer.h"
#include "object/flusher.h"
#include "pager/user.h"
#include "remote/remote.h"
#include "shm.h"
#include "source.h"
#include "space/space.h"
#include "sys/keeper.h"

struct engine {
	struct config config;
	struct registry registry;
	struct lock open_lock; /* finding the object of a file, or what has a name or a key, or making it */
	struct cache *cache;
	struct io *io;
	struct space *space;
	struct flusher flusher;
	struct atomics atomics;
	struct committer committer;
	struct sources sources;
	struct user_pagers user_pagers;
	struct opening *openings; /* [open_lock] files of which an object is just being made */
	struct shm_name *names;   /* [open_lock] */
	struct segment *segments; /* [open_lock] */
	int next_segment;         /* [open_lock] */
	struct prefetcher prefetcher;
	struct remotes remotes;
	struct keeper keeper;
	_Atomic bool keeper_failed; /* to start: that was said */
	enum quire_trap trap;
	struct thread_trap *thread_trap;
	bool signal_started;
	enum uffd_source source;
};

/* 0 or -errno, with a message. */
int engine_create(const struct config *config, struct engine **ret);
/* Writes everything back, unmaps everything. NULL is fine. */
void engine_destroy(struct engine *engine);

/*
 * Unmaps what this process has mapped, and ends the threads when they have done what they have in hand. What is mapped in other processes stays,
 * and their faults and calls wait until the engine is resumed, which a fork's child may do in this process's place; then it serves only
 * them. 0 or -errno; a suspension that has failed has unmapped a part, and nothing is suspended.
 */
int engine_suspend(struct engine *engine);
int engine_resume(struct engine *engine);

/* An object of memory without a file, all zeros. 0 or -errno. The caller has the one use. */
int engine_make_memory(struct engine *engine, uint64_t bytes, struct object **ret);

/* -EPERM with a message: this process gets no userfaultfd. */
int engine_refused(void);

/* The trap that auto chooses, and why, for the privileges of this process. */
enum quire_trap engine_choose_trap(const struct config *config, enum uffd_source source, const char **ret_why);

#endif
