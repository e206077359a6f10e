/*
 * fault.c
 *	  Reading on past damage: what was wrong, and how to catch it without ending the transaction.
 *
 * Damage is reported as an error.  Whoever wants to go on, metricsdb.check() and scans under
 * metricsdb.on_corruption = skip, wraps the read in mdb_guard().  A subtransaction would do the
 * same, but there are none in parallel workers, and none is needed: what is guarded only reads.  It
 * changes no row and takes no transaction id, so what an error leaves behind is resources alone.
 *
 * Invariants:
 *	1. Guarded code reads tables and catalogs; it runs nothing of the user's and writes nothing.
 *	2. Only damage is caught.  Cancel, time-out, lack of memory and all else go on upwards.
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "storage/lwlock.h"
#include "utils/elog.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "store/store.h"

MdbFault mdb_last_fault = MDB_FAULT_NONE;
int64 mdb_last_part = 0;
MdbReads mdb_reads;

/*
 * mdb_is_damage - does an error say that bytes are not what they should be, or cannot be had at all?
 */
bool
mdb_is_damage(int sqlerrcode)
{
	/* The last one: of a format that this library does not know. */
	return sqlerrcode == ERRCODE_DATA_CORRUPTED || sqlerrcode == ERRCODE_INDEX_CORRUPTED ||
		   sqlerrcode == ERRCODE_IO_ERROR || sqlerrcode == ERRCODE_UNDEFINED_FILE ||
		   sqlerrcode == ERRCODE_FEATURE_NOT_SUPPORTED;
}

/*
 * mdb_guard - call a function that reads; NULL if it returns, else what it found damaged.
 *
 * The result is in CurrentMemoryContext; mdb_last_fault says more of it.  What fn has allocated by
 * then is the caller's to free, by its memory context.
 */
ErrorData *
mdb_guard(void (*fn)(void *), void *arg)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner outer = CurrentResourceOwner;
	ResourceOwner own = ResourceOwnerCreate(outer, "metricsdb guarded read");
	ErrorData *volatile error = NULL;

	mdb_last_fault = MDB_FAULT_NONE;
	CurrentResourceOwner = own;
	PG_TRY();
	{
		fn(arg);
	}
	PG_CATCH();
	{
		CurrentResourceOwner = outer;
		MemoryContextSwitchTo(mcxt);
		/* The owner is a child of the outer one: whoever aborts releases it. */
		if (!mdb_is_damage(geterrcode()))
			PG_RE_THROW();
		error = CopyErrorData();
		FlushErrorState();
		LWLockReleaseAll();
		mdb_abort_buffer_io();
		UnlockBuffers();
	}
	PG_END_TRY();
	CurrentResourceOwner = outer;
	ResourceOwnerRelease(own, RESOURCE_RELEASE_BEFORE_LOCKS, error == NULL, false);
	ResourceOwnerRelease(own, RESOURCE_RELEASE_LOCKS, error == NULL, false);
	ResourceOwnerRelease(own, RESOURCE_RELEASE_AFTER_LOCKS, error == NULL, false);
	ResourceOwnerDelete(own);
	return error;
}

/* Parts that merges of this process have found damaged, and until when they are left alone. */
#define DAMAGED_MAX 64

static struct
{
	int64 storage_id;
	int64 part_id;
	TimestampTz until;
} damaged_parts[DAMAGED_MAX];
static int next_damaged = 0;

/*
 * mdb_damaged_note, mdb_damaged_known, mdb_damaged_forget - parts for merges to leave alone for a while.
 */
void
mdb_damaged_note(int64 storage_id, int64 part_id)
{
	damaged_parts[next_damaged].storage_id = storage_id;
	damaged_parts[next_damaged].part_id = part_id;
	damaged_parts[next_damaged].until = GetCurrentTimestamp() + MDB_DAMAGED_PAUSE;
	next_damaged = (next_damaged + 1) % DAMAGED_MAX;
}

bool
mdb_damaged_known(int64 storage_id, int64 part_id)
{
	for (int i = 0; i < DAMAGED_MAX; i++)
		if (damaged_parts[i].storage_id == storage_id && damaged_parts[i].part_id == part_id)
			return damaged_parts[i].until > GetCurrentTimestamp();
	return false;
}

void
mdb_damaged_forget(int64 storage_id)
{
	for (int i = 0; i < DAMAGED_MAX; i++)
		if (damaged_parts[i].storage_id == storage_id)
			damaged_parts[i].storage_id = 0;
}
