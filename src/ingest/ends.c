/*
 * ends.c
 *	  Which partitions have nothing that was not read, and at what time that was so.
 *
 * A table's watermark (complete.c) follows the newest points of each partition.  Of a partition to which nothing comes
 * it must be known that nothing is on its way to us: its broker is asked where it ends.  If that is where we are, all
 * that anybody had sent before the question was asked is in the batch, or stored.
 *
 * Invariants:
 *	1. The time that is told lies before the question was asked, never before the answer came.
 *	2. A broker that does not answer says nothing: the watermark waits.
 *	3. An end is where committed messages end: while a transaction of a producer is open, the high watermark lies
 *	   behind it, and nothing is told.
 *
 * Called by ingest.c, in its loop.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "ingest/ingest.h"
#include "ingest/live.h"

#define LOOK_EVERY  (500 * INT64CONST(1000))
#define RETRY_AFTER (5 * USECS_PER_SEC)

/*
 * quiet_partitions - those that brought nothing since the last look, into two arrays of one length: indexes, numbers.
 */
static int
quiet_partitions(MdbIngest *ingest, int *indexes, int32 *numbers)
{
	int n = 0;

	for (int i = 0; i < ingest->npartitions; i++)
	{
		MdbPartition *p = &ingest->partitions[i];

		if (p->stalled == NULL && p->suspect_since == 0 && p->position == p->looked_at &&
			!mdb_partition_finished(p))
		{
			indexes[n] = i;
			numbers[n] = p->partition;
			n++;
		}
		p->looked_at = p->position;
	}
	return n;
}

void
mdb_ends_look(MdbIngest *ingest, TimestampTz now)
{
	int *indexes;
	int32 *numbers;
	int64 *ends;
	int n;

	if (now < ingest->ends_at)
		return;
	ingest->ends_at = now + LOOK_EVERY;
	if (!ingest->assigned || ingest->npartitions == 0)
		return;
	indexes = palloc(ingest->npartitions * sizeof(int));
	numbers = palloc(ingest->npartitions * sizeof(int32));
	ends = palloc(ingest->npartitions * sizeof(int64));
	n = quiet_partitions(ingest, indexes, numbers);

	now = GetCurrentTimestamp();
	if (n > 0 && !mdb_consumer_ends(ingest->consumer, n, numbers, ends))
		ingest->ends_at = GetCurrentTimestamp() + RETRY_AFTER;
	else
		for (int i = 0; i < n; i++)
		{
			MdbPartition *p = &ingest->partitions[indexes[i]];
			int64 low;
			int64 high;

			/* Behind the last message there may be marks of transactions, which are no messages. */
			if (ends[i] < 0 || Max(p->position, p->end) < ends[i])
				continue;
			if (mdb_consumer_known_watermarks(ingest->consumer, p->partition, &low, &high) && high > ends[i])
				continue;
			mdb_live_complete(p->partition, p->position, now);
		}
	pfree(indexes);
	pfree(numbers);
	pfree(ends);
}
