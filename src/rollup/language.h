/*
 * language.h
 *	  What continuous aggregates can say: aggregates taken apart into states that can be merged, and buckets.
 *
 * A *partial* is an aggregate over the source whose result can be stored and merged later: a column of the table
 * of states.  *Combining* it over several states gives what it would be over all their rows, in the same type,
 * so that combined states are states again.  A *final* makes the value of the user's aggregate of combined
 * partials.  Expressions are those of the parser, with Vars and without planner's changes, so that equal() tells
 * what is the same.
 */
#ifndef MDB_LANGUAGE_H
#define MDB_LANGUAGE_H

#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "utils/timestamp.h"

/* ---- language.c ---- */

/* An aggregate, taken apart. */
typedef struct MdbSplit
{
	List *partials; /* of Aggref, in the terms of the aggregate's own arguments, each once */
	Node
		*final; /* its value; the Param of kind PARAM_EXTERN and number i is for the i-th partial, combined */
} MdbSplit;

/* Why something cannot be kept. */
typedef struct MdbReason
{
	const char *detail;
	const char *hint; /* NULL = there is none */
} MdbReason;

extern MdbSplit *mdb_split_aggregate(Aggref *agg, MdbReason *reason);
extern Node *mdb_split_finish(const MdbSplit *split, List *combined);
extern Node *mdb_combine_partial(Aggref *partial, List *partials, List *states);
extern bool mdb_partial_is_ordered(const Aggref *partial);
extern char *mdb_state_name(const Aggref *partial, Oid relid);
extern int mdb_find_equal(List *list, Node *node);

/* ---- nesting.c: buckets ---- */

/* What a bucket expression says, in units of the time: microseconds, days of a date, integers. */
typedef struct MdbBucketRule
{
	bool nests;   /* is the rest known?  Else it is a bucket like no other. */
	int32 months; /* width of buckets of months; 0: size counts */
	int64 size;   /* width of others; in a zone that of a day or more is one of the calendar */
	int64 origin; /* a boundary, less than a width from 0; of months in months from January 2000 */
	char *zone;   /* boundaries are those of its local time; NULL: none */
	Oid function; /* of boundaries where clocks change functions may differ */
	Oid time_type;
} MdbBucketRule;

extern bool mdb_bucket_rule(Node *expr, Index varno, AttrNumber time_attno, MdbBucketRule *rule,
							MdbReason *reason);
extern bool mdb_bucket_nests(const MdbBucketRule *coarse, const MdbBucketRule *fine);
extern int64 mdb_bucket_granularity(const MdbBucketRule *rule);

/* ---- definition.c: what a view says ---- */

/*
 * A continuous aggregate's definition, read back from its view's rule.  Expressions are over raw, which is varno 1.
 *
 * Columns of states are in the order bucket, keys, partials; so are the targets of feed.
 */
typedef struct MdbDefinition
{
	Oid view;
	Oid states;
	Oid source; /* what it is fed from: raw, or states of a finer aggregate */
	Oid raw;
	List *sources; /* the source, what that is fed from, and so on, to raw */
	bool materialized_only;
	Node *bucket;
	List *keys;
	List *partials; /* of Aggref */
	List *where;    /* conditions, all of which hold; without the markers */
	List *columns;  /* of states, attribute numbers: bucket, keys, partials */
	Query *feed;    /* SELECT of the source's rows that are pending, grouped: what is to be inserted */
	Query *query;   /* the view's; Vars of level 0 are columns in the order above */
	MdbBucketRule rule;
} MdbDefinition;

extern MdbDefinition *mdb_definition_find(Oid view);
extern MdbDefinition *mdb_definition_read(Oid view);
extern AttrNumber mdb_definition_column(const MdbDefinition *def, int partial);
extern List *mdb_definition_states(const MdbDefinition *def, Index varno);
extern List *mdb_without_markers(Node *quals);

#endif /* MDB_LANGUAGE_H */
