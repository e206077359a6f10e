/*
 * outbox.c
 *	  What is to be told, and what was: metricsdb.alert_outbox, and metricsdb.alert_sent.
 *
 * An Alertmanager is told of each change, and again from time to time, for it forgets.  Others are told when an alert
 * begins or ends, and again only if the target says so (repeat_interval).
 *
 * In alert_sent, state and starts_at are what was told last, and when is sent_at; seq is what was tried last, and
 * attempts, next_at, last_error and refused say what came of it if it was not told.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "alert/count.h"
#include "deliver/deliver.h"
#include "deliver/outbox.h"
#include "metricsdb.h"

/* Alerts that were refused are tried again after so long, twice as long each time. */
#define REFUSED_WAIT     (300 * USECS_PER_SEC)
#define REFUSED_WAIT_MAX USECS_PER_HOUR

/* Others; what keeps its URL from being asked too often is in queue.c. */
#define FAILED_WAIT     USECS_PER_SEC
#define FAILED_WAIT_MAX (300 * USECS_PER_SEC)

/* A resolved alert that could not be told for so long is not told any more. */
#define GIVE_UP "interval '1 day'"

static const char due_sql[] =
	"SELECT o.rule_id, o.key, coalesce(s.refused, false)"
	" FROM metricsdb.alert_outbox o LEFT JOIN metricsdb.alert_sent s"
	"  ON s.target_id = o.target_id AND s.rule_id = o.rule_id AND s.key = o.key AND s.url = $2"
	" WHERE o.target_id = $1 AND CASE"
	"  WHEN s.seq IS NULL THEN true"
	/* what failed, unless there is something new to tell of it, or of its target (sender.c) */
	"  WHEN s.attempts > 0 AND s.seq = o.seq THEN s.next_at IS NULL OR s.next_at <= $3"
	/* Alertmanager: what is new, and all of it after a while, also where the clock was put back meanwhile */
	"  WHEN $4 THEN s.seq <> o.seq OR s.sent_at IS NULL OR s.sent_at <= $3 - $5 OR s.sent_at > $3"
	/* others: what began or ended */
	"  WHEN s.sent_at IS NULL OR s.state <> o.state OR s.starts_at <> o.starts_at THEN true"
	"  ELSE o.state = 'firing' AND $5 > interval '0' AND (s.sent_at <= $3 - $5 OR s.sent_at > $3) END"
	/* What was not told yet before what is told again; what failed last. */
	" ORDER BY s.sent_at IS NOT NULL AND s.state = o.state AND s.starts_at = o.starts_at, coalesce(s.attempts, 0),"
	" o.queued_at, o.seq LIMIT $6";

static const char read_sql[] =
	"SELECT o.rule_id, o.key, o.rule, o.state, o.labels, o.annotations, o.value, o.starts_at,"
	" CASE WHEN o.state = 'firing' THEN $4 + o.valid_for"
	/* Alertmanager takes what ends in the future for firing; see also alertmanager.c. */
	"  ELSE least(greatest(o.starts_at, o.ends_at), $4) END, o.seq, k.alone"
	" FROM unnest($2, $3, $5) WITH ORDINALITY k(rule_id, key, alone, n)"
	" JOIN metricsdb.alert_outbox o ON o.target_id = $1 AND o.rule_id = k.rule_id AND o.key = k.key ORDER BY k.n";

static const char told_sql[] =
	"INSERT INTO metricsdb.alert_sent AS s (target_id, rule_id, key, url, seq, state, starts_at, sent_at)"
	" SELECT $1, u.rule_id, u.key, $2, u.seq, u.state, u.starts_at, $3"
	" FROM unnest($4, $5, $6, $7, $8) u(rule_id, key, seq, state, starts_at)"
	" ON CONFLICT (target_id, rule_id, key, url) DO UPDATE SET seq = excluded.seq, state = excluded.state,"
	"  starts_at = excluded.starts_at, sent_at = excluded.sent_at, attempts = 0, next_at = NULL, last_error = NULL,"
	"  refused = false";

static const char failed_sql[] =
	"INSERT INTO metricsdb.alert_sent AS s (target_id, rule_id, key, url, seq, attempts, next_at, last_error, refused)"
	" SELECT $1, u.rule_id, u.key, $2, u.seq, 1, $3 + $9, $10, $11"
	" FROM unnest($4, $5, $6, $7, $8) u(rule_id, key, seq, state, starts_at)"
	" ON CONFLICT (target_id, rule_id, key, url) DO UPDATE SET seq = excluded.seq, attempts = s.attempts + 1,"
	"  next_at = $3 + least($9 * 2 ^ least(s.attempts, 16), $12), last_error = excluded.last_error,"
	"  refused = excluded.refused";

/* Told to each URL that there is, as what it is now.  What others hold waits for the next time. */
static const char prune_sql[] =
	"WITH untold AS ("
	"SELECT o.target_id, o.rule_id, o.key FROM metricsdb.alert_outbox o"
	" JOIN (SELECT t.target_id, u.url FROM metricsdb.alert_target t, unnest(t.urls) u(url)) r"
	"  ON r.target_id = o.target_id"
	" LEFT JOIN metricsdb.alert_sent s ON s.target_id = o.target_id AND s.rule_id = o.rule_id AND s.key = o.key"
	"  AND s.url = r.url"
	" WHERE o.state = 'resolved' AND NOT coalesce(s.refused AND s.seq = o.seq"
	"  OR s.state = o.state AND s.starts_at = o.starts_at, false)),"
	" gone AS ("
	"SELECT o.target_id, o.rule_id, o.key FROM metricsdb.alert_outbox o"
	" WHERE o.state = 'resolved' AND o.queued_at <= $1 - $2"
	" AND (o.queued_at <= $1 - " GIVE_UP
	"  OR (o.target_id, o.rule_id, o.key) NOT IN (SELECT target_id, rule_id, key FROM untold))"
	" FOR UPDATE OF o SKIP LOCKED)"
	" DELETE FROM metricsdb.alert_outbox o USING gone"
	" WHERE o.target_id = gone.target_id AND o.rule_id = gone.rule_id AND o.key = gone.key";

/* What is left of rows that are gone, and of URLs that are none any more. */
static const char orphans_sql[] =
	"DELETE FROM metricsdb.alert_sent s WHERE NOT EXISTS (SELECT FROM metricsdb.alert_outbox o"
	"  WHERE o.target_id = s.target_id AND o.rule_id = s.rule_id AND o.key = s.key)";
static const char strangers_sql[] =
	"DELETE FROM metricsdb.alert_sent s WHERE NOT EXISTS (SELECT FROM metricsdb.alert_target t, unnest(t.urls) u(url)"
	"  WHERE t.target_id = s.target_id AND u.url = s.url)";

static Datum
interval_datum(int64 us)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = us;
	return IntervalPGetDatum(interval);
}

/* Elements of one type as an array. */
static Datum
array_datum(Datum *values, int n, Oid type)
{
	switch (type)
	{
		case BYTEAOID:
		case TEXTOID:
			return PointerGetDatum(construct_array(values, n, type, -1, false, TYPALIGN_INT));
		case INT4OID:
			return PointerGetDatum(construct_array(values, n, type, 4, true, TYPALIGN_INT));
		case BOOLOID:
			return PointerGetDatum(construct_array(values, n, type, 1, true, TYPALIGN_CHAR));
		default:
			return PointerGetDatum(construct_array(values, n, type, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	}
}

static Datum
value_at(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

int
mdb_outbox_due(const MdbAlertTarget *target, const char *url, int n, MdbAlertKey **keys)
{
	bool alertmanager = target->kind == MDB_TARGET_ALERTMANAGER;
	Oid types[] = {INT4OID, TEXTOID, TIMESTAMPTZOID, BOOLOID, INTERVALOID, INT4OID};
	Datum args[6] = {
		Int32GetDatum(target->id),
		CStringGetTextDatum(url),
		TimestampTzGetDatum(GetCurrentTimestamp()),
		BoolGetDatum(alertmanager),
		interval_datum(alertmanager ? mdb_alert_resend_delay * INT64CONST(1000) : target->repeat),
		Int32GetDatum(n)};
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	int count;

	SPI_connect();
	count = (int) mdb_execute_own(due_sql, 6, types, args, NULL);
	spi = MemoryContextSwitchTo(caller);
	*keys = palloc(sizeof(MdbAlertKey) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		bool isnull;

		(*keys)[i].rule_id = DatumGetInt32(value_at(i, 1, &isnull));
		(*keys)[i].key = DatumGetByteaPCopy(value_at(i, 2, &isnull));
		(*keys)[i].alone = DatumGetBool(value_at(i, 3, &isnull));
	}
	MemoryContextSwitchTo(spi);
	SPI_finish();
	return count;
}

/*
 * What was read is flushed, whoever committed it, and however: after a crash it must still be so.
 */
static void
flush_what_was_read(void)
{
	XLogRecPtr upto = GetXLogInsertRecPtr();

	/* On a new page it is where the next record will begin, behind the header. */
	if (XLogSegmentOffset(upto, wal_segment_size) == SizeOfXLogLongPHD)
		upto -= SizeOfXLogLongPHD;
	else if (upto % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		upto -= SizeOfXLogShortPHD;
	XLogFlush(upto);
}

int
mdb_outbox_read(const MdbAlertTarget *target, int n, const MdbAlertKey *keys, MdbAlert **alerts)
{
	Oid types[] = {INT4OID, INT4ARRAYOID, BYTEAARRAYOID, TIMESTAMPTZOID, BOOLARRAYOID};
	Datum *rules = palloc(n * sizeof(Datum));
	Datum *bytes = palloc(n * sizeof(Datum));
	Datum *alone = palloc(n * sizeof(Datum));
	Datum args[5];
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	int count;

	for (int i = 0; i < n; i++)
	{
		rules[i] = Int32GetDatum(keys[i].rule_id);
		bytes[i] = PointerGetDatum(keys[i].key);
		alone[i] = BoolGetDatum(keys[i].alone);
	}
	args[0] = Int32GetDatum(target->id);
	args[1] = array_datum(rules, n, INT4OID);
	args[2] = array_datum(bytes, n, BYTEAOID);
	args[3] = TimestampTzGetDatum(GetCurrentTimestamp());
	args[4] = array_datum(alone, n, BOOLOID);

	SPI_connect();
	count = (int) mdb_execute_own(read_sql, 5, types, args, NULL);
	spi = MemoryContextSwitchTo(caller);
	*alerts = palloc0(sizeof(MdbAlert) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		MdbAlert *alert = &(*alerts)[i];
		Datum values[11];
		bool nulls[11];

		for (int k = 0; k < 11; k++)
			values[k] = value_at(i, k + 1, &nulls[k]);
		alert->id.rule_id = DatumGetInt32(values[0]);
		alert->id.key = DatumGetByteaPCopy(values[1]);
		alert->id.alone = DatumGetBool(values[10]);
		alert->rule = TextDatumGetCString(values[2]);
		alert->firing = strcmp(TextDatumGetCString(values[3]), "firing") == 0;
		alert->labels = DatumGetJsonbPCopy(values[4]);
		alert->annotations = DatumGetJsonbPCopy(values[5]);
		alert->no_value = nulls[6];
		alert->value = nulls[6] ? 0 : DatumGetFloat8(values[6]);
		alert->starts_at = DatumGetTimestampTz(values[7]);
		alert->ends_at = DatumGetTimestampTz(values[8]);
		alert->seq = DatumGetInt64(values[9]);
	}
	MemoryContextSwitchTo(spi);
	SPI_finish();
	if (count > 0)
		flush_what_was_read();
	return count;
}

bool
mdb_outbox_record(const MdbAlertTarget *target, const char *url, int n, const MdbAlert *alerts, MdbTold told,
				  const char *error)
{
	Oid types[] = {INT4OID,       TEXTOID,      TIMESTAMPTZOID, INT4ARRAYOID,
				   BYTEAARRAYOID, INT8ARRAYOID, TEXTARRAYOID,   1185 /* timestamptz[] */,
				   INTERVALOID,   TEXTOID,      BOOLOID,        INTERVALOID};
	Datum *columns[5];
	Datum args[12];
	bool refused = told == MDB_REFUSED;
	bool found;

	for (int k = 0; k < 5; k++)
		columns[k] = palloc(n * sizeof(Datum));
	for (int i = 0; i < n; i++)
	{
		columns[0][i] = Int32GetDatum(alerts[i].id.rule_id);
		columns[1][i] = PointerGetDatum(alerts[i].id.key);
		columns[2][i] = Int64GetDatum(alerts[i].seq);
		columns[3][i] = CStringGetTextDatum(alerts[i].firing ? "firing" : "resolved");
		columns[4][i] = TimestampTzGetDatum(alerts[i].starts_at);
	}
	args[0] = Int32GetDatum(target->id);
	args[1] = CStringGetTextDatum(url);
	args[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	args[3] = array_datum(columns[0], n, INT4OID);
	args[4] = array_datum(columns[1], n, BYTEAOID);
	args[5] = array_datum(columns[2], n, INT8OID);
	args[6] = array_datum(columns[3], n, TEXTOID);
	args[7] = array_datum(columns[4], n, TIMESTAMPTZOID);
	args[8] = interval_datum(refused ? REFUSED_WAIT : FAILED_WAIT);
	args[9] = CStringGetTextDatum(error ? error : "");
	args[10] = BoolGetDatum(refused);
	args[11] = interval_datum(refused ? REFUSED_WAIT_MAX : FAILED_WAIT_MAX);

	SPI_connect();
	/* It may have been dropped meanwhile, or is just being: that is not waited for. */
	found =
		mdb_execute_own("SELECT FROM metricsdb.alert_target WHERE target_id = $1 FOR KEY SHARE SKIP LOCKED",
						1, types, args, NULL) == 1;
	if (found)
		mdb_execute_own(told == MDB_TOLD ? told_sql : failed_sql, told == MDB_TOLD ? 8 : 12, types, args,
						NULL);
	SPI_finish();
	if (found)
		mdb_alert_count(told == MDB_TOLD       ? MDB_COUNT_SENT
						: told == MDB_NOT_TOLD ? MDB_COUNT_FAILED
											   : MDB_COUNT_REFUSED,
						n);
	return found;
}

void
mdb_outbox_receiver(int32 target, const char *url, int failures, TimestampTz retry_at, const char *error)
{
	Oid types[] = {INT4OID, TEXTOID, TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID, TEXTOID};
	Datum args[6] = {
		Int32GetDatum(target),   CStringGetTextDatum(url),      TimestampTzGetDatum(GetCurrentTimestamp()),
		Int32GetDatum(failures), TimestampTzGetDatum(retry_at), CStringGetTextDatum(error ? error : "")};

	SPI_connect();
	mdb_execute_own(
		error ? "INSERT INTO metricsdb.alert_receiver AS r"
				" (target_id, url, failures, retry_at, last_error, last_error_at)"
				" SELECT t.target_id, $2, $4, $5, $6, $3 FROM metricsdb.alert_target t"
				" WHERE t.target_id = $1 FOR KEY SHARE SKIP LOCKED"
				" ON CONFLICT (target_id, url) DO UPDATE SET failures = excluded.failures,"
				"  retry_at = excluded.retry_at, last_error = excluded.last_error,"
				"  last_error_at = excluded.last_error_at"
			  : "INSERT INTO metricsdb.alert_receiver AS r (target_id, url, failures, last_sent_at)"
				" SELECT t.target_id, $2, $4, $3 FROM metricsdb.alert_target t"
				" WHERE t.target_id = $1 AND $5 IS NOT NULL AND $6 IS NOT NULL FOR KEY SHARE SKIP LOCKED"
				" ON CONFLICT (target_id, url) DO UPDATE SET failures = excluded.failures,"
				"  retry_at = NULL, last_sent_at = excluded.last_sent_at",
		6, types, args, NULL);
	SPI_finish();
}

void
mdb_deliver_prune(void)
{
	Oid types[] = {TIMESTAMPTZOID, INTERVALOID};
	Datum args[2] = {TimestampTzGetDatum(GetCurrentTimestamp()),
					 interval_datum(mdb_alert_resolved_retention * USECS_PER_SEC)};

	SPI_connect();
	mdb_execute_own(prune_sql, 2, types, args, NULL);
	mdb_execute_own(orphans_sql, 0, NULL, NULL, NULL);
	mdb_execute_own(strangers_sql, 0, NULL, NULL, NULL);
	SPI_finish();
}
