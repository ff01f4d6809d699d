#!/bin/bash
# SPDX-License-Identifier: MIT
#
# stripe.sh EXAMPLES - one object over several files (M25)
. "$(dirname "$0")/support.sh"
needs stripe
cd "$scratch" || exit 1

for bytes in 0 1 65536 65537 1000000 9000000; do
	text "$bytes" >input
	rm -f a b c
	"$examples/stripe" write a b c <input >out 2>err && [ "$(cat a b c | wc -c)" = "$bytes" ]
	say "$bytes bytes go into three files" $?
	run 0 "$examples/stripe" read a b c && cmp out input
	say 'and come out again' $?
done
# The second piece is the beginning of the second file.
tail -c +65537 input | head -c 65536 | cmp - <(head -c 65536 b)
say 'piece by piece' $?
rm c
run 1 "$examples/stripe" read a b c && err_has 'c: No such file'
say 'a missing file is told' $?
run 2 "$examples/stripe" read && err_has usage
say 'files are wanted' $?
finish
