/*
 * part_ids.c
 *	  Which series have rows in a part.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "series/index.h"

/* The series of a block's rows with times in a range, or of all its rows. */
static void
add_block(MdbPart *part, int block, bool check, int64 from, int64 to, MdbIds *ids)
{
	int64 n = part->block_rows[block];
	uint32 *series = palloc(sizeof(uint32) * (n + MDB_DECODE_SLACK));
	int64 *times = NULL;

	if (part->one_series)
		for (int64 i = 0; i < n; i++)
			series[i] = (uint32) part->series_first[block];
	else
		mdb_part_read_series(part, block, series);
	if (check)
	{
		times = palloc(sizeof(int64) * (n + MDB_DECODE_SLACK));
		mdb_part_read_times(part, block, times);
	}
	/* Rows lie in order of series. */
	for (int64 i = 0; i < n; i++)
		if ((times == NULL || (times[i] >= from && times[i] <= to)) &&
			(ids->n == 0 || ids->v[ids->n - 1] != series[i]))
			mdb_ids_add(ids, &series[i], 1);
	pfree(series);
	if (times)
		pfree(times);
}

/*
 * mdb_part_add_ids - add the series of a part that have rows with times from <= time <= to; in_time false: those
 * of all rows.  mdb_ids_sort has to follow.
 */
void
mdb_part_add_ids(Relation rel, const MdbPartInfo *info, bool in_time, int64 from, int64 to, MdbIds *ids)
{
	MdbPart *part;

	if (in_time && (info->days == 0 || info->time_max < from || info->time_min > to))
		return;
	part = mdb_part_open(rel, info);
	for (int b = 0; b < part->nblocks; b++)
	{
		bool outside = in_time && (!part->has_time || part->time_last[b] < from || part->time_first[b] > to);
		bool check;
		uint32 id;

		CHECK_FOR_INTERRUPTS();
		if (outside)
			continue;
		check = in_time && (part->time_first[b] < from || part->time_last[b] > to);
		id = part->one_series ? (uint32) part->series_first[b] : 0;
		if (!part->one_series || check)
			add_block(part, b, check, from, to, ids);
		else if (ids->n == 0 || ids->v[ids->n - 1] != id)
			mdb_ids_add(ids, &id, 1);
	}
	mdb_part_close(part);
}
