/*
 * evaluate.h
 *	  The evaluator: what it keeps of each rule, and how its files call each other.
 */
#ifndef MDB_EVALUATE_H
#define MDB_EVALUATE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "utils/hsearch.h"

#include "alert/alert.h"

/* ---- owner.c: the frame that owners' queries run in ---- */

typedef void (*MdbEvaluation)(const MdbRule *rule, MdbObservations *seen);

extern bool mdb_run_as_owner(const MdbRule *rule, MdbObservations *seen, bool read_only, MdbEvaluation run);
extern void mdb_evaluation_by_worker(void);
extern bool mdb_evaluation_would_not_end(void);

/* ---- query.c ---- */

extern void mdb_query_forget(int32 rule_id);

/* ---- recording.c ---- */

extern void mdb_recording_committed(int32 rule_id);
extern void mdb_recording_forget(int32 rule_id);

/* ---- instances.c: the instances of a rule, in memory ---- */

typedef struct MdbAlert
{
	uint8 key[MDB_LABELS_KEY]; /* hash key */
	Jsonb *labels;
	MdbInstance now;
	bool isnull; /* has no value */
	bool
		is_for_all; /* tells of the rule, not of something that it observes: that it fails, or sees nothing */
	bool waits;     /* tells that nothing was seen, once that has been so for long enough */
	uint32 turn;    /* of the last evaluation that saw it */

	/* apply.c: what its row says; written_at 0 = there is none */
	MdbInstance stored;
	TimestampTz written_at; /* by the clock */
	bool is_incomplete;     /* some target was not told */
} MdbAlert;

typedef struct MdbAlerts
{
	MemoryContext mcxt;
	HTAB *by_key;
	uint32 turn;
} MdbAlerts;

/* An instance that an evaluation was about, or that it lacks. */
typedef struct MdbStepped
{
	MdbAlert *alert;
	MdbState before;
} MdbStepped;

typedef struct MdbSteps
{
	int count;
	MdbStepped *of;
	int64 refused; /* instances that were not begun, as there were too many */
	int64 changed; /* apply.c: states that were */
} MdbSteps;

extern MdbAlerts *mdb_alerts_create(MemoryContext parent);
extern MdbAlert *mdb_alerts_add(MdbAlerts *alerts, const Jsonb *labels);
extern void mdb_alerts_step(MdbAlerts *alerts, const MdbRule *rule, MdbObservations *seen, MdbSteps *steps);
extern void mdb_alerts_unseen(MdbAlerts *alerts, int64 us);
extern void mdb_alerts_check(MdbObservations *seen);
extern bool mdb_alert_is_kept(const MdbRule *rule, const MdbAlert *alert);
extern void mdb_alerts_forget(MdbAlerts *alerts, const MdbRule *rule, const MdbSteps *steps);

/* ---- apply.c: what has changed, to tables ---- */

typedef enum MdbHealth
{
	MDB_HEALTH_UNKNOWN,
	MDB_HEALTH_OK,
	MDB_HEALTH_LATE,
	MDB_HEALTH_ERROR
} MdbHealth;

/* How the evaluations of a rule go: its row of metricsdb.alert_tick. */
typedef struct MdbTick
{
	TimestampTz last_tick;    /* 0 = none */
	TimestampTz evaluated_at; /* by the clock, as what follows; 0 = not yet */
	int64 duration;           /* microseconds */
	int64 missed;
	MdbHealth health;
	char *last_error; /* NULL = there was none */
	TimestampTz last_error_at;
	int32 strikes; /* how often in a row an evaluation has ended the worker, see strikes.c */
} MdbTick;

extern bool mdb_alert_matters(const MdbRule *rule, const MdbSteps *steps, TimestampTz now);
extern void mdb_alert_apply(const MdbRule *rule, MdbSteps *steps, TimestampTz at, TimestampTz now);
extern void mdb_tick_write(const MdbRule *rule, const MdbTick *tick);
extern const char *mdb_health_name(MdbHealth health);
extern MdbHealth mdb_health_parse(const char *name);

/* ---- due.c: whose turn it is ---- */

typedef enum MdbQueue
{
	MDB_QUEUE_NONE,
	MDB_QUEUE_WAITING, /* for its source's watermark */
	MDB_QUEUE_READY,
	MDB_QUEUE_SLOW /* takes long */
} MdbQueue;

/* The rules of one source. */
typedef struct MdbGroup
{
	Oid source; /* hash key; InvalidOid = the clock */
	TimestampTz watermark;
	int64 lag;
	int64 runs;          /* in some queue */
	TimestampTz written; /* housekeeping.c */
	pairingheap *waiting;
} MdbGroup;

/* A rule as the evaluator keeps it. */
typedef struct MdbRun
{
	int32 rule_id; /* hash key */
	MdbRule *rule;
	MemoryContext mcxt; /* of rule, alerts and the tick's texts */
	MdbAlerts *alerts;
	MdbTick tick;
	MdbTick stored;         /* what its row says; of last_error not the text */
	TimestampTz written_at; /* when it was written, by the clock; 0 = there is none */
	bool is_stale;          /* tables and memory may differ: to be read again */
	uint32 turn;            /* of the last look at all rules */

	/* due.c */
	MdbQueue queue;
	MdbGroup *group;
	pairingheap_node node;
	dlist_node link;
	TimestampTz next;     /* the tick; 0 = the last that is complete */
	TimestampTz ready_at; /* since when it is ready, by the clock */
	int64 gap; /* of ticks that were left out before the last one that was taken, in microseconds */
	bool is_slow;
	int timeouts;           /* in a row */
	int failures;           /* in a row, which are not the rule's */
	TimestampTz retry_at;   /* of one that is stale */
	TimestampTz not_before; /* by the clock, of a slow one */
} MdbRun;

/* As far behind its source as this a rule takes each tick that it has missed, further behind only the last. */
#define MDB_CATCH_UP_US (60 * USECS_PER_SEC)

extern void mdb_due_add(MdbRun *run);
extern void mdb_due_remove(MdbRun *run);
extern void mdb_due_look(void);
extern HTAB *mdb_due_groups(void);
extern MdbRun *mdb_due_next(int64 *skipped);
extern void mdb_due_again(MdbRun *run, int64 took, bool timed_out);
extern char *mdb_late_reason(const MdbRun *run);
extern bool mdb_due_clock_went_back(const MdbRun *run);
extern void mdb_due_clock_back(void);
extern long mdb_due_in(long most, long interval);

/* ---- runs.c: what is kept of all rules ---- */

extern HTAB *mdb_runs(void);
extern MdbRun *mdb_run_find(int32 rule_id);
extern void mdb_run_stale(MdbRun *run);
extern void mdb_runs_look(void);
extern void mdb_runs_forget(void);

/* ---- housekeeping.c ---- */

extern void mdb_housekeeping_init(void);
extern void mdb_housekeeping(MemoryContext mcxt);
extern bool mdb_housekeeping_remains(MemoryContext mcxt);

/* ---- strikes.c: rules that end the worker ---- */

#define MDB_STRIKES_MAX 3

extern void mdb_strikes_begin(void);
extern void mdb_strikes_watch(int32 rule_id);
extern char *mdb_strikes_error(const MdbRule *rule);

/* ---- live.c: how they go at this moment, in shared memory ---- */

extern void mdb_alert_live_init(void);
extern void mdb_live_rules_begin(void);
extern void mdb_live_rule_put(const MdbRun *run);
extern void mdb_live_rule_remove(int32 rule_id);

#endif /* MDB_EVALUATE_H */
