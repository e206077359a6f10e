/*
 * aggregate.c
 *	  What the functions of all aggregates begin with.
 */
#include "postgres.h"

#include "fmgr.h"

#include "func/func.h"

/*
 * mdb_aggregate_context - where the state of the aggregate lives that a function is called for.  Who calls it
 * otherwise would hand it a state of his own making: an error.
 */
MemoryContext
mdb_aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext mcxt;

	if (!AggCheckCallContext(fcinfo, &mcxt))
		elog(ERROR, "aggregate function called in non-aggregate context");
	return mcxt;
}
