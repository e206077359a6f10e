/*
 * layout.h
 *	  The bytes of a part, shared by its writer and its reader.  README.md draws them.
 */
#ifndef MDB_LAYOUT_H
#define MDB_LAYOUT_H

#include "store/store.h"

#define MDB_DIR_MAGIC      0x4d444244 /* "MDBD" */
#define MDB_DIR_ONE_SERIES 0x0001     /* a block holds one series */
#define MDB_DIR_HAS_TIME   0x0002

#define MDB_DIR_GROUP      4096 /* values in one chunk of a directory vector */
#define MDB_CHUNK_CRC      4    /* crc32c behind each chunk */

/* Head of the directory; vectors of the blocks and the columns' descriptors follow. */
typedef struct MdbDirHeader
{
	uint32 magic;
	uint16 format;
	uint16 flags;
	uint32 nblocks;
	uint32 ncolumns;
	int64 time_offset; /* of the regions in the payload */
	int64 series_offset;
	uint32 columns_offset; /* of the column descriptors in the directory */
	uint32 reserved;
} MdbDirHeader;

typedef struct MdbDirColumn
{
	int16 attno;
	int16 attlen;
	uint8 phys;
	uint8 flags;
	uint16 reserved;
	int64 offset;
	int64 nbytes;
	uint32 dir_offset; /* of the column's vectors in the directory */
	uint32 dir_len;
} MdbDirColumn;

/* The last bytes of the payload. */
typedef struct MdbPartTrailer
{
	uint32 directory_len;
	uint32 directory_crc;
} MdbPartTrailer;

#endif /* MDB_LAYOUT_H */
