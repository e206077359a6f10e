/*
 * slot.c
 *	  Slots for rows of metricsdb tables.
 *
 * A slot stands for a row of a decoded block and fetches values when they are asked for, or it
 * holds values like a virtual slot does: after ExecStoreVirtualTuple, a copy, or
 * materialisation.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "utils/datum.h"
#include "utils/expandeddatum.h"

#include "am/am.h"

typedef struct MdbSlot
{
	TupleTableSlot base;
	MdbBlock *block; /* NULL: the values are all there are */
	uint32 row;
	char *data; /* memory of materialised values */
	TransactionId xmin;
	TransactionId xmax;
	CommandId cid;
} MdbSlot;

static void
slot_init(TupleTableSlot *slot)
{
}

static void
slot_release(TupleTableSlot *slot)
{
}

static void
slot_clear(TupleTableSlot *slot)
{
	MdbSlot *s = (MdbSlot *) slot;

	if (unlikely(TTS_SHOULDFREE(slot)))
	{
		pfree(s->data);
		s->data = NULL;
		slot->tts_flags &= ~TTS_FLAG_SHOULDFREE;
	}
	s->block = NULL;
	s->xmin = FrozenTransactionId;
	s->xmax = InvalidTransactionId;
	s->cid = FirstCommandId;
	slot->tts_nvalid = 0;
	slot->tts_flags |= TTS_FLAG_EMPTY;
	ItemPointerSetInvalid(&slot->tts_tid);
}

static void
slot_getsome(TupleTableSlot *slot, int natts)
{
	MdbSlot *s = (MdbSlot *) slot;

	if (s->block == NULL)
		elog(ERROR, "slot has no values to fetch");
	for (int i = slot->tts_nvalid; i < natts; i++)
		slot->tts_values[i] = mdb_block_value(s->block, s->row, i, &slot->tts_isnull[i]);
	slot->tts_nvalid = natts;
}

/*
 * Rows of parts are as old as their part.  So xmin, which some clients take for the version of a row,
 * changes with each merge, but never back to what it was before a change of the row.
 */
static Datum
slot_getsys(TupleTableSlot *slot, int attnum, bool *isnull)
{
	MdbSlot *s = (MdbSlot *) slot;

	*isnull = false;
	switch (attnum)
	{
		case MinTransactionIdAttributeNumber:
			return TransactionIdGetDatum(s->xmin);
		case MaxTransactionIdAttributeNumber:
			return TransactionIdGetDatum(s->xmax);
		case MinCommandIdAttributeNumber:
		case MaxCommandIdAttributeNumber:
			return CommandIdGetDatum(s->cid);
	}
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("cannot retrieve a system column in this context")));
	return (Datum) 0;
}

/* Foreign keys ask: has this transaction made the row? */
static inline bool
slot_is_current_xact(TupleTableSlot *slot)
{
	return TransactionIdIsCurrentTransactionId(((MdbSlot *) slot)->xmin);
}

/* Bytes that a by-reference value takes in a copy. */
static inline Size
value_size(Form_pg_attribute att, Datum v)
{
	if (att->attlen == -1)
	{
		if (VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(v)))
			return EOH_get_flat_size(DatumGetEOHP(v));
		return VARSIZE_ANY(DatumGetPointer(v));
	}
	return datumGetSize(v, false, att->attlen);
}

static void
slot_materialize(TupleTableSlot *slot)
{
	MdbSlot *s = (MdbSlot *) slot;
	TupleDesc desc = slot->tts_tupleDescriptor;
	Size size = 0;
	char *p;

	if (TTS_SHOULDFREE(slot))
		return;
	if (s->block)
		slot_getallattrs(slot);
	s->block = NULL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attbyval && !slot->tts_isnull[i])
			size += MAXALIGN(value_size(att, slot->tts_values[i]));
	}
	if (size == 0)
		return;
	s->data = p = MemoryContextAlloc(slot->tts_mcxt, size);
	slot->tts_flags |= TTS_FLAG_SHOULDFREE;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Datum v = slot->tts_values[i];
		Size len;

		if (att->attbyval || slot->tts_isnull[i])
			continue;
		len = value_size(att, v);
		if (att->attlen == -1 && VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(v)))
			EOH_flatten_into(DatumGetEOHP(v), p, len);
		else
			memcpy(p, DatumGetPointer(v), len);
		slot->tts_values[i] = PointerGetDatum(p);
		p += MAXALIGN(len);
	}
}

static void
slot_copy(TupleTableSlot *dst, TupleTableSlot *src)
{
	int natts = src->tts_tupleDescriptor->natts;

	slot_clear(dst);
	slot_getallattrs(src);
	for (int i = 0; i < natts; i++)
	{
		dst->tts_values[i] = src->tts_values[i];
		dst->tts_isnull[i] = src->tts_isnull[i];
	}
	dst->tts_nvalid = natts;
	dst->tts_flags &= ~TTS_FLAG_EMPTY;
	dst->tts_tid = src->tts_tid;
	if (src->tts_ops == &TTSOpsMetricsDB)
	{
		MdbSlot *from = (MdbSlot *) src;
		MdbSlot *to = (MdbSlot *) dst;

		to->xmin = from->xmin;
		to->xmax = from->xmax;
		to->cid = from->cid;
	}
	slot_materialize(dst);
}

static HeapTuple
slot_copy_heap_tuple(TupleTableSlot *slot)
{
	HeapTuple tuple;

	slot_getallattrs(slot);
	tuple = heap_form_tuple(slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	tuple->t_self = slot->tts_tid;
	tuple->t_tableOid = slot->tts_tableOid;
	return tuple;
}

static MinimalTuple
slot_copy_minimal_tuple(MDB_COPY_MINIMAL_ARGS)
{
	slot_getallattrs(slot);
	return mdb_form_minimal_tuple(slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull, extra);
}

const TupleTableSlotOps TTSOpsMetricsDB = {.base_slot_size = sizeof(MdbSlot),
										   .init = slot_init,
										   .release = slot_release,
										   .clear = slot_clear,
										   .getsomeattrs = slot_getsome,
										   MDB_SLOT_SYSTEM(slot_getsys, slot_is_current_xact),
										   .materialize = slot_materialize,
										   .copyslot = slot_copy,
										   .get_heap_tuple = NULL,
										   .get_minimal_tuple = NULL,
										   .copy_heap_tuple = slot_copy_heap_tuple,
										   .copy_minimal_tuple = slot_copy_minimal_tuple};

/*
 * mdb_slot_store_row - let the slot stand for a row of a block.  The slot is one of ours, empty.
 */
void
mdb_slot_store_row(TupleTableSlot *slot, MdbBlock *block, uint32 row)
{
	MdbSlot *s = (MdbSlot *) slot;

	s->block = block;
	s->row = row;
	if (block->part)
		s->xmin = block->part->info.xmin;
	slot->tts_nvalid = 0;
	slot->tts_flags &= ~TTS_FLAG_EMPTY;
}

/*
 * mdb_slot_is_of_block - does the slot, one of ours, stand for a row of a part's block?
 */
bool
mdb_slot_is_of_block(const TupleTableSlot *slot)
{
	const MdbSlot *s = (const MdbSlot *) slot;

	return s->block != NULL && s->block->part != NULL;
}

/*
 * mdb_slot_store_tuple - fill the slot, one of ours, empty, from a row of the delta.  The values
 * point into the tuple.
 */
void
mdb_slot_store_tuple(TupleTableSlot *slot, MinimalTuple tuple)
{
	HeapTupleData htup;

	htup.t_len = tuple->t_len + MINIMAL_TUPLE_OFFSET;
	htup.t_data = (HeapTupleHeader) ((char *) tuple - MINIMAL_TUPLE_OFFSET);
	heap_deform_tuple(&htup, slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
}

/*
 * mdb_slot_set_header - let the system columns of a slot, if it is ours, be those of a tuple of the delta.
 */
void
mdb_slot_set_header(TupleTableSlot *slot, HeapTupleHeader header)
{
	MdbSlot *s = (MdbSlot *) slot;

	if (slot->tts_ops != &TTSOpsMetricsDB)
		return;
	s->xmin = HeapTupleHeaderGetXmin(header);
	s->xmax = HeapTupleHeaderGetRawXmax(header);
	s->cid = HeapTupleHeaderGetRawCommandId(header);
}

/*
 * mdb_slot_set_xmax - the same for a row of a part, whose shadow this is the header of.
 */
void
mdb_slot_set_xmax(TupleTableSlot *slot, HeapTupleHeader header)
{
	MdbSlot *s = (MdbSlot *) slot;

	s->xmax = HeapTupleHeaderGetRawXmax(header);
	s->cid = HeapTupleHeaderGetRawCommandId(header);
}
