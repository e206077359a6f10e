/*
 * offsets.c
 *	  metricsdb.kafka_offset and metricsdb.kafka_dead_letter: how far a source has come.
 *
 * Invariants:
 *	1. next_offset is the offset of the first message whose points are not stored.  It changes in
 *	   the transaction that stores them and in no other way, seek_kafka_source and a counted gap
 *	   aside.
 *	2. It is changed by compare-and-set, so two workers of one source cannot both store a message,
 *	   however they came to be.
 *	3. For each row, consumed = stored + dead_letters.
 *	4. It never passes to_offset: who ends an epoch (assign.c) locks the row, and a batch that goes further then fails.
 *
 * Called by flush.c and ingest.c.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ingest/offsets.h"

#define ADVANCE_COLUMNS 12
#define ADVANCE_TIMES   1 /* of them are times, the last ones */

/* How much of the load up to updated_at counts still: after ten minutes a third.  As in metricsdb.kafka_status. */
#define LEFT                                                                                                      \
	"pg_catalog.exp(-least(greatest(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - o.updated_at), " \
	"0) / 600, 700))"

/*
 * keep_plan - prepare a statement once for the life of the process.
 */
static SPIPlanPtr
keep_plan(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types)
{
	if (*plan == NULL)
	{
		SPIPlanPtr fresh = SPI_prepare(sql, nargs, types);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
		*plan = fresh;
	}
	return *plan;
}

int
mdb_offsets_load(int32 source_id, MdbPartition **partitions)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller = CurrentMemoryContext;
	Oid type = INT4OID;
	Datum arg = Int32GetDatum(source_id);
	int n;

	SPI_connect();
	keep_plan(&plan,
			  "SELECT partition, next_offset, stalled, to_offset, least(last_message_at, updated_at)"
			  " FROM metricsdb.kafka_offset"
			  " WHERE source_id OPERATOR(pg_catalog.=) $1 ORDER BY partition",
			  1, &type);
	SPI_execute_plan(plan, &arg, NULL, true, 0);
	n = (int) SPI_processed;
	*partitions = MemoryContextAllocZero(caller, Max(n, 1) * sizeof(MdbPartition));
	for (int i = 0; i < n; i++)
	{
		MdbPartition *p = &(*partitions)[i];
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		char *stalled = SPI_getvalue(row, desc, 3);
		TimestampTz stored_at;
		bool isnull;

		p->partition = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		p->next_offset = p->position = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		p->to = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
		if (isnull)
			p->to = PG_INT64_MAX;
		stored_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 5, &isnull));
		p->stored_ms =
			isnull ? -1 : (stored_at + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / 1000;
		p->high = p->low = -1;
		p->last_message_ms = -1;
		p->newest = DT_NOBEGIN;
		p->looked_at = -1;
		p->stalled = stalled ? MemoryContextStrdup(caller, stalled) : NULL;
	}
	SPI_finish();
	return n;
}

void
mdb_offsets_add(int32 source_id, int32 partition, int64 next_offset)
{
	Oid types[] = {INT4OID, INT4OID, INT8OID};
	Datum args[] = {Int32GetDatum(source_id), Int32GetDatum(partition), Int64GetDatum(next_offset)};

	SPI_connect();
	SPI_execute_with_args("INSERT INTO metricsdb.kafka_offset (source_id, partition, next_offset)"
						  " VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
						  3, types, args, NULL, false, 0);
	SPI_finish();
}

/*
 * array_of - the n values as an array of bigint or of timestamptz.
 */
static Datum
array_of(Oid type, int n, Datum *values)
{
	return PointerGetDatum(construct_array(values, n, type, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

void
mdb_offsets_advance(int32 source_id, int n, const MdbPartition *partitions)
{
	static SPIPlanPtr plan = NULL;
	Oid types[2 + ADVANCE_COLUMNS] = {INT4OID};
	Datum args[2 + ADVANCE_COLUMNS];
	Datum *columns[ADVANCE_COLUMNS];
	Datum *tops = palloc(Max(n, 1) * sizeof(Datum));
	int touched = 0;

	SPI_connect();
	for (int c = 0; c < ADVANCE_COLUMNS; c++)
	{
		types[1 + c] = c < ADVANCE_COLUMNS - ADVANCE_TIMES ? INT8ARRAYOID : TIMESTAMPTZARRAYOID;
		columns[c] = palloc(Max(n, 1) * sizeof(Datum));
	}
	for (int i = 0; i < n; i++)
	{
		const MdbPartition *p = &partitions[i];
		const struct MdbHeavyMetric *top;
		double part;

		if (p->position == p->next_offset)
			continue;
		top = mdb_heavy_top(&p->heavy, &part);
		columns[0][touched] = Int64GetDatum(p->partition);
		columns[1][touched] = Int64GetDatum(p->next_offset);
		columns[2][touched] = Int64GetDatum(p->position);
		columns[3][touched] = Int64GetDatum(Max(p->high, p->position));
		columns[4][touched] = Int64GetDatum(p->counts.messages);
		columns[5][touched] = Int64GetDatum(p->counts.consumed);
		columns[6][touched] = Int64GetDatum(p->counts.stored);
		columns[7][touched] = Int64GetDatum(p->counts.dead_letters);
		columns[8][touched] = Int64GetDatum(p->last_message_ms);
		columns[9][touched] = Int64GetDatum(p->counts.bytes);
		columns[10][touched] = Int64GetDatum((int64) (part * 1000));
		columns[11][touched] = TimestampTzGetDatum(p->newest);
		tops[touched] = PointerGetDatum(
			top ? cstring_to_text_with_len(top->name, pg_mbcliplen(top->name, top->len, top->len))
				: cstring_to_text(""));
		touched++;
	}
	args[0] = Int32GetDatum(source_id);
	for (int c = 0; c < ADVANCE_COLUMNS; c++)
		args[1 + c] =
			array_of(c < ADVANCE_COLUMNS - ADVANCE_TIMES ? INT8OID : TIMESTAMPTZOID, touched, columns[c]);
	types[1 + ADVANCE_COLUMNS] = TEXTARRAYOID;
	args[1 + ADVANCE_COLUMNS] =
		PointerGetDatum(construct_array(tops, touched, TEXTOID, -1, false, TYPALIGN_INT));

	keep_plan(
		&plan,
		"UPDATE metricsdb.kafka_offset o SET next_offset = u.position, high_watermark = u.high,"
		" messages = o.messages + u.messages, consumed = o.consumed + u.consumed,"
		" stored = o.stored + u.stored, dead_letters = o.dead_letters + u.dead_letters,"
		" last_message_at = CASE WHEN u.last_ms >= 0 THEN pg_catalog.to_timestamp(u.last_ms / 1000.0)"
		" ELSE o.last_message_at END,"
		" newest_time = nullif(greatest(o.newest_time, u.newest), '-infinity'), updated_at = pg_catalog.clock_timestamp(),"
		" load_points = coalesce(o.load_points * " LEFT ", 0) + u.consumed,"
		" load_bytes = coalesce(o.load_bytes * " LEFT ", 0) + u.bytes,"
		" top_metric = coalesce(nullif(u.top, ''), o.top_metric), top_part = u.part / 1000.0"
		" FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
		" AS u(partition, next_offset, position, high, messages, consumed, stored, dead_letters, last_ms, bytes, part, newest, top)"
		" WHERE o.source_id = $1 AND o.partition = u.partition::pg_catalog.int4"
		" AND o.next_offset = u.next_offset"
		" AND (o.to_offset IS NULL OR u.position <= o.to_offset)",
		2 + ADVANCE_COLUMNS, types);
	SPI_execute_plan(plan, args, NULL, false, 0);
	if (SPI_processed != (uint64) touched)
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("offsets of Kafka source %d were changed by somebody else", source_id),
						errdetail("Of %d partitions " UINT64_FORMAT " were where this worker left them.",
								  touched, SPI_processed)));
	SPI_finish();
}

void
mdb_offsets_stall(int32 source_id, const MdbPartition *partition, const char *reason)
{
	Oid types[] = {INT4OID, INT4OID, INT8OID, TEXTOID};
	Datum args[] = {Int32GetDatum(source_id), Int32GetDatum(partition->partition),
					Int64GetDatum(partition->next_offset), CStringGetTextDatum(reason)};

	SPI_connect();
	SPI_execute_with_args("UPDATE metricsdb.kafka_offset SET stalled = $4"
						  " WHERE source_id = $1 AND partition = $2 AND next_offset = $3",
						  4, types, args, NULL, false, 0);
	SPI_finish();
}

void
mdb_offsets_skip(int32 source_id, const MdbPartition *partition, int64 to)
{
	Oid types[] = {INT4OID, INT4OID, INT8OID, INT8OID};
	Datum args[] = {Int32GetDatum(source_id), Int32GetDatum(partition->partition),
					Int64GetDatum(partition->next_offset), Int64GetDatum(to)};

	SPI_connect();
	SPI_execute_with_args("UPDATE metricsdb.kafka_offset SET next_offset = $4,"
						  " skipped = skipped + greatest($4 - $3, 0)"
						  " WHERE source_id = $1 AND partition = $2 AND next_offset = $3",
						  4, types, args, NULL, false, 0);
	SPI_finish();
}

void
mdb_offsets_dead_letters(const MdbSource *source, const MdbIntake *batch, const MdbPartition *partitions)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {INT4OID,  TEXTOID, INT4OID, INT8OID, INT4OID, TIMESTAMPTZOID, BYTEAOID,
				   BYTEAOID, INT4OID, TEXTOID, TEXTOID, INT4OID, INT8OID};
	Datum args[lengthof(types)];
	char nulls[lengthof(types) + 1];

	if (batch->ndead == 0)
		return;
	SPI_connect();
	keep_plan(&plan,
			  "INSERT INTO metricsdb.kafka_dead_letter (source_id, topic, partition, \"offset\", point_index,"
			  " message_at, key, payload, payload_length, code, reason, points, last_offset)"
			  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
			  /* Who seeks back reads the same bad points again. */
			  " ON CONFLICT DO NOTHING",
			  lengthof(types), types);
	args[0] = Int32GetDatum(source->id);
	args[1] = CStringGetTextDatum(source->topic);
	for (uint32 i = 0; i < batch->ndead; i++)
	{
		const MdbDeadLetter *dead = &batch->dead[i];
		MemoryContext before = MemoryContextSwitchTo(batch->context);

		memset(nulls, ' ', sizeof(nulls));
		args[2] = Int32GetDatum(partitions[dead->partition].partition);
		args[3] = Int64GetDatum(dead->offset);
		args[4] = Int32GetDatum(dead->point);
		args[5] = TimestampTzGetDatum(dead->message_ms * 1000 -
									  (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
		nulls[5] = dead->message_ms < 0 ? 'n' : ' ';
		args[6] = PointerGetDatum(dead->key);
		nulls[6] = dead->key ? ' ' : 'n';
		args[7] = PointerGetDatum(dead->payload);
		nulls[7] = dead->payload ? ' ' : 'n';
		args[8] = Int32GetDatum(dead->payload_length);
		args[9] = CStringGetTextDatum(dead->code);
		args[10] = CStringGetTextDatum(dead->reason);
		args[11] = Int32GetDatum(dead->points);
		args[12] = Int64GetDatum(dead->last_offset);
		MemoryContextSwitchTo(before);
		SPI_execute_plan(plan, args, nulls, false, 0);
		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	SPI_finish();
}
