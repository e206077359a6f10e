/*
 * health.c
 *	  How nodes do: a circuit breaker for each, and how far behind each was when it was last asked.
 *
 * In shared memory, so that a node that has failed one session is not what the next one waits for; without it (the library
 * was not preloaded) each session knows for itself.  A breaker is
 *
 *		closed		the node answers;
 *		open		it has failed, and is asked after all others of its shard, for 2 s, of failures in a row up to a minute;
 *		half-open	that time is over: one session asks it, the others wait for what comes of that.
 *
 * If nobody else has the shard an open breaker keeps from asking only those nodes that took long to fail: one that refuses
 * connections costs nothing to ask.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "dist/dist.h"
#include "dist/health.h"

#define NODES      1024 /* known of, in all databases */
#define OPEN_MS    2000
#define OPEN_MAX   60000
#define PROBE_MS   15000 /* for which others wait for a session that asks */
#define SLOW_MS    1000
#define LAG_AGE_MS 60000 /* after which lag is not believed any more */

typedef struct Key
{
	Oid database;
	char node[NAMEDATALEN];
} Key;

typedef struct Entry
{
	Key key;
	MdbHealth h;
	TimestampTz open_until;
	TimestampTz probe_until;
	int64 lag_ms;
	TimestampTz lag_at;
} Entry;

static HTAB *entries = NULL;
static LWLock *lock = NULL; /* NULL: entries are this session's */
static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

/* ---------- memory ---------- */

static void
request(void)
{
	if (next_shmem_request)
		next_shmem_request();
	RequestAddinShmemSpace(hash_estimate_size(NODES, sizeof(Entry)));
	RequestNamedLWLockTranche("metricsdb nodes", 1);
}

static void
startup(void)
{
	HASHCTL ctl = {.keysize = sizeof(Key), .entrysize = sizeof(Entry)};

	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	entries = ShmemInitHash("metricsdb nodes", NODES, NODES, &ctl, HASH_ELEM | HASH_BLOBS);
	lock = &GetNamedLWLockTranche("metricsdb nodes")->lock;
	LWLockRelease(AddinShmemInitLock);
}

static void
acquire(LWLockMode mode)
{
	if (lock)
		LWLockAcquire(lock, mode);
}

static void
release(void)
{
	if (lock)
		LWLockRelease(lock);
}

/* The entry of a node, locked; NULL if there is none, or no room for one. */
static Entry *
find(const char *node, HASHACTION action)
{
	Key key = {.database = MyDatabaseId};
	Entry *e;
	bool found;

	if (entries == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(Key), .entrysize = sizeof(Entry)};

		entries = hash_create("metricsdb nodes", 32, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	strlcpy(key.node, node, NAMEDATALEN);
	e = hash_search(entries, &key, action, &found);
	if (e && !found)
		memset((char *) e + sizeof(Key), 0, sizeof(Entry) - sizeof(Key));
	return e;
}

static bool
is_over(TimestampTz t, TimestampTz now)
{
	return t == 0 || now >= t;
}

/* ---------- what comes of asking ---------- */

/*
 * mdb_node_failed - a node did not answer; began: when it was asked.
 */
void
mdb_node_failed(const char *node, const char *message, TimestampTz began)
{
	TimestampTz now = GetCurrentTimestamp();
	Entry *e;

	acquire(LW_EXCLUSIVE);
	e = find(node, HASH_ENTER_NULL);
	if (e)
	{
		int64 ms = OPEN_MS;

		/* Many may have asked at once. */
		if (e->h.failures == 0 || is_over(e->open_until, now))
			e->h.failures++;
		for (int i = 1; i < e->h.failures && ms < OPEN_MAX; i++)
			ms *= 2;
		e->open_until = TimestampTzPlusMilliseconds(now, Min(ms, OPEN_MAX));
		e->probe_until = 0;
		e->h.failed_at = now;
		e->h.slow = TimestampDifferenceExceeds(began, now, SLOW_MS);
		strlcpy(e->h.error, message, sizeof(e->h.error));
	}
	release();
}

/*
 * mdb_node_answered - a node has.
 */
void
mdb_node_answered(const char *node)
{
	Entry *e;

	acquire(LW_SHARED);
	e = find(node, HASH_FIND);
	if (e && e->h.failures == 0)
		e = NULL;
	release();
	if (e == NULL)
		return;
	acquire(LW_EXCLUSIVE);
	e = find(node, HASH_FIND);
	if (e)
	{
		e->h.failures = 0;
		e->open_until = e->probe_until = 0;
	}
	release();
}

/*
 * mdb_node_lags - a node has said how far it is behind, in milliseconds.
 */
void
mdb_node_lags(const char *node, int64 ms)
{
	Entry *e;

	acquire(LW_EXCLUSIVE);
	e = find(node, ms > 0 ? HASH_ENTER_NULL : HASH_FIND);
	if (e)
	{
		e->lag_ms = ms;
		e->lag_at = GetCurrentTimestamp();
	}
	release();
}

/* ---------- what is known ---------- */

/*
 * mdb_node_health - what is known of a node.
 *
 * probe: the caller is going to ask it if its breaker is half-open, and nobody else is, for a while.
 */
MdbHealth
mdb_node_health(const char *node, bool probe)
{
	TimestampTz now = GetCurrentTimestamp();
	MdbHealth h = {0};
	Entry *e;

	acquire(probe ? LW_EXCLUSIVE : LW_SHARED);
	e = find(node, HASH_FIND);
	if (e)
	{
		h = e->h;
		h.lag_ms = e->lag_at != 0 && !TimestampDifferenceExceeds(e->lag_at, now, LAG_AGE_MS) ? e->lag_ms : 0;
		if (h.failures == 0)
			h.state = MDB_BREAKER_CLOSED;
		else if (!is_over(e->open_until, now))
			h.state = MDB_BREAKER_OPEN;
		else
			h.state = MDB_BREAKER_HALF_OPEN;
		h.probed = h.state == MDB_BREAKER_HALF_OPEN && !is_over(e->probe_until, now);
		if (probe && h.state == MDB_BREAKER_HALF_OPEN && !h.probed)
			e->probe_until = TimestampTzPlusMilliseconds(now, PROBE_MS);
	}
	release();
	return h;
}

/*
 * mdb_breaker_name - for people.
 */
const char *
mdb_breaker_name(MdbBreaker state)
{
	switch (state)
	{
		case MDB_BREAKER_OPEN:
			return "open";
		case MDB_BREAKER_HALF_OPEN:
			return "half-open";
		case MDB_BREAKER_CLOSED:
			break;
	}
	return "closed";
}

/*
 * mdb_health_init - at load: shared memory, if there will be some.
 */
void
mdb_health_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = request;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
}
