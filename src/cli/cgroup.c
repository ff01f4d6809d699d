/* SPDX-License-Identifier: MIT */
/*
 * cgroup.c - a memory cgroup of our own, to hold a process to an amount of memory, page cache included
 *
 * Version 1 has a hierarchy for memory, in which a group can be made inside any other. In version 2 only a group without processes of
 * its own hands memory out to groups below it, so the new one is made below the nearest that does, from this process's own upwards.
 * A container sees its own group as the root, under a path that does not say so: a path that is not there is the root.
 */
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOUNT_MAX 1024

/* ---- small files of the kernel ---- */

static int write_number(const struct cgroup *group, const char *name, uint64_t value)
{
	char path[PATH_MAX], text[24];
	int fd, n = snprintf(text, sizeof(text), "%llu", (unsigned long long)value), r = 0;

	snprintf(path, sizeof(path), "%s/%s", group->dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, (size_t)n) != n)
		r = -errno;
	close(fd);
	return r;
}

/* Whether one of the words that are separated by any of the separators is this one. */
static bool has_word(const char *text, const char *separators, const char *word)
{
	size_t len = strlen(word);

	for (text += strspn(text, separators); *text; text += strspn(text, separators)) {
		size_t n = strcspn(text, separators);

		if (n == len && strncmp(text, word, len) == 0)
			return true;
		text += n;
	}
	return false;
}

/* ---- where a group can be made ---- */

/* The mount point of the hierarchy that has memory. => false: there is none */
static bool find_mount(char *ret, size_t size, bool *ret_v2)
{
	FILE *f = fopen("/proc/self/mounts", "re");
	char *line = NULL;
	size_t room = 0;
	bool found = false;

	while (f && getline(&line, &room, f) > 0) {
		char point[MOUNT_MAX], type[64], options[1024];

		if (sscanf(line, "%*s %1023s %63s %1023s", point, type, options) != 3)
			continue;
		if (strcmp(type, "cgroup") == 0 && has_word(options, ",", "memory")) {
			snprintf(ret, size, "%s", point);
			*ret_v2 = false;
			found = true;
			break;
		}
		if (strcmp(type, "cgroup2") == 0 && !found) {
			snprintf(ret, size, "%s", point);
			*ret_v2 = true;
			found = true;
		}
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* The path of this process's group in that hierarchy, without a slash at its end. */
static void find_path(bool v2, char *ret, size_t size)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char *line = NULL;
	size_t room = 0;

	*ret = '\0';
	while (f && getline(&line, &room, f) > 0) {
		char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		if (v2 ? controllers[1] != '\0' : !has_word(controllers + 1, ",", "memory"))
			continue;
		snprintf(ret, size, "%s", strcmp(path, "/") == 0 ? "" : path);
		break;
	}
	free(line);
	if (f)
		fclose(f);
}

/* Whether the group hands memory out to those below it. */
static bool delegates(const char *dir)
{
	char path[PATH_MAX], text[1024];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return has_word(text, " \n", "memory");
}

/* The folder to make a group in. => 0 or -errno */
static int find_parent(char *ret, size_t size, bool *ret_v2)
{
	char mount[MOUNT_MAX], path[PATH_MAX / 4];
	struct stat st;

	if (!find_mount(mount, sizeof(mount), ret_v2))
		return -ENOENT;
	find_path(*ret_v2, path, sizeof(path));
	snprintf(ret, size, "%s%s", mount, path);
	if (stat(ret, &st) != 0)
		*path = '\0';
	for (;;) {
		char *slash = strrchr(path, '/');

		snprintf(ret, size, "%s%s", mount, path);
		if (!*ret_v2 || delegates(ret))
			return 0;
		if (!slash)
			return -EOPNOTSUPP;
		*slash = '\0';
	}
}

/* ---- the group ---- */

/* Who is killed leaves his group behind, without processes. The next one to make a group takes it away. */
static void remove_left(const char *parent)
{
	DIR *dir = opendir(parent);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		int pid, length = 0;

		if (sscanf(entry->d_name, "quire-%d-%*u%n", &pid, &length) == 1 && length > 0 && entry->d_name[length] == '\0' &&
		    kill(pid, 0) != 0 && errno == ESRCH)
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	}
	if (dir)
		closedir(dir);
}

int cgroup_make(struct cgroup *ret)
{
	static unsigned number;
	char parent[PATH_MAX / 2];
	struct cgroup group;
	int r;

	*ret = (struct cgroup){0};
	r = find_parent(parent, sizeof(parent), &group.v2);
	if (r < 0)
		return r;
	remove_left(parent);
	if (asprintf(&group.dir, "%s/quire-%d-%u", parent, (int)getpid(), number++) < 0)
		return -ENOMEM;
	if (mkdir(group.dir, 0755) != 0) {
		r = -errno;
		free(group.dir);
		return r;
	}
	*ret = group;
	return 0;
}

int cgroup_limit(const struct cgroup *group, uint64_t bytes)
{
	return write_number(group, group->v2 ? "memory.max" : "memory.limit_in_bytes", bytes);
}

int cgroup_enter(const struct cgroup *group)
{
	return write_number(group, "cgroup.procs", (uint64_t)getpid());
}

uint64_t cgroup_peak(const struct cgroup *group)
{
	char path[PATH_MAX];
	unsigned long long bytes = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", group->dir, group->v2 ? "memory.peak" : "memory.max_usage_in_bytes");
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%llu", &bytes) != 1)
		bytes = 0;
	fclose(f);
	return bytes;
}

void cgroup_remove(struct cgroup *group)
{
	if (!group->dir)
		return;
	/* Its last process may still be on its way out. */
	for (int i = 0; rmdir(group->dir) != 0 && errno == EBUSY && i < 100; i++)
		usleep(10000);
	free(group->dir);
	group->dir = NULL;
}

bool cgroup_usable(void)
{
	struct cgroup group;
	int status = -1;
	pid_t child;

	if (cgroup_make(&group) < 0)
		return false;
	child = fork();
	if (child == 0)
		_exit(cgroup_limit(&group, (uint64_t)1 << 30) < 0 || cgroup_enter(&group) < 0);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	cgroup_remove(&group);
	return child > 0 && status == 0;
}
