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

/* What collects steps. */
typedef struct Steps
{
	Collector c;
	int64 step;
} Steps;

/* The step that a time lies in. */
static void
collect_step(int64 time, void *arg)
{
	Steps *s = arg;
	int64 into = (time % s->step + s->step) % s->step;
	int64 first = time < PG_INT64_MIN + into ? PG_INT64_MIN : time - into;

	collect(&s->c, first, first > PG_INT64_MAX - s->step ? PG_INT64_MAX : first + s->step - 1);
}

/*
 * mdb_delta_each_time - call a function with the time of each row of a table's delta that a snapshot sees and that has
 * one.  desc: of the rows, which were written before the table's columns were changed, say.
 */
void
mdb_delta_each_time(const MdbTable *table, TupleDesc desc, Snapshot snapshot, MdbTimeFunction each, void *arg)
{
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb times of the delta", ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	int16 attlen = TupleDescAttr(desc, table->time_attno - 1)->attlen;
	MdbDeltaInfo *live;
	int count;

	mdb_delta_live(table, snapshot, &live, &count);
	for (int i = 0; i < count; i++)
	{
		Relation heap = table_open(live[i].relid, AccessShareLock);
		TupleTableSlot *slot = table_slot_create(heap, NULL);
		TableScanDesc scan = table_beginscan(heap, snapshot, 0, NULL);

		while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		{
			MemoryContext old = MemoryContextSwitchTo(tmp);
			MinimalTuple tuple = mdb_delta_tuple(slot);
			int64 time = 0;
			bool isnull = true;

			CHECK_FOR_INTERRUPTS();
			/* NULL: the shadow of a row of a part. */
			if (tuple != NULL)
			{
				Datum v;

				ExecStoreMinimalTuple(tuple, row, false);
				v = slot_getattr(row, table->time_attno, &isnull);
				if (!isnull)
					time = attlen == 8 ? DatumGetInt64(v) : attlen == 4 ? DatumGetInt32(v) : DatumGetInt16(v);
				ExecClearTuple(row);
			}
			MemoryContextSwitchTo(old);
			MemoryContextReset(tmp);
			if (!isnull)
				each(time, arg);
		}
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(slot);
		table_close(heap, AccessShareLock);
	}
	ExecDropSingleTupleTableSlot(row);
	MemoryContextDelete(tmp);
}

/*
 * mdb_delta_times - times of the rows of a table's delta that a snapshot sees, widened to multiples of a step (in the
 * time's own units, at least 1).  In CurrentMemoryContext.  The table has a time column.
 */
MdbTimeSet
mdb_delta_times(Relation rel, int64 step, Snapshot snapshot)
{
	Steps s = {.c = {.size = 64}, .step = step};

	s.c.ranges = palloc(sizeof(MdbTimeRange) * s.c.size);
	mdb_delta_each_time(mdb_table(rel), RelationGetDescr(rel), snapshot, collect_step, &s);
	return mdb_time_set_make(s.c.ranges, s.c.n, false);
}
