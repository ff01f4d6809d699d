# SPDX-License-Identifier: MIT
#
# tap.sh - the few words that the shell tests are written in; sourced by them
# shellcheck shell=bash
set -u
export LC_ALL=C

cases=0
failures=0
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/quire-test.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# say NAME STATUS - one line of TAP: the case is good when STATUS is 0
say()
{
	cases=$((cases + 1))
	if [ "$2" = 0 ]; then
		echo "ok $cases - $1"
	else
		failures=$((failures + 1))
		echo "not ok $cases - $1"
		[ ! -e "$scratch/out" ] || head -c 1000 "$scratch/out" | sed 's/^/# out: /'
		[ ! -e "$scratch/err" ] || head -c 1000 "$scratch/err" | sed 's/^/# err: /'
	fi
}

# run STATUS COMMAND... - runs the command; its output is in $scratch/out and $scratch/err. True when it exits with STATUS.
run()
{
	expected=$1
	shift
	"$@" >"$scratch/out" 2>"$scratch/err" </dev/null
	status=$?
	[ "$status" = "$expected" ] || {
		echo "# exit status $status, not $expected: $*"
		return 1
	}
}

# err_has TEXT, out_has TEXT - the last run said it
err_has()
{
	grep -qF -e "$1" "$scratch/err"
}
out_has()
{
	grep -qF -e "$1" "$scratch/out"
}

finish()
{
	echo "1..$cases"
	[ "$failures" = 0 ]
}
