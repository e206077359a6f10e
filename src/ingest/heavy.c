/*
 * heavy.c
 *	  Which metrics most points of a partition are of (space saving: Metwally, Agrawal, El Abbadi, 2005).
 *
 * A metric without a counter takes the place of the one that has least, and its count: so one that has more than an eighth
 * of all points has a counter, and is counted too high by an eighth at most.
 */
#include "postgres.h"

#include "ingest/heavy.h"

/* What is older than so many points counts half. */
#define FORGET_AT (1024 * 1024)

void
mdb_heavy_add(MdbHeavy *heavy, MdbProtoBytes name, double points)
{
	struct MdbHeavyMetric *least = &heavy->metrics[0];
	uint8_t len = Min(name.len, MDB_HEAVY_NAME);

	heavy->total += points;
	for (int i = 0; i < MDB_HEAVY_METRICS; i++)
	{
		struct MdbHeavyMetric *m = &heavy->metrics[i];

		if (m->points > 0 && m->len == len && memcmp(m->name, name.data, len) == 0)
		{
			least = m;
			break;
		}
		if (m->points < least->points)
			least = m;
	}
	least->points += points;
	least->len = len;
	memcpy(least->name, name.data, len);
	if (heavy->total < FORGET_AT)
		return;
	heavy->total /= 2;
	for (int i = 0; i < MDB_HEAVY_METRICS; i++)
		heavy->metrics[i].points /= 2;
}

const struct MdbHeavyMetric *
mdb_heavy_top(const MdbHeavy *heavy, double *part)
{
	const struct MdbHeavyMetric *top = &heavy->metrics[0];

	for (int i = 1; i < MDB_HEAVY_METRICS; i++)
		if (heavy->metrics[i].points > top->points)
			top = &heavy->metrics[i];
	*part = heavy->total > 0 ? top->points / heavy->total : 0;
	return top->points > 0 ? top : NULL;
}
