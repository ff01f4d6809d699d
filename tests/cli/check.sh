#!/bin/bash
# SPDX-License-Identifier: MIT
#
# check.sh QUIRE MAKE-JOURNAL - `quire check` says what journals hold
. "$(dirname "$0")/tap.sh"
quire=$(realpath "$1")
make_journal=$(realpath "$2")
cd "$scratch" || exit 1

head -c 32768 /dev/urandom >plain
run 0 "$quire" check plain && out_has 'plain: no journal: the file is complete'
say 'a file without a journal' $?
: >plain-quire
run 0 "$quire" check plain && out_has 'nothing was committed'
say 'one with an empty journal' $?

"$make_journal" file committed
md5sum file file-quire >before
run 0 "$quire" check file && out_has "journal $(realpath .)/file-quire" && out_has '3 of them, with 5 pages, are not in the file yet' &&
	out_has "as of the last commit: $((6 * $(getconf PAGESIZE) + $(getconf PAGESIZE) / 2)) bytes"
say 'commits that are not in the file are counted' $?
md5sum file file-quire | cmp - before
say 'and nothing was written' $?
"$make_journal" done complete && truncate -s $((6 * $(getconf PAGESIZE) + $(getconf PAGESIZE) / 2)) 'done'
run 0 "$quire" check 'done' && out_has 'all commits, up to number 3, are in the file'
say 'a complete file is said to be one' $?
truncate -s 5000 'done'
run 1 "$quire" check 'done' && out_has 'wrong: the file has 5000 bytes'
say 'one that was cut afterwards is not' $?
"$make_journal" torn torn
run 0 "$quire" check torn && out_has 'number 3' && out_has 'which does not count'
say 'what a crash left half done is right' $?
"$make_journal" damaged damaged
run 1 "$quire" check damaged && out_has 'wrong: the journal is damaged'
say 'a damaged journal is a problem' $?
"$make_journal" doubt doubt "$scratch/decider"
run 0 "$quire" check doubt && out_has '1 commit that another journal decides' && out_has '2 of them'
say 'a commit in doubt is mentioned' $?

mv file renamed
run 0 "$quire" check renamed && out_has 'file-quire' && out_has '3 of them'
say 'a renamed file finds its journal' $?
mv file-quire gone
run 1 "$quire" check renamed && err_has 'quire check: renamed: the file has a journal' && err_has 'is not there'
say 'a missing journal is a problem' $?
mv gone renamed-quire
run 0 "$quire" check renamed && out_has 'renamed-quire'
say 'and is found beside the renamed file' $?
cp doubt-quire renamed-quire
run 1 "$quire" check renamed && err_has 'is the journal of another file'
say 'the journal of another file is a problem' $?
run 1 "$quire" check none plain && err_has 'none: No such file' && out_has 'plain'
say 'a missing file is named, and the next is checked' $?
run 1 "$quire" check . && err_has 'only a regular file or a block device'
say 'a directory has no journal' $?
run 2 "$quire" check && err_has 'needs a file'
say 'check needs a file' $?
finish
