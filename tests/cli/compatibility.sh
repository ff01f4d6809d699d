#!/bin/bash
# SPDX-License-Identifier: MIT
#
# compatibility.sh - docs/compatibility.md names the tests that there are, a line for each row; and what it would not say is found
. "$(dirname "$0")/tap.sh"
root=$(realpath "$(dirname "$0")/../..")
document=$root/docs/compatibility.md

check()
{
	"$root/scripts/compatibility" --check "$1" >"$scratch/out" 2>"$scratch/err"
}

# finds NAME TEXT SED-EXPRESSION - the check refuses the document that the expression makes of it, and says the text
finds()
{
	sed "$3" "$document" >"$scratch/changed.md"
	! cmp -s "$scratch/changed.md" "$document" && ! check "$scratch/changed.md" && err_has "$2"
	say "$1" $?
}

check "$document"
say 'the table has each row once, with the tests that there are' $?
finds 'a row without its tests is found' 'M07: the tests are others now' '/^| M07/s/`M07[^|]*|$/ |/'
finds 'a test that does not exist is found' 'M08: the tests are others now' '/^| M08/s/`M08_/`M08_no_/'
finds 'a row that is missing is found' 'K03: 0 lines' '/^| K03/d'
finds 'rows that share a line are found' 'is not one row' 's/^| K03 /| K03–K04 /'
finds 'a row that is there twice is found' 'S01: 2 lines' '/^| S01/p'
sed '/^| P01/s/|[^|]*|$/| |/' "$document" >"$scratch/changed.md"
"$root/scripts/compatibility" "$scratch/changed.md" && cmp "$scratch/changed.md" "$document" >"$scratch/out"
say 'and the script writes it anew' $?
finish
