#!/bin/bash
# SPDX-License-Identifier: MIT
#
# bigger.sh EXAMPLES - more anonymous memory than the budget (K06)
. "$(dirname "$0")/support.sh"
needs bigger

run 0 "$examples/bigger" 16 && out_has '16 MiB filled, 2097152 numbers verified, 0 wrong'
say 'four times the budget, filled and verified' $?
if out_has budget; then
	awk '/^budget/ { exit !($2 == 4 && $8 + 0 <= $2 + 0) }' "$scratch/out"
	say 'the budget was kept' $?
	# 16 MiB were filled and at most 4 stayed
	awk -v page="$(getconf PAGE_SIZE)" '/went out/ { exit !($1 * page >= 12 * 1048576 && $7 * page >= 12 * 1048576) }' "$scratch/out"
	say 'what did not fit went to swap and came back' $?
fi
run 0 "$examples/bigger" 1 && out_has '1 MiB filled'
say 'less than the budget' $?
run 2 "$examples/bigger" 0 && err_has usage
say 'no memory at all is refused' $?
finish
