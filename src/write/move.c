/*
 * move.c
 *	  Pages given back: parts at the end of the file move into gaps before them, and the free end is
 *	  cut.
 *
 * A part that moves keeps its id and its rows' numbers: it is the same part elsewhere.  Its row of
 * metricsdb.part is updated, so that older snapshots find it where it was, and those pages are free
 * once no snapshot needs them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "stop.h"
#include "write/merge.h"

/*
 * Free pages of a file that are not worth moving parts for: so many, and one of so many that are not free.  In
 * a table that rests nobody else will take them soon.
 */
#define SLACK_PAGES      256
#define SLACK_SHARE      4
#define SLACK_PAGES_REST 16
#define SLACK_SHARE_REST 64

/* A part of level 0 at the end of the file is not moved before that. */
#define YOUNG_US (60 * USECS_PER_SEC)

/* Pages moved in one step. */
#define STEP_PAGES 8192

typedef struct Source
{
	Relation rel;
	const MdbPartInfo *part;
	int64 at;
} Source;

static void
read_source(void *state, char *dst, int64 n)
{
	Source *s = state;

	mdb_pages_read(s->rel, s->part, s->at, n, dst);
	s->at += n;
}

static int
last_first(const void *a, const void *b)
{
	const MdbPartInfo *x = a, *y = b;

	return x->page_first > y->page_first ? -1 : x->page_first < y->page_first;
}

/* Was nothing added to a table, and nothing merged in it, for long? */
static bool
rests(const MdbPartList *list)
{
	TimestampTz newest = 0;

	for (int i = 0; i < list->count; i++)
		newest = Max(newest, list->parts[i].created_at);
	return newest < GetCurrentTimestamp() - MDB_REST_US;
}

/*
 * mdb_space_step - give pages back that merges left behind: move the last parts into gaps before
 * them, or cut the free end of the file.
 *
 * With a goal as far as possible, else only once a good part of the file is free, and as long as
 * moving is a small part of all that is written; in a table that rests, once some is free, parts that fit into gaps
 * before them are moved, however much was.  The caller holds ShareUpdateExclusiveLock.  True if something was done.
 */
bool
mdb_space_step(Relation rel, MdbCompactGoal *goal, const MdbPartList *list)
{
	MdbTable *table = mdb_table(rel);
	int64 live = 1;
	int64 pages = RelationGetNumberOfBlocks(rel);
	int64 step_pages = 0;
	int64 nbytes = 0;
	bool resting = rests(list);
	bool may_move;
	MdbPartInfo *parts;
	int64 *targets;
	int64 slack;
	int count = 0;
	int first = 0;
	int moved;

	for (int i = 0; i < list->count; i++)
		live += list->parts[i].npages;
	if (goal)
		goal->pages_wait = pages > live + live / SLACK_SHARE + SLACK_PAGES;
	slack = resting ? live / SLACK_SHARE_REST + SLACK_PAGES_REST : live / SLACK_SHARE + SLACK_PAGES;
	if (pages <= (goal ? live : live + slack))
		return false;
	mdb_space_prune(table);
	if (mdb_space_truncate(rel, table))
		return true;
	if (goal && !goal->moves_counted)
	{
		goal->moves_left = list->count;
		goal->moves_counted = true;
	}
	may_move = goal ? goal->moves_left > 0 : mdb_books_may_move(table->storage_id, list);
	if (list->count == 0 || (!may_move && (goal || !resting)))
		return false;

	parts = palloc_extended(sizeof(MdbPartInfo) * list->count, MCXT_ALLOC_HUGE);
	targets = palloc_extended(sizeof(int64) * list->count, MCXT_ALLOC_HUGE);
	memcpy(parts, list->parts, sizeof(MdbPartInfo) * list->count);
	qsort(parts, list->count, sizeof(MdbPartInfo), last_first);
	/* Who has just been written goes by itself when it is merged. */
	if (!goal && parts[0].level == 0 && parts[0].created_at > GetCurrentTimestamp() - YOUNG_US)
		return false;
	/* At least one, however large. */
	while (count < list->count && !(goal && count == goal->moves_left))
	{
		step_pages += parts[count].npages;
		if (count > 0 && step_pages > STEP_PAGES)
			break;
		count++;
	}
	moved = mdb_space_move_parts(rel, parts, count, targets);
	/* That may have to be done more than once for one and the same part: not without an end. */
	if (moved == 0 && may_move)
		first = mdb_space_clear_parts(rel, parts, list->count, targets, &moved);
	if (moved > 0)
		MDB_STOP("move.placed");
	for (int i = 0; i < moved; i++)
	{
		MdbPartInfo to = parts[first + i];
		Source source = {.rel = rel, .part = &parts[first + i]};

		to.page_first = targets[i];
		mdb_pages_write(rel, &to, read_source, &source);
		MDB_STOP("move.written");
		nbytes += to.nbytes;
	}
	if (goal)
		goal->moves_left = Max(0, goal->moves_left - moved);
	if (moved > 0)
	{
		mdb_books_moved(table->storage_id, nbytes);
		CommandCounterIncrement();
		MDB_STOP("move.end");
	}
	pfree(parts);
	pfree(targets);
	return moved > 0;
}
