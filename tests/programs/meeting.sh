#!/bin/bash
# SPDX-License-Identifier: MIT
#
# meeting.sh QUIRE - LMDB in two processes, each under Quire with a cache of its own: a reader sees whole transactions, and all of them
. "$(dirname "$0")/support.sh"
/usr/bin/python3 -c 'import lmdb' 2>"$scratch/err" || {
	echo "1..0 # SKIP LMDB's module for Python is not installed: Debian has it in python3-lmdb"
	exit 77
}
memory=2M

# Each opens, does a part, says so, and waits to be let on.
cat >"$scratch/process.py" <<'END'
import lmdb, os, struct, sys, time
what, path, transactions = sys.argv[1], sys.argv[2], int(sys.argv[3])
env = lmdb.open(path, map_size=1 << 26, writemap=what == "stores")
pad = bytes(300)

def write(i):
    with env.begin(write=True) as txn:
        value = struct.pack("<q", i)
        txn.put(b"first", value)
        for k in range(60):
            txn.put(b"k%04d" % ((i * 7 + k * 31) % 4000), value + pad)
        txn.put(b"last", value)

# The number of the last transaction that is there, all of which has to be.
def read():
    with env.begin() as txn:
        value = txn.get(b"last")
        assert value == txn.get(b"first"), "half of a transaction"
        if value is None:
            return -1
        newest = max(struct.unpack("<q", v[:8])[0] for k, v in txn.cursor() if k[:1] == b"k")
        assert newest == struct.unpack("<q", value)[0], "another transaction's pages"
        return newest

if what == "reads":
    read()
else:
    for i in range(50):
        write(i)
print("ready", flush=True)
end = time.time() + 60
while not os.path.exists(path + "/go"):
    assert time.time() < end
    time.sleep(0.005)
if what == "reads":
    seen = -1
    while seen < transactions - 1:
        now = read()
        assert now >= seen, "an older transaction than before"
        assert time.time() < end, "transactions are missing"
        seen = now
else:
    for i in range(50, transactions):
        write(i)
        assert read() == i, "its own transaction is not there"
print("done", flush=True)
END

# start NAME WHAT - in the background; returns when it is ready
start()
{
	"$quire" run --memory $memory --stats -- /usr/bin/python3 "$scratch/process.py" "$2" "$scratch/db" 300 >"$scratch/$1.out" 2>"$scratch/$1.err" &
	pids+=($!)
	for _ in $(seq 6000); do
		grep -q ready "$scratch/$1.out" && return 0
		kill -0 "${pids[-1]}" 2>/dev/null || return 1
		sleep 0.01
	done
	return 1
}

ended()
{
	for pid in "${pids[@]}"; do
		wait "$pid" || return 1
	done
	grep -q done "$scratch/first.out" && grep -q done "$scratch/second.out"
}

# For what went wrong.
tell()
{
	sed 's/^/# /' "$scratch/first.err" "$scratch/second.err"
}

for writer in writes stores; do
	for order in "reads $writer" "$writer reads"; do
		rm -rf "$scratch/db"
		mkdir "$scratch/db"
		pids=()
		start first "${order% *}" && start second "${order#* }" && touch "$scratch/db/go" && ended &&
			cp "$scratch/first.err" "$scratch/err" && served mmap && cp "$scratch/second.err" "$scratch/err" && ! served mmap
		status=$?
		[ $status = 0 ] || tell
		say "one process ${order% *}, another ${order#* }: the first is served until the second comes" $status
		rm "$scratch/db/go"
		run 0 /usr/bin/python3 - "$scratch/db" <<'END'
import lmdb, struct, sys
env = lmdb.open(sys.argv[1], map_size=1 << 26)
with env.begin() as txn:
    assert struct.unpack("<q", txn.get(b"last"))[0] == 299
    seen = {bytes(k): struct.unpack("<q", v[:8])[0] for k, v in txn.cursor() if k[:1] == b"k"}
expected = {}
for i in range(300):
    for k in range(60):
        expected[b"k%04d" % ((i * 7 + k * 31) % 4000)] = i
assert seen == expected
END
		say "and the file has all of it" $?
	done
done
finish
