/*
 * window.c
 *	  How much of what is pending is taken at once: whole buckets, and whole parts, as far as that goes.
 *
 * What is taken is a window of times of all parts: up to its end when the oldest rows go first, as live ones
 * do; from its start on when the newest go first, as when history is filled back.  A window has about as many
 * rows as it may, and ends where a part does; a part of many times as many rows is cut within.
 *
 * Both directions are one: for the second, times are turned around, t to ~t, which is -1 - t.
 */
#include "postgres.h"

#include "common/int.h"

#include "rollup/apply.h"

/* A part of at most so many times the rows of a window is not cut. */
#define WHOLE_PART 4

static int
piece_cmp(const void *a, const void *b)
{
	const MdbPiece *x = a, *y = b;

	if (x->lo != y->lo)
		return x->lo < y->lo ? -1 : 1;
	return x->pending.part_id < y->pending.part_id ? -1 : x->pending.part_id > y->pending.part_id;
}

/*
 * mdb_piece_rows - about how many rows of a part have times from lo to hi.
 */
int64
mdb_piece_rows(const MdbPartInfo *part, int64 lo, int64 hi)
{
	double all = (double) part->time_max - (double) part->time_min + 1;
	double some;

	lo = Max(lo, part->time_min);
	hi = Min(hi, part->time_max);
	if (lo > hi)
		return 0;
	some = (double) hi - (double) lo + 1;
	return Max(1, (int64) (part->nrows * Min(1.0, some / all)));
}

/*
 * mdb_pieces_rows - about how many rows of all pieces have times from lo to hi.
 */
double
mdb_pieces_rows(const MdbPieces *pieces, int64 lo, int64 hi)
{
	double rows = 0;

	for (int i = 0; i < pieces->count; i++)
	{
		const MdbPiece *piece = &pieces->pieces[i];

		if (!piece->empty)
			rows += mdb_piece_rows(piece->part, Max(lo, piece->lo), Min(hi, piece->hi));
	}
	return rows;
}

/*
 * mdb_pieces - what there is to be taken of the parts of a list, by time; both lists are by part id.
 */
MdbPieces *
mdb_pieces(const MdbPartList *parts, const MdbPendingList *pending)
{
	MdbPieces *result = palloc0(sizeof(MdbPieces));
	int p = 0;

	result->pieces = palloc_extended(sizeof(MdbPiece) * Max(1, pending->count), MCXT_ALLOC_HUGE);
	for (int i = 0; i < pending->count; i++)
	{
		const MdbPending *row = &pending->rows[i];
		MdbPiece *piece = &result->pieces[result->count];

		while (p < parts->count && parts->parts[p].part_id < row->part_id)
			p++;
		/* Rows without a time are in no bucket, and stay with the source. */
		if (p == parts->count || parts->parts[p].part_id != row->part_id || parts->parts[p].days == 0)
			continue;
		piece->pending = *row;
		piece->part = &parts->parts[p];
		piece->lo = Max(row->time_from, piece->part->time_min);
		piece->hi =
			Min(row->time_to == PG_INT64_MAX ? row->time_to : row->time_to - 1, piece->part->time_max);
		piece->nrows = mdb_piece_rows(piece->part, piece->lo, piece->hi);
		piece->empty = piece->lo > piece->hi;
		if (piece->empty)
			piece->lo = piece->hi = PG_INT64_MIN;
		result->count++;
	}
	qsort(result->pieces, result->count, sizeof(MdbPiece), piece_cmp);
	return result;
}

/* A piece in one of the directions. */
typedef struct Span
{
	int64 lo;
	int64 hi;
	double nrows;
} Span;

static int
span_cmp(const void *a, const void *b)
{
	const Span *x = a, *y = b;

	return x->hi < y->hi ? -1 : x->hi > y->hi;
}

/* About how many rows lie before an end. */
static double
rows_before(const Span *spans, int n, int64 end)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
	{
		if (spans[i].hi < end || end == PG_INT64_MAX)
			sum += spans[i].nrows;
		else if (spans[i].lo < end)
			sum += spans[i].nrows * ((double) end - (double) spans[i].lo) /
				   ((double) spans[i].hi - (double) spans[i].lo + 1);
	}
	return sum;
}

/* Between two times, so that there are about as many rows before as may be. */
static int64
cut_within(const Span *spans, int n, int64 lo, int64 hi, double rows_max)
{
	while (hi - 1 > lo)
	{
		int64 middle = lo + (int64) (((uint64) hi - (uint64) lo) / 2);

		if (rows_before(spans, n, middle) > rows_max)
			hi = middle;
		else
			lo = middle;
	}
	return hi;
}

/* Where a window from the first of n spans on ends, bound at last. */
static int64
window_end(Span *spans, int n, int64 bound, double rows_max)
{
	int64 least = PG_INT64_MAX;
	int64 first;
	int lo, hi;

	if (n == 0 || rows_before(spans, n, bound) <= rows_max)
		return bound;
	qsort(spans, n, sizeof(Span), span_cmp);
	for (int i = 0; i < n; i++)
		least = Min(least, spans[i].lo);
	/* Behind how many of the spans, at least one. */
	lo = 0;
	hi = n;
	while (hi - lo > 1)
	{
		int middle = (lo + hi) / 2;

		if (spans[middle].hi < bound && rows_before(spans, n, spans[middle].hi + 1) <= rows_max)
			lo = middle;
		else
			hi = middle;
	}
	first = spans[lo].hi < bound ? spans[lo].hi + 1 : bound;
	if (rows_before(spans, n, first) > rows_max * WHOLE_PART)
		return cut_within(spans, n, least, first, rows_max);
	return first;
}

/*
 * mdb_window_end - up to where the oldest rows of the pieces are taken, bound at last: about rows_max rows.
 */
int64
mdb_window_end(const MdbPieces *pieces, int64 bound, int64 rows_max)
{
	Span *spans = palloc_extended(sizeof(Span) * Max(1, pieces->count), MCXT_ALLOC_HUGE);
	int n = 0;

	for (int i = 0; i < pieces->count; i++)
		if (pieces->pieces[i].lo < bound || bound == PG_INT64_MAX)
		{
			spans[n].lo = pieces->pieces[i].lo;
			spans[n].hi = pieces->pieces[i].hi;
			spans[n++].nrows = pieces->pieces[i].nrows;
		}
	return window_end(spans, n, bound, rows_max);
}

/*
 * mdb_window_start - from where on the newest rows are taken, bound at first.
 */
int64
mdb_window_start(const MdbPieces *pieces, int64 bound, int64 rows_max)
{
	Span *spans = palloc_extended(sizeof(Span) * Max(1, pieces->count), MCXT_ALLOC_HUGE);
	int64 end;
	int n = 0;

	for (int i = 0; i < pieces->count; i++)
		if (pieces->pieces[i].hi >= bound)
		{
			spans[n].lo = ~pieces->pieces[i].hi;
			spans[n].hi = ~pieces->pieces[i].lo;
			spans[n++].nrows = pieces->pieces[i].nrows;
		}
	/* Turned around, times from bound on are those before ~bound + 1. */
	end = window_end(spans, n, bound == PG_INT64_MIN ? PG_INT64_MAX : -bound, rows_max);
	return end == PG_INT64_MAX ? PG_INT64_MIN : -end;
}
