#!/bin/bash
# SPDX-License-Identifier: MIT
#
# symbols.sh LIBRARY HEADER... - the shared library exports what the headers declare, and nothing else; and it stays when it is loaded
. "$(dirname "$0")/tap.sh"

library=$1
shift
nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u >"$scratch/exported"
# A declaration starts its line with a type; comments start theirs with an asterisk, and macros go on in lines that are indented.
grep -hv '^[ /	]*\*' "$@" | grep -E '^[^ 	#]' | grep -oE '\<quire_[a-z0-9_]+\(' | tr -d '(' | sort -u >"$scratch/declared"

comm -23 "$scratch/declared" "$scratch/exported" >"$scratch/out"
[ -s "$scratch/declared" ] && [ ! -s "$scratch/out" ]
say 'every declared name is exported' $?
comm -13 "$scratch/declared" "$scratch/exported" >"$scratch/out"
[ ! -s "$scratch/out" ]
say 'no other name is exported' $?
nm -D --defined-only "$library" | awk '$2 == "T" { print $3 }' | grep -v '@@QUIRE_' >"$scratch/out"
[ ! -s "$scratch/out" ]
say 'every exported name carries its version' $?
readelf -d "$library" >"$scratch/out"
out_has NODELETE
say 'the library is never unloaded' $?
finish
