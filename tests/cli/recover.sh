#!/bin/bash
# SPDX-License-Identifier: MIT
#
# recover.sh QUIRE MAKE-JOURNAL - `quire recover` and `quire checkpoint`: files get what was committed, and lose their journals
. "$(dirname "$0")/tap.sh"
quire=$(realpath "$1")
make_journal=$(realpath "$2")
page=$(getconf PAGESIZE)
cd "$scratch" || exit 1

# pages DIGITS FILE - a file as commits leave it, a digit a page; the last page is half a page
pages()
{
	: >"$2"
	for digit in $(printf %s "$1" | fold -w 1); do
		head -c "$page" /dev/zero | tr '\0' "$digit" >>"$2"
	done
	truncate -s -$((page / 2)) "$2"
}
pages 1223fff expected
head -c $((8 * page)) /dev/zero | tr '\0' f >unchanged
head -c $((8 * page)) expected >three
{ head -c $((3 * page)) expected; head -c $((5 * page)) unchanged; } >two

"$make_journal" file committed
run 0 "$quire" recover file && out_has 'file: complete: 3 commits with 5 pages copied' && cmp file expected
say 'all commits are copied into the file, and its size is theirs' $?
[ ! -e file-quire ] && run 0 "$quire" check file && out_has 'no journal'
say 'and the journal is gone, and its mark' $?
run 0 "$quire" recover file && out_has 'no journal: it is complete' && cmp file expected
say 'once more does nothing' $?

"$make_journal" again committed && cp again-quire kept
run 0 "$quire" checkpoint again && out_has 'complete: 3 commits' && cmp again expected && [ ! -e again-quire ]
say 'checkpoint does the same' $?
"$make_journal" torn torn
run 0 "$quire" recover torn && out_has 'complete: 3 commits' && cmp torn expected
say 'what a crash left half done does not count' $?
"$make_journal" 'done' complete && cp expected same && cat same >'done'
run 0 "$quire" recover 'done' && out_has 'nothing to be copied' && cmp 'done' expected && [ ! -e done-quire ]
say 'a complete journal is removed' $?

"$make_journal" damaged damaged
cp damaged-quire kept
run 1 "$quire" recover damaged && err_has 'the journal is damaged' && cmp damaged unchanged && cmp damaged-quire kept
say 'a damaged journal is refused, and nothing is written' $?
run 0 "$quire" recover --discard damaged && out_has 'which cannot be read' && cmp damaged unchanged && [ ! -e damaged-quire ]
say 'unless it is to be thrown away' $?
"$make_journal" thrown committed
run 0 "$quire" recover --discard thrown && out_has 'lost: commits 1 to 3, with 5 pages' && cmp thrown unchanged && [ ! -e thrown-quire ]
say 'what is thrown away is said' $?
run 0 "$quire" recover --discard thrown && out_has 'no journal'
say 'once more does nothing either' $?

"$make_journal" moved committed
mv moved-quire elsewhere
run 1 "$quire" recover moved && err_has 'is not there' && err_has 'quire recover --journal'
say 'a missing journal is said, with the remedy' $?
run 0 "$quire" recover --journal elsewhere moved && cmp moved expected && [ ! -e elsewhere ]
say 'a journal is taken from where it was moved' $?
"$make_journal" lost committed && rm lost-quire
run 0 "$quire" recover --discard lost && out_has 'lost: whatever is in its journal' && cmp lost unchanged &&
	run 0 "$quire" check lost && out_has 'no journal'
say 'a lost journal can be given up' $?
"$make_journal" one committed && "$make_journal" other committed && cp one-quire kept && mv one-quire other-quire
run 1 "$quire" recover other && err_has 'journal of another file' && cmp other-quire kept && cmp other unchanged
say 'the journal of another file is refused' $?
run 0 "$quire" recover --discard other && cmp other-quire kept
say 'and is not thrown away' $?
echo 'a file of mine' >mine-quire && cp unchanged mine
run 1 "$quire" recover mine && err_has 'not a journal'
say 'a file that only has the name is refused' $?
run 1 "$quire" recover --discard mine && err_has 'is not removed' && grep -q mine mine-quire
say 'and not removed' $?

"$make_journal" decider decider "$scratch/doubt" && "$make_journal" doubt doubt "$scratch/decider"
run 0 "$quire" recover decider && out_has 'another file' && cmp decider expected && [ -e decider-quire ]
say 'a journal that others may ask stays, and the file is complete' $?
run 0 "$quire" recover doubt && out_has '3 commits' && cmp doubt expected && [ ! -e doubt-quire ]
say 'one in doubt has what the journal that decides has' $?
run 0 "$quire" recover decider && [ ! -e decider-quire ] && cmp decider expected
say 'which is not needed any more afterwards' $?
"$make_journal" doubtful doubt "$scratch/absent"
run 1 "$quire" recover doubtful && err_has "$scratch/absent-quire" && cmp doubtful unchanged
say 'where the one that decides is not there, nothing is guessed' $?
cp unchanged absent
run 0 "$quire" recover doubtful && out_has '2 commits' && cmp -n $((8 * page)) doubtful two
say 'where it was removed in order, it had not decided' $?

: >empty-quire && cp unchanged empty
run 0 "$quire" recover empty && cmp empty unchanged && [ ! -e empty-quire ]
say 'an empty journal is removed' $?
run 1 "$quire" recover none file && err_has 'none: No such file' && out_has 'file: no journal'
say 'a missing file is named, and the next is made complete' $?
run 2 "$quire" recover && err_has 'needs a file'
say 'recover needs a file' $?
run 2 "$quire" checkpoint && err_has 'needs a file'
say 'checkpoint, too' $?
run 2 "$quire" recover --journal && err_has "option '--journal' needs a value"
say 'an option without its value is named' $?
run 2 "$quire" recover --discard=yes file && err_has "option '--discard' takes no value"
say 'and one with a value that it does not take' $?
run 2 "$quire" recover --journal=x file file && err_has 'takes one file with --journal'
say 'a journal is of one file' $?
finish
