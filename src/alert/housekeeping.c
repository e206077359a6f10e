/*
 * housekeeping.c
 *	  What the alert worker does beside evaluating: it writes up to where it is, and deletes what is old.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "alert/evaluate.h"
#include "deliver/deliver.h"
#include "metricsdb.h"

/* After a crash all ticks since then are taken again, or counted as missed. */
#define PROGRESS_US (10 * USECS_PER_SEC)

#define PRUNE_US    (60 * USECS_PER_SEC)
#define PRUNE_ROWS  10000

static int history_retention = 30 * 24 * 60;
static TimestampTz progress_at = 0;
static TimestampTz prune_at = 0;

/*
 * mdb_housekeeping_init - at load: settings.
 */
void
mdb_housekeeping_init(void)
{
	DefineCustomIntVariable("metricsdb.alert_history_retention",
							"For how long changes of alerts' states are kept.", NULL, &history_retention,
							history_retention, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
}

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true,
							 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

static void
commit(MemoryContext mcxt)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(mcxt);
}

/* Up to when the rules of each source have been evaluated, but for what their own rows say. */
static void
write_progress(MemoryContext mcxt)
{
	Oid types[2] = {OIDOID, TIMESTAMPTZOID};
	HASH_SEQ_STATUS scan;
	MdbGroup *group;

	if (mdb_due_groups() == NULL)
		return;
	begin();
	hash_seq_init(&scan, mdb_due_groups());
	while ((group = hash_seq_search(&scan)) != NULL)
	{
		Datum args[2] = {ObjectIdGetDatum(group->source), TimestampTzGetDatum(group->watermark)};

		if (group->runs == 0 || TIMESTAMP_NOT_FINITE(group->watermark) || group->watermark == group->written)
			continue;
		(void) mdb_execute_own("INSERT INTO metricsdb.alert_progress AS p VALUES ($1, $2)"
							   " ON CONFLICT (source) DO UPDATE SET watermark = excluded.watermark",
							   2, types, args, NULL);
		group->written = group->watermark;
	}
	commit(mcxt);
}

/* Times of history before which it is old. */
static Datum
old_datum(void)
{
	return TimestampTzGetDatum(GetCurrentTimestamp() - history_retention * USECS_PER_MINUTE);
}

/* History; the outbox is the sender's, but where there is none.  True if there is more. */
static bool
prune(MemoryContext mcxt)
{
	Oid types[2] = {TIMESTAMPTZOID, INT4OID};
	Datum args[2] = {old_datum(), Int32GetDatum(PRUNE_ROWS)};
	bool more;

	begin();
	more = mdb_execute_own(
			   "DELETE FROM metricsdb.alert_event WHERE event_id OPERATOR(pg_catalog.=) ANY (ARRAY("
			   "SELECT event_id FROM metricsdb.alert_event WHERE happened_at OPERATOR(pg_catalog.<) $1"
			   " ORDER BY happened_at LIMIT $2))",
			   2, types, args, NULL) == PRUNE_ROWS;
	if (!mdb_deliver_wanted())
		mdb_deliver_prune();
	commit(mcxt);
	return more;
}

/*
 * mdb_housekeeping - from time to time; called outside a transaction, runs its own.
 */
void
mdb_housekeeping(MemoryContext mcxt)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now >= progress_at || progress_at - now > PROGRESS_US)
	{
		write_progress(mcxt);
		progress_at = now + PROGRESS_US;
	}
	if (now >= prune_at || prune_at - now > PRUNE_US)
		prune_at = prune(mcxt) ? now : now + PRUNE_US;
	MemoryContextReset(mcxt);
}

/*
 * mdb_alert_wanted - is there work for an alert worker in this database?  SPI is connected.
 */
bool
mdb_alert_wanted(void)
{
	Oid type = TIMESTAMPTZOID;
	Datum old = old_datum();

	if (mdb_alert_interval < 0)
		return false;
	return mdb_execute_own(
			   "SELECT FROM metricsdb.alert_rule WHERE enabled UNION ALL SELECT FROM metricsdb.alert_event"
			   " WHERE happened_at OPERATOR(pg_catalog.<) $1 LIMIT 1",
			   1, &type, &old, NULL) > 0 ||
		   (!mdb_deliver_wanted() &&
			mdb_execute_own("SELECT FROM metricsdb.alert_outbox LIMIT 1", 0, NULL, NULL, NULL) > 0);
}

/*
 * mdb_housekeeping_remains - is there work as the maintainer sees it, though no rule is evaluated?  Called outside a
 * transaction, runs its own.
 */
bool
mdb_housekeeping_remains(MemoryContext mcxt)
{
	bool remains;

	begin();
	remains = OidIsValid(get_extension_oid(MDB_EXTENSION, true)) && mdb_alert_wanted();
	commit(mcxt);
	return remains;
}
