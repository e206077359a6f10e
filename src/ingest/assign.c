/*
 * assign.c
 *	  Sources that read what they are told to: epochs of partitions, in metricsdb.kafka_assignment.
 *
 * A source with the option assigned, of a node of a distributed table, finds no partitions by itself.  An epoch says that it
 * reads a partition from an offset on, and, once that is known, up to which.  Its row in metricsdb.kafka_offset is the
 * epoch that is read now; the next one begins when that has come to its end.  Who hands partitions over is on the
 * coordinator (src/dist/assign.c): no node knows of another, and each goes on without it.
 *
 * Invariants:
 *	1. An epoch's from_offset never changes.  Its to_offset only grows, and never lies before what is stored.
 *	2. What lies from to_offset on is not stored: the offsets' compare-and-set (offsets.c) looks at the row that was
 *	   locked to write to_offset.
 *	3. Epochs of a partition are read in their order, each to its end.
 *
 * Called by SQL, and by ingest.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "ingest/consumer.h"
#include "ingest/offsets.h"
#include "metricsdb.h"

PG_FUNCTION_INFO_V1(mdb_assign_kafka_partition);
PG_FUNCTION_INFO_V1(mdb_close_kafka_partition);
PG_FUNCTION_INFO_V1(mdb_lock_kafka_assignments);
PG_FUNCTION_INFO_V1(mdb_kafka_watermarks);

/* A column of the only row of SPI's result. */
static int64
result_int8(int column, bool *isnull)
{
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull));
}

bool
mdb_offsets_within(int32 source_id, int n, const MdbPartition *partitions)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {INT4OID, INT8ARRAYOID, INT8ARRAYOID};
	Datum args[lengthof(types)];
	Datum *numbers = palloc(Max(n, 1) * sizeof(Datum)), *positions = palloc(Max(n, 1) * sizeof(Datum));
	bool within;

	for (int i = 0; i < n; i++)
	{
		numbers[i] = Int64GetDatum(partitions[i].partition);
		positions[i] = Int64GetDatum(partitions[i].position);
	}
	args[0] = Int32GetDatum(source_id);
	args[1] = PointerGetDatum(
		construct_array(numbers, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	args[2] = PointerGetDatum(
		construct_array(positions, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	SPI_connect();
	if (plan == NULL)
	{
		SPIPlanPtr fresh =
			SPI_prepare("SELECT FROM metricsdb.kafka_offset o JOIN unnest($2, $3) AS u(partition, position)"
						" ON o.partition = u.partition WHERE o.source_id = $1 AND o.to_offset < u.position",
						lengthof(types), types);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not prepare the look at the ends of epochs");
		plan = fresh;
	}
	SPI_execute_plan(plan, args, NULL, true, 1);
	within = SPI_processed == 0;
	SPI_finish();
	return within;
}

void
mdb_offsets_follow(int32 source_id)
{
	/* Epochs that can begin: of each partition the first one behind that which has ended. */
	static const char *const can_begin =
		"SELECT DISTINCT ON (a.partition) a.partition, a.epoch, a.from_offset, a.to_offset"
		" FROM metricsdb.kafka_assignment a LEFT JOIN metricsdb.kafka_offset o"
		" ON o.source_id = a.source_id AND o.partition = a.partition"
		" WHERE a.source_id = $1 AND (o.partition IS NULL"
		" OR coalesce(o.epoch, 0) < a.epoch AND o.next_offset >= o.to_offset)"
		" ORDER BY a.partition, a.epoch";
	Oid type = INT4OID;
	Datum arg = Int32GetDatum(source_id);

	SPI_connect();
	(void) mdb_execute_own(can_begin, 1, &type, &arg, NULL);
	if (SPI_processed > 0)
	{
		/* Nobody ends one of them meanwhile. */
		(void) mdb_execute_own("SELECT FROM metricsdb.kafka_source WHERE source_id = $1 FOR NO KEY UPDATE", 1,
							   &type, &arg, NULL);
		(void) mdb_execute_own(
			psprintf(
				"INSERT INTO metricsdb.kafka_offset AS o (source_id, partition, epoch, next_offset, to_offset)"
				" SELECT $1, n.* FROM (%s) n"
				" ON CONFLICT (source_id, partition) DO UPDATE SET epoch = excluded.epoch,"
				" next_offset = excluded.next_offset, to_offset = excluded.to_offset, stalled = NULL",
				can_begin),
			1, &type, &arg, NULL);
	}
	SPI_finish();
}

static void
refuse_null(FunctionCallInfo fcinfo, int n)
{
	for (int i = 0; i < n; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("only to_offset of an epoch may be null")));
}

/* The source of that name, locked, which must be one that is told what to read. */
static int32
find_assigned(const char *name)
{
	int32 id = mdb_source_find(name);
	Oid type = INT4OID;
	Datum arg = Int32GetDatum(id);

	if (mdb_execute_own("SELECT FROM metricsdb.kafka_source WHERE source_id = $1"
						" AND (options ->> 'assigned')::bool",
						1, &type, &arg, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("Kafka source \"%s\" reads all partitions of its topic", name),
						errhint("Create it with the option \"assigned\".")));
	return id;
}

/*
 * mdb_assign_kafka_partition - metricsdb.assign_kafka_partition(source, partition, epoch, shard, from_offset, to_offset)
 */
Datum
mdb_assign_kafka_partition(PG_FUNCTION_ARGS)
{
	Oid types[] = {INT4OID, INT4OID, INT8OID, TEXTOID, INT8OID, INT8OID};
	Datum args[lengthof(types)];
	char *name;
	int64 from, to = PG_INT64_MAX;
	bool is_new;

	refuse_null(fcinfo, 5);
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	from = PG_GETARG_INT64(4);
	if (!PG_ARGISNULL(5))
		to = PG_GETARG_INT64(5);
	if (PG_GETARG_INT32(1) < 0 || PG_GETARG_INT64(2) <= 0 || from < 0 || to < from)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no such epoch"),
						errdetail("Epochs are numbered from 1, and end at or behind where they begin.")));
	SPI_connect();
	args[0] = Int32GetDatum(find_assigned(name));
	for (int i = 1; i < lengthof(types); i++)
		args[i] = PG_GETARG_DATUM(i);
	is_new = mdb_execute_own("INSERT INTO metricsdb.kafka_assignment VALUES ($1, $2, $3, $4, $5, $6)"
							 " ON CONFLICT DO NOTHING",
							 lengthof(types), types, args, PG_ARGISNULL(5) ? "     n" : NULL) > 0;
	if (!is_new &&
		mdb_execute_own("SELECT FROM metricsdb.kafka_assignment WHERE source_id = $1 AND partition = $2"
						" AND epoch = $3 AND shard = $4 AND from_offset = $5",
						5, types, args, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("epoch " INT64_FORMAT " of partition %d of Kafka source \"%s\" is another one",
							   PG_GETARG_INT64(2), PG_GETARG_INT32(1), name),
						errdetail("It has another shard, or begins elsewhere.")));
	if (mdb_execute_own("SELECT FROM metricsdb.kafka_assignment WHERE source_id = $1 AND partition = $2"
						" AND epoch < $3 AND to_offset IS NULL",
						3, types, args, NULL) > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("an epoch of partition %d of Kafka source \"%s\" has no end yet",
							   PG_GETARG_INT32(1), name),
						errhint("End it with metricsdb.close_kafka_partition().")));
	mdb_offsets_follow(DatumGetInt32(args[0]));
	SPI_finish();
	PG_RETURN_BOOL(is_new);
}

/*
 * mdb_close_kafka_partition - metricsdb.close_kafka_partition(source, partition, epoch, at_least) RETURNS bigint
 */
Datum
mdb_close_kafka_partition(PG_FUNCTION_ARGS)
{
	Oid types[] = {INT4OID, INT4OID, INT8OID, INT8OID};
	Datum args[lengthof(types)];
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool isnull;
	int64 to, known;

	SPI_connect();
	args[0] = Int32GetDatum(find_assigned(name));
	for (int i = 1; i < lengthof(types); i++)
		args[i] = PG_GETARG_DATUM(i);
	if (mdb_execute_own(
			"SELECT to_offset, greatest(from_offset, to_offset, $4) FROM metricsdb.kafka_assignment"
			" WHERE source_id = $1 AND partition = $2 AND epoch = $3",
			4, types, args, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("partition %d of Kafka source \"%s\" has no epoch " INT64_FORMAT,
							   PG_GETARG_INT32(1), name, PG_GETARG_INT64(2))));
	known = result_int8(1, &isnull);
	if (isnull)
		known = -1;
	to = result_int8(2, &isnull);
	args[3] = Int64GetDatum(to);

	/* A flush that is under way is waited for, or sees this. */
	if (mdb_execute_own("UPDATE metricsdb.kafka_offset SET to_offset = greatest(next_offset, $4)"
						" WHERE source_id = $1 AND partition = $2 AND epoch = $3 RETURNING to_offset",
						4, types, args, NULL) > 0)
		to = result_int8(1, &isnull);
	else if (to != known &&
			 mdb_execute_own(
				 "SELECT FROM metricsdb.kafka_offset WHERE source_id = $1 AND partition = $2 AND epoch > $3",
				 3, types, args, NULL) > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("epoch " INT64_FORMAT " of partition %d of Kafka source \"%s\" is over",
							   PG_GETARG_INT64(2), PG_GETARG_INT32(1), name),
						errdetail("It has ended at offset " INT64_FORMAT ".", known)));
	args[3] = Int64GetDatum(to);
	(void) mdb_execute_own("UPDATE metricsdb.kafka_assignment SET to_offset = $4"
						   " WHERE source_id = $1 AND partition = $2 AND epoch = $3",
						   4, types, args, NULL);
	SPI_finish();
	PG_RETURN_INT64(to);
}

/*
 * mdb_lock_kafka_assignments - metricsdb.lock_kafka_assignments(source)
 *
 * Whoever was changing them has come to his end when this returns, be he still connected or not.
 */
Datum
mdb_lock_kafka_assignments(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid type = INT4OID;
	Datum arg;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	arg = Int32GetDatum(mdb_source_find(text_to_cstring(PG_GETARG_TEXT_PP(0))));
	(void) mdb_execute_own(
		"SELECT partition, epoch, shard, from_offset, to_offset FROM metricsdb.kafka_assignment"
		" WHERE source_id = $1 ORDER BY partition, epoch",
		1, &type, &arg, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	return (Datum) 0;
}

/* Ask the brokers, and put what they say into the result. */
static void
ask_brokers(MdbConsumer *consumer, const MdbSource *source, ReturnSetInfo *rsinfo)
{
	const char *problem;
	int n = mdb_consumer_partitions(consumer, &problem);

	if (n <= 0)
		ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
						errmsg("the brokers of Kafka source \"%s\" do not tell of topic \"%s\"", source->name,
							   source->topic),
						problem ? errdetail("%s.", problem) : 0));
	for (int32 p = 0; p < n; p++)
	{
		int64 low, high;
		Datum values[3];
		bool nulls[3] = {false};

		CHECK_FOR_INTERRUPTS();
		if (!mdb_consumer_watermarks(consumer, p, MDB_REQUEST_MS, &low, &high))
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("the broker of partition %d of topic \"%s\" does not answer", p, source->topic)));
		values[0] = Int32GetDatum(p);
		values[1] = Int64GetDatum(low);
		values[2] = Int64GetDatum(high);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/*
 * mdb_kafka_watermarks - metricsdb.kafka_watermarks(source): partition, low_watermark, high_watermark
 */
Datum
mdb_kafka_watermarks(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MdbSource *source;
	MdbConsumer *consumer;
	int32 id;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	id = mdb_source_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	SPI_finish();
	source = mdb_source_load(id);
	if (source == NULL)
		elog(ERROR, "Kafka source %d is gone", id);
	mdb_source_options(source->raw_options, source->raw_secrets, source->owner, &source->options);
	consumer = mdb_consumer_create(source);
	PG_TRY();
	{
		ask_brokers(consumer, source, rsinfo);
	}
	PG_FINALLY();
	{
		mdb_consumer_destroy(consumer);
	}
	PG_END_TRY();
	return (Datum) 0;
}
