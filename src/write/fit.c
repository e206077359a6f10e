/*
 * fit.c
 *	  Which parts may be merged, as far as a continuous aggregate is concerned; see fit.h.
 *
 * If any interval does, the narrowest does that has what is pending of each part: it is in every other one, so
 * it has no time that is not pending of a part that has such a time.
 */
#include "write/fit.h"

bool
mdb_fit_cut(const MdbFitPart *part, int64_t *first, int64_t *last)
{
	if (!part->pending || part->to == INT64_MIN)
		return false;
	*first = part->from > part->time_min ? part->from : part->time_min;
	*last = part->to == INT64_MAX ? INT64_MAX : part->to - 1;
	if (*last > part->time_max)
		*last = part->time_max;
	return *first <= *last;
}

bool
mdb_fit(const MdbFitPart *parts, int n, MdbFitPart *result)
{
	int64_t first = INT64_MAX, last = INT64_MIN;
	int64_t a, b;
	bool any = false;
	bool below = true, above = true; /* may it begin, and end, farther out? */

	for (int i = 0; i < n; i++)
		if (mdb_fit_cut(&parts[i], &a, &b))
		{
			any = true;
			first = a < first ? a : first;
			last = b > last ? b : last;
		}
	result->pending = any;
	result->from = INT64_MIN;
	result->to = INT64_MAX;
	if (!any)
		return true;
	for (int i = 0; i < n; i++)
	{
		int64_t low = parts[i].time_min > first ? parts[i].time_min : first;
		int64_t high = parts[i].time_max < last ? parts[i].time_max : last;
		bool pending = mdb_fit_cut(&parts[i], &a, &b);

		/* What the interval has of the part's times is to be what is pending of them. */
		if (pending ? a != low || b != high : low <= high)
			return false;
		below &= parts[i].time_min >= first;
		above &= parts[i].time_max <= last;
	}
	if (!below)
		result->from = first;
	if (!above && last == INT64_MAX - 1)
		return false; /* it cannot be told that the last of all times is not pending */
	if (!above)
		result->to = last + 1;
	return true;
}
