#!/bin/bash
# SPDX-License-Identifier: MIT
#
# served.sh QUIRE MEMORY PROGRAM... - runs the program as a client of a server of its own; its status, unless the server's end is not in order
set -u
folder=$(mktemp -d "${TMPDIR:-/var/tmp}/quire-served.XXXXXX")
socket=$folder/socket
"$1" serve --socket "$socket" --memory "$2" 2>"$folder/log" &
server=$!
shift 2
for _ in $(seq 500); do
	[ -S "$socket" ] && break
	sleep 0.01
done
QUIRE_SERVER=$socket "$@"
status=$?
kill -TERM "$server"
wait "$server" || {
	status=1
	echo "# the server did not end in order"
}
grep -v 'listening at\|everything is written back' "$folder/log" | sed 's/^/# server: /'
rm -rf "$folder"
exit "$status"
