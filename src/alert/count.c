/*
 * count.c
 *	  What the evaluation and the delivery of alerts have done since the server started, in shared memory, by database.
 *
 * The alert worker and the sender of a database count for it, each by itself, so that adding is all there is to do.  A
 * database has its entry for as long as the server runs; where there is no room for it, nothing is counted.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#include "alert/count.h"
#include "alert/define.h"
#include "alert/evaluate.h"
#include "metricsdb.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(mdb_alert_counts);

#define DATABASES     256
#define COUNT_TRANCHE "metricsdb_alert_counts"

/* Kinds of rules, and what is done for threshold and dead-man rules once, when they begin. */
#define KIND_HISTORY (MDB_RULE_RECORDING + 1)
#define NKINDS       (KIND_HISTORY + 1)

typedef struct Database
{
	Oid oid; /* InvalidOid = the entry is free */
	pg_atomic_uint64 of[MDB_NCOUNTS][NKINDS];
} Database;

/* How each is told, and whether by kind. */
static const struct
{
	const char *name;
	bool by_kind;
} counts[MDB_NCOUNTS] = {[MDB_COUNT_EVALUATIONS] = {"evaluations", true},
						 [MDB_COUNT_ERRORS] = {"errors", true},
						 [MDB_COUNT_MISSED] = {"missed", true},
						 [MDB_COUNT_TRANSITIONS] = {"transitions", true},
						 [MDB_COUNT_PARTS] = {"parts_read", true},
						 [MDB_COUNT_BLOCKS] = {"blocks_read", true},
						 [MDB_COUNT_ROWS] = {"rows_read", true},
						 [MDB_COUNT_BYTES] = {"bytes_read", true},
						 [MDB_COUNT_BATCHES] = {"batches"},
						 [MDB_COUNT_SAMPLES] = {"samples"},
						 [MDB_COUNT_SENT] = {"sent"},
						 [MDB_COUNT_FAILED] = {"failed"},
						 [MDB_COUNT_REFUSED] = {"refused"}};

static Database *databases = NULL;
static Database *mine = NULL;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

static void
count_shmem_request(void)
{
	if (next_shmem_request)
		next_shmem_request();
	RequestAddinShmemSpace(sizeof(Database) * DATABASES);
	RequestNamedLWLockTranche(COUNT_TRANCHE, 1);
}

static void
count_shmem_startup(void)
{
	bool found;

	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	databases = ShmemInitStruct("metricsdb counts of alerts", sizeof(Database) * DATABASES, &found);
	for (int i = 0; i < DATABASES && !found; i++)
	{
		databases[i].oid = InvalidOid;
		for (int count = 0; count < MDB_NCOUNTS; count++)
			for (int kind = 0; kind < NKINDS; kind++)
				pg_atomic_init_u64(&databases[i].of[count][kind], 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/*
 * mdb_alert_count_init - at load: shared memory.
 */
void
mdb_alert_count_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = count_shmem_request;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = count_shmem_startup;
}

/* The entry of this database; if there is none, a free one is it if that is wanted, else NULL. */
static Database *
find(bool enter)
{
	LWLock *lock = &GetNamedLWLockTranche(COUNT_TRANCHE)->lock;
	Database *free = NULL;
	Database *found = NULL;

	LWLockAcquire(lock, enter ? LW_EXCLUSIVE : LW_SHARED);
	for (int i = 0; i < DATABASES && found == NULL; i++)
		if (databases[i].oid == MyDatabaseId)
			found = &databases[i];
		else if (databases[i].oid == InvalidOid && free == NULL)
			free = &databases[i];
	if (found == NULL && enter && free != NULL)
	{
		found = free;
		found->oid = MyDatabaseId;
	}
	LWLockRelease(lock);
	return found;
}

/*
 * mdb_alert_counting - from now on this process counts for its database.
 */
void
mdb_alert_counting(void)
{
	if (databases != NULL)
		mine = find(true);
}

/*
 * mdb_alert_count - so many more of something that is not counted by the kind of rule; nothing if this process does not
 * count.
 */
void
mdb_alert_count(MdbCount count, uint64 n)
{
	if (mine != NULL && n > 0)
		pg_atomic_fetch_add_u64(&mine->of[count][0], (int64) n);
}

/*
 * mdb_alert_count_of - the same of what is.
 */
void
mdb_alert_count_of(MdbCount count, MdbRuleKind kind, uint64 n)
{
	if (mine != NULL && n > 0)
		pg_atomic_fetch_add_u64(&mine->of[count][kind], (int64) n);
}

/* ---- what is read ---- */

/* Up to where it has been counted, and as what what follows is. */
static MdbReads counted;
static int reads_kind = MDB_RULE_QUERY;

static void
count_reads(void)
{
	int kind = reads_kind;

	mdb_alert_count_of(MDB_COUNT_PARTS, kind, mdb_reads.parts - counted.parts);
	mdb_alert_count_of(MDB_COUNT_BLOCKS, kind, mdb_reads.blocks - counted.blocks);
	mdb_alert_count_of(MDB_COUNT_ROWS, kind, mdb_reads.rows - counted.rows);
	mdb_alert_count_of(MDB_COUNT_BYTES, kind, mdb_reads.bytes - counted.bytes);
	counted = mdb_reads;
}

/*
 * mdb_alert_reads_begin - what this process reads of tables from now on it does for an evaluation of this kind of rule;
 * mdb_alert_reads_history - for the history of one that begins; mdb_alert_reads_end - the evaluation has come to its end,
 * be it by an error.
 */
void
mdb_alert_reads_begin(MdbRuleKind kind)
{
	counted = mdb_reads;
	reads_kind = kind;
}

void
mdb_alert_reads_history(void)
{
	count_reads();
	reads_kind = KIND_HISTORY;
	mdb_alert_count_of(MDB_COUNT_EVALUATIONS, KIND_HISTORY, 1);
}

void
mdb_alert_reads_end(void)
{
	count_reads();
}

/* ---- told ---- */

static void
put(ReturnSetInfo *rsinfo, int count, int kind, uint64 value)
{
	Datum v[3] = {CStringGetTextDatum(counts[count].name), (Datum) 0, Int64GetDatum((int64) value)};
	bool n[3] = {false, !counts[count].by_kind, false};

	if (counts[count].by_kind)
		v[1] = CStringGetTextDatum(kind == KIND_HISTORY ? "history" : mdb_rule_kind_name(kind));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
}

/*
 * mdb_alert_counts - metricsdb.alert_counts() RETURNS SETOF record: what was counted of this database.
 */
Datum
mdb_alert_counts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Database *database;

	InitMaterializedSRF(fcinfo, 0);
	database = databases ? find(false) : NULL;
	for (int count = 0; database && count < MDB_NCOUNTS; count++)
		for (int kind = 0; kind < (counts[count].by_kind ? NKINDS : 1); kind++)
			put(rsinfo, count, kind, pg_atomic_read_u64(&database->of[count][kind]));
	return (Datum) 0;
}
