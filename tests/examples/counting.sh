#!/bin/bash
# SPDX-License-Identifier: MIT
#
# counting.sh EXAMPLES - parent and child count in shared anonymous memory under a semaphore (M15, K08)
. "$(dirname "$0")/support.sh"
needs counting

run 0 "$examples/counting" 500 && sed 's/.*: //' "$scratch/out" | cmp - <(seq 0 999)
say 'each number is told once, in order' $?
[ "$(grep -c '^parent: ' "$scratch/out")" = 500 ] && [ "$(grep -c '^child: ' "$scratch/out")" = 500 ]
say 'and each of the two tells its half' $?
run 2 "$examples/counting" none && err_has usage
say 'what is no number is refused' $?
finish
