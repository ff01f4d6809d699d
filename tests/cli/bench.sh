#!/bin/bash
# SPDX-License-Identifier: MIT
#
# bench.sh QUIRE - `quire bench`: the structure of its answer, and what it says where something cannot be measured; never how fast
. "$(dirname "$0")/tap.sh"
quire=$(realpath "$1")
export QUIRE_MEMORY=4M

head -c 3000123 /dev/urandom >"$scratch/file"
head -c 262144 /dev/urandom >"$scratch/changing"
head -c 10 /dev/urandom >"$scratch/tiny"
: >"$scratch/empty"
cp -p "$scratch/file" "$scratch/copy"

if ! "$quire" cat "$scratch/tiny" >/dev/null 2>"$scratch/err" && err_has userfaultfd; then
	echo "1..0 # SKIP $(head -n 1 "$scratch/err")"
	exit 77
fi

# json PROGRAM - true when the Python expressions, one a line, are all true of the answer d
json()
{
	python3 - "$scratch/out" "$1" <<-'END'
		import json, sys
		d = json.load(open(sys.argv[1]))
		for line in sys.argv[2].strip().split("\n"):
		    if not eval(line):
		        sys.exit("# not so: " + line)
	END
}

run 0 "$quire" bench --seconds 0.3 --threads 3 "$scratch/file" && out_has 'mapped by Quire, 1 thread' && out_has 'mapped by Quire, 3 threads' &&
	out_has 'quire_prefetch' && out_has 'mapped by the kernel, 3 threads' && out_has 'the file in order' && out_has 'In short'
say 'the table has every side, and a summary' $?
cmp "$scratch/file" "$scratch/copy" && [ ! "$scratch/file" -nt "$scratch/copy" ]
say 'the file is as it was' $?

run 0 "$quire" bench --json --memory=5M --seconds 0.3 --threads 3 "$scratch/file" && json "
d['file'] == '$scratch/file'
d['size_bytes'] == 3000123 and d['memory_bytes'] == 5 << 20 and d['threads'] == 3 and d['seconds'] == 0.3
d['kernel_limit_bytes'] is None or d['kernel_limit_bytes'] >= d['memory_bytes']
{l['side'] for l in d['lines']} == {'quire', 'quire_prefetch', 'kernel', 'io_uring'}
sorted(l['threads'] for l in d['lines'] if l['side'] == 'quire' and l['pattern'] == 'random') == [1, 3]
not d['io_uring'] or [l['depth'] for l in d['lines'] if l['side'] == 'io_uring' and l['pattern'] == 'random'] == [1, 8, 32, 128]
sorted(l['side'] for l in d['lines'] if l['pattern'] == 'in order') == ['io_uring', 'kernel', 'quire']
all(len(l['bytes_per_s']['samples']) == 3 for l in d['lines'])
all(0 < l['bytes_per_s']['min'] <= l['bytes_per_s']['median'] <= l['bytes_per_s']['max'] for l in d['lines'])
all(l['us']['p50'] <= l['us']['p99.99'] <= l['us']['max'] for l in d['lines'] if l['us'])
all(0 < l['reads'] <= 3 * 733 for l in d['lines'] if l['us'])
any('less than four times' in n for n in d['notes'])
"
say 'the JSON has three turns of each line, in which no page is read twice' $?
run 0 "$quire" bench --json --seconds 0.1 "$scratch/tiny" && json "d['size_bytes'] == 10 and len(d['lines']) >= 9"
say 'a file of ten bytes is measured' $?

run 1 "$quire" bench "$scratch/empty" && err_has "quire bench: $scratch/empty: it is empty" && err_has 'name a file with data'
say 'an empty file is named, with what to do' $?
run 1 "$quire" bench "$scratch/none" && err_has "$scratch/none: No such file"
say 'a missing file is named' $?
run 1 "$quire" bench "$scratch" && err_has 'neither a regular file nor a block device'
say 'a directory cannot be measured' $?
mkfifo "$scratch/pipe"
run 1 "$quire" bench "$scratch/pipe" && err_has 'neither a regular file nor a block device'
say 'nor a pipe, which is not waited for' $?

run 2 "$quire" bench "$scratch/file" "$scratch/tiny" && err_has 'takes one file, 2 were given'
say 'two files are too many' $?
run 2 "$quire" bench --memory 3X "$scratch/file" && err_has "--memory '3X'" && err_has '256M'
say 'a wrong --memory is named' $?
run 2 "$quire" bench --memory 1M "$scratch/file" && err_has "--memory '1M'" && err_has '4M at least'
say 'so is one that is too small' $?
QUIRE_MEMORY=many run 2 "$quire" bench "$scratch/file" && err_has "QUIRE_MEMORY 'many'"
say 'and a wrong QUIRE_MEMORY' $?
run 2 "$quire" bench --threads 0 "$scratch/file" && err_has "--threads '0'" && err_has '1 to 256'
say 'a wrong --threads is named' $?
run 2 "$quire" bench --seconds=x "$scratch/file" && err_has "--seconds 'x'"
say 'a wrong --seconds is named' $?
run 2 "$quire" bench "$scratch/file" --seconds && err_has "option '--seconds' needs a value"
say 'an option without its value is named' $?
run 2 "$quire" bench --json=1 "$scratch/file" && err_has "option '--json' takes no value"
say 'so is one with a value that it does not take' $?

# All of the file changes all the time, so that two turns see different bytes.
(while [ ! -e "$scratch/stop" ]; do head -c 262144 /dev/urandom | dd of="$scratch/changing" bs=256k iflag=fullblock conv=notrunc status=none; done) &
writer=$!
run 1 "$quire" bench --seconds 0.5 "$scratch/changing" && err_has 'it read other bytes than the lines before'
say 'lines that read different bytes are not compared' $?
touch "$scratch/stop"
wait $writer

# elsewhere NAME TEXT COMMANDS - runs the commands in a mount namespace of their own, and looks for the text in what they say; a skip where
# none can be made
elsewhere()
{
	if ! unshare -m true 2>/dev/null; then
		cases=$((cases + 1))
		echo "ok $cases - $1 # SKIP no mount namespace can be made here"
		return
	fi
	run 0 unshare -m sh -ec "$3" && out_has "$2"
	say "$1" $?
}
mkdir "$scratch/ram"
export RAM="$scratch/ram" FILE="$scratch/file" QUIRE_COMMAND="$quire"
# shellcheck disable=SC2016 # the inner shell expands it
{
	elsewhere 'without O_DIRECT it says what is measured instead' 'NO O_DIRECT: this filesystem refuses it' \
		'mount -t ramfs ramfs "$RAM"; cp "$FILE" "$RAM/file"; "$QUIRE_COMMAND" bench --seconds 0.1 "$RAM/file"'
	elsewhere 'a file that stays in the page cache is said to' 'NOT COLD: 100 % of the file' \
		'mount -t tmpfs tmpfs "$RAM"; cp "$FILE" "$RAM/file"; "$QUIRE_COMMAND" bench --seconds 0.1 "$RAM/file"'
	elsewhere 'without a memory cgroup it says that the kernel is not limited' 'THE KERNEL IS NOT LIMITED' \
		'umount -lR /sys/fs/cgroup; "$QUIRE_COMMAND" bench --seconds 0.1 "$FILE"'
}
finish
