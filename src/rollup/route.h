/*
 * route.h
 *	  Queries on raw that continuous aggregates answer: what the files of routing share.
 */
#ifndef MDB_ROUTE_H
#define MDB_ROUTE_H

#include "nodes/pathnodes.h"

#include "rollup/language.h"
#include "rollup/stretch.h"

/* A comparison of the time with something that is the same for all rows. */
typedef struct MdbRouteBound
{
	Node *value; /* of the time column's type */
	int strategy;
} MdbRouteBound;

/* A column of the subquery that takes raw's place. */
typedef struct MdbRouteColumn
{
	Node *expr; /* over raw; an Aggref if it is a partial */
	Oid eqop;   /* of keys */
	Oid sortop;
	bool hashable;
} MdbRouteColumn;

/* A query that may be routed. */
typedef struct MdbRoute
{
	PlannerInfo *root; /* for the values of parameters, no more */
	Query *query;
	Index rti; /* of raw in it; expressions over raw are in its terms, but where it is said */
	RangeTblEntry *rte;
	MdbTable *table;
	bool joined;         /* there are other tables */
	bool may_lack;       /* rows may have no time */
	List *conditions;    /* of the query, on raw alone */
	List *bounds;        /* those of these that are bounds, MdbRouteBound */
	Node *jointree;      /* the query's without them */
	List *group_keys;    /* of the query, those over raw */
	List *group_clauses; /* SortGroupClause of these */

	/* of the aggregate that is being tried */
	MdbDefinition *def;
	List *def_keys; /* over raw */
	List *def_partials;
	List *stretches; /* of expressions over the time, MdbStretch */
	List *columns;   /* MdbRouteColumn */
} MdbRoute;

/* ---- route.c ---- */

extern bool mdb_route_read_table(MdbRoute *r);
extern bool mdb_route_is_referred_to(const MdbRoute *r);
extern void mdb_route_forget_aliases(MdbRoute *r);
extern bool mdb_route_may_be_ungrouped(const MdbRoute *r);

/* ---- route_match.c: what a query asks ---- */

extern void mdb_route_flatten(Query *query);
extern bool mdb_route_find(MdbRoute *r);
extern bool mdb_route_match(MdbRoute *r, MdbDefinition *def);
extern MdbRouteBound *mdb_route_bound(const MdbRoute *r, Node *clause);
extern bool mdb_is_equal_alike(Node *key);
extern Node *mdb_route_rewrite(MdbRoute *r, Node *node, bool *ok);
extern bool mdb_route_is_of_table(const MdbRoute *r, Node *node);
extern Var *mdb_route_column(MdbRoute *r, Node *expr, const SortGroupClause *sgc);

/* ---- route_bounds.c: which buckets lie wholly inside ---- */

/* Of an aggregate's buckets. */
typedef struct MdbRouteInside
{
	List *from; /* expressions: all buckets from each of them on, */
	List *to;   /* and before each of these */
} MdbRouteInside;

extern bool mdb_route_inside(const MdbRoute *r, const MdbDefinition *def, MdbRouteInside *inside);
extern double mdb_route_range(const MdbRoute *r);

/* ---- route_build.c: the subquery ---- */

extern Query *mdb_route_build(MdbRoute *r, List *levels);
extern Query *mdb_route_over_table(const MdbRoute *r, Node *more, Node *bucket, int levels);
extern void mdb_route_replace(MdbRoute *r, Query *subquery);
extern Node *mdb_route_to_states(const MdbDefinition *def, const MdbTable *table, Index rti, Node *expr,
								 bool times);

/* ---- policies.c ---- */

extern bool mdb_policies_translate(const MdbDefinition *def, List *quals, Index rti, List **result);
extern bool mdb_policies_apply(Query *query, List **raws);

#endif /* MDB_ROUTE_H */
