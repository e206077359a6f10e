/*
 * machine.h
 *	  The state machine of an alert's instance.  Plain C over the observations of one rule and label set.
 *
 * States and transitions are those of Prometheus (rules/alerting.go), with those of Grafana beyond: recovering, nodata,
 * error.  All times are microseconds of the data's time, never of the clock.
 */
#ifndef MDB_MACHINE_H
#define MDB_MACHINE_H

#include "postgres.h"

#include "datatype/timestamp.h"

typedef enum MdbState
{
	MDB_STATE_INACTIVE, /* no instance */
	MDB_STATE_PENDING,
	MDB_STATE_FIRING,
	MDB_STATE_RECOVERING, /* does not hold any more, is still told as firing */
	MDB_STATE_RESOLVED,
	MDB_STATE_NODATA,
	MDB_STATE_ERROR
} MdbState;

typedef enum MdbCondition
{
	MDB_HOLDS,
	MDB_HOLDS_NOT,
	MDB_BETWEEN, /* does not hold, but has not recovered: between the two thresholds */
	MDB_ABSENT,  /* the instance was not seen in this evaluation */
	MDB_FAILED   /* the evaluation failed */
} MdbCondition;

typedef enum MdbWhenAbsent
{
	MDB_ABSENT_RESOLVE, /* as if it did not hold (Prometheus) */
	MDB_ABSENT_KEEP,    /* the state stays */
	MDB_ABSENT_FIRING,  /* as if it held */
	MDB_ABSENT_NODATA   /* a state of its own, told as an alert, after hold */
} MdbWhenAbsent;

typedef enum MdbWhenError
{
	MDB_ERROR_KEEP,
	MDB_ERROR_FIRING,
	MDB_ERROR_ERROR /* a state of its own, told as an alert, after hold */
} MdbWhenError;

typedef struct MdbPolicy
{
	int64 hold;            /* 'for' */
	int64 keep_firing_for; /* after it does not hold any more */
	int64 absent_for;      /* after which what is absent is gone for good, whatever absent says; 0 = never */
	int64 resolved_for;    /* how long what was resolved is remembered as that */
	MdbWhenAbsent absent;
	MdbWhenError error;
	int32 holds_of; /* M of the last N evaluations have to hold; 0 = each, for all of hold */
	int32 of;       /* N, at most 64 */
} MdbPolicy;

typedef struct MdbInstance
{
	MdbState state;
	double value;
	TimestampTz active_since; /* since when the condition has held */
	TimestampTz starts_at;    /* when it began to fire; 0 = it does not */
	TimestampTz keep_since;   /* since when it has not held, while recovering */
	TimestampTz ends_at;      /* when it was resolved; 0 = it was not */
	TimestampTz last_seen;    /* the last evaluation in which it was not absent */
	uint64 recent;            /* in which of the last 64 evaluations the condition held, the last in bit 0 */
} MdbInstance;

/*
 * mdb_machine_step - what an observation at a time makes of an instance, which is all zero if it is new.  Returns the
 * state of before.  If that was told and the new one is not, targets are to be told that it is resolved.  Afterwards the
 * instance is to be forgotten unless mdb_machine_keeps() it.
 */
extern MdbState mdb_machine_step(const MdbPolicy *policy, MdbInstance *instance, MdbCondition seen,
								 double value, TimestampTz at);

/* mdb_machine_keeps - is it to be remembered?  Also inactive ones are whose absence is to be noticed. */
extern bool mdb_machine_keeps(const MdbPolicy *policy, const MdbInstance *instance);

/* mdb_machine_rule_changed - the rule was edited: it may have to hold for longer. */
extern void mdb_machine_rule_changed(const MdbPolicy *policy, MdbInstance *instance, TimestampTz at);

/* mdb_machine_unseen - for so long nobody has looked at it: that counts neither for nor against it. */
extern void mdb_machine_unseen(MdbInstance *instance, int64 us);

/* mdb_state_told - is an alert of this state told to targets as firing? */
extern bool mdb_state_told(MdbState state);

extern const char *mdb_alert_state_name(MdbState state);
extern bool mdb_alert_state_parse(const char *name, MdbState *state);

#endif /* MDB_MACHINE_H */
