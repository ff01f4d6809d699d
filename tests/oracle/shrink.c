/* SPDX-License-Identifier: MIT */
/*
 * shrink.c - the smallest program that still fails
 *
 * Delta debugging, kept simple: take away runs of operations, from halves down to single ones, as long as what is left still
 * fails; then make arguments plainer. Any failure counts, also a crash or a hang.
 */
#include "shrink.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum { ARGUMENTS_MAX = 64, HISTORY_MAX = 256, ATTEMPT_SECONDS = 20 };

extern char **environ;

struct shrinker {
	const struct shrink *how;
	struct program *programs; /* the last one fails */
	size_t count;
	struct timespec deadline;
	unsigned attempts;
	char scratch[4096];
};

static double seconds_until(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(t->tv_sec - now.tv_sec) + (double)(t->tv_nsec - now.tv_nsec) / 1e9;
}

static struct timespec in_seconds(int seconds)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += seconds;
	return t;
}

static bool write_programs(const struct shrinker *s, const char *name)
{
	FILE *out = fopen(name, "we");

	if (out == NULL) {
		fprintf(stderr, "oracle: %s: %s\n", name, strerror(errno));
		return false;
	}
	for (size_t i = 0; i < s->count; i++)
		program_print(&s->programs[i], out);
	return fclose(out) == 0;
}

/* => the exit status as waitpid gives it, -1 when it could not run */
static int replay(const struct shrinker *s, const char *name, bool quiet)
{
	char *argv[ARGUMENTS_MAX], replay_word[] = "--replay", quiet_word[] = "--quiet", exe[] = "/proc/self/exe";
	struct timespec deadline = in_seconds(ATTEMPT_SECONDS), pause = {0, 1000000};
	posix_spawnattr_t attr;
	size_t n = 0;
	int status;
	pid_t child;

	argv[n++] = exe;
	for (char *const *a = s->how->arguments; *a != NULL && n < ARGUMENTS_MAX - 4; a++)
		argv[n++] = *a;
	argv[n++] = replay_word;
	argv[n++] = (char *)name;
	argv[n++] = quiet ? quiet_word : NULL;
	argv[n] = NULL;
	fflush(stdout);
	if (posix_spawnattr_init(&attr) != 0)
		return -1;
	/* A group of its own, so that its children go with it. */
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
	if (posix_spawn(&child, exe, NULL, &attr, argv, environ) != 0)
		return -1;
	posix_spawnattr_destroy(&attr);
	while (waitpid(child, &status, WNOHANG) == 0) {
		if (seconds_until(&deadline) < 0)
			kill(-child, SIGKILL);
		nanosleep(&pause, NULL);
	}
	return status;
}

static bool fails(struct shrinker *s)
{
	int status;

	s->attempts++;
	if (!write_programs(s, s->scratch))
		return false;
	status = replay(s, s->scratch, true);
	return status != -1 && (WIFSIGNALED(status) || WEXITSTATUS(status) == 1);
}

static bool fails_at_least_once(struct shrinker *s, int tries)
{
	for (int i = 0; i < tries; i++) {
		if (fails(s))
			return true;
	}
	return false;
}

static bool time_is_left(const struct shrinker *s)
{
	return seconds_until(&s->deadline) > 0;
}

/* ---- taking away ---- */

static bool without_ops(struct shrinker *s, struct program *p, size_t from, size_t n)
{
	struct program *old = malloc(sizeof(*old));
	bool shorter;

	if (old == NULL)
		return false;
	*old = *p;
	memmove(&p->ops[from], &p->ops[from + n], (p->op_count - from - n) * sizeof(p->ops[0]));
	p->op_count -= n;
	shorter = fails(s);
	if (!shorter)
		*p = *old;
	free(old);
	return shorter;
}

static bool take_ops(struct shrinker *s, struct program *p, size_t run)
{
	bool any = false;

	/* From the end: what comes after the difference goes first. */
	for (size_t end = p->op_count; end > 0 && time_is_left(s);) {
		size_t n = run < end ? run : end;

		any |= without_ops(s, p, end - n, n);
		end -= n;
	}
	return any;
}

static void shrink_ops(struct shrinker *s, struct program *p)
{
	for (size_t run = p->op_count / 2; run > 1; run /= 2)
		take_ops(s, p, run);
	while (time_is_left(s) && take_ops(s, p, 1))
		;
}

static void shrink_history(struct shrinker *s)
{
	for (size_t run = s->count / 2; run >= 1; run /= 2) {
		for (size_t at = 0; at + run < s->count && time_is_left(s);) {
			size_t count = s->count;
			struct program *old = malloc(count * sizeof(*old));

			if (old == NULL)
				return;
			memcpy(old, s->programs, count * sizeof(*old));
			memmove(&s->programs[at], &s->programs[at + run], (count - at - run) * sizeof(*old));
			s->count -= run;
			if (!fails(s)) {
				memcpy(s->programs, old, count * sizeof(*old));
				s->count = count;
				at += run;
			}
			free(old);
		}
	}
}

/* ---- plainer arguments ---- */

static void plain_len(struct op *op)
{
	if (op->len > 0 && op->kind != OP_WRITE)
		op->len = pages_of(op->len) * page_bytes();
}

static void one_page(struct op *op)
{
	if (op->len > page_bytes() && op->kind != OP_WRITE)
		op->len = page_bytes();
}

static void one_new_page(struct op *op)
{
	if (op->new_len > page_bytes())
		op->new_len = page_bytes();
}

static void page_start(struct op *op)
{
	if (op->addr > 0)
		op->addr -= op->addr % page_bytes();
}

static void one_byte(struct op *op)
{
	if (op->kind == OP_LOAD || op->kind == OP_STORE)
		op->size = 1;
}

static void value_one(struct op *op)
{
	if (op->kind == OP_STORE || op->kind == OP_WRITE)
		op->value = 1;
}

static void gentle_exit(struct op *op)
{
	if (op->kind == OP_EXIT)
		op->how = EXIT_EXIT;
}

static void offset_0(struct op *op)
{
	op->offset = 0;
}

static void no_extras(struct op *op)
{
	if (op->kind == OP_MMAP)
		op->flags &= ~(int64_t)(MAP_NORESERVE | MAP_POPULATE | MAP_LOCKED);
}

static void read_write(struct op *op)
{
	if (op->kind == OP_MMAP || op->kind == OP_MPROTECT)
		op->prot = PROT_READ | PROT_WRITE;
}

static void (*const plainer[])(struct op *op) = {plain_len, one_page, one_new_page, page_start, one_byte,
						 value_one, offset_0, no_extras,    read_write, gentle_exit};

static bool simplify(struct shrinker *s, struct op *op)
{
	bool any = false;

	for (size_t i = 0; i < sizeof(plainer) / sizeof(*plainer) && time_is_left(s); i++) {
		struct op old = *op;

		plainer[i](op);
		if (memcmp(&old, op, sizeof(old)) == 0)
			continue;
		if (fails(s))
			any = true;
		else
			*op = old;
	}
	return any;
}

static void simplify_all(struct shrinker *s)
{
	for (size_t i = 0; i < s->count; i++) {
		for (size_t j = 0; j < s->programs[i].op_count; j++)
			simplify(s, &s->programs[i].ops[j]);
	}
}

/* ---- all of it ---- */

static bool begin(struct shrinker *s, const struct shrink *how)
{
	*s = (struct shrinker){.how = how, .deadline = in_seconds(how->seconds)};
	return snprintf(s->scratch, sizeof(s->scratch), "%s/quire-oracle-%d.program", how->directory, (int)getpid()) <
	       (int)sizeof(s->scratch);
}

static void finish(struct shrinker *s)
{
	size_t ops = 0;
	int again = 0;

	for (int i = 0; i < 5; i++)
		again += fails(s);
	unlink(s->scratch);
	for (size_t i = 0; i < s->count; i++)
		ops += s->programs[i].op_count;
	if (!write_programs(s, s->how->save))
		return;
	printf("shrunk to %zu operations in %zu programs by %u attempts; fails %d times of 5; written to %s\n", ops, s->count,
	       s->attempts, again, s->how->save);
	for (size_t i = 0; i < s->count; i++)
		program_print(&s->programs[i], stdout);
	replay(s, s->how->save, false);
}

static void shrink_all(struct shrinker *s)
{
	shrink_history(s);
	for (size_t i = s->count; i-- > 0;)
		shrink_ops(s, &s->programs[i]);
	simplify_all(s);
	for (size_t i = s->count; i-- > 0;)
		shrink_ops(s, &s->programs[i]);
	finish(s);
}

static void take_history(struct shrinker *s, const struct shrink *how, uint64_t seed, int64_t number, size_t before)
{
	s->count = before + 1;
	for (size_t i = 0; i < s->count; i++)
		program_generate(&s->programs[i], seed, number - (int64_t)before + (int64_t)i, how->ops_max, how->forks);
}

void shrink(const struct shrink *how, uint64_t seed, int64_t first, int64_t number)
{
	struct shrinker s;
	size_t ran_before = (size_t)(number - first);

	if (!begin(&s, how))
		return;
	s.programs = malloc((HISTORY_MAX + 1) * sizeof(*s.programs));
	if (s.programs == NULL)
		return;
	for (size_t before = 0; before <= HISTORY_MAX; before = before == 0 ? 1 : 2 * before) {
		take_history(&s, how, seed, number, before < ran_before ? before : ran_before);
		if (fails_at_least_once(&s, before == 0 ? 5 : 1)) {
			shrink_all(&s);
			free(s.programs);
			return;
		}
		if (before >= ran_before)
			break;
	}
	take_history(&s, how, seed, number, 0);
	unlink(s.scratch);
	if (write_programs(&s, how->save))
		printf("does not fail again, neither alone nor after the programs before it; written to %s as it is\n", how->save);
	free(s.programs);
}

void shrink_programs(const struct shrink *how, struct program *programs, size_t count)
{
	struct shrinker s;

	if (!begin(&s, how))
		return;
	s.programs = programs;
	s.count = count;
	if (fails_at_least_once(&s, 5))
		shrink_all(&s);
	else
		printf("does not fail\n");
	unlink(s.scratch);
}
