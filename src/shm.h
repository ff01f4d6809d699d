/* SPDX-License-Identifier: MIT */
/*
 * shm.h - memory under names: objects of quire_shm_open, and segments
 *
 * Both are known to one engine, and so to the processes of one family. A name and a segment that was not removed keep the memory;
 * otherwise it goes with the last descriptor and the last mapping.
 */
#ifndef QUIRE_SHM_H
#define QUIRE_SHM_H

#include <stdio.h>

struct engine;
struct shm_name;
struct segment;
struct space;

/* After a fork, to is attached to what from is. 0, or -ENOMEM: to some of it. */
int segments_repeat(struct engine *engine, struct space *from, struct space *to);
/* The space is attached to nothing any more, and is going to be destroyed. */
void segments_forget(struct engine *engine, struct space *space);
/* Frees segments that were removed and are attached nowhere. Takes open_lock and the map lock. */
void segments_sweep(struct engine *engine);
/* Forgets all names and segments; nothing is mapped any more. */
void shm_close(struct engine *engine);
void segments_close(struct engine *engine);

/*
 * One line for each: name, or id and key; owner, group, mode, bytes; how often a segment is attached. Between them tabs. What is not to be
 * printed in a name is told as \xNN.
 */
void shm_tell(struct engine *engine, FILE *out);
void segments_tell(struct engine *engine, FILE *out);

#endif
