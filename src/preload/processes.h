/* SPDX-License-Identifier: MIT */
/*
 * processes.h - where a program ends, becomes another, or meets one
 */
#ifndef QUIRE_PRELOAD_PROCESSES_H
#define QUIRE_PRELOAD_PROCESSES_H

/* What was stored is in the files on return, as far as it can be. */
void processes_settle(void);

/* Before any other library registers what is to be done at exit. */
void processes_start(void);

/* The process is about to end, and calls no destructors. May be called by a handler of a signal. */
void processes_end(void);

#endif
