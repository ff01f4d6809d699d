#!/bin/bash
# SPDX-License-Identifier: MIT
#
# git.sh QUIRE - git on a pack larger than the budget
. "$(dirname "$0")/support.sh"
need git git
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null HOME="$scratch" GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e
repo=$scratch/repo

git init -q "$repo"
for i in 1 2 3; do
	for f in $(seq 1 150); do
		head -c 30000 /dev/urandom | base64 >"$repo/f$f"
	done
	git -C "$repo" add -A
	git -C "$repo" commit -qm "$i"
done
git -C "$repo" config core.packedGitWindowSize 1m
git -C "$repo" repack -adq
git -C "$repo" log -p --stat >"$scratch/expected"
pack=$(ls "$repo"/.git/objects/pack/*.pack)

serve 0 git -C "$repo" fsck --full --strict && served mmap 5
say 'fsck' $?
serve 0 git -C "$repo" log -p --stat && served mmap 5 && cmp "$scratch/out" "$scratch/expected"
say 'log -p' $?
serve 0 git -C "$repo" repack -adfq && git -C "$repo" log -p --stat | cmp - "$scratch/expected"
say 'repack, by its children' $?
serve 0 git clone -q --no-local "$repo" "$scratch/clone" && git -C "$scratch/clone" log -p --stat | cmp - "$scratch/expected"
say 'clone' $?
serve 0 git -C "$repo" index-pack --verify "$(ls "$repo"/.git/objects/pack/*.pack)"
say 'index-pack --verify' $?
[ -n "$pack" ]
say 'there was a pack' $?
finish
