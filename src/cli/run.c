/* SPDX-License-Identifier: MIT */
/*
 * run.c - quire run: a program that knows nothing of Quire, with its mappings served by Quire
 *
 * The loader puts a library in front of the program's calls of mmap and its kin (src/preload/). Where that cannot be, the program is not
 * started: one that is linked statically would run as ever, and one with privileges of its own is stripped of the library by the loader,
 * both without a word. Then this process becomes the program; with --stats it waits for it instead, passing on the signals that it gets, and
 * ends as it ends.
 */
#include "cli.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <quire/quire.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "config.h"
#include "engine.h"
#include "preload/counts.h"
#include "preload/start.h"
#include "sys/keeper.h"
#include "sys/uffd.h"
#include "util/message.h"

/* As env(1) and its kin have it. */
enum { RUN_CANNOT = 126, RUN_NOT_FOUND = 127 };

static struct verb_option options[] = {
    {"--memory", true, NULL},     {"--match", true, NULL},  {"--trap", true, NULL},
    {"--anonymous", false, NULL}, {"--stats", false, NULL}, {NULL, false, NULL},
};
enum { MEMORY, MATCH, TRAP, ANONYMOUS, STATS };

static int refuse(const char *program, const char *why)
{
	cli_error(&run_verb, "%s: %s", program, why);
	return RUN_CANNOT;
}

/* ---- the program ---- */

/* Its path, as the shell finds it. False: there is none. */
static bool find_program(const char *name, char path[PATH_MAX])
{
	const char *list = getenv("PATH");

	if (strchr(name, '/'))
		return access(name, F_OK) == 0 && (size_t)snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
	for (const char *dir = list ? list : "/bin:/usr/bin"; *dir; dir += strcspn(dir, ":"), dir += *dir == ':') {
		int len = (int)strcspn(dir, ":");
		struct stat st;

		if (snprintf(path, PATH_MAX, "%.*s/%s", len ? len : 1, len ? dir : ".", name) < PATH_MAX && stat(path, &st) == 0 &&
		    S_ISREG(st.st_mode) && access(path, X_OK) == 0)
			return true;
	}
	return false;
}

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#else
#define OUR_MACHINE EM_AARCH64
#endif

/* Whether the loader has a part in it. 0, or why not. */
static const char *check_elf(int fd, const Elf64_Ehdr *header)
{
	if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != OUR_MACHINE)
		return "it is a program for another processor, or of 32 bits, for which Quire was not built";
	for (unsigned i = 0; i < header->e_phnum; i++) {
		Elf64_Phdr part;

		if (pread(fd, &part, sizeof(part), (off_t)(header->e_phoff + (uint64_t)i * header->e_phentsize)) != sizeof(part))
			return "its headers cannot be read";
		if (part.p_type == PT_INTERP)
			return NULL;
	}
	return "it is linked statically, so that no library can serve its mappings. Link it dynamically, or with libquire";
}

/* The loader takes no library of ours into a program that gains by being executed. */
static const char *check_privileges(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && (((st.st_mode & S_ISUID) && st.st_uid != getuid()) ||
				    ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid())))
		return "it is setuid or setgid, and the loader keeps libraries out of such a program. Run it as the user that it "
		       "becomes";
	if ((st.st_mode & (S_ISUID | S_ISGID)) == 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0 && geteuid() != 0)
		return "it has file capabilities, and the loader keeps libraries out of such a program. Run it as root, or without "
		       "them";
	return NULL;
}

/* The interpreter of a script. False: it is none. */
static bool interpreter_of(char *head, char path[PATH_MAX])
{
	char *name = head + 2 + strspn(head + 2, " \t");

	if (head[0] != '#' || head[1] != '!')
		return false;
	name[strcspn(name, " \t\n")] = '\0';
	return (size_t)snprintf(path, PATH_MAX, "%s", name) < PATH_MAX && *name;
}

/* 0, or the exit status, when that was said. */
static int check_program(const char *name, const char *path, unsigned depth)
{
	char head[PATH_MAX] = "", script[PATH_MAX];
	const char *why = NULL;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		why = "it is a directory, not a program";
	else if (access(path, X_OK) < 0)
		why = strerror(errno);
	if (!why && fd >= 0) {
		ssize_t n = pread(fd, head, sizeof(head) - 1, 0);

		head[n > 0 ? n : 0] = '\0';
		why = check_privileges(fd);
		if (!why && n >= (ssize_t)sizeof(Elf64_Ehdr) && memcmp(head, ELFMAG, SELFMAG) == 0)
			why = check_elf(fd, (const void *)head);
		else if (!why && interpreter_of(head, script) && depth < 4) {
			close(fd);
			return check_program(name, script, depth + 1);
		} else if (!why)
			why = "it is neither a program nor a script that names its interpreter";
	}
	/* One that may be executed and not read cannot be looked at: it is tried. */
	if (fd >= 0)
		close(fd);
	return why ? refuse(name, why) : 0;
}

/* ---- the library ---- */

static bool find_preload(char path[PATH_MAX])
{
	static const char *const places[] = {"../preload", PRELOAD_FROM_HERE};
	char self[PATH_MAX], name[2 * PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	for (size_t i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(name, sizeof(name), "%s/%s/libquire-preload.so", self, places[i]);
		if (realpath(name, path))
			return true;
	}
	return realpath(PRELOAD_DIR "/libquire-preload.so", path) != NULL;
}

static int set_environment(const char *preload)
{
	const char *before = getenv("LD_PRELOAD");
	char list[2 * PATH_MAX];

	if ((size_t)snprintf(list, sizeof(list), "%s%s%s", preload, before && *before ? ":" : "", before ? before : "") >=
	    sizeof(list))
		return refuse("LD_PRELOAD", "it is too long already");
	/* The loader takes both for the end of a name. */
	if (strpbrk(preload, " :"))
		return refuse(preload, "the loader takes no library whose path has a space or a colon in it");
	setenv("LD_PRELOAD", list, 1);
	/* What it reads and writes has to be seen by the engine that has its mappings: its own. */
	setenv("QUIRE_SERVER", "off", 1);
	/* Such programs agree at locks, at exec and when children end. */
	setenv("QUIRE_SHARE_FILES", "1", 1);
	if (options[MEMORY].value)
		setenv("QUIRE_MEMORY", options[MEMORY].value, 1);
	if (options[MATCH].value)
		setenv(START_MATCH_VARIABLE, options[MATCH].value, 1);
	if (options[ANONYMOUS].value)
		setenv(START_ANONYMOUS_VARIABLE, "1", 1);
	return 0;
}

/* ---- settings ---- */

/* Whether faults inside of system calls are served. */
static bool serves_system_calls(const struct config *config)
{
	enum uffd_source source = uffd_find(config->no_privilege);
	const char *why;

	return source != UFFD_USER_ONLY && engine_choose_trap(config, source, &why) == QUIRE_TRAP_THREAD;
}

/* Whether the engine would start with them. 0, or the exit status, when that was said. */
static int check_settings(void)
{
	struct config config;
	uint64_t bytes;

	if (options[MEMORY].value && !config_parse_size(options[MEMORY].value, &bytes))
		return cli_usage(&run_verb, "--memory is '%s'; it is a number of bytes, with K, M, G or T: 256M",
				 options[MEMORY].value);
	if (options[TRAP].value && strcmp(options[TRAP].value, "auto") != 0 && strcmp(options[TRAP].value, "signal") != 0 &&
	    strcmp(options[TRAP].value, "thread") != 0)
		return cli_usage(&run_verb, "--trap is '%s'; it can be auto, signal or thread", options[TRAP].value);
	if (options[MEMORY].value)
		setenv("QUIRE_MEMORY", options[MEMORY].value, 1);
	if (config_load(NULL, &config) < 0) {
		cli_error(&run_verb, "%s", message_detail());
		return RUN_CANNOT;
	}
	if (uffd_find(config.no_privilege) == UFFD_NONE)
		return refuse("userfaultfd", "it is refused to this process; `quire probe` tells what to change");
	if (options[TRAP].value)
		setenv("QUIRE_TRAP", options[TRAP].value, 1);
	if (config_load(NULL, &config) == 0 && options[ANONYMOUS].value && !serves_system_calls(&config))
		return refuse("--anonymous", "it needs the trap «thread», with privileges (`quire probe`): stacks for signals and "
					     "what else is handed to the "
					     "kernel would be in memory that the kernel cannot have brought in");
	return 0;
}

/* ---- --stats ---- */

static volatile pid_t child;

static void pass_on(int number)
{
	int saved_errno = errno;

	if (child > 0)
		kill(child, number);
	errno = saved_errno;
}

static void print_counts(const struct counts *sum)
{
	static const char *const names[] = {
#define COUNT_TEXT(name) #name,
	    COUNTS_CALLS(COUNT_TEXT)
#undef COUNT_TEXT
	};

	fflush(stdout);
	fprintf(stderr, "quire run: %-12s%12s%12s\n", "calls", "Quire", "kernel");
	for (unsigned i = 0; i < COUNT_CALLS; i++)
		if (sum->quire[i] || sum->kernel[i])
			fprintf(stderr, "quire run: %-12s%12ju%12ju\n", names[i], (uintmax_t)sum->quire[i],
				(uintmax_t)sum->kernel[i]);
	fprintf(stderr,
		"quire run: %ju processes, %ju page faults that waited for storage, %ju bytes read, %ju written, %ju resident at "
		"most\n",
		(uintmax_t)sum->processes, (uintmax_t)sum->major_faults, (uintmax_t)sum->read_bytes, (uintmax_t)sum->write_bytes,
		(uintmax_t)sum->peak_bytes);
}

/* Waits until it has ended, and ends as it did. */
static int wait_for_program(void)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return cli_error(&run_verb, "the program cannot be waited for: %s", strerror(errno));
	keeper_wait_for(child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static struct counts *make_counts(char path[64])
{
	struct counts *sum = MAP_FAILED;
	int fd;

	strcpy(path, "/dev/shm/quire-run-XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0) {
		strcpy(path, "/var/tmp/quire-run-XXXXXX");
		fd = mkostemp(path, O_CLOEXEC);
	}
	if (fd >= 0 && ftruncate(fd, sizeof(*sum)) == 0)
		sum = mmap(NULL, sizeof(*sum), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 && sum == MAP_FAILED)
		unlink(path);
	return sum == MAP_FAILED ? NULL : sum;
}

static int execute(const char *path, char **args)
{
	execv(path, args);
	cli_error(&run_verb, "%s: %s", path, strerror(errno));
	return errno == ENOENT ? RUN_NOT_FOUND : RUN_CANNOT;
}

static int run_counted(const char *path, char **args)
{
	static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};
	struct sigaction pass = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
	char file[64];
	struct counts *sum = make_counts(file);
	sigset_t all, before;
	int status;

	if (!sum)
		return cli_error(&run_verb, "--stats: no file for the counts in /dev/shm nor /var/tmp: %s", strerror(errno));
	setenv(COUNTS_VARIABLE, file, 1);
	fflush(stdout);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	child = fork();
	if (child == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		_exit(execute(path, args));
	}
	for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
		sigaction(passed[i], &pass, NULL);
	sigprocmask(SIG_SETMASK, &before, NULL);
	status = child < 0 ? cli_error(&run_verb, "no process for the program: %s", strerror(errno)) : wait_for_program();
	print_counts(sum);
	unlink(file);
	return status;
}

/* ---- the verb ---- */

static int run_run(int n, char **args)
{
	char path[PATH_MAX], preload[PATH_MAX], *program[n + 1];
	int r;

	if (n == 0)
		return cli_usage(&run_verb, "needs a program");
	r = check_settings();
	if (r)
		return r;
	if (!find_program(args[0], path)) {
		cli_error(&run_verb, "%s: there is no such program%s", args[0], strchr(args[0], '/') ? "" : " in PATH");
		return RUN_NOT_FOUND;
	}
	r = check_program(args[0], path, 0);
	if (r)
		return r;
	if (!find_preload(preload))
		return refuse("libquire-preload.so", "it is not where it was installed, " PRELOAD_DIR);
	r = set_environment(preload);
	if (r)
		return r;
	memcpy(program, args, (size_t)n * sizeof(*args));
	program[n] = NULL;
	return options[STATS].value ? run_counted(path, program) : execute(path, program);
}

const struct verb run_verb = {
    .name = "run",
    .arguments = "PROGRAM...",
    .summary = "run a program with its mappings served by Quire",
    .text = "Runs PROGRAM with its arguments, and has Quire serve the files that it maps. `--` ends the options of `quire run`.\n"
	    "\n"
	    "  --memory SIZE   resident bytes in each process: 256M. Default: half of what there is\n"
	    "  --match GLOB    only files whose name matches: the last part, or the whole path where GLOB has a slash\n"
	    "  --trap TRAP     auto, signal or thread\n"
	    "  --anonymous     private memory without a file as well\n"
	    "  --stats         prints at the end how many calls Quire has served, and how many the kernel\n"
	    "\n"
	    "A program that is static, setuid or setgid is refused. The exit status is the program's; 126 and 127: it was not "
	    "started.\n",
    .first_ends = true,
    .options = options,
    .run = run_run,
};
