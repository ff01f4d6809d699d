/* SPDX-License-Identifier: MIT */
/*
 * rivals.c - records in SQLite and in LMDB
 *
 * A record is a value of RECORD_BYTES, so that it fills a page of theirs as it does one of ours: SQLite keeps up to 4061 bytes of a row
 * in a page of 4096, LMDB 4080 in a page of their own.
 */
#include "durable.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_BYTES 4000

#ifdef BENCH_SQLITE
#include <sqlite3.h>

struct sqlite {
	const struct bench *b;
	sqlite3 *db, *other; /* the other one looks at what the first has stored */
	sqlite3_stmt *begin, *update, *commit, *select;
	bool inside; /* a transaction */
	uint64_t value[RECORD_BYTES / sizeof(uint64_t)];
};

static void sqlite_expect(const struct sqlite *s, sqlite3 *db, int got, int expected)
{
	if (got != expected)
		bench_stop(s->b, "SQLite: %s", sqlite3_errmsg(db));
}

static void sqlite_do(const struct sqlite *s, const char *sql)
{
	sqlite_expect(s, s->db, sqlite3_exec(s->db, sql, NULL, NULL, NULL), SQLITE_OK);
}

static void sqlite_step(const struct sqlite *s, sqlite3_stmt *statement)
{
	sqlite_expect(s, s->db, sqlite3_step(statement), SQLITE_DONE);
	sqlite3_reset(statement);
}

static sqlite3_stmt *sqlite_prepare(const struct sqlite *s, sqlite3 *db, const char *sql)
{
	sqlite3_stmt *statement;

	sqlite_expect(s, db, sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	return statement;
}

static void sqlite_bind(const struct sqlite *s, sqlite3_stmt *statement, uint64_t record, uint64_t word)
{
	((uint64_t *)s->value)[0] = word;
	sqlite_expect(s, s->db, sqlite3_bind_blob(statement, 1, s->value, sizeof(s->value), SQLITE_STATIC), SQLITE_OK);
	sqlite_expect(s, s->db, sqlite3_bind_int64(statement, 2, (sqlite3_int64)record), SQLITE_OK);
}

static void sqlite_fill(struct sqlite *s, uint64_t records)
{
	sqlite3_stmt *insert;

	sqlite_do(s, "CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)");
	insert = sqlite_prepare(s, s->db, "INSERT INTO t (v, k) VALUES (?1, ?2)");
	sqlite_do(s, "BEGIN");
	for (uint64_t r = 0; r < records; r++) {
		sqlite_bind(s, insert, r, bench_word(r, 0));
		sqlite_step(s, insert);
	}
	sqlite_do(s, "COMMIT");
	sqlite3_finalize(insert);
}

/* Filled without a journal, then as it is said to be used: WAL, FULL. The cache holds what a commit changes. */
static void *sqlite_open(const struct bench *b, uint64_t records, unsigned most, bool settled)
{
	struct sqlite *s = bench_alloc(b, 1, sizeof(*s));
	char *path = bench_path(b, "commit-sqlite.bin");

	(void)most;
	bench_remove(b, "commit-sqlite.bin");
	s->b = b;
	if (sqlite3_open(path, &s->db) != SQLITE_OK || sqlite3_open(path, &s->other) != SQLITE_OK)
		bench_stop(b, "SQLite: %s cannot be opened", path);
	free(path);
	sqlite_do(s, "PRAGMA page_size=4096; PRAGMA cache_size=-262144; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF");
	sqlite_fill(s, records);
	sqlite_do(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL");
	if (settled)
		sqlite_do(s, "PRAGMA wal_autocheckpoint=0");
	s->begin = sqlite_prepare(s, s->db, "BEGIN IMMEDIATE");
	s->update = sqlite_prepare(s, s->db, "UPDATE t SET v = ?1 WHERE k = ?2");
	s->commit = sqlite_prepare(s, s->db, "COMMIT");
	s->select = sqlite_prepare(s, s->other, "SELECT v FROM t WHERE k = ?1");
	return s;
}

static void sqlite_change(void *state, uint64_t record, uint64_t word)
{
	struct sqlite *s = state;

	if (!s->inside)
		sqlite_step(s, s->begin);
	s->inside = true;
	sqlite_bind(s, s->update, record, word);
	sqlite_step(s, s->update);
}

static void sqlite_commit(void *state)
{
	struct sqlite *s = state;

	sqlite_step(s, s->commit);
	s->inside = false;
}

static void sqlite_settle(void *state)
{
	struct sqlite *s = state;

	sqlite_expect(s, s->db, sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL), SQLITE_OK);
}

static uint64_t sqlite_stored(void *state, uint64_t record)
{
	struct sqlite *s = state;
	uint64_t word;

	sqlite_expect(s, s->other, sqlite3_bind_int64(s->select, 1, (sqlite3_int64)record), SQLITE_OK);
	sqlite_expect(s, s->other, sqlite3_step(s->select), SQLITE_ROW);
	memcpy(&word, sqlite3_column_blob(s->select, 0), sizeof(word));
	sqlite3_reset(s->select);
	return word;
}

static void sqlite_close(void *state)
{
	struct sqlite *s = state;

	sqlite3_finalize(s->begin);
	sqlite3_finalize(s->update);
	sqlite3_finalize(s->commit);
	sqlite3_finalize(s->select);
	sqlite3_close(s->other);
	sqlite3_close(s->db);
	bench_remove(s->b, "commit-sqlite.bin");
	free(s);
}

const struct durable durable_sqlite = {"SQLite",      sqlite_open,   sqlite_change, sqlite_commit,
				       sqlite_settle, sqlite_stored, sqlite_close};
#endif

#ifdef BENCH_LMDB
#include <lmdb.h>

struct lmdb {
	const struct bench *b;
	MDB_env *env;
	MDB_dbi table;
	MDB_txn *txn; /* NULL: none is open */
	uint64_t value[RECORD_BYTES / sizeof(uint64_t)];
};

static void lmdb_expect(const struct lmdb *l, int error)
{
	if (error != 0)
		bench_stop(l->b, "LMDB: %s", mdb_strerror(error));
}

static void lmdb_put(struct lmdb *l, uint64_t record, uint64_t word)
{
	size_t number = record;
	MDB_val key = {sizeof(number), &number}, value = {sizeof(l->value), l->value};

	l->value[0] = word;
	lmdb_expect(l, mdb_put(l->txn, l->table, &key, &value, 0));
}

static void lmdb_fill(struct lmdb *l, uint64_t records)
{
	lmdb_expect(l, mdb_env_set_flags(l->env, MDB_NOSYNC, 1));
	lmdb_expect(l, mdb_txn_begin(l->env, NULL, 0, &l->txn));
	lmdb_expect(l, mdb_dbi_open(l->txn, NULL, MDB_INTEGERKEY, &l->table));
	for (uint64_t r = 0; r < records; r++)
		lmdb_put(l, r, bench_word(r, 0));
	lmdb_expect(l, mdb_txn_commit(l->txn));
	l->txn = NULL;
	lmdb_expect(l, mdb_env_set_flags(l->env, MDB_NOSYNC, 0));
	lmdb_expect(l, mdb_env_sync(l->env, 1));
}

static void *lmdb_open(const struct bench *b, uint64_t records, unsigned most, bool settled)
{
	struct lmdb *l = bench_alloc(b, 1, sizeof(*l));
	char *path = bench_path(b, "commit-lmdb.bin");

	(void)settled;
	bench_remove(b, "commit-lmdb.bin");
	l->b = b;
	lmdb_expect(l, mdb_env_create(&l->env));
	lmdb_expect(l, mdb_env_set_mapsize(l->env, (records + 8 * (uint64_t)most) * BENCH_PAGE * 5 / 4 + 64 * MIB));
	lmdb_expect(l, mdb_env_open(l->env, path, MDB_NOSUBDIR, 0644));
	free(path);
	lmdb_fill(l, records);
	return l;
}

static void lmdb_change(void *state, uint64_t record, uint64_t word)
{
	struct lmdb *l = state;

	if (!l->txn)
		lmdb_expect(l, mdb_txn_begin(l->env, NULL, 0, &l->txn));
	lmdb_put(l, record, word);
}

static void lmdb_commit(void *state)
{
	struct lmdb *l = state;

	lmdb_expect(l, mdb_txn_commit(l->txn));
	l->txn = NULL;
}

static uint64_t lmdb_stored(void *state, uint64_t record)
{
	struct lmdb *l = state;
	size_t number = record;
	MDB_val key = {sizeof(number), &number}, value;
	MDB_txn *txn;
	uint64_t word;

	lmdb_expect(l, mdb_txn_begin(l->env, NULL, MDB_RDONLY, &txn));
	lmdb_expect(l, mdb_get(txn, l->table, &key, &value));
	memcpy(&word, value.mv_data, sizeof(word));
	mdb_txn_abort(txn);
	return word;
}

static void lmdb_close(void *state)
{
	struct lmdb *l = state;

	mdb_env_close(l->env);
	bench_remove(l->b, "commit-lmdb.bin");
	free(l);
}

const struct durable durable_lmdb = {"LMDB", lmdb_open, lmdb_change, lmdb_commit, NULL, lmdb_stored, lmdb_close};
#endif
