#!/bin/bash
# SPDX-License-Identifier: MIT
#
# cat.sh QUIRE - `quire cat`: the literature's example, a file printed through a mapping (K08)
. "$(dirname "$0")/tap.sh"
quire=$(realpath "$1")
export QUIRE_MEMORY=4M

head -c 5000 /dev/urandom >"$scratch/small"
head -c 40000123 /dev/urandom >"$scratch/large"
: >"$scratch/empty"

if ! "$quire" cat "$scratch/small" >/dev/null 2>"$scratch/err" && err_has userfaultfd; then
	echo "1..0 # SKIP $(head -n 1 "$scratch/err")"
	exit 77
fi

run 0 "$quire" cat "$scratch/small" && cmp "$scratch/out" "$scratch/small"
say 'a small file with a ragged end' $?
run 0 "$quire" cat "$scratch/large" && cmp "$scratch/out" "$scratch/large"
say 'a file larger than the budget' $?
run 0 "$quire" cat "$scratch/empty" && [ ! -s "$scratch/out" ]
say 'an empty file prints nothing' $?
cat "$scratch/small" "$scratch/large" "$scratch/empty" "$scratch/small" >"$scratch/together"
run 0 "$quire" cat "$scratch/small" "$scratch/large" "$scratch/empty" "$scratch/small" && cmp "$scratch/out" "$scratch/together"
say 'several files, one of them twice' $?
cp "$scratch/small" "$scratch/--help"
(cd "$scratch" && "$quire" cat -- --help >out 2>err) && cmp "$scratch/out" "$scratch/small"
say 'a name like an option, after --' $?

run 1 "$quire" cat "$scratch/none" && err_has "$scratch/none: No such file"
say 'a missing file is named, with the reason' $?
run 1 "$quire" cat "$scratch" && err_has "quire cat: $scratch: quire_mmap:"
say 'a directory cannot be mapped' $?
mkfifo "$scratch/pipe"
run 1 "$quire" cat "$scratch/pipe" && err_has "quire cat: $scratch/pipe: quire_mmap:"
say 'a pipe cannot be mapped, and is not waited for' $?
run 1 "$quire" cat /dev/zero && err_has 'no size'
say '/dev/zero can be mapped, but has no end' $?
run 1 "$quire" cat "$scratch/none" "$scratch/small" && cmp "$scratch/out" "$scratch/small"
say 'the files after a bad one are printed' $?
"$quire" cat "$scratch/large" >/dev/full 2>"$scratch/err"
[ $? = 1 ] && err_has 'No space left'
say 'a full standard output is an error' $?

# The first megabyte holds the pipe up; the file then loses the pages that were still to come.
cp "$scratch/large" "$scratch/shrinking"
{
	"$quire" cat "$scratch/shrinking" "$scratch/small" 2>"$scratch/err"
	echo $? >"$scratch/status"
} | {
	head -c 1000000 >"$scratch/head"
	truncate -s 0 "$scratch/shrinking"
	cat >"$scratch/rest"
}
[ "$(cat "$scratch/status")" = 1 ] && err_has 'the file became shorter' && cmp -n 1000000 "$scratch/head" "$scratch/large" &&
	tail -c 5000 "$scratch/rest" | cmp - "$scratch/small"
say 'a file truncated meanwhile is named, and the next is printed' $?
finish
