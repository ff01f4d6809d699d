#!/bin/bash
# SPDX-License-Identifier: MIT
#
# python.sh QUIRE - CPython's own tests of its mmap module, and what it makes of signals of its own
. "$(dirname "$0")/support.sh"
python=/usr/bin/python3
need $python python3
"$python" -c 'import test.test_mmap' 2>"$scratch/err" || {
	echo "1..0 # SKIP CPython's tests are not installed: Debian has them in libpython3.11-testsuite"
	exit 77
}
memory=4M

(cd "$scratch" && serve 0 "$python" -m test --tempdir "$scratch" test_mmap) && out_has 'SUCCESS' && served mmap 50
say "CPython's test_mmap" $?

cat >"$scratch/faults.py" <<'END'
import faulthandler, mmap, os, sys
faulthandler.enable()
f = open(sys.argv[1], "w+b")
f.truncate(1 << 22)
m = mmap.mmap(f.fileno(), 0)
faulthandler.enable()
for i in range(0, len(m), 4096):
    m[i] = i >> 12 & 255
print(sum(m[i] for i in range(0, len(m), 4096)))
sys.stdout.flush()
faulthandler._sigsegv()
END
serve 139 "$python" "$scratch/faults.py" "$scratch/file" && out_has 130560 && err_has 'Fatal Python error: Segmentation fault' && served mmap
say 'a handler of the program gets the faults of the program, and no others' $?
finish
