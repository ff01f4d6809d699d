#!/bin/bash
# SPDX-License-Identifier: MIT
#
# terminals.sh EXAMPLES QUIRE README - what the README has two terminals do comes out as it says there (K08)
. "$(dirname "$0")/support.sh"
needs people
examples=$(realpath "$examples")
quire=$(realpath "$2")
readme=$(realpath "$3")
export XDG_RUNTIME_DIR=$scratch PATH="$(dirname "$quire"):$examples:$PATH"
cd "$scratch" || exit 1

# Each terminal is a shell of its own, which says when it has done a line.
mkfifo first second done
bash <first >first.out 2>first.err &
exec 3>first
bash <second >second.out 2>second.err &
exec 4>second
exec 5<>done

# type_in FILE-DESCRIPTOR LINE
type_in()
{
	echo "$2" >&"$1"
	echo 'echo $? >done' >&"$1"
	read -r -t 100 status <&5 && [ "$status" = 0 ]
}

awk '/^```console$/ { inside = 1; text = ""; next } /^```$/ { if (inside && text ~ /first\$/) printf "%s", text; inside = 0 } inside { text = text $0 "\n" }' \
	"$readme" >session
grep -v '^first\$ \|^second\$ ' session >expected
typed=0
while read -r terminal line; do
	case $terminal in
	'first$') type_in 3 "$line" || break ;;
	'second$') type_in 4 "$line" || break ;;
	*) continue ;;
	esac
	typed=$((typed + 1))
	# Who types is slower than a server that starts.
	[ "${line%&}" = "$line" ] || for _ in $(seq 1000); do
		[ -S quire.sock ] && break
		sleep 0.01
	done
done <session
[ "$typed" = "$(grep -c '^first\$ \|^second\$ ' session)" ] && [ "$typed" -ge 5 ]
say 'every line that is typed succeeds' $?
[ -s expected ] && cmp expected second.out
say 'the reader prints what the README shows' $?
grep -q 'listening at' first.err
say 'by the server that was started in the first terminal' $?
type_in 3 'kill $! && wait $!'
say 'which ends as it should' $?
exec 3>&- 4>&-
wait
finish
