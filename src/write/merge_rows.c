/*
 * merge_rows.c
 *	  What a merge owes to those who delete, update and lock rows of its inputs.
 *
 * Rows that are dead when the merge begins do not get into its output.  Others may die while it runs:
 * before the inputs go, it claims them (part_lock.c), which fails if somebody's transaction is still
 * at rows of them; from then on nobody can come to them.  Rows that were deleted or updated between the
 * two are in the output already, and are deleted there: by their new shadows, in the merge's own
 * transaction.  So whoever sees the output sees them dead.
 *
 * What is true of both is written down in maps, one for each input (moved.c).
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "write/merge.h"

/* Rows looked at together for having died. */
#define LOOK_ROWS 8192

typedef struct RowsOfInput
{
	MdbMoves *moves;
	uint8 *dead; /* of the block that was asked for last */
	uint32 capacity;
} RowsOfInput;

struct MdbMergeRows
{
	MemoryContext mcxt;
	Relation rel;
	const MdbTable *table;
	Snapshot snapshot; /* rows are dead that it does not see */
	MdbShadows *shadows;
	int ninputs;
	RowsOfInput *inputs;
	int64 nrows; /* in the present part of the output */
	bool claimed;
	int ndied;
	int died_capacity;
	int64 *died; /* relative to the present part */
};

/*
 * mdb_merge_rows_begin - in CurrentMemoryContext.
 */
MdbMergeRows *
mdb_merge_rows_begin(Relation rel, const MdbTable *table, int ninputs)
{
	MdbMergeRows *r = palloc0(sizeof(MdbMergeRows));

	r->mcxt = CurrentMemoryContext;
	r->rel = rel;
	r->table = table;
	r->snapshot = mdb_latest_snapshot();
	r->shadows = mdb_shadows_open(rel, table);
	r->ninputs = ninputs;
	r->inputs = palloc0(sizeof(RowsOfInput) * ninputs);
	for (int i = 0; i < ninputs; i++)
		r->inputs[i].moves = mdb_moves_begin(table->storage_id);
	return r;
}

/*
 * mdb_merge_rows_dead - which of the rows first .. first + n - 1 of an input are dead; NULL if none.
 * Holds until the next call for the input.
 */
const uint8 *
mdb_merge_rows_dead(MdbMergeRows *r, int64 first, uint32 n, int input)
{
	RowsOfInput *in = &r->inputs[input];

	if (r->shadows == NULL)
		return NULL;
	if (in->capacity < n)
	{
		if (in->dead)
			pfree(in->dead);
		in->capacity = Max(n, LOOK_ROWS);
		in->dead = MemoryContextAlloc(r->mcxt, in->capacity);
	}
	return mdb_shadows_dead(r->shadows, first, n, r->snapshot, in->dead) ? in->dead : NULL;
}

/*
 * mdb_merge_rows_taken - rows of an input are the next of the output.
 */
void
mdb_merge_rows_taken(MdbMergeRows *r, int input, int64 first, uint32 n)
{
	mdb_moves_add(r->inputs[input].moves, first, r->nrows, n);
	r->nrows += n;
}

/*
 * mdb_merge_rows_full - have the maps become so large that they should be written?
 */
bool
mdb_merge_rows_full(const MdbMergeRows *r)
{
	Size bytes = 0;

	for (int i = 0; i < r->ninputs; i++)
		bytes += mdb_moves_bytes(r->inputs[i].moves);
	return bytes > MDB_MERGE_MAPS_MAX;
}

static void
note_died(MdbMergeRows *r, int64 row)
{
	if (row < 0)
		return;
	if (r->ndied == r->died_capacity)
	{
		r->died_capacity = Max(64, r->died_capacity * 2);
		r->died = r->died ? repalloc(r->died, sizeof(int64) * r->died_capacity)
						  : MemoryContextAlloc(r->mcxt, sizeof(int64) * r->died_capacity);
	}
	r->died[r->ndied++] = row;
}

/* Of rows that are in the output already, find those that have died since the merge began. */
static void
find_died(MdbMergeRows *r, int input, int64 from, int64 to, MdbShadows *now, Snapshot snapshot)
{
	uint8 *before = palloc(LOOK_ROWS);
	uint8 *after = palloc(LOOK_ROWS);

	for (int64 at = from; at < to; at += LOOK_ROWS)
	{
		uint32 n = (uint32) Min(to - at, LOOK_ROWS);

		CHECK_FOR_INTERRUPTS();
		if (!mdb_shadows_dead(now, at, n, snapshot, after))
			continue;
		if (!mdb_shadows_dead(r->shadows, at, n, r->snapshot, before))
			memset(before, 0, n);
		for (uint32 i = 0; i < n; i++)
			if (after[i] && !before[i])
				note_died(r, mdb_moves_find(r->inputs[input].moves, at + i));
	}
	pfree(before);
	pfree(after);
}

/*
 * mdb_merge_rows_claim - claim the inputs, of which the rows below taken_to[] are in the output: before
 * anything is written that others can see.  False if somebody's transaction is at rows of them; the
 * merge must end then.  The second call and later ones do nothing.
 */
bool
mdb_merge_rows_claim(MdbMergeRows *r, const MdbPartInfo *inputs, const int64 *taken_to)
{
	MemoryContext old;
	MdbShadows *now;
	Snapshot snapshot;

	if (r->claimed)
		return true;
	for (int i = 0; i < r->ninputs; i++)
		if (!mdb_part_claim(&inputs[i]))
			return false;
	r->claimed = true;
	old = MemoryContextSwitchTo(r->mcxt);
	snapshot = mdb_latest_snapshot();
	now = mdb_shadows_open(r->rel, r->table);
	if (now)
		for (int i = 0; i < r->ninputs; i++)
			find_died(r, i, inputs[i].row_first, taken_to[i], now, snapshot);
	/* What comes from here on is seen as it is now. */
	mdb_shadows_close(r->shadows);
	UnregisterSnapshot(r->snapshot);
	r->shadows = now;
	r->snapshot = snapshot;
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * mdb_merge_rows_placed - the rows taken since the last call are a part whose rows are numbered from
 * row_first on.
 */
void
mdb_merge_rows_placed(MdbMergeRows *r, int64 row_first)
{
	MemoryContext old = MemoryContextSwitchTo(r->mcxt);

	for (int i = 0; i < r->ninputs; i++)
	{
		mdb_moves_write(r->inputs[i].moves, row_first);
		r->inputs[i].moves = mdb_moves_begin(r->table->storage_id);
	}
	mdb_moved_locks(r->rel);
	if (r->ndied > 0)
	{
		Relation heap = table_open(mdb_delta_relid(r->table->storage_id, MDB_ROWS_SLOT), RowExclusiveLock);

		for (int i = 0; i < r->ndied; i++)
		{
			ItemPointerData tid;

			CHECK_FOR_INTERRUPTS();
			(void) mdb_shadow_tid(heap, r->table->storage_id, row_first + r->died[i], true, &tid);
			simple_heap_delete(heap, &tid);
		}
		table_close(heap, NoLock);
		r->ndied = 0;
	}
	r->nrows = 0;
	MemoryContextSwitchTo(old);
}

/*
 * mdb_merge_rows_end - the merge has ended, with a result or without.
 */
void
mdb_merge_rows_end(MdbMergeRows *r)
{
	mdb_shadows_close(r->shadows);
	UnregisterSnapshot(r->snapshot);
}

/* Rows of a part that are dead by now. */
static int64
count_dead(MdbShadows *shadows, const MdbPartInfo *part, Snapshot snapshot, uint8 *dead)
{
	int64 count = 0;

	for (int64 at = 0; at < part->nrows; at += LOOK_ROWS)
	{
		uint32 n = (uint32) Min(part->nrows - at, LOOK_ROWS);

		CHECK_FOR_INTERRUPTS();
		if (mdb_shadows_dead(shadows, part->row_first + at, n, snapshot, dead))
			for (uint32 i = 0; i < n; i++)
				count += dead[i];
	}
	return count;
}

/* How often the background looks for parts with many dead rows in a table. */
#define LOOK_PAUSE   (30 * USECS_PER_SEC)
#define LOOKED_AT    64
#define DEAD_DIVISOR 5 /* one row of so many is many */

static bool
looked_at_lately(int64 storage_id)
{
	static struct
	{
		int64 storage_id;
		TimestampTz until;
	} looked[LOOKED_AT];
	static int next = 0;
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < LOOKED_AT; i++)
		if (looked[i].storage_id == storage_id)
		{
			if (looked[i].until > now)
				return true;
			looked[i].until = now + LOOK_PAUSE;
			return false;
		}
	looked[next].storage_id = storage_id;
	looked[next].until = now + LOOK_PAUSE;
	next = (next + 1) % LOOKED_AT;
	return false;
}

/*
 * mdb_merge_choose_dead - a part that is worth being written anew because of its dead rows: of which one
 * in five is dead, or with full any.  The set's part is in CurrentMemoryContext.
 */
bool
mdb_merge_choose_dead(Relation rel, const MdbTable *table, const MdbPartList *list, bool full,
					  MdbMergeSet *set)
{
	MdbShadows *shadows;
	Snapshot snapshot;
	uint8 *dead;
	bool found = false;

	if (!full && looked_at_lately(table->storage_id))
		return false;
	shadows = mdb_shadows_open(rel, table);
	if (shadows == NULL)
		return false;
	snapshot = mdb_latest_snapshot();
	dead = palloc(LOOK_ROWS);
	for (int i = 0; i < list->count && !found; i++)
	{
		MdbPartInfo *part = &list->parts[i];

		if (part->nrows > MDB_MERGE_ROWS_MAX || part->nbytes > MDB_MERGE_BYTES_MAX ||
			count_dead(shadows, part, snapshot, dead) <
				(full ? 1 : (part->nrows + DEAD_DIVISOR - 1) / DEAD_DIVISOR))
			continue;
		set->count = 1;
		set->parts = palloc(sizeof(MdbPartInfo));
		set->parts[0] = *part;
		set->level = part->level;
		set->cold = part->format >= MDB_PART_FORMAT_COLD;
		found = true;
	}
	pfree(dead);
	UnregisterSnapshot(snapshot);
	mdb_shadows_close(shadows);
	return found;
}
