/* SPDX-License-Identifier: MIT */
/*
 * storage.c - transfers that are waited for, and checksums
 */
#include <errno.h>

#define XXH_STATIC_LINKING_ONLY /* the state on the stack */
#include <xxhash.h>

#include "journal/scan.h"
#include "util/assert.h"

/* ---- transfers ---- */

static void transfer_done(struct pager_request *request)
{
	*(bool *)request->owner = true;
}

/* Bytes or -errno. What claims to have moved more than it was asked for has moved nothing that could be relied on. */
static int64_t transfer(struct pager *pager, enum pager_op op, uint64_t offset, void *buf, size_t len)
{
	bool done = false;
	struct pager_request request = {
	    .op = op,
	    .offset = offset,
	    .len = len,
	    .buf = buf,
	    .done = transfer_done,
	    .owner = &done,
	};

	pager->ops->run(pager, &request);
	ASSERT(done);
	if (request.ret_error != 0)
		return -(int64_t)request.ret_error;
	return request.ret_bytes <= len ? (int64_t)request.ret_bytes : -EIO;
}

int64_t journal_read(struct pager *pager, uint64_t offset, void *buf, size_t len)
{
	return transfer(pager, PAGER_READ, offset, buf, len);
}

int journal_write(struct pager *pager, uint64_t offset, const void *buf, size_t len)
{
	int64_t n = transfer(pager, PAGER_WRITE, offset, (void *)buf, len);

	if (n < 0)
		return (int)n;
	return n == (int64_t)len ? 0 : -EIO;
}

/* ---- checksums ---- */

uint64_t journal_page_checksum(uint64_t salt, uint64_t page, const void *bytes, size_t block_bytes)
{
	return XXH3_64bits_withSeed(bytes, block_bytes, salt ^ page);
}

uint64_t journal_block_checksum(uint64_t salt, const void *block, size_t block_bytes, size_t field)
{
	static const uint64_t zero;
	const char *bytes = block;
	size_t behind = field + sizeof(zero);
	XXH3_state_t state;

	ASSERT(behind <= block_bytes);
	XXH3_INITSTATE(&state);
	XXH3_64bits_reset_withSeed(&state, salt);
	XXH3_64bits_update(&state, bytes, field);
	XXH3_64bits_update(&state, &zero, sizeof(zero));
	XXH3_64bits_update(&state, bytes + behind, block_bytes - behind);
	return XXH3_64bits_digest(&state);
}
