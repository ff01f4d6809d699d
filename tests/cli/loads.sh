#!/bin/bash
# SPDX-License-Identifier: MIT
#
# loads.sh QUIRE-BENCH PLOT - what the benchmarks of loads and of commits leave behind: the figures in the JSON, the columns and the plots;
# never how fast
. "$(dirname "$0")/tap.sh"
program=$(realpath "$1")
plot=$(realpath "$2")

run 0 "$program" --quick --only load-scan --only commit --runs 2 --threads 3 --dir "$scratch"
status=$?
if grep -q userfaultfd "$scratch/out"; then
	echo "1..0 # SKIP $(grep -m 1 userfaultfd "$scratch/out")"
	exit 77
fi
say 'the benchmarks run' $status

python3 - "$scratch/result.json" <<-'END'
	import json, sys
	d = json.load(open(sys.argv[1]))
	rows = d["benchmarks"][0]["rows"]
	trends = [r["trend"] for r in rows if "trend" in r]
	assert [(t["threads"], t["stores"]) for t in trends] == [(1, False), (3, False), (3, True)], trends
	assert [r["what"] for r in rows if "worst second" in r["what"] and "trend" in r] == []
	for row, t in ((r, r["trend"]) for r in rows if "trend" in r):
	    for side in "quire", "kernel", "limit":
	        s = t[side]
	        points = len(s["series"])
	        assert points == len(t["quire"]["series"]) and points >= 2 * 3, (side, points)
	        assert all(x >= 0 for x in s["series"]) and max(s["series"]) > 0, side
	        assert 0 <= s["fault_share"] <= 1, side
	        for times in s["fault_us"], s["access_us"]:
	            values = [times[p] for p in ("p50", "p90", "p99", "p99.9", "p99.99", "max")]
	            assert values == sorted(values), values
	        assert s["fault_share"] == 0 or s["fault_us"]["p50"] >= s["access_us"]["p50"] > 0
	        assert len(row[side]["samples"]) == 2
END
say 'the JSON has the series, the percentiles and the samples of each side' $?

mkdir "$scratch/empty"
ln -s "$(command -v sh)" "$scratch/empty/sh"
run 0 env PATH="$scratch/empty" sh "$plot" "$scratch" && out_has 'seconds.svg is not drawn: there is no gnuplot' &&
	out_has 'commit.svg is not drawn' && [ ! -e "$scratch/seconds.svg" ]
say 'without gnuplot the plots are said to be missing' $?
run 0 "$plot" "$scratch/empty" && [ ! -s "$scratch/out" ]
say 'without columns there is nothing to draw' $?
if command -v gnuplot >/dev/null; then
	run 0 "$plot" "$scratch" && python3 - "$scratch" <<-'END'
		import sys, xml.dom.minidom
		plots = {
		    "seconds": ["3 threads", "10 % stores", "Quire"],
		    "faults": ["p99.99", "kernel"],
		    "scaling": ["threads", "limit"],
		    "commit": ["dirty pages", "Quire", "kernel, MADV_RANDOM"],
		}
		for name, words in plots.items():
		    text = open(f"{sys.argv[1]}/{name}.svg").read()
		    xml.dom.minidom.parseString(text)
		    for word in words:
		        assert word in text, (name, word)
	END
	say 'the plots are drawn, and say what is in them' $?
else
	cases=$((cases + 1))
	echo "ok $cases - the plots # SKIP there is no gnuplot"
fi
finish
