/*
 * target.h
 *	  A target of alerts: its row in metricsdb.alert_target, read and checked.
 */
#ifndef MDB_DELIVER_TARGET_H
#define MDB_DELIVER_TARGET_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#include "deliver/http.h"

typedef enum MdbTargetKind
{
	MDB_TARGET_ALERTMANAGER,
	MDB_TARGET_WEBHOOK,
	MDB_TARGET_NOTIFY
} MdbTargetKind;

typedef struct MdbAlertTarget
{
	int32 id;
	char *name;
	Oid owner;
	MdbTargetKind kind;
	int nurls;
	char **urls;      /* as tables have them; NOTIFY: the channel */
	char *secret_url; /* what urls[0] stands for, or NULL */
	bool running;     /* enabled, and at home */
	MdbHttpSettings http;
	int parallel;         /* requests at a time to one URL */
	int64 repeat;         /* microseconds after which what fires is told again; 0 = it is not */
	char *generator_url;  /* told with each alert, or NULL */
	char *hmac_key;       /* NULL = no signature */
	List *headers;        /* "Name: value" */
	List *secrets;        /* texts that no message may have */
	bool has_credentials; /* something is sent that nobody else should read */
} MdbAlertTarget;

/*
 * mdb_target_kind - by name; an error if there is none of that name.
 */
extern MdbTargetKind mdb_target_kind(const char *name);

/*
 * mdb_target_parse - fill *target from what was said about it; in the current memory context.  options and secrets may
 * be NULL.  role is whose rights decide what it may name.  Raises errors about what is not allowed.
 */
extern void mdb_target_parse(MdbAlertTarget *target, MdbTargetKind kind, int nurls, char **urls,
							 Jsonb *options, Jsonb *secrets, Oid role);

/* mdb_target_load - in the current memory context; SPI need not be connected.  NULL if it is gone. */
extern MdbAlertTarget *mdb_target_load(int32 id);

/* mdb_target_url - where to send to: the nth URL, in full. */
extern const char *mdb_target_url(const MdbAlertTarget *target, int n);

/* mdb_target_hide - a text of others, with the target's secrets taken out. */
extern char *mdb_target_hide(const MdbAlertTarget *target, const char *text);

/* mdb_texts - the elements of a text[], or none of NULL.  Nulls among them are an error. */
extern char **mdb_texts(ArrayType *array, int *n);

#endif /* MDB_DELIVER_TARGET_H */
