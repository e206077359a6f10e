/*
 * flush.c
 *	  The one transaction that stores a batch: points, dead letters and offsets.
 *
 * Invariants:
 *	1. Points, dead letters and offsets of a batch are committed together or not at all: so each
 *	   message is applied exactly once, whatever crashes, and however late the commit reaches the
 *	   disk.
 *	2. The target's shape, its owner's privileges and the source's definition are those of this
 *	   transaction: they are looked at after the target is locked, every time.
 *	3. The points are written as the source's owner; offsets and dead letters, which are the
 *	   extension's own tables, are not.
 *
 * Called by ingest.c.  An error is raised as usual; the caller aborts and reads again.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "ingest/ingest.h"
#include "ingest/live.h"
#include "ingest/offsets.h"
#include "metricsdb.h"
#include "stop.h"

bool
mdb_source_alive(MdbIngest *ingest)
{
	return OidIsValid(get_extension_oid(MDB_EXTENSION, true)) &&
		   strcmp(mdb_source_version(ingest->source->id), ingest->source->version) == 0;
}

/*
 * store_points - append the batch's points to the target, as the source's owner.  False if there are more new
 * series among them than may be, by now.
 */
static bool
store_points(MdbIngest *ingest, Relation rel)
{
	MdbIntake *batch = ingest->batch;
	MdbTarget target;
	bool fits;
	MdbAppendColumn column = {0};
	uint64 generation;
	Oid user;
	int context;

	mdb_target_check(rel, &target);
	mdb_target_check_role(rel, ingest->source->owner);
	if (!mdb_guarding_begin(ingest->guarding, rel))
		return false;

	if (ingest->ids_room < batch->npoints)
	{
		ingest->ids_room = batch->room;
		if (ingest->ids)
			pfree(ingest->ids);
		ingest->ids = MemoryContextAllocHuge(ingest->context, (Size) ingest->ids_room * sizeof(uint32));
	}

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(ingest->source->owner,
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	generation = mdb_append_open(ingest->append, rel);
	mdb_key_cache_ids(ingest->cache, ingest->append, generation, &target, batch->npoints, batch->series,
					  ingest->ids);
	fits = mdb_guarding_claim(ingest->guarding);
	if (!fits)
	{
		SetUserIdAndSecContext(user, context);
		return false;
	}
	column.attno = target.value;
	column.values = batch->values;
	mdb_append_rows(ingest->append, batch->npoints, ingest->ids, batch->times, 1, &column);
	mdb_append_finish(ingest->append, ingest->source->id, 0);
	mdb_append_close(ingest->append);
	SetUserIdAndSecContext(user, context);
	return true;
}

/*
 * read_again - end the transaction without a trace, and have everything decoded anew by what is known now.
 */
static bool
read_again(MdbIngest *ingest, Relation rel)
{
	table_close(rel, NoLock);
	PopActiveSnapshot();
	AbortCurrentTransaction();
	mdb_append_reset(ingest->append);
	mdb_key_cache_aborted(ingest->cache);
	mdb_guarding_aborted(ingest->guarding);
	ingest->read_again = true;
	return true;
}

/*
 * give_up - the source can never go on as it is: say so in its row, instead of storing.
 */
static bool
give_up(MdbIngest *ingest, const char *reason)
{
	ereport(LOG, (errmsg("Kafka source \"%s\" is stopped: %s", ingest->source->name, reason)));
	PushActiveSnapshot(GetTransactionSnapshot());
	if (mdb_source_alive(ingest))
		mdb_source_stop(ingest->source->id, reason);
	PopActiveSnapshot();
	CommitTransactionCommand();
	mdb_live_error(reason);
	return false;
}

bool
mdb_flush(MdbIngest *ingest)
{
	MdbIntake *batch = ingest->batch;
	MemoryContext before = CurrentMemoryContext;
	Relation rel;

	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, "storing a batch");
	mdb_live_phase(MDB_PHASE_FLUSHING);
	StartTransactionCommand();

	rel = try_table_open(ingest->source->target, RowExclusiveLock);
	if (rel == NULL)
		return give_up(ingest, "the target table was dropped");
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(ingest->source->owner)))
	{
		table_close(rel, NoLock);
		return give_up(ingest, "the owner of the source was dropped");
	}

	PushActiveSnapshot(GetTransactionSnapshot());
	if (!mdb_source_alive(ingest))
	{
		table_close(rel, NoLock);
		PopActiveSnapshot();
		AbortCurrentTransaction();
		return false;
	}

	if (ingest->source->options.assigned &&
		!mdb_offsets_within(ingest->source->id, ingest->npartitions, ingest->partitions))
		return read_again(ingest, rel);
	if ((batch->npoints > 0 || mdb_guarding_any(ingest->guarding)) && !store_points(ingest, rel))
	{
		/* The guard has learnt that it took what is known for new, or hoped for what others took. */
		(void) read_again(ingest, rel);
		mdb_key_cache_clear(ingest->cache);
		return true;
	}
	MDB_STOP("kafka.points");
	mdb_offsets_dead_letters(ingest->source, batch, ingest->partitions);
	mdb_offsets_advance(ingest->source->id, ingest->npartitions, ingest->partitions);
	MDB_STOP("kafka.offsets");
	table_close(rel, NoLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MDB_STOP("kafka.committed");
	MemoryContextSwitchTo(before);

	/* From here on the batch is stored: nothing below may raise an error. */
	mdb_key_cache_committed(ingest->cache);
	mdb_guarding_committed(ingest->guarding);
	for (int i = 0; i < ingest->npartitions; i++)
	{
		MdbPartition *p = &ingest->partitions[i];

		p->next_offset = p->position;
		memset(&p->counts, 0, sizeof(p->counts));
	}
	ingest->stored_since_tick += batch->npoints;
	ingest->looked_at = GetCurrentTimestamp();
	mdb_intake_reset(batch);
	mdb_live_pending(0, 0);
	mdb_live_phase(MDB_PHASE_RUNNING);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return true;
}
