/*
 * deliver_internal.h
 *	  What the files of this folder share.
 */
#ifndef MDB_DELIVER_INTERNAL_H
#define MDB_DELIVER_INTERNAL_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/ilist.h"

#include "deliver/outbox.h"

/* ---- settings.c ---- */

/* mdb_deliver_enter - this process is the sender of its database; undone at its exit. */
extern void mdb_deliver_enter(void);

/* ---- receiver.c ---- */

/* Alerts that are to be told, or told together. */
typedef struct MdbBatch
{
	int count;
	int next; /* those before it are done with */
	MdbAlertKey *keys;
} MdbBatch;

/* One URL of a target, or the channel of a NOTIFY.  All of it is in memory only. */
typedef struct MdbReceiver
{
	const MdbAlertTarget *target;
	const char *url;      /* as tables have it */
	const char *full_url; /* where to send to */
	MemoryContext context;
	MdbHttp *http; /* NULL: NOTIFY */
	dlist_head shipments;
	MemoryContext packing; /* of a shipment that has not left */
	MemoryContext queue_context;
	MdbBatch queue;
	List *halves;          /* of batches that were refused: MdbBatch * */
	int failures;          /* in a row */
	TimestampTz failed_at; /* what was sent before that and fails, too, does not count */
	TimestampTz retry_at;
	TimestampTz look_at; /* for what is due */
	bool woken;          /* look before that: there is something new */
	bool passed_over;    /* something was due again that was on its way */
	TimestampTz logged_at;
} MdbReceiver;

extern MdbReceiver *mdb_receiver_create(const MdbAlertTarget *target, int nth);

/* mdb_receiver_send - take what is due, and begin to tell it.  True if there may be more at once. */
extern bool mdb_receiver_send(MdbReceiver *receiver, bool woken);

/* mdb_receiver_collect - take down what has become of what was sent. */
extern void mdb_receiver_collect(MdbReceiver *receiver);

/* mdb_receiver_failed - it could not be told: later.  In a transaction. */
extern void mdb_receiver_failed(MdbReceiver *receiver, TimestampTz began, int retry_after_s,
								const char *error);

/* ---- answer.c ---- */

typedef enum MdbVerdict
{
	MDB_GOOD,   /* it was taken */
	MDB_BAD,    /* its content was refused: others may be taken */
	MDB_TROUBLE /* the receiver cannot take any now */
} MdbVerdict;

/* mdb_answer_verdict - what an answer means, and in *why, palloc'd and without secrets, why it is no good one. */
extern MdbVerdict mdb_answer_verdict(const MdbAlertTarget *target, const MdbHttpAnswer *answer, char **why);

/* mdb_backoff_ms - how long to wait after so many failures in a row: 1 s to 5 min, by chance a little less. */
extern long mdb_backoff_ms(int failures);

#endif /* MDB_DELIVER_INTERNAL_H */
