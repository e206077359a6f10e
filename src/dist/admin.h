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

extern void mdb_prepare_nodes(List *nodes, List *tables, bool mend);
extern void mdb_check_empty(const MdbNode *node, List *tables);
extern char *mdb_table_name(Oid relid);
extern char *mdb_column_type(Form_pg_attribute att);
extern char *mdb_column_definition(Relation rel, Form_pg_attribute att, bool with_default);

/* ---- change.c ---- */

typedef void (*MdbNodeChange)(MdbSession *s, void *arg);
extern void mdb_change_nodes(List *nodes, MdbNodeChange change, void *arg);
extern List *mdb_changing_nodes(void);
extern void mdb_change_all(const char *sql);

/* ---- schema.c ---- */

extern char *mdb_label_statement(Oid relid);

/* ---- views.c ---- */

extern bool mdb_is_view_of_nodes(Oid relid);
extern void mdb_forget_views_of_nodes(Oid table);
extern List *mdb_view_statements(Oid table);
extern bool mdb_create_view_of_nodes(Node *node);
extern bool mdb_change_view_of_nodes(Node *node);
extern PlannedStmt *mdb_drop_views_of_nodes(PlannedStmt *pstmt, List **dropped);
extern void mdb_views_of_nodes_dropped(List *dropped);

#endif /* MDB_DIST_ADMIN_H */
