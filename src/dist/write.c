/*
 * write.c
 *	  Rows that are inserted into a distributed table on the coordinator, until the transaction commits.
 *
 * INSERT and COPY hand rows to the table access method, which hands them on to here.  They are kept as lines of COPY, each
 * with a hash of its series, by subtransaction: what is rolled back has never left this server.  At commit write_send.c
 * sends them.  Until then nobody sees them, nor does this transaction: its queries of the table are refused.
 *
 * Which shard a row goes to is a matter of spreading alone: nothing is concluded from it.  The hash is of all series
 * columns, the name of the metric and its tags, so that one hot metric is spread, too.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "am/am.h"
#include "dist/admin.h"
#include "dist/write.h"
#include "store/store.h"

/* metricsdb.distributed_writes */
bool mdb_distributed_writes = true;

static MdbWritten *written = NULL;

/* ---------- lines ---------- */

/* A value as COPY's text has it.  In UTF8 and the like no byte of a character is one of those that are escaped. */
static void
append_escaped(StringInfo buf, const char *text)
{
	for (; *text; text++)
		switch (*text)
		{
			case '\\':
				appendStringInfoString(buf, "\\\\");
				break;
			case '\b':
				appendStringInfoString(buf, "\\b");
				break;
			case '\f':
				appendStringInfoString(buf, "\\f");
				break;
			case '\n':
				appendStringInfoString(buf, "\\n");
				break;
			case '\r':
				appendStringInfoString(buf, "\\r");
				break;
			case '\t':
				appendStringInfoString(buf, "\\t");
				break;
			case '\v':
				appendStringInfoString(buf, "\\v");
				break;
			default:
				appendStringInfoChar(buf, *text);
		}
}

static bool
is_series(const MdbTable *table, AttrNumber attno)
{
	for (int i = 0; i < table->nseries_columns; i++)
		if (table->series_attnos[i] == attno)
			return true;
	return false;
}

/*
 * mdb_is_written - does a line of COPY have this column?  Nodes compute generated ones.
 */
bool
mdb_is_written(Form_pg_attribute att)
{
	return !att->attisdropped && !att->attgenerated;
}

/* Keep a row: its line, and a hash of its series, or of all of it if the table has none. */
static void
keep(MdbWritten *w, Relation rel, const MdbTable *table, TupleTableSlot *slot)
{
	TupleDesc desc = RelationGetDescr(rel);
	StringInfoData line, key;
	Datum values[2];
	bool nulls[2] = {false};
	const char *tab = "";

	initStringInfo(&line);
	initStringInfo(&key);
	slot_getallattrs(slot);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		int start;

		if (!mdb_is_written(att))
			continue;
		appendStringInfoString(&line, tab);
		tab = "\t";
		start = line.len;
		if (slot->tts_isnull[i])
			appendStringInfoString(&line, "\\N");
		else
		{
			Oid output;
			bool varlena;

			getTypeOutputInfo(att->atttypid, &output, &varlena);
			append_escaped(&line, OidOutputFunctionCall(output, slot->tts_values[i]));
		}
		if (is_series(table, i + 1))
		{
			appendBinaryStringInfo(&key, line.data + start, line.len - start);
			appendStringInfoChar(&key, '\t');
		}
	}
	appendStringInfoChar(&line, '\n');
	values[0] =
		key.len > 0
			? UInt64GetDatum(DatumGetUInt64(hash_any_extended((unsigned char *) key.data, key.len, 0)))
			: UInt64GetDatum(DatumGetUInt64(hash_any_extended((unsigned char *) line.data, line.len, 0)));
	values[1] = PointerGetDatum(cstring_to_text_with_len(line.data, line.len));
	tuplestore_putvalues(w->rows, w->desc, values, nulls);
}

/* ---------- who has written what ---------- */

/* May rows be inserted at all?  What they would not be checked for is refused. */
static void
check_table(Relation rel)
{
	const char *name = RelationGetRelationName(rel);

	if (!mdb_distributed_writes)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot insert rows into the distributed table \"%s\" here", name),
						errdetail("metricsdb.distributed_writes is off."),
						errhint("Write to the table on a node, or set it on.")));
	if (RelationGetIndexList(rel) != NIL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot insert rows into the distributed table \"%s\" here", name),
						errdetail("It has indexes here, which would not find them."),
						errhint("Drop the indexes, and have some on the nodes.")));
	if (rel->trigdesc && (rel->trigdesc->trig_insert_after_row || rel->trigdesc->trig_insert_new_table))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot insert rows into the distributed table \"%s\" here", name),
						errdetail("It has triggers here that look at rows when they are there.")));
	mdb_write_check(name);
}

/*
 * mdb_write_copy - the COPY of a table's columns to a node, or out of it.
 */
char *
mdb_write_copy(Relation rel, bool out)
{
	TupleDesc desc = RelationGetDescr(rel);
	StringInfoData buf;
	const char *comma = "";

	initStringInfo(&buf);
	appendStringInfo(&buf, "COPY %s (", mdb_table_name(RelationGetRelid(rel)));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!mdb_is_written(att))
			continue;
		appendStringInfo(&buf, "%s%s", comma, quote_identifier(NameStr(att->attname)));
		comma = ", ";
	}
	appendStringInfoString(&buf, out ? ") TO STDOUT" : ") FROM STDIN");
	return buf.data;
}

static MdbWritten *
written_for(Relation rel)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext mcxt, old;
	MdbWritten *w;

	for (w = written; w; w = w->next)
		if (w->relid == RelationGetRelid(rel) && w->subid == subid && w->user == GetUserId())
			return w;
	check_table(rel);
	mcxt = AllocSetContextCreate(TopTransactionContext, "metricsdb rows for nodes", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(mcxt);
	w = palloc0(sizeof(MdbWritten));
	w->relid = RelationGetRelid(rel);
	w->subid = subid;
	w->user = GetUserId();
	w->mcxt = mcxt;
	w->copy = mdb_write_copy(rel, false);
	w->desc = CreateTemplateTupleDesc(2);
	TupleDescInitEntry(w->desc, 1, "hash", INT8OID, -1, 0);
	TupleDescInitEntry(w->desc, 2, "line", TEXTOID, -1, 0);
	/* Its file is the transaction's, not the statement's. */
	CurrentResourceOwner = TopTransactionResourceOwner;
	w->rows = tuplestore_begin_heap(false, false, work_mem);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
	w->next = written;
	written = w;
	return w;
}

/* Rows of a distributed table, from the table access method. */
static void
insert_elsewhere(Relation rel, TupleTableSlot **slots, int nslots)
{
	static MemoryContext row_mcxt = NULL;
	MdbWritten *w = written_for(rel);
	MdbTable *table = mdb_table(rel);
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext old;
	int nest;

	if (row_mcxt == NULL)
		row_mcxt = AllocSetContextCreate(TopMemoryContext, "metricsdb row for nodes", ALLOCSET_DEFAULT_SIZES);
	nest = mdb_fix_settings();
	old = MemoryContextSwitchTo(row_mcxt);
	for (int i = 0; i < nslots; i++)
	{
		MemoryContextReset(row_mcxt);
		CHECK_FOR_INTERRUPTS();
		CurrentResourceOwner = TopTransactionResourceOwner;
		keep(w, rel, table, slots[i]);
		CurrentResourceOwner = owner;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(row_mcxt);
	AtEOXact_GUC(true, nest);
	pfree(table);
}

/*
 * mdb_dist_refuse_unsent - raise an error if this transaction has rows that nodes do not have yet, for who would not find
 * them.
 */
void
mdb_dist_refuse_unsent(void)
{
	if (written || mdb_write_pending())
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot read distributed tables, or change them, after rows were inserted"),
						errdetail("Nodes get them when the transaction commits."),
						errhint("Do it in another transaction.")));
}

/* ---------- ends of transactions ---------- */

static void
forget_all(void)
{
	/* The rows' memory is the transaction's. */
	written = NULL;
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (written || mdb_write_pending())
				mdb_write_send(written);
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (written || mdb_write_pending())
				ereport(
					ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has inserted rows into distributed tables")));
			break;
		case XACT_EVENT_COMMIT:
			mdb_write_committed();
			forget_all();
			break;
		case XACT_EVENT_ABORT:
			mdb_write_aborted();
			forget_all();
			break;
		default:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	MdbWritten **p = &written;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	while (*p)
	{
		MdbWritten *w = *p;

		if (w->subid == mine && event == SUBXACT_EVENT_ABORT_SUB)
		{
			*p = w->next;
			tuplestore_end(w->rows);
			MemoryContextDelete(w->mcxt);
			continue;
		}
		if (w->subid == mine)
			w->subid = parent;
		p = &w->next;
	}
}

/*
 * mdb_dist_write_init - at load.
 */
void
mdb_dist_write_init(void)
{
	DefineCustomBoolVariable("metricsdb.distributed_writes",
							 "INSERT and COPY into distributed tables go to their nodes.",
							 "If it is off they are refused: nodes are written to.", &mdb_distributed_writes,
							 true, PGC_USERSET, 0, NULL, NULL, NULL);
	mdb_insert_elsewhere = insert_elsewhere;
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	mdb_dist_recover_init();
}
