#!/bin/bash
# SPDX-License-Identifier: MIT
#
# readme.sh LIBRARY-FOLDER README COMPILER... - the program in the README compiles as it stands there, and runs
. "$(dirname "$0")/tap.sh"
library=$1
readme=$2
include=$(dirname "$readme")/include
shift 2

sed -n '/^```c$/,/^```$/{/^```/d;p}' "$readme" >"$scratch/table.c"
[ -s "$scratch/table.c" ] &&
	run 0 "$@" -Wall -Wextra -Werror -O2 -I"$include" "$scratch/table.c" -o "$scratch/table" -L"$library" -lquire -Wl,-rpath,"$library"
say 'the program of the README compiles without a warning' $?

cd "$scratch" || exit 1
export QUIRE_MEMORY=8M
run 0 ./table
status=$?
if [ $status != 0 ] && err_has userfaultfd; then
	echo "ok 2 # SKIP $(head -n 1 err)"
	cases=$((cases + 1))
else
	say 'it runs in a budget of 8 MiB' $status
	# The counters in the file add up to the number of increments. Most of the file is a hole.
	sum=$(python3 - counters <<-'END'
		import array, os, sys
		fd = os.open(sys.argv[1], os.O_RDONLY)
		at = total = 0
		try:
		    while True:
		        at = os.lseek(fd, at, os.SEEK_DATA) & -8
		        counters = array.array("q", os.pread(fd, 1 << 16, at))
		        total += sum(counters)
		        at += len(counters) * 8
		except OSError:
		    print(total)
	END
	)
	[ "$sum" = 20000 ]
	say 'and every increment is in the file' $?
fi
finish
