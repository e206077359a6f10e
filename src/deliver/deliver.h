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

#endif /* MDB_DELIVER_H */
