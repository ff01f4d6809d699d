#!/bin/bash
# SPDX-License-Identifier: MIT
#
# numpy.sh QUIRE - numpy.memmap: the descriptor is closed while the map lives; shared, for reading, and copy on write
. "$(dirname "$0")/support.sh"
/usr/bin/python3 -c 'import numpy' 2>"$scratch/err" || {
	echo "1..0 # SKIP numpy is not installed: Debian has it in python3-numpy"
	exit 77
}

cat >"$scratch/memmap.py" <<'END'
import numpy as np, sys
path, n = sys.argv[1], 4_000_000
expected = np.arange(n, dtype="f8")
m = np.memmap(path, dtype="f8", mode="w+", shape=(n,))
m[:] = expected
m[::7] *= 2
expected[::7] *= 2
r = np.memmap(path, dtype="f8", mode="r")
assert (r == expected).all()
m[123] = 5.5
assert np.fromfile(path, dtype="f8", count=200)[123] == 5.5
c = np.memmap(path, dtype="f8", mode="c")
c[5] = -1
assert r[5] == 5 and c[5] == -1
m.sort()
expected[123] = 5.5
expected.sort()
assert (r == expected).all()
expected.tofile(path + ".expected")
END
serve 0 /usr/bin/python3 "$scratch/memmap.py" "$scratch/array" && served mmap 3
say 'an array four times the budget' $?
cmp "$scratch/array" "$scratch/array.expected"
say 'the file has what was stored' $?
finish
