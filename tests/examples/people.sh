#!/bin/bash
# SPDX-License-Identifier: MIT
#
# people.sh EXAMPLES - ten people written by one process and read by another (K08)
. "$(dirname "$0")/support.sh"
needs people

for i in 0 1 2 3 4 5 6 7 8 9; do
	letters=bcdefghijk
	echo "name: ${letters:i:1} age $((20 + i));"
done >"$scratch/expected"

run 0 "$examples/people" write "$scratch/people" && [ "$(stat -c %s "$scratch/people")" = 80 ]
say 'the writer makes a file of ten structures' $?
run 0 "$examples/people" read "$scratch/people" && cmp "$scratch/out" "$scratch/expected"
say 'another process reads what was stored' $?
[ "$(od -A n -t d4 -j 4 -N 4 "$scratch/people" | tr -d ' ')" = 20 ] && [ "$(head -c 1 "$scratch/people")" = b ]
say 'and so does a program that knows nothing of mappings' $?
echo x >>"$scratch/people"
run 1 "$examples/people" read "$scratch/people" && err_has 'not a file of ten people'
say 'a file of another size is refused' $?
run 0 "$examples/people" write "$scratch/people" && run 0 "$examples/people" read "$scratch/people" && cmp "$scratch/out" "$scratch/expected"
say 'the writer replaces an old file' $?
rm "$scratch/people"
run 0 "$examples/people" share "$scratch/people" && cmp "$scratch/out" "$scratch/expected"
say 'a parent reads what its child has stored' $?
run 0 "$examples/people" read "$scratch/people" && cmp "$scratch/out" "$scratch/expected"
say 'and what the child has stored is in the file' $?
finish
