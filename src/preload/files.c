/* SPDX-License-Identifier: MIT */
/*
 * files.c - which descriptors are of a file that is mapped by Quire
 */
#include "files.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "coherent.h"
#include "kernel.h"
#include "remote/client.h"

#define MOST_FILES 4000
#define POSITIONS  64
#define CLAIMED    UINT64_MAX /* of ino: somebody is about to fill or to free it */

struct file {
	_Atomic uint64_t ino, dev; /* ino 0: free */
	_Atomic uint32_t pending;  /* calls that are about to map it */
};

struct files_position {
	pthread_mutex_t mutex; /* robust, and of several processes */
};

struct files_list {
	_Atomic uint32_t number;
	_Atomic uint32_t last;     /* number that was given */
	_Atomic uint32_t used;     /* slots from 0 on that were ever used */
	_Atomic uint32_t overflow; /* more files than slots: any may be mapped, for good */
	_Atomic uint32_t orphaned; /* the program that has started the engine has ended */
	struct file files[MOST_FILES];
	struct files_position positions[POSITIONS];
};

static struct files_list none;
struct files_list *files_list = &none;
_Atomic uint32_t *files_number = &none.number;
_Atomic uint32_t files_seen[FILES_DESCRIPTORS];

static void make_positions(struct files_list *list)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	for (unsigned i = 0; i < POSITIONS; i++)
		pthread_mutex_init(&list->positions[i].mutex, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

int files_start(void)
{
	struct files_list *list = kernel_own_mmap(sizeof(*list), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (list == MAP_FAILED)
		return -errno;
	make_positions(list);
	files_list = list;
	files_number = &list->number;
	return 0;
}

static bool is_of(const struct file *file, uint64_t dev, uint64_t ino)
{
	return atomic_load(&file->ino) == ino && atomic_load(&file->dev) == dev;
}

static struct file *find(uint64_t dev, uint64_t ino)
{
	uint32_t used = atomic_load(&files_list->used);

	for (uint32_t i = 0; i < used; i++)
		if (is_of(&files_list->files[i], dev, ino))
			return &files_list->files[i];
	return NULL;
}

static struct file *claim(void)
{
	for (uint32_t i = 0; i < MOST_FILES; i++) {
		uint64_t nobody = 0;
		uint32_t used = i;

		if (!atomic_compare_exchange_strong(&files_list->files[i].ino, &nobody, CLAIMED))
			continue;
		while (used < i + 1 && !atomic_compare_exchange_weak(&files_list->used, &used, i + 1))
			;
		return &files_list->files[i];
	}
	return NULL;
}

/* A number that no descriptor was seen under. */
static void renumber(void)
{
	uint32_t number;

	do
		number = atomic_fetch_add(&files_list->last, 1) + 1;
	while (number == 0);
	atomic_store(&files_list->number, number);
}

struct file *files_add(const struct stat *st)
{
	struct file *file = find(st->st_dev, st->st_ino);

	if (file) {
		atomic_fetch_add(&file->pending, 1);
		if (is_of(file, st->st_dev, st->st_ino))
			return file;
		/* It was just being taken out. */
		atomic_fetch_sub(&file->pending, 1);
	}
	file = claim();
	if (file) {
		atomic_fetch_add(&file->pending, 1);
		atomic_store(&file->dev, st->st_dev);
		atomic_store(&file->ino, st->st_ino);
	} else {
		atomic_store(&files_list->overflow, 1);
	}
	renumber();
	return file;
}

void files_settle(struct file *file)
{
	if (file)
		atomic_fetch_sub(&file->pending, 1);
}

/* Takes a file out that the engine has no more. Whether it stays. */
static bool sweep(struct file *file)
{
	uint64_t ino = atomic_load(&file->ino);
	struct stat st = {.st_dev = atomic_load(&file->dev), .st_ino = ino, .st_mode = S_IFREG};

	if (ino == 0)
		return false;
	if (ino == CLAIMED || atomic_load(&file->pending) || coherent_is_mapped(&st) ||
	    !atomic_compare_exchange_strong(&file->ino, &ino, CLAIMED))
		return true;
	if (atomic_load(&file->pending)) {
		atomic_store(&file->ino, ino);
		return true;
	}
	atomic_store(&file->ino, 0);
	return false;
}

/* Only the engine's own process knows. */
void files_sweep(void)
{
	uint32_t number = atomic_load(files_number), used = atomic_load(&files_list->used);
	bool any = atomic_load(&files_list->overflow);

	if (client_is() || number == 0)
		return;
	for (uint32_t i = 0; i < used; i++)
		any |= sweep(&files_list->files[i]);
	/* Not if one has joined meanwhile. */
	if (!any)
		atomic_compare_exchange_strong(&files_list->number, &number, 0);
}

bool files_has(const struct stat *st)
{
	return files_any() && S_ISREG(st->st_mode) && (atomic_load(&files_list->overflow) || find(st->st_dev, st->st_ino));
}

bool files_find(int fd)
{
	uint32_t number = atomic_load(files_number);
	struct stat st;
	int saved_errno = errno;
	bool found = number && fd >= 0 && fstat(fd, &st) == 0 && files_has(&st);

	errno = saved_errno;
	if (!found && (unsigned)fd < FILES_DESCRIPTORS && !vfork_is_child())
		atomic_store_explicit(&files_seen[fd], number, memory_order_relaxed);
	return found;
}

struct files_position *files_lock_position(int fd)
{
	struct stat st;
	struct files_position *position = &files_list->positions[fstat(fd, &st) == 0 ? st.st_ino % POSITIONS : 0];

	if (pthread_mutex_lock(&position->mutex) == EOWNERDEAD)
		pthread_mutex_consistent(&position->mutex);
	return position;
}

void files_unlock_position(struct files_position *position)
{
	pthread_mutex_unlock(&position->mutex);
}

void files_orphan(void)
{
	atomic_store(&files_list->orphaned, 1);
}

bool files_are_orphaned(void)
{
	return atomic_load(&files_list->orphaned);
}

void files_forget_all(void)
{
	for (unsigned i = 0; i < FILES_DESCRIPTORS; i++)
		if (atomic_load_explicit(&files_seen[i], memory_order_relaxed))
			atomic_store_explicit(&files_seen[i], 0, memory_order_relaxed);
}
