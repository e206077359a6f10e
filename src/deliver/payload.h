/*
 * payload.h
 *	  What each kind of target is told, as text.
 */
#ifndef MDB_DELIVER_PAYLOAD_H
#define MDB_DELIVER_PAYLOAD_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "deliver/outbox.h"

/* json.c */

typedef struct MdbLabel
{
	char *name;
	char *value;
} MdbLabel;

/* mdb_payload_labels - the pairs of an object whose values are scalars and not empty, in a fixed order. */
extern int mdb_payload_labels(const Jsonb *object, MdbLabel **labels);

extern void mdb_payload_string(StringInfo out, const char *text);
extern void mdb_payload_time(StringInfo out, TimestampTz at);
extern void mdb_payload_object(StringInfo out, int n, const MdbLabel *labels);

/* mdb_payload_utf8 - the payload as it is sent. */
extern char *mdb_payload_utf8(StringInfo payload);

/* mdb_payload_key - the key of an alert in hexadecimal digits. */
extern char *mdb_payload_key(const MdbAlert *alert);

/* alertmanager.c, webhook.c, notify.c: palloc'd, UTF-8 but for NOTIFY, which is told in the database's encoding */
extern char *mdb_payload_alertmanager(const MdbAlertTarget *target, int n, const MdbAlert *alerts);
extern char *mdb_payload_webhook(const MdbAlertTarget *target, const MdbAlert *alert);
extern List *mdb_webhook_headers(const MdbAlertTarget *target, const MdbAlert *alert, const char *body);
extern char *mdb_payload_notify(const MdbAlertTarget *target, const MdbAlert *alert);

#endif /* MDB_DELIVER_PAYLOAD_H */
