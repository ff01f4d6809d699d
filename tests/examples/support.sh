# SPDX-License-Identifier: MIT
#
# support.sh - what the tests of the examples share; sourced by them, with the folder of the built examples in $1
# shellcheck shell=bash
. "$(dirname "$0")/../cli/tap.sh"
# shellcheck disable=SC2034 # the scripts that source this use it
examples=$1
# Far less than what the examples map, so that pages come and go.
export QUIRE_MEMORY=4M

# needs PROGRAM - skips the whole script where the program is not built, or this machine does not allow userfaultfd
needs()
{
	if [ ! -x "$examples/$1" ]; then
		echo "1..0 # SKIP $1 is not built"
		exit 77
	fi
	echo probe >"$scratch/probe"
	if [ -x "$examples/cat" ] && ! "$examples/cat" "$scratch/probe" >/dev/null 2>"$scratch/err" && err_has userfaultfd; then
		echo "1..0 # SKIP $(head -n 1 "$scratch/err")"
		exit 77
	fi
}

# text BYTES - that many bytes of words and lines, the same each time
text()
{
	awk -v want="$1" 'BEGIN {
		for (n = 12345; bytes < want; n = (n * 1103 + 12347) % 1000003) {
			line = "line " n " of the Text, word" sprintf("%c%c%c", 97 + n % 26, 97 + int(n / 26) % 26, 97 + int(n / 676) % 26)
			print line
			bytes += length(line) + 1
		}
	}' | head -c "$1"
}
