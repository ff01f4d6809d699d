/* SPDX-License-Identifier: MIT */
/*
 * vfork.c - vfork(), in front of the C library's
 *
 * The child runs on the thread and in the memory of its parent, which sleeps meanwhile: thread-local data says to both that there was a vfork,
 * and the number of the process which of them one is. The call goes on as if it had been made directly, since it returns twice: there must be
 * no frame of ours then (raw.c). Where the processor is another, the children of vfork are not known.
 */
#include "vfork.h"

#include <unistd.h>

#include "next.h"
#include "processes.h"

__thread pid_t vfork_parent;

bool vfork_look(void)
{
	if (getpid() != vfork_parent)
		return true;
	vfork_parent = 0;
	return false;
}

void vfork_begin_child(void)
{
	vfork_parent = 0;
}

#if defined(__x86_64__)
pid_t (*vfork_next)(void);
void vfork_begin(void);
/* The child of a child counts as one of the first parent's. What was stored is in the files before another program may look. */
void vfork_begin(void)
{
	vfork_next = NEXT(vfork);
	if (vfork_is_child())
		return;
	processes_settle();
	vfork_parent = getpid();
}

__asm__(".text\n"
	".globl vfork\n"
	".type vfork, @function\n"
	"vfork:\n"
	"	endbr64\n"
	"	subq $8, %rsp\n"
	"	call vfork_begin\n"
	"	addq $8, %rsp\n"
	"	jmpq *vfork_next(%rip)\n"
	".size vfork, . - vfork\n");
#endif
