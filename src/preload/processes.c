/* SPDX-License-Identifier: MIT */
/*
 * processes.c - where a program ends, becomes another, or meets one, in front of the C library's
 *
 * What was stored is in the files before another program may look: one that this one becomes or starts, and whoever comes after its end. When
 * a child has ended, what it wrote is looked for. (A fork needs nothing here: the engine sees to its children.)
 */
#include <errno.h>
#include <stdarg.h>

#include "coherent.h"
#include "counts.h"
#include "entry.h"
#include "files.h"
#include "heir.h"
#include "keep.h"
#include "next.h"
#include "processes.h"
#include "remote/client.h"
#include "start.h"
#include "sys/keeper.h"
#include "vfork.h"

extern char **environ;

void processes_settle(void)
{
	int saved_errno = errno;

	if (files_any())
		(void)coherent_flush_all();
	errno = saved_errno;
}

/* A child has ended, after which nobody writes for it any more; 0: which one is not known. */
static void look(pid_t child)
{
	int saved_errno = errno;

	if (child > 0)
		keeper_wait_for(child);
	else
		keeper_wait_for_all();
	if (files_any())
		coherent_look();
	errno = saved_errno;
}

/* ---- the end ---- */

/* Of a child that the engine serves nothing is lost with it: its stores are in pages of the engine's. But who waits for its end may look. */
static void end_child(void)
{
	if (client_is() && files_are_orphaned())
		processes_settle();
}

/* Whether children live on, and another process serves them from now on. */
static bool leaves_heir(void)
{
	struct engine *engine = entry_engine_if_started();

	return heir_is_wanted(engine) && heir_start(engine);
}

void processes_end(void)
{
	if (!start_is_running() || vfork_is_child())
		return;
	end_child();
	if (!entry_engine_if_started())
		return;
	processes_settle();
	counts_tell();
	if (!leaves_heir())
		keep_end(entry_engine_if_started(), false);
}

/* In exit(): libraries may use what they have mapped until they have all been told. */
__attribute__((destructor)) static void end(void)
{
	if (!start_is_running())
		return;
	end_child();
	counts_tell();
	if (entry_engine_if_started() && heir_is_wanted(entry_engine_if_started()))
		entry_finish_later();
}

static void end_at_last(void *none)
{
	(void)none;
	if (start_is_running() && entry_finishes_later() && entry_engine_if_started() && !leaves_heir())
		entry_finish(entry_engine_if_started());
}

static void end_quickly(void *none)
{
	(void)none;
	processes_end();
}

/* Functions that were registered first are called last: after the loader's, which calls the destructors. Of no library: those go with it. */
int __cxa_atexit(void (*function)(void *), void *arg, void *library);
int __cxa_at_quick_exit(void (*function)(void *), void *library);

void processes_start(void)
{
	(void)__cxa_atexit(end_at_last, NULL, NULL);
	(void)__cxa_at_quick_exit(end_quickly, NULL);
}

INTERPOSED _Noreturn void _exit(int status)
{
	processes_end();
	NEXT(_exit)(status);
	__builtin_unreachable();
}

INTERPOSED _Noreturn void _Exit(int status)
{
	_exit(status);
}

/* The C library's ends the parent by a call of its own. */
INTERPOSED int daemon(int stays, int keeps_streams)
{
	pid_t pid = fork();
	int null;

	if (pid > 0)
		_exit(0);
	if (pid < 0 || setsid() < 0)
		return -1;
	if (!stays)
		(void)!chdir("/");
	if (keeps_streams)
		return 0;
	null = open("/dev/null", O_RDWR);
	if (null < 0)
		return -1;
	for (int fd = 0; fd < 3; fd++)
		(void)dup2(null, fd);
	if (null > 2)
		close(null);
	return 0;
}

/* ---- another program in this process ---- */

/* Whether the keeper has left, and is to return if this process is to go on. The child of a vfork leaves its parent's alone. */
static bool begin_exec(void)
{
	if (!start_is_running())
		return false;
	processes_settle();
	if (!entry_engine_if_started())
		return false;
	counts_tell();
	return keep_leave(entry_engine_if_started());
}

static int end_exec(int r, bool had_keeper)
{
	int saved_errno = errno;

	if (had_keeper)
		keep_return(entry_engine_if_started());
	errno = saved_errno;
	return r;
}

INTERPOSED int execve(const char *path, char *const args[], char *const env[])
{
	bool had_keeper = begin_exec();

	return end_exec(NEXT(execve)(path, args, env), had_keeper);
}

INTERPOSED int execv(const char *path, char *const args[])
{
	return execve(path, args, environ);
}

INTERPOSED int execvp(const char *path, char *const args[])
{
	bool had_keeper = begin_exec();

	return end_exec(NEXT(execvp)(path, args), had_keeper);
}

INTERPOSED int execvpe(const char *path, char *const args[], char *const env[])
{
	bool had_keeper = begin_exec();

	return end_exec(NEXT(execvpe)(path, args, env), had_keeper);
}

INTERPOSED int fexecve(int fd, char *const args[], char *const env[])
{
	bool had_keeper = begin_exec();

	return end_exec(NEXT(fexecve)(fd, args, env), had_keeper);
}

/* Arguments one by one: counted, then copied to the stack. */
#define COLLECT(first, array)                                                                                                      \
	va_list list;                                                                                                              \
	int n = 1;                                                                                                                 \
                                                                                                                                   \
	va_start(list, first);                                                                                                     \
	while (va_arg(list, char *))                                                                                               \
		n++;                                                                                                               \
	va_end(list);                                                                                                              \
	char *array[n + 1];                                                                                                        \
	array[0] = (char *)(uintptr_t)(first);                                                                                     \
	va_start(list, first);                                                                                                     \
	for (int i = 1; i <= n; i++)                                                                                               \
	array[i] = va_arg(list, char *)

INTERPOSED int execl(const char *path, const char *first, ...)
{
	COLLECT(first, args);
	va_end(list);
	return execve(path, args, environ);
}

INTERPOSED int execlp(const char *path, const char *first, ...)
{
	COLLECT(first, args);
	va_end(list);
	return execvp(path, args);
}

INTERPOSED int execle(const char *path, const char *first, ...)
{
	COLLECT(first, args);
	char **env = va_arg(list, char **);

	va_end(list);
	return execve(path, args, env);
}

/* ---- another program beside it ---- */

INTERPOSED int posix_spawn(pid_t *ret_pid, const char *path, const posix_spawn_file_actions_t *actions,
			   const posix_spawnattr_t *attr, char *const args[], char *const env[])
{
	processes_settle();
	return NEXT(posix_spawn)(ret_pid, path, actions, attr, args, env);
}

INTERPOSED int posix_spawnp(pid_t *ret_pid, const char *path, const posix_spawn_file_actions_t *actions,
			    const posix_spawnattr_t *attr, char *const args[], char *const env[])
{
	processes_settle();
	return NEXT(posix_spawnp)(ret_pid, path, actions, attr, args, env);
}

INTERPOSED int system(const char *command)
{
	int r;

	processes_settle();
	r = NEXT(system)(command);
	look(0);
	return r;
}

INTERPOSED FILE *popen(const char *command, const char *mode)
{
	processes_settle();
	return NEXT(popen)(command, mode);
}

INTERPOSED int pclose(FILE *file)
{
	int r = NEXT(pclose)(file);

	look(0);
	return r;
}

#define WAIT(call)                                                                                                                 \
	pid_t pid = call;                                                                                                          \
                                                                                                                                   \
	if (pid > 0)                                                                                                               \
		look(pid);                                                                                                         \
	return pid

INTERPOSED pid_t wait(int *ret_status)
{
	WAIT(NEXT(wait)(ret_status));
}

INTERPOSED pid_t waitpid(pid_t which, int *ret_status, int options)
{
	WAIT(NEXT(waitpid)(which, ret_status, options));
}

INTERPOSED pid_t wait3(int *ret_status, int options, struct rusage *ret_usage)
{
	WAIT(NEXT(wait3)(ret_status, options, ret_usage));
}

INTERPOSED pid_t wait4(pid_t which, int *ret_status, int options, struct rusage *ret_usage)
{
	WAIT(NEXT(wait4)(which, ret_status, options, ret_usage));
}

INTERPOSED int waitid(idtype_t type, id_t id, siginfo_t *ret_info, int options)
{
	siginfo_t room = {0}, *info = ret_info ? ret_info : &room;
	int r;

	info->si_pid = 0;
	r = NEXT(waitid)(type, id, info, options);
	if (r == 0 && info->si_pid > 0)
		look(info->si_pid);
	return r;
}
