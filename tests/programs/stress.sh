#!/bin/bash
# SPDX-License-Identifier: MIT
#
# stress.sh QUIRE - the mmap family of stress-ng's stressors, with --verify
. "$(dirname "$0")/support.sh"
need stress-ng stress-ng
memory=16M

# stressor CALL LEAST OPTION... - it has to pass, and to have had so many calls served
stressor()
{
	name=$1
	call=$2
	least=$3
	shift 3
	serve 0 timeout 60 stress-ng --temp-path "$scratch" --"$name" 1 --verify --oomable -t 2 "$@" && ! grep -q 'fail:' "$scratch/out" "$scratch/err" &&
		{ [ "$least" = 0 ] || served "$call" "$least"; }
	say "$name${1:+ $*}" $?
}

stressor mmap mmap 50 --mmap-file --mmap-bytes 8m
stressor mmap mmap 50 --mmap-file --mmap-async --mmap-bytes 8m
stressor msync msync 5 --msync-bytes 8m
stressor msyncmany mmap 5
stressor madvise mmap 1
stressor mmapfixed mmap 0
stressor mincore mincore 1
stressor mlock mlock 0
stressor mremap mremap 0

# Memory without a file, when that is asked for: by one trap only.
options=(--anonymous)
if [ "${QUIRE_TRAP:-}" = signal ]; then
	serve 126 stress-ng --version && err_has 'it needs the trap «thread»'
	say 'memory without a file is not for the signal trap' $?
else
	stressor mmap mmap 5 --mmap-bytes 24m
	stressor mremap mmap 3 --mremap-bytes 24m
fi
finish
