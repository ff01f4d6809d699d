#!/bin/bash
# SPDX-License-Identifier: MIT
#
# wordindex.sh EXAMPLES - a corpus counted into an index, both mapped and both larger than the budget
. "$(dirname "$0")/support.sh"
needs wordindex
index=$examples/wordindex

# count NAME - what sort and uniq count, in the order of --top
count()
{
	tr -cs 'A-Za-z' '\n' <"$1" | tr 'A-Z' 'a-z' | cut -c -55 | grep . | sort | uniq -c | sort -k 1,1nr -k 2,2 |
		awk '{ printf "%9d %s\n", $1, $2 }'
}

printf 'The cat, the CAT and\n\n the9dog.\0x' >"$scratch/few"
run 0 "$index" --quiet --slots 16 "$scratch/few" "$scratch/index" && [ ! -s "$scratch/out" ] && [ ! -s "$scratch/err" ]
say 'a few words are counted quietly' $?
run 0 "$index" --top 100 "$scratch/index" && count "$scratch/few" | cmp - "$scratch/out"
say 'in lower case, with anything but a letter between' $?
run 0 "$index" --top 2 "$scratch/index" && [ "$(cat "$scratch/out")" = "$(count "$scratch/few" | head -n 2)" ]
say 'the most frequent ones come first, then by the alphabet' $?
run 0 "$index" --get THE dog mouse "$scratch/index" &&
	[ "$(tr -s ' \n' ' ' <"$scratch/out")" = ' 3 the 1 dog 0 mouse ' ]
say 'single words are found, and one that is not there counts 0' $?

long=$(printf 'abcdefghij%.0s' 1 2 3 4 5 6)
printf '%s %sx %s' "$long" "$long" "${long:0:55}" >"$scratch/long"
run 0 "$index" --quiet --slots 8 "$scratch/long" "$scratch/index" && run 0 "$index" --top 9 "$scratch/index" &&
	[ "$(tr -s ' ' <"$scratch/out")" = " 3 ${long:0:55}" ]
say 'words that agree in their first 55 letters count together' $?

: >"$scratch/empty"
run 0 "$index" --slots 8 "$scratch/empty" "$scratch/index" && out_has '0 words' && run 0 "$index" --top 9 "$scratch/index" &&
	[ ! -s "$scratch/out" ]
say 'an empty corpus has no words' $?

# 3 MiB of text, 16 MiB of slots, and words on the borders of the steps in which the corpus is counted
text 3145728 >"$scratch/text"
yes 'borderline ' | tr -d '\n' | head -c 2100000 >>"$scratch/text"
run 0 "$index" --json --slots 262144 "$scratch/text" "$scratch/index"
say 'a corpus and an index larger than the budget' $?
cp "$scratch/out" "$scratch/json"
run 0 "$index" --top 10000 "$scratch/index" && count "$scratch/text" | head -n 10000 | cmp - "$scratch/out"
say 'have the counts that sort and uniq find' $?
words=$(tr -cs 'A-Za-z' '\n' <"$scratch/text" | grep -c .)
python3 - "$scratch/json" "$words" >"$scratch/out" 2>"$scratch/err" <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as text:
    f = json.load(text)
assert f["words"] == int(sys.argv[2]), f
assert f["corpus_bytes"] == 3145728 + 2100000 and f["index_bytes"] == 4096 + 64 * 262144, f
assert f["build"] == "kernel" or 0 < f["peak_resident_bytes"] <= f["budget_bytes"] == 4 << 20, f
assert f["build"] == "kernel" or f["read_bytes"] >= f["corpus_bytes"] and f["write_bytes"] > 0 and f["major_faults"] > 0, f
PYTHON
say 'and the figures fit: words, sizes, the budget that was kept' $?
if [ -x "$examples/wordindex-kernel" ]; then
	run 0 "$examples/wordindex-kernel" --quiet --slots 262144 "$scratch/text" "$scratch/index-kernel" &&
		cmp "$scratch/index" "$scratch/index-kernel"
	say 'the index is the one that the kernel build makes, byte by byte' $?
fi

# A smaller one, killed again and again, each time later, until it comes to its end.
head -c 5000000 "$scratch/text" >"$scratch/part"
run 0 "$index" --quiet --slots 131072 "$scratch/part" "$scratch/index"
kills=0 status=137
while [ $status = 137 ] && [ $kills -lt 25 ]; do
	"$index" --json --slots 131072 --commit-every 1 --resume "$scratch/part" "$scratch/resumed" >"$scratch/out" 2>"$scratch/err" &
	pid=$!
	sleep "$(awk -v n=$kills 'BEGIN { print 0.1 * 1.3 ^ n }')"
	kill -KILL $pid 2>/dev/null
	wait $pid 2>/dev/null
	status=$?
	[ $status != 137 ] || kills=$((kills + 1))
done
[ $status = 0 ] && [ $kills -gt 1 ] && ! out_has '"resumed_bytes": 0,'
say "a run that is killed $kills times goes on where it was, and comes to its end" $?
cmp "$scratch/index" "$scratch/resumed"
say 'with the index of one that was never killed, byte by byte' $?
run 0 "$index" --json --slots 131072 --resume "$scratch/part" "$scratch/resumed" && out_has '"resumed_bytes": 5000000,' &&
	cmp "$scratch/index" "$scratch/resumed"
say 'a complete index has nothing to go on with' $?
run 0 "$index" --quiet --slots 131072 --commit-every 3 "$scratch/part" "$scratch/resumed" && cmp "$scratch/index" "$scratch/resumed"
say 'and is made anew when it is not to be resumed' $?
run 1 "$index" --slots 131071 --resume "$scratch/part" "$scratch/resumed" && err_has 'cannot be resumed' && cmp "$scratch/index" "$scratch/resumed"
say 'an index of another size is not taken up' $?
run 1 "$index" --slots 131072 --resume "$scratch/few" "$scratch/resumed" && err_has 'cannot be resumed' && cmp "$scratch/index" "$scratch/resumed"
say 'nor one of another corpus' $?
if [ -x "$examples/wordindex-kernel" ]; then
	run 1 "$examples/wordindex-kernel" --resume "$scratch/part" "$scratch/index2" && err_has 'no commits' && [ ! -e "$scratch/index2" ]
	say 'the kernel has no commits' $?
fi

run 1 "$index" --quiet --slots 64 "$scratch/text" "$scratch/index" && err_has '64 slots are too few' && err_has '--slots'
say 'a full index says so, and what to do' $?
run 1 "$index" "$scratch/text" "$scratch/text" && err_has 'over the corpus' && [ "$(stat -c %s "$scratch/text")" = $((3145728 + 2100000)) ]
say 'the corpus is not overwritten' $?
run 1 "$index" --top 10 "$scratch/text" && err_has 'not an index'
say 'a file that is no index is refused' $?
run 0 "$index" --quiet --slots 64 "$scratch/few" "$scratch/index" && truncate -s 5000 "$scratch/index" &&
	run 1 "$index" --top 10 "$scratch/index" && err_has damaged
say 'a cut index is refused' $?
run 1 "$index" --quiet "$scratch/none" "$scratch/index2" && [ ! -e "$scratch/index2" ] && err_has "$scratch/none: No such file"
say 'a missing corpus makes no index' $?
run 1 "$index" --slots 0x "$scratch/few" "$scratch/index" && err_has '--slots 0x: not a number'
say 'a number that is none is refused' $?
run 2 "$index" --nonsense "$scratch/few" "$scratch/index" && err_has usage
say 'an unknown option is refused' $?
finish
