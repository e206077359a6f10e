/*
 * hll_type.c
 *	  The type hyperloglog, the aggregates that make it, and what it can be asked.
 *
 * Values are hashed by their type's extended hash function, which hash partitioning relies on, too, so that
 * it stays as it is.  The state of the aggregates is an MdbHll; serialised it is their result.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

#include "compat.h"
#include "func/func.h"
#include "func/hll.h"

#define BITS_DEFAULT 15

static void *
grow(void *arg, void *old, size_t old_size, size_t size)
{
	return old ? repalloc(old, size) : MemoryContextAlloc((MemoryContext) arg, size);
}

static MdbHll *
new_state(MemoryContext mcxt, int bits)
{
	MdbHll *h = MemoryContextAlloc(mcxt, sizeof(MdbHll));

	h->grow = grow;
	h->arg = mcxt;
	mdb_hll_init(h, bits);
	return h;
}

static void
read_bytes(MdbHll *h, MemoryContext mcxt, const uint8 *p, size_t len)
{
	h->grow = grow;
	h->arg = mcxt;
	if (len > 0 && p[0] != MDB_HLL_VERSION)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("version %d of hyperloglog is not known", p[0]),
						errdetail("This version of metricsdb reads version %d.", MDB_HLL_VERSION)));
	if (!mdb_hll_read(h, p, len))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION), errmsg("invalid bytes of a hyperloglog")));
}

static void
read_datum(MdbHll *h, MemoryContext mcxt, Datum datum)
{
	struct varlena *v = PG_DETOAST_DATUM_PACKED(datum);

	read_bytes(h, mcxt, (const uint8 *) VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
	if ((Pointer) v != DatumGetPointer(datum))
		pfree(v);
}

static Datum
datum_of(MdbHll *h)
{
	struct varlena *v = palloc(VARHDRSZ + mdb_hll_bound(h));

	SET_VARSIZE(v, VARHDRSZ + mdb_hll_write(h, (uint8 *) VARDATA(v)));
	return PointerGetDatum(v);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_in);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_out);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_recv);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_send);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_transition_default);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_rollup);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_final);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_deserial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_count);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hll_stderror);

/* ---------- the type; as text it is its bytes in hex, \x... ---------- */

Datum
mdb_hll_in(PG_FUNCTION_ARGS)
{
	Datum bytes = DirectFunctionCall1(byteain, PG_GETARG_DATUM(0));
	MdbHll h;

	read_datum(&h, CurrentMemoryContext, bytes);
	PG_RETURN_DATUM(bytes);
}

Datum
mdb_hll_out(PG_FUNCTION_ARGS)
{
	struct varlena *v = PG_GETARG_VARLENA_PP(0);
	size_t len = VARSIZE_ANY_EXHDR(v);
	char *text = palloc(len * 2 + 3);

	text[0] = '\\';
	text[1] = 'x';
	text[2 + hex_encode(VARDATA_ANY(v), len, text + 2)] = '\0';
	PG_RETURN_CSTRING(text);
}

Datum
mdb_hll_recv(PG_FUNCTION_ARGS)
{
	StringInfo buf = (StringInfo) PG_GETARG_POINTER(0);
	int len = buf->len - buf->cursor;
	struct varlena *v = palloc(VARHDRSZ + len);
	MdbHll h;

	pq_copymsgbytes(buf, VARDATA(v), len);
	SET_VARSIZE(v, VARHDRSZ + len);
	read_datum(&h, CurrentMemoryContext, PointerGetDatum(v));
	PG_RETURN_POINTER(v);
}

Datum
mdb_hll_send(PG_FUNCTION_ARGS)
{
	StringInfoData buf;
	struct varlena *v = PG_GETARG_VARLENA_PP(0);

	pq_begintypsend(&buf);
	pq_sendbytes(&buf, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* ---------- aggregates ---------- */

/* So many registers as are asked for, or a few more: a power of two. */
static int
bits_of_size(int32 size)
{
	int bits = MDB_HLL_BITS_MIN;

	if (size < 1 << MDB_HLL_BITS_MIN || size > 1 << MDB_HLL_BITS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid size of a hyperloglog: %d", size),
				 errdetail("It must be between %d and %d.", 1 << MDB_HLL_BITS_MIN, 1 << MDB_HLL_BITS_MAX)));
	while (1 << bits < size)
		bits++;
	return bits;
}

static uint64
hash_of(FunctionCallInfo fcinfo, int arg)
{
	FmgrInfo *hash = fcinfo->flinfo->fn_extra;

	if (hash == NULL)
	{
		Oid type = get_fn_expr_argtype(fcinfo->flinfo, arg);
		TypeCacheEntry *cache = lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC_FINFO);

		if (!OidIsValid(cache->hash_extended_proc))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
							errmsg("could not identify an extended hash function for type %s",
								   format_type_be(type))));
		hash = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(FmgrInfo));
		fmgr_info_copy(hash, &cache->hash_extended_proc_finfo, fcinfo->flinfo->fn_mcxt);
		fcinfo->flinfo->fn_extra = hash;
	}
	return DatumGetUInt64(
		FunctionCall2Coll(hash, PG_GET_COLLATION(), PG_GETARG_DATUM(arg), Int64GetDatum(0)));
}

static Datum
transition(FunctionCallInfo fcinfo, int size, int value)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	MdbHll *h = PG_ARGISNULL(0) ? NULL : (MdbHll *) PG_GETARG_POINTER(0);

	if (PG_ARGISNULL(value) || (size > 0 && PG_ARGISNULL(size)))
	{
		if (h == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(h);
	}
	if (h == NULL)
		h = new_state(mcxt, size > 0 ? bits_of_size(PG_GETARG_INT32(size)) : BITS_DEFAULT);
	mdb_hll_add(h, hash_of(fcinfo, value));
	PG_RETURN_POINTER(h);
}

/* (state, size, value) */
Datum
mdb_hll_transition(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, 1, 2);
}

/* (state, value) */
Datum
mdb_hll_transition_default(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, 0, 1);
}

static void
merge(MdbHll *h, const MdbHll *other)
{
	if (h->bits != other->bits)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("hyperloglogs of unlike sizes cannot be merged"),
						errdetail("One has %d registers, another has %d.", 1 << h->bits, 1 << other->bits)));
	mdb_hll_merge(h, other);
}

/* (state, hyperloglog) */
Datum
mdb_hll_rollup(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	MdbHll *h = PG_ARGISNULL(0) ? NULL : (MdbHll *) PG_GETARG_POINTER(0);
	MdbHll other;

	if (PG_ARGISNULL(1))
	{
		if (h == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(h);
	}
	read_datum(&other, CurrentMemoryContext, PG_GETARG_DATUM(1));
	if (h == NULL)
		h = new_state(mcxt, other.bits);
	merge(h, &other);
	PG_RETURN_POINTER(h);
}

Datum
mdb_hll_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	MdbHll *a = PG_ARGISNULL(0) ? NULL : (MdbHll *) PG_GETARG_POINTER(0);
	MdbHll *b = PG_ARGISNULL(1) ? NULL : (MdbHll *) PG_GETARG_POINTER(1);

	if (b == NULL)
	{
		if (a == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(a);
	}
	if (a == NULL)
		a = new_state(mcxt, b->bits);
	merge(a, b);
	PG_RETURN_POINTER(a);
}

/* The result, and the serialised state: its bytes.  The state stays good. */
Datum
mdb_hll_final(PG_FUNCTION_ARGS)
{
	(void) mdb_aggregate_context(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return datum_of((MdbHll *) PG_GETARG_POINTER(0));
}

Datum
mdb_hll_deserial(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	MdbHll *h = MemoryContextAlloc(mcxt, sizeof(MdbHll));

	read_datum(h, mcxt, PG_GETARG_DATUM(0));
	PG_RETURN_POINTER(h);
}

/* ---------- asking ---------- */

Datum
mdb_hll_count(PG_FUNCTION_ARGS)
{
	MdbHll h;

	read_datum(&h, CurrentMemoryContext, PG_GETARG_DATUM(0));
	PG_RETURN_INT64((int64) rint(Min(mdb_hll_estimate(&h), 9e18)));
}

Datum
mdb_hll_stderror(PG_FUNCTION_ARGS)
{
	MdbHll h;

	read_datum(&h, CurrentMemoryContext, PG_GETARG_DATUM(0));
	PG_RETURN_FLOAT8(1.04 / sqrt(1 << h.bits));
}
