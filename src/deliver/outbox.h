/*
 * outbox.h
 *	  What is to be told, and what was: metricsdb.alert_outbox, and metricsdb.alert_sent.
 *
 * All functions are called by the sender, whose search_path is pg_catalog, in a transaction with a snapshot; SPI need
 * not be connected.  None waits for who changes a target or the outbox.
 */
#ifndef MDB_DELIVER_OUTBOX_H
#define MDB_DELIVER_OUTBOX_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "deliver/target.h"

/* Which alert: a row of the outbox of a target. */
typedef struct MdbAlertKey
{
	int32 rule_id;
	bool alone; /* it was refused before, so it goes without company */
	bytea *key;
} MdbAlertKey;

/* What is to be told of it. */
typedef struct MdbAlert
{
	MdbAlertKey id;
	char *rule;
	bool firing;
	Jsonb *labels;
	Jsonb *annotations;
	double value;
	bool no_value;
	TimestampTz starts_at;
	TimestampTz ends_at; /* firing: when a receiver that hears no more may take it for resolved */
	int64 seq;
} MdbAlert;

/* What came of telling it. */
typedef enum MdbTold
{
	MDB_TOLD,
	MDB_NOT_TOLD, /* is tried again */
	MDB_REFUSED   /* by what it says; is tried again seldom, and alone */
} MdbTold;

/*
 * mdb_outbox_due - up to n alerts that are to be told to a URL of a target now, those that never failed first, then
 * as they were queued.  In the current memory context.
 */
extern int mdb_outbox_due(const MdbAlertTarget *target, const char *url, int n, MdbAlertKey **keys);

/* mdb_outbox_read - what is to be told of n alerts, as of now; those that are gone are left out. */
extern int mdb_outbox_read(const MdbAlertTarget *target, int n, const MdbAlertKey *keys, MdbAlert **alerts);

/* mdb_outbox_record - what came of telling n alerts to a URL.  False: the target is gone, or going. */
extern bool mdb_outbox_record(const MdbAlertTarget *target, const char *url, int n, const MdbAlert *alerts,
							  MdbTold told, const char *error);

/* mdb_outbox_receiver - how a URL does: error is NULL if something was told to it just now. */
extern void mdb_outbox_receiver(int32 target, const char *url, int failures, TimestampTz retry_at,
								const char *error);

#endif /* MDB_DELIVER_OUTBOX_H */
