/* SPDX-License-Identifier: MIT */
/*
 * sanitizer.c - AddressSanitizer's locks over a fork
 *
 * The C library holds its malloc's locks over a fork, so that the child finds them free. AddressSanitizer's malloc does so since LLVM 18
 * only: before, a thread that allocates at the fork leaves its lock taken in the child for good. Here the locks are taken before the
 * fork, after all other handlers, and given back after it, before all others. The functions are those that the leak checker stops a
 * program with; they are there when the sanitizer is linked statically.
 */
#include <pthread.h>
#include <stddef.h>

#define RUNTIME(name, symbol) void name(void) __asm__(symbol) __attribute__((weak, visibility("hidden")))

RUNTIME(lock_threads, "_ZN6__lsan18LockThreadRegistryEv");
RUNTIME(unlock_threads, "_ZN6__lsan20UnlockThreadRegistryEv");
RUNTIME(lock_allocator, "_ZN6__lsan13LockAllocatorEv");
RUNTIME(unlock_allocator, "_ZN6__lsan15UnlockAllocatorEv");
RUNTIME(lock_stacks, "_ZN11__sanitizer17StackDepotLockAllEv");
RUNTIME(unlock_stacks, "_ZN11__sanitizer19StackDepotUnlockAllEv");

static void before_fork(void)
{
	lock_threads();
	lock_allocator();
	lock_stacks();
}

static void after_fork(void)
{
	unlock_stacks();
	unlock_allocator();
	unlock_threads();
}

/* Newer ones do it themselves, and have no lock for all stacks by this name. */
static void hold_locks_over_forks(void)
{
	if (lock_threads && lock_allocator && lock_stacks && unlock_stacks)
		pthread_atfork(before_fork, after_fork, after_fork);
}

/* The first handlers that are registered are the last before a fork, and the first after it. A library has no such array. */
#if !defined(__PIC__) || defined(__PIE__)
__attribute__((section(".preinit_array"), used)) static void (*const registers)(void) = hold_locks_over_forks;
#else
__attribute__((constructor(101))) static void watch_forks(void)
{
	hold_locks_over_forks();
}
#endif
