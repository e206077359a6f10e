/*
 * write.h
 *	  Rows that are inserted into distributed tables here: what write.c, write_send.c and recover.c share.
 */
#ifndef MDB_DIST_WRITE_H
#define MDB_DIST_WRITE_H

#include "utils/tuplestore.h"

#include "dist/dist.h"

/* Rows of one table that one subtransaction has inserted, as lines of COPY. */
typedef struct MdbWritten
{
	struct MdbWritten *next;
	Oid relid;
	SubTransactionId subid;
	Oid user; /* as whom nodes are written to */
	MemoryContext mcxt;
	char *copy;            /* the statement for nodes */
	Tuplestorestate *rows; /* hash of the series, line; NULL: they are sent */
	TupleDesc desc;        /* of rows */
} MdbWritten;

/* ---- write.c ---- */

extern bool mdb_distributed_writes;
extern void mdb_dist_write_init(void);
extern char *mdb_write_copy(Relation rel, bool out);
extern bool mdb_is_written(Form_pg_attribute att);

/* ---- write_send.c ---- */

extern void mdb_write_check(const char *table);
extern void mdb_write_send(MdbWritten *list);
extern bool mdb_write_pending(void);
extern MdbSession *mdb_sending_join(const MdbNode *node);
extern void mdb_sending_line(const MdbWritten *w, uint64 hash, const char *line, int len);
extern void mdb_sending_end(const MdbWritten *w);
extern void mdb_write_committed(void);
extern void mdb_write_aborted(void);

/* ---- move.c ---- */

extern void mdb_move_shard(const MdbNode *node);

/* ---- recover.c ---- */

extern char *mdb_dist_gid_prefix(void);
extern void mdb_refuse_prepared(MdbSession *s);
extern void mdb_dist_log(const char *gid, List *nodes);
extern void mdb_dist_recover_init(void);

#endif /* MDB_DIST_WRITE_H */
