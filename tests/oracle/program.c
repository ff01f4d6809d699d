/* SPDX-License-Identifier: MIT */
/*
 * program.c - programs as text
 *
 *	program seed=7 number=12
 *	file 0 1p+904
 *	mmap addr=3p len=5p prot=rw- flags=shared|fixed fd=f0rw offset=0p
 *	store addr=3p+16 size=8 value=0x1234
 *	end
 *
 * Sizes and addresses are written in pages and bytes, so that a program keeps its meaning where pages are larger. Lines that
 * start with # are comments. Fields that are left out are 0; in=2, of any operation, is the process that does it.
 */
#include "program.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum field_type {
	T_NUMBER,
	T_PLACE,
	T_PROT,
	T_MMAP_FLAGS,
	T_MREMAP_FLAGS,
	T_MSYNC_FLAGS,
	T_ADVICE,
	T_POSIX_ADVICE,
	T_FD,
	T_EXIT,
	T_INHERIT
};

struct field {
	const char *name;
	enum field_type type;
	size_t at;
};

#define FIELD(name, type)                                                                                                          \
	{                                                                                                                          \
#name, type, offsetof(struct op, name)                                                                             \
	}

struct shape {
	const char *name;
	struct field fields[6];
};

static const struct shape shapes[OP_KINDS] = {
    [OP_MMAP] = {"mmap",
		 {FIELD(addr, T_PLACE), FIELD(len, T_PLACE), FIELD(prot, T_PROT), FIELD(flags, T_MMAP_FLAGS), FIELD(fd, T_FD),
		  FIELD(offset, T_PLACE)}},
    [OP_MUNMAP] = {"munmap", {FIELD(addr, T_PLACE), FIELD(len, T_PLACE)}},
    [OP_MPROTECT] = {"mprotect", {FIELD(addr, T_PLACE), FIELD(len, T_PLACE), FIELD(prot, T_PROT)}},
    [OP_MREMAP] = {"mremap",
		   {FIELD(addr, T_PLACE), FIELD(len, T_PLACE), FIELD(new_len, T_PLACE), FIELD(flags, T_MREMAP_FLAGS),
		    FIELD(to, T_PLACE)}},
    [OP_LOAD] = {"load", {FIELD(addr, T_PLACE), FIELD(size, T_PLACE)}},
    [OP_STORE] = {"store", {FIELD(addr, T_PLACE), FIELD(size, T_PLACE), FIELD(value, T_NUMBER)}},
    [OP_MSYNC] = {"msync", {FIELD(addr, T_PLACE), FIELD(len, T_PLACE), FIELD(flags, T_MSYNC_FLAGS)}},
    [OP_MADVISE] = {"madvise", {FIELD(addr, T_PLACE), FIELD(len, T_PLACE), FIELD(advice, T_ADVICE)}},
    [OP_POSIX_MADVISE] = {"posix_madvise", {FIELD(addr, T_PLACE), FIELD(len, T_PLACE), FIELD(advice, T_POSIX_ADVICE)}},
    [OP_MLOCK] = {"mlock", {FIELD(addr, T_PLACE), FIELD(len, T_PLACE), FIELD(flags, T_NUMBER)}},
    [OP_MUNLOCK] = {"munlock", {FIELD(addr, T_PLACE), FIELD(len, T_PLACE)}},
    [OP_MINCORE] = {"mincore", {FIELD(addr, T_PLACE), FIELD(len, T_PLACE)}},
    [OP_TRUNCATE] = {"truncate", {FIELD(fd, T_FD), FIELD(size, T_PLACE)}},
    [OP_REOPEN] = {"reopen", {FIELD(fd, T_FD)}},
    [OP_WRITE] = {"write", {FIELD(file, T_NUMBER), FIELD(offset, T_PLACE), FIELD(len, T_PLACE), FIELD(value, T_NUMBER)}},
    [OP_CUT] = {"cut", {FIELD(file, T_NUMBER), FIELD(size, T_PLACE)}},
    [OP_FOREIGN] = {"foreign", {FIELD(addr, T_PLACE), FIELD(len, T_PLACE), FIELD(prot, T_PROT)}},
    [OP_UNLOCK_ALL] = {"munlockall", {{NULL, T_NUMBER, 0}}},
    [OP_PRESSURE] = {"pressure", {FIELD(value, T_NUMBER), FIELD(size, T_NUMBER)}},
    [OP_FORK] = {"fork", {FIELD(child, T_NUMBER)}},
    [OP_EXIT] = {"exit", {FIELD(how, T_EXIT), FIELD(value, T_NUMBER)}},
    [OP_MINHERIT] = {"minherit", {FIELD(addr, T_PLACE), FIELD(len, T_PLACE), FIELD(how, T_INHERIT)}},
};

/* Of every operation. */
static const struct field in_field = FIELD(in, T_NUMBER);

/* A word for (x & mask) == value. Longer masks come first. */
struct word {
	const char *name;
	int64_t mask, value;
};

#define BIT(name, bits)                                                                                                            \
	{                                                                                                                          \
		name, bits, bits                                                                                                   \
	}
#define EXACT(name, bits)                                                                                                          \
	{                                                                                                                          \
		name, -1, bits                                                                                                     \
	}

static const struct word mmap_words[] = {
    {"validate", MAP_TYPE, 3}, /* MAP_SHARED_VALIDATE */
    {"shared", MAP_TYPE, MAP_SHARED},
    {"private", MAP_TYPE, MAP_PRIVATE},
    BIT("fixed", MAP_FIXED),
    BIT("noreplace", MAP_FIXED_NOREPLACE),
    BIT("anon", MAP_ANONYMOUS),
    BIT("populate", MAP_POPULATE),
    BIT("locked", MAP_LOCKED),
    BIT("noreserve", MAP_NORESERVE),
    {NULL, 0, 0},
};
static const struct word mremap_words[] = {
    BIT("maymove", MREMAP_MAYMOVE),
    BIT("fixed", MREMAP_FIXED),
    BIT("dontunmap", MREMAP_DONTUNMAP),
    {NULL, 0, 0},
};
static const struct word msync_words[] = {
    BIT("sync", MS_SYNC),
    BIT("async", MS_ASYNC),
    BIT("invalidate", MS_INVALIDATE),
    {NULL, 0, 0},
};
static const struct word advice_words[] = {
    EXACT("normal", MADV_NORMAL),
    EXACT("random", MADV_RANDOM),
    EXACT("sequential", MADV_SEQUENTIAL),
    EXACT("willneed", MADV_WILLNEED),
    EXACT("dontneed", MADV_DONTNEED),
    EXACT("remove", MADV_REMOVE),
    EXACT("cold", MADV_COLD),
    EXACT("pageout", MADV_PAGEOUT),
    EXACT("populate-read", MADV_POPULATE_READ),
    EXACT("populate-write", MADV_POPULATE_WRITE),
    EXACT("dontdump", MADV_DONTDUMP),
    EXACT("dodump", MADV_DODUMP),
    EXACT("dontfork", MADV_DONTFORK),
    EXACT("dofork", MADV_DOFORK),
    EXACT("wipeonfork", MADV_WIPEONFORK),
    EXACT("keeponfork", MADV_KEEPONFORK),
    EXACT("hugepage", MADV_HUGEPAGE),
    EXACT("nohugepage", MADV_NOHUGEPAGE),
    EXACT("mergeable", MADV_MERGEABLE),
    EXACT("unmergeable", MADV_UNMERGEABLE),
    {NULL, 0, 0},
};
static const struct word posix_advice_words[] = {
    EXACT("normal", POSIX_MADV_NORMAL),     EXACT("random", POSIX_MADV_RANDOM),     EXACT("sequential", POSIX_MADV_SEQUENTIAL),
    EXACT("willneed", POSIX_MADV_WILLNEED), EXACT("dontneed", POSIX_MADV_DONTNEED), {NULL, 0, 0},
};
static const struct word fd_words[] = {
    EXACT("f0rw", 0),     EXACT("f0ro", 1),       EXACT("f0wo", 2),       EXACT("f1rw", 3),           EXACT("f1ro", 4),
    EXACT("f1wo", 5),     EXACT("f2rw", 6),       EXACT("f2ro", 7),       EXACT("f2wo", 8),           EXACT("none", FD_NONE),
    EXACT("dir", FD_DIR), EXACT("pipe", FD_PIPE), EXACT("zero", FD_ZERO), EXACT("closed", FD_CLOSED), {NULL, 0, 0},
};
static const struct word inherit_words[] = {
    EXACT("share", WORD_SHARE), EXACT("copy", WORD_COPY), EXACT("none", WORD_NONE), EXACT("zero", WORD_ZERO), {NULL, 0, 0},
};
static const struct word exit_words[] = {
    EXACT("exit", EXIT_EXIT),
    EXACT("kill", EXIT_KILL),
    EXACT("exec", EXIT_EXEC),
    {NULL, 0, 0},
};

static const struct word *words_of(enum field_type type)
{
	switch (type) {
	case T_MMAP_FLAGS:
		return mmap_words;
	case T_MREMAP_FLAGS:
		return mremap_words;
	case T_MSYNC_FLAGS:
		return msync_words;
	case T_ADVICE:
		return advice_words;
	case T_POSIX_ADVICE:
		return posix_advice_words;
	case T_FD:
		return fd_words;
	case T_EXIT:
		return exit_words;
	case T_INHERIT:
		return inherit_words;
	default:
		return NULL;
	}
}

static int64_t *field_of(const struct op *op, const struct field *f)
{
	return (int64_t *)((char *)op + f->at);
}

/* ---- printing ---- */

static void print_words(int64_t value, const struct word *words, FILE *out)
{
	const char *between = "";

	for (const struct word *w = words; w->name != NULL; w++) {
		if ((value & w->mask) != w->value || (w->mask != -1 && (value & w->mask) == 0))
			continue;
		fprintf(out, "%s%s", between, w->name);
		between = "|";
		if (w->mask == -1)
			return;
		value &= ~w->mask;
	}
	if (value != 0 || *between == '\0')
		fprintf(out, "%s0x%" PRIx64, between, (uint64_t)value);
}

static void print_prot(int64_t prot, FILE *out)
{
	fprintf(out, "%c%c%c", prot & PROT_READ ? 'r' : '-', prot & PROT_WRITE ? 'w' : '-', prot & PROT_EXEC ? 'x' : '-');
	if (prot & ~(int64_t)(PROT_READ | PROT_WRITE | PROT_EXEC))
		fprintf(out, "|0x%" PRIx64, (uint64_t)(prot & ~(int64_t)(PROT_READ | PROT_WRITE | PROT_EXEC)));
}

/* Floors, so that the remainder is never negative and -1 (the largest length) is -1p+4095. */
static void print_place(int64_t bytes, FILE *out)
{
	int64_t rest = bytes % page_bytes();

	if (bytes == NOWHERE) {
		fputs("null", out);
		return;
	}
	if (rest < 0)
		rest += page_bytes();
	fprintf(out, "%" PRId64 "p", (bytes - rest) / page_bytes());
	if (rest != 0)
		fprintf(out, "+%" PRId64, rest);
}

void op_print(const struct op *op, FILE *out)
{
	const struct shape *s = &shapes[op->kind];

	fputs(s->name, out);
	for (const struct field *f = s->fields; f < s->fields + 6 && f->name != NULL; f++) {
		int64_t value = *field_of(op, f);

		fprintf(out, " %s=", f->name);
		if (f->type == T_NUMBER)
			fprintf(out, "0x%" PRIx64, (uint64_t)value);
		else if (f->type == T_PLACE)
			print_place(value, out);
		else if (f->type == T_PROT)
			print_prot(value, out);
		else
			print_words(value, words_of(f->type), out);
	}
	if (op->in != 0)
		fprintf(out, " in=%" PRId64, op->in);
}

void program_print(const struct program *p, FILE *out)
{
	fprintf(out, "program seed=%" PRIu64 " number=%" PRId64 "\n", p->seed, p->number);
	for (int i = 0; i < FILES; i++) {
		fprintf(out, "file %d ", i);
		print_place(p->file_bytes[i], out);
		fputc('\n', out);
	}
	for (size_t i = 0; i < p->op_count; i++) {
		op_print(&p->ops[i], out);
		fputc('\n', out);
	}
	fputs("end\n", out);
}

/* ---- parsing ---- */

static bool parse_number(const char *text, int64_t *ret)
{
	char *end;

	errno = 0;
	*ret = *text == '-' ? strtoll(text, &end, 0) : (int64_t)strtoull(text, &end, 0);
	return errno == 0 && end != text && *end == '\0';
}

static bool parse_place(const char *text, int64_t *ret)
{
	char *end;
	int64_t pages;

	if (strcmp(text, "null") == 0) {
		*ret = NOWHERE;
		return true;
	}
	errno = 0;
	pages = strtoll(text, &end, 10);
	if (errno != 0 || end == text)
		return false;
	if (*end != 'p') {
		*ret = pages;
		return *end == '\0';
	}
	if (__builtin_mul_overflow(pages, page_bytes(), ret))
		return false;
	if (end[1] == '\0')
		return true;
	if (end[1] != '+' || !parse_number(end + 2, &pages))
		return false;
	return !__builtin_add_overflow(*ret, pages, ret);
}

static bool parse_prot(const char *text, int64_t *ret)
{
	int64_t more = 0;

	if (strlen(text) < 3 || (text[3] != '\0' && (text[3] != '|' || !parse_number(text + 4, &more))))
		return false;
	*ret = (text[0] == 'r' ? PROT_READ : 0) | (text[1] == 'w' ? PROT_WRITE : 0) | (text[2] == 'x' ? PROT_EXEC : 0) | more;
	return true;
}

static bool parse_word(const char *text, const struct word *words, int64_t *ret)
{
	for (const struct word *w = words; w->name != NULL; w++) {
		if (strcmp(w->name, text) == 0) {
			*ret = w->value;
			return true;
		}
	}
	return parse_number(text, ret);
}

static bool parse_words(char *text, const struct word *words, int64_t *ret)
{
	char *rest = NULL;
	int64_t one;

	*ret = 0;
	for (char *t = strtok_r(text, "|", &rest); t != NULL; t = strtok_r(NULL, "|", &rest)) {
		if (!parse_word(t, words, &one))
			return false;
		*ret |= one;
	}
	return true;
}

static bool parse_field(struct op *op, const struct shape *s, char *token)
{
	char *value = strchr(token, '=');

	if (value == NULL)
		return false;
	*value++ = '\0';
	if (strcmp(in_field.name, token) == 0)
		return parse_number(value, field_of(op, &in_field));
	for (const struct field *f = s->fields; f < s->fields + 6 && f->name != NULL; f++) {
		if (strcmp(f->name, token) != 0)
			continue;
		if (f->type == T_NUMBER)
			return parse_number(value, field_of(op, f));
		if (f->type == T_PLACE)
			return parse_place(value, field_of(op, f));
		if (f->type == T_PROT)
			return parse_prot(value, field_of(op, f));
		return parse_words(value, words_of(f->type), field_of(op, f));
	}
	return false;
}

static bool parse_op(struct op *op, char *name, char **rest)
{
	memset(op, 0, sizeof(*op));
	for (int kind = 0; kind < OP_KINDS; kind++) {
		if (strcmp(shapes[kind].name, name) != 0)
			continue;
		op->kind = kind;
		for (char *t = strtok_r(NULL, " \t\n", rest); t != NULL; t = strtok_r(NULL, " \t\n", rest)) {
			if (!parse_field(op, &shapes[kind], t))
				return false;
		}
		return (op->kind != OP_WRITE && op->kind != OP_CUT) || (op->file >= 0 && op->file < FILES);
	}
	return false;
}

static bool parse_file(struct program *p, char **rest)
{
	char *index = strtok_r(NULL, " \t\n", rest), *bytes = strtok_r(NULL, " \t\n", rest);
	int64_t i;

	if (index == NULL || bytes == NULL || !parse_number(index, &i) || i < 0 || i >= FILES)
		return false;
	return parse_place(bytes, &p->file_bytes[i]) && p->file_bytes[i] >= 0 && p->file_bytes[i] <= FILE_PAGES_MAX * page_bytes();
}

static bool parse_head(struct program *p, char **rest)
{
	char *seed = strtok_r(NULL, " \t\n", rest), *number = strtok_r(NULL, " \t\n", rest);
	int64_t s;

	memset(p, 0, sizeof(*p));
	if (seed == NULL || number == NULL || strncmp(seed, "seed=", 5) != 0 || strncmp(number, "number=", 7) != 0)
		return false;
	if (!parse_number(seed + 5, &s) || !parse_number(number + 7, &p->number))
		return false;
	p->seed = (uint64_t)s;
	return true;
}

/* => 1 the program is complete, 0 go on, -1 not understood */
static int parse_line(struct program *p, char *text, bool *inside)
{
	char *rest = NULL, *name = strtok_r(text, " \t\n", &rest);

	if (name == NULL || *name == '#')
		return 0;
	if (!*inside) {
		*inside = strcmp(name, "program") == 0 && parse_head(p, &rest);
		return *inside ? 0 : -1;
	}
	if (strcmp(name, "end") == 0)
		return 1;
	if (strcmp(name, "file") == 0)
		return parse_file(p, &rest) ? 0 : -1;
	if (p->op_count == PROGRAM_OPS_MAX || !parse_op(&p->ops[p->op_count], name, &rest))
		return -1;
	p->op_count++;
	return 0;
}

int program_parse(struct program *ret, FILE *in, int *line)
{
	char text[512];
	bool inside = false;

	while (fgets(text, sizeof(text), in) != NULL) {
		int done;

		(*line)++;
		done = parse_line(ret, text, &inside);
		if (done < 0)
			fprintf(stderr, "oracle: line %d is not understood\n", *line);
		if (done != 0)
			return done;
	}
	if (inside)
		fprintf(stderr, "oracle: the program has no end\n");
	return inside ? -1 : 0;
}
