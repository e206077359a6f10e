/*
 * stop.c
 *	  Where a test can stop a process: kill it, hold it up, or have it raise an error.
 *
 * Compiled to nothing unless MDB_TESTING is defined, which `make testing` does.  A process that
 * passes the point which metricsdb.stop_at names, for the n-th time since that was set, makes the
 * file metricsdb_stop in the data directory, with the point's name, and does what it was told.
 * As long as the file is there no process stops: so one that is told by the configuration to kill
 * itself does so once, not again and again after each restart.  One that waits goes on when
 * the file is removed.  "*:trace" stops nowhere, but notes in metricsdb_trace what is passed.
 */
#include "postgres.h"

#ifdef MDB_TESTING

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "stop.h"
#include "store/store.h"
#include "write/merge.h"
#include "write/write.h"

#define STOP_FILE  "metricsdb_stop"
#define TRACE_FILE "metricsdb_trace"

/*
 * All points.  Behind the colon who passes it: s = sessions, w = the maintainer, k = a Kafka worker,
 * a = the roll-up worker, v = the alert worker, d = sessions that write to nodes;
 * e = an error may be raised there.  metricsdb.stop_points tells the list to the tests, which fail
 * if a point is not reached; lint compares it with the sources.
 */
static const char *const stops[] = {
	/* rows of a statement to the delta: am/buffer.c, write/delta.c */
	"delta.before:se",
	"delta.after:se",
	"delta.created:se",
	/* the dictionary */
	"series.reserved:se",
	"series.segment:se",
	"series.posting:se",
	"series.merged:se",
	/* series that have left: write/collect.c */
	"collect.marked:se",
	"collect.dictionary:se",
	"collect.removed:se",
	/* a part: store/space.c, store/page_io.c, write/append.c */
	"place.gap:se",
	"place.counters:swe",
	"place.row:swe",
	"pages.extended:swe",
	"pages.middle:swe",
	"pages.written:swe",
	"append.dictionary:se",
	"append.part:swe",
	"append.written:swe",
	/* ends of transactions that have written something */
	"commit.before:swe",
	"commit.after:sw",
	"prepare.before:se",
	"prepare.after:s",
	/* the delta into parts: write/compact.c, write/mover.c */
	"seal.live:swe",
	"seal.before:swe",
	"seal.after:swe",
	"retire.start:swe",
	"retire.middle:swe",
	"retire.parts:swe",
	"retire.end:swe",
	"empty.before:swe",
	"empty.after:swe",
	"rows.middle:swe",
	"rows.end:swe",
	"compact.committed:swe",
	/* parts into others: write/merge.c, write/move.c */
	"merge.start:swe",
	"merge.middle:swe",
	"merge.claimed:swe",
	"merge.output:swe",
	"merge.end:swe",
	"reclass.part:swe",
	"move.placed:swe",
	"move.written:swe",
	"move.end:swe",
	/* rows that are too old: write/expire.c */
	"expire.part:swe",
	"expire.end:swe",
	"expire.row:swe",
	/* rows that change: am/modify.c, write/shadow.c, write/shadow_free.c, write/moved.c, am/proxy.c, am/index.c */
	"delete.before:se",
	"delete.after:se",
	"update.before:se",
	"update.after:se",
	"shadow.page:se",
	"shadow.row:se",
	"shadow.ranges:se",
	"shadow.collect:se",
	"shadow.free:se",
	"moved.map:swe",
	"moved.expire:swe",
	"index.cleanup:se",
	"index.part:se",
	/* the end of the file: store/space.c */
	"prune.page:swe",
	"cut.before:swe",
	"cut.counters:swe",
	"cut.after:swe",
	/* an unlogged file after a crash: store/reset.c */
	"revive.before:se",
	"revive.after:se",
	"revive.forget:se",
	/* files come and go: am/ddl.c, am/rewrite.c */
	"file.old_dropped:se",
	"file.metapage:se",
	"file.registered:se",
	"file.delta:se",
	"file.emptied:se",
	"file.copied:se",
	"file.lives:se",
	"file.rewritten:se",
	"drop.before:se",
	"drop.deltas:se",
	"drop.after:se",
	/* a batch from Kafka: series/guard.c, ingest/flush.c */
	"guard.claimed:ke",
	"kafka.points:ke",
	"kafka.offsets:ke",
	"kafka.committed:k",
	/* continuous aggregates: rollup/apply.c, statement.c, turns.c */
	"rollup.locked:ae",
	"rollup.pending:ae",
	"rollup.states:ae",
	"rollup.taken:ae",
	"rollup.dirty:ae",
	"rollup.cleared:ae",
	"rollup.again:ae",
	"rollup.clean:ae",
	"rollup.flagged:ae",
	"rollup.committed:a",
	"rollup.failure:a",
	/* rows for nodes: dist/write_send.c */
	"dist.sent:d",
	"dist.prepared:d",
	"dist.logged:d",
	"dist.committed:d",
	"dist.told:d",
	/* a tick of a rule: alert/step.c, alert/apply.c */
	"alert.observed:ve",
	"alert.instance:ve",
	"alert.outbox:ve",
	"alert.written:ve",
	"alert.committed:v",
};

bool mdb_stop_armed = false;

static char *stop_at = NULL;
static char *stop_points = NULL;

typedef enum StopAction
{
	STOP_KILL,
	STOP_WAIT,
	STOP_ERROR,
	STOP_TRACE
} StopAction;

/* What the setting says. */
typedef struct StopPlan
{
	char name[64];
	StopAction action;
	int after; /* passes before the one that stops */
} StopPlan;

static StopPlan plan;

/* What was noted since the setting was made. */
static bool traced[lengthof(stops)];

/* Index of a point in the list, or -1. */
static int
find_stop(const char *name)
{
	size_t len = strlen(name);

	for (int i = 0; i < (int) lengthof(stops); i++)
		if (strncmp(stops[i], name, len) == 0 && stops[i][len] == ':')
			return i;
	return -1;
}

static bool
parse_plan(const char *text, StopPlan *result)
{
	static const char *const actions[] = {"kill", "wait", "error"};
	char action[16];
	int n = 1;
	int fields = sscanf(text, "%63[^:]:%15[^:]:%d", result->name, action, &n);

	if (strcmp(text, "*:trace") == 0)
	{
		result->action = STOP_TRACE;
		return true;
	}
	if (fields < 2 || n < 1)
		return false;
	result->after = n - 1;
	for (int a = 0; a < (int) lengthof(actions); a++)
		if (strcmp(action, actions[a]) == 0)
		{
			result->action = (StopAction) a;
			return find_stop(result->name) >= 0;
		}
	return false;
}

static bool
check_stop_at(char **newval, void **extra, GucSource source)
{
	StopPlan parsed;

	if (**newval == '\0' || parse_plan(*newval, &parsed))
		return true;
	GUC_check_errdetail("It is NAME:kill, NAME:wait or NAME:error, and may end in :N for the N-th pass.");
	return false;
}

static void
assign_stop_at(const char *newval, void *extra)
{
	mdb_stop_armed = *newval != '\0' && parse_plan(newval, &plan);
	memset(traced, 0, sizeof(traced));
}

static void
trace(const char *name)
{
	int i = find_stop(name);
	FILE *f;

	if (i >= 0 && traced[i])
		return;
	f = fopen(TRACE_FILE, "a");
	if (i < 0 || f == NULL)
		elog(PANIC, "could not note stop point \"%s\"", name);
	fprintf(f, "%s\n", name);
	fclose(f);
	traced[i] = true;
}

/*
 * mdb_stop - a point is passed, and some point is to be stopped at.
 */
void
mdb_stop(const char *name)
{
	int fd;

	if (plan.action == STOP_TRACE)
	{
		trace(name);
		return;
	}
	if (strcmp(name, plan.name) != 0 || plan.after-- > 0)
		return;
	mdb_stop_armed = false;
	fd = open(STOP_FILE, O_CREAT | O_EXCL | O_WRONLY, 0600);
	if (fd < 0)
		return;
	if (write(fd, name, strlen(name)) < 0)
		elog(PANIC, "could not write \"%s\": %m", STOP_FILE);
	close(fd);
	switch (plan.action)
	{
		case STOP_KILL:
			kill(getpid(), SIGKILL);
			break;
		case STOP_WAIT:
			while (access(STOP_FILE, F_OK) == 0)
			{
				CHECK_FOR_INTERRUPTS();
				pg_usleep(10000L);
			}
			break;
		case STOP_ERROR:
			ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("stopped at \"%s\"", name)));
			break;
		case STOP_TRACE:
			break;
	}
}

/* The ends of transactions that have written something. */
static void
xact_callback(XactEvent event, void *arg)
{
	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	if (event == XACT_EVENT_PRE_COMMIT)
		MDB_STOP("commit.before");
	else if (event == XACT_EVENT_COMMIT)
		MDB_STOP("commit.after");
	else if (event == XACT_EVENT_PRE_PREPARE)
		MDB_STOP("prepare.before");
	else if (event == XACT_EVENT_PREPARE)
		MDB_STOP("prepare.after");
}

/*
 * mdb_stop_init - at load, before the other modules, whose callbacks so come before ours.
 */
void
mdb_stop_init(void)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < (int) lengthof(stops); i++)
		appendStringInfo(&list, "%s%s", i > 0 ? " " : "", stops[i]);
	DefineCustomStringVariable("metricsdb.stop_at", "Stop at a point in the code, for tests.", NULL, &stop_at,
							   "", PGC_SUSET, GUC_NOT_IN_SAMPLE, check_stop_at, assign_stop_at, NULL);
	DefineCustomStringVariable("metricsdb.stop_points", "The points that metricsdb.stop_at may name.", NULL,
							   &stop_points, list.data, PGC_INTERNAL, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	pfree(list.data);
	DefineCustomIntVariable(
		"metricsdb.testing_rows", "Thousands of row numbers that there are; 0: as many as can be.", NULL,
		&mdb_rows_end_kilo, 0, 0, INT_MAX, PGC_SIGHUP, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"metricsdb.testing_directory",
		"Bytes of a directory at which a merge begins another part; -1: as many as usual.", NULL,
		&mdb_merge_directory, -1, -1, INT_MAX, PGC_USERSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	DefineCustomIntVariable("metricsdb.testing_collect",
							"Until the background looks for series that have left; 0: as long as it is.",
							NULL, &mdb_testing_collect_ms, 0, 0, INT_MAX, PGC_SIGHUP,
							GUC_NOT_IN_SAMPLE | GUC_UNIT_MS, NULL, NULL, NULL);
	RegisterXactCallback(xact_callback, NULL);
}

#endif /* MDB_TESTING */
