/* SPDX-License-Identifier: MIT */
/*
 * duty.c - what a thread does for others beside its own work, and has to leave to another before it sleeps
 */
#include "util/duty.h"

#include <stddef.h>

__thread struct duty *duty_now;

void duty_leave(void)
{
	struct duty *duty = duty_now;

	if (!duty)
		return;
	duty_now = NULL;
	duty->leave(duty);
}

bool duty_look(void)
{
	if (duty_now && duty_now->has_work(duty_now))
		duty_leave();
	return duty_now != NULL;
}
