/*
 * target.h
 *	  The table that a Kafka source writes to.
 */
#ifndef MDB_TARGET_H
#define MDB_TARGET_H

#include "postgres.h"
#include "utils/rel.h"

/* Columns by attnum; a target has these four and no others, dropped ones aside. */
#define MDB_TARGET_COLUMNS 16

typedef struct MdbTarget
{
	AttrNumber name;  /* metric_name text */
	AttrNumber tags;  /* tags jsonb */
	AttrNumber time;  /* "time" timestamptz */
	AttrNumber value; /* value float8 */
} MdbTarget;

/*
 * mdb_target_check - find the columns, or raise an error that says why points cannot go there.
 *
 * Also checked: that it is a metricsdb table, and that nothing hangs on it that an append of
 * columns would not honour (constraints, triggers, a partition's bound).
 */
extern void mdb_target_check(Relation rel, MdbTarget *target);

/*
 * mdb_target_check_role - may this role insert, and do no row-level policies apply to it?
 */
extern void mdb_target_check_role(Relation rel, Oid role);

#endif /* MDB_TARGET_H */
