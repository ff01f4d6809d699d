/* SPDX-License-Identifier: MIT */
/*
 * uri.h - names of what can be opened: a path, or filters over one
 *
 *      uri     = path | "file:" path | filter ":" [ settings ":" ] uri
 *      filter  = "error" | "delay" | "trace"
 *      settings = key "=" value { "," key "=" value }
 *
 * A name with a colon before its first slash is never taken for a path: it could be a scheme of a later version.
 */
#ifndef QUIRE_URI_H
#define QUIRE_URI_H

#include "pager/filter.h"

#define URI_FILTERS_MOST 8

struct uri_filter;

/* A name taken apart. Strings point into the name. */
struct uri {
	const char *path;
	unsigned n_filters;
	struct uri_filter {
		const struct uri_scheme *scheme;
		union {
			struct error_settings error;
			struct delay_settings delay;
			struct {
				const char *file; /* not terminated; NULL: standard error */
				size_t file_len;
			} trace;
		};
	} filters[URI_FILTERS_MOST]; /* the outermost first */
};

/* 0, or -EINVAL with a message that names the part. */
int uri_parse(const char *name, struct uri *ret);

/* Puts the filters over a pager, which is theirs from here on, also when this fails. 0 or -errno with a message. */
int uri_stack(const struct uri *uri, struct pager *below, struct pager **ret);

#endif
