/*
 * owner.c
 *	  Whoever works on a table becomes its owner meanwhile.
 *
 * Expressions and predicates of indexes, and support functions of their operator classes, call functions that
 * the owner has written; already opening an index for insertion does, as constants are folded.  A worker, and a
 * superuser who calls compact(), must not lend them his rights.  Core does so for VACUUM and REINDEX.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/rel.h"

#include "write/write.h"

/*
 * mdb_owner_begin - be the owner of a table from now on, in a security-restricted operation: he cannot become
 * somebody else, and leaves no settings behind.  Row-level security that is forced upon him hides nothing from us:
 * what is made of a table's rows is made of all of them.
 *
 * For *before to be given to mdb_owner_end() in the same (sub)transaction.  An error, which ends that, does without.
 */
void
mdb_owner_begin(Relation rel, MdbBefore *before)
{
	GetUserIdAndSecContext(&before->user, &before->sec_context);
	SetUserIdAndSecContext(rel->rd_rel->relowner,
						   before->sec_context | SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	before->guc_level = NewGUCNestLevel();
	mdb_restrict_search_path();
}

/*
 * mdb_owner_end - be again who one was before.
 */
void
mdb_owner_end(const MdbBefore *before)
{
	AtEOXact_GUC(false, before->guc_level);
	SetUserIdAndSecContext(before->user, before->sec_context);
}
