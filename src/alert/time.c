/*
 * time.c
 *	  The watermark of a table: up to when its data is complete, as far as can be told.  Alerts take it for the time.
 *
 * A table that Kafka fills is complete up to where its sources are (src/ingest/complete.c).  Any other is taken for
 * complete up to metricsdb.alert_wait ago, and no further than that before the beginning of the oldest transaction that
 * writes to it; but nobody is waited for longer than MAX_WAIT.
 *
 * Invariants:
 *	1. Who writes is looked for before the snapshot is taken by which the data is read: whoever is not seen then has
 *	   either committed, and is visible, or begun later.
 *	2. It does not go back within a process, nor beyond the clock.  From one process to the next it may: a rule's ticks
 *	   go on from metricsdb.alert_tick.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_inherits.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "alert/alert.h"
#include "compat.h"
#include "ingest/complete.h"
#include "metricsdb.h"

PG_FUNCTION_INFO_V1(mdb_watermark_time);
PG_FUNCTION_INFO_V1(mdb_watermark_state);

/* By so much at least the clock was put back if a watermark lies in the future. */
#define PUT_BACK    USECS_PER_MINUTE

#define MAX_WAIT    (10 * USECS_PER_SEC)
#define USUAL_DELAY (3 * USECS_PER_SEC)

int mdb_alert_wait_ms = 2000;

/* What was told of a table before. */
typedef struct Told
{
	Oid table;
	TimestampTz at;
} Told;

static HTAB *told = NULL;

/*
 * mdb_time_init - settings.
 */
void
mdb_time_init(void)
{
	DefineCustomIntVariable("metricsdb.alert_wait",
							"How late rows may come to a table that Kafka does not fill.",
							"Alerts on such a table look at what was so long ago.", &mdb_alert_wait_ms, 2000,
							0, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

/*
 * has_vxid - is it among these?
 */
static bool
has_vxid(const VirtualTransactionId *list, int n, const VirtualTransactionId *vxid)
{
	for (int i = 0; i < n; i++)
		if (VirtualTransactionIdEquals(list[i], *vxid))
			return true;
	return false;
}

/*
 * begun_at - when the transaction of a process began: at the latest.
 */
static TimestampTz
begun_at(int pid)
{
	int n = pgstat_fetch_stat_numbackends();

	for (int i = 1; i <= n; i++)
	{
		LocalPgBackendStatus *entry = mdb_backend_entry(i);

		if (entry != NULL && entry->backendStatus.st_procpid == pid &&
			entry->backendStatus.st_xact_start_timestamp != 0)
			return entry->backendStatus.st_xact_start_timestamp;
	}
	/* Backends are looked at once in a transaction: this one's began after ours. */
	return GetCurrentTransactionStartTimestamp();
}

/*
 * oldest_writer - when the oldest transaction began that writes to a table, or now; *pid is its process.
 *
 * Writers hold RowExclusiveLock.  No mode conflicts with this one alone, but two do whose difference it is: the rest is
 * of VACUUM, and of our own compaction.  Prepared transactions have no process and are not waited for.
 */
static TimestampTz
oldest_writer(Oid table, TimestampTz now, int *pid)
{
	LOCKTAG tag;
	VirtualTransactionId *others;
	VirtualTransactionId *writers;
	int nothers;
	int nwriters;
	TimestampTz oldest = now;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, table);
	writers = GetLockConflicts(&tag, ShareLock, &nwriters);
	if (nwriters == 0)
		return now;
	others = GetLockConflicts(&tag, ShareUpdateExclusiveLock, &nothers);
	for (int i = 0; i < nwriters; i++)
	{
		PGPROC *proc;
		TimestampTz at;

		if (has_vxid(others, nothers, &writers[i]))
			continue;
		proc = mdb_proc_of(&writers[i]);
		if (proc == NULL || proc->pid == 0)
			continue;
		at = begun_at(proc->pid);
		if (at < oldest)
		{
			oldest = at;
			*pid = proc->pid;
		}
	}
	return oldest;
}

/*
 * written_by_sql - up to when tables are complete that no Kafka source fills.
 */
static TimestampTz
written_by_sql(List *tables, TimestampTz now, const char **reason)
{
	TimestampTz oldest = now;
	ListCell *lc;
	int pid = 0;

	foreach (lc, tables)
	{
		int by = 0;
		TimestampTz at = oldest_writer(lfirst_oid(lc), now, &by);

		if (at < oldest)
		{
			oldest = at;
			pid = by;
		}
	}
	oldest = Max(oldest, now - MAX_WAIT);
	if (oldest < now - USUAL_DELAY)
		*reason = psprintf("the transaction of process %d writes to it for long", pid);
	return oldest - (int64) mdb_alert_wait_ms * 1000;
}

/*
 * not_before - never less than was told before, unless the clock was put back since: that would be waited for until it has
 * come there again.
 */
static TimestampTz
not_before(Oid table, TimestampTz at, TimestampTz now)
{
	Told *entry;
	bool found;

	if (told == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Told), .hcxt = TopMemoryContext};

		told = hash_create("metricsdb watermarks", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(told, &table, HASH_ENTER, &found);
	if (!found || entry->at > now + PUT_BACK)
		entry->at = DT_NOBEGIN;
	entry->at = Max(entry->at, at);
	return entry->at;
}

TimestampTz
mdb_watermark(Oid table, int64 *lag_us, const char **reason)
{
	TimestampTz now = GetCurrentTimestamp();
	const char *why = NULL;
	TimestampTz at;

	if (!OidIsValid(table))
		at = now - (int64) mdb_alert_wait_ms * 1000;
	else
	{
		List *tables = find_all_inheritors(table, NoLock, NULL);

		at = mdb_sources_complete(tables, now, &why);
		if (TIMESTAMP_IS_NOEND(at))
			at = written_by_sql(tables, now, &why);
		at = not_before(table, Min(at, now), now);
		list_free(tables);
	}
	if (lag_us)
		*lag_us = TIMESTAMP_NOT_FINITE(at) ? PG_INT64_MAX : Max(now - at, 0);
	if (reason)
		*reason = why;
	return at;
}

/*
 * check_may_see - the caller may read the table, or is a monitor.
 */
static void
check_may_see(Oid table)
{
	AclResult result;

	if (has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		return;
	result = pg_class_aclcheck(table, GetUserId(), ACL_SELECT);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(get_rel_relkind(table)), get_rel_name(table));
}

/*
 * mdb_watermark_time - metricsdb.watermark("table" regclass) RETURNS timestamptz
 */
Datum
mdb_watermark_time(PG_FUNCTION_ARGS)
{
	Oid table = PG_GETARG_OID(0);
	TimestampTz at;

	check_may_see(table);
	at = mdb_watermark(table, NULL, NULL);
	if (TIMESTAMP_NOT_FINITE(at))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(at);
}

/*
 * mdb_watermark_state - metricsdb.watermark_state("table" regclass) RETURNS (watermark, lag, reason)
 */
Datum
mdb_watermark_state(PG_FUNCTION_ARGS)
{
	Oid table = PG_GETARG_OID(0);
	TupleDesc desc;
	Datum values[3] = {0};
	bool nulls[3] = {false};
	const char *reason;
	int64 lag_us;
	TimestampTz at;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	check_may_see(table);
	at = mdb_watermark(table, &lag_us, &reason);
	nulls[0] = nulls[1] = TIMESTAMP_NOT_FINITE(at);
	nulls[2] = (reason == NULL);
	values[0] = TimestampTzGetDatum(at);
	if (!nulls[1])
	{
		Interval *lag = palloc0(sizeof(Interval));

		lag->time = lag_us;
		values[1] = IntervalPGetDatum(lag);
	}
	if (reason != NULL)
		values[2] = CStringGetTextDatum(reason);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
