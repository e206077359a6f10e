/*
 * directory_cache.c
 *	  Directories of parts that this process has read, decoded, so that the next query need not.
 *
 * What a part's directory holds never changes, so it is true for ever; which parts there are is read anew by
 * each query.  Vectors of columns and statistics are added when they are first wanted.  What is in use stays,
 * of the others those that were used last, as far as metricsdb.directory_cache has room.
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "store/store.h"

typedef struct PartKey
{
	int64 storage_id;
	int64 part_id;
} PartKey;

struct MdbDirectory
{
	MdbPart *part; /* as it was read; has no relation any more */
	PartKey key;
	Size bytes; /* as last weighed */
	int pins;
	bool known;      /* is in the table of directories */
	dlist_node node; /* of those that are not in use, the last one first */
};

typedef struct CacheEntry
{
	PartKey key;
	MdbDirectory *directory;
} CacheEntry;

static HTAB *directories = NULL;
static MemoryContext cache_mcxt = NULL;
static dlist_head unused = DLIST_STATIC_INIT(unused);
static Size total_bytes = 0;

static void
forget(MdbDirectory *d)
{
	if (d->known)
		(void) hash_search(directories, &d->key, HASH_REMOVE, NULL);
	d->known = false;
}

static void
drop(MdbDirectory *d)
{
	forget(d);
	total_bytes -= d->bytes;
	MemoryContextDelete(d->part->mcxt);
}

/* Somebody lets go of a part, or an error makes him. */
static void
unpin(void *arg)
{
	MdbDirectory *d = arg;
	Size bytes = MemoryContextMemAllocated(d->part->mcxt, true);

	total_bytes += bytes - d->bytes;
	d->bytes = bytes;
	if (--d->pins > 0)
		return;
	if (d->known)
		dlist_push_head(&unused, &d->node);
	else
		drop(d);
	while (total_bytes > mdb_directory_cache * (Size) 1024 && !dlist_is_empty(&unused))
	{
		d = dlist_tail_element(MdbDirectory, node, &unused);
		dlist_delete(&d->node);
		drop(d);
	}
}

/* A part for one user, which shares what the directory holds. */
static MdbPart *
part_of(MdbDirectory *d, Relation rel, const MdbPartInfo *info)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb part", ALLOCSET_SMALL_SIZES);
	MdbPart *part = MemoryContextAlloc(mcxt, sizeof(MdbPart));
	MemoryContextCallback *callback = MemoryContextAllocZero(mcxt, sizeof(MemoryContextCallback));

	*part = *d->part;
	part->mcxt = mcxt;
	part->rel = rel;
	part->info = *info;
	part->shared = d;
	part->scratch = NULL;
	part->scratch_size = 0;
	part->bytes_read = 0;
	callback->func = unpin;
	callback->arg = d;
	if (d->pins++ == 0 && d->known)
		dlist_delete(&d->node);
	MemoryContextRegisterResetCallback(mcxt, callback);
	return part;
}

/*
 * mdb_part_open_cached - mdb_part_open(), for those who are likely to come again.
 */
MdbPart *
mdb_part_open_cached(Relation rel, const MdbPartInfo *info)
{
	PartKey key = {.storage_id = info->storage_id, .part_id = info->part_id};
	CacheEntry *entry;
	MdbDirectory *d;
	MdbPart *part;
	uint64 bytes_read;

	if (directories == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(PartKey), .entrysize = sizeof(CacheEntry)};

		cache_mcxt = AllocSetContextCreate(TopMemoryContext, "metricsdb directories", ALLOCSET_DEFAULT_SIZES);
		ctl.hcxt = cache_mcxt;
		directories = hash_create("metricsdb directories", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(directories, &key, HASH_FIND, NULL);
	if (entry)
	{
		const MdbPartInfo *known = &entry->directory->part->info;

		/* It may have been moved, but is the same. */
		if (known->checksum == info->checksum && known->nbytes == info->nbytes &&
			known->nrows == info->nrows && known->nblocks == info->nblocks &&
			known->row_first == info->row_first && known->format == info->format)
			return part_of(entry->directory, rel, info);
	}
	part = mdb_part_open(rel, info);
	if (entry)
		return part;
	d = MemoryContextAllocZero(part->mcxt, sizeof(MdbDirectory));
	d->part = part;
	d->key = key;
	entry = hash_search(directories, &key, HASH_ENTER, NULL);
	entry->directory = d;
	d->known = true;
	dlist_push_head(&unused, &d->node);
	MemoryContextSetParent(part->mcxt, cache_mcxt);
	bytes_read = part->bytes_read;
	part = part_of(d, rel, info);
	part->bytes_read = bytes_read;
	return part;
}

/*
 * mdb_directory_forget - what is in a part's directory is damaged: who comes next reads it anew.
 */
void
mdb_directory_forget(MdbDirectory *d)
{
	forget(d);
}
