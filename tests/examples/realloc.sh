#!/bin/bash
# SPDX-License-Identifier: MIT
#
# realloc.sh EXAMPLES - a growing buffer on mremap (R02, K08)
. "$(dirname "$0")/support.sh"
needs realloc

# reverse NAME RESIZED - the example and tac agree on the file, and the block was resized that often
reverse()
{
	"$examples/realloc" <"$scratch/$1" >"$scratch/out" 2>"$scratch/err" || return 1
	tac "$scratch/$1" | cmp - "$scratch/out" && err_has "realloc: $(stat -c %s "$scratch/$1") bytes" && err_has "$2 times"
}

page=$(getconf PAGE_SIZE)
printf 'one\ntwo\nthree\n' >"$scratch/short"
reverse short 1
say 'a few lines in one page' $?
{
	head -c $((page - 4)) /dev/zero | tr '\0' x
	printf '\n\n\ny\n'
} >"$scratch/grown"
reverse grown 2
say 'one byte more than a page' $?
# from one page of 4096 bytes to the 16 MiB that hold it: 2^12 pages, and as many doublings and the first
text 12000000 >"$scratch/large"
echo >>"$scratch/large"
doublings=1
for ((size = page; size < $(stat -c %s "$scratch/large"); size *= 2)); do
	doublings=$((doublings + 1))
done
reverse large $doublings
say 'a text larger than the budget' $?
: >"$scratch/empty"
reverse empty 0
say 'no text' $?
printf 'no\nend' | "$examples/realloc" 2>/dev/null | cmp - <(printf 'end\nno\n')
say 'a last line without an end' $?
finish
