/*
 * admin.h
 *	  Options of tables, and what is told about tables.
 */
#ifndef MDB_ADMIN_H
#define MDB_ADMIN_H

#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "store/store.h"
#include "write/retention.h"

/* What a user said of a table.  What is not given is inferred from the columns. */
typedef struct MdbOptions
{
	bool time_given;
	char *time; /* NULL = the table has no time column */
	bool series_given;
	List *series;            /* of char * */
	MdbRetention *retention; /* NULL = none was ever set */
	bool floor_given;        /* of states of a continuous aggregate: */
	int64 floor;             /* from when on its table has all its rows */
	int32 days;              /* that partitions of time are to have at least; 0 = one */
} MdbOptions;

/* ---- label.c: options as the text of a security label ---- */

#define MDB_LABEL_PROVIDER "metricsdb"

pg_noreturn extern void mdb_options_malformed(const char *json, const char *detail);
extern char *mdb_options_to_json(const MdbOptions *options);
extern void mdb_options_from_json(const char *json, MdbOptions *options);
extern bool mdb_options_load(Oid relid, MdbOptions *options);
extern void mdb_options_store(Oid relid, const MdbOptions *options);
extern void mdb_floor_store(Oid relid, int64 floor);
extern void mdb_days_store(Oid relid, int32 days);
extern void mdb_label_init(void);

/* ---- options.c: what they mean for a table ---- */

extern void mdb_options_resolve(const char *relname, TupleDesc desc, const MdbOptions *options, bool strict,
								MdbRoles *roles);
extern void mdb_options_apply(Oid relid, const MdbOptions *options, int refcount);
extern void mdb_options_init(void);

/* ---- create.c: CREATE TABLE ... WITH (metricsdb.*) ---- */

extern bool mdb_create_options(Relation rel, MdbOptions *options);
extern void mdb_create_init(void);

/* ---- retention.c: how long rows are kept ---- */

extern void mdb_retention_to_json(const MdbRetention *r, StringInfo buf);
extern MdbRetention *mdb_retention_from_json(const char *json, const JsonbValue *v);
extern void mdb_retention_check_label(Oid relid, const MdbRetention *r);
extern void mdb_retention_init(void);

/* ---- compaction.c ---- */

extern List *mdb_watched_tables(void);

/* ---- row_count.c, stats.c ---- */

extern double mdb_approximate_rows(Relation rel);
extern int64 mdb_table_bytes(Relation rel);

/* ---- describe.c: what a table is ---- */

extern Relation mdb_open_asked(Oid relid, bool partitioned, bool *hide_values);
extern Relation mdb_open_shown(Oid relid, bool *hide_values);
extern List *mdb_shown_tables(void);
extern const char *mdb_role_name(MdbRole role);

#endif /* MDB_ADMIN_H */
