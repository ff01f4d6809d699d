#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh QUIRE VICTIM STATIC - quire run: what it refuses, and programs that are hard on it
. "$(dirname "$0")/support.sh"
victim=$(realpath "$2")
static=$(realpath "$3")
memory=2M
file=$scratch/file

# ---- the command ----

run 2 "$quire" run && err_has 'needs a program'
say 'without a program it says so' $?
run 127 "$quire" run no-such-program-at-all && err_has 'no-such-program-at-all: there is no such program in PATH'
say 'a program that is not in PATH' $?
run 127 "$quire" run "$scratch/none" && err_has "$scratch/none: there is no such program"
say 'a path of nothing' $?
run 126 "$quire" run "$scratch" && err_has 'it is a directory'
say 'a folder' $?
echo 'no program' >"$scratch/text"
run 126 "$quire" run "$scratch/text" && err_has 'Permission denied'
say 'a file that is not to be executed' $?
chmod +x "$scratch/text"
run 126 "$quire" run "$scratch/text" && err_has 'neither a program nor a script'
say 'a file that is no program' $?
run 126 "$quire" run "$static" && err_has 'linked statically'
say 'a static program is refused before it starts' $?
printf '#!%s\n' "$static" >"$scratch/script"
chmod +x "$scratch/script"
run 126 "$quire" run "$scratch/script" && err_has 'linked statically'
say 'a script of one, too' $?
printf '#!/bin/sh\nexec "%s" has "$1"\n' "$victim" >"$scratch/script"
if [ "$(id -u)" = 0 ]; then
	cp "$victim" "$scratch/setuid"
	chown nobody "$scratch/setuid"
	chmod 4755 "$scratch/setuid"
	run 126 "$quire" run "$scratch/setuid" && err_has 'setuid'
	say 'a setuid program is refused before it starts' $?
else
	echo "# a setuid program of another user can be made by root only"
fi
run 126 "$quire" run --memory 4K true && err_has '4096' && err_has 'too small; the least that works is'
say 'a budget that is too small is refused, with the least that works' $?
run 2 "$quire" run --memory much true && err_has "--memory is 'much'" && err_has '256M'
say 'a budget that is no number' $?
run 2 "$quire" run --trap mouse true && err_has "--trap is 'mouse'" && err_has 'auto, signal or thread'
say 'a trap that is none' $?
run 2 "$quire" run --nonesuch true && err_has "unknown option '--nonesuch'"
say 'an unknown option' $?
run 0 "$quire" run sh -c 'echo "$0" "$@"' --stats -x && [ "$(cat "$scratch/out")" = '--stats -x' ]
say 'options behind the program are its own' $?
run 7 "$quire" run sh -c 'exit 7' && run 7 "$quire" run --stats sh -c 'exit 7' && err_has 'Quire'
say 'the exit status is the program'\''s' $?
run 143 "$quire" run --stats sh -c 'kill $$'
say 'a signal that ends it is told as by a shell' $?

# ---- what is served ----

head -c 4194304 /dev/zero >"$scratch/zeros"
cp "$scratch/zeros" "$file"
serve 0 "$victim" has-threads "$file" && served mmap
say 'a mapping of a file is served' $?
cp "$file" "$scratch/stored"
run 0 "$quire" run --memory $memory --stats --match '*.db' -- "$victim" has "$file" && ! served mmap
say 'a file that does not match is left to the kernel' $?
run 0 "$quire" run --memory $memory --stats --match 'fi?e' -- "$victim" has "$file" && served mmap
say 'a file whose name matches is served' $?
run 0 "$quire" run --memory $memory --stats --match '*/quire-test*/f*' -- "$victim" has "$file" && served mmap
say 'a file whose path matches is served' $?
run 0 "$quire" run --memory $memory --stats -- "$scratch/script" "$file" && served mmap
say 'a script, and what it executes' $?

# ---- programs that are hard on it ----

# survives WHAT - ends well, by the kernel and by Quire, with all its stores in the file
survives()
{
	cp "$scratch/zeros" "$file"
	run 0 timeout -s KILL 20 "$victim" "$1" "$file" || return 1
	cp "$scratch/zeros" "$file"
	serve 0 timeout -s KILL 20 "$victim" "$1" "$file" && served mmap
}

for what in calls-by-number waits-for-the-killed calls-the-killed closes-everything few-descriptors keeps-locks execs-itself ends-at-once forks-and-execs makes-holes-beside-stores moves-pages-beside-stores calls-over-mixed-ranges{,-in-a-child} leaves-threads{,-that-map,-in-a-child} blocks-signals maps-in-handler maps-before-main; do
	survives $what && cmp "$file" "$scratch/stored"
	say "a program that: $what" $?
done
# The sanitizers' runtime has memory of its own.
if [ -z "${QUIRE_SANITIZED:-}" ]; then
	survives keeps-holes && cmp "$file" "$scratch/stored"
	say 'a program that: keeps-holes' $?
fi
for what in has-handlers spawns hands-memory-over replaces-by-fixed vforks-and-closes writes-at-the-end splices hands-memory-to-pipes \
	shares-an-offset attaches-segments writes-by-streams attaches-segments-over-memory; do
	survives $what
	say "a program that: $what" $?
done

cp "$scratch/zeros" "$file"
serve 0 timeout 20 "$victim" forks-and-leaves "$file" && served mmap && sleep 0.2 && cmp "$file" "$scratch/stored"
say 'a program that forks, and whose parent exits: its stores are in the file' $?
# Whoever reads its output to the end has waited for the child, too.
for what in is-a-daemon forks-twice leaves-by-{bare-exit,quick-exit,handler,signal}; do
	cp "$scratch/zeros" "$file"
	"$victim" $what "$file" | cat >"$scratch/out"
	ended=${PIPESTATUS[0]}
	out_has right && cmp "$file" "$scratch/stored"
	say "the kernel, and a program whose child goes on: $what" $?
	cp "$scratch/zeros" "$file"
	"$quire" run --memory $memory --stats -- "$victim" $what "$file" 2>"$scratch/err" | cat >"$scratch/out"
	[ "${PIPESTATUS[0]}" = "$ended" ] && out_has right && cmp "$file" "$scratch/stored" && served mmap 2
	say "a program whose child goes on: $what" $?
done
cp "$scratch/zeros" "$file"
serve 143 "$victim" is-terminated "$file" && cmp "$file" "$scratch/stored"
say 'a program that a signal ends: its stores are in the file' $?
cp "$scratch/zeros" "$file"
QUIRE_KEEPER=off serve 137 "$victim" is-killed "$file" && cmp -n 2097152 -i 200 "$file" "$scratch/stored" &&
	[ "$(dd if="$file" bs=1 skip=100 count=7 2>/dev/null)" = written ] && [ "$(stat -c %s "$file")" = 4194304 ]
say 'a program that is killed, without a keeper: what it has synced and what it has written is in the file' $?
# The signal trap cannot have it.
if [ "$QUIRE_TRAP" = thread ] && "$quire" run --anonymous -- true 2>/dev/null; then
	options=(--anonymous)
	survives attaches-segments-over-memory
	say 'with --anonymous, a program that attaches segments over its memory' $?
	options=()
fi
# Who reads its standard error to the end has waited for the keeper.
for what in is-killed has-a-fault aborts execs-in-vain; do
	cp "$scratch/zeros" "$file"
	"$quire" run --memory $memory -- "$victim" $what "$file" 2>&1 | cat >/dev/null
	status=${PIPESTATUS[0]}
	[ "$status" -gt 128 ] && cmp -i 200 "$file" "$scratch/stored" && [ "$(stat -c %s "$file")" = 4194304 ] &&
		{ [ $what != is-killed ] || [ "$(dd if="$file" bs=1 skip=100 count=7 2>/dev/null)" = written ]; }
	say "a program that dies, by $what: all that it has stored and written is in the file" $?
done
finish
