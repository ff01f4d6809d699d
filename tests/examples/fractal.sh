#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fractal.sh EXAMPLES - a mapped picture that exists nowhere (M25)
. "$(dirname "$0")/support.sh"
needs fractal

run 0 "$examples/fractal" 78 24 && [ "$(head -n 24 "$scratch/out" | wc -l)" = 24 ]
say 'a picture of the size of the window' $?
# The set is symmetrical: so is the picture.
head -n 24 "$scratch/out" >"$scratch/picture" && tac "$scratch/picture" | cmp - "$scratch/picture" && grep -q '@@@' "$scratch/picture" && grep -q '^  ' "$scratch/picture"
say 'is symmetrical, and has inside and outside' $?
run 0 "$examples/fractal" 4194304 4194304 1500000 2097152
pages=$(awk 'END { print $1 }' "$scratch/out")
[ "$pages" -ge 24 ] && [ "$pages" -le 48 ] && out_has 'of 4294967296 pages'
say 'of 16 TiB only the pages in the window are computed' $?
run 2 "$examples/fractal" && err_has usage
say 'a size is wanted' $?
finish
