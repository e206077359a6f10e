/*
 * page_io.c
 *	  A part's payload to pages of the table's file, and back.
 *
 * Every page is a standard page: header, payload bytes, a tail in the special space that says
 * which part the page belongs to.  Pages are written through shared buffers and WAL-logged as
 * full pages, once: they never change afterwards.
 *
 * The tail is the defence against a reader whose part is gone and whose pages were taken by
 * another: it finds a foreign part id and reports "snapshot too old", not corruption.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "stop.h"
#include "store/store.h"

typedef struct MdbPageTail
{
	int64 part_id;
	uint32 page_no; /* within the part */
	uint32 magic;
} MdbPageTail;

#define MDB_PAGE_MAGIC   0x4d444250 /* "MDBP" */
#define MDB_PAGE_START   MAXALIGN(SizeOfPageHeaderData)
#define MDB_PAGE_PAYLOAD ((int64) (BLCKSZ - MDB_PAGE_START - MAXALIGN(sizeof(MdbPageTail))))

/*
 * mdb_pages_for - pages that nbytes of payload take.
 */
int64
mdb_pages_for(int64 nbytes)
{
	return (nbytes + MDB_PAGE_PAYLOAD - 1) / MDB_PAGE_PAYLOAD;
}

/* Make the file at least nblocks long. */
static void
extend_to(Relation rel, BlockNumber nblocks)
{
	if (RelationGetNumberOfBlocks(rel) >= nblocks)
		return;
	LockRelationForExtension(rel, ExclusiveLock);
	while (RelationGetNumberOfBlocks(rel) < nblocks)
	{
		CHECK_FOR_INTERRUPTS();
		ReleaseBuffer(ReadBufferExtended(rel, MAIN_FORKNUM, P_NEW, RBM_NORMAL, NULL));
	}
	UnlockRelationForExtension(rel, ExclusiveLock);
}

/*
 * mdb_pages_write - write the payload, which read hands out in order, into the part's extent.
 */
void
mdb_pages_write(Relation rel, const MdbPartInfo *info, MdbPayloadFunction read, void *state)
{
	BufferAccessStrategy strategy = info->npages > 256 ? GetAccessStrategy(BAS_BULKWRITE) : NULL;
	PGAlignedBlock payload;
	int64 left = info->nbytes;

	extend_to(rel, (BlockNumber) (info->page_first + info->npages));
	MDB_STOP("pages.extended");
	for (int32 i = 0; i < info->npages; i++)
	{
		Buffer buf;
		Page page;
		MdbPageTail *tail;
		int64 n = Min(MDB_PAGE_PAYLOAD, left);

		CHECK_FOR_INTERRUPTS();
		read(state, payload.data, n);
		left -= n;
		buf = ReadBufferExtended(rel, MAIN_FORKNUM, (BlockNumber) (info->page_first + i), RBM_ZERO_AND_LOCK,
								 strategy);
		START_CRIT_SECTION();
		page = BufferGetPage(buf);
		PageInit(page, BLCKSZ, sizeof(MdbPageTail));
		memcpy((char *) page + MDB_PAGE_START, payload.data, n);
		((PageHeader) page)->pd_lower = MDB_PAGE_START + n;
		tail = (MdbPageTail *) PageGetSpecialPointer(page);
		tail->part_id = info->part_id;
		tail->page_no = i;
		tail->magic = MDB_PAGE_MAGIC;
		MarkBufferDirty(buf);
		if (RelationNeedsWAL(rel))
			log_newpage_buffer(buf, true);
		END_CRIT_SECTION();
		UnlockReleaseBuffer(buf);
		if (i == info->npages / 2)
			MDB_STOP("pages.middle");
	}
	MDB_STOP("pages.written");
	if (strategy)
		FreeAccessStrategy(strategy);
	Assert(left == 0);
}

/*
 * mdb_page_payload - payload bytes on a page of a part.
 */
int
mdb_page_payload(const MdbPartInfo *info, int32 page_no)
{
	return (int) Min(MDB_PAGE_PAYLOAD, info->nbytes - page_no * MDB_PAGE_PAYLOAD);
}

/*
 * mdb_page_range - the pages of a part that payload bytes [offset, offset + len) lie on.
 */
void
mdb_page_range(int64 offset, int64 len, int32 *first, int32 *last)
{
	*first = (int32) (offset / MDB_PAGE_PAYLOAD);
	*last = (int32) ((offset + Max(len, 1) - 1) / MDB_PAGE_PAYLOAD);
}

/*
 * mdb_page_state - what a page of the file says of itself.
 *
 * Raises an error, as ReadBuffer() does, if the page cannot be read.
 */
void
mdb_page_state(Relation rel, BlockNumber block, BufferAccessStrategy strategy, MdbPageState *state)
{
	Buffer buf = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	Page page = BufferGetPage(buf);
	PageHeader header = (PageHeader) page;
	const MdbPageTail *tail = (const MdbPageTail *) ((char *) page + BLCKSZ - MAXALIGN(sizeof(MdbPageTail)));
	const uint64 *words = (const uint64 *) page;

	memset(state, 0, sizeof(*state));
	LockBuffer(buf, BUFFER_LOCK_SHARE);
	state->zero = true;
	for (int i = 0; i < BLCKSZ / (int) sizeof(uint64) && state->zero; i++)
		state->zero = words[i] == 0;
	state->part = tail->magic == MDB_PAGE_MAGIC;
	state->part_id = tail->part_id;
	state->page_no = tail->page_no;
	state->payload = header->pd_special == BLCKSZ - MAXALIGN(sizeof(MdbPageTail)) &&
							 header->pd_lower >= MDB_PAGE_START && header->pd_lower <= header->pd_special &&
							 PageGetPageSize(page) == BLCKSZ
						 ? (int) (header->pd_lower - MDB_PAGE_START)
						 : -1;
	UnlockReleaseBuffer(buf);
}

/* For errors of the layers below, which know the file's path only. */
static void
reading_part(void *arg)
{
	const MdbPartInfo *info = arg;

	errcontext("reading part %lld of metricsdb storage %lld", (long long) info->part_id,
			   (long long) info->storage_id);
}

/*
 * mdb_pages_read - copy payload bytes [offset, offset + len) to dst.
 *
 * Raises ERRCODE_DATA_CORRUPTED if the bytes are not there, ERRCODE_SNAPSHOT_TOO_OLD if the
 * pages belong to another part by now.
 */
void
mdb_pages_read(Relation rel, const MdbPartInfo *info, int64 offset, int64 len, char *dst)
{
	ErrorContextCallback context = {error_context_stack, reading_part, (void *) info};

	mdb_last_part = info->part_id;
	mdb_reads.bytes += len > 0 ? len : 0;
	if (offset < 0 || len < 0 || offset > info->nbytes - len)
	{
		mdb_last_fault = MDB_FAULT_FORMAT;
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("part %lld of table \"%s\" is damaged", (long long) info->part_id,
							   RelationGetRelationName(rel)),
						errdetail("It refers to %lld bytes at offset %lld of %lld.", (long long) len,
								  (long long) offset, (long long) info->nbytes)));
	}
	error_context_stack = &context;
	while (len > 0)
	{
		int32 page_no = (int32) (offset / MDB_PAGE_PAYLOAD);
		int64 in_page = offset % MDB_PAGE_PAYLOAD;
		int64 n = Min(len, MDB_PAGE_PAYLOAD - in_page);
		Buffer buf;
		Page page;
		MdbPageTail *tail;
		bool ours;

		CHECK_FOR_INTERRUPTS();
		buf = ReadBufferExtended(rel, MAIN_FORKNUM, (BlockNumber) (info->page_first + page_no), RBM_NORMAL,
								 NULL);
		LockBuffer(buf, BUFFER_LOCK_SHARE);
		page = BufferGetPage(buf);
		tail = (MdbPageTail *) ((char *) page + BLCKSZ - MAXALIGN(sizeof(MdbPageTail)));
		ours = tail->magic == MDB_PAGE_MAGIC && tail->part_id == info->part_id && tail->page_no == page_no;
		if (!ours)
		{
			bool other = tail->magic == MDB_PAGE_MAGIC && tail->part_id > info->part_id;

			UnlockReleaseBuffer(buf);
			/* Not so if the part is still there: then its pages were not to be had. */
			if (other && !mdb_part_is_live(info->storage_id, info->part_id))
				ereport(ERROR, (errcode(ERRCODE_SNAPSHOT_TOO_OLD), errmsg("snapshot too old"),
								errdetail("Part %lld of table \"%s\" was merged and its pages were reused.",
										  (long long) info->part_id, RelationGetRelationName(rel))));
			mdb_last_fault = MDB_FAULT_PAGE;
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("part %lld of table \"%s\" is damaged", (long long) info->part_id,
							RelationGetRelationName(rel)),
					 errdetail("Page %lld does not belong to it.", (long long) info->page_first + page_no)));
		}
		memcpy(dst, (char *) page + MDB_PAGE_START + in_page, n);
		UnlockReleaseBuffer(buf);
		dst += n;
		offset += n;
		len -= n;
	}
	error_context_stack = context.previous;
}
