/*
 * define.h
 *	  Rules while they are defined: what a user says, checked and stored.
 */
#ifndef MDB_ALERT_DEFINE_H
#define MDB_ALERT_DEFINE_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/parsenodes.h"

#include "alert/alert.h"

/*
 * The arguments of create_alert() and alter_alert() after the name, in their order.
 */
typedef enum MdbParamId
{
	MDB_P_QUERY,
	MDB_P_EVERY,
	MDB_P_HOLD,
	MDB_P_KEEP_FIRING_FOR,
	MDB_P_LABELS,
	MDB_P_ANNOTATIONS,
	MDB_P_TARGETS,
	MDB_P_OP,
	MDB_P_THRESHOLD,
	MDB_P_RECOVER,
	MDB_P_SOURCE,
	MDB_P_METRIC,
	MDB_P_MATCHERS,
	MDB_P_VALUE_COLUMN,
	MDB_P_AGGREGATE,
	MDB_P_WINDOW,
	MDB_P_BY,
	MDB_P_WITHOUT,
	MDB_P_SILENT_FOR,
	MDB_P_FORGET_AFTER,
	MDB_P_EXPRESSION,
	MDB_P_RECORD,
	MDB_P_INTO_TABLE,
	MDB_P_ABSENT,
	MDB_P_ABSENT_FOR,
	MDB_P_NODATA,
	MDB_P_ERROR,
	MDB_P_HOLDS_OF,
	MDB_P_OF,
	MDB_P_MAX_NEW_INSTANCES,
	MDB_P_TIMEOUT,
	MDB_P_MAX_ROWS,
	MDB_P_SEARCH_PATH,
	MDB_P_ENABLED,
	MDB_NPARAMS
} MdbParamId;

/* What was said of one; only the member of its type means something. */
typedef struct MdbParam
{
	bool given;
	char *text;
	int64 us;
	double number;
	int32 integer;
	List *texts; /* of char * */
	Jsonb *jsonb;
	Oid oid;
	bool boolean;
} MdbParam;

typedef struct MdbDraft
{
	int32 id; /* 0 = it is new */
	char *name;
	Oid owner;
	MdbRuleKind kind;
	MdbParam p[MDB_NPARAMS];
	bool new_query; /* and nothing was said of the source */
	int ntargets;
	int32 *targets;   /* of P_TARGETS, once checked */
	List *conditions; /* on series, of a query; see unmatched.c */
} MdbDraft;

/* ---- draft.c ---- */

extern void mdb_draft_read(MdbDraft *draft, FunctionCallInfo fcinfo, int first);
extern void mdb_draft_of_rule(MdbDraft *draft, const MdbRule *rule);
extern void mdb_draft_reset(MdbDraft *draft, const char *param);
extern Jsonb *mdb_draft_definition(const MdbDraft *draft);
extern Jsonb *mdb_draft_options(const MdbDraft *draft);
extern const char *mdb_param_name(MdbParamId id);
extern bool mdb_param_is_of(MdbParamId id, MdbRuleKind kind);

/* ---- rule_check.c: is it a rule? ---- */

extern void mdb_draft_check(MdbDraft *draft);
extern const char *mdb_rule_kind_name(MdbRuleKind kind);
extern bool mdb_absent_parse(const char *name, MdbWhenAbsent *absent);
extern bool mdb_error_parse(const char *name, MdbWhenError *error);

/* ---- query_check.c: is it a query of one? ---- */

extern void mdb_query_check(MdbDraft *draft);

/* ---- series_check.c: what it can match ---- */

extern bool mdb_is_number_type(Oid type);
extern void mdb_series_source_check(MdbDraft *draft);

/* ---- unmatched.c ---- */

extern void mdb_query_series_conditions(MdbDraft *draft, Query *query);
extern void mdb_rule_warn_unmatched(const MdbDraft *draft);

/* ---- composite_check.c ---- */

extern void mdb_composite_check(const MdbDraft *draft);

/* ---- rule_sql.c ---- */

extern MdbRule *mdb_rule_find(const char *name);

/* ---- threshold_query.c ---- */

extern char *mdb_threshold_query(const MdbRule *rule);

/* ---- rule_change.c: what follows from a change ---- */

extern void mdb_rule_end_instances(int32 rule_id);
extern void mdb_rule_apply_change(const MdbRule *rule);

/* ---- template.c ---- */

extern void mdb_template_check(const char *text, const char *what, bool *uses_value);
extern char *mdb_template_expand(const char *text, const Jsonb *labels, double value);

#endif /* MDB_ALERT_DEFINE_H */
