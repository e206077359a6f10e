/*
 * admin.h
 *	  Nodes and distributed tables as they are administered: what nodes.c, distribute.c and status.c share.
 */
#ifndef MDB_DIST_ADMIN_H
#define MDB_DIST_ADMIN_H

#include "dist/dist.h"

/* ---- nodes.c ---- */

extern uint64 mdb_run_sql(const char *sql);

/* ---- distribute.c ---- */

extern void mdb_prepare_nodes(List *nodes, List *tables);
extern void mdb_check_empty(const MdbNode *node, List *tables);
extern char *mdb_table_name(Oid relid);

#endif /* MDB_DIST_ADMIN_H */
