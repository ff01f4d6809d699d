/* SPDX-License-Identifier: MIT */
/*
 * open.c - the public calls that make a descriptor of what is no file
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <quire/pager.h>

#include "entry.h"
#include "pager/file.h"
#include "pager/swap.h"
#include "sys/page_size.h"
#include "uri.h"

#define PAGER_MODE   0600         /* permission bits that fstat tells */
#define FILTER_DEPTH 8            /* transfers that go through filters at once */
#define FILTER_BYTES (512u << 10) /* of each */

static int check_oflags(int oflags)
{
	if ((oflags & O_ACCMODE) == O_RDONLY || (oflags & O_ACCMODE) == O_RDWR)
		return 0;
	return message_set(EINVAL, "the flags %#x are for writing only, and a mapping is read as well: use O_RDWR", oflags);
}

/* Sets a message where nothing said more than the errno. */
static int describe(int r, const char *what)
{
	return r < 0 ? message_set(-r, "%s: %s", what, strerrordesc_np(-r)) : r;
}

static int descriptor_of(struct engine *engine, struct source *source, int oflags)
{
	int fd = source_open(engine, source, oflags);

	source_release(engine, source);
	return describe(fd, "no descriptor can be made");
}

/* ---- pagers of the program's own ---- */

static int make_pager(struct engine *engine, const struct quire_pager_ops *ops, void *arg, struct object_file *file,
		      struct pager **ret)
{
	unsigned run_pages = (unsigned)pages_of(ops->best_size), transfers = 0;
	struct pager *below = NULL;
	int r;

	if (ops->populate)
		r = swap_pager_open(engine->io, engine->config.swap_dir, !engine->config.no_direct, &below);
	else
		r = object_buffers(engine->cache, run_pages, ops->depth, &file->buffers, &transfers);
	if (r == -ENOMEM)
		return message_set(ENOMEM, "no room for the buffers of a pager; raise the memory budget");
	if (r < 0)
		return r;
	r = user_pager_open(&engine->user_pagers, ops, arg, transfers, below, ret);
	if (r < 0)
		object_buffers_free(engine->cache, file->buffers);
	return describe(r, "a pager cannot be started");
}

static int make_pager_object(struct engine *engine, const struct quire_pager_ops *ops, void *arg, struct pager **ret_pager,
			     struct object **ret)
{
	struct object_file file = {.writable = ops->write || ops->populate};
	struct pager *pager;
	uint64_t bytes;
	int r = make_pager(engine, ops, arg, &file, &pager);

	if (r < 0)
		return r;
	r = user_pager_ask_size(pager, &bytes);
	if (r < 0) {
		pager->ops->close(pager);
		object_buffers_free(engine->cache, file.buffers);
		return message_set(-r, "the pager %s does not tell its size: %s", ops->name, strerrordesc_np(-r));
	}
	*ret_pager = pager;
	return object_create(&engine->registry, engine->cache, ops->populate ? OBJECT_ANON : OBJECT_FILE, pager, bytes, &file, ret);
}

int quire_open_pager(const struct quire_pager_ops *ops, void *arg, int oflags)
{
	struct quire_pager_ops table;
	struct source *source;
	struct engine *engine;
	struct object *object;
	struct pager *pager = NULL;
	struct entry entry;
	int r;

	entry_begin(&entry, "quire_open_pager");
	r = user_pager_check(ops, &table);
	if (r == 0)
		r = check_oflags(oflags);
	if (r == 0 && (oflags & O_ACCMODE) == O_RDWR && !table.write && !table.populate)
		r = message_set(EROFS, "the pager %s has no operation `write`: open it with O_RDONLY", table.name);
	if (r == 0)
		r = entry_engine(&engine);
	if (r < 0)
		return entry_end(&entry, r);
	(void)sources_sweep(engine);
	r = make_pager_object(engine, &table, arg, &pager, &object);
	if (r == 0)
		r = source_create(engine, object,
				  &(struct source_kind){.name = table.name,
							.mode = PAGER_MODE,
							.fixed = !table.resize,
							.asks = true,
							.unfilled = table.populate != NULL,
							.fd = -1},
				  &source);
	if (r == 0)
		r = descriptor_of(engine, source, oflags);
	if (r >= 0)
		user_pager_opened(pager);
	else
		(void)sources_sweep(engine);
	registry_bury(&engine->registry);
	return entry_end(&entry, r);
}

int quire_pager_complete(uint64_t id, int error, size_t bytes)
{
	struct engine *engine = entry_engine_if_started();
	struct entry entry;
	int r;

	entry_begin(&entry, "quire_pager_complete");
	if (engine)
		r = user_pager_complete(&engine->user_pagers, id, error, bytes);
	else
		r = message_set(ESTALE, "no transfer %#llx is under way: this process has no engine", (unsigned long long)id);
	return entry_end(&entry, r);
}

/* ---- files, and filters over them ---- */

static int open_file(const char *path, int oflags, mode_t mode)
{
	int fd = open(path, oflags, mode);

	return fd < 0 ? message_set(errno, "%s cannot be opened: %s", path, strerrordesc_np(errno)) : fd;
}

static int make_filters(struct engine *engine, const struct uri *uri, int fd, bool writable, struct pager **ret)
{
	struct pager *pager;
	int r = file_pager_open(engine->io, fd, writable, engine->trap == QUIRE_TRAP_THREAD, !engine->config.no_direct, &pager);

	if (r == -ENODEV)
		return message_set(ENODEV, "%s is neither a regular file nor a block device, and filters go over these", uri->path);
	if (r < 0)
		return describe(r, uri->path);
	return uri_stack(uri, pager, ret);
}

static int make_filtered_object(struct engine *engine, const struct uri *uri, int fd, bool writable, struct object **ret)
{
	struct object_file file = {.writable = writable};
	struct pager *pager;
	uint64_t bytes;
	unsigned most;
	int r = make_filters(engine, uri, fd, writable, &pager);

	if (r < 0)
		return r;
	r = pager->ops->size(pager, &bytes);
	if (r == 0)
		r = object_buffers(engine->cache, (unsigned)pages_of(FILTER_BYTES), FILTER_DEPTH, &file.buffers, &most);
	if (r < 0) {
		pager->ops->close(pager);
		return r;
	}
	return object_create(&engine->registry, engine->cache, OBJECT_FILE, pager, bytes, &file, ret);
}

static int open_filtered(const struct uri *uri, const char *name, int oflags, mode_t mode)
{
	bool writable = (oflags & O_ACCMODE) == O_RDWR;
	struct source *source;
	struct engine *engine;
	struct object *object;
	struct stat st;
	int fd, r = entry_engine(&engine);

	if (r < 0)
		return r;
	(void)sources_sweep(engine);
	fd = open_file(uri->path, oflags | O_CLOEXEC, mode);
	if (fd < 0)
		return fd;
	r = fstat(fd, &st) < 0 ? -errno : make_filtered_object(engine, uri, fd, writable, &object);
	close(fd);
	if (r == 0)
		r = source_create(engine, object, &(struct source_kind){.name = name, .mode = st.st_mode, .fd = -1}, &source);
	if (r == 0)
		r = descriptor_of(engine, source, oflags);
	registry_bury(&engine->registry);
	return r;
}

int quire_open(const char *name, int oflags, mode_t mode)
{
	struct entry entry;
	struct uri uri;
	int r;

	entry_begin(&entry, "quire_open");
	r = uri_parse(name, &uri);
	if (r == 0 && uri.n_filters == 0)
		r = open_file(uri.path, oflags, mode);
	else if (r == 0 && (r = check_oflags(oflags)) == 0)
		r = open_filtered(&uri, name, oflags, mode);
	return entry_end(&entry, r);
}
