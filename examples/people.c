/* SPDX-License-Identifier: MIT */
/*
 * people.c - two processes share ten people through a file: people write FILE, then people read FILE; or people share FILE
 *
 * No data is ever passed to read() or write(): the file is an array of structures, and a store to the array is a store to the
 * file. What the writer has stored is in the file when its munmap() returns.
 *
 * A parent and its child have one mapping: what the child has stored the parent sees at once, wherever its bytes are by then.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef WITH_KERNEL_MMAP
#include <sys/mman.h>
#define map_error() strerror(errno)
#else
#include <quire/mman.h>
#define map_error() quire_errormsg()
#endif

#define COUNT 10

struct people {
	char name[4];
	int age;
};

static const size_t size = COUNT * sizeof(struct people);

static int complain(const char *name, const char *reason)
{
	fprintf(stderr, "people: %s: %s\n", name, reason);
	return 1;
}

static void fill_in(struct people *people)
{
	for (int i = 0; i < COUNT; i++) {
		people[i].name[0] = (char)('b' + i);
		people[i].name[1] = '\0';
		people[i].age = 20 + i;
	}
}

static void print(const struct people *people)
{
	for (int i = 0; i < COUNT; i++)
		printf("name: %.*s age %d;\n", (int)sizeof(people[i].name), people[i].name, people[i].age);
}

/* An empty table in a new file, or in place of an old one. => NULL, and the complaint was made */
static struct people *map_new(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0666);
	struct people *people;

	/* A mapping cannot make a file longer: it has to have its size before. */
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
		complain(name, strerror(errno));
		return NULL;
	}
	people = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (people != MAP_FAILED)
		return people;
	complain(name, map_error());
	return NULL;
}

static int write_people(const char *name)
{
	struct people *people = map_new(name);

	if (!people)
		return 1;
	fill_in(people);
	if (munmap(people, size) < 0)
		return complain(name, map_error());
	return 0;
}

/* The writer is a child, and the reader its parent. */
static int share_people(const char *name)
{
	struct people *people = map_new(name);
	int status;
	pid_t writer;

	if (!people)
		return 1;
	writer = fork();
	if (writer < 0)
		return complain("fork", strerror(errno));
	if (writer == 0) {
		fill_in(people);
		_exit(0);
	}
	if (waitpid(writer, &status, 0) < 0 || status != 0)
		return complain(name, "the writer has failed");
	print(people);
	if (munmap(people, size) < 0)
		return complain(name, map_error());
	return 0;
}

static int read_people(const char *name)
{
	int fd = open(name, O_RDONLY);
	const struct people *people;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return complain(name, strerror(errno));
	if ((size_t)st.st_size != size)
		return complain(name, "not a file of ten people");
	people = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (people == MAP_FAILED)
		return complain(name, map_error());
	close(fd);
	print(people);
	if (munmap((void *)people, size) < 0)
		return complain(name, map_error());
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "write") == 0)
		return write_people(argv[2]);
	if (argc == 3 && strcmp(argv[1], "read") == 0)
		return read_people(argv[2]);
	if (argc == 3 && strcmp(argv[1], "share") == 0)
		return share_people(argv[2]);
	fprintf(stderr, "usage: people write|read|share FILE\n");
	return 2;
}
