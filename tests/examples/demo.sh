#!/bin/bash
# SPDX-License-Identifier: MIT
#
# demo.sh EXAMPLES - scripts/demo and scripts/corpus: that they work, and that the check of the index finds what is wrong
. "$(dirname "$0")/support.sh"
needs wordindex
needs wordindex-kernel
scripts=$(cd "$(dirname "$0")/../../scripts" && pwd)
export DEMO_DIR=$scratch/demo
# A cgroup of 4 MiB would hardly hold the kernel's program itself. The index of 24 MiB is larger than the budget all the same.
export QUIRE_MEMORY=16M DEMO_SLOTS=393216
unset CORPUS

run 0 "$scripts/corpus" --size 3 "$scratch/corpus" && [ "$(stat -c %s "$scratch/corpus")" = 3145728 ]
say 'a corpus is made of the text of this machine' $?
touch -d '2001-01-01' "$scratch/corpus"
run 0 "$scripts/corpus" --size 3 "$scratch/corpus" && [ "$(stat -c %Y "$scratch/corpus")" = "$(date -d 2001-01-01 +%s)" ]
say 'and kept when it is there' $?
run 2 "$scripts/corpus" --size x "$scratch/corpus" && err_has 'not a number of MiB'
say 'a size that is no number is refused' $?

BUILD=$(dirname "$examples") run 0 "$scripts/demo" "$scratch/corpus" && out_has 'check     OK' && out_has 'equal, byte by byte'
say 'the demonstration of a small corpus ends well' $?

# as if one had been ended in the middle
touch "$DEMO_DIR/index.unfinished"
BUILD=$(dirname "$examples") DEMO_COMMIT=1 run 0 "$scripts/demo" "$scratch/corpus" && out_has 'resumed at 3.0 MiB' &&
	out_has 'equal, byte by byte' && [ ! -e "$DEMO_DIR/index.unfinished" ]
say 'one that was ended in the middle goes on from its last commit' $?

# a program that is right but for the words that come out last of --get, and one that lost a word
mkdir -p "$scratch/bad/examples"
ln -s "$examples/wordindex-kernel" "$scratch/bad/examples/"
cat >"$scratch/bad/examples/wordindex" <<BAD
#!/bin/sh
"$examples/wordindex" "\$@" | if [ "\$1" = --get ]; then sed '\$s/[0-9] /7&/'; else cat; fi
BAD
chmod +x "$scratch/bad/examples/wordindex"
BUILD=$scratch/bad DEMO_KERNEL_SECONDS=0 run 1 "$scripts/demo" "$scratch/corpus" && out_has 'check     DIFFERENT'
say 'a wrong count is found' $?
cat >"$scratch/bad/examples/wordindex" <<BAD
#!/bin/sh
"$examples/wordindex" "\$@" | sed 's/^"words": [0-9]*/&0/'
BAD
BUILD=$scratch/bad DEMO_KERNEL_SECONDS=0 run 1 "$scripts/demo" "$scratch/corpus" && out_has 'words in the corpus'
say 'a wrong number of words is found' $?
cat >"$scratch/bad/examples/wordindex" <<BAD
#!/bin/sh
"$examples/wordindex" "\$@" || exit
[ "\$1" != --top ] || printf x | dd of="$scratch/demo/index" bs=1 seek=4000 conv=notrunc status=none
BAD
BUILD=$scratch/bad run 1 "$scripts/demo" "$scratch/corpus" && out_has 'indexes   DIFFERENT'
say 'a byte that differs from the index of the kernel is found' $?
BUILD=$(dirname "$examples") run 1 "$scripts/demo" "$scratch/none" && err_has 'not a file that can be read'
say 'a missing corpus is refused' $?
BUILD=$scratch run 1 "$scripts/demo" "$scratch/corpus" && err_has 'run make first'
say 'programs that are not built are named' $?
[ -z "$(ls -d "$scratch"/demo/work.* 2>/dev/null)" ]
say 'nothing temporary is left' $?
finish
