/* SPDX-License-Identifier: MIT */
/*
 * rights.c - what the process whose call is made may do
 *
 * A process that is not seen from here, since it is in another namespace, has no more rights than anybody.
 */
#include "rights.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "entry.h"
#include "space/space.h"
#include "sys/page_size.h"
#include "util/message.h"

static bool has_capability(unsigned capability)
{
	struct caller caller = entry_caller();
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	if (entry_is_for_another() && caller.pid <= 0)
		return false;
	header.pid = entry_is_for_another() ? caller.pid : 0;
	return syscall(SYS_capget, &header, data) == 0 && (data[capability / 32].effective & (1u << (capability % 32)));
}

/* Where it cannot be asked for, ours. 0 or -errno. */
static int limit_of_locks(struct rlimit *ret)
{
	struct caller caller = entry_caller();

	if (entry_is_for_another() && caller.pid > 0 && prlimit(caller.pid, RLIMIT_MEMLOCK, NULL, ret) == 0)
		return 0;
	return getrlimit(RLIMIT_MEMLOCK, ret) < 0 ? -errno : 0;
}

int rights_to_lock(struct engine *engine, uint64_t more_pages, int error)
{
	struct rlimit limit;
	uint64_t pages;

	if (limit_of_locks(&limit) < 0 || limit.rlim_cur == RLIM_INFINITY || has_capability(CAP_IPC_LOCK))
		return 0;
	if (limit.rlim_cur == 0)
		return message_set(EPERM, "RLIMIT_MEMLOCK is 0: this process may not lock memory; raise it with ulimit -l");
	pages = space_locked_pages(entry_space(engine)) + more_pages;
	if (pages <= limit.rlim_cur >> page_shift)
		return 0;
	return message_set(error, "%llu bytes would be locked, and RLIMIT_MEMLOCK allows %llu; raise it with ulimit -l",
			   (unsigned long long)(pages << page_shift), (unsigned long long)limit.rlim_cur);
}

bool rights_to_lease(const struct stat *st)
{
	return entry_caller().uid == st->st_uid || has_capability(CAP_LEASE);
}

int rights_to_journal(void)
{
	struct caller caller = entry_caller();

	if (caller.uid == geteuid())
		return 0;
	return message_set(EPERM,
			   "a journal stands beside its file, where the server, of user %u, would make and remove it by its own "
			   "rights: it does so for that user's processes only, and this one is user %u's",
			   (unsigned)geteuid(), (unsigned)caller.uid);
}
