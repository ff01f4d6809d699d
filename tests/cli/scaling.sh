#!/bin/bash
# SPDX-License-Identifier: MIT
#
# scaling.sh QUIRE-SCALING PLOT - the simulator of large machines: its tables, its columns and its plot; never how fast
. "$(dirname "$0")/tap.sh"
program=$(realpath "$1")
plot=$(realpath "$2")

run 0 "$program" --quick --dir "$scratch"
status=$?
if grep -q 'not granted here' "$scratch/out"; then
	echo "1..0 # SKIP $(grep -m 1 'not granted' "$scratch/out")"
	exit 77
fi
say 'it measures, simulates and breaks no law' $status

out_has '| faults without I/O, 1 thread (by construction) |' && out_has '| + an object in 64 parts |' && out_has '| zipf(0.99) | 2048 GiB |'
say 'it tells what it has found' $?

python3 - "$scratch" <<-'END'
	import sys
	blocks = open(f"{sys.argv[1]}/cores.dat").read().strip().split("\n\n\n")
	assert len(blocks) == 4, len(blocks)
	for block in blocks:
	    head, *rows = [line.split("\t") for line in block.split("\n")]
	    assert [row[0] for row in rows] == ["1", "2", "4", "8", "16", "32", "64"], rows
	    for row in rows:
	        assert len(row) == len(head) and all(float(x) >= 0 for x in row), row
	    assert all(float(x) > 0 for x in rows[-1]), rows[-1]
	# Threads that share nothing any more are as many times faster as there are cores; as the code is they are not.
	one, *_, last = [[float(x) for x in line.split("\t")] for line in blocks[0].split("\n")[1:]]
	assert 60 < last[-1] / one[-1] < 65, (one, last)
	assert last[1] < last[-1], last
END
say 'the columns have a line for each number of cores' $?

if command -v gnuplot >/dev/null; then
	run 0 "$plot" "$scratch" && grep -q 'an object in 64 parts' "$scratch/cores.svg"
	say 'the plot is drawn' $?
else
	cases=$((cases + 1))
	echo "ok $cases - the plot # SKIP there is no gnuplot"
fi

run 2 "$program" --bogus && err_has 'usage'
say 'an option that there is none of is refused' $?
finish
