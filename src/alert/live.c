/*
 * live.c
 *	  How the evaluations of rules go at this moment, in shared memory: tables have only what is worth a write.
 *
 * An entry belongs to a rule of a database; it goes with the rule, or with the worker that evaluates it.  Where there is
 * no room for all rules, some are told of by their tables alone.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "alert/evaluate.h"
#include "metricsdb.h"

PG_FUNCTION_INFO_V1(mdb_alert_live);

#define LIVE_RULES   20000
#define LIVE_TRANCHE "metricsdb_alerts"

typedef struct LiveKey
{
	Oid database;
	int32 rule_id;
} LiveKey;

typedef struct LiveRule
{
	LiveKey key;
	TimestampTz last_tick;
	TimestampTz evaluated_at;
	int64 duration;
	int64 missed;
	int64 lag;
	int32 instances;
	MdbHealth health;
} LiveRule;

static HTAB *live = NULL;
static LWLock *live_lock = NULL;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

static void
live_shmem_request(void)
{
	if (next_shmem_request)
		next_shmem_request();
	RequestAddinShmemSpace(hash_estimate_size(LIVE_RULES, sizeof(LiveRule)));
	RequestNamedLWLockTranche(LIVE_TRANCHE, 1);
}

static void
live_shmem_startup(void)
{
	HASHCTL ctl = {.keysize = sizeof(LiveKey), .entrysize = sizeof(LiveRule)};

	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	live = ShmemInitHash("metricsdb alerts", LIVE_RULES, LIVE_RULES, &ctl, HASH_ELEM | HASH_BLOBS);
	live_lock = &GetNamedLWLockTranche(LIVE_TRANCHE)->lock;
	LWLockRelease(AddinShmemInitLock);
}

/*
 * mdb_alert_live_init - at load: shared memory.
 */
void
mdb_alert_live_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = live_shmem_request;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = live_shmem_startup;
}

/* NULL if there is no room; what is new is all zero.  Under the lock. */
static LiveRule *
entry(int32 rule_id)
{
	LiveKey key = {MyDatabaseId, rule_id};
	bool found;
	LiveRule *e = hash_search(live, &key, HASH_ENTER_NULL, &found);

	if (e != NULL && !found)
		memset((char *) e + sizeof(LiveKey), 0, sizeof(LiveRule) - sizeof(LiveKey));
	return e;
}

/* What a worker has left goes when it does. */
static void
live_end(int code, Datum arg)
{
	HASH_SEQ_STATUS scan;
	LiveRule *e;

	LWLockAcquire(live_lock, LW_EXCLUSIVE);
	hash_seq_init(&scan, live);
	while ((e = hash_seq_search(&scan)) != NULL)
		if (e->key.database == MyDatabaseId)
			(void) hash_search(live, &e->key, HASH_REMOVE, NULL);
	LWLockRelease(live_lock);
}

/*
 * mdb_live_rules_begin - this process is the alert worker of its database.
 */
void
mdb_live_rules_begin(void)
{
	if (live == NULL)
		return;
	live_end(0, (Datum) 0);
	before_shmem_exit(live_end, (Datum) 0);
}

/*
 * mdb_live_rule_put - how a rule's evaluations go.
 */
void
mdb_live_rule_put(const MdbRun *run)
{
	LiveRule *e;

	if (live == NULL)
		return;
	LWLockAcquire(live_lock, LW_EXCLUSIVE);
	e = entry(run->rule_id);
	if (e != NULL)
	{
		e->last_tick = run->tick.last_tick;
		e->evaluated_at = run->tick.evaluated_at;
		e->duration = run->tick.duration;
		e->missed = run->tick.missed;
		e->health = run->tick.health;
		e->lag = run->group ? run->group->lag : 0;
		e->instances = run->alerts->by_key ? (int32) hash_get_num_entries(run->alerts->by_key) : 0;
	}
	LWLockRelease(live_lock);
}

/*
 * mdb_live_rule_remove - it is not evaluated any more.
 */
void
mdb_live_rule_remove(int32 rule_id)
{
	LiveKey key = {MyDatabaseId, rule_id};

	if (live == NULL)
		return;
	LWLockAcquire(live_lock, LW_EXCLUSIVE);
	(void) hash_search(live, &key, HASH_REMOVE, NULL);
	LWLockRelease(live_lock);
}

static void
put_interval(Datum *v, int64 us)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = us;
	*v = IntervalPGetDatum(interval);
}

/*
 * mdb_alert_live - metricsdb.alert_live() RETURNS SETOF record: one row a rule that is evaluated now.
 */
Datum
mdb_alert_live(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LiveRule *copy;
	HASH_SEQ_STATUS scan;
	LiveRule *e;
	int n = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (live == NULL)
		return (Datum) 0;
	copy = palloc(sizeof(LiveRule) * LIVE_RULES);
	LWLockAcquire(live_lock, LW_SHARED);
	hash_seq_init(&scan, live);
	while ((e = hash_seq_search(&scan)) != NULL)
		if (e->key.database == MyDatabaseId && e->evaluated_at != 0 && n < LIVE_RULES)
			copy[n++] = *e;
	LWLockRelease(live_lock);
	for (int i = 0; i < n; i++)
	{
		Datum v[8];
		bool nulls[8] = {false};

		v[0] = Int32GetDatum(copy[i].key.rule_id);
		v[1] = TimestampTzGetDatum(copy[i].last_tick);
		v[2] = TimestampTzGetDatum(copy[i].evaluated_at);
		put_interval(&v[3], copy[i].duration);
		put_interval(&v[4], copy[i].lag);
		v[5] = Int64GetDatum(copy[i].missed);
		v[6] = Int32GetDatum(copy[i].instances);
		v[7] = CStringGetTextDatum(mdb_health_name(copy[i].health));
		nulls[1] = copy[i].last_tick == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, nulls);
	}
	return (Datum) 0;
}
