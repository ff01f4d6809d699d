#!/bin/bash
# SPDX-License-Identifier: MIT
#
# people.sh QUIRE EXAMPLES - ten people written by one program and read by another, through one cache (K08)
. "$(dirname "$0")/../cli/tap.sh"
quire=$1
examples=$2
export QUIRE_SERVER=$scratch/socket

"$quire" serve --socket "$QUIRE_SERVER" --memory 4M 2>"$scratch/log" &
server=$!
for _ in $(seq 500); do
	[ -S "$QUIRE_SERVER" ] && break
	sleep 0.01
done
for i in 0 1 2 3 4 5 6 7 8 9; do
	letters=bcdefghijk
	echo "name: ${letters:i:1} age $((20 + i));"
done >"$scratch/expected"

run 0 "$examples/people" write "$scratch/people"
say 'the writer is served' $?
run 0 "$examples/people" read "$scratch/people" && cmp "$scratch/out" "$scratch/expected"
say 'another process reads what was stored' $?
run 0 "$examples/people" share "$scratch/people" && cmp "$scratch/out" "$scratch/expected"
say 'and so do a parent and its child' $?
run 1 "$quire" serve --socket "$QUIRE_SERVER" && err_has "listens at $QUIRE_SERVER already: process $server"
say 'a second server on the socket is refused, and the first named' $?
kill -TERM "$server"
wait "$server" && grep -q 'everything is written back' "$scratch/log"
say 'the server writes everything back and ends' $?
[ ! -e "$QUIRE_SERVER" ]
say 'its socket goes with it' $?
run 1 "$examples/people" read "$scratch/people" && err_has 'no server listens at'
say 'a program that was told of a server does not go on without' $?
run 2 "$quire" serve --memory much && err_has "--memory: 'much'" && run 2 "$quire" serve --idle-exit never && err_has "--idle-exit: 'never'"
say 'options that are none are refused' $?

# As the service manager does it: it listens, is told when the server is ready, and the server takes the socket.
cat >"$scratch/manager.py" <<'END'
import os, socket, subprocess, sys
scratch, quire, people = sys.argv[1:]
os.environ["NOTIFY_SOCKET"] = scratch + "/notify"
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(os.environ["NOTIFY_SOCKET"])
notify.settimeout(20)
listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listening.bind(scratch + "/handed")
listening.listen(8)
child = os.fork()
if child == 0:
    os.dup2(listening.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    os.execv(quire, ["quire", "serve"])
assert notify.recv(100) == b"READY=1"
os.environ["QUIRE_SERVER"] = scratch + "/handed"
subprocess.run([people, "read", scratch + "/people"], check=True, stdout=subprocess.DEVNULL)
os.kill(child, 15)
assert notify.recv(100) == b"STOPPING=1"
assert os.waitpid(child, 0)[1] == 0
assert os.path.exists(scratch + "/handed")
END
run 0 python3 "$scratch/manager.py" "$scratch" "$quire" "$examples/people"
say 'a socket that is handed over is served, and readiness is told' $?
finish
