/*
 * deliver.h
 *	  Telling targets what the outbox has: what others need of it.
 */
#ifndef MDB_DELIVER_H
#define MDB_DELIVER_H

#include "postgres.h"

/* metricsdb.alert_resend_delay, milliseconds: an alert that fires is told again so often */
extern int mdb_alert_resend_delay;

/* metricsdb.alert_resolved_retention, seconds: one that was resolved is told so for so long */
extern int mdb_alert_resolved_retention;

/*
 * mdb_deliver_wake_at_commit - the current transaction has written to the outbox, or has changed a target: the sender
 * of this database looks when it has committed.  (A trigger on the outbox calls it, too.)
 */
extern void mdb_deliver_wake_at_commit(void);

/* mdb_deliver_wanted - is there a target that is to be told anything?  Called in a transaction with a snapshot. */
extern bool mdb_deliver_wanted(void);

/*
 * mdb_deliver_prune - delete of the outbox what was told to each URL for long enough, or could not be told for a day.
 * The sender does; where none is wanted, as targets are disabled or this is a copy, the alert worker.  In a transaction
 * with a snapshot, with the search_path of a worker.
 */
extern void mdb_deliver_prune(void);

/*
 * mdb_deliver_step - one round of the sender, which is the caller's whole business: tells what is due, and waits until
 * there is something to do, for a second at most.  False if there is no target that is to be told anything.
 *
 * Called outside a transaction, in a memory context that is reset between rounds.  After an error, and when the sender
 * is to do something else, mdb_deliver_reset() forgets all that is in memory.
 */
extern bool mdb_deliver_step(void);
extern void mdb_deliver_reset(void);

#endif /* MDB_DELIVER_H */
