/*
 * sound.c
 *	  Compaction goes on beside what is damaged.
 *
 * Nothing is ever left out of a merge.  A merge that meets damage ends, as a subtransaction, with
 * nothing done; the part is reported and left alone by this process for an hour, and the others go on
 * being merged around it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "write/merge.h"

/*
 * mdb_sound_do - call fn in a subtransaction; false if it met a part that is damaged.
 */
bool
mdb_sound_do(Relation rel, const MdbTable *table, void (*fn)(void *), void *arg)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool sound = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		mdb_last_part = 0;
		fn(arg);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(mcxt);
		if (!mdb_is_damage(geterrcode()) || mdb_last_part == 0)
			PG_RE_THROW();
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;
		mdb_damaged_note(table->storage_id, mdb_last_part);
		ereport(WARNING, (errcode(ERRCODE_DATA_CORRUPTED),
						  errmsg("part %lld of table \"%s\" is damaged and is not merged",
								 (long long) mdb_last_part, RelationGetRelationName(rel)),
						  errdetail("%s", error->detail ? error->detail : error->message),
						  errhint("SELECT * FROM metricsdb.check('%s') tells all that is damaged.",
								  RelationGetRelationName(rel))));
		/* A merge of others may succeed: this one's error is told until another comes. */
		mdb_books_failure(table->storage_id, 1,
						  psprintf("part %lld is damaged and is not merged: %s", (long long) mdb_last_part,
								   error->detail ? error->detail : error->message),
						  GetCurrentTimestamp() + MDB_DAMAGED_PAUSE);
		FreeErrorData(error);
		sound = false;
	}
	PG_END_TRY();
	return sound;
}

/*
 * mdb_sound_parts - take those parts off a list that are known to be damaged.
 */
void
mdb_sound_parts(const MdbTable *table, MdbPartList *list)
{
	int n = 0;

	for (int i = 0; i < list->count; i++)
		if (!mdb_damaged_known(table->storage_id, list->parts[i].part_id))
			list->parts[n++] = list->parts[i];
	list->count = n;
}
