/*
 * delta_times.c
 *	  At what times the delta of a table has rows.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "am/am.h"
#include "write/write.h"

/* Ranges of times; joined when there are many. */
typedef struct Collector
{
	MdbTimeRange *ranges;
	int n;
	int size;
} Collector;

static void
collect(Collector *c, int64 first, int64 last)
{
	if (c->n > 0 && first >= c->ranges[c->n - 1].first && last <= c->ranges[c->n - 1].last)
		return;
	if (c->n == c->size)
	{
		c->n = mdb_time_set_make(c->ranges, c->n, false).n;
		if (c->n > c->size / 2)
		{
			c->size *= 2;
			c->ranges = repalloc_huge(c->ranges, sizeof(MdbTimeRange) * c->size);
		}
	}
	c->ranges[c->n++] = (MdbTimeRange){.first = first, .last = last};
}

/* The step that a time lies in. */
static void
collect_time(Collector *c, int64 time, int64 step)
{
	int64 into = (time % step + step) % step;
	int64 first = time < PG_INT64_MIN + into ? PG_INT64_MIN : time - into;

	collect(c, first, first > PG_INT64_MAX - step ? PG_INT64_MAX : first + step - 1);
}

/*
 * mdb_delta_times - times of the rows of a table's delta that a snapshot sees, widened to multiples of a step (in the
 * time's own units, at least 1).  In CurrentMemoryContext.  The table has a time column.
 */
MdbTimeSet
mdb_delta_times(Relation rel, int64 step, Snapshot snapshot)
{
	const MdbTable *table = mdb_table(rel);
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb times of the delta", ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	int16 attlen = table->columns[table->time_attno - 1].attlen;
	Collector c = {.size = 64};
	MdbDeltaInfo *live;
	int count;

	c.ranges = palloc(sizeof(MdbTimeRange) * c.size);
	mdb_delta_live(table, snapshot, &live, &count);
	for (int i = 0; i < count; i++)
	{
		Relation heap = table_open(live[i].relid, AccessShareLock);
		TupleTableSlot *heapslot = table_slot_create(heap, NULL);
		TableScanDesc scan = table_beginscan(heap, snapshot, 0, NULL);

		while (table_scan_getnextslot(scan, ForwardScanDirection, heapslot))
		{
			MemoryContext old = MemoryContextSwitchTo(tmp);
			MinimalTuple tuple = mdb_delta_tuple(heapslot);
			int64 time = 0;
			bool isnull = true;

			CHECK_FOR_INTERRUPTS();
			/* NULL: the shadow of a row of a part. */
			if (tuple != NULL)
			{
				Datum value;

				ExecStoreMinimalTuple(tuple, row, false);
				value = slot_getattr(row, table->time_attno, &isnull);
				if (!isnull)
					time = attlen == sizeof(int64) ? DatumGetInt64(value) : DatumGetInt32(value);
				ExecClearTuple(row);
			}
			MemoryContextSwitchTo(old);
			MemoryContextReset(tmp);
			if (!isnull)
				collect_time(&c, time, step);
		}
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(heapslot);
		table_close(heap, AccessShareLock);
	}
	ExecDropSingleTupleTableSlot(row);
	MemoryContextDelete(tmp);
	return mdb_time_set_make(c.ranges, c.n, false);
}
