#!/bin/bash
# SPDX-License-Identifier: MIT
#
# cat.sh EXAMPLES - a file printed through a mapping (K08)
. "$(dirname "$0")/support.sh"
needs cat

head -c 5000 /dev/urandom >"$scratch/small"
head -c 40000123 /dev/urandom >"$scratch/large"
: >"$scratch/empty"

run 0 "$examples/cat" "$scratch/small" && cmp "$scratch/out" "$scratch/small"
say 'a small file with a ragged end' $?
run 0 "$examples/cat" "$scratch/large" && cmp "$scratch/out" "$scratch/large"
say 'a file larger than the budget' $?
cat "$scratch/small" "$scratch/large" "$scratch/small" >"$scratch/together"
run 0 "$examples/cat" "$scratch/small" "$scratch/empty" "$scratch/large" "$scratch/small" && cmp "$scratch/out" "$scratch/together"
say 'several files, one of them empty, one of them twice' $?
run 1 "$examples/cat" "$scratch/none" "$scratch/small" && cmp "$scratch/out" "$scratch/small" && err_has "$scratch/none: No such file"
say 'a missing file is named, and the next one is printed' $?
run 1 "$examples/cat" "$scratch" && err_has "cat: $scratch: "
say 'a directory is refused' $?
finish
