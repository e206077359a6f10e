/*
 * sender.c
 *	  The sender's rounds: which targets there are, and a turn for each of their URLs.
 *
 * All state is in memory, and made anew after an error.  A target that cannot be read, or that fails otherwise, keeps
 * no other from being told.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "alert/count.h"
#include "deliver/deliver.h"
#include "deliver/deliver_internal.h"
#include "metricsdb.h"

#define TARGETS_EVERY (1 * USECS_PER_SEC)
#define PRUNE_EVERY   (60 * USECS_PER_SEC)
#define WAIT_MS       1000

typedef struct Target
{
	int32 id;
	char *version; /* of its rows */
	MemoryContext context;
	MdbAlertTarget *target; /* NULL: it cannot be read */
	int nreceivers;
	MdbReceiver **receivers;
	bool seen; /* in this look */
} Target;

/* All of it is in this, NULL = there is nothing. */
static MemoryContext state = NULL;
static List *targets = NIL;
static TimestampTz targets_at = 0;
static TimestampTz prune_at = 0;

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(MemoryContext context)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

void
mdb_deliver_reset(void)
{
	if (state != NULL)
		MemoryContextDelete(state);
	state = NULL;
	targets = NIL;
	targets_at = prune_at = 0;
}

bool
mdb_deliver_wanted(void)
{
	Oid type = TEXTOID;
	Datum home = CStringGetTextDatum(mdb_home());
	bool wanted;

	SPI_connect();
	wanted =
		mdb_execute_own(
			"SELECT FROM metricsdb.alert_target WHERE enabled AND home OPERATOR(pg_catalog.=) $1 LIMIT 1", 1,
			&type, &home, NULL) > 0;
	SPI_finish();
	return wanted;
}

/*
 * fail - take an error that was caught for a failure of what we were at, out of any transaction; its message, in context.
 */
static char *
fail(MemoryContext context)
{
	ErrorData *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	/* That we are to end is no failure of anybody. */
	if (error->elevel >= FATAL || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		PG_RE_THROW();
	HOLD_INTERRUPTS();
	EmitErrorReport();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(context);
	FlushErrorState();
	RESUME_INTERRUPTS();
	return error->message ? error->message : pstrdup("unknown error");
}

/* note_unreadable - for who looks at metricsdb.alert_targets. */
static void
note_unreadable(int32 id, const char *message, MemoryContext round)
{
	Oid types[] = {INT4OID, TEXTOID};
	Datum args[2];

	begin();
	args[0] = Int32GetDatum(id);
	args[1] = CStringGetTextDatum(message);
	SPI_connect();
	mdb_execute_own(
		"INSERT INTO metricsdb.alert_receiver AS r (target_id, url, failures, last_error, last_error_at)"
		" SELECT t.target_id, u.url, 1, $2, clock_timestamp()"
		" FROM metricsdb.alert_target t, unnest(t.urls) u(url) WHERE t.target_id = $1"
		" FOR KEY SHARE OF t SKIP LOCKED"
		" ON CONFLICT (target_id, url) DO UPDATE SET failures = r.failures + 1,"
		"  last_error = excluded.last_error, last_error_at = excluded.last_error_at",
		2, types, args, NULL);
	SPI_finish();
	commit(round);
}

/*
 * try_again - what could not be told to a target before may be told now that it is new, or was changed.  It is not who
 * changes it that does so: his locks on what was sent would be waited for.
 */
static void
try_again(int32 id)
{
	Oid type = INT4OID;
	Datum arg = Int32GetDatum(id);

	SPI_connect();
	mdb_execute_own(
		"UPDATE metricsdb.alert_sent SET next_at = NULL WHERE target_id = ANY (ARRAY("
		"SELECT target_id FROM metricsdb.alert_target WHERE target_id = $1 FOR KEY SHARE SKIP LOCKED))"
		" AND attempts > 0 AND next_at IS NOT NULL",
		1, &type, &arg, NULL);
	SPI_finish();
}

/* load - a target and its receivers. */
static void
load(Target *target, MemoryContext round)
{
	char *volatile message = NULL;

	target->context = AllocSetContextCreate(state, "metricsdb target of alerts", ALLOCSET_DEFAULT_SIZES);
	target->target = NULL;
	target->nreceivers = 0;
	PG_TRY();
	{
		begin();
		MemoryContextSwitchTo(target->context);
		target->target = mdb_target_load(target->id);
		MemoryContextSwitchTo(round);
		if (target->target != NULL && target->target->running)
			try_again(target->id);
		commit(round);
		MemoryContextSwitchTo(target->context);
		if (target->target != NULL && target->target->running)
		{
			target->receivers = palloc(sizeof(MdbReceiver *) * target->target->nurls);
			for (int i = 0; i < target->target->nurls; i++)
				target->receivers[target->nreceivers++] = mdb_receiver_create(target->target, i);
		}
		MemoryContextSwitchTo(round);
	}
	PG_CATCH();
	{
		message = fail(round);
	}
	PG_END_TRY();
	if (message != NULL)
	{
		target->target = NULL;
		target->nreceivers = 0;
		note_unreadable(target->id, message, round);
	}
}

/* look_for_targets - those that are new, changed or gone.  False if none is to be told anything. */
static bool
look_for_targets(MemoryContext round)
{
	Oid type = TEXTOID;
	Datum home;
	bool wanted = false;
	uint64 n;
	int32 *ids;
	char **versions;
	ListCell *lc;

	begin();
	home = CStringGetTextDatum(mdb_home());
	SPI_connect();
	n = mdb_execute_own(
		"SELECT t.target_id, t.xmin::text || '/' || coalesce(x.xmin::text, ''), t.enabled AND t.home = $1"
		" FROM metricsdb.alert_target t LEFT JOIN metricsdb.alert_secret x USING (target_id)"
		" ORDER BY t.target_id",
		1, &type, &home, NULL);
	ids = MemoryContextAlloc(round, sizeof(int32) * Max(n, 1));
	versions = MemoryContextAlloc(round, sizeof(char *) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		bool isnull;

		ids[i] = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		versions[i] = MemoryContextStrdup(round, SPI_getvalue(row, SPI_tuptable->tupdesc, 2));
		wanted |= DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
	}
	SPI_finish();
	commit(round);

	foreach (lc, targets)
		((Target *) lfirst(lc))->seen = false;
	for (uint64 i = 0; i < n; i++)
	{
		Target *target = NULL;

		foreach (lc, targets)
			if (((Target *) lfirst(lc))->id == ids[i])
				target = lfirst(lc);
		if (target == NULL)
		{
			MemoryContextSwitchTo(state);
			target = palloc0(sizeof(Target));
			target->id = ids[i];
			targets = lappend(targets, target);
			MemoryContextSwitchTo(round);
		}
		target->seen = true;
		if (target->version != NULL && strcmp(target->version, versions[i]) == 0)
			continue;
		/* What is on its way is told again. */
		if (target->version != NULL)
		{
			pfree(target->version);
			MemoryContextDelete(target->context);
		}
		target->version = MemoryContextStrdup(state, versions[i]);
		load(target, round);
	}
	foreach (lc, targets)
	{
		Target *target = lfirst(lc);

		if (target->seen)
			continue;
		MemoryContextDelete(target->context);
		pfree(target->version);
		pfree(target);
		targets = foreach_delete_current (targets, lc);
	}
	return wanted;
}

/* turn - of one receiver: what has come of what was sent, and what is to be sent.  True if there may be more at once. */
static bool
turn(MdbReceiver *receiver, bool woken, MemoryContext round)
{
	volatile bool more = false;

	PG_TRY();
	{
		mdb_receiver_collect(receiver);
		more = mdb_receiver_send(receiver, woken);
	}
	PG_CATCH();
	{
		char *message = fail(round);

		begin();
		mdb_receiver_failed(receiver, GetCurrentTimestamp(), 0, message);
		commit(round);
		more = false;
	}
	PG_END_TRY();
	return more;
}

/* next_ms - until there is something to do that nobody wakes us for. */
static long
next_ms(List *receivers)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz at = Min(targets_at, prune_at);
	ListCell *lc;

	foreach (lc, receivers)
	{
		const MdbReceiver *receiver = lfirst(lc);

		/* Answers come by themselves. */
		if (receiver->http == NULL || mdb_http_pending(receiver->http) == 0)
			at = Min(at, Max(receiver->woken ? 0 : receiver->look_at, receiver->retry_at));
	}
	return at <= now ? 1 : Min(WAIT_MS, (long) ((at - now) / 1000) + 1);
}

bool
mdb_deliver_step(void)
{
	static bool entered = false;
	static bool woken = true;
	static TimestampTz last_step = 0;
	MemoryContext round = CurrentMemoryContext;
	List *receivers = NIL;
	MdbHttp **clients;
	int nclients = 0;
	bool more = false;
	TimestampTz now = GetCurrentTimestamp();
	ListCell *lc;

	if (!entered)
	{
		mdb_deliver_enter();
		mdb_alert_counting();
		/* What a crash takes back of what was told is told again. */
		SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION);
		/* Tables that are empty at most times have no statistics to go by; hashing is right for any size. */
		SetConfigOption("enable_nestloop", "off", PGC_USERSET, PGC_S_SESSION);
		SetConfigOption("jit", "off", PGC_USERSET, PGC_S_SESSION);
		entered = true;
	}
	/* The clock was put back: whatever was to come at a time would not for long. */
	if (now < last_step)
		mdb_deliver_reset();
	last_step = now;
	if (state == NULL)
		state =
			AllocSetContextCreate(TopMemoryContext, "metricsdb delivery of alerts", ALLOCSET_DEFAULT_SIZES);
	if (woken || now >= targets_at)
	{
		if (!look_for_targets(round))
			return false;
		targets_at = now + TARGETS_EVERY;
	}
	foreach (lc, targets)
		for (int i = 0; i < ((Target *) lfirst(lc))->nreceivers; i++)
			receivers = lappend(receivers, ((Target *) lfirst(lc))->receivers[i]);

	clients = palloc(sizeof(MdbHttp *) * Max(list_length(receivers), 1));
	foreach (lc, receivers)
	{
		MdbReceiver *receiver = lfirst(lc);

		more |= turn(receiver, woken, round);
		if (receiver->http != NULL)
			clients[nclients++] = receiver->http;
		CHECK_FOR_INTERRUPTS();
	}
	if (now >= prune_at)
	{
		begin();
		mdb_deliver_prune();
		commit(round);
		prune_at = now + Max(USECS_PER_SEC, Min(PRUNE_EVERY, mdb_alert_resolved_retention * USECS_PER_SEC));
	}
	woken = mdb_http_wait(clients, nclients, more ? 0 : next_ms(receivers));
	return true;
}
