/*
 * marks.c
 *	  How the evaluation and those who write samples know of each other.
 *
 * A row of metricsdb.alert_watch says that the rules of a table are evaluated, until some time that is put off again and
 * again.  Who writes looks at it when he has locked the table, and writes samples down for rules until that time
 * (gather.c).  If it has passed once, samples are missing: then all rules have their history read anew, after a new
 * row is there.
 *
 * A rule's history is read when none who writes can have locked the table before he could know of the rule: those who hold
 * locks on it at that moment are waited for, but never slept for, so others' rules are evaluated meanwhile.
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/lock.h"
#include "storage/lmgr.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "alert/follow.h"

/* The evaluation may be away for so long before everything is read anew, less what it lets pass between two renewals. */
#define MARK_FOR     USECS_PER_HOUR
#define RENEW_EVERY  (10 * USECS_PER_MINUTE)
#define RENEW_SOON   USECS_PER_MINUTE
#define CLOCKS_APART USECS_PER_MINUTE

/*
 * mdb_mark_is_good - has it been so since the row was made that writers do write samples down?
 */
bool
mdb_mark_is_good(Oid relid)
{
	TimestampTz until, ticked;

	return mdb_watch_mark_read(relid, &until, &ticked) && GetCurrentTimestamp() < until - CLOCKS_APART;
}

/*
 * mdb_mark_begin - have writers write samples down; true if they all know by what is committed.
 */
bool
mdb_mark_begin(MdbFollowed *f, Relation rel)
{
	FullTransactionId own = GetTopFullTransactionIdIfAny();
	TimestampTz now = GetCurrentTimestamp();

	if (f->marked)
		return true;
	/* A row that this transaction has written is not committed. */
	if (f->marked_by != 0 && FullTransactionIdIsValid(own) && U64FromFullTransactionId(own) == f->marked_by)
		return false;
	if (f->marked_by != 0 && mdb_mark_is_good(f->relid))
	{
		f->marked = true;
		f->renew_at = now + RENEW_SOON;
		return true;
	}
	mdb_watch_mark_write(f->relid, now + MARK_FOR, DT_NOBEGIN);
	CacheInvalidateRelcache(rel);
	f->marked_by = U64FromFullTransactionId(GetTopFullTransactionId());
	return false;
}

/* Samples are missing: what rules have is worth nothing. */
static void
begin_anew(MdbFollowed *f)
{
	HASH_SEQ_STATUS seq;
	MdbFollowedRule *r;

	hash_seq_init(&seq, f->rules);
	while ((r = hash_seq_search(&seq)) != NULL)
		mdb_windows_delete(r->id);
	mdb_followed_restart(f);
}

/*
 * mdb_mark_renew - put the time off, if it is time; ticked: the lowest of the rules' last ticks.
 */
void
mdb_mark_renew(MdbFollowed *f, TimestampTz now, TimestampTz ticked)
{
	if (!f->marked || now < f->renew_at)
		return;
	if (!mdb_mark_is_good(f->relid))
	{
		begin_anew(f);
		return;
	}
	mdb_watch_mark_write(f->relid, now + MARK_FOR, ticked);
	f->renew_at = now + RENEW_EVERY;
}

/*
 * mdb_mark_writers_know - has everybody ended who has locked the table before he could know of a rule?
 *
 * The first time it is asked, which is when what they should know of is committed, it is found who these are.
 */
bool
mdb_mark_writers_know(MdbFollowedRule *r, MdbFollowed *f)
{
	int left = 0;

	if (r->state == MDB_FOLLOW_NEW)
	{
		LOCKTAG tag;
		VirtualTransactionId *holders;
		int n;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, f->relid);
		holders = GetLockConflicts(&tag, ShareLock, &n);
		if (n > 0)
		{
			r->waits_for = MemoryContextAlloc(f->mcxt, sizeof(VirtualTransactionId) * n);
			memcpy(r->waits_for, holders, sizeof(VirtualTransactionId) * n);
		}
		r->nwaits = n;
		r->state = MDB_FOLLOW_WAITING;
	}
	for (int i = 0; i < r->nwaits; i++)
		if (!VirtualXactLock(r->waits_for[i], false))
			r->waits_for[left++] = r->waits_for[i];
	r->nwaits = left;
	return left == 0;
}
