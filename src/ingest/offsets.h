/*
 * offsets.h
 *	  metricsdb.kafka_offset and metricsdb.kafka_dead_letter: how far a source has come.
 *
 * All functions run within the caller's transaction and snapshot.
 */
#ifndef MDB_OFFSETS_H
#define MDB_OFFSETS_H

#include "postgres.h"

#include "ingest/intake.h"

/* mdb_offsets_load - the source's partitions, ordered; into CurrentMemoryContext. */
extern int mdb_offsets_load(int32 source_id, MdbPartition **partitions);

/* mdb_offsets_add - a partition not known before; nothing if it is by now. */
extern void mdb_offsets_add(int32 source_id, int32 partition, int64 next_offset);

/*
 * mdb_offsets_advance - move every partition that the batch touched from next_offset to position
 * and add its counts.  An error, if not all of them were at next_offset: somebody else moved the
 * source, and what the batch holds must not be stored.
 */
extern void mdb_offsets_advance(int32 source_id, int n, const MdbPartition *partitions);

/*
 * mdb_offsets_within - may the batch be stored, as far as ends of epochs are known?  Otherwise it has more of a partition
 * than is ours by now.
 */
extern bool mdb_offsets_within(int32 source_id, int n, const MdbPartition *partitions);

/*
 * mdb_offsets_follow - of an assigned source: go on to the next epoch of each partition that has finished the one before,
 * or has had none (assign.c).
 */
extern void mdb_offsets_follow(int32 source_id);

/* mdb_offsets_stall - note that a partition is not read, and why. */
extern void mdb_offsets_stall(int32 source_id, const MdbPartition *partition, const char *reason);

/* mdb_offsets_skip - move a partition over a gap to a new next_offset, and count the gap. */
extern void mdb_offsets_skip(int32 source_id, const MdbPartition *partition, int64 to);

/* mdb_offsets_dead_letters - store the batch's dead letters. */
extern void mdb_offsets_dead_letters(const MdbSource *source, const MdbIntake *batch,
									 const MdbPartition *partitions);

#endif /* MDB_OFFSETS_H */
