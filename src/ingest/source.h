/*
 * source.h
 *	  A Kafka source: its row in metricsdb.kafka_source, read and checked.
 */
#ifndef MDB_SOURCE_H
#define MDB_SOURCE_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "utils/jsonb.h"

typedef enum MdbFormat
{
	MDB_FORMAT_METRIC,
	MDB_FORMAT_METRIC_BATCH
} MdbFormat;

typedef enum MdbTimeUnit
{
	MDB_UNIT_S,
	MDB_UNIT_MS,
	MDB_UNIT_US,
	MDB_UNIT_NS
} MdbTimeUnit;

/* A setting of librdkafka. */
typedef struct MdbProperty
{
	const char *name;
	const char *value;
	bool secret; /* the value must not appear in any message */
} MdbProperty;

/* The options of ours, defaults filled in. */
typedef struct MdbSourceOptions
{
	bool start_latest; /* where a new source starts; new partitions start at their beginning */
	bool skip_gaps;    /* go on behind messages that Kafka has no more; else stall */
	bool assigned;     /* reads what metricsdb.kafka_assignment says, instead of all partitions */
	int64 max_age;     /* microseconds; PG_INT64_MAX = no limit */
	int64 max_future;
	int64 lateness; /* of points, behind newer ones and behind the clock: see complete.c */
	int flush_ms;
	int metadata_ms;
	int max_points;        /* in a message */
	int dead_letter_bytes; /* of a payload that are kept */
	const char *synchronous_commit;
	int nproperties;
	MdbProperty *properties; /* options' and secrets' */
} MdbSourceOptions;

typedef struct MdbSource
{
	int32 id;
	const char *name;
	Oid owner;
	Oid target;
	const char *brokers;
	const char *topic;
	MdbFormat format;
	MdbTimeUnit unit;
	bool running;        /* wanted, and at home here */
	const char *version; /* of the row: differs after any change */
	Jsonb *raw_options;  /* as stored; NULL = none */
	Jsonb *raw_secrets;
	MdbSourceOptions options; /* not filled in by mdb_source_load */
} MdbSource;

/* mdb_format_parse, mdb_time_unit_parse - the words of SQL; an error for others. */
extern MdbFormat mdb_format_parse(const char *word);
extern MdbTimeUnit mdb_time_unit_parse(const char *word);

/*
 * mdb_source_options - check and read options and secrets (either may be NULL).
 *
 * What names files or runs commands on the server needs a role that is trusted with that.  Every problem is an error with a hint; no error shows the value of a secret.
 */
extern void mdb_source_options(Jsonb *options, Jsonb *secrets, Oid role, MdbSourceOptions *out);

/*
 * mdb_source_load - read the source's row and secrets into CurrentMemoryContext; NULL if it is
 * gone.  Within a transaction.
 */
extern MdbSource *mdb_source_load(int32 id);

/*
 * mdb_source_version - the version of the row now, "" if it is gone or not to run.  Within a
 * transaction.
 */
extern const char *mdb_source_version(int32 id);

/*
 * mdb_source_find - id of the source with this name, locked against others who change it; an error if there is none, or
 * it is not the caller's.  Within SPI.
 */
extern int32 mdb_source_find(const char *name);

/*
 * mdb_source_stop - note in the row, in the current transaction, that the source cannot go on.
 */
extern void mdb_source_stop(int32 id, const char *reason);

#endif /* MDB_SOURCE_H */
