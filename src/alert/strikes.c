/*
 * strikes.c
 *	  Rules that end the worker: who evaluates them again and again would never come to the others.
 *
 * While a rule is evaluated its id is in a small file, mapped into memory, so that it costs nothing and outlives the
 * worker, whatever ended it: that the rule's functions would not be cancelled, a crash, the system for want of memory.
 * The next worker finds it there, and counts a strike in metricsdb.alert_tick.  With MDB_STRIKES_MAX of them, and no
 * evaluation in between that came to its end, the rule is put aside: each tick is an error, until somebody changes or
 * enables it.  A worker that was asked to leave has not been ended by a rule.
 *
 * A file that cannot be had is done without.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "alert/evaluate.h"
#include "metricsdb.h"

/* Who has a row of ours for longer is not waited for. */
#define LOCK_TIMEOUT "500ms"

/* NULL = there is no file. */
static volatile int32 *evaluated = NULL;

/* The file, or -1; it has room for a rule's id, on the disk. */
static int
open_file(void)
{
	char *path = psprintf("%s/%s_alert_%u", PG_STAT_TMP_DIR, MDB_EXTENSION, MyDatabaseId);
	int fd = BasicOpenFile(path, O_RDWR | O_CREAT | PG_BINARY);
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	int32 none = 0;

	if (size >= 0 && size < (off_t) sizeof(none))
		size = pg_pwrite(fd, &none, sizeof(none), 0);
	if (size >= (off_t) sizeof(none))
		return fd;
	ereport(LOG, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", path),
				  errdetail("An alert rule that ends its worker will not be told from others.")));
	if (fd >= 0)
		close(fd);
	return -1;
}

static void
map_file(void)
{
	int fd = open_file();
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(int32), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map != MAP_FAILED)
		evaluated = map;
	if (fd >= 0)
		close(fd);
}

/* Count a strike of a rule; nothing if it is gone. */
static void
count_strike(int32 rule_id)
{
	Oid types[] = {INT4OID, TIMESTAMPTZOID};
	Datum args[] = {Int32GetDatum(rule_id), TimestampTzGetDatum(GetCurrentTimestamp())};
	bool isnull;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true,
							 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (mdb_execute_own(
			"INSERT INTO metricsdb.alert_tick AS t (rule_id, health, strikes, last_error, last_error_at)"
			" SELECT r.rule_id, 'error', 1, 'the alert worker ended while it evaluated the rule', $2"
			" FROM metricsdb.alert_rule AS r WHERE r.rule_id OPERATOR(pg_catalog.=) $1"
			" ON CONFLICT (rule_id) DO UPDATE SET strikes = t.strikes OPERATOR(pg_catalog.+) 1,"
			" health = excluded.health, last_error = excluded.last_error, last_error_at = $2"
			" RETURNING strikes, (SELECT name FROM metricsdb.alert_rule AS r"
			" WHERE r.rule_id OPERATOR(pg_catalog.=) $1)",
			2, types, args, NULL) == 1)
	{
		HeapTuple row = SPI_tuptable->vals[0];
		int32 strikes = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));

		ereport(LOG, (errmsg("the alert worker ended while it evaluated rule \"%s\"",
							 SPI_getvalue(row, SPI_tuptable->tupdesc, 2)),
					  strikes < MDB_STRIKES_MAX
						  ? errdetail("If it does so %d times in a row, the rule is not evaluated any more.",
									  MDB_STRIKES_MAX)
						  : errdetail("It has done so %d times in a row: the rule is not evaluated any more.",
									  strikes)));
	}
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* The same, if it can be counted: who keeps a rule locked must not keep others from being evaluated. */
static void
try_to_count_strike(int32 rule_id)
{
	MemoryContext before = CurrentMemoryContext;

	PG_TRY();
	{
		count_strike(rule_id);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(before);
		HOLD_INTERRUPTS();
		errcontext("alert rule %d", rule_id);
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
}

/* A worker that leaves, rather than being ended by what it evaluates. */
static void
leave(int code, Datum arg)
{
	if (!mdb_evaluation_would_not_end())
		*evaluated = 0;
}

/*
 * mdb_strikes_begin - this process is the alert worker of its database; called outside of a transaction.  Has the last
 * one been ended by a rule?
 */
void
mdb_strikes_begin(void)
{
	int32 rule_id;

	map_file();
	if (evaluated == NULL)
		return;
	rule_id = *evaluated;
	if (rule_id != 0)
		try_to_count_strike(rule_id);
	*evaluated = 0;
	before_shmem_exit(leave, (Datum) 0);
}

/*
 * mdb_strikes_watch - this rule is being evaluated from now on; 0 = none is.
 */
void
mdb_strikes_watch(int32 rule_id)
{
	/* If this process is to end because of one that would not, that one stays. */
	if (evaluated != NULL && !mdb_evaluation_would_not_end())
		*evaluated = rule_id;
}

/*
 * mdb_strikes_error - what is told of a rule that was put aside.
 */
char *
mdb_strikes_error(const MdbRule *rule)
{
	return psprintf(
		"the rule was put aside: its evaluation has ended the alert worker %d times in a row."
		" Let what it calls be cancelled, or take less memory; then %s.enable_alert() has it evaluated again",
		MDB_STRIKES_MAX, MDB_SCHEMA);
}
