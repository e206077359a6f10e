/*
 * alert.h
 *	  Rules, what they observe, and what becomes of their instances.
 *
 * A rule is evaluated at ticks of its source's watermark.  An evaluation, of whatever kind, ends in a list of
 * observations: labels, a value, and whether the condition holds.  Only machine.c decides what an observation makes of
 * an instance's state; only apply.c writes states, history and the outbox, in the evaluation's transaction.
 */
#ifndef MDB_ALERT_H
#define MDB_ALERT_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "alert/machine.h"

typedef enum MdbRuleKind
{
	MDB_RULE_QUERY,     /* a SELECT whose rows are the instances */
	MDB_RULE_THRESHOLD, /* an aggregate over a window, from states of ten seconds */
	MDB_RULE_DEADMAN,   /* a series of which nothing came */
	MDB_RULE_COMPOSITE, /* over the states of other rules */
	MDB_RULE_RECORDING  /* a SELECT whose rows are stored as samples */
} MdbRuleKind;

/* A row of metricsdb.alert_rule. */
typedef struct MdbRule
{
	int32 id;
	char *name;
	Oid owner;
	MdbRuleKind kind;
	Oid source;         /* the table whose watermark it follows, InvalidOid = the clock */
	Jsonb *definition;  /* by kind, see sql/70_alert.sql; also op, threshold and recover of a query */
	int64 every;        /* microseconds */
	MdbPolicy policy;   /* machine.h: hold, keep_firing_for, ... */
	Jsonb *labels;      /* added to those of each instance */
	Jsonb *annotations; /* templates */
	Jsonb *options;     /* what follows, up to max_new_instances, and what of policy has no column */
	int32 max_rows;     /* of an evaluation's result */
	int64 timeout;      /* of an evaluation, microseconds */
	bool nodata_alert;  /* an evaluation without any row is told as an alert of its own */
	bool marks_ends;    /* of what is recorded, and is not any more, the end is */
	char *search_path;  /* for the query */
	int32 max_new_instances;
	int ntargets;
	int32 *targets;
	bool enabled;
	int64 version; /* rises with each change of its row */
} MdbRule;

/* Bytes of the key of labels. */
#define MDB_LABELS_KEY 16

/* What an evaluation says of one instance. */
typedef struct MdbObservation
{
	Jsonb *labels;    /* with the rule's and alertname: all of the identity, no empty values */
	const uint8 *key; /* mdb_labels_key() of them; NULL if it was not computed yet */
	double value;
	bool isnull;        /* no value */
	MdbCondition holds; /* machine.h */
} MdbObservation;

typedef struct MdbObservations
{
	TimestampTz at; /* the tick: what eval_time() said */
	int count;
	int room;
	MdbObservation *of; /* in CurrentMemoryContext of whoever evaluates */
	bool distinct;      /* it is known that no two have the same labels */
	char *error;        /* NULL, or why the evaluation failed: states are kept */
	bool
		not_yet; /* it cannot be yet, which is no failure: error says why, and the same tick may come again */
} MdbObservations;

/*
 * mdb_rules_load - all rules of this database, in CurrentMemoryContext; mdb_rule_load - one, NULL if there is none.
 */
extern List *
mdb_rules_load(void); /* of MdbRule *, in the order of their ids; also those that are not enabled */
extern MdbRule *mdb_rule_load(int32 id);

/*
 * Who writes what belongs to a rule, its instances and its rows of the outbox, holds its lock until the end of the
 * transaction: the evaluation a shared one, and does without if it is not to be had at once; then it looks whether the
 * rule's version is still what it knows.  Who changes the rule takes it exclusively, and in his transaction does to
 * instances and outbox what follows from it, so the evaluation reads these again when the version has changed.
 */
extern bool mdb_rule_lock_shared(int32 id); /* false: somebody changes it */
extern void mdb_rule_lock_exclusive(int32 id);
extern int64 mdb_rule_version(int32 id); /* as committed now; 0 = it is gone, or not enabled */

/*
 * mdb_rules_changed - at commit, relcache invalidation of metricsdb.alert_rule goes out, whatever was changed in it.
 */
extern void mdb_rules_changed(void);

/* mdb_annotations_make - the rule's annotations for an instance.  Never fails. */
extern Jsonb *mdb_annotations_make(const MdbRule *rule, const Jsonb *labels, double value);

/*
 * mdb_labels_key - the 16 bytes that identify labels, whatever the order they were given in.
 */
extern void mdb_labels_key(const Jsonb *labels, uint8 key[MDB_LABELS_KEY]);

/* observe.c: what evaluations are made of, see there. */
typedef enum MdbCompareOp
{
	MDB_OP_GT,
	MDB_OP_GE,
	MDB_OP_LT,
	MDB_OP_LE,
	MDB_OP_EQ,
	MDB_OP_NE
} MdbCompareOp;

typedef struct MdbComparison
{
	MdbCompareOp op;
	double threshold;
	double
		recover; /* one that holds goes on to until this does not, either; equal to threshold if not given */
} MdbComparison;

extern bool mdb_comparison_read(const Jsonb *object, MdbComparison *c);
extern MdbCondition mdb_compare(const MdbComparison *c, double value);
extern void mdb_observe(MdbObservations *seen, Jsonb *labels, const uint8 *key, double value, bool isnull,
						MdbCondition holds);
extern Jsonb *mdb_labels_make(const MdbRule *rule, int n, char **names, char **values, double value);
extern char *mdb_json_scalar(const JsonbValue *value);
extern char *mdb_json_text(const Jsonb *object, const char *name);
extern double mdb_json_number(const Jsonb *object, const char *name, double otherwise);
extern List *mdb_json_texts(const Jsonb *object, const char *name);
extern int64 mdb_json_interval(const Jsonb *object, const char *name, int64 otherwise);
extern int64 mdb_interval_us(const Interval *interval);

/* query.c: what columns of a rule's query are, see there. */
typedef enum MdbColumnRole
{
	MDB_COLUMN_LABEL,
	MDB_COLUMN_LABELS, /* several, of jsonb */
	MDB_COLUMN_VALUE,
	MDB_COLUMN_FIRING /* whether it holds */
} MdbColumnRole;

extern void mdb_query_columns(TupleDesc desc, MdbColumnRole *roles);

/*
 * mdb_eval_time_set - what metricsdb.eval_time() says from now on in this process; 0 = now() again.  Returns what it was.
 */
extern TimestampTz mdb_eval_time_set(TimestampTz at);

/*
 * The kinds' evaluations: run in the caller's transaction; what is theirs to fail is caught and told in ->error.
 * mdb_threshold_evaluate and mdb_deadman_evaluate read what mdb_states_take_in() has taken in of committed states.
 */
extern void mdb_query_evaluate(const MdbRule *rule, MdbObservations *seen);
extern void mdb_recording_evaluate(const MdbRule *rule, MdbObservations *seen);
extern void mdb_composite_evaluate(const MdbRule *rule, MdbObservations *seen);
extern void mdb_threshold_evaluate(const MdbRule *rule, MdbObservations *seen);
extern void mdb_deadman_evaluate(const MdbRule *rule, MdbObservations *seen);

/*
 * mdb_states_take_in - apply committed states that are new; returns how many rows of metricsdb.alert_batch.  Samples up to a
 * watermark are among them if that was read before.
 */
extern int64 mdb_states_take_in(void);

/* mdb_states_forget - forget what was taken in; it is read anew. */
extern void mdb_states_forget(void);

/*
 * mdb_watermark - up to when a table's data is complete, as far as can be told (time.c); DT_NOBEGIN if that is not known.
 * Never less than this process was told before.  What it tells is true of snapshots taken afterwards.
 *
 * For a partitioned table it is that of all partitions; for InvalidOid, the clock less metricsdb.alert_wait.  lag_us and
 * reason may be NULL: how far it is behind the clock; why it is late, in CurrentMemoryContext, or NULL if it is not.
 */
extern TimestampTz mdb_watermark(Oid table, int64 *lag_us, const char **reason);
extern int mdb_alert_wait_ms;

/*
 * mdb_alert_step - one round of the alert worker: ticks that are due, in their order.  Returns how many milliseconds to
 * wait for the next, or -1 if there is no rule.
 */
extern long mdb_alert_step(void);

/* mdb_alert_recover - after an error of mdb_alert_step(): all that is remembered is read anew. */
extern void mdb_alert_recover(void);

/* mdb_alert_wanted - is there work for an alert worker in this database?  SPI is connected. */
extern bool mdb_alert_wanted(void);

/* metricsdb.alert_interval, milliseconds; -1: rules are not evaluated */
extern int mdb_alert_interval;

/* mdb_rule_tick - a rule's last tick at or before a time. */
extern TimestampTz mdb_rule_tick(const MdbRule *rule, TimestampTz at);

#endif /* MDB_ALERT_H */
