#!/bin/bash
# SPDX-License-Identifier: MIT
#
# usage.sh QUIRE - the command line of `quire` and what it says of itself
. "$(dirname "$0")/tap.sh"
quire=$(realpath "$1")

run 2 "$quire" && err_has 'Usage: quire VERB'
say 'without a verb it says how it is used, and fails' $?
run 0 "$quire" help && out_has 'bench ' && out_has 'cat ' && out_has 'check ' && out_has 'checkpoint ' && out_has 'probe ' && out_has 'recover ' && out_has 'run ' && out_has 'serve ' && out_has 'shm ' &&
	out_has 'version '
say 'help lists the verbs' $?
run 0 "$quire" --help && out_has 'Usage: quire VERB'
say '--help is help' $?
run 2 "$quire" nonesuch && err_has "there is no verb 'nonesuch'"
say 'an unknown verb is named' $?
for verb in bench cat check checkpoint probe recover run serve shm version help; do
	run 0 "$quire" $verb --help && out_has "Usage: quire $verb"
	say "$verb --help says how it is used" $?
	run 0 "$quire" help $verb && out_has "Usage: quire $verb"
	say "help $verb says the same" $?
	run 2 "$quire" $verb --nonesuch && err_has "unknown option '--nonesuch'"
	say "$verb names an unknown option" $?
done
run 2 "$quire" help nonesuch && err_has "there is no verb 'nonesuch'"
say 'help names an unknown verb' $?
run 0 "$quire" version && grep -qxE 'quire [0-9]+\.[0-9]+\.[0-9]+' "$scratch/out"
say 'version prints one' $?
run 0 "$quire" --version && out_has 'quire '
say '--version is version' $?
run 2 "$quire" version 1 && err_has "takes no argument, got '1'"
say 'version takes no argument' $?
run 0 "$quire" probe && [ -s "$scratch/out" ]
say 'probe prints what it found' $?
run 2 "$quire" probe 1 && err_has "takes no argument, got '1'"
say 'probe takes no argument' $?
run 2 "$quire" cat && err_has 'needs a file'
say 'cat needs a file' $?
run 2 "$quire" bench && err_has 'needs a file'
say 'bench needs a file' $?
"$quire" version >/dev/full 2>"$scratch/err"
[ $? = 1 ] && err_has 'No space left'
say 'a full standard output is an error' $?
finish
