/*
 * fit.h
 *	  Which parts may be merged, as far as a continuous aggregate is concerned.  Needs no PostgreSQL.
 */
#ifndef MDB_FIT_H
#define MDB_FIT_H

#include <stdbool.h>
#include <stdint.h>

/* A part, and the times of which an aggregate has not taken its rows: from .. to - 1; INT64_MAX is all that follow. */
typedef struct MdbFitPart
{
	int64_t time_min;
	int64_t time_max;
	bool pending;
	int64_t from;
	int64_t to;
} MdbFitPart;

/*
 * mdb_fit_cut - what is pending of a part: *first .. *last, both in; false if nothing is.
 */
extern bool mdb_fit_cut(const MdbFitPart *part, int64_t *first, int64_t *last);

/*
 * mdb_fit - is there one interval that says of the rows of all these parts together what theirs say of each?
 *
 * Then result gets it, as wide as may be: pending, from and to.
 */
extern bool mdb_fit(const MdbFitPart *parts, int n, MdbFitPart *result);

#endif
