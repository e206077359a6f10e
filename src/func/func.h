/*
 * func.h
 *	  Functions for queries: what C code elsewhere needs of them.
 */
#ifndef MDB_FUNC_H
#define MDB_FUNC_H

extern Datum mdb_end_serialize(Oid value_type, Datum value, bool value_null, Oid time_type, Datum time);

#endif /* MDB_FUNC_H */
