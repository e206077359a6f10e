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

/* A resolved alert that somebody was not told of, as he was not to be reached, is kept no longer. */
#define UNTOLD_MAX "1 day"

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

static uint64
prune(const char *sql, int minutes)
{
	Oid types[3] = {INTERVALOID, TIMESTAMPTZOID, INT4OID};
	Interval interval = {.time = minutes * USECS_PER_MINUTE};
	Datum args[3] = {IntervalPGetDatum(&interval), TimestampTzGetDatum(GetCurrentTimestamp()),
					 Int32GetDatum(PRUNE_ROWS)};

	return mdb_execute_own(sql, 3, types, args, NULL);
}

/* True if there is more. */
static bool
prune_all(MemoryContext mcxt)
{
	bool more;

	begin();
	more =
		prune(
			"DELETE FROM metricsdb.alert_event WHERE event_id = ANY (ARRAY("
			"SELECT event_id FROM metricsdb.alert_event WHERE happened_at < $2 - $1 ORDER BY happened_at LIMIT $3))",
			history_retention) == PRUNE_ROWS;
	/* As long as some receiver has not heard the last of it, it may come back. */
	(void) prune(
		"DELETE FROM metricsdb.alert_outbox AS o WHERE state = 'resolved' AND queued_at < $2 - $1"
		" AND (queued_at < $2 - interval '" UNTOLD_MAX
		"' OR NOT EXISTS (SELECT FROM metricsdb.alert_sent AS s"
		" WHERE s.target_id = o.target_id AND s.rule_id = o.rule_id AND s.key = o.key"
		" AND (s.seq < o.seq OR s.sent_at IS NULL)) AND EXISTS (SELECT FROM metricsdb.alert_sent AS s"
		" WHERE s.target_id = o.target_id AND s.rule_id = o.rule_id AND s.key = o.key))",
		(mdb_alert_resolved_retention + 59) / 60);
	(void) mdb_execute_own("DELETE FROM metricsdb.alert_sent AS s WHERE NOT EXISTS"
						   " (SELECT FROM metricsdb.alert_outbox AS o"
						   " WHERE s.target_id = o.target_id AND s.rule_id = o.rule_id AND s.key = o.key)",
						   0, NULL, NULL, NULL);
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
		prune_at = prune_all(mcxt) ? now : now + PRUNE_US;
	MemoryContextReset(mcxt);
}

/*
 * mdb_alert_wanted - is there work for an alert worker in this database?  SPI is connected.
 */
bool
mdb_alert_wanted(void)
{
	return mdb_alert_interval >= 0 && mdb_execute_own("SELECT FROM metricsdb.alert_rule WHERE enabled"
													  " UNION ALL SELECT FROM metricsdb.alert_outbox LIMIT 1",
													  0, NULL, NULL, NULL) > 0;
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
