/*
 * ingest.c
 *	  A Kafka source at work: poll, decode, flush, and what to do when that fails.
 *
 * The worker reads messages into a batch outside of any transaction and stores the batch when it
 * is full or old enough.  Whatever fails, the answer is the same: throw the batch away, wait a
 * little longer each time, read the offsets from the table and go on from there.
 *
 * Invariants:
 *	1. The batch is always the continuation of the offsets in the table (intake.c, invariant 1).
 *	   After an abort nothing of it is kept.
 *	2. A partition is read from next_offset or it is not read at all.  If Kafka does not have that
 *	   offset, the partition is suspect, and after SUSPECT_TIME it is stalled, for all to see, or,
 *	   if the source says on_gap = skip, moved on with the gap counted.  It is never silently
 *	   repositioned.
 *	3. No transaction is open while we wait for Kafka.
 *
 * Called by bgworkers/kafka_worker.c.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "ingest/ingest.h"
#include "ingest/live.h"
#include "ingest/offsets.h"
#include "metricsdb.h"

#define TICK             USECS_PER_SEC
#define FIRST_BACKOFF_MS 100
#define LAST_BACKOFF_MS  30000
#define MAX_DEAD         20000 /* in a batch */
#define MAX_DEAD_BYTES   (8 * 1024 * 1024)

/*
 * A broker that was killed announces a high watermark behind what it has for a moment after it
 * is back.  An offset must look wrong for this long to be believed wrong.
 */
#define SUSPECT_TIME (15 * USECS_PER_SEC)

/*
 * While brokers are looked for that do not answer nothing is read of others.  So once one has not, the rest have less
 * time, and it is read for so many times as long before they are asked again.
 */
#define QUICK_MS   50
#define READ_SHARE 9

int mdb_kafka_flush_points = 1000000;
int mdb_kafka_cache_kb = 256 * 1024;

/*
 * mdb_ingest_init - settings of Kafka ingestion, and shared memory.
 */
void
mdb_ingest_init(void)
{
	DefineCustomIntVariable("metricsdb.kafka_flush_points",
							"Points after which a Kafka worker stores what it has read.",
							"It does so in any case after the source's flush_interval.",
							&mdb_kafka_flush_points, 1000000, 1, 20000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("metricsdb.kafka_cache_memory",
							"Memory in which a Kafka worker remembers series.",
							"When it is full the worker starts to remember anew.", &mdb_kafka_cache_kb,
							256 * 1024, 1024, MAX_KILOBYTES, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	mdb_live_init();
}

/*
 * begin, commit - a transaction of our own for a look at the tables.  The memory context is the
 * transaction's in between, and afterwards what it was.
 */
static MemoryContext outside;

static void
begin(void)
{
	outside = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(outside);
}

/*
 * find_partition - index of a partition by its number, -1 if it is not ours.
 */
static int
find_partition(const MdbIngest *ingest, int32 number)
{
	int lo = 0;
	int hi = ingest->npartitions - 1;

	/* Mostly 0 .. n - 1 without holes. */
	if (number >= 0 && number <= hi && ingest->partitions[number].partition == number)
		return number;
	while (lo <= hi)
	{
		int mid = (lo + hi) / 2;

		if (ingest->partitions[mid].partition == number)
			return mid;
		if (ingest->partitions[mid].partition < number)
			lo = mid + 1;
		else
			hi = mid - 1;
	}
	return -1;
}

/*
 * load_offsets - partitions[] anew from the table; the batch is empty.
 */
static void
load_offsets(MdbIngest *ingest)
{
	MdbPartition *old = ingest->partitions;
	int nold = ingest->npartitions;
	MdbPartition *fresh;
	MemoryContext assignment =
		AllocSetContextCreate(ingest->context, "metricsdb partitions", ALLOCSET_SMALL_SIZES);
	MemoryContext before;
	int n;

	begin();
	if (ingest->source->options.assigned && mdb_source_alive(ingest))
		mdb_offsets_follow(ingest->source->id);
	before = MemoryContextSwitchTo(assignment);
	n = mdb_offsets_load(ingest->source->id, &fresh);
	MemoryContextSwitchTo(before);
	commit();

	/* What was learnt about the order of series, and under suspicion, stays true. */
	for (int i = 0, j = 0; i < n; i++)
	{
		while (j < nold && old[j].partition < fresh[i].partition)
			j++;
		if (j < nold && old[j].partition == fresh[i].partition)
		{
			fresh[i].hint = old[j].hint;
			fresh[i].low = old[j].low;
			fresh[i].high = old[j].high;
			if (fresh[i].next_offset == old[j].next_offset)
			{
				fresh[i].suspect_since = old[j].suspect_since;
				fresh[i].damaged_since = old[j].damaged_since;
			}
		}
	}
	ingest->partitions = fresh;
	ingest->npartitions = n;
	if (ingest->assignment)
		MemoryContextDelete(ingest->assignment);
	ingest->assignment = assignment;
}

/*
 * discard - throw the batch away; the next round reads it again from the table's offsets.
 */
static void
discard(MdbIngest *ingest)
{
	mdb_consumer_release(ingest->consumer);
	mdb_decode_reset(ingest->decoder);
	mdb_intake_reset(ingest->batch);
	mdb_live_pending(0, 0);
	ingest->assigned = false;
}

/*
 * add_partitions - rows for partitions 0 .. n - 1 that have none yet.  False if a broker did not
 * say where one begins; then it is tried again later.
 */
static bool
add_partitions(MdbIngest *ingest, int n)
{
	bool first_time = (ingest->npartitions == 0);
	int64 *start = palloc(n * sizeof(int64));

	for (int p = 0; p < n; p++)
	{
		int64 low;
		int64 high;

		start[p] = -1;
		if (find_partition(ingest, p) >= 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (!mdb_consumer_watermarks(ingest->consumer, p, MDB_REQUEST_MS, &low, &high))
		{
			pfree(start);
			return false;
		}
		/* A partition made later has been empty when we last looked: nothing of it is old. */
		start[p] = (first_time && ingest->source->options.start_latest) ? high : low;
	}

	begin();
	if (mdb_source_alive(ingest))
		for (int p = 0; p < n; p++)
			if (start[p] >= 0)
				mdb_offsets_add(ingest->source->id, p, start[p]);
	commit();
	pfree(start);
	return true;
}

/*
 * behind_gap - where a partition goes on that is not to stall.  False if its broker did not say.
 *
 * If Kafka has less than was read, the topic was made anew, or a broker has lost the end of it, and its beginning was
 * stored before.  What is newer than the last message that was stored is new in both cases.
 */
static bool
behind_gap(MdbIngest *ingest, const MdbPartition *p, int64 *to)
{
	*to = p->low;
	if (p->low > p->next_offset || p->stored_ms < 0)
		return true;
	if (!mdb_consumer_offset_at(ingest->consumer, p->partition, p->stored_ms + 1, to))
		return false;
	if (*to < 0)
		*to = p->high;
	return true;
}

/*
 * out_of_range - a partition's next_offset has been out of Kafka's range for long: skip or stall.  False if it has to be
 * tried again.
 */
static bool
out_of_range(MdbIngest *ingest, MdbPartition *p)
{
	const char *reason;
	int64 to = p->low;

	if (ingest->source->options.skip_gaps && !behind_gap(ingest, p, &to))
		return false;

	if (p->low > p->next_offset)
		reason =
			psprintf("Kafka has removed offsets " INT64_FORMAT " to " INT64_FORMAT " before they were read",
					 p->next_offset, p->low - 1);
	else
		reason = psprintf("Kafka has offsets up to " INT64_FORMAT " only, but " INT64_FORMAT
						  " was read: the topic was made anew, or has lost data",
						  p->high - 1, p->next_offset - 1);

	ereport(WARNING,
			(errmsg("Kafka source \"%s\" %s partition %d", ingest->source->name,
					ingest->source->options.skip_gaps ? "skips a gap in" : "has stalled", p->partition),
			 errdetail("%s.", reason),
			 ingest->source->options.skip_gaps
				 ? 0
				 : errhint("Say where to go on with SELECT metricsdb.seek_kafka_source(%s, %d, " INT64_FORMAT
						   ").",
						   quote_literal_cstr(ingest->source->name), p->partition, p->low)));
	mdb_live_error(psprintf("partition %d: %s", p->partition, reason));

	begin();
	if (mdb_source_alive(ingest))
	{
		if (ingest->source->options.skip_gaps)
			mdb_offsets_skip(ingest->source->id, p, to);
		else
			mdb_offsets_stall(ingest->source->id, p, reason);
	}
	commit();
	return true;
}

/*
 * unreadable - what a partition has next has been damaged for long: it stalls, so that others are read without a break.
 */
static void
unreadable(MdbIngest *ingest, const MdbPartition *p)
{
	const char *reason =
		psprintf("what Kafka has at offset " INT64_FORMAT " cannot be read: %s", p->next_offset, p->damage);

	ereport(WARNING,
			(errmsg("Kafka source \"%s\" has stalled partition %d", ingest->source->name, p->partition),
			 errdetail("%s.", reason),
			 errhint("Say where to go on with SELECT metricsdb.seek_kafka_source(%s, %d, ...).",
					 quote_literal_cstr(ingest->source->name), p->partition)));
	mdb_live_error(psprintf("partition %d: %s", p->partition, reason));
	begin();
	if (mdb_source_alive(ingest))
		mdb_offsets_stall(ingest->source->id, p, reason);
	commit();
}

/*
 * check_offsets - compare each partition's position with what Kafka has.  Returns true if the
 * assignment must be made anew.
 */
static bool
check_offsets(MdbIngest *ingest)
{
	TimestampTz now = GetCurrentTimestamp();
	bool changed = false;
	bool suspects = false;
	int ms = MDB_REQUEST_MS;

	for (int i = 0; i < ingest->npartitions; i++)
	{
		MdbPartition *p = &ingest->partitions[i];
		bool fine;

		if (p->stalled || mdb_partition_finished(p))
			continue;
		CHECK_FOR_INTERRUPTS();
		if (p->damage != NULL && p->position == p->next_offset && now - p->damaged_since > SUSPECT_TIME)
		{
			unreadable(ingest, p);
			changed = true;
			continue;
		}
		fine = mdb_consumer_watermarks(ingest->consumer, p->partition, ms, &p->low, &p->high);
		if (!fine)
		{
			/* Not an answer: look again.  A suspicion must be constant to count. */
			suspects = true;
			ms = QUICK_MS;
			if (p->suspect_since != 0)
				p->suspect_since = now;
			continue;
		}
		mdb_live_watermarks(p->partition, p->low, p->high);
		fine = p->low <= p->next_offset && p->next_offset <= p->high;
		if (fine)
		{
			changed |= p->suspect_since != 0;
			p->suspect_since = 0;
			continue;
		}
		suspects = true;
		if (p->suspect_since == 0)
		{
			p->suspect_since = now;
			changed = true;
		}
		else if (now - p->suspect_since > SUSPECT_TIME && out_of_range(ingest, p))
		{
			p->suspect_since = 0;
			changed = true;
		}
	}
	ingest->recheck = suspects;
	ingest->recheck_after = Max(TICK, READ_SHARE * (GetCurrentTimestamp() - now));
	return changed;
}

/*
 * open_guard - have the cardinality guard know the table's series and limits before anything is decoded.  What
 * is wrong with the target is for the flush to say.
 */
static void
open_guard(MdbIngest *ingest)
{
	Relation rel;

	begin();
	rel = try_table_open(ingest->source->target, AccessShareLock);
	if (rel != NULL && mdb_is_metricsdb(rel))
		(void) mdb_guarding_begin(ingest->guarding, rel);
	if (rel != NULL)
		table_close(rel, NoLock);
	commit();
}

/*
 * look_at_topic - find new partitions, verify the offsets, and assign if anything is new.
 */
static void
look_at_topic(MdbIngest *ingest)
{
	TimestampTz now = GetCurrentTimestamp();
	const char *problem;
	int n = mdb_consumer_partitions(ingest->consumer, &problem);
	bool reassign = !ingest->assigned || ingest->reassign;

	ingest->topology_at = now + (int64) ingest->source->options.metadata_ms * 1000;
	if (n <= 0)
	{
		mdb_live_error(n == 0 ? psprintf("topic \"%s\": %s", ingest->source->topic, problem) : problem);
		if (!ingest->assigned)
			mdb_live_phase(MDB_PHASE_CONNECTING);
		ingest->topology_at = Min(ingest->topology_at, now + TICK);
		return;
	}

	if (!ingest->assigned)
		load_offsets(ingest);
	if (!ingest->source->options.assigned && (ingest->npartitions == 0 || find_partition(ingest, n - 1) < 0))
	{
		/* The batch, if any, goes on: only rows are added. */
		if (!add_partitions(ingest, n))
		{
			ingest->topology_at = now + TICK;
			return;
		}
		reassign = true;
	}
	if (ingest->npartitions > 0 && ingest->partitions[ingest->npartitions - 1].partition >= n)
		mdb_live_error(psprintf("topic \"%s\" has %d partitions, it had more", ingest->source->topic, n));

	reassign |= check_offsets(ingest);
	if (reassign)
	{
		discard(ingest);
		load_offsets(ingest);
		open_guard(ingest);
		mdb_consumer_assign(ingest->consumer, ingest->npartitions, ingest->partitions);
		ingest->assigned = true;
		ingest->reassign = false;
	}
	mdb_live_phase(MDB_PHASE_RUNNING);
}

/*
 * reach_end - all that is ours of a partition was read, as there is something at its end, or behind.  What lay between
 * the last message and the end may have been no message: the batch moves on to it, even if it has nothing else.
 */
static void
reach_end(MdbIngest *ingest, MdbPartition *p)
{
	if (p->position >= p->to)
		return;
	p->position = p->to;
	ingest->batch->messages++;
}

/*
 * note_failure - of a partition something could not be read: it is read again from there.
 */
static void
note_failure(MdbIngest *ingest, MdbPartition *p, const MdbPolled *polled, TimestampTz now)
{
	/* Only the first one is of what comes next. */
	if (polled->damaged && !p->failed)
	{
		p->damage = MemoryContextStrdup(ingest->assignment, polled->error);
		if (p->damaged_since == 0)
			p->damaged_since = now;
	}
	p->failed = true;
}

/*
 * take_messages - decode what has come into the batch.  Returns the number of messages.
 */
static int
take_messages(MdbIngest *ingest)
{
	const MdbPolled *polled;
	MdbIntake *batch = ingest->batch;
	int n = mdb_consumer_poll(ingest->consumer, &polled);
	TimestampTz now;

	if (n == 0)
		return 0;
	now = GetCurrentTimestamp();
	mdb_decode_clock(ingest->decoder, now);
	if (batch->since == 0)
	{
		batch->since = now;
		mdb_decode_window(ingest->decoder, batch->since);
		mdb_guarding_clock(ingest->guarding, batch->since);
	}
	for (int i = 0; i < n; i++)
	{
		const MdbMessage *message = &polled[i].message;
		int at = find_partition(ingest, polled[i].partition);
		MdbPartition *p;

		if (polled[i].error != NULL)
		{
			/*
			 * That partition need not be named: look at all.  If it is, what follows may lie behind what could not be
			 * read, as with a checksum that is wrong: none of it is taken.
			 */
			if (at >= 0)
				note_failure(ingest, &ingest->partitions[at], &polled[i], now);
			mdb_live_error(polled[i].error);
			ingest->recheck = ingest->reassign = true;
			ingest->topology_at = Min(ingest->topology_at, GetCurrentTimestamp() + TICK);
			continue;
		}
		if (at < 0 || ingest->partitions[at].failed)
			continue;
		p = &ingest->partitions[at];
		if (message->offset >= p->to)
		{
			reach_end(ingest, p);
			continue;
		}
		if (polled[i].end)
		{
			p->end = Max(p->end, message->offset);
			continue;
		}
		if (message->offset < p->position)
			continue; /* of an assignment before */
		mdb_decode(ingest->decoder, ingest->partitions, at, message);
		p->position = message->offset + 1;
		if (message->timestamp_ms >= 0)
			p->last_message_ms = message->timestamp_ms;
		batch->messages++;
		batch->bytes += message->length;
	}
	mdb_decode_drain(ingest->decoder);
	mdb_consumer_release(ingest->consumer);
	if (batch->messages == 0)
		batch->since = 0;
	mdb_live_pending(batch->npoints, batch->messages);
	return n;
}

/*
 * flush_at - when the batch is to be stored, if it has some messages.
 *
 * After its flush_interval at the latest; a fifth of that behind a whole one, if that comes before and the batch is not just
 * begun.  Rules have their ticks, and buckets their ends, at whole seconds: so they wait for the messages of a second to
 * arrive, and not for half an interval more.
 */
static TimestampTz
flush_at(const MdbIngest *ingest)
{
	int64 interval = (int64) ingest->source->options.flush_ms * 1000;
	TimestampTz since = ingest->batch->since;
	int64 behind = interval / 5;
	TimestampTz next = ((since + interval / 4 - behind) / interval + 1) * interval + behind;

	return Min(next, since + interval);
}

/*
 * flush_due - must the batch be stored now?
 */
static bool
flush_due(const MdbIngest *ingest, TimestampTz now)
{
	const MdbIntake *batch = ingest->batch;

	return batch->messages > 0 && (batch->npoints >= mdb_kafka_flush_points || batch->ndead >= MAX_DEAD ||
								   batch->dead_bytes >= MAX_DEAD_BYTES || mdb_key_cache_full(ingest->cache) ||
								   mdb_guarding_impatient(ingest->guarding) || now >= flush_at(ingest));
}

/*
 * tick - once a second: figures for people, and a look at the source's row if no flush had one.
 * False if the source is not to run any more.
 */
static bool
tick(MdbIngest *ingest, TimestampTz now)
{
	double seconds = (now - ingest->tick_at) / 1e6 + 1.0;
	double weight = Min(1.0, seconds / 5.0);
	bool alive = true;
	bool disconnected = false;
	const char *error = mdb_consumer_events(ingest->consumer, &disconnected);

	if (error)
		mdb_live_error(error);
	if (disconnected)
	{
		mdb_live_phase(MDB_PHASE_CONNECTING);
		ingest->topology_at = Min(ingest->topology_at, now + TICK);
	}
	ingest->rate += weight * (ingest->stored_since_tick / seconds - ingest->rate);
	ingest->stored_since_tick = 0;
	ingest->tick_at = now + TICK;
	mdb_live_rate(ingest->rate);

	for (int i = 0; i < ingest->npartitions; i++)
	{
		MdbPartition *p = &ingest->partitions[i];

		if (mdb_consumer_known_watermarks(ingest->consumer, p->partition, &p->low, &p->high))
			mdb_live_watermarks(p->partition, p->low, Max(p->high, p->next_offset));
	}

	/* Flushes see all that stops us, but not what we are to read besides. */
	if (now - ingest->looked_at >= TICK || ingest->source->options.assigned)
	{
		begin();
		alive = mdb_source_alive(ingest);
		if (alive)
		{
			/* Did somebody move or free a partition? */
			MdbPartition *stored;
			int n;
			bool same;

			if (ingest->source->options.assigned)
				mdb_offsets_follow(ingest->source->id);
			n = mdb_offsets_load(ingest->source->id, &stored);
			same = (n == ingest->npartitions);
			for (int i = 0; same && i < n; i++)
				same = stored[i].next_offset == ingest->partitions[i].next_offset &&
					   stored[i].to == ingest->partitions[i].to &&
					   (stored[i].stalled == NULL) == (ingest->partitions[i].stalled == NULL);
			/* What was read is stored first, if it may be: flush.c sees to that. */
			if (!same && ingest->source->options.assigned)
				ingest->reassign = true;
			else if (!same && ingest->assigned)
				discard(ingest);
			if (!same)
				ingest->topology_at = now;
			mdb_guarding_tick(ingest->guarding);
		}
		commit();
		ingest->looked_at = now;
		pgstat_report_stat(false);
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	return alive;
}

/*
 * wait_for_more - sleep until messages come, a signal, or the next thing is due.
 */
static void
wait_for_more(MdbIngest *ingest, TimestampTz now)
{
	TimestampTz due = Min(Min(ingest->tick_at, ingest->topology_at), ingest->ends_at);
	long ms;
	int rc;

	if (ingest->batch->messages > 0)
		due = Min(due, flush_at(ingest));
	ms = Max(1, Min(TimestampDifferenceMilliseconds(now, due), 1000));
	rc = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   mdb_consumer_fd(ingest->consumer), ms, PG_WAIT_EXTENSION);
	if (rc & WL_SOCKET_READABLE)
		mdb_consumer_drain_fd(ingest->consumer);
	if (rc & WL_LATCH_SET)
		ResetLatch(MyLatch);
}

/*
 * flush - store the batch, or throw it away if it must be decoded anew.  False as mdb_flush.
 */
static bool
flush(MdbIngest *ingest)
{
	/* Storing may wait for a lock for long: what is not stored meanwhile is lag. */
	for (int i = 0; i < ingest->npartitions; i++)
	{
		MdbPartition *p = &ingest->partitions[i];

		if (p->high >= 0)
			mdb_live_watermarks(p->partition, p->low, Max(p->high, p->position));
	}
	ingest->read_again = false;
	if (!mdb_flush(ingest))
		return false;
	if (ingest->read_again)
	{
		discard(ingest);
		ingest->topology_at = GetCurrentTimestamp();
	}
	return true;
}

/*
 * meet_guard - before anything is decoded, hear what the cardinality guard has to say of the target: else a worker
 * that starts amid a flood takes in a batch of what it will have to refuse.
 */
static void
meet_guard(MdbIngest *ingest)
{
	Relation rel;

	/* Once: what fails here fails when a batch is stored, too, and is told then. */
	ingest->met_guard = true;
	begin();
	rel = try_table_open(ingest->source->target, RowExclusiveLock);
	if (rel != NULL)
	{
		MdbTarget target;

		mdb_target_check(rel, &target);
		(void) mdb_guarding_begin(ingest->guarding, rel);
		table_close(rel, NoLock);
	}
	commit();
}

/*
 * follow_clock - the clock was put back: what is due by it is due now, and would not be until it has come there again.  Of
 * no partition is it known any more up to when it is complete.
 */
static void
follow_clock(MdbIngest *ingest, TimestampTz now)
{
	ingest->tick_at = ingest->topology_at = ingest->ends_at = now;
	ingest->looked_at = Min(ingest->looked_at, now);
	ingest->batch->since = Min(ingest->batch->since, now);
	for (int i = 0; i < ingest->npartitions; i++)
	{
		MdbPartition *p = &ingest->partitions[i];

		p->suspect_since = Min(p->suspect_since, now);
		p->damaged_since = Min(p->damaged_since, now);
		mdb_live_complete(p->partition, p->position, 0);
	}
}

/*
 * one_round - one turn of the loop.  False when the worker is to leave.
 */
static bool
one_round(MdbIngest *ingest)
{
	TimestampTz now;
	int n = 0;

	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}

	ingest->read_again = false;
	if (ingest->assigned && !ingest->met_guard)
		meet_guard(ingest);
	if (ingest->assigned)
		n = take_messages(ingest);
	now = GetCurrentTimestamp();
	if (now < ingest->round_at)
		follow_clock(ingest, now);
	ingest->round_at = now;
	if (flush_due(ingest, now))
	{
		if (!flush(ingest))
			return false;
		if (ingest->read_again)
			return true;
		ingest->failures = 0;
		if (mdb_key_cache_full(ingest->cache))
		{
			ereport(LOG, (errmsg("Kafka source \"%s\" forgets its %u series, for they fill its cache",
								 ingest->source->name, mdb_key_cache_size(ingest->cache)),
						  errhint("If this repeats, raise metricsdb.kafka_cache_memory.")));
			mdb_key_cache_clear(ingest->cache);
		}
		now = GetCurrentTimestamp();
	}
	if (now >= ingest->tick_at && !tick(ingest, now))
		return false;
	if (now >= ingest->topology_at)
	{
		/* Store first what would be read again otherwise. */
		if (ingest->batch->messages > 0 && !flush(ingest))
			return false;
		if (ingest->read_again)
			return true;
		look_at_topic(ingest);
		if (ingest->recheck)
			ingest->topology_at = Min(ingest->topology_at, GetCurrentTimestamp() + ingest->recheck_after);
		return true;
	}
	mdb_ends_look(ingest, now);
	if (n == 0)
		wait_for_more(ingest, GetCurrentTimestamp());
	return true;
}

/*
 * recover - after an error: report it, clean up, wait.
 */
static void
recover(MdbIngest *ingest)
{
	ErrorData *error;
	int wait;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(ingest->context);
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();

	/* Data that the table refuses for one series must not hold up all others. */
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_DATA_EXCEPTION ||
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION ||
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
		mdb_key_cache_refuse(ingest->cache, error->message);
	mdb_live_error(error->message);
	FreeErrorData(error);

	AbortCurrentTransaction();
	mdb_append_reset(ingest->append);
	mdb_key_cache_aborted(ingest->cache);
	mdb_guarding_aborted(ingest->guarding);
	discard(ingest);

	wait = Min(LAST_BACKOFF_MS, FIRST_BACKOFF_MS << Min(ingest->failures, 10));
	ingest->failures++;
	mdb_live_phase(MDB_PHASE_BACKING_OFF);
	pgstat_report_activity(STATE_IDLE, "waiting after an error");
	ingest->topology_at = GetCurrentTimestamp() + (int64) wait * 1000;
	RESUME_INTERRUPTS();
}

/*
 * set_up - load the source and make all that its work needs.  NULL if it is not to run.
 */
static MdbIngest *
set_up(int32 source_id, MemoryContext context)
{
	MdbIngest *ingest;
	MdbSource *source;

	begin();
	MemoryContextSwitchTo(context);
	source = mdb_source_load(source_id);
	if (source != NULL && source->running)
	{
		/* From here on an error can be shown to the source's owner. */
		mdb_live_begin(source_id, source->owner);
		mdb_source_options(source->raw_options, source->raw_secrets, source->owner, &source->options);
	}
	commit();
	if (source == NULL || !source->running)
		return NULL;

	SetConfigOption("synchronous_commit", source->options.synchronous_commit, PGC_USERSET, PGC_S_SESSION);
	ingest = palloc0(sizeof(MdbIngest));
	ingest->context = context;
	ingest->source = source;
	ingest->guarding = mdb_guarding_create();
	ingest->cache = mdb_key_cache_create((Size) mdb_kafka_cache_kb * 1024, ingest->guarding);
	ingest->batch = mdb_intake_create();
	ingest->decoder = mdb_decoder_create(source, ingest->cache, ingest->guarding, ingest->batch);
	ingest->append = mdb_append_create();
	ingest->consumer = mdb_consumer_create(source);
	ingest->tick_at = ingest->looked_at = GetCurrentTimestamp();
	mdb_live_phase(MDB_PHASE_CONNECTING);
	ereport(LOG, (errmsg("Kafka source \"%s\" starts reading topic \"%s\"", source->name, source->topic)));
	return ingest;
}

void
mdb_ingest_run(int32 source_id, bool (*keep_going)(void))
{
	MdbIngest *ingest = NULL;
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "metricsdb Kafka source", ALLOCSET_DEFAULT_SIZES);
	MemoryContext round_context =
		AllocSetContextCreate(context, "metricsdb Kafka round", ALLOCSET_DEFAULT_SIZES);
	volatile bool go_on = true;

	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		ingest = set_up(source_id, context);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		mdb_live_error(error->message);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (ingest == NULL)
		return;

	while (go_on && keep_going())
	{
		MemoryContextReset(round_context);
		MemoryContextSwitchTo(round_context);
		PG_TRY();
		{
			go_on = one_round(ingest);
		}
		PG_CATCH();
		{
			recover(ingest);
		}
		PG_END_TRY();
	}

	ereport(LOG, (errmsg("Kafka source \"%s\" ends reading", ingest->source->name)));
	mdb_consumer_destroy(ingest->consumer);
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(context);
}
