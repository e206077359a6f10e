/*
 * metricsdb.h
 *	  What every module of the extension shares: the start-up functions of the modules, called
 *	  once by _PG_init in the order of their dependencies.
 */
#ifndef METRICSDB_H
#define METRICSDB_H

#define MDB_SCHEMA        "metricsdb"
#define MDB_AM_NAME       "metricsdb"
#define MDB_EXTENSION     "metricsdb"
#define MDB_PROXY_AM_NAME "metricsdb_proxy"

extern void mdb_store_init(void);        /* src/store: settings of the part store */
extern void mdb_series_init(void);       /* src/series: follows transactions */
extern void mdb_guard_init(void);        /* src/series: settings of the cardinality guard */
extern void mdb_write_init(void);        /* src/write: follows transactions */
extern void mdb_am_init(void);           /* src/am: hooks of the access method */
extern void mdb_exec_init(void);         /* src/exec: planner hook, MetricsScan */
extern void mdb_route_init(void);        /* src/rollup: planner hook, routing and policies */
extern void mdb_admin_init(void);        /* src/admin: table options, security label provider */
extern void mdb_rollup_init(void);       /* src/rollup: commands about continuous aggregates */
extern void mdb_ingest_init(void);       /* src/ingest: settings of Kafka ingestion */
extern void mdb_time_init(void);         /* src/alert: settings of watermarks */
extern void mdb_apply_init(void);        /* src/rollup: settings of its worker */
extern void mdb_dist_init(void);         /* src/dist: hooks of the planner, MetricsNodes */
extern void mdb_deliver_init(void);      /* src/deliver: settings, who is woken */
extern void mdb_alert_init(void);        /* src/alert: sees tables go that rules watch */
extern void mdb_alert_worker_init(void); /* src/alert: settings of its worker */
extern void mdb_gather_init(void);       /* src/alert: follows writers of tables that rules watch */
extern void mdb_workers_init(void);      /* bgworkers: settings, launcher */

/*
 * mdb_compact_step - background work in the current database for about a second: merges of sets of
 * parts, deltas moved into parts, pages given back, one table after the other.  Called outside a
 * transaction; runs its own.  True if there was something to do, and there may be more.  bgworkers/
 * calls it.
 */
extern bool mdb_compact_step(void);

/*
 * mdb_on_relation_change - from now on in this process, call back whenever a relation's definition changed; with
 * InvalidOid if any relation's may have.  As often as there are modules; each calls it once.  What is called must
 * neither fail nor look at catalogs.
 */
typedef void (*MdbRelationChanged)(Oid relid);
extern void mdb_on_relation_change(MdbRelationChanged callback);

/*
 * mdb_dist_recover_step - in a worker, outside a transaction: if it is time, end transactions on nodes that were left
 * prepared.  bgworkers/ calls it.
 */
extern void mdb_dist_recover_step(void);

/*
 * mdb_home - what tells this database from a restored copy of it: system identifier and oid.
 */
extern const char *mdb_home(void);

/*
 * mdb_execute_own - run one fixed statement about our own tables, with the rights of their owner, in the caller's SPI
 * connection; returns rows touched.  nulls as for SPI_execute_with_args(), may be NULL.  An error gives the rights
 * back by itself: ending the (sub)transaction restores the user.
 */
extern uint64 mdb_execute_own(const char *sql, int nargs, Oid *types, Datum *args, const char *nulls);

/*
 * mdb_query_own_now - the same for a SELECT, of what is committed at this moment, be the transaction's snapshot older.
 */
extern uint64 mdb_query_own_now(const char *sql, int nargs, Oid *types, Datum *args);

/*
 * mdb_dist_count_step - in a worker, outside a transaction: if it is time, ask nodes how many rows distributed tables have.
 * bgworkers/ calls it.
 */
extern void mdb_dist_count_step(void);

#endif /* METRICSDB_H */
