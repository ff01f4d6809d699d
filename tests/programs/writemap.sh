#!/bin/bash
# SPDX-License-Identifier: MIT
#
# writemap.sh QUIRE - LMDB with MDB_WRITEMAP: its writer stores into the mapping, and msync makes a transaction durable
. "$(dirname "$0")/support.sh"
/usr/bin/python3 -c 'import lmdb' 2>"$scratch/err" || {
	echo "1..0 # SKIP LMDB's module for Python is not installed: Debian has it in python3-lmdb"
	exit 77
}
memory=4M

cat >"$scratch/write.py" <<'END'
import lmdb, os, sys
env = lmdb.open(sys.argv[1], writemap=True, map_size=1 << 28)
pairs = {}
for round in range(30):
    with env.begin(write=True) as txn:
        for i in range(1500):
            key = b"%08d" % (i * 7919 * (round + 1) % 40000)
            value = b"%d:" % round + key * 30
            txn.put(key, value)
            pairs[key] = value
    with env.begin(write=True) as txn:
        for key in list(pairs)[round::17]:
            txn.delete(key)
            del pairs[key]
with env.begin() as txn:
    assert {bytes(k): bytes(v) for k, v in txn.cursor()} == pairs
child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
env.close()
with open(sys.argv[2], "wb") as out:
    for key in sorted(pairs):
        out.write(key + b" " + pairs[key] + b"\n")
END
cat >"$scratch/read.py" <<'END'
import lmdb, sys
env = lmdb.open(sys.argv[1], readonly=True)
with env.begin() as txn:
    for key, value in txn.cursor():
        sys.stdout.buffer.write(bytes(key) + b" " + bytes(value) + b"\n")
END
serve 0 /usr/bin/python3 "$scratch/write.py" "$scratch/db" "$scratch/expected" && served mmap && served msync 30
say 'transactions by stores into the mapping' $?
run 0 /usr/bin/python3 "$scratch/read.py" "$scratch/db" && cmp "$scratch/out" "$scratch/expected"
say 'the file has them without Quire' $?
serve 0 /usr/bin/python3 "$scratch/read.py" "$scratch/db" && served mmap && cmp "$scratch/out" "$scratch/expected"
say 'and with Quire' $?
finish
