/* SPDX-License-Identifier: MIT */
/*
 * wire.h - what an engine and the processes that it serves say to one another: docs/protocol.md
 *
 * At the other end is a process that was started by fork, or one that has connected to a server and said hello: values go as they are
 * in memory. There are two sockets.
 *
 *   calls   from the process to the engine: a request, with a socket for its reply. Any thread of the process sends, any thread of
 *           the engine answers, in any order.
 *   agent   from the engine to one thread of the process: an operation that only the process itself can do, and its reply; one at a time.
 */
#ifndef QUIRE_REMOTE_WIRE_H
#define QUIRE_REMOTE_WIRE_H

#include <quire/quire.h>
#include <stdatomic.h>
#include <stdint.h>

#include "remote/ranges.h"
#include "sys/pmap.h"

/* ---- hello ---- */

#define HELLO_MAGIC   "quire\r\n" /* with its end, 8 bytes */
#define HELLO_VERSION 1

/* The first message on the socket of a process that has connected. Both ends have to agree in all of it. */
struct hello {
	char magic[8];
	uint32_t version, page_bytes;
	uint32_t request_bytes, reply_bytes; /* of the structures below, as the one who speaks was compiled with them */
	uint32_t agent_bytes, op_bytes;
};

/* The answer to it, and from then on the socket is one for calls. */
struct hello_reply {
	struct hello hello;
	int32_t result; /* 0, or -errno: the connection ends */
	char detail[256];
};

/* ---- calls ---- */

enum call_name {
	CALL_ATTACH, /* fds: the agent's socket, the userfaultfd, the line */
	CALL_FORK,   /* a space for a child of the caller; gives its socket for calls. fd: a file that gets the ranges of it */
	CALL_FAULT,  /* arg: address, store. The enum fault_result; error */
	CALL_ACCESS, /* arg: address, needed protection. Whether it is allowed, as bit 0, and the number of edits */
	/*
	 * The public calls, with their arguments in order; a descriptor goes along, and its number in the caller is arg[4]; a result that is one
	 * comes so.
	 */
	CALL_MMAP,
	CALL_MUNMAP,
	CALL_MREMAP,
	CALL_MPROTECT,
	CALL_MSYNC,
	CALL_MADVISE,
	CALL_POSIX_MADVISE,
	CALL_MINHERIT,
	CALL_MINCORE,
	CALL_MLOCK,
	CALL_MUNLOCK,
	CALL_MLOCKALL,
	CALL_MUNLOCKALL,
	CALL_FTRUNCATE,
	CALL_SHM_OPEN,
	CALL_SHM_UNLINK,
	CALL_SHMGET,
	CALL_SHMAT,
	CALL_SHMDT,
	CALL_SHMCTL,
	CALL_RESIDENT,
	CALL_PREFETCH,
	CALL_DIRTY,
	CALL_WRITTEN,
	CALL_EPOCH,
	CALL_SET_MEMORY,
	CALL_STATS,
	CALL_AREA_STATS,
	CALL_MAPS,
	/* coherent.h: an offset and a length; the bytes that were read, or written. Gives how many were */
	CALL_FILE_READ,
	CALL_FILE_WROTE,
	CALL_FILE_FLUSH,   /* without a descriptor: every file */
	CALL_FILE_CHANGED, /* likewise */
	CALL_COMMIT,       /* the ranges; arg: flags */
	CALL_COMMIT_BEGIN, /* the ranges; fd: an eventfd, if any. The ticket */
	CALL_COMMIT_WAIT,  /* arg: a ticket */
	CALL_ROLLBACK,
	CALL_CHECKPOINT,
	CALL_SHM_LIST,    /* fd: a file that gets what has a name, and the segments: shm_tell */
	CALL_FILE_ZEROED, /* as CALL_FILE_CHANGED */
};

#define CALL_ARGS     6
#define CALL_INLINE   16384 /* bytes that go in the message; more goes in a file of its own, sent along as the last descriptor */
#define CALL_APART    (1ull << 30)
#define CALL_APART_IN (64ull << 20) /* of what goes with the request, which takes memory here whatever it is */
#define CALL_DETAIL   320

struct call_request {
	enum call_name name;
	int64_t arg[CALL_ARGS];
	uint64_t in_len, out_len; /* what goes with the request, and at most with the reply */
	int apart;                /* both in a file */
};

struct call_reply {
	int64_t result;           /* -errno: it failed */
	int not_ours;             /* nothing of the range is the engine's: the kernel is to be asked */
	struct quire_error error; /* of CALL_FAULT */
	char detail[CALL_DETAIL]; /* of a failure: the sentence */
};

/* What is mapped in a space: how many ranges there are, and as many of them as there was room for. */
struct call_ranges {
	uint64_t count;
	struct address_range all[];
};

/* ---- agent ---- */

/*
 * Before n operations, at most FAR_OPS, which are done in order until one fails; of each, fd says which of the descriptors that come along
 * it is about, or -1. The result is the last one's.
 */
struct agent_request {
	uint32_t number;
	uint32_t n;
	int read; /* the bytes at the operation's addr are wanted, len of them, and nothing is to be done */
};

struct agent_reply {
	uint32_t number;
	long result;
};

#define AGENT_READ_BYTES 65536 /* at most in one reply */

/*
 * In memory of both: which operation may be done. An engine that has waited long enough takes it back, and then knows that it will
 * not be done.
 */
struct agent_line {
	_Atomic uint32_t word; /* 4 * number + state */
	_Atomic uint32_t seen; /* the number of the last request that the agent has looked at, whether it was to be done or not */
};

enum agent_state { AGENT_ASKED, AGENT_DOES, AGENT_TAKEN_BACK };

static inline struct hello hello_ours(uint32_t page_bytes)
{
	return (struct hello){HELLO_MAGIC,
			      HELLO_VERSION,
			      page_bytes,
			      sizeof(struct call_request),
			      sizeof(struct call_reply),
			      sizeof(struct agent_request),
			      sizeof(struct memory_op)};
}

static inline uint32_t agent_word(uint32_t number, enum agent_state state)
{
	return number * 4 + (uint32_t)state;
}

#endif
