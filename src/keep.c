/* SPDX-License-Identifier: MIT */
/*
 * keep.c - the keeper of an engine: what was stored survives the program
 *
 * With the kernel's mmap a store is in the file, for everybody, as soon as it is made, and stays there whatever becomes of the program. Here it
 * is in a frame. So a process stands by (sys/keeper.h), from the first mapping on that can be stored to, that has the frames and the
 * kernel's record of stores in common with the program, and writes the one by the other (object/rescue.h) when the program has died.
 *
 * Its messages go to standard error, if that is still what it was when the keeper began: by then the number may be of any file.
 */
#include "keep.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "entry.h"
#include "object/rescue.h"
#include "pager/file.h"
#include "sys/bare.h"
#include "sys/page_size.h"

/* ---- what the keeper does ---- */

static dev_t stderr_dev;
static ino_t stderr_ino; /* 0: there was none */

static void note_stderr(void)
{
	struct stat st;

	if (fstat(STDERR_FILENO, &st) == 0) {
		stderr_dev = st.st_dev;
		stderr_ino = st.st_ino;
	}
}

static bool has_stderr(const struct engine *engine)
{
	struct stat st;

	if (BARE(SYS_fstat, STDERR_FILENO, &st) < 0 || st.st_dev != stderr_dev || st.st_ino != stderr_ino)
		return false;
	for (const struct object *object = engine->registry.head; object; object = object->next)
		if (object->kind == OBJECT_FILE && object->dev == st.st_dev && object->ino == st.st_ino)
			return false;
	return true;
}

static void say_lost(const struct rescue *rescue, const struct object *object, int fd, int error)
{
	char link[32], name[512] = "", text[800];
	long n;

	(void)rescue;
	(void)object;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = fd >= 0 ? BARE(SYS_readlinkat, -1, link, name, sizeof(name) - 1) : -1;
	name[n > 0 ? n : 0] = '\0';
	if (error == EOPNOTSUPP)
		n = snprintf(
		    text, sizeof(text),
		    "quire: the program has ended, and what it has stored to a mapping that is written by functions of its "
		    "own, or through filters, is lost\n");
	else
		n = snprintf(text, sizeof(text),
			     "quire: the program has ended, and what it has stored to %s cannot be written: %s\n",
			     *name ? name : "a file", strerrordesc_np(error));
	if (n > 0)
		(void)BARE(SYS_write, STDERR_FILENO, text, n < (long)sizeof(text) ? n : (long)sizeof(text) - 1);
}

static void say_nothing(const struct rescue *rescue, const struct object *object, int fd, int error)
{
	(void)rescue;
	(void)object;
	(void)fd;
	(void)error;
}

/* Where the program has closed the engine's. */
static int find(const struct rescue *rescue, const struct trace *trace)
{
	int fd = keeper_find_file(trace->dev, trace->ino);
	struct stat st;

	(void)rescue;
	if (fd >= 0)
		return fd;
	fd = (int)BARE(SYS_openat, AT_FDCWD, trace->path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd >= 0 && (BARE(SYS_fstat, fd, &st) < 0 || st.st_dev != trace->dev || st.st_ino != trace->ino)) {
		(void)BARE(SYS_close, fd);
		fd = -1;
	}
	return fd;
}

static void work(struct keeper *keeper)
{
	struct engine *engine = keeper->arg;
	bool speaks = has_stderr(engine);
	struct rescue rescue = {
	    .buffer = keeper_buffer(keeper),
	    .pages = (unsigned)(KEEPER_BUFFER >> page_shift),
	    .lost = speaks ? say_lost : say_nothing,
	    .pagemap = (int)BARE(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC),
	    .find = find,
	};

	keeper_close_streams(keeper, speaks ? STDERR_FILENO : -1);
	rescue_all(&rescue, &engine->registry);
}

/* ---- when there is one ---- */

static void start(struct engine *engine)
{
	int r;

	engine->keeper.work = work;
	engine->keeper.arg = engine;
	note_stderr();
	r = keeper_start(&engine->keeper);
	if (r < 0 && !atomic_exchange(&engine->keeper_failed, true))
		fprintf(stderr,
			"quire: no keeper could be started: %s. What is not written back is lost if the program is killed; "
			"QUIRE_KEEPER=off says that this is known\n",
			strerrordesc_np(-r));
}

void keep_begin(struct engine *engine, struct object *object)
{
	if (!engine->config.keeper || atomic_load_explicit(&engine->keeper_failed, memory_order_relaxed) || !object ||
	    object->kind != OBJECT_FILE || object->journal)
		return;
	if (!atomic_load_explicit(&engine->keeper.there, memory_order_relaxed))
		start(engine);
}

static int begin_for(void *arg, const struct part *part)
{
	if (part->shared)
		keep_begin(arg, part->object);
	return 0;
}

void keep_begin_at(struct engine *engine, char *addr, size_t len)
{
	if (engine->config.keeper)
		(void)space_visit(entry_space(engine), addr, len, begin_for, engine);
}

void keep_end(struct engine *engine, bool failed)
{
	struct entry entry;

	if (!atomic_load(&engine->keeper.there))
		return;
	entry_begin(&entry, "exit");
	if (failed || (keeper_is_alone() && writeback_is_done(&engine->registry)))
		keeper_stop(&engine->keeper);
	entry_end(&entry, 0);
}

bool keep_leave(struct engine *engine)
{
	struct entry entry;
	bool there;

	entry_begin(&entry, "exec");
	there = keeper_stop(&engine->keeper);
	entry_end(&entry, 0);
	return there;
}

void keep_return(struct engine *engine)
{
	struct entry entry;

	entry_begin(&entry, "exec");
	start(engine);
	entry_end(&entry, 0);
}
