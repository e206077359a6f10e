/*
 * series_turn.h
 *	  What of a condition on series columns may be evaluated before its turn.
 */
#ifndef MDB_SERIES_TURN_H
#define MDB_SERIES_TURN_H

#include "nodes/pg_list.h"

extern bool mdb_turn_has_vars(Node *node);
extern bool mdb_turn_may_fail(Node *node);
extern bool mdb_turn_matches_pattern(Oid funcid);
extern bool mdb_turn_pattern_fails(Node *node, Node *top);
extern bool mdb_turn_pattern_is_valid(Oid funcid, Datum pattern, Oid collation);
extern bool mdb_turn_clause_may_fail(Node *clause, Index varno);

#endif /* MDB_SERIES_TURN_H */
