/* SPDX-License-Identifier: MIT */
/*
 * uri.c - names of what can be opened, taken apart
 */
#include "uri.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/message.h"

#define DELAY_US_MOST 60000000u

/* Part of the name. */
struct text {
	const char *at;
	size_t len;
};

/* For printf's %.*s. */
#define TEXT(t) (int)(t).len, (t).at

struct uri_scheme {
	const char *name;
	void (*start)(struct uri_filter *filter); /* the defaults; NULL: no filter but the path */
	/* 0; -EINVAL with a message. *ret_known false: there is no such key. */
	int (*set)(struct uri_filter *filter, struct text key, struct text value, bool *ret_known);
	int (*check)(const struct uri_filter *filter, const char *name);
	int (*open)(const struct uri_filter *filter, struct pager *below, struct pager **ret);
};

static bool is(struct text text, const char *word)
{
	return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

/* ---- values ---- */

static int bad_value(struct text key, struct text value, const char *wanted)
{
	return message_set(EINVAL, "%.*s=%.*s: %s is wanted", TEXT(key), TEXT(value), wanted);
}

static int to_number(struct text key, struct text value, uint64_t most, uint64_t *ret)
{
	uint64_t n = 0;

	if (value.len == 0)
		return bad_value(key, value, "a number");
	for (size_t i = 0; i < value.len; i++) {
		unsigned digit = (unsigned)(value.at[i] - '0');

		if (digit > 9)
			return bad_value(key, value, "a number");
		if (n > (most - digit) / 10)
			return message_set(EINVAL, "%.*s=%.*s: at most %llu is allowed", TEXT(key), TEXT(value),
					   (unsigned long long)most);
		n = n * 10 + digit;
	}
	*ret = n;
	return 0;
}

/* Digits with a point among them; the C library's would depend on the locale. */
static int to_rate(struct text key, struct text value, double *ret)
{
	double rate = 0, unit = 1;
	bool point = false, digits = false;

	for (size_t i = 0; i < value.len; i++) {
		unsigned digit = (unsigned)(value.at[i] - '0');

		if (value.at[i] == '.' && !point) {
			point = true;
			continue;
		}
		if (digit > 9)
			return bad_value(key, value, "a number from 0 to 1");
		digits = true;
		unit = point ? unit / 10 : unit;
		rate = point ? rate + digit * unit : rate * 10 + digit;
	}
	if (!digits || rate > 1)
		return bad_value(key, value, "a number from 0 to 1");
	*ret = rate;
	return 0;
}

static int to_errno(struct text key, struct text value, int *ret)
{
	for (int error = 1; error < 200; error++) {
		const char *name = strerrorname_np(error);

		if (name && is(value, name)) {
			*ret = error;
			return 0;
		}
	}
	return bad_value(key, value, "the name of an error, such as EIO");
}

static int to_ops(struct text key, struct text value, unsigned allowed, unsigned *ret)
{
	static const struct {
		const char *name;
		unsigned ops;
	} names[] = {{"read", FILTER_READ},     {"write", FILTER_WRITE},     {"sync", FILTER_SYNC},
		     {"resize", FILTER_RESIZE}, {"discard", FILTER_DISCARD}, {"all", FILTER_ALL}};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (is(value, names[i].name) && (names[i].ops & allowed)) {
			*ret = names[i].ops & allowed;
			return 0;
		}
	return bad_value(key, value,
			 allowed == FILTER_ALL ? "read, write, sync, resize, discard or all" : "read, write, sync or all");
}

/* ---- error ---- */

static void start_error(struct uri_filter *filter)
{
	filter->error = (struct error_settings){.rate = 1, .error = EIO, .ops = FILTER_ALL};
}

static int set_error(struct uri_filter *filter, struct text key, struct text value, bool *ret_known)
{
	if (is(key, "rate"))
		return to_rate(key, value, &filter->error.rate);
	if (is(key, "errno"))
		return to_errno(key, value, &filter->error.error);
	if (is(key, "op"))
		return to_ops(key, value, FILTER_ALL, &filter->error.ops);
	if (is(key, "seed"))
		return to_number(key, value, UINT64_MAX, &filter->error.seed);
	if (is(key, "after"))
		return to_number(key, value, UINT64_MAX, &filter->error.after);
	if (is(key, "count"))
		return to_number(key, value, UINT64_MAX, &filter->error.most);
	*ret_known = false;
	return 0;
}

static int open_error(const struct uri_filter *filter, struct pager *below, struct pager **ret)
{
	return error_pager_open(&filter->error, below, ret);
}

/* ---- delay ---- */

#define DELAYED (FILTER_TRANSFERS | FILTER_SYNC)

static void start_delay(struct uri_filter *filter)
{
	filter->delay = (struct delay_settings){.ops = DELAYED};
}

static int set_delay(struct uri_filter *filter, struct text key, struct text value, bool *ret_known)
{
	if (is(key, "us"))
		return to_number(key, value, DELAY_US_MOST, &filter->delay.us);
	if (is(key, "op"))
		return to_ops(key, value, DELAYED, &filter->delay.ops);
	*ret_known = false;
	return 0;
}

static int check_delay(const struct uri_filter *filter, const char *name)
{
	return filter->delay.us ? 0 : message_set(EINVAL, "the filter %s lacks the setting us=MICROSECONDS", name);
}

static int open_delay(const struct uri_filter *filter, struct pager *below, struct pager **ret)
{
	return delay_pager_open(&filter->delay, below, ret);
}

/* ---- trace ---- */

static void start_trace(struct uri_filter *filter)
{
	filter->trace.file = NULL;
}

static int set_trace(struct uri_filter *filter, struct text key, struct text value, bool *ret_known)
{
	if (!is(key, "file")) {
		*ret_known = false;
		return 0;
	}
	if (value.len == 0 || value.len >= PATH_MAX)
		return bad_value(key, value, "a path");
	filter->trace.file = value.at;
	filter->trace.file_len = value.len;
	return 0;
}

static int open_trace(const struct uri_filter *filter, struct pager *below, struct pager **ret)
{
	char path[PATH_MAX] = "standard error";
	int fd, error;

	if (filter->trace.file) {
		memcpy(path, filter->trace.file, filter->trace.file_len);
		path[filter->trace.file_len] = '\0';
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
	} else {
		fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	}
	if (fd >= 0)
		return trace_pager_open(fd, below, ret);
	error = errno;
	below->ops->close(below);
	return message_set(error, "the trace cannot be written to %s: %s", path, strerrordesc_np(error));
}

/* ---- names ---- */

static const struct uri_scheme schemes[] = {
    {.name = "file"},
    {"error", start_error, set_error, NULL, open_error},
    {"delay", start_delay, set_delay, check_delay, open_delay},
    {"trace", start_trace, set_trace, NULL, open_trace},
};

/* What stands before the first colon, if it looks like a scheme: letters, digits, + - . before any slash. */
static bool find_scheme(const char *name, struct text *ret)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

	*ret = (struct text){name, len};
	return name[len] == ':';
}

static const struct uri_scheme *scheme_of(struct text text)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (is(text, schemes[i].name))
			return &schemes[i];
	return NULL;
}

/* Up to any of the characters, or the end. */
static struct text take(const char **at, const char *until)
{
	struct text text = {*at, strcspn(*at, until)};

	*at += text.len;
	return text;
}

static int parse_setting(struct uri_filter *filter, struct text setting)
{
	const char *equals = memchr(setting.at, '=', setting.len);
	struct text key, value;
	bool known = true;
	int r;

	if (!equals || equals == setting.at)
		return message_set(EINVAL, "«%.*s» in the settings of the filter %s is not key=value", TEXT(setting),
				   filter->scheme->name);
	key = (struct text){setting.at, (size_t)(equals - setting.at)};
	value = (struct text){equals + 1, setting.len - key.len - 1};
	r = filter->scheme->set(filter, key, value, &known);
	if (r == 0 && !known)
		return message_set(EINVAL, "the filter %s has no setting %.*s", filter->scheme->name, TEXT(key));
	return r;
}

/* What stands between the filter's name and the next colon is settings if it has an equals sign before any slash; moves *at behind it. */
static int parse_settings(struct uri_filter *filter, const char **at)
{
	size_t len = strcspn(*at, ":");
	const char *end = *at + len;
	int r = 0;

	if (strcspn(*at, "=/") < len && (*at)[strcspn(*at, "=/")] == '=') {
		if (*end != ':')
			return message_set(EINVAL, "after the settings of the filter %s, «%s», there is no «:» and no name",
					   filter->scheme->name, *at);
		while (r == 0 && *at < end) {
			r = parse_setting(filter, take(at, ",:"));
			*at += **at == ',';
		}
		*at = end + 1;
	}
	return r < 0 || !filter->scheme->check ? r : filter->scheme->check(filter, filter->scheme->name);
}

int uri_parse(const char *name, struct uri *ret)
{
	struct text scheme_name;
	int r;

	if (!name)
		return message_set(EINVAL, "the name is NULL");
	ret->n_filters = 0;
	while (find_scheme(name, &scheme_name)) {
		const struct uri_scheme *scheme = scheme_of(scheme_name);
		struct uri_filter *filter = &ret->filters[ret->n_filters];

		if (!scheme)
			return message_set(
			    EINVAL, "«%.*s:» is no scheme that is known (file, error, delay, trace); a path is written file:%s",
			    TEXT(scheme_name), name);
		name += scheme_name.len + 1;
		/* Whatever comes after it is a path. */
		if (!scheme->start)
			break;
		if (ret->n_filters == URI_FILTERS_MOST)
			return message_set(EINVAL, "more than %d filters, of which the last is %s", URI_FILTERS_MOST, scheme->name);
		filter->scheme = scheme;
		scheme->start(filter);
		r = parse_settings(filter, &name);
		if (r < 0)
			return r;
		ret->n_filters++;
	}
	if (*name == '\0')
		return message_set(EINVAL, "there is no path at the end of the name");
	ret->path = name;
	return 0;
}

int uri_stack(const struct uri *uri, struct pager *below, struct pager **ret)
{
	for (unsigned i = uri->n_filters; i-- > 0;) {
		const struct uri_filter *filter = &uri->filters[i];
		int r = filter->scheme->open(filter, below, &below);

		if (r < 0)
			return r;
	}
	*ret = below;
	return 0;
}
