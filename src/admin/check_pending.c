/*
 * check_pending.c
 *	  metricsdb.check(): what continuous aggregates of a table have not taken yet, and what they have to make again.
 *
 * Each row of metricsdb.pending must be of a part that is there and of an aggregate that is made of the table, with
 * an interval that is none the wrong way round; so must those of metricsdb.dirty.  Rows without a time are never
 * taken: their parts must have a row without bounds for each aggregate.  What aggregates have taken cannot be told from
 * their states, so that is not compared.
 */
#include "postgres.h"

#include "utils/rel.h"

#include "admin/check.h"
#include "store/aggregates.h"

typedef struct Pending
{
	MdbCheck *c;
	MdbPendingList *pending;
	MdbAggregate *aggregates;
	int count;
	MdbDirtyList **dirty;
} Pending;

static void
read_rows(void *arg)
{
	Pending *p = arg;
	MdbCheck *c = p->c;

	p->aggregates = mdb_aggregates_by(MDB_AGGREGATE_SOURCE, RelationGetRelid(c->rel), c->snapshot, &p->count);
	p->pending = mdb_pending_list(c->table->storage_id, InvalidOid, c->snapshot);
	p->dirty = palloc(sizeof(MdbDirtyList *) * Max(1, p->count));
	for (int i = 0; i < p->count; i++)
		p->dirty[i] = mdb_dirty_list(p->aggregates[i].aggregate, c->snapshot, true);
}

/* Is an interval one that has a time? */
static bool
is_sane(int64 from, int64 to)
{
	return from < to || to == PG_INT64_MAX;
}

static const MdbPartInfo *
find_part(const MdbPartList *list, int64 part_id)
{
	int lo = 0, hi = list->count;

	while (lo < hi)
	{
		int mid = (lo + hi) / 2;

		if (list->parts[mid].part_id < part_id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < list->count && list->parts[lo].part_id == part_id ? &list->parts[lo] : NULL;
}

static void
check_row(Pending *p, const MdbPartList *parts, const MdbPending *row)
{
	MdbPlace at = MDB_PLACE_PART(row->part_id);
	bool known = false;

	for (int i = 0; i < p->count; i++)
		known |= p->aggregates[i].aggregate == row->aggregate;
	if (find_part(parts, row->part_id) == NULL)
		mdb_check_found(p->c, "error", "pending", MDB_PLACE_TABLE,
						"metricsdb.pending has a row for part %lld, which does not exist.",
						(long long) row->part_id);
	else if (!known)
		mdb_check_found(p->c, "error", "pending", at,
						"metricsdb.pending has a row for aggregate %u, which is not made of this table.",
						row->aggregate);
	else if (!is_sane(row->time_from, row->time_to))
		mdb_check_found(p->c, "error", "pending", at,
						"Pending for aggregate %u are times from %lld to before %lld.", row->aggregate,
						(long long) row->time_from, (long long) row->time_to);
}

static void
check_untimed(Pending *p, const MdbPartInfo *part)
{
	for (int i = 0; i < p->count; i++)
	{
		Oid aggregate = p->aggregates[i].aggregate;
		const MdbPending *row = mdb_pending_find(p->pending, part->part_id, aggregate);

		if (row == NULL || row->time_from != PG_INT64_MIN || row->time_to != PG_INT64_MAX)
			mdb_check_found(p->c, "error", "pending", MDB_PLACE_PART(part->part_id),
							"Rows without a time are not pending for aggregate %u, so its view lacks them.",
							aggregate);
	}
}

/*
 * mdb_check_pending - compare with the parts that the snapshot sees.
 */
void
mdb_check_pending(MdbCheck *c)
{
	Pending p = {.c = c};
	MdbPartList *parts = c->list;
	ErrorData *error = mdb_guard(read_rows, &p);

	if (error)
	{
		mdb_check_found(c, "error", "pending", MDB_PLACE_TABLE,
						"What is pending for aggregates cannot be read: %s.", error->message);
		return;
	}
	for (int i = 0; parts && i < p.pending->count; i++)
		check_row(&p, parts, &p.pending->rows[i]);
	for (int i = 0; parts && i < parts->count && c->table->time_attno > 0; i++)
		if (parts->parts[i].days == 0)
			check_untimed(&p, &parts->parts[i]);
	for (int i = 0; i < p.count; i++)
		for (int k = 0; k < p.dirty[i]->count; k++)
		{
			const MdbDirty *d = &p.dirty[i]->rows[k];

			if (!is_sane(d->time_from, d->time_to))
				mdb_check_found(c, "error", "pending", MDB_PLACE_TABLE,
								"Dirty for aggregate %u are times from %lld to before %lld.", d->aggregate,
								(long long) d->time_from, (long long) d->time_to);
		}
}
