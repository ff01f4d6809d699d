/* SPDX-License-Identifier: MIT */
/*
 * last.h - the end of a program's last thread ends the program
 */
#ifndef QUIRE_PRELOAD_LAST_H
#define QUIRE_PRELOAD_LAST_H

/* The engine has threads from now on: where the program's first thread has left already, its last one is looked for. */
void last_watch(void);

#endif
