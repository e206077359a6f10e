/*
 * elsewhere.h
 *	  What modules below dist/ have nodes do for distributed tables.
 */
#ifndef MDB_ELSEWHERE_H
#define MDB_ELSEWHERE_H

#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

typedef void (*MdbRowCallback)(void *arg, Datum *values, bool *isnull);

typedef struct MdbElsewhere
{
	/* Have a node of each shard answer a query as the current user, and call back with each row. */
	void (*ask)(const char *sql, TupleDesc desc, MdbRowCallback callback, void *arg);
	/* Conditions on a table, its columns having varno 1, as text that means the same on nodes; NULL if there is none. */
	char *(*condition)(Relation rel, List *clauses);
	/* Options of a distributed table have changed. */
	void (*options)(Oid relid);
	/* Is it the view of a continuous aggregate that nodes keep? */
	bool (*is_view)(Oid relid);
	/* Call back with about so many rows, with all columns, that nodes have; returns how many they have. */
	double (*sample)(Relation rel, int rows, MdbRowCallback callback, void *arg);
	/* Run a statement on all nodes, in a transaction that ends with this one. */
	void (*change)(const char *sql);
} MdbElsewhere;

extern const MdbElsewhere *mdb_elsewhere; /* dist/ sets it */

#endif /* MDB_ELSEWHERE_H */
