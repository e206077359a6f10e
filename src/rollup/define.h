/*
 * define.h
 *	  Making continuous aggregates, changing them, dropping them.
 */
#ifndef MDB_ROLLUP_DEFINE_H
#define MDB_ROLLUP_DEFINE_H

#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"

#include "compat.h"
#include "rollup/language.h"
#include "store/aggregates.h"

/*
 * What a user's SELECT says.  Expressions over raw have Vars of varno 1.
 *
 * Outputs and HAVING are over states: Vars of varno 1 whose numbers are those of the columns bucket, keys,
 * partials.
 */
typedef struct MdbPlan
{
	char *name; /* of the view, for messages */
	Oid raw;
	AttrNumber time_attno;
	Oid given; /* states of the aggregate that the user has named in FROM; InvalidOid: it was raw */
	Node *bucket;
	char *bucket_name;
	MdbBucketRule rule;
	List *keys;
	List *key_names;
	List *partials; /* of Aggref */
	List *where;    /* conditions, all of which hold */
	List *outputs;  /* of TargetEntry */
	Node *having;
} MdbPlan;

/* Options of CREATE and ALTER. */
typedef struct MdbRollupOptions
{
	int given; /* MDB_ROLLUP_* */
	bool continuous;
	bool materialized_only;
	bool stack;
	bool backfill;
	Interval lateness;
} MdbRollupOptions;

/* ---- analyse.c: what a SELECT says, or why it cannot be kept ---- */

pg_noreturn extern void mdb_refuse(const char *name, int code, const char *detail, const char *hint);
extern MdbPlan *mdb_plan_make(Query *query, const char *name);
extern Node *mdb_ungroup(Query *query, Node *node);
extern void mdb_plan_add_output(MdbPlan *plan, Node *expr, const char *name);

/* ---- translate.c: a SELECT from another aggregate, as one from raw ---- */

extern bool mdb_translate(Query *query, const char *name, Oid *states);

/* ---- stack.c: from which aggregate another one can be made ---- */

extern MdbAggregate *mdb_stack_choose(const MdbPlan *plan);
extern List *mdb_stack_targets(const MdbPlan *plan, const MdbAggregate *finer);
extern List *mdb_stack_conditions(const MdbPlan *plan, const MdbAggregate *finer);
extern AttrNumber mdb_stack_bucket(const MdbAggregate *a);

/* ---- text.c: the view's text ---- */

extern char *mdb_qualified_name(Oid relid);
extern char *mdb_view_query(const MdbPlan *plan, Oid states, List *names, const MdbAggregate *finer,
							bool materialized_only);
extern void mdb_marker_text(StringInfo buf, const char *function, Oid states, const char *column);

/* ---- create.c ---- */

/* Options of CREATE and ALTER; given says which. */
#define MDB_ROLLUP_MATERIALIZED_ONLY 0x1
#define MDB_ROLLUP_LATENESS          0x2
#define MDB_ROLLUP_STACK             0x4
#define MDB_ROLLUP_CONTINUOUS        0x8

extern Interval mdb_rollup_lateness(const char *text);
extern List *mdb_rollup_take_options(List *list, MdbRollupOptions *options);
extern void mdb_rollup_create(CreateTableAsStmt *stmt, const MdbRollupOptions *options);
extern void mdb_rollup_run(const char *sql);
extern char *mdb_states_column_name(List *names, const char *wanted);
extern void mdb_states_column_text(StringInfo buf, const char *name, Node *expr);

/* ---- attach.c ---- */

#define MDB_VIEW_TRIGGER "continuous_aggregate"

extern bool mdb_rollup_creating; /* is the trigger being made by CREATE MATERIALIZED VIEW? */

extern void mdb_rollup_register(const MdbAggregate *a, int64 from);
extern char *mdb_rollup_trigger_text(Oid view, const Interval *lateness);
extern Oid mdb_rollup_trigger_function(void);
extern bool mdb_rollup_has_trigger(Oid view);
extern void mdb_rollup_restored(Oid view);

/* ---- drop.c ---- */

extern void mdb_rollup_forget(Oid aggregate);
extern bool mdb_rollup_has_orphans(void);
extern void mdb_rollup_drop_states(DropBehavior behavior);
extern void mdb_rollup_drop_init(void);

/* ---- alter.c ---- */

extern MdbAggregate *mdb_rollup_of_view(Oid view);
extern void mdb_rollup_follow(Oid view);
extern void mdb_rollup_alter(Oid view, const MdbRollupOptions *options);

#endif /* MDB_ROLLUP_DEFINE_H */
