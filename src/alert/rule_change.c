/*
 * rule_change.c
 *	  What a change of a rule makes of its instances, and of what targets were told of them.
 *
 * All within the transaction that changes the rule, which has its lock, so that the evaluation, which writes the same
 * rows, neither sees half of it nor undoes it.  Times of ends are the clock's: the data says nothing of them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/timestamp.h"

#include "alert/define.h"
#include "deliver/deliver.h"
#include "metricsdb.h"

#define NEXT_SEQ "pg_catalog.nextval('metricsdb.alert_event_id_seq')"
#define NOW      "pg_catalog.clock_timestamp()"

/*
 * mdb_rule_end_instances - the rule watches nothing any more, at least not under these labels: what fires is told as
 * resolved, and all is forgotten.
 */
void
mdb_rule_end_instances(int32 rule_id)
{
	Oid type = INT4OID;
	Datum id = Int32GetDatum(rule_id);

	SPI_connect();
	mdb_execute_own("INSERT INTO metricsdb.alert_event"
					" (rule_id, rule, owner, labels, from_state, to_state, at, value, happened_at)"
					" SELECT i.rule_id, r.name, r.owner, i.labels, i.state,"
					" CASE i.state WHEN 'pending' THEN 'inactive' ELSE 'resolved' END,"
					" greatest(i.starts_at, i.active_since, " NOW "), i.value, " NOW
					" FROM metricsdb.alert_instance i JOIN metricsdb.alert_rule r USING (rule_id)"
					" WHERE i.rule_id OPERATOR(pg_catalog.=) $1"
					" AND i.state OPERATOR(pg_catalog.=) ANY"
					" ('{pending,firing,recovering,nodata,error}'::pg_catalog.text[])",
					1, &type, &id, NULL);
	mdb_execute_own("UPDATE metricsdb.alert_outbox SET state = 'resolved', ends_at = greatest(starts_at, " NOW
					"), seq = " NEXT_SEQ ", queued_at = " NOW " WHERE rule_id OPERATOR(pg_catalog.=) $1"
					" AND state OPERATOR(pg_catalog.=) 'firing'",
					1, &type, &id, NULL);
	mdb_execute_own("DELETE FROM metricsdb.alert_instance WHERE rule_id OPERATOR(pg_catalog.=) $1", 1, &type,
					&id, NULL);
	SPI_finish();
}

/* Targets that are not the rule's any more hear that it is over; new ones hear of what fires. */
static void
tell_targets(const MdbRule *rule)
{
	Oid types[] = {INT4OID, INT4ARRAYOID, INTERVALOID};
	Datum args[3];
	Datum *targets = palloc(sizeof(Datum) * Max(1, rule->ntargets));
	Interval valid_for = {.time = 4 * Max(rule->every, mdb_alert_resend_delay * INT64CONST(1000))};

	for (int i = 0; i < rule->ntargets; i++)
		targets[i] = Int32GetDatum(rule->targets[i]);
	args[0] = Int32GetDatum(rule->id);
	args[1] =
		PointerGetDatum(construct_array(targets, rule->ntargets, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	args[2] = IntervalPGetDatum(&valid_for);
	SPI_connect();
	mdb_execute_own("UPDATE metricsdb.alert_outbox SET state = 'resolved', ends_at = greatest(starts_at, " NOW
					"), seq = " NEXT_SEQ ", queued_at = " NOW " WHERE rule_id OPERATOR(pg_catalog.=) $1"
					" AND state OPERATOR(pg_catalog.=) 'firing'"
					" AND NOT target_id OPERATOR(pg_catalog.=) ANY ($2)",
					2, types, args, NULL);
	mdb_execute_own(
		"INSERT INTO metricsdb.alert_outbox (target_id, rule_id, key, rule, owner, state, labels,"
		" annotations, value, starts_at, valid_for, seq, queued_at)"
		" SELECT t.target_id, r.rule_id, i.key, r.name, r.owner, 'firing', i.labels, i.annotations,"
		" i.value, i.starts_at, $3, " NEXT_SEQ ", " NOW
		" FROM metricsdb.alert_rule r JOIN metricsdb.alert_instance i USING (rule_id)"
		" JOIN metricsdb.alert_target t ON t.target_id OPERATOR(pg_catalog.=) ANY ($2)"
		" WHERE r.rule_id OPERATOR(pg_catalog.=) $1 AND i.starts_at IS NOT NULL"
		" AND i.state OPERATOR(pg_catalog.=) ANY"
		" ('{firing,recovering,nodata,error}'::pg_catalog.text[])"
		" ON CONFLICT (target_id, rule_id, key) DO UPDATE SET state = 'firing', ends_at = NULL,"
		" starts_at = excluded.starts_at, annotations = excluded.annotations,"
		" valid_for = excluded.valid_for, owner = excluded.owner, seq = excluded.seq,"
		" queued_at = excluded.queued_at",
		3, types, args, NULL);
	SPI_finish();
}

/* A row of metricsdb.alert_instance, as far as it is needed here. */
typedef struct Row
{
	Datum key;
	Jsonb *labels;
	MdbInstance in;
	MdbState before;
} Row;

static TimestampTz
time_of(HeapTuple tuple, int column)
{
	bool isnull;
	Datum datum = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(datum);
}

static void
read_row(HeapTuple tuple, Row *row)
{
	TupleDesc desc = SPI_tuptable->tupdesc;
	bool isnull;
	Datum value;

	row->key = PointerGetDatum(DatumGetByteaPCopy(SPI_getbinval(tuple, desc, 1, &isnull)));
	row->labels = DatumGetJsonbPCopy(SPI_getbinval(tuple, desc, 2, &isnull));
	memset(&row->in, 0, sizeof(row->in));
	mdb_alert_state_parse(SPI_getvalue(tuple, desc, 3), &row->in.state);
	value = SPI_getbinval(tuple, desc, 4, &isnull);
	row->in.value = isnull ? get_float8_nan() : DatumGetFloat8(value);
	row->in.active_since = time_of(tuple, 5);
	row->in.starts_at = time_of(tuple, 6);
	row->in.keep_since = time_of(tuple, 7);
	row->in.ends_at = time_of(tuple, 8);
	row->in.last_seen = time_of(tuple, 9);
	row->before = row->in.state;
}

/* The row of an instance that is told, as the changed rule has it. */
static void
write_row(const MdbRule *rule, const Row *row)
{
	Oid types[] = {INT4OID, BYTEAOID, TEXTOID, JSONBOID};
	Datum args[4];
	bool told = mdb_state_told(row->in.state);

	args[0] = Int32GetDatum(rule->id);
	args[1] = row->key;
	args[2] = CStringGetTextDatum(mdb_alert_state_name(row->in.state));
	args[3] = JsonbPGetDatum(mdb_annotations_make(rule, row->labels, row->in.value));
	mdb_execute_own(
		"UPDATE metricsdb.alert_instance SET annotations = $4 WHERE rule_id OPERATOR(pg_catalog.=) $1"
		" AND key OPERATOR(pg_catalog.=) $2 AND state OPERATOR(pg_catalog.=) $3",
		4, types, args, NULL);
	if (told)
	{
		mdb_execute_own(
			"UPDATE metricsdb.alert_outbox SET annotations = $4, owner = r.owner, seq = " NEXT_SEQ
			", queued_at = " NOW " FROM metricsdb.alert_rule r"
			" WHERE alert_outbox.rule_id OPERATOR(pg_catalog.=) $1"
			" AND r.rule_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2"
			" AND state OPERATOR(pg_catalog.=) 'firing'"
			" AND (alert_outbox.annotations, alert_outbox.owner::pg_catalog.oid) IS DISTINCT FROM ($4, r.owner::pg_catalog.oid)",
			4, types, args, NULL);
	}
	if (row->in.state == row->before)
		return;
	/* It has to hold for longer than it does. */
	mdb_execute_own(
		"INSERT INTO metricsdb.alert_event"
		" (rule_id, rule, owner, labels, from_state, to_state, at, value, happened_at)"
		" SELECT i.rule_id, r.name, r.owner, i.labels, i.state, $3, greatest(i.starts_at, i.last_seen),"
		" i.value, " NOW " FROM metricsdb.alert_instance i JOIN metricsdb.alert_rule r USING (rule_id)"
		" WHERE i.rule_id OPERATOR(pg_catalog.=) $1 AND i.key OPERATOR(pg_catalog.=) $2",
		4, types, args, NULL);
	mdb_execute_own("UPDATE metricsdb.alert_instance SET state = $3, annotations = $4, starts_at = NULL,"
					" keep_since = NULL, updated_at = " NOW " WHERE rule_id OPERATOR(pg_catalog.=) $1"
					" AND key OPERATOR(pg_catalog.=) $2",
					4, types, args, NULL);
	mdb_execute_own("UPDATE metricsdb.alert_outbox SET state = 'resolved', ends_at = greatest(starts_at, " NOW
					"), seq = " NEXT_SEQ ", queued_at = " NOW " WHERE rule_id OPERATOR(pg_catalog.=) $1"
					" AND key OPERATOR(pg_catalog.=) $2 AND state OPERATOR(pg_catalog.=) 'firing'",
					4, types, args, NULL);
}

/*
 * mdb_rule_apply_change - the rule, whose row is as it says now, has the same identity as before.  What fires goes on
 * to, unless it has to hold for longer by now; targets hear of it, and of new annotations.
 */
void
mdb_rule_apply_change(const MdbRule *rule)
{
	Oid type = INT4OID;
	Datum id = Int32GetDatum(rule->id);
	TimestampTz now = GetCurrentTimestamp();
	Row *rows;
	int n;

	SPI_connect();
	n = (int) mdb_execute_own(
		"SELECT key, labels, state, value, active_since, starts_at, keep_since, ends_at, last_seen"
		" FROM metricsdb.alert_instance WHERE rule_id OPERATOR(pg_catalog.=) $1"
		" AND state OPERATOR(pg_catalog.=) ANY"
		" ('{pending,firing,recovering,nodata,error}'::pg_catalog.text[])",
		1, &type, &id, NULL);
	rows = palloc(sizeof(Row) * Max(1, n));
	for (int i = 0; i < n; i++)
		read_row(SPI_tuptable->vals[i], &rows[i]);
	for (int i = 0; i < n; i++)
	{
		MdbInstance *in = &rows[i].in;

		CHECK_FOR_INTERRUPTS();
		/* When it was last seen is not written each time. */
		mdb_machine_rule_changed(&rule->policy, in, Max(in->last_seen, now));
		write_row(rule, &rows[i]);
	}
	SPI_finish();
	tell_targets(rule);
}
