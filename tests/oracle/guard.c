/* SPDX-License-Identifier: MIT */
/*
 * guard.c - loads and stores that survive their signals
 */
#include "guard.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>

/* What the handler needs, per thread. volatile: written between sigsetjmp and siglongjmp. */
static _Thread_local sigjmp_buf guard_env;
static _Thread_local volatile sig_atomic_t guard_active;
static _Thread_local volatile struct trap guard_trap;
static void (*guard_crashed)(int sig);

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (!guard_active) {
		guard_crashed(sig);
		return;
	}
	guard_active = 0;
	guard_trap.sig = sig;
	guard_trap.code = info->si_code;
	guard_trap.addr = (uintptr_t)info->si_addr;
	siglongjmp(guard_env, 1);
}

void guard_install(void (*crashed)(int sig))
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_signal;
	action.sa_flags = SA_SIGINFO;
	sigemptyset(&action.sa_mask);
	guard_crashed = crashed;
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

/* Words and bytes by hand: memcpy might touch in any order, and is intercepted by the sanitizers. */
__attribute__((noinline)) static void copy_volatile(volatile void *to, const volatile void *from, size_t n)
{
	if (n % 8 == 0 && (uintptr_t)to % 8 == 0 && (uintptr_t)from % 8 == 0) {
		for (size_t i = 0; i < n / 8; i++)
			((volatile uint64_t *)to)[i] = ((const volatile uint64_t *)from)[i];
		return;
	}
	for (size_t i = 0; i < n; i++)
		((volatile uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
}

__attribute__((noinline)) static bool guard_copy(void *to, const void *from, size_t n, struct trap *ret)
{
	if (sigsetjmp(guard_env, 1) != 0) {
		*ret = (struct trap){guard_trap.sig, guard_trap.code, guard_trap.addr};
		return false;
	}
	guard_active = 1;
	copy_volatile(to, from, n);
	guard_active = 0;
	*ret = (struct trap){0, 0, 0};
	return true;
}

bool guard_load(void *buffer, const void *memory, size_t n, struct trap *ret)
{
	return guard_copy(buffer, memory, n, ret);
}

bool guard_store(void *memory, const void *buffer, size_t n, struct trap *ret)
{
	return guard_copy(memory, buffer, n, ret);
}
