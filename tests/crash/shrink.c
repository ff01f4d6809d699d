/* SPDX-License-Identifier: MIT */
/*
 * shrink.c - the smallest program that still fails: runs of steps are taken away, from halves down to single ones, then faults
 */
#include "shrink.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ATTEMPT_SECONDS = 20 };

static bool fails(const struct program *program, const struct world_options *options)
{
	int status = 0;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		struct judge_counts counts = {0};
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		dup2(null, 1);
		dup2(null, 2);
		alarm(ATTEMPT_SECONDS);
		_exit(world_run(program, options, &counts, NULL) ? 0 : 1);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return false;
	return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
}

static bool without(struct program *program, unsigned first, unsigned n, const struct world_options *options)
{
	struct program shorter = *program;

	memmove(&shorter.steps[first], &shorter.steps[first + n], (shorter.n_steps - first - n) * sizeof(struct step));
	shorter.n_steps -= n;
	if (!fails(&shorter, options))
		return false;
	*program = shorter;
	return true;
}

static bool without_fault(struct program *program, unsigned step, const struct world_options *options)
{
	struct program plainer = *program;

	plainer.steps[step].faulty = false;
	if (!program->steps[step].faulty || !fails(&plainer, options))
		return false;
	*program = plainer;
	return true;
}

bool shrink(struct program *program, const struct world_options *options, int seconds)
{
	time_t end = time(NULL) + seconds;

	if (!fails(program, options))
		return false;
	for (unsigned n = (program->n_steps + 1) / 2; n > 0; n = n > 1 ? (n + 1) / 2 : 0) {
		for (unsigned first = 0; first + n <= program->n_steps && time(NULL) < end;) {
			if (!without(program, first, n, options))
				first += n;
		}
	}
	for (unsigned i = 0; i < program->n_steps && time(NULL) < end; i++)
		without_fault(program, i, options);
	return true;
}
