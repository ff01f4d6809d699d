#!/bin/bash
# SPDX-License-Identifier: MIT
#
# workers.sh EXAMPLES - processes share a list under a robust mutex, and one dies with it (M15)
. "$(dirname "$0")/support.sh"
needs workers

run 0 "$examples/workers" 2000 && [ "$(grep -c ': begun 1, done 1$' "$scratch/out")" = 2000 ] &&
	[ "$(tail -n 1 "$scratch/out")" = 'workers killed: 0' ]
say 'each job is done once' $?
run 0 "$examples/workers" 2000 1234 && [ "$(grep -c ': begun 1, done 1$' "$scratch/out")" = 1999 ] &&
	grep -q '^job 1234: begun 2, done 1$' "$scratch/out" && [ "$(tail -n 1 "$scratch/out")" = 'workers killed: 1' ]
say 'that of one who was killed with the mutex is done by another' $?
run 2 "$examples/workers" 0 && err_has usage
say 'an empty list is refused' $?
finish
