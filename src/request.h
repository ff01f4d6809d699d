/* SPDX-License-Identifier: MIT */
/*
 * request.h - what a call of mmap asks for, and whether Linux would do it
 */
#ifndef QUIRE_REQUEST_H
#define QUIRE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct object;
struct source;

#define PROT_ALL (PROT_READ | PROT_WRITE | PROT_EXEC)

struct request {
	char *addr;
	size_t len, asked_len;
	int prot, flags, fd;
	int mode; /* of the descriptor: F_GETFL */
	off_t offset;
	bool anonymous; /* no file, or /dev/zero */
	int max_prot;
	struct object *object; /* a use; NULL: private memory without a file */
	bool denies;           /* a denial of it is ours */
	size_t huge_bytes;     /* the size of huge pages; 0: none */
	bool no_exec;          /* the file is on a mount that lets nothing be executed */
	struct source *source; /* kept; NULL: a file, or memory without one */
};

/*
 * What the kernel would say of it: a mapping of a descriptor, one of memory without a file, and what QUIRE_MAP_EXTEND adds. They fill in
 * what follows from the arguments. 0 or -errno with a message.
 */
int request_check_file(struct request *q, struct stat *ret_st);
int request_check_anonymous(struct request *q);
int request_check_extend(const struct request *q);

/*
 * What is judged by who calls, and not by the thread that maps for the engine: low addresses, which want CAP_SYS_RAWIO, and how long a
 * file may be. 0 or -errno with a message.
 */
int request_check_own_rights(const struct request *q);

/* Says that there are too few huge pages. -ENOMEM. */
int request_no_huge_pages(const struct request *q);

#endif
