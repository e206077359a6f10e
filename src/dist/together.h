/*
 * together.h
 *	  Statements for several nodes at once, for what changes nodes.
 */
#ifndef MDB_DIST_TOGETHER_H
#define MDB_DIST_TOGETHER_H

#include "dist/dist.h"

extern PGresult **mdb_together(List *sessions, List *sqls, bool tell);
extern bool mdb_together_receive(MdbSession *s, PGresult **last);
extern void mdb_together_clear(PGresult **results, int n);
extern void mdb_together_same(List *sessions, const char *sql);
extern void mdb_together_writing(List *sessions, bool writing);

#endif /* MDB_DIST_TOGETHER_H */
