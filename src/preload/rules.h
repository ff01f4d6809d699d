/* SPDX-License-Identifier: MIT */
/*
 * rules.h - which mappings of a program are Quire's, and which are left to the kernel
 */
#ifndef QUIRE_PRELOAD_RULES_H
#define QUIRE_PRELOAD_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* What `quire run` was told. */
struct rules_settings {
	const char *match; /* a glob for the file's name; NULL: any */
	bool anonymous;    /* private memory without a file as well */
};

struct rules_request {
	size_t len;
	int prot, flags, fd;
	struct stat st; /* of fd; filled by rules_decide where it is looked at */
	bool meets;     /* meeting_settle is to be called when it is mapped by Quire */
	bool refused;   /* it has to be the kernel's, and another program has it in a cache */
};

/* Whether Quire serves it. ret_why: the rule, in words; may be NULL. errno stays. */
bool rules_decide(const struct rules_settings *settings, struct rules_request *request, const char **ret_why);

#endif
