/*
 * compat.h
 *	  Every difference between PostgreSQL 15, 16, 17 and 18 that the code meets.
 *
 * No other file but am/handler.c looks at PG_VERSION_NUM.
 */
#ifndef MDB_COMPAT_H
#define MDB_COMPAT_H

#include "postgres.h"

#include "storage/buf.h"
#include "storage/proc.h"
#include "utils/relcache.h"

#if PG_VERSION_NUM < 150000
#error "metricsdb needs PostgreSQL 15 or later"
#endif

/* PostgreSQL 16 renamed relfilenodes to relfile locators. */
#if PG_VERSION_NUM >= 160000
#include "storage/relfilelocator.h"
#define MdbRelFile                RelFileLocator
#define mdb_rel_file(rel)         ((rel)->rd_locator)
#define mdb_rel_file_space(f)     ((f).spcOid)
#define mdb_file_skips_wal(f)     RelFileLocatorSkippingWAL(f)
#define mdb_rel_file_equals(a, b) RelFileLocatorEquals(a, b)
#define MdbUpdateIndexes          TU_UpdateIndexes
#define MDB_UPDATE_ALL_INDEXES    TU_All
#define mdb_count_update(rel)     pgstat_count_heap_update(rel, false, false)
/* Reads that failed are ended with their resource owner. */
#define mdb_abort_buffer_io() ((void) 0)
#else
#include "storage/relfilenode.h"
#define MdbRelFile                RelFileNode
#define mdb_rel_file(rel)         ((rel)->rd_node)
#define mdb_rel_file_space(f)     ((f).spcNode)
#define mdb_file_skips_wal(f)     RelFileNodeSkippingWAL(f)
#define mdb_rel_file_equals(a, b) RelFileNodeEquals(a, b)
#define MdbUpdateIndexes          bool
#define MDB_UPDATE_ALL_INDEXES    true
#define mdb_count_update(rel)     pgstat_count_heap_update(rel, false)
#define mdb_abort_buffer_io()     AbortBufferIO()
#endif

/* PostgreSQL 16 made ownership checks generic. */
#if PG_VERSION_NUM >= 160000
#define mdb_owns_table(relid) object_ownercheck(RelationRelationId, (relid), GetUserId())
#define mdb_new_file(rel)     RelationSetNewRelfilenumber((rel), (rel)->rd_rel->relpersistence)
#else
#define mdb_owns_table(relid) pg_class_ownercheck((relid), GetUserId())
#define mdb_new_file(rel)     RelationSetNewRelfilenode((rel), (rel)->rd_rel->relpersistence)
#endif

/* PostgreSQL 17 keeps virtual transaction ids in a struct. */
#if PG_VERSION_NUM >= 170000
#define mdb_my_lxid() (MyProc->vxid.lxid)
#else
#define mdb_my_lxid() (MyProc->lxid)
#endif

struct IndexInfo;
struct List;

extern void mdb_index_create(Relation heap, const char *name, struct IndexInfo *info, struct List *columns,
							 Oid am, Oid tablespace, Oid opclass);
extern void mdb_heap_prune_page(Relation rel, Buffer buf);

#endif /* MDB_COMPAT_H */
