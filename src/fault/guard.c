/* SPDX-License-Identifier: MIT */
/*
 * guard.c - guarded access: where a thread goes on instead of dying of SIGBUS
 *
 * The handler does not jump. It changes where its return leads: to `land`, on the stack of the access, which jumps. So the kernel itself
 * ends the handler, whatever stack that ran on and however it was set up (SS_AUTODISARM), and nothing of the program can run between
 * the handler and the jump with a state that is neither. Rejected: siglongjmp in the handler, as most programs do it, which leaves the
 * alternate stack disarmed; it stays for processors whose registers are not known here.
 */
#include "fault/guard.h"

#include <pthread.h>
#include <quire/guard.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#define RED_ZONE_BYTES 128 /* below the stack pointer, and in use all the same: x86-64 */

static __thread struct quire_guard *innermost;

/* A thread that blocks SIGBUS is killed by a fault that raises it. */
void guard_enter(struct quire_guard *guard)
{
	sigset_t bus;

	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_UNBLOCK, &bus, &guard->mask);
	guard->error = 0;
	guard->addr = NULL;
	guard->offset = -1;
	guard->outer = innermost;
	innermost = guard;
}

/* What the program has changed of its mask meanwhile stays. */
void guard_leave(struct quire_guard *guard)
{
	sigset_t bus;

	innermost = guard->outer;
	if (!sigismember(&guard->mask, SIGBUS))
		return;
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &bus, NULL);
}

struct quire_guard *guard_suspend(void)
{
	struct quire_guard *guard = innermost;

	innermost = NULL;
	return guard;
}

void guard_resume(struct quire_guard *guard)
{
	innermost = guard;
}

static _Noreturn void land(struct quire_guard *guard)
{
	innermost = guard->outer;
	pthread_sigmask(SIG_SETMASK, &guard->mask, NULL);
	siglongjmp(guard->jump, 1);
}

/* As if the instruction had been a call of land(guard). */
static void return_to_land(ucontext_t *context, struct quire_guard *guard)
{
#if defined(__x86_64__)
	greg_t *registers = context->uc_mcontext.gregs;
	const greg_t direction_flag = 0x400;

	registers[REG_RSP] = ((registers[REG_RSP] - RED_ZONE_BYTES) & ~(greg_t)15) - (greg_t)sizeof(void *);
	registers[REG_RDI] = (greg_t)(uintptr_t)guard;
	registers[REG_RIP] = (greg_t)(uintptr_t)land;
	registers[REG_EFL] &= ~direction_flag;
#elif defined(__aarch64__)
	context->uc_mcontext.sp &= ~15ull;
	context->uc_mcontext.regs[0] = (uintptr_t)guard;
	context->uc_mcontext.pc = (uintptr_t)land;
#else
	(void)context;
	land(guard);
#endif
}

bool guard_catch(void *context, const struct quire_error *error)
{
	struct quire_guard *guard = innermost;

	if (!guard)
		return false;
	guard->error = error->error;
	guard->addr = error->addr;
	guard->offset = error->offset;
	return_to_land(context, guard);
	return true;
}
