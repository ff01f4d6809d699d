/* SPDX-License-Identifier: MIT */
/*
 * processes.h - where a program ends, becomes another, or meets one
 */
#ifndef QUIRE_PRELOAD_PROCESSES_H
#define QUIRE_PRELOAD_PROCESSES_H

/* What was stored is in the files on return, as far as it can be. */
void processes_settle(void);

#endif
