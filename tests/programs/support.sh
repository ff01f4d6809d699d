# SPDX-License-Identifier: MIT
#
# support.sh - what the tests of programs under `quire run` share; sourced by them, with the path of quire as their first argument
# shellcheck shell=bash
. "$(dirname "$0")/../cli/tap.sh"
quire=$(realpath "$1")
memory=8M
options=()

# Under the sanitizers: a command that finds the library that is built with them.
if [ -n "${QUIRE_SANITIZED:-}" ]; then
	mkdir -p "$scratch/sanitized/cli" "$scratch/sanitized/preload"
	cp "$quire" "$scratch/sanitized/cli/quire"
	ln -s "$(realpath "$QUIRE_SANITIZED")" "$scratch/sanitized/preload/libquire-preload.so"
	quire=$scratch/sanitized/cli/quire
	# What is left at the end of a process is no leak, and faults of the programs are what they ask for.
	export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0:handle_segv=0:handle_abort=0"
fi
# A tmpfs is memory already, and left to the kernel.
case $(stat -f -c %T "$scratch") in
tmpfs | ramfs)
	echo "1..0 # SKIP $scratch is on a tmpfs, whose files are left to the kernel: set TMPDIR"
	exit 77
	;;
esac
if ! "$quire" run -- true 2>"$scratch/err"; then
	echo "1..0 # SKIP $(head -n 1 "$scratch/err")"
	exit 77
fi

# need PROGRAM PACKAGE - ends the test as skipped where Debian's PACKAGE is not installed
need()
{
	command -v "$1" >/dev/null || {
		echo "1..0 # SKIP $1 is not installed: Debian has it in $2"
		exit 77
	}
}

# serve STATUS COMMAND... - runs the command under Quire, in a budget of $memory; output, and the counts, as run() leaves them
serve()
{
	expected=$1
	shift
	run "$expected" "$quire" run --memory "$memory" --stats "${options[@]}" -- "$@"
}

# served CALL [LEAST] - the last command had so many such calls served by Quire
served()
{
	awk -v call="$1" -v least="${2:-1}" '$1 == "quire" && $3 == call { n = $4 } END { exit !(n >= least) }' "$scratch/err"
}
