/*
 * deliver_internal.h
 *	  What the files of this folder share.
 */
#ifndef MDB_DELIVER_INTERNAL_H
#define MDB_DELIVER_INTERNAL_H

/* ---- settings.c ---- */

/* mdb_deliver_enter - this process is the sender of its database; undone at its exit. */
extern void mdb_deliver_enter(void);

#endif /* MDB_DELIVER_INTERNAL_H */
