#!/bin/bash
# SPDX-License-Identifier: MIT
#
# kv.sh EXAMPLES - a key-value store in an atomic mapping, and what is left of it when it is killed (B01)
#
# KV_KILLS=N   how often it is killed under load (default 100); KV_SEED=N
. "$(dirname "$0")/support.sh"
needs kv
kv=$examples/kv
store=$scratch/store
kills=${KV_KILLS:-100}
seed=${KV_SEED:-$RANDOM}

# lines N - as many lines, half of whose keys come again, and some of which are removed in the end
lines()
{
	awk -v n="$1" 'BEGIN {
		for (i = 0; i < n; i++) {
			value = sprintf("value %d", i)
			for (j = i % 20; j > 0; j--)
				value = value " and so on, for as long as it takes"
			printf "key%d\t%s\n", i * 7919 % (n / 2), value
		}
		for (i = 0; i < n / 2; i += 3)
			printf "key%d\n", i
	}'
}

# expected - what a store has of the lines on standard input
expected()
{
	awk -F '\t' 'NF == 2 { value[$1] = $2; next } { delete value[$1] } END { for (key in value) print key "\t" value[key] }' | sort
}

lines 40000 >"$scratch/lines"
expected <"$scratch/lines" >"$scratch/expected"
"$kv" "$store" load --tell <"$scratch/lines" >"$scratch/out" 2>"$scratch/err" &&
	[ "$(tail -n 1 "$scratch/out")" = "commit 47: 46667 lines" ] && [ "$(stat -c %s "$store")" -gt 8000000 ]
say 'lines are loaded, and each commit is told' $?
run 0 "$kv" "$store" scan && cmp "$scratch/out" "$scratch/expected"
say 'a scan gives them in the order of sort' $?
run 0 "$kv" "$store" scan key17 key2 && awk '$1 >= "key17" && $1 < "key2"' FS='\t' "$scratch/expected" | cmp - "$scratch/out" && [ -s "$scratch/out" ]
say 'and a range of them' $?
run 0 "$kv" "$store" verify && out_has "OK: commit 47, $(wc -l <"$scratch/expected") pairs"
say 'every node is in its place' $?
run 0 "$kv" "$store" get key19999 && [ "$(cat "$scratch/out")" = "$(awk -F '\t' '$1 == "key19999" { print $2 }' "$scratch/expected")" ]
say 'a single key is found' $?
run 1 "$kv" "$store" get key0 && err_has 'key0: there is no such key'
say 'one that was removed is not' $?

run 0 "$kv" "$store" put key0 'a new value' && run 0 "$kv" "$store" get key0 && [ "$(cat "$scratch/out")" = 'a new value' ]
say 'a value is put' $?
run 0 "$kv" "$store" put key0 '' && run 0 "$kv" "$store" get key0 && [ "$(cat "$scratch/out")" = '' ]
say 'and replaced' $?
run 0 "$kv" "$store" del key0 && run 1 "$kv" "$store" del key0 && err_has 'key0: there is no such key'
say 'and removed, once' $?
run 0 "$kv" "$store" stats && out_has 'commits   50' && out_has "pairs     $(wc -l <"$scratch/expected")"
say 'each of these was a commit' $?

before=$(stat -c %s "$store")
cut -f 1 "$scratch/expected" | "$kv" "$store" load --commit-every 5000 && run 0 "$kv" "$store" verify && out_has ' 0 pairs'
say 'when all is removed the nodes are free' $?
"$kv" "$store" load <"$scratch/lines" && run 0 "$kv" "$store" scan && cmp "$scratch/out" "$scratch/expected" &&
	[ "$(stat -c %s "$store")" = "$before" ] && run 0 "$kv" "$store" verify
say 'and used again before the file grows' $?

long=$(printf '%255s' '' | tr ' ' k)
run 0 "$kv" "$store" put "$long" "$(printf '%1000s' '' | tr ' ' v)" && run 0 "$kv" "$store" get "$long" && [ "$(wc -c <"$scratch/out")" = 1001 ]
say 'the longest key and value' $?
run 1 "$kv" "$store" put "${long}k" x && err_has 'a key of 256 bytes; it has 1 to 255'
say 'a longer key is refused' $?
run 1 "$kv" "$store" put x "$(printf '%1001s' '')" && err_has 'a value of 1001 bytes; it has at most 1000'
say 'a longer value is refused' $?
run 1 "$kv" "$store" put '' x && err_has 'a key of 0 bytes'
say 'an empty key is refused' $?
run 1 "$kv" "$scratch/none" scan && err_has 'kv FILE load makes one' && [ ! -e "$scratch/none" ]
say 'a missing store is not made by asking' $?
run 1 "$kv" "$scratch/lines" put a b && err_has 'not a store'
say 'a file that is none is left alone' $?
run 1 "$kv" "$store" load --commit-every 0 && err_has '--commit-every 0: not a number'
say 'a number that is none is refused' $?
run 2 "$kv" "$store" put a && err_has usage
say 'an argument that is missing is told' $?

# One byte of a leaf's text, then the number of the root: the last bytes of a node belong to an entry.
cp "$store" "$scratch/damaged"
printf '#' | dd of="$scratch/damaged" bs=1 seek=$((5 * 4096 - 1)) conv=notrunc status=none
run 1 "$kv" "$scratch/damaged" verify && err_has damaged
say 'a byte that is not as it was put is found' $?
cp "$store" "$scratch/damaged"
printf '\1\0' | dd of="$scratch/damaged" bs=1 seek=32 conv=notrunc status=none
run 1 "$kv" "$scratch/damaged" verify && err_has damaged
say 'and a root that is another node' $?

# kill KV N - kills that program as often; what comes of it is in out and err
kill_often()
{
	rm -rf "$scratch/kill"
	mkdir "$scratch/kill"
	python3 "$(dirname "$0")/kvkill.py" "$1" "$scratch/kill" "$2" "$seed" >"$scratch/out" 2>"$scratch/err"
}

kill_often "$kv" "$kills"
say "killed $kills times under load, it has every commit that it told of, and at most one more; seed $seed" $?
sed 's/^/# /' "$scratch/out"

# Programs that are wrong: one tells of commits before they are made, one loses the last ones, one has a value that was not put.
cat >"$scratch/early" <<EARLY
#!/bin/sh
[ "\$2" != load ] || [ "\$3" != --tell ] || { echo 'commit 2: 100 lines'; echo 'commit 3: 200 lines'; sleep 1; }
exec "$kv" "\$@"
EARLY
cat >"$scratch/losing" <<LOSING
#!/bin/sh
[ "\$2" != load ] || { [ ! -e "\$1.old" ] || cp "\$1.old" "\$1"; cp "\$1" "\$1.old" 2>/dev/null; }
exec "$kv" "\$@"
LOSING
cat >"$scratch/inventing" <<INVENTING
#!/bin/sh
[ "\$2" != scan ] || exec sh -c '"$kv" "\$@" | sed "2s/value/valve/"' sh "\$@"
exec "$kv" "\$@"
INVENTING
chmod +x "$scratch/early" "$scratch/losing" "$scratch/inventing"
! kill_often "$scratch/early" 3 && err_has 'was acknowledged, and the store is at commit'
say 'a commit that is told of and not there is found' $?
! kill_often "$scratch/losing" 50 && grep -qE 'not told one by one|was acknowledged' "$scratch/err"
say 'and so is one that was there and is not any more' $?
! kill_often "$scratch/inventing" 20 && err_has 'was committed'
say 'and a value that nobody has put' $?
finish
