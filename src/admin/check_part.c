/*
 * check_part.c
 *	  metricsdb.check(): the bytes of a part.
 *
 * All of a part is decoded, and everything that its directory and its catalog row say of it is
 * worked out again.  A chunk that cannot be read because a page of it is bad is passed over: the
 * page was reported.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "admin/check.h"

/* What is known of a part while it is read. */
typedef struct PartCheck
{
	MdbCheck *c;
	const MdbPartInfo *info;
	const Bitmapset *bad_pages;
	MdbPart *part;
	MemoryContext mcxt; /* reset for each block */

	/* the block being read */
	int column;
	int block;
	uint32 *series;
	int64 *times;
	MdbVector vector;
	MdbBlockStats stats;

	/* of all rows so far */
	bool whole; /* every block could be read */
	bool any;
	bool sorted;
	bool has_last; /* the row before was read */
	uint32 last_series;
	int64 last_time;
	int64 nseries;
	int64 series_min, series_max;
	int64 time_min, time_max;
} PartCheck;

static const char *
kind_of(const ErrorData *error)
{
	switch (mdb_last_fault)
	{
		case MDB_FAULT_CATALOG:
			return "catalog";
		case MDB_FAULT_CHECKSUM:
			return "checksum";
		case MDB_FAULT_COUNT:
			return "count";
		case MDB_FAULT_FORMAT:
			return "format";
		case MDB_FAULT_NONE:
		case MDB_FAULT_PAGE:
			break;
	}
	return "page";
}

/* Report what a guarded read ran into, unless it is what is known of a page. */
static void
report(PartCheck *p, MdbPlace at, const ErrorData *error, bool on_bad_page)
{
	p->whole = false;
	if (on_bad_page)
		return;
	mdb_check_found(p->c, "error", kind_of(error), at, "%s", error->detail ? error->detail : error->message);
}

/* Is some page of a chunk known to be bad? */
static bool
touches_bad_page(const PartCheck *p, int column, int block)
{
	int64 offset, len;
	int32 first, last;

	if (p->bad_pages == NULL)
		return false;
	mdb_part_chunk_place(p->part, column, block, &offset, &len);
	if (len == 0)
		return false;
	mdb_page_range(offset, len, &first, &last);
	for (int32 i = first; i <= last; i++)
		if (bms_is_member(i, p->bad_pages))
			return true;
	return false;
}

/* ---- guarded reads ---- */

static void
open_part(void *arg)
{
	PartCheck *p = arg;

	p->part = mdb_part_open(p->c->rel, p->info);
}

static void
read_series(void *arg)
{
	PartCheck *p = arg;

	mdb_part_read_series(p->part, p->block, p->series);
}

static void
read_times(void *arg)
{
	PartCheck *p = arg;

	mdb_part_read_times(p->part, p->block, p->times);
}

static void
load_column(void *arg)
{
	PartCheck *p = arg;
	const MdbBlockStats *stats;

	mdb_part_load_column(p->part, p->column);
	stats = mdb_part_stats(p->part, p->column);
	memset(&p->stats, 0, sizeof(p->stats));
	if (stats)
		p->stats = *stats;
}

static void
read_column(void *arg)
{
	PartCheck *p = arg;

	mdb_part_read_column(p->part, p->column, p->block, &p->vector, p->mcxt);
}

/* ---- series and times ---- */

static void
check_block_series(PartCheck *p, int b, uint32 n)
{
	MdbPart *part = p->part;
	bool classed = p->c->classifier && mdb_retention_is_current(p->c->retention, p->info->class);
	uint32 unknown = 0;
	uint32 nunknown = 0;
	uint32 other = 0;
	uint32 nothers = 0;

	for (uint32 i = 0; i < n; i++)
	{
		uint32 s = p->series[i];

		if (i > 0 && s == p->series[i - 1])
			continue;
		if (p->c->known && !mdb_check_series_known(p->c->known, s))
		{
			unknown = s;
			nunknown++;
		}
		else if (classed && mdb_class_of_series(p->c->classifier, s) != p->info->class)
		{
			other = s;
			nothers++;
		}
	}
	if (nothers > 0)
		mdb_check_found(p->c, "error", "class", MDB_PLACE_BLOCK(p->info->part_id, b),
						"%u of its series, among them %u, are of another retention class than the part.",
						nothers, other);
	/* Where rows of the dictionary cannot be read, its finding is enough. */
	if (nunknown > 0 && !p->c->dictionary_damaged)
		mdb_check_found(p->c, "error", "dictionary", MDB_PLACE_BLOCK(p->info->part_id, b),
						"%u of its series, among them %u, are not in the dictionary.", nunknown, unknown);
	if (!part->one_series &&
		(part->series_first[b] != p->series[0] || part->series_last[b] != p->series[n - 1]))
		mdb_check_found(p->c, "error", "minmax", MDB_PLACE_BLOCK(p->info->part_id, b),
						"It is said to hold series %lld to %lld, and holds %u to %u.",
						(long long) part->series_first[b], (long long) part->series_last[b], p->series[0],
						p->series[n - 1]);
}

static void
check_block_times(PartCheck *p, int b, uint32 n)
{
	MdbPart *part = p->part;
	int64 min = p->times[0], max = p->times[0];

	for (uint32 i = 1; i < n; i++)
	{
		min = Min(min, p->times[i]);
		max = Max(max, p->times[i]);
	}
	if (part->time_first[b] != min || part->time_last[b] != max)
		mdb_check_found(p->c, "error", "minmax",
						MDB_PLACE_CHUNK(p->info->part_id, b, p->c->table->time_attno),
						"Its times are said to lie in %lld to %lld, and lie in %lld to %lld.",
						(long long) part->time_first[b], (long long) part->time_last[b], (long long) min,
						(long long) max);
	p->time_min = Min(p->time_min, min);
	p->time_max = Max(p->time_max, max);
}

/* Rows are in order of (series, time), over the edges of blocks, too. */
static void
check_order(PartCheck *p, int b, uint32 n, bool times)
{
	bool sorted = true;

	for (uint32 i = 0; i < n; i++)
	{
		uint32 s = p->series[i];
		int64 t = times ? p->times[i] : 0;

		if (p->has_last && (s < p->last_series || (s == p->last_series && t < p->last_time)))
			sorted = false;
		if (!p->any || !p->has_last || s != p->last_series)
			p->nseries++;
		p->series_min = Min(p->series_min, (int64) s);
		p->series_max = Max(p->series_max, (int64) s);
		p->any = p->has_last = true;
		p->last_series = s;
		p->last_time = t;
	}
	if (sorted)
		return;
	p->sorted = false;
	mdb_check_found(p->c, "error", "order", MDB_PLACE_BLOCK(p->info->part_id, b),
					"Its rows are not in order of series and time.");
}

static void
check_keys(PartCheck *p)
{
	MdbPart *part = p->part;

	for (int b = 0; b < part->nblocks; b++)
	{
		uint32 n = (uint32) part->block_rows[b];
		MdbPlace at = MDB_PLACE_BLOCK(p->info->part_id, b);
		bool have_series, have_times = false;
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		p->block = b;
		error = mdb_guard(read_series, p);
		have_series = error == NULL;
		if (error)
			report(p, at, error, touches_bad_page(p, MDB_CHUNK_SERIES, b));
		if (part->has_time)
		{
			error = mdb_guard(read_times, p);
			have_times = error == NULL;
			at.attno = p->c->table->time_attno;
			if (error)
				report(p, at, error, touches_bad_page(p, MDB_CHUNK_TIMES, b));
		}
		if (have_series)
			check_block_series(p, b, n);
		if (have_times)
			check_block_times(p, b, n);
		if (have_series && (have_times || !part->has_time))
			check_order(p, b, n, have_times);
		else
			p->has_last = false;
	}
}

/* What the catalog says of all rows. */
static void
check_ranges(PartCheck *p)
{
	const MdbPartInfo *info = p->info;
	MdbPlace at = MDB_PLACE_PART(info->part_id);

	if (p->any && (info->series_min > p->series_min || info->series_max < p->series_max ||
				   (p->whole && (info->series_min != p->series_min || info->series_max != p->series_max))))
		mdb_check_found(p->c, "error", "minmax", at,
						"The catalog says series %lld to %lld, its rows have %lld to %lld.",
						(long long) info->series_min, (long long) info->series_max, (long long) p->series_min,
						(long long) p->series_max);
	if (p->part->has_time && p->time_min <= p->time_max &&
		(info->time_min > p->time_min || info->time_max < p->time_max ||
		 (p->whole && (info->time_min != p->time_min || info->time_max != p->time_max))))
	{
		at.attno = p->c->table->time_attno;
		mdb_check_found(p->c, "error", "minmax", at,
						"The catalog says times %lld to %lld, its rows have %lld to %lld.",
						(long long) info->time_min, (long long) info->time_max, (long long) p->time_min,
						(long long) p->time_max);
		at.attno = 0;
	}
	if (p->whole && p->sorted && info->nseries != p->nseries)
		mdb_check_found(p->c, "error", "count", at, "The catalog says %lld series, its rows have %lld.",
						(long long) info->nseries, (long long) p->nseries);
}

/* ---- values ---- */

static bool
same_bits(double a, double b)
{
	return memcmp(&a, &b, sizeof(a)) == 0;
}

/* Sums are the same but for the order in which a build of another compiler may have added. */
static bool
same_sum(double a, double b, double magnitude, uint32 n)
{
	if (a == b || (a != a && b != b))
		return true;
	return isfinite(a) && isfinite(b) && isfinite(magnitude) && fabs(a - b) <= magnitude * n * 1e-15;
}

static void
check_floats(PartCheck *p, MdbPlace at, uint32 n)
{
	const MdbVector *vec = &p->vector;
	const MdbBlockStats *st = &p->stats;
	int b = at.block;
	double min = INFINITY, max = -INFINITY, sum = 0, magnitude = 0, first = 0, last = 0;
	int64 nans = 0;
	uint32 count = 0;

	for (uint32 i = 0; i < n; i++)
	{
		double v;

		if (vec->nulls && vec->nulls[i])
			continue;
		v = vec->phys == MDB_F32 ? ((const float *) vec->values)[i] : ((const double *) vec->values)[i];
		if (count++ == 0)
			first = v;
		last = v;
		if (v != v)
		{
			nans++;
			continue;
		}
		min = v < min ? v : min;
		max = v > max ? v : max;
		sum += v;
		magnitude += fabs(v);
	}
	if (st->fmin[b] != min || st->fmax[b] != max)
		mdb_check_found(p->c, "error", "minmax", at,
						"Its lowest value is said to be %g, and is %g; its highest %g, and is %g.",
						st->fmin[b], min, st->fmax[b], max);
	if (!same_sum(st->fsum[b], sum, magnitude, n))
		mdb_check_found(p->c, "error", "sum", at, "Its sum is said to be %.17g, and is %.17g.", st->fsum[b],
						sum);
	if (!same_bits(st->ffirst[b], first) || !same_bits(st->flast[b], last))
		mdb_check_found(p->c, "error", "first_last", at,
						"Its first value is said to be %.17g, and is %.17g; its last %.17g, and is %.17g.",
						st->ffirst[b], first, st->flast[b], last);
	if (st->nnans[b] != nans)
		mdb_check_found(p->c, "error", "count", at, "It is said to have %lld NaNs, and has %lld.",
						(long long) st->nnans[b], (long long) nans);
}

static void
check_integers(PartCheck *p, MdbPlace at, uint32 n)
{
	const MdbVector *vec = &p->vector;
	const MdbBlockStats *st = &p->stats;
	int b = at.block;
	int64 min = PG_INT64_MAX, max = PG_INT64_MIN, first = 0, last = 0;
	int128 sum = 0;
	int128 stated = (int128) (((uint128) (uint64) st->isum_hi[b]) << 64 | (uint64) st->isum_lo[b]);
	uint32 count = 0;

	for (uint32 i = 0; i < n; i++)
	{
		int64 v = ((const int64 *) vec->values)[i];

		if (vec->nulls && vec->nulls[i])
			continue;
		if (count++ == 0)
			first = v;
		last = v;
		min = Min(min, v);
		max = Max(max, v);
		sum += v;
	}
	if (st->imin[b] != min || st->imax[b] != max)
		mdb_check_found(p->c, "error", "minmax", at,
						"Its lowest value is said to be %lld, and is %lld; its highest %lld, and is %lld.",
						(long long) st->imin[b], (long long) min, (long long) st->imax[b], (long long) max);
	if (stated != sum)
		mdb_check_found(p->c, "error", "sum", at, "Its sum is said to be %.17g, and is %.17g.",
						(double) stated, (double) sum);
	if (st->ifirst[b] != first || st->ilast[b] != last)
		mdb_check_found(p->c, "error", "first_last", at,
						"Its first value is said to be %lld, and is %lld; its last %lld, and is %lld.",
						(long long) st->ifirst[b], (long long) first, (long long) st->ilast[b],
						(long long) last);
}

static void
check_bytes(PartCheck *p, MdbPlace at, uint32 n)
{
	const MdbVector *vec = &p->vector;
	uint32 begin = 0;
	uint32 wrong = 0;

	for (uint32 i = 0; i < n; i++)
	{
		bool isnull = vec->nulls && vec->nulls[i];

		wrong += !isnull && vec->attlen > 0 && vec->ends[i] - begin != (uint32) vec->attlen;
		begin = vec->ends[i];
	}
	if (wrong > 0)
		mdb_check_found(p->c, "error", "format", at, "%u of its values are not %d bytes long.", wrong,
						vec->attlen);
}

static void
check_column(PartCheck *p, int column, bool decode)
{
	MdbPart *part = p->part;
	const MdbPartColumn *pc = &part->columns[column];
	const MdbTable *table = p->c->table;
	MdbPlace at = MDB_PLACE_CHUNK(p->info->part_id, -1, pc->attno);
	ErrorData *error;

	p->column = column;
	error = mdb_guard(load_column, p);
	if (error)
	{
		/* It is all in the directory, which was read. */
		report(p, at, error, false);
		return;
	}
	if (pc->attno > table->natts)
	{
		mdb_check_found(p->c, "error", "format", at,
						"It has a column with number %d, which the table has not.", pc->attno);
		return;
	}
	if (table->columns[pc->attno - 1].role == MDB_ROLE_VALUE &&
		(table->columns[pc->attno - 1].phys != pc->phys ||
		 table->columns[pc->attno - 1].attlen != pc->attlen))
	{
		mdb_check_found(p->c, "error", "format", at, "It keeps the column in another form than the table.");
		return;
	}
	for (int b = 0; b < part->nblocks && decode; b++)
	{
		uint32 n = (uint32) part->block_rows[b];
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		at.block = p->block = b;
		MemoryContextReset(p->mcxt);
		old = MemoryContextSwitchTo(p->mcxt);
		error = mdb_guard(read_column, p);
		if (error)
			report(p, at, error, touches_bad_page(p, column, b));
		else if (pc->phys == MDB_BYTES)
			check_bytes(p, at, n);
		else if (pc->phys == MDB_I64)
			check_integers(p, at, n);
		else
			check_floats(p, at, n);
		MemoryContextSwitchTo(old);
	}
}

/*
 * mdb_check_part - check the bytes of a part whose bad pages are known; unless decode its directory
 * only.
 */
void
mdb_check_part(MdbCheck *c, const MdbPartInfo *info, const Bitmapset *bad_pages, bool decode)
{
	PartCheck p = {.c = c, .info = info, .bad_pages = bad_pages, .whole = true, .sorted = true};
	MdbPlace at = MDB_PLACE_PART(info->part_id);
	ErrorData *error;

	if (!mdb_part_readable(info))
	{
		mdb_check_found(c, "error", "format", at, "It has format %d, this library reads formats up to %d.",
						info->format, MDB_PART_FORMAT_COLD);
		return;
	}
	error = mdb_guard(open_part, &p);
	if (error)
	{
		bool page = mdb_last_fault == MDB_FAULT_PAGE || mdb_last_fault == MDB_FAULT_NONE;

		report(&p, at, error, page && bad_pages != NULL);
		return;
	}
	if (p.part->has_time != (info->days != 0))
		mdb_check_found(c, "error", "partition", at,
						info->days != 0 ? "It has no times, but is in a partition of time."
										: "It has times, but is in no partition of time.");

	p.mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb check block", ALLOCSET_DEFAULT_SIZES);
	p.series = palloc(sizeof(uint32) * (MDB_BLOCK_ROWS_MAX + MDB_DECODE_SLACK));
	p.times = palloc(sizeof(int64) * (MDB_BLOCK_ROWS_MAX + MDB_DECODE_SLACK));
	p.series_min = p.time_min = PG_INT64_MAX;
	p.series_max = p.time_max = PG_INT64_MIN;
	if (decode)
	{
		check_keys(&p);
		check_ranges(&p);
	}
	for (int i = 0; i < p.part->ncolumns; i++)
		check_column(&p, i, decode);
	mdb_part_close(p.part);
}
