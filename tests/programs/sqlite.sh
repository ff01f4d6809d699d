#!/bin/bash
# SPDX-License-Identifier: MIT
#
# sqlite.sh QUIRE - SQLite with PRAGMA mmap_size: reads through the mapping, writes by pwrite, grows by ftruncate and mremap
. "$(dirname "$0")/support.sh"
need sqlite3 sqlite3

cat >"$scratch/script" <<'END'
PRAGMA mmap_size = 1073741824;
CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
	INSERT INTO t SELECT i, printf('%0200d', i * 7), i * 7919 % 1000 FROM n;
CREATE INDEX tc ON t(c);
SELECT count(*), sum(c) FROM t;
UPDATE t SET c = c + 1 WHERE a % 3 = 0;
DELETE FROM t WHERE a % 7 = 0;
SELECT count(*), sum(c), sum(length(b)) FROM t;
VACUUM;
SELECT a, b, c FROM t WHERE c = 500 ORDER BY a LIMIT 20;
PRAGMA integrity_check;
END

for mode in delete wal; do
	sqlite3 "$scratch/plain.db" "PRAGMA journal_mode = $mode" >"$scratch/out"
	sqlite3 "$scratch/plain.db" <"$scratch/script" >"$scratch/expected"
	sqlite3 "$scratch/served.db" "PRAGMA journal_mode = $mode" >"$scratch/out"
	"$quire" run --memory $memory --stats -- sqlite3 "$scratch/served.db" <"$scratch/script" >"$scratch/out" 2>"$scratch/err"
	cmp "$scratch/out" "$scratch/expected" && out_has ok && served mmap && served write 100
	say "a database larger than the budget, $mode" $?
	run 0 sqlite3 "$scratch/served.db" 'PRAGMA integrity_check; SELECT sum(a), sum(c) FROM t' && cp "$scratch/out" "$scratch/after" &&
		run 0 sqlite3 "$scratch/plain.db" 'PRAGMA integrity_check; SELECT sum(a), sum(c) FROM t' && cmp "$scratch/out" "$scratch/after"
	say "the file is right without Quire afterwards, $mode" $?
	rm -f "$scratch"/*.db*
done

# Two processes: one adds to two tables at once, the other one asks all the time whether their sums agree.
for mode in delete wal; do
	sqlite3 "$scratch/two.db" "PRAGMA journal_mode = $mode; CREATE TABLE x(v INTEGER, pad TEXT); CREATE TABLE y(v INTEGER, pad TEXT); CREATE TABLE z AS SELECT zeroblob(500000) AS pad;" >"$scratch/out"
	for i in $(seq 1 150); do
		echo "BEGIN IMMEDIATE; INSERT INTO x SELECT $i, hex(zeroblob(2000)); INSERT INTO y SELECT $i, hex(zeroblob(2000)); UPDATE x SET v = v + 1 WHERE v % 5 = $i % 5; UPDATE y SET v = v + 1 WHERE v % 5 = $i % 5; COMMIT;"
	done >"$scratch/writes"
	# The last term reads the far pages of z, which are in the database and not in its log, so that there is something to map.
	question='SELECT CASE WHEN (SELECT total(v) FROM x) = (SELECT total(v) FROM y) THEN 1 ELSE 0 END, (SELECT count(*) FROM x), (SELECT count(*) FROM y), (SELECT length(substr(pad, 400000, 1)) FROM z);'
	prologue='.timeout 20000
PRAGMA wal_autocheckpoint = 4;
PRAGMA mmap_size = 1073741824;'
	{
		echo "$prologue"
		cat "$scratch/writes"
	} | "$quire" run --memory $memory -- sqlite3 "$scratch/two.db" >"$scratch/writer" 2>&1 &
	writer=$!
	{
		echo "$prologue"
		asked=0
		while [ $asked -lt 200 ] || kill -0 $writer 2>/dev/null; do
			echo "$question"
			asked=$((asked + 1))
		done
	} | "$quire" run --memory $memory --stats -- sqlite3 "$scratch/two.db" >"$scratch/out" 2>"$scratch/err"
	wait $writer
	status=$?
	[ $status = 0 ] && [ "$(sort -u "$scratch/writer" | tr "\n" " ")" = "1073741824 4 " ] && served mmap &&
		[ "$(grep -c '^1|.*|1$' "$scratch/out")" -ge 200 ] && ! grep -q '^0|' "$scratch/out"
	say "a reader beside a writer sees whole transactions, $mode" $?
	run 0 sqlite3 "$scratch/two.db" 'PRAGMA integrity_check; SELECT count(*), (SELECT total(v) FROM x) = (SELECT total(v) FROM y) FROM x' && out_has ok && out_has '150|1'
	say "and the file has all of them, $mode" $?
	rm -f "$scratch"/*.db*
done
finish
