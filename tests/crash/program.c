/* SPDX-License-Identifier: MIT */
/*
 * program.c - what is done to the files of a journal: made from a seed, printed and read again
 */
#include "program.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "sys/page_size.h"

static const struct {
	const char *name;
	int weight;
	bool transfers; /* it may be told to fail */
} kinds[STEP_KINDS] = {
    [STEP_STORE] = {"store", 30, false},
    [STEP_SPILL] = {"spill", 12, true},
    [STEP_COMMIT] = {"commit", 16, true},
    [STEP_UNIT] = {"unit", 8, true},
    [STEP_HAND] = {"hand", 6, true},
    [STEP_HAND_UNIT] = {"hand-unit", 2, true},
    [STEP_WAIT] = {"wait", 4, true},
    [STEP_GIVE_UP] = {"give-up", 2, true},
    [STEP_ROLLBACK] = {"rollback", 3, false},
    [STEP_RESIZE] = {"resize", 5, false},
    [STEP_CHECKPOINT] = {"checkpoint", 5, true},
    [STEP_PREPARE] = {"prepare", 1, true},
    [STEP_SNAPSHOT] = {"snapshot", 3, false},
    [STEP_LOOK] = {"look", 2, true},
    [STEP_DROP] = {"drop", 2, false},
    [STEP_READ] = {"read", 6, true},
    [STEP_REOPEN] = {"reopen", 5, true},
    [STEP_KILL] = {"kill", 2, true},
    [STEP_CRASH] = {"crash", 2, true},
};

static const char *const faults[FAULT_KINDS] = {"read", "write", "sync", "resize"};

static enum step_kind some_kind(struct rng *rng)
{
	int all = 0, at;
	enum step_kind kind = 0;

	for (int i = 0; i < STEP_KINDS; i++)
		all += kinds[i].weight;
	at = (int)rng_below(rng, all);
	while (at >= kinds[kind].weight)
		at -= kinds[kind++].weight;
	return kind;
}

static void some_fault(struct step *step, struct rng *rng)
{
	static const int errors[] = {EIO, EIO, ENOSPC};
	int which = (int)rng_below(rng, 10);

	step->faulty = true;
	step->fault = which < 4 ? FAULT_SYNC : which < 8 ? FAULT_WRITE : which < 9 ? FAULT_READ : FAULT_RESIZE;
	step->disk = (uint32_t)rng_below(rng, DISKS_MAX);
	step->nth = 1 + (uint32_t)rng_below(rng, rng_percent(rng, 70) ? 2 : 8);
	step->every = rng_percent(rng, 20);
	step->error = errors[rng_below(rng, 3)];
}

static void some_step(struct step *step, struct rng *rng, const struct program_limits *limits)
{
	*step = (struct step){.kind = some_kind(rng)};
	step->a = (uint32_t)rng_below(rng, 6);
	step->b = (uint32_t)rng_below(rng, PAGES_MAX);
	step->c = (uint32_t)rng_below(rng, rng_percent(rng, 80) ? 6 : PAGES_MAX);
	if (step->kind == STEP_RESIZE) {
		step->b = (uint32_t)rng_below(rng, (int64_t)((limits->pages + 1) * page_size()));
		if (rng_percent(rng, 60))
			step->b -= step->b % (uint32_t)page_size();
	} else if (step->kind == STEP_CRASH || step->kind == STEP_STORE) {
		step->c += (uint32_t)rng_below(rng, 1000) * 6;
	}
	if (limits->faults && kinds[step->kind].transfers && rng_percent(rng, step->kind == STEP_CHECKPOINT ? 25 : 8))
		some_fault(step, rng);
}

void program_generate(struct program *program, uint64_t seed, uint64_t number, const struct program_limits *limits)
{
	struct rng rng = rng_stream(seed, number);
	unsigned most = 4 + (unsigned)rng_below(&rng, (int64_t)limits->pages - 3), segments;

	*program = (struct program){.seed = rng_next(&rng), .n_files = rng_percent(&rng, 50) ? 1 : rng_percent(&rng, 80) ? 2 : 3};
	for (unsigned i = 0; i < program->n_files; i++) {
		program->bytes[i] = (uint64_t)rng_below(&rng, most + 1) * page_size();
		if (program->bytes[i] && rng_percent(&rng, 30))
			program->bytes[i] -= (uint64_t)rng_below(&rng, (int64_t)page_size());
	}
	program->settings.segment_blocks = 8 + (uint32_t)rng_below(&rng, 9);
	/* From what is hardly enough to what never gets full. */
	segments = most * (1 + (unsigned)rng_below(&rng, 5)) / (program->settings.segment_blocks - 2);
	program->settings.segments = segments < 4 ? 4 : segments;
	program->settings.group_pages = rng_percent(&rng, 50) ? 0 : 1 + (unsigned)rng_below(&rng, 6);
	program->settings.groups = 2 + (unsigned)rng_below(&rng, 3);
	program->n_steps = 1 + (unsigned)rng_below(&rng, limits->steps);
	for (unsigned i = 0; i < program->n_steps; i++)
		some_step(&program->steps[i], &rng, limits);
}

/* ---- as text ---- */

void step_print(const struct step *step, FILE *out)
{
	fprintf(out, "%s %u %u %u", kinds[step->kind].name, step->a, step->b, step->c);
	if (step->faulty)
		fprintf(out, " fault %s %u %u %u %d", faults[step->fault], step->disk, step->nth, step->every, step->error);
	fputc('\n', out);
}

void program_print(const struct program *program, FILE *out)
{
	const struct store_settings *s = &program->settings;

	fprintf(out, "program %" PRIu64 " %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %u %u %u\n", program->seed, program->n_files,
		program->bytes[0], program->bytes[1], program->bytes[2], s->segment_blocks, s->segments, s->group_pages, s->groups);
	for (unsigned i = 0; i < program->n_steps; i++)
		step_print(&program->steps[i], out);
	fputs("end\n", out);
}

static int find(const char *name, const char *(*of)(int), int n)
{
	for (int i = 0; i < n; i++) {
		if (strcmp(name, of(i)) == 0)
			return i;
	}
	return -1;
}

static const char *kind_name(int i)
{
	return kinds[i].name;
}

static const char *fault_name(int i)
{
	return faults[i];
}

static bool read_step(struct step *step, const char *line)
{
	char kind[16], fault[16];
	int n, which;

	*step = (struct step){0};
	n = sscanf(line, "%15s %u %u %u fault %15s %u %u %u %d", kind, &step->a, &step->b, &step->c, fault, &step->disk, &step->nth,
		   &step->every, &step->error);
	which = n >= 4 ? find(kind, kind_name, STEP_KINDS) : -1;
	if (which < 0 || (n != 4 && n != 9))
		return false;
	step->kind = (enum step_kind)which;
	if (n == 9) {
		which = find(fault, fault_name, FAULT_KINDS);
		step->faulty = true;
		step->fault = (enum fault_kind)which;
	}
	return which >= 0;
}

bool program_read(struct program *program, FILE *in)
{
	struct store_settings *s = &program->settings;
	char line[256];

	*program = (struct program){0};
	if (fgets(line, sizeof(line), in) == NULL ||
	    sscanf(line, "program %" SCNu64 " %u %" SCNu64 " %" SCNu64 " %" SCNu64 " %u %u %u %u", &program->seed,
		   &program->n_files, &program->bytes[0], &program->bytes[1], &program->bytes[2], &s->segment_blocks, &s->segments,
		   &s->group_pages, &s->groups) != 9 ||
	    program->n_files < 1 || program->n_files > FILES_MAX)
		return false;
	while (fgets(line, sizeof(line), in) != NULL) {
		if (strcmp(line, "end\n") == 0)
			return true;
		if (program->n_steps == STEPS_MAX || !read_step(&program->steps[program->n_steps++], line))
			return false;
	}
	return false;
}
