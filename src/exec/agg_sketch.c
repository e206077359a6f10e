/*
 * agg_sketch.c
 *	  MetricsAgg: sketches of quantiles.
 *
 * Groups of short buckets of time mostly get all their rows in one run: these become bytes at once, which
 * are the result.  Where more come, a group has a sketch; a few values are kept as they are.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "compat.h"
#include "exec/agg_own.h"
#include "func/func.h"

/* A run of so many values is likely to be all that its group gets. */
#define LIKELY_ALL 16

typedef enum Form
{
	NOTHING,
	VALUES, /* n doubles, NaN, too */
	BYTES,  /* of a sketch, n of them */
	SKETCH  /* an MdbSketch */
} Form;

typedef struct Held
{
	void *p;
	uint16 form;
	uint16 room; /* of values */
	uint32 n;
} Held;

/* What the groups of an aggregate share. */
typedef struct Shared
{
	MdbSketchLimits limits;
	MdbSketch scratch;
	uint8 *bytes;
	size_t room;
} Shared;

static void *
grow(void *arg, void *old, size_t old_size, size_t size)
{
	return old ? mdb_own_realloc((MdbOwn *) arg, old, size) : mdb_own_alloc((MdbOwn *) arg, size);
}

/* ---------- limits ---------- */

static void *
prepare(MdbOwn *own, int buckets, int error)
{
	Shared *shared = palloc0(sizeof(Shared));
	int32 n = 0;
	float8 e = 0;

	if (buckets >= 0 && !own->nulls[buckets])
		n = DatumGetInt32(own->constants[buckets]);
	if (error >= 0 && !own->nulls[error])
		e = DatumGetFloat8(own->constants[error]);
	shared->limits = mdb_sketch_limits(buckets >= 0 && !own->nulls[buckets] ? &n : NULL,
									   error >= 0 && !own->nulls[error] ? &e : NULL);
	mdb_sketch_begin(&shared->scratch, own->mcxt, shared->limits.scale, shared->limits.max_buckets);
	return shared;
}

static void *
prepare_plain(MdbOwn *own)
{
	return prepare(own, -1, -1);
}

static void *
prepare_buckets(MdbOwn *own)
{
	return prepare(own, 0, -1);
}

static void *
prepare_error(MdbOwn *own)
{
	return prepare(own, -1, 0);
}

static void *
prepare_both(MdbOwn *own)
{
	return prepare(own, 0, 1);
}

/* ---------- states ---------- */

static void
add_checked(MdbSketch *s, const double *values, const uint8 *valid, uint32 n)
{
	if (!mdb_sketch_add_run(s, values, valid, n))
		mdb_sketch_full();
}

/* The bytes of a sketch of so many values, in shared->bytes; returns how many. */
static size_t
bytes_of_values(MdbOwn *own, const double *values, uint32 n)
{
	Shared *shared = own->prepared;
	MdbSketch *s = &shared->scratch;
	size_t need;

	mdb_sketch_clear(s, shared->limits.scale, shared->limits.max_buckets);
	(void) mdb_sketch_add_last(s, values, n);
	need = mdb_sketch_bound(s);
	if (need > shared->room)
	{
		shared->room = need * 2;
		if (shared->bytes)
			pfree(shared->bytes);
		shared->bytes = MemoryContextAlloc(own->mcxt, shared->room);
	}
	return mdb_sketch_write(s, shared->bytes);
}

static void
make_sketch(MdbOwn *own, Held *h)
{
	const Shared *shared = own->prepared;
	MdbSketch *s = mdb_own_alloc(own, sizeof(MdbSketch));

	s->grow = grow;
	s->arg = own;
	mdb_sketch_init(s, shared->limits.scale, shared->limits.max_buckets);
	if (h->form == BYTES && !mdb_sketch_read(s, h->p, h->n))
		elog(ERROR, "bytes of a sketch are damaged");
	if (h->form == VALUES)
		(void) mdb_sketch_add_last(s, h->p, h->n);
	if (h->p)
		mdb_own_free(own, h->p);
	h->form = SKETCH;
	h->p = s;
}

static void
add_values(MdbOwn *own, Held *h, const double *v, const uint8 *valid, uint32 n, uint32 count)
{
	double *values;

	h->form = VALUES;
	if (h->n + count > h->room)
	{
		h->room = (uint16) Min(MDB_SKETCH_RAW, Max(h->n + count, h->room * 2));
		h->p = grow(own, h->p, 0, sizeof(double) * h->room);
	}
	values = h->p;
	for (uint32 i = 0; i < n; i++)
		if (valid == NULL || valid[i])
			values[h->n++] = v[i];
}

static void
add(MdbOwn *own, char *state, const MdbOwnRun *run)
{
	Held *h = (Held *) state;
	const double *v = (const double *) run->values + run->begin;
	const uint8 *valid = run->valid ? run->valid + run->begin : NULL;
	uint32 n = run->end - run->begin;
	uint32 count = valid ? mdb_count_valid(valid, n) : n;

	if (h->form == NOTHING && count == n && n >= LIKELY_ALL)
	{
		h->n = (uint32) bytes_of_values(own, v, n);
		h->p = mdb_own_alloc(own, h->n);
		memcpy(h->p, ((Shared *) own->prepared)->bytes, h->n);
		h->form = BYTES;
	}
	else if ((h->form == NOTHING || h->form == VALUES) && h->n + count <= MDB_SKETCH_RAW)
		add_values(own, h, v, valid, n, count);
	else
	{
		if (h->form != SKETCH)
			make_sketch(own, h);
		add_checked(h->p, v, valid, n);
	}
}

static void
drop(MdbOwn *own, char *state)
{
	Held *h = (Held *) state;

	if (h->form == SKETCH)
	{
		MdbSketch *s = h->p;

		if (s->pos.counts)
			mdb_own_free(own, s->pos.counts);
		if (s->neg.counts)
			mdb_own_free(own, s->neg.counts);
		if (s->raw)
			mdb_own_free(own, s->raw);
	}
	if (h->p)
		mdb_own_free(own, h->p);
	h->p = NULL;
	h->form = NOTHING;
}

/* The state that goes to the aggregate's combine function is the result, too. */
static Datum
result(MdbOwn *own, const char *state, bool *isnull)
{
	const Held *h = (const Held *) state;
	const uint8 *bytes = h->p;
	size_t n = h->n;
	struct varlena *v;

	*isnull = h->form == NOTHING;
	if (*isnull)
		return (Datum) 0;
	if (h->form == SKETCH)
		return mdb_datum_of_sketch(h->p);
	if (h->form == VALUES)
	{
		n = bytes_of_values(own, h->p, h->n);
		bytes = ((Shared *) own->prepared)->bytes;
	}
	v = palloc(VARHDRSZ + n);
	SET_VARSIZE(v, VARHDRSZ + n);
	memcpy(VARDATA(v), bytes, n);
	return PointerGetDatum(v);
}

/* ---------- the table ---------- */

#define KIND(p)                                                                                \
	{                                                                                          \
		.state_size = sizeof(Held), .held_size = 100, .prepare = (p), .add = add, .drop = drop \
	}

static const MdbOwnKind plain_kind = KIND(prepare_plain);
static const MdbOwnKind buckets_kind = KIND(prepare_buckets);
static const MdbOwnKind error_kind = KIND(prepare_error);
static const MdbOwnKind both_kind = KIND(prepare_both);

const MdbOwnAgg mdb_own_sketch[] = {{.name = "sketch_agg",
									 .nargs = 1,
									 .types = {FLOAT8OID},
									 .time_arg = -1,
									 .kind = &plain_kind,
									 .result = result,
									 .partial = result},
									{.name = "percentile_agg",
									 .nargs = 1,
									 .types = {FLOAT8OID},
									 .time_arg = -1,
									 .kind = &plain_kind,
									 .result = result,
									 .partial = result},
									{.name = "sketch_agg",
									 .nargs = 2,
									 .types = {FLOAT8OID, INT4OID},
									 .time_arg = -1,
									 .kind = &buckets_kind,
									 .result = result,
									 .partial = result},
									{.name = "sketch_agg",
									 .nargs = 2,
									 .types = {FLOAT8OID, FLOAT8OID},
									 .time_arg = -1,
									 .kind = &error_kind,
									 .result = result,
									 .partial = result},
									{.name = "uddsketch",
									 .nargs = 3,
									 .types = {INT4OID, FLOAT8OID, FLOAT8OID},
									 .value_arg = 2,
									 .time_arg = -1,
									 .kind = &both_kind,
									 .result = result,
									 .partial = result},
									{.name = NULL}};
