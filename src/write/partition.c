/*
 * partition.c
 *	  Which rows of a batch go into one part, and in which order.
 *
 * A part spans one partition of time, a day by default, so that retention drops whole parts.
 * Where a day's rows are too few for a part that is worth its page and its catalog row (daily
 * prices, say), the partitions are made wider: 32 days, 1024 days, all of time.
 *
 * Rows of different retention classes (retention.h) are in different parts, too.
 *
 * Within a part rows are in order of (series, time); equal ones keep the order they came in.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/date.h"

#include "write/write.h"

/* Fewer rows than this on average, and wider partitions are tried. */
#define PARTITION_MIN_ROWS 512

#define ALL_DAYS           PG_INT32_MAX

static const int32 widths[] = {1, 32, 1024};

/*
 * mdb_day_of - days since 2000-01-01 of a time in the time column's own units.
 */
int32
mdb_day_of(const MdbTable *table, int64 time)
{
	int64 day;

	if (table->time_type == DATEOID)
		return (int32) time;
	day = time / USECS_PER_DAY;
	if (time % USECS_PER_DAY < 0)
		day--;
	return (int32) day;
}

static int32
align_day(int32 day, int32 width)
{
	int64 d = day;
	int64 r = d % width;

	if (r < 0)
		r += width;
	return (int32) Max(d - r, (int64) PG_INT32_MIN);
}

typedef struct DayRows
{
	int32 day;
	uint32 nrows;
	uint32 at;
} DayRows;

static int
day_cmp(const void *a, const void *b)
{
	int32 x = ((const DayRows *) a)->day, y = ((const DayRows *) b)->day;

	return x < y ? -1 : x > y;
}

/* Distinct days of the rows with a time, and how many rows each has. */
static DayRows *
count_days(const MdbTable *table, const MdbBatch *batch, int32 *days, int *ndays)
{
	int cap = 16;
	DayRows *list = palloc(cap * sizeof(DayRows));
	int n = 0;
	int last = -1;

	for (uint32 i = 0; i < batch->nrows; i++)
	{
		int at = last;

		if (batch->time_nulls && batch->time_nulls[i])
			continue;
		days[i] = mdb_day_of(table, batch->times[i]);
		if (at < 0 || list[at].day != days[i])
		{
			/* kept sorted: days come in order, or are few */
			int lo = 0, hi = n;

			while (lo < hi)
			{
				int mid = (lo + hi) / 2;

				if (list[mid].day < days[i])
					lo = mid + 1;
				else
					hi = mid;
			}
			if (lo == n || list[lo].day != days[i])
			{
				if (n == cap)
				{
					cap *= 2;
					list = repalloc_huge(list, cap * sizeof(DayRows));
				}
				memmove(&list[lo + 1], &list[lo], (n - lo) * sizeof(DayRows));
				list[lo].day = days[i];
				list[lo].nrows = 0;
				n++;
			}
			at = lo;
		}
		list[at].nrows++;
		last = at;
	}
	*ndays = n;
	return list;
}

/*
 * mdb_partition_rows - fill rows[0 .. batch->nrows) with the row numbers grouped by partition;
 * returns the partitions, none of which spans more than max_days unless that is a single day.  They span min_days or
 * more if max_days lets them.  Rows of a partition keep their order.
 */
MdbPartition *
mdb_partition_rows(const MdbTable *table, const MdbBatch *batch, uint32 *rows, int32 min_days, int32 max_days,
				   int *count)
{
	MdbPartition *parts;
	DayRows *days;
	int ndays;
	int32 *day_of;
	uint32 nnulls = 0;
	uint32 ntimed;
	int32 width = ALL_DAYS;
	int narrowest = 0;
	uint32 at = 0;

	if (table->time_attno == 0)
	{
		parts = palloc0(sizeof(MdbPartition));
		parts[0].nrows = batch->nrows;
		for (uint32 i = 0; i < batch->nrows; i++)
			rows[i] = i;
		*count = 1;
		return parts;
	}

	if (batch->time_nulls)
		for (uint32 i = 0; i < batch->nrows; i++)
			nnulls += batch->time_nulls[i];
	ntimed = batch->nrows - nnulls;
	day_of = palloc_extended((Size) batch->nrows * sizeof(int32), MCXT_ALLOC_HUGE);
	if (table->time_type == TIMESTAMPTZOID || table->time_type == TIMESTAMPOID || table->time_type == DATEOID)
		days = count_days(table, batch, day_of, &ndays);
	else
	{
		days = palloc0(sizeof(DayRows));
		ndays = 0;
	}
	while (narrowest + 1 < (int) lengthof(widths) && widths[narrowest] < min_days &&
		   widths[narrowest + 1] <= max_days)
		narrowest++;
	for (int w = narrowest; w < (int) lengthof(widths) && ndays > 0; w++)
	{
		int n = 0;

		if (w > 0 && widths[w] > max_days)
		{
			width = widths[w - 1];
			break;
		}
		for (int i = 0; i < ndays; i++)
			n += i == 0 || align_day(days[i].day, widths[w]) != align_day(days[i - 1].day, widths[w]);
		if (n == 1 || ntimed / n >= PARTITION_MIN_ROWS)
		{
			width = widths[w];
			break;
		}
	}

	parts = palloc0(sizeof(MdbPartition) * (ndays + 2));
	*count = 0;
	if (nnulls > 0)
	{
		parts[*count].nrows = nnulls;
		(*count)++;
		for (uint32 i = 0; i < batch->nrows; i++)
			if (batch->time_nulls[i])
				rows[at++] = i;
	}
	if (width == ALL_DAYS || ndays <= 1)
	{
		if (ntimed > 0)
		{
			MdbPartition *p = &parts[(*count)++];

			p->day = width == ALL_DAYS ? PG_INT32_MIN : align_day(days[0].day, width);
			p->days = width;
			p->first = at;
			p->nrows = ntimed;
			for (uint32 i = 0; i < batch->nrows; i++)
				if (!(batch->time_nulls && batch->time_nulls[i]))
					rows[at++] = i;
		}
	}
	else
	{
		int first = *count;

		for (int i = 0; i < ndays; i++)
		{
			int32 day = align_day(days[i].day, width);

			if (*count == first || parts[*count - 1].day != day)
			{
				parts[*count].day = day;
				parts[*count].days = width;
				parts[*count].first = at;
				(*count)++;
			}
			parts[*count - 1].nrows += days[i].nrows;
			days[i].at = at;
			at += days[i].nrows;
		}
		for (uint32 i = 0; i < batch->nrows; i++)
		{
			DayRows key;
			DayRows *d;

			if (batch->time_nulls && batch->time_nulls[i])
				continue;
			key.day = day_of[i];
			d = bsearch(&key, days, ndays, sizeof(DayRows), day_cmp);
			rows[d->at++] = i;
		}
		/* Several days of one wide partition lie behind each other: restore the order of rows. */
		if (width > 1)
		{
			for (int i = first; i < *count; i++)
			{
				uint32 *r = rows + parts[i].first;
				uint32 n = 0;

				for (uint32 k = 0; k < batch->nrows; k++)
					if (!(batch->time_nulls && batch->time_nulls[k]) &&
						align_day(day_of[k], width) == parts[i].day)
						r[n++] = k;
				Assert(n == parts[i].nrows);
			}
		}
	}
	pfree(day_of);
	pfree(days);
	return parts;
}

/*
 * mdb_partition_classes - divide partitions by the classes of their rows, which keep their order.
 */
MdbPartition *
mdb_partition_classes(MdbClassifier *classes, const MdbBatch *batch, uint32 *rows, MdbPartition *parts,
					  int *count)
{
	int16 *class_of = palloc_extended(sizeof(int16) * (Size) batch->nrows, MCXT_ALLOC_HUGE);
	int16 min = PG_INT16_MAX, max = PG_INT16_MIN;
	int capacity = *count + 16;
	MdbPartition *result = palloc(sizeof(MdbPartition) * capacity);
	uint32 *sorted;
	uint32 *at;
	int n = 0;

	for (uint32 i = 0; i < batch->nrows; i++)
	{
		class_of[i] = mdb_class_of_series(classes, batch->series[i]);
		min = Min(min, class_of[i]);
		max = Max(max, class_of[i]);
	}
	sorted = palloc_extended(sizeof(uint32) * (Size) batch->nrows, MCXT_ALLOC_HUGE);
	at = palloc(sizeof(uint32) * (max - min + 1));
	for (int p = 0; p < *count; p++)
	{
		MdbPartition part = parts[p];
		uint32 end = part.first + part.nrows;

		memset(at, 0, sizeof(uint32) * (max - min + 1));
		for (uint32 i = part.first; i < end; i++)
			at[class_of[rows[i]] - min]++;
		for (int c = 0; c <= max - min; c++)
		{
			part.nrows = at[c];
			at[c] = part.first;
			if (part.nrows == 0)
				continue;
			if (n == capacity)
			{
				capacity *= 2;
				result = repalloc(result, sizeof(MdbPartition) * capacity);
			}
			part.class = (int16) (min + c);
			result[n++] = part;
			part.first += part.nrows;
		}
		for (uint32 i = parts[p].first; i < end; i++)
			sorted[at[class_of[rows[i]] - min]++] = rows[i];
	}
	memcpy(rows, sorted, sizeof(uint32) * batch->nrows);
	pfree(class_of);
	pfree(sorted);
	pfree(at);
	*count = n;
	return result;
}

typedef struct TimedRow
{
	int64 time;
	uint32 order; /* position before the sort */
	uint32 row;
} TimedRow;

static int
timed_row_cmp(const void *a, const void *b, void *arg)
{
	const TimedRow *x = a, *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* Stable sort of one series' rows by time. */
static void
sort_by_time(const MdbBatch *batch, uint32 *rows, uint32 n)
{
	TimedRow *t = palloc_extended(n * sizeof(TimedRow), MCXT_ALLOC_HUGE);

	for (uint32 i = 0; i < n; i++)
	{
		t[i].time = batch->times[rows[i]];
		t[i].order = i;
		t[i].row = rows[i];
	}
	qsort_interruptible(t, n, sizeof(TimedRow), timed_row_cmp, NULL);
	for (uint32 i = 0; i < n; i++)
		rows[i] = t[i].row;
	pfree(t);
}

/* Stable counting sort of rows by (key >> shift) & mask. */
static void
counting_pass(const uint32 *series, const uint32 *in, uint32 *out, uint32 n, uint32 base, int shift,
			  uint32 nbuckets, uint32 *counts)
{
	uint32 sum = 0;

	memset(counts, 0, (Size) nbuckets * sizeof(uint32));
	for (uint32 i = 0; i < n; i++)
		counts[((series[in[i]] - base) >> shift) & (nbuckets - 1)]++;
	for (uint32 b = 0; b < nbuckets; b++)
	{
		uint32 c = counts[b];

		counts[b] = sum;
		sum += c;
	}
	for (uint32 i = 0; i < n; i++)
		out[counts[((series[in[i]] - base) >> shift) & (nbuckets - 1)]++] = in[i];
}

/*
 * mdb_sort_rows - sort row numbers by (series, time), stably.
 *
 * By radix on the ids: they are dense, and rows mostly come in order of time, so that what
 * remains within a series is to find that it is sorted.
 */
void
mdb_sort_rows(const MdbBatch *batch, uint32 *rows, uint32 n)
{
	uint32 min = PG_UINT32_MAX, max = 0;
	bool sorted = true;

	if (n == 0)
		return;
	for (uint32 i = 0; i < n; i++)
	{
		uint32 s = batch->series[rows[i]];

		min = Min(min, s);
		max = Max(max, s);
		sorted &= i == 0 || batch->series[rows[i - 1]] <= s;
	}
	if (!sorted)
	{
		uint32 nbuckets = 1 << 12;
		uint32 range = max - min;
		uint32 *tmp = palloc_extended((Size) n * sizeof(uint32), MCXT_ALLOC_HUGE);
		uint32 *counts;
		uint32 *from = rows, *to = tmp;

		/* One pass where the ids are dense, else by twelve bits at a time. */
		while (nbuckets <= range && nbuckets < n && nbuckets < (1 << 21))
			nbuckets <<= 1;
		counts = palloc_extended((Size) nbuckets * sizeof(uint32), MCXT_ALLOC_HUGE);
		for (int shift = 0; shift < 32 && (shift == 0 || (range >> shift) > 0);)
		{
			uint32 *swap = from;

			CHECK_FOR_INTERRUPTS();
			counting_pass(batch->series, from, to, n, min, shift, nbuckets, counts);
			from = to;
			to = swap;
			shift += pg_leftmost_one_pos32(nbuckets);
		}
		if (from != rows)
			memcpy(rows, from, (Size) n * sizeof(uint32));
		pfree(tmp);
		pfree(counts);
	}
	for (uint32 i = 0; i < n;)
	{
		uint32 first = i;
		uint32 s = batch->series[rows[i]];
		bool in_order = true;

		for (i++; i < n && batch->series[rows[i]] == s; i++)
			in_order &= batch->times[rows[i - 1]] <= batch->times[rows[i]];
		if (!in_order)
			sort_by_time(batch, rows + first, i - first);
	}
}

/*
 * mdb_count_series - distinct series among sorted rows.
 */
uint32
mdb_count_series(const MdbBatch *batch, const uint32 *rows, uint32 n)
{
	uint32 count = n > 0;

	for (uint32 i = 1; i < n; i++)
		count += batch->series[rows[i]] != batch->series[rows[i - 1]];
	return count;
}
