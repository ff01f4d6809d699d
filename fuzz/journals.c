/* SPDX-License-Identifier: MIT */
/*
 * journals.c - journals of many lives, torn and damaged, and what a scan makes of them
 *
 * A program is a writer (writer.h) that does a few dozen steps and is stopped by a crash, after which the scan has to find exactly what some
 * commit has left, none that was acknowledged being missing; and another writer goes on with what was found. In between, copies are
 *
 *      damaged     blocks get other bytes: the answer is a refusal, or what some commit has left; with one block damaged, none that
 *                  anything says was on stable storage is missing
 *      forged      fields get other values, and the checksums are made right: the answer may be anything that stays inside of the file
 *
 * Exit: 0 nothing found, 1 something, 2 wrong usage.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "writer.h"

enum { LIVES = 6, STEPS = 40, DAMAGES = 6, FORGERIES = 6, LIMIT_SECONDS = 60 };

static struct {
	uint64_t seed;
	int64_t first, programs;
	int seconds;
	const char *broken;
} options = {.seed = 1, .programs = 2000};

static volatile int64_t running = -1;
static uint64_t scans, refusals;

/* ---- what a scan says ---- */

struct answer {
	struct writer *writer;
	const struct scan_commit *commit;
	struct file_state state;
	struct journal_report report;
	struct scan_result result;
	bool spilled[WRITER_SEGMENTS];
	uint64_t last, expected_pages;
	bool inside; /* everything that was told lies inside of the file, and has its checksum */
	bool check_order;
};

static int on_commit(void *arg, const struct scan_commit *commit)
{
	struct answer *answer = arg;
	struct file_state *state = &answer->state;

	if (answer->check_order && commit->number <= answer->last)
		answer->inside = false;
	answer->inside = answer->inside && answer->expected_pages == 0;
	answer->last = commit->number;
	answer->expected_pages = commit->pages;
	for (uint64_t page = 0; page < WRITER_PAGES; page++)
		if (page * page_size() >= commit->least_bytes)
			state->whose[page] = UINT64_MAX;
	state->bytes = commit->file_bytes;
	if (options.broken && strcmp(options.broken, "size") == 0 && commit->number % 7 == 3)
		state->bytes++;
	return 0;
}

static int on_page(void *arg, const struct scan_page *page)
{
	struct answer *answer = arg;
	struct made *made = &answer->writer->made;
	uint64_t index = (page->block - HEADER_BLOCKS) / made->segment_blocks;

	answer->expected_pages--;
	if (page->block < HEADER_BLOCKS || page->block >= made->len / page_size() || page->page > INT64_MAX / page_size()) {
		answer->inside = false;
		return 0;
	}
	answer->spilled[index] = true;
	if (page->checksum != journal_page_checksum(made->salt, page->page, made_block(made, page->block), page_size()))
		answer->inside = false;
	if (page->page < WRITER_PAGES)
		answer->state.whose[page->page] = made_whose(made_block(made, page->block), page->page);
	if (options.broken && strcmp(options.broken, "page") == 0 && page->page == 5)
		answer->state.whose[5]++;
	return 0;
}

static int scan(struct writer *writer, struct answer *answer)
{
	struct scan_visitor visitor = {.arg = answer, .commit = on_commit, .page = on_page};
	int r;

	*answer = (struct answer){.writer = writer, .state = writer->file, .inside = true, .check_order = true};
	r = journal_scan(&writer->made.pager, &writer->made.file, writer_resolve, writer, &visitor, &answer->report,
			 &answer->result);
	scans++;
	refusals += r != 0;
	if (r == 0) {
		answer->inside = answer->inside && answer->expected_pages == 0;
		free(answer->result.segments);
		answer->result.segments = NULL;
		if (answer->last == 0)
			answer->state.bytes = answer->report.file_bytes;
	}
	if (options.broken && strcmp(options.broken, "lost") == 0 && r == 0 && answer->report.last > 3)
		answer->report.last = 3;
	return r;
}

/* ---- what it should have said ---- */

static bool is_state(const struct file_state *a, const struct file_state *b)
{
	/* What lies behind the end is nobody's. */
	for (uint64_t page = 0; page < WRITER_PAGES; page++)
		if (page * page_size() < b->bytes && a->whose[page] != b->whose[page])
			return false;
	return a->bytes == b->bytes;
}

/* Whether it is what the commit of its number has left, in the history that counts, or in one that was cut and may show yet. */
static bool is_history(const struct writer *writer, const struct answer *answer)
{
	uint64_t last = answer->report.last;

	if (last <= writer->history.last && is_state(&answer->state, &writer->history.after[last]))
		return true;
	for (unsigned i = 0; i < writer->cuts; i++)
		if (last <= writer->cut[i].last && is_state(&answer->state, &writer->cut[i].after[last]))
			return true;
	return false;
}

/* With what was cut before the last sync: a header that is damaged ends nothing any more. */
static bool was_history(const struct writer *writer, const struct answer *answer)
{
	uint64_t last = answer->report.last;

	for (unsigned i = 0; i < writer->n_buried && i < WRITER_BURIED; i++)
		if (last <= writer->buried[i].last && is_state(&answer->state, &writer->buried[i].after[last]))
			return true;
	return is_history(writer, answer);
}

static int found(const struct writer *writer, const struct answer *answer, const char *what, int r)
{
	printf("journals: seed %" PRIu64 " program %" PRId64 ": %s: answer %d «%s», commit %" PRIu64 " with %" PRIu64
	       " bytes; acknowledged %" PRIu64 ", written %" PRIu64 ", complete %" PRIu64 "\n",
	       options.seed, running, what, r, answer->report.problem, answer->report.last, answer->state.bytes, writer->acked,
	       writer->history.last, writer->complete);
	for (uint64_t page = 0; page < WRITER_PAGES && answer->report.last < WRITER_COMMITS; page++)
		if (answer->state.whose[page] != writer->history.after[answer->report.last].whose[page])
			printf("  page %" PRIu64 " has %" PRId64 ", not %" PRId64 "\n", page, (int64_t)answer->state.whose[page],
			       (int64_t)writer->history.after[answer->report.last].whose[page]);
	return 1;
}

/* After a crash: what was acknowledged, exactly, and more only as it was written. */
static int judge_crash(const struct writer *writer, const struct answer *answer, int r)
{
	if (r != 0)
		return found(writer, answer, "a crash is taken for damage", r);
	if (!answer->inside || !is_history(writer, answer))
		return found(writer, answer, "other bytes after a crash", r);
	if (answer->report.last < writer_counting(writer, writer->acked))
		return found(writer, answer, "a commit was lost in a crash", r);
	return 0;
}

/* ---- damage ---- */

static void damage_block(struct writer *writer, uint64_t block)
{
	char *at = made_block(&writer->made, block);
	uint64_t other = (uint64_t)rng_below(&writer->rng, (int64_t)(writer->made.len / page_size()));

	switch (rng_below(&writer->rng, 5)) {
	case 0:
		at[rng_below(&writer->rng, (int64_t)page_size())] ^= (char)(1 << rng_below(&writer->rng, 8));
		break;
	case 1:
		at[rng_below(&writer->rng, 200)] ^= (char)(1 << rng_below(&writer->rng, 8));
		break;
	case 2:
		memset(at, 0, page_size());
		break;
	case 3:
		memcpy(at, made_block(&writer->made, other), page_size());
		break;
	default:
		memcpy(at, writer->stable + block * page_size(), page_size());
	}
}

/* The last commit that something in the newest segment says was on stable storage, but for a block that was damaged. */
static uint64_t proven(const struct writer *writer, uint64_t damaged)
{
	uint64_t most = 0;

	for (uint32_t i = 0; !writer->go_on && i < writer->log.block; i++) {
		uint64_t block = made_segment_block(&writer->made, writer->log.index, i);

		if (block != damaged && writer->proof[block] > most)
			most = writer->proof[block];
	}
	return most;
}

static int try_damage(struct writer *writer, char *kept)
{
	uint64_t blocks = writer->made.len / page_size(), block = 0;
	int n = (int)rng_below(&writer->rng, 4);
	struct answer answer;
	bool is_judged;
	int r, wrong = 0;

	for (int i = 0; i < (n ? n : 1); i++) {
		block = (uint64_t)rng_below(&writer->rng, (int64_t)blocks);
		damage_block(writer, block);
	}
	r = scan(writer, &answer);
	/*
	 * If the last commit cannot be read which the file has already, and nothing but the file proves it, the file is what it is. So it is
	 * where two blocks were lost that each would have proven that the commits which are read had been cut off.
	 */
	is_judged = answer.report.last >= writer->file_last && (n < 2 || writer->n_buried == 0);
	if (r != 0 && r != -EUCLEAN && r != -EPROTO && r != -ESTALE)
		wrong = found(writer, &answer, "an answer that is none", r);
	else if (r == 0 && !answer.result.fresh && (!answer.inside || (is_judged && !was_history(writer, &answer))))
		wrong = found(writer, &answer, "other bytes out of a damaged journal", r);
	else if (r == 0 && n < 2 && answer.report.last < writer_counting(writer, proven(writer, block)))
		wrong = found(writer, &answer, "damage that can be proven is not seen", r);
	else if (r == 0 && answer.result.fresh && writer->history.last > 0)
		wrong = found(writer, &answer, "a damaged journal is taken for none", r);
	memcpy(writer->made.bytes, kept, writer->made.len);
	return wrong;
}

/* ---- forgery ---- */

static void forge_bytes(struct writer *writer, void *at, size_t len)
{
	static const uint64_t values[] = {0, 1, 2, 3, 7, 0x7fffffff, 0xffffffff, INT64_MAX, UINT64_MAX, 1ull << 51, 4096};
	uint64_t value = values[rng_below(&writer->rng, (int64_t)(sizeof(values) / sizeof(values[0])))];
	size_t offset = 8 * (size_t)rng_below(&writer->rng, (int64_t)(len / 8));
	size_t width = rng_percent(&writer->rng, 50) ? 4 : 8;

	if (rng_percent(&writer->rng, 30))
		value = (uint64_t)rng_below(&writer->rng, 40);
	if (width == 4 && rng_percent(&writer->rng, 50))
		offset += 4;
	memcpy((char *)at + offset, &value, width);
}

static void forge(struct writer *writer)
{
	struct made *made = &writer->made;
	uint64_t block = (uint64_t)rng_below(&writer->rng, (int64_t)(made->len / page_size()));
	char *at = made_block(made, block);
	uint64_t magic;

	memcpy(&magic, at, sizeof(magic));
	if (magic == JOURNAL_MAGIC) {
		forge_bytes(writer, at, sizeof(struct journal_header));
		made_sum_header(made, (unsigned)block);
	} else if (magic == SEGMENT_MAGIC) {
		forge_bytes(writer, at, sizeof(struct segment_header));
		made_sum_segment(made, (block - HEADER_BLOCKS) / made->segment_blocks);
	} else if (magic == GROUP_MAGIC) {
		forge_bytes(writer, at, sizeof(struct group_header) + 4 * sizeof(struct group_entry));
		made_sum_group(made, (struct group_header *)at);
	}
}

static int try_forgery(struct writer *writer, char *kept)
{
	int n = 1 + (int)rng_below(&writer->rng, 60);
	struct answer answer;
	int r, wrong = 0;

	for (int i = 0; i < n; i++)
		forge(writer);
	r = scan(writer, &answer);
	if (r != 0 && r != -EUCLEAN && r != -EPROTO && r != -ESTALE)
		wrong = found(writer, &answer, "an answer that is none", r);
	else if (r == 0 && !answer.inside)
		wrong = found(writer, &answer, "a forged journal leads out of its file", r);
	memcpy(writer->made.bytes, kept, writer->made.len);
	return wrong;
}

/* ---- programs ---- */

static int live(struct writer *writer)
{
	char *kept = malloc(writer->made.len);
	struct scan_visitor nothing = {0};
	struct scan_result result;
	struct answer answer;
	int r, wrong = 0;

	for (int step = 0; step < STEPS && writer_step(writer); step++)
		;
	memcpy(kept, writer->made.bytes, writer->made.len);
	for (int i = 0; i < DAMAGES && !wrong; i++)
		wrong = try_damage(writer, kept);
	for (int i = 0; i < FORGERIES && !wrong; i++)
		wrong = try_forgery(writer, kept);
	free(kept);
	if (wrong)
		return wrong;
	writer_crash(writer);
	r = scan(writer, &answer);
	wrong = judge_crash(writer, &answer, r);
	if (wrong)
		return wrong;
	/* What was cut and shows after all is what there is from now on. */
	for (unsigned i = 0; i < writer->cuts; i++)
		if (!(answer.report.last <= writer->history.last &&
		      is_state(&answer.state, &writer->history.after[answer.report.last])) &&
		    answer.report.last <= writer->cut[i].last &&
		    is_state(&answer.state, &writer->cut[i].after[answer.report.last])) {
			writer->history = writer->cut[i];
			break;
		}
	r = journal_scan(&writer->made.pager, NULL, writer_resolve, writer, &nothing, NULL, &result);
	if (r != 0)
		return found(writer, &answer, "another answer to the same question", r);
	writer_reopen(writer, &result, answer.report.last, answer.spilled);
	free(result.segments);
	return 0;
}

static int run_program(uint64_t number)
{
	struct writer *writer = malloc(sizeof(*writer));
	int wrong = 0;

	running = (int64_t)number;
	alarm(LIMIT_SECONDS);
	writer_start(writer, rng_stream(options.seed, number));
	for (int i = 0; i < LIVES && !wrong; i++)
		wrong = live(writer);
	writer_done(writer);
	free(writer);
	return wrong;
}

static void crashed(int sig)
{
	static char text[100];

	snprintf(text, sizeof(text), "\njournals: signal %d in seed %" PRIu64 " program %" PRId64 "\n", sig, options.seed, running);
	(void)!write(2, text, strlen(text));
	signal(sig, SIG_DFL);
	raise(sig);
}

static void usage(FILE *out)
{
	fputs("usage: journals [options]\n"
	      "Writes journals, crashes, damages and forges them, and judges what a scan finds.\n"
	      "  --programs N     how many (2000)\n"
	      "  --seconds T      end after T seconds instead\n"
	      "  --seed S         which programs (1)\n"
	      "  --first N        number of the first one (0)\n"
	      "  --break KIND     put a fault into the answers, which has to be found: size, page, lost\n",
	      out);
}

static void take_options(int argc, char **argv)
{
	static const struct option names[] = {
	    {"programs", required_argument, NULL, 'p'},
	    {"seconds", required_argument, NULL, 't'},
	    {"seed", required_argument, NULL, 's'},
	    {"first", required_argument, NULL, 'f'},
	    {"break", required_argument, NULL, 'b'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
		switch (c) {
		case 'p':
			options.programs = strtoll(optarg, NULL, 0);
			break;
		case 't':
			options.seconds = atoi(optarg);
			options.programs = INT64_MAX / 2;
			break;
		case 's':
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			options.first = strtoll(optarg, NULL, 0);
			break;
		case 'b':
			options.broken = optarg;
			break;
		default:
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
	}
}

int main(int argc, char **argv)
{
	time_t end;
	int64_t i;
	int wrong = 0;

	take_options(argc, argv);
	signal(SIGALRM, crashed);
	signal(SIGABRT, crashed);
	signal(SIGSEGV, crashed);
	end = time(NULL) + options.seconds;
	for (i = 0; i < options.programs && !wrong; i++) {
		if (options.seconds && time(NULL) >= end)
			break;
		wrong = run_program((uint64_t)(options.first + i));
	}
	alarm(0);
	printf("%" PRId64 " programs, %" PRIu64 " scans, %" PRIu64 " refused\n", i, scans, refusals);
	return wrong;
}
