#!/bin/bash
# SPDX-License-Identifier: MIT
#
# readme.sh LIBRARY-FOLDER README COMPILER... - the programs in the README compile as they stand there, and run
. "$(dirname "$0")/tap.sh"
library=$1
readme=$2
include=$(dirname "$readme")/include
shift 2

# block KIND N - the Nth block of that kind
block()
{
	awk -v begin="\`\`\`$1" -v n="$2" '$0 == begin { count++; inside = count == n; next } /^```$/ { inside = 0 } inside' "$readme"
}

# compile N NAME COMPILER... - the Nth program
compile()
{
	block c "$1" >"$scratch/$2.c"
	name=$2
	shift 2
	[ -s "$scratch/$name.c" ] &&
		run 0 "$@" -Wall -Wextra -Werror -O2 -I"$include" "$scratch/$name.c" -o "$scratch/$name" -L"$library" -lquire -Wl,-rpath,"$library"
}

compile 1 table "$@"
say 'the program of the README compiles without a warning' $?
compile 2 transfer "$@"
say 'and so does the one with commits' $?
[ -z "$(block c 3)" ]
say 'there is no other' $?

cd "$scratch" || exit 1
export QUIRE_MEMORY=8M
run 0 ./table
status=$?
if [ $status != 0 ] && err_has userfaultfd; then
	cases=$((cases + 1))
	echo "ok $cases # SKIP $(head -n 1 err)"
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

	block console 1 >expected
	for _ in 1 2 3; do
		run 137 ./transfer && cat out >>told
	done
	sed 1d expected | cmp - told && [ "$(wc -l <told)" = 3 ]
	say 'the one with commits is killed three times, and prints what the README says' $?
fi
finish
