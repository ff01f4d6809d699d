#!/bin/bash
# SPDX-License-Identifier: MIT
#
# guarded.sh EXAMPLES - a file is read while another program cuts it (B03)
. "$(dirname "$0")/support.sh"
needs guarded

page=$(getconf PAGESIZE)
head -c $((40 * page)) /dev/urandom >"$scratch/file"
run 0 "$examples/guarded" "$scratch/file" true && out_has "all $((40 * page)) bytes"
say 'a file that nobody changes is read to its end' $?
run 1 "$examples/guarded" "$scratch/file" truncate -s $((10 * page + 1)) "$scratch/file" &&
	[ "$(tail -n 1 "$scratch/out")" = "$scratch/file: stopped at byte $((11 * page)): the file ends before that" ]
say 'a file that is cut is read up to where it is cut' $?
head -c $((40 * page)) /dev/urandom >"$scratch/file"
# shellcheck disable=SC2016 # the shell that is started expands it
run 0 "$examples/guarded" "$scratch/file" sh -c 'for i in 1 2 3 4 5 6 7 8 9; do truncate -s 100 "$1"; truncate -s "$2" "$1"; done' \
	sh "$scratch/file" $((40 * page)) && tail -n 1 "$scratch/out" >"$scratch/last" && grep -q "all $((40 * page)) bytes" "$scratch/last"
say 'a file that is cut and grown all the time is read to its end at the end' $?
run 1 "$examples/guarded" "$scratch/none" true && err_has 'No such file'
say 'a missing file is named' $?
finish
