/*
 * status.c
 *	  The view metricsdb.nodes: all nodes are asked at once, and who does not answer says why.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "dist/admin.h"
#include "dist/health.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(mdb_all_nodes);

#define NCOLUMNS 15

/* What a node tells of itself: version, lag, series, bytes.  Tables that it lacks, or does not show, count nothing. */
static char *
question(void)
{
	StringInfoData names;
	ListCell *lc;

	initStringInfo(&names);
	foreach (lc, mdb_distributed_tables())
		appendStringInfo(&names, "%s%s", names.len ? ", " : "",
						 quote_literal_cstr(mdb_table_name(lfirst_oid(lc))));
	return psprintf(
		"SELECT pg_catalog.current_setting('server_version'), (SELECT extversion FROM pg_catalog.pg_extension WHERE "
		"extname = 'metricsdb'), greatest(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.clock_timestamp() - "
		"pg_catalog.pg_last_xact_replay_timestamp() END, (SELECT pg_catalog.make_interval(secs => pg_catalog.max(lag_seconds)) FROM "
		"metricsdb.kafka_status JOIN metricsdb.kafka_sources USING (source) WHERE target = ANY (ARRAY(SELECT pg_catalog.to_regclass(n) "
		"FROM pg_catalog.unnest(ARRAY[%s]::pg_catalog.text[]) n)))), pg_catalog.sum(s.series)::pg_catalog.int8, "
		"pg_catalog.sum(s.total_bytes)::pg_catalog.int8 FROM pg_catalog.unnest(ARRAY[%s]::pg_catalog.text[]) n "
		"CROSS JOIN LATERAL (SELECT pg_catalog.to_regclass(n) AS oid) t JOIN pg_catalog.pg_class c USING (oid) "
		"JOIN pg_catalog.pg_am a ON a.oid = c.relam AND a.amname = 'metricsdb' "
		"CROSS JOIN LATERAL metricsdb.relation_stats(c.oid) s "
		"WHERE pg_catalog.has_table_privilege(c.oid, 'SELECT')",
		names.data, names.data);
}

static void
set_text(Datum *values, bool *nulls, int n, const char *text)
{
	nulls[n] = text == NULL;
	values[n] = text ? CStringGetTextDatum(text) : (Datum) 0;
}

static Datum
input(const char *text, PGFunction function)
{
	return DirectFunctionCall3(function, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

/* The answer of a node, without an error for what is wrong with it. */
static void
ask(MdbSession *s, const char *sql, Datum *values, bool *nulls, TimestampTz began)
{
	MemoryContext old = CurrentMemoryContext;
	PGresult *volatile res = NULL;

	PG_TRY();
	{
		res = mdb_session_run(s, sql);
	}
	PG_CATCH();
	{
		ErrorData *e;

		/* What is not the node's is the caller's. */
		if (s->error == NULL || QueryCancelPending || ProcDiePending)
			PG_RE_THROW();
		MemoryContextSwitchTo(old);
		e = CopyErrorData();
		FlushErrorState();
		set_text(values, nulls, 5, s->error->message);
		FreeErrorData(e);
	}
	PG_END_TRY();
	if (res == NULL)
		return;
	nulls[4] = false;
	values[4] = BoolGetDatum(true);
	for (int i = 0; i < 2; i++)
		set_text(values, nulls, 6 + i, PQgetisnull(res, 0, i) ? NULL : PQgetvalue(res, 0, i));
	nulls[8] = PQgetisnull(res, 0, 2);
	if (!nulls[8])
		values[8] = input(PQgetvalue(res, 0, 2), interval_in);
	for (int i = 3; i < 5; i++)
	{
		nulls[6 + i] = PQgetisnull(res, 0, i);
		if (!nulls[6 + i])
			values[6 + i] = DirectFunctionCall1(int8in, CStringGetDatum(PQgetvalue(res, 0, i)));
	}
	nulls[11] = false;
	mdb_node_answered(s->node);
	values[11] = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(GetCurrentTimestamp()),
									 TimestampTzGetDatum(began));
	PQclear(res);
}

/* What sessions have met that asked it. */
static void
put_health(const MdbNode *node, Datum *values, bool *nulls)
{
	MdbHealth h = mdb_node_health(node->name, false);

	set_text(values, nulls, 12, mdb_breaker_name(h.state));
	values[13] = Int32GetDatum(h.failures);
	values[14] = TimestampTzGetDatum(h.failed_at);
	nulls[13] = false;
	nulls[14] = h.failed_at == 0;
}

/* A session for a node; NULL, with the reason, if it may not even be tried. */
static MdbSession *
try_take(MdbReading *r, const MdbNode *node, char **why)
{
	MemoryContext old = CurrentMemoryContext;
	MdbSession *volatile s = NULL;

	PG_TRY();
	{
		s = mdb_session_take(r, node, GetUserId(), false);
	}
	PG_CATCH();
	{
		ErrorData *e;

		MemoryContextSwitchTo(old);
		e = CopyErrorData();
		FlushErrorState();
		*why = e->message;
	}
	PG_END_TRY();
	return s;
}

/*
 * mdb_all_nodes - rows of the view.
 */
Datum
mdb_all_nodes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MdbReading *r = mdb_reading_begin(CurrentMemoryContext);
	List *nodes = mdb_nodes(), *sessions = NIL, *reasons = NIL, *taken = NIL;
	char *sql = question();
	ListCell *ln, *ls, *lr;

	InitMaterializedSRF(fcinfo, 0);
	r->insists = true;
	foreach (ln, nodes)
	{
		char *why = NULL;
		MdbSession *s = try_take(r, lfirst(ln), &why);

		sessions = lappend(sessions, s);
		reasons = lappend(reasons, why);
		if (s)
			taken = lappend(taken, s);
	}
	mdb_sessions_establish(taken);
	forthree(ln, nodes, ls, sessions, lr, reasons)
	{
		const MdbNode *node = lfirst(ln);
		MdbSession *s = lfirst(ls);
		Datum values[NCOLUMNS];
		bool nulls[NCOLUMNS];

		memset(nulls, true, sizeof(nulls));
		set_text(values, nulls, 0, node->name);
		set_text(values, nulls, 1, node->shard);
		values[2] = Int32GetDatum(node->replica);
		values[3] = BoolGetDatum(node->draining);
		values[4] = BoolGetDatum(false);
		nulls[2] = nulls[3] = nulls[4] = false;
		if (s == NULL)
			set_text(values, nulls, 5, lfirst(lr));
		else
			ask(s, sql, values, nulls, GetCurrentTimestamp());
		put_health(node, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	mdb_reading_end(r);
	return (Datum) 0;
}
