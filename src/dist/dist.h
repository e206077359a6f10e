/*
 * dist.h
 *	  Distributed tables: what the files of this folder share.  See README.md for the words.
 */
#ifndef MDB_DIST_H
#define MDB_DIST_H

#include "access/tupdesc.h"
#include "commands/explain.h"
#include "nodes/execnodes.h"
#include "nodes/extensible.h"
#include "nodes/pathnodes.h"
#include "portability/instr_time.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "libpq-fe.h"
#include "store/elsewhere.h"

/* ---- nodes.c: the catalog ---- */

typedef struct MdbNode
{
	char *name;
	char *shard;
	int32 replica;
	bool draining;
	bool own_server; /* add_node() made it */
	char *state;     /* see MDB_NODE_WHOLE */
	Oid server;      /* InvalidOid: it is gone */
} MdbNode;

/* What a node is worth: has all of its shard; is getting it; is out of reach, and gets nothing. */
#define MDB_NODE_WHOLE   "whole"
#define MDB_NODE_JOINING "joining"
#define MDB_NODE_EVICTED "evicted"

extern bool mdb_node_is(const MdbNode *node, const char *state);

typedef struct MdbShard
{
	char *name;
	List *nodes; /* of MdbNode, those that are whole, in the order in which they are asked */
} MdbShard;

extern List *mdb_nodes(void);
extern List *mdb_all_shards(void);
extern List *mdb_shards(void);

/* ---- session.c: connections ---- */

/* Why a node did not answer. */
typedef struct MdbNodeError
{
	bool lost; /* the connection is, or could not be had: another node may be asked */
	int sqlstate;
	char *message;
	char *detail; /* NULL = none */
	char *hint;   /* NULL = none */
} MdbNodeError;

typedef enum MdbSessionState
{
	MDB_SESSION_CONNECTING,
	MDB_SESSION_SETTING_UP, /* its first statements are under way */
	MDB_SESSION_READY,
	MDB_SESSION_FAILED
} MdbSessionState;

struct MdbStream;

/* A connection to a node, as a user; lives in TopMemoryContext until it is closed. */
typedef struct MdbSession
{
	struct MdbSession *next;
	struct MdbReading *reading; /* who has it; NULL: it is free */
	MemoryContext mcxt;
	Oid server;
	Oid user;
	char *node;
	char *shard;
	uint32 server_hash; /* of the system cache, to see them change */
	uint32 mapping_hash;
	bool stale; /* they have */
	bool checks_password;
	PGconn *conn;
	MdbSessionState state;
	PostgresPollingStatusType polling;
	TimestampTz give_up;      /* connecting */
	bool patient;             /* the server's options say how long */
	bool shut;                /* was not even tried, as its breaker is open */
	TimestampTz asked_at;     /* what it was asked last, connecting included */
	MdbNodeError *error;      /* of MDB_SESSION_FAILED */
	bool alike;               /* the same versions: binary values are understood */
	bool own;                 /* was wanted for somebody alone */
	bool kept;                /* from an earlier query: it may have died meanwhile */
	bool in_xact;             /* that reads */
	bool writes;              /* in one that writes: if it does not commit it ends with the connection */
	bool unsettled;           /* the end of a transaction was sent, and its result not read */
	char *settings;           /* that it has now */
	bool orphan;              /* rows come that nobody wants any more */
	struct MdbStream *stream; /* that is being read; NULL = none */
	char *row;                /* libpq's memory, of the last row */
	bool told;                /* rows of it were used in this reading */
} MdbSession;

/* What one query, or a transaction with one snapshot, reads: of each node in one transaction. */
typedef struct MdbReading
{
	struct MdbReading *next;
	EState *estate; /* NULL: none's */
	bool whole;     /* the transaction's */
	bool insists;   /* asks nodes whose breakers are open, too */
	MemoryContextCallback callback;
} MdbReading;

extern MdbReading *mdb_reading_of(EState *estate);
extern MdbReading *mdb_reading_begin(MemoryContext mcxt);
extern void mdb_reading_end(MdbReading *r);
extern MdbSession *mdb_session_take(MdbReading *r, const MdbNode *node, Oid user, bool fresh);
extern MdbSession *mdb_session_of_shard(const MdbReading *r, const char *shard, Oid user);
extern void mdb_sessions_establish(List *sessions);
extern void mdb_session_hurry(MdbSession *s, int milliseconds);
extern void mdb_session_blame(const MdbSession *s);
extern void mdb_session_close(MdbSession *s);
extern void mdb_session_abandon(MdbSession *s);
extern void mdb_session_orphan(MdbSession *s);
extern bool mdb_session_settle(MdbSession *s);
extern void mdb_session_wait(MdbSession *s, long milliseconds);
extern void mdb_session_fail(MdbSession *s, const PGresult *res);
extern const char *mdb_session_settings(void);
extern PGresult *mdb_session_run(MdbSession *s, const char *sql);
pg_noreturn extern void mdb_node_error(const char *node, const char *shard, const MdbNodeError *e,
									   const char *sql);

/* ---- stream.c: the rows of one statement on one node ---- */

typedef enum MdbStreamState
{
	MDB_STREAM_SENT,  /* waits for the first result */
	MDB_STREAM_ROWS,  /* rows come */
	MDB_STREAM_TAIL,  /* there are no more of them, but results that say so */
	MDB_STREAM_ENDED, /* all rows were read, or drained */
	MDB_STREAM_FAILED
} MdbStreamState;

typedef enum MdbStreamEvent
{
	MDB_STREAM_ROW,
	MDB_STREAM_WAIT,
	MDB_STREAM_END,
	MDB_STREAM_ERROR /* see the session's error */
} MdbStreamEvent;

typedef struct MdbStream
{
	MdbSession *session;
	MdbStreamState state;
	bool binary;
	bool header;              /* of binary rows, is still to come */
	Tuplestorestate *drained; /* rows that had to make way for another stream */
	TupleTableSlot *drained_slot;
	uint64 rows;
	uint64 bytes;
	instr_time began;
	instr_time took; /* until the last row was here */
} MdbStream;

extern void mdb_stream_start(MdbStream *s, MdbSession *session, const char *sql, bool binary);
extern MdbStreamEvent mdb_stream_next(MdbStream *s, const char **row, int *len);
extern bool mdb_stream_discard(MdbStream *s, int64 rows, long milliseconds);
extern void mdb_stream_end(MdbStream *s);

/* How the columns of rows are read. */
typedef struct MdbRowReader
{
	TupleDesc desc;
	FmgrInfo *binary; /* receive functions */
	Oid *binary_params;
	FmgrInfo *text; /* input functions */
	Oid *text_params;
	bool binary_safe; /* values say nothing of OIDs, which differ between nodes */
} MdbRowReader;

extern MdbRowReader *mdb_row_reader(TupleDesc desc);
extern void mdb_row_read(const MdbRowReader *r, const MdbStream *s, const char *row, int len, Datum *values,
						 bool *isnull);

/* ---- ask.c: one statement to a node of each shard ---- */

/* A shard's part in an answer. */
typedef struct MdbPiece
{
	MdbShard *shard;
	int tried;     /* nodes of it that were */
	bool fresh;    /* the last of them with a connection of its own */
	bool finished; /* has no more rows, or is done without */
	MdbStream stream;
	Datum *values;
	bool *isnull;
	MemoryContext row_mcxt;
	char *node;  /* that answers */
	uint64 rows; /* of all starts, as are the following */
	uint64 bytes;
	double milliseconds;
} MdbPiece;

typedef struct MdbAsking
{
	EState *estate; /* of the query that asks; NULL: none */
	Oid user;       /* as whom nodes are asked */
	MdbRowReader *reader;
	MdbReading *reading;
	MemoryContext keep; /* as long as there are starts */
	MemoryContext mcxt; /* of one start */
	const char *sql;
	bool started;
	int npieces;
	MdbPiece *pieces;
	int next; /* the piece that is looked at next */
	bool registered;
	MemoryContextCallback callback;
} MdbAsking;

extern void mdb_asking_init(MdbAsking *a, EState *estate, Oid user, TupleDesc desc);
extern void mdb_asking_start(MdbAsking *a, const char *sql);
extern MdbPiece *mdb_asking_next(MdbAsking *a);
extern bool mdb_asking_await(MdbAsking *a, MdbPiece *piece);
extern void mdb_asking_stop(MdbAsking *a, bool goes_on);
extern void mdb_ask_nodes(const char *sql, TupleDesc desc, MdbRowCallback callback, void *arg);

/* ---- shippable.c: what nodes may be asked ---- */

/*
 * Expressions that the coordinator evaluates when a scan starts: in a query for nodes the Param of kind PARAM_EXTERN and
 * number i stands for the i-th.
 */
typedef struct MdbShipping
{
	PlannerInfo *root; /* NULL: before planning, when only the answer counts */
	Index rti;         /* of the distributed table */
	List *folded;      /* expressions */
} MdbShipping;

extern Node *mdb_ship(MdbShipping *s, Node *expr);

/* ---- remote.c: the query for the nodes ---- */

extern bool mdb_ship_conditions(MdbShipping *s, RelOptInfo *rel, List **shipped, List **kept);
extern Query *mdb_remote_query(MdbShipping *s, List *targets, List *conditions);
extern Node *mdb_limit_and_offset(const Query *parse);
extern Node *mdb_ship_limit(MdbShipping *s, const Query *parse);
extern char *mdb_remote_sql(Query *query, List *values);
extern int mdb_fix_settings(void);
extern char *mdb_remote_condition(Relation rel, List *clauses);

/* ---- scan_plan.c, scan_exec.c: MetricsNodes ---- */

/* custom_private of the plan. */
typedef enum MdbDistPrivate
{
	MDB_DIST_QUERY,   /* Query; PARAM_EXTERN are custom_exprs */
	MDB_DIST_NUMBERS, /* list of int: see MdbDistNumber */
	MDB_DIST_SORT,    /* list of lists of int: column, nulls first */
	MDB_DIST_SORTOPS, /* operators, OIDs */
	MDB_DIST_COLLATIONS,
	MDB_DIST_USER /* list of one OID: as whom the table is read; InvalidOid: as who executes the plan */
} MdbDistPrivate;

typedef enum MdbDistNumber
{
	MDB_DIST_COLUMNS, /* how many columns nodes send */
	MDB_DIST_WHOLE,   /* which one behind them is the whole row; 0 = none */
	MDB_DIST_TABLEOID /* and which the table's OID */
} MdbDistNumber;

extern const CustomScanMethods mdb_dist_scan_methods;
extern void mdb_dist_explain(CustomScanState *node, List *ancestors, ExplainState *es);

typedef struct MdbDistState
{
	CustomScanState css;
	Query *query;
	List *values; /* of ExprState */
	List *plain;  /* whether each may be evaluated to be shown, list of int */
	MdbAsking ask;
	int ncolumns;
	int whole;
	int tableoid;
	List *sort; /* the plan's lists */
	List *sortops;
	List *collations;
	char *sql;
	struct SortSupportData *keys; /* NULL: rows come as they come */
	int nkeys;
	struct binaryheap *heap;
	int top; /* merging: the piece whose row was returned last; -1 = none */
} MdbDistState;

extern char *mdb_dist_shown_sql(MdbDistState *state);

/* ---- narrow.c: joins with small tables ---- */

extern void mdb_dist_narrow(Query *query);

/* ---- push.c: groups of nodes ---- */

extern void mdb_dist_push(Query *query, ParamListInfo params);
extern bool mdb_is_group_of_nodes(const RangeTblEntry *rte);

/* ---- limits.c ---- */

extern void mdb_limit_queries(void);
extern void mdb_limits_init(void);

/* ---- sample.c: statistics ---- */

extern double mdb_known_rows(Oid relid);
extern double mdb_dist_sample(Relation rel, int rows, MdbRowCallback callback, void *arg);
extern void mdb_dist_sample_init(void);

/* ---- change.c, schema.c: tables on nodes follow those here ---- */

extern void mdb_refuse_changed(void);
extern void mdb_dist_options(Oid relid);
extern void mdb_schema_init(void);

/* ---- write.c ---- */

extern void mdb_dist_refuse_unsent(void);

/* ---- missing.c ---- */

extern bool mdb_partial_results;

/* metricsdb.distributed_tables */
extern bool mdb_dist_enabled;
extern void mdb_missing_init(void);
extern void mdb_missing_note(const char *shard);

#endif /* MDB_DIST_H */
