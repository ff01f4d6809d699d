#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fio.sh QUIRE - fio with ioengine=mmap, which verifies by checksums what it has stored
. "$(dirname "$0")/support.sh"
need fio fio
memory=8M

# jobs KIND OPTION... - three of them, each on a file of its own
jobs()
{
	kind=$1
	shift
	serve 0 fio --name=job --directory="$scratch" --ioengine=mmap --bs=4k --size=16M --numjobs=3 --group_reporting --verify=crc32c --verify_state_save=0 \
		"$@" $([ "$kind" = thread ] && echo --thread) && out_has 'err= 0' && served mmap 3
}

for kind in thread process; do
	for pattern in write randwrite randrw; do
		jobs $kind --rw=$pattern --do_verify=1
		say "$pattern, three of a $kind" $?
		[ $pattern = randrw ] || rm -f "$scratch"/job.*
	done
	jobs $kind --rw=write --do_verify=0
	say "files are written by three of a $kind" $?
	for pattern in read randread; do
		jobs $kind --rw=$pattern
		say "$pattern, three of a $kind" $?
	done
	rm -f "$scratch"/job.*
done
# Written through Quire, verified by the kernel.
job=(--name=job --filename="$scratch/one" --ioengine=mmap --rw=randwrite --bs=4k --size=48M --verify=crc32c --verify_state_save=0)
serve 0 fio "${job[@]}" --do_verify=0 && served mmap && run 0 fio "${job[@]}" --verify_only && out_has 'err= 0'
say 'what was stored through Quire is in the file' $?
finish
