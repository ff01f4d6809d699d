#!/bin/bash
# SPDX-License-Identifier: MIT
#
# copy.sh EXAMPLES - a file copied by memcpy from one mapping to another (K08)
. "$(dirname "$0")/support.sh"
needs copy

head -c 5000 /dev/urandom >"$scratch/small"
head -c 8192 /dev/urandom >"$scratch/pages"
: >"$scratch/empty"
# two windows of 64 MiB and a ragged end, sparse but for three places
truncate -s 134217728 "$scratch/large"
head -c 3000000 /dev/urandom | dd of="$scratch/large" bs=65536 seek=50 conv=notrunc status=none
head -c 70000 /dev/urandom | dd of="$scratch/large" oflag=seek_bytes seek=67076096 conv=notrunc status=none
head -c 12345 /dev/urandom >>"$scratch/large"

for name in small pages empty large; do
	run 0 "$examples/copy" "$scratch/$name" "$scratch/copy" && cmp "$scratch/$name" "$scratch/copy"
	say "a copy of the $name file is the same" $?
done
run 0 "$examples/copy" "$scratch/small" "$scratch/copy" && cmp "$scratch/small" "$scratch/copy"
say 'a shorter copy over a longer one leaves nothing of it' $?
run 1 "$examples/copy" "$scratch/small" "$scratch/small" && [ "$(stat -c %s "$scratch/small")" = 5000 ] && err_has 'is the file to copy'
say 'a file is not copied to itself' $?
run 1 "$examples/copy" "$scratch/none" "$scratch/copy2" && [ ! -e "$scratch/copy2" ] && err_has 'No such file'
say 'a missing file makes no copy' $?
finish
