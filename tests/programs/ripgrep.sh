#!/bin/bash
# SPDX-License-Identifier: MIT
#
# ripgrep.sh QUIRE - ripgrep --mmap finds what grep finds
. "$(dirname "$0")/support.sh"
need rg ripgrep

mkdir "$scratch/text"
for i in 1 2 3; do
	seq "$i" 7 6000000 | awk '{ print $1, $1 * 31 % 9973, "line of text" }' >"$scratch/text/$i"
done
serve 0 rg --mmap -c '9[0-4]7 ' "$scratch/text" && served mmap 3 &&
	sort "$scratch/out" | cmp - <(grep -c '9[0-4]7 ' -r "$scratch/text" | sort)
say 'lines that match are counted' $?
serve 0 rg --mmap -N -I '^[0-9]*777 ' "$scratch/text/1" && served mmap && cmp "$scratch/out" <(grep '^[0-9]*777 ' "$scratch/text/1")
say 'lines that match are printed' $?
serve 1 rg --mmap -c 'no such line' "$scratch/text"
say 'what is not there is not found' $?
finish
