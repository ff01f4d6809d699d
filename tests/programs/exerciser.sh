#!/bin/bash
# SPDX-License-Identifier: MIT
#
# exerciser.sh QUIRE EXERCISER - a file is the same bytes, by calls and by mappings, in a process and its children
. "$(dirname "$0")/support.sh"
exerciser=$(realpath "$2")
memory=1M

files_are_right()
{
	cmp "$scratch/file0" "$scratch/model0" && cmp "$scratch/file1" "$scratch/model1"
}

run 0 "$exerciser" "$scratch" 3000 1 && files_are_right
say 'the kernel does what the exerciser asks for' $?
for seed in 1 2 3 4; do
	serve 0 "$exerciser" "$scratch" 3000 $seed && served mmap 20 && served read 500 && served write 300 && files_are_right
	say "Quire does, by seed $seed" $?
done
export EXERCISER_BYPASS=1
run 0 "$exerciser" "$scratch" 3000 1
say 'the kernel does also for what goes past every library' $?
serve 1 "$exerciser" "$scratch" 3000 1 && err_has ' is '
say 'the exerciser finds a write that goes past Quire' $?
finish
