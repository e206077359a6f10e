/*
 * worker.h
 *	  The frame that all background workers share, and the register of those that run.
 */
#ifndef MDB_WORKER_H
#define MDB_WORKER_H

#include "postgres.h"
#include "datatype/timestamp.h"

typedef enum MdbWorkerKind
{
	MDB_WORKER_LAUNCHER,    /* one a server */
	MDB_WORKER_MAINTAINER,  /* one a database that has the extension */
	MDB_WORKER_KAFKA,       /* one a Kafka source */
	MDB_WORKER_ROLLUP,      /* one a database that has continuous aggregates */
	MDB_WORKER_ALERT,       /* one a database that has rules */
	MDB_WORKER_ALERT_SENDER /* one a database that has targets of alerts */
} MdbWorkerKind;

/* metricsdb.workers */
extern bool mdb_workers_enabled;

/*
 * mdb_worker_present - is there such a worker, running or about to?  source_id 0 = any kind but
 * Kafka workers.
 */
extern bool mdb_worker_present(MdbWorkerKind kind, Oid database, int32 source_id);

/*
 * mdb_worker_start - start one.  False if that is not possible now: no slot of the server's
 * max_worker_processes is free, or the database is being left.
 */
extern bool mdb_worker_start(MdbWorkerKind kind, Oid database, int32 source_id, const char *name);

/*
 * mdb_worker_make_room - does another database lack a maintainer, because no worker process is free?
 * Says yes to one who asks, who then leaves.
 */
extern bool mdb_worker_make_room(void);

/*
 * mdb_worker_begin - first thing in a worker's main function: signal handlers, the register, the
 * connection and its settings.  Returns the source id.  slot is the main function's argument.
 */
extern int32 mdb_worker_begin(MdbWorkerKind kind, Datum slot);

/* mdb_worker_wait - sleep until the latch is set or ms have passed; takes up new settings. */
extern void mdb_worker_wait(long ms);

/*
 * mdb_worker_recover - after an error was caught in a worker's loop: report it and get back to a
 * clean state outside any transaction.
 */
extern void mdb_worker_recover(MemoryContext context);

/*
 * mdb_worker_rounds - the life of a worker whose work is step(): it returns how many milliseconds to wait, or -1 if there
 * is nothing to do for it any more.  recover(), if not NULL, is called after an error.  activity is what
 * pg_stat_activity shows.  gives_way: it leaves if it has to wait and another database lacks a maintainer.
 */
extern void mdb_worker_rounds(MdbWorkerKind kind, Datum slot, const char *activity, long (*step)(void),
							  void (*recover)(void), bool gives_way);

/* mdb_worker_backoff - milliseconds to wait after so many failures in a row: 1 s to 2 min. */
extern long mdb_worker_backoff(int failures);

/*
 * mdb_workers_leave - make all workers leave a database, and start none there for a while:
 * somebody wants to drop it, or needs it alone.
 */
extern void mdb_workers_leave(Oid database);

/*
 * mdb_workers_wake - make the launcher look at all databases anew, this one included even if it was
 * being left; mdb_workers_wakes - a count that each wake raises.
 */
extern void mdb_workers_wake(void);
extern uint32 mdb_workers_wakes(void);

/* hooks.c */
extern void mdb_worker_hooks_init(void);

/* launcher.c, maintainer.c, kafka_worker.c, rollup_worker.c, alert_worker.c, alert_sender.c */
extern PGDLLEXPORT void mdb_launcher_main(Datum arg);
extern PGDLLEXPORT void mdb_maintainer_main(Datum arg);
extern PGDLLEXPORT void mdb_kafka_worker_main(Datum arg);
extern PGDLLEXPORT void mdb_rollup_worker_main(Datum arg);
extern PGDLLEXPORT void mdb_alert_worker_main(Datum arg);
extern PGDLLEXPORT void mdb_alert_sender_main(Datum arg);

#endif /* MDB_WORKER_H */
