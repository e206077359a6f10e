/*
 * fingerprint.h
 *	  A hash of a series that is had from the bytes of a point in a fraction of the time of reading them in full.
 *
 * Equal series have equal fingerprints, in whatever order their tags come; unequal ones differ but for chance.
 * So a set of fingerprints can say that a series is not in it, and nothing else.  Plain C, as proto.h.
 */
#ifndef MDB_FINGERPRINT_H
#define MDB_FINGERPRINT_H

#include "ingest/proto.h"

typedef struct MdbFingerprint
{
	uint64_t hash;
	MdbProtoBytes name;
	MdbProtoBytes tags; /* what follows the name */
} MdbFingerprint;

/*
 * mdb_fingerprint_key - of a key that mdb_proto_metric returned.  False: it is written in a way that only
 * mdb_proto_series understands, or refuses.  True: mdb_proto_series would take it.
 */
extern bool mdb_fingerprint_key(MdbProtoBytes key, MdbFingerprint *fingerprint);

/* mdb_fingerprint_tag - the value of a tag, after mdb_fingerprint_key; false if it is not there. */
extern bool mdb_fingerprint_tag(const MdbFingerprint *fingerprint, MdbProtoBytes tag, MdbProtoBytes *value);

/*
 * mdb_fingerprint_begin, mdb_fingerprint_add - the fingerprint of a series that is known by name and tags: what
 * begin gives for the name, to which what add gives for each tag is added.
 */
extern uint64_t mdb_fingerprint_begin(MdbProtoBytes name);
extern uint64_t mdb_fingerprint_add(MdbProtoBytes key, MdbProtoBytes value);

#endif /* MDB_FINGERPRINT_H */
