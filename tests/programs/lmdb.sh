#!/bin/bash
# SPDX-License-Identifier: MIT
#
# lmdb.sh QUIRE - LMDB: maps more than the file, and grows it by pwrite
. "$(dirname "$0")/support.sh"
need mdb_load lmdb-utils
memory=4M

{
	printf 'VERSION=3\nformat=print\ntype=btree\nmapsize=268435456\nmaxreaders=126\nHEADER=END\n'
	seq 1 60000 | awk '{ printf " k%08d\n v%0220d\n", $1, $1 * 7 }'
	printf 'DATA=END\n'
} >"$scratch/dump"
mkdir "$scratch/plain" "$scratch/served" "$scratch/copy"
mdb_load -f "$scratch/dump" "$scratch/plain"
mdb_dump "$scratch/plain" >"$scratch/expected"

serve 0 mdb_load -f "$scratch/dump" "$scratch/served" && served mmap && served write 100
say 'mdb_load' $?
mdb_dump "$scratch/served" | cmp - "$scratch/expected"
say 'what it has made is right without Quire' $?
serve 0 mdb_dump "$scratch/served" && served mmap && cmp "$scratch/out" "$scratch/expected"
say 'mdb_dump' $?
serve 0 mdb_copy -c "$scratch/served" "$scratch/copy" && served mmap && mdb_dump "$scratch/copy" | cmp - "$scratch/expected"
say 'mdb_copy, whose writes are from the mapping' $?
finish
