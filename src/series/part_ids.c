/*
 * part_ids.c
 *	  Which series have rows in a part.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "series/index.h"

/* The series of a block's rows, but for those with times outside of a range, or that are dead. */
static void
add_block(MdbPart *part, int block, const MdbPartRows *rows, bool check, const uint8 *dead, MdbIds *ids)
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
		if ((times == NULL || (times[i] >= rows->from && times[i] <= rows->to)) &&
			(dead == NULL || !dead[i]) && (ids->n == 0 || ids->v[ids->n - 1] != series[i]))
			mdb_ids_add(ids, &series[i], 1);
	pfree(series);
	if (times)
		pfree(times);
}

/*
 * mdb_part_add_ids - add the series of a part that have such rows; rows NULL: those of all rows, deleted or not.
 * mdb_ids_sort has to follow.
 */
void
mdb_part_add_ids(Relation rel, const MdbPartInfo *info, const MdbPartRows *rows, MdbIds *ids)
{
	MdbPart *part;
	uint8 *space = NULL;

	if (rows && (info->days == 0 || info->time_max < rows->from || info->time_min > rows->to))
		return;
	part = mdb_part_open(rel, info);
	for (int b = 0; b < part->nblocks; b++)
	{
		const uint8 *dead = NULL;
		bool check = false;
		uint32 id;

		CHECK_FOR_INTERRUPTS();
		if (rows)
		{
			if (!part->has_time || part->time_last[b] < rows->from || part->time_first[b] > rows->to)
				continue;
			check = part->time_first[b] < rows->from || part->time_last[b] > rows->to;
			if (space == NULL)
				space = palloc(MDB_BLOCK_ROWS_MAX);
			if (rows->find_dead(rows->arg, part->block_first[b], part->block_rows[b], space))
				dead = space;
		}
		id = part->one_series ? (uint32) part->series_first[b] : 0;
		if (!part->one_series || check || dead)
			add_block(part, b, rows, check, dead, ids);
		else if (ids->n == 0 || ids->v[ids->n - 1] != id)
			mdb_ids_add(ids, &id, 1);
	}
	if (space)
		pfree(space);
	mdb_part_close(part);
}
