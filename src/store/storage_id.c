/*
 * storage_id.c
 *	  Ids of storages: none is given out twice in a database.
 *
 * Processes remember what they have learnt of a storage by its id, and nobody tells them that the extension was
 * dropped, with its sequence, and created again.  So the new sequence begins where no earlier one can have come to.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "fmgr.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "store/store.h"

/* More storages than are made while one transaction id is given out. */
#define IDS_EACH_BITS 20

PG_FUNCTION_INFO_V1(mdb_first_storage_id);

/*
 * mdb_first_storage_id - metricsdb.first_storage_id() RETURNS int8: where a new sequence of ids begins.
 *
 * Transaction ids, with their epoch, only grow, also where a transaction is rolled back.  Each call has one of its
 * own, as the extension may be created twice in a transaction.
 */
Datum
mdb_first_storage_id(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	uint64 xid;

	BeginInternalSubTransaction(NULL);
	xid = U64FromFullTransactionId(GetCurrentFullTransactionId());
	ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	PG_RETURN_INT64((int64) (xid << IDS_EACH_BITS));
}

/*
 * mdb_storage_new_id - an id that no file of this database has or had.
 */
int64
mdb_storage_new_id(void)
{
	return nextval_internal(mdb_catalog_relid("storage_id_seq", false), false);
}
