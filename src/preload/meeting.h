/* SPDX-License-Identifier: MIT */
/*
 * meeting.h - files of which programs tell one another, by loads and stores in a lock file, that they have changed: LMDB's
 */
#ifndef QUIRE_PRELOAD_MEETING_H
#define QUIRE_PRELOAD_MEETING_H

#include <stdbool.h>
#include <sys/stat.h>

/* A lock file is mapped, of this name, as the kernel tells it. */
void meeting_note(const char *lock_file);

enum meeting {
	MEETING_NONE,    /* it has no lock file */
	MEETING_ALONE,   /* no other program has it: it may be Quire's, and meeting_settle is to follow */
	MEETING_KERNELS, /* another has it, or had it: it is the kernel's, and that one has left it to the kernel as well */
	MEETING_REFUSED, /* … but has not left it */
};

/* A file is about to be mapped. May wait for another program. */
enum meeting meeting_decide(const char *name, const struct stat *st, int fd, bool shared);
/* It is mapped, or could not be, by Quire. */
void meeting_settle(const struct stat *st);

#endif
