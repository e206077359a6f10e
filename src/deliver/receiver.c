/*
 * receiver.c
 *	  One URL of a target: what is to be told to it, what is on its way, and how it does.
 *
 * Invariants:
 *	1. An alert is on its way to a URL at most once, and is told there as it is when it is sent; so a receiver hears its
 *	   states in their order, as long as it deals with requests in the order of their ends.
 *	2. What was sent is taken down after the answer: a crash between the two, and it is told again.
 *	3. One that does not answer has one request at a time, after a pause that grows from 1 s to 5 min.  What is queued
 *	   stays in the outbox, as its latest state.
 *	4. An alert that is refused, or that a receiver fails at, keeps no other from being told: a batch is divided, and
 *	   those that have failed go behind those that have not.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "deliver/deliver.h"
#include "deliver/deliver_internal.h"
#include "deliver/payload.h"

#define BATCH     256  /* alerts in one request to an Alertmanager, or one transaction of NOTIFY */
#define QUEUE     2048 /* alerts that are looked up at a time */
#define LOOK_MIN  (50 * INT64CONST(1000))
#define LOOK_MAX  (5 * USECS_PER_SEC)
#define LOG_EVERY (60 * USECS_PER_SEC)

/* What is on its way. */
typedef struct Shipment
{
	dlist_node node;
	MemoryContext context;
	TimestampTz began;
	int count;
	MdbAlert *alerts;
} Shipment;

MdbReceiver *
mdb_receiver_create(const MdbAlertTarget *target, int nth)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb receiver of alerts", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	MdbReceiver *receiver = palloc0(sizeof(MdbReceiver));

	receiver->target = target;
	receiver->url = target->urls[nth];
	receiver->full_url = mdb_target_url(target, nth);
	receiver->context = context;
	receiver->queue_context =
		AllocSetContextCreate(context, "metricsdb queue of alerts", ALLOCSET_DEFAULT_SIZES);
	dlist_init(&receiver->shipments);
	if (target->kind != MDB_TARGET_NOTIFY)
		receiver->http = mdb_http_create(&target->http);
	MemoryContextSwitchTo(before);
	return receiver;
}

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* forget_queue - it is looked up again. */
static void
forget_queue(MdbReceiver *receiver)
{
	MemoryContextReset(receiver->queue_context);
	memset(&receiver->queue, 0, sizeof(receiver->queue));
	receiver->halves = NIL;
}

static bool
is_on_its_way(MdbReceiver *receiver, const MdbAlertKey *key)
{
	dlist_iter iter;

	dlist_foreach (iter, &receiver->shipments)
	{
		const Shipment *shipment = dlist_container(Shipment, node, iter.cur);

		for (int i = 0; i < shipment->count; i++)
		{
			const MdbAlertKey *other = &shipment->alerts[i].id;

			if (other->rule_id == key->rule_id && VARSIZE_ANY(other->key) == VARSIZE_ANY(key->key) &&
				memcmp(other->key, key->key, VARSIZE_ANY(key->key)) == 0)
				return true;
		}
	}
	return false;
}

/* look - for what is due, if nothing is queued and it is time. */
static void
look(MdbReceiver *receiver)
{
	MemoryContext before = CurrentMemoryContext;
	TimestampTz began = GetCurrentTimestamp();
	TimestampTz ended;
	MdbBatch *queue = &receiver->queue;
	MdbAlertKey *keys;
	int64 resend = receiver->target->kind == MDB_TARGET_ALERTMANAGER
					   ? mdb_alert_resend_delay * INT64CONST(1000)
					   : LOOK_MAX;
	int n;

	if (queue->next < queue->count || receiver->halves != NIL ||
		(!receiver->woken && began < receiver->look_at))
		return;
	receiver->woken = false;
	forget_queue(receiver);
	begin();
	MemoryContextSwitchTo(receiver->queue_context);
	n = mdb_outbox_due(receiver->target, receiver->url, QUEUE, &keys);
	queue->keys = keys;
	for (int i = 0; i < n; i++)
		if (!is_on_its_way(receiver, &keys[i]))
			keys[queue->count++] = keys[i];
	receiver->passed_over = queue->count < n;
	MemoryContextSwitchTo(before);
	commit();
	MemoryContextSwitchTo(before);

	/* Once in a while for what is to be told again; at once if there was more. */
	ended = GetCurrentTimestamp();
	receiver->look_at = n == QUEUE ? ended : ended + Max(LOOK_MIN, Min(LOOK_MAX, resend / 4));
	/* A large outbox is not looked through without a break. */
	receiver->look_at = Max(receiver->look_at, ended + Min(USECS_PER_SEC, (ended - began) * 4));
}

/* take - the next batch, of at most n; 0 = there is none. */
static int
take(MdbReceiver *receiver, int n, MdbAlertKey **keys)
{
	MdbBatch *batch = &receiver->queue;
	int count = 0;

	if (receiver->halves != NIL)
	{
		batch = linitial(receiver->halves);
		receiver->halves = list_delete_first(receiver->halves);
		*keys = batch->keys;
		return batch->count;
	}
	*keys = batch->keys + batch->next;
	while (count < n && batch->next + count < batch->count)
	{
		if ((*keys)[count].alone)
		{
			count = Max(count, 1);
			break;
		}
		count++;
	}
	batch->next += count;
	return count;
}

/* divide - a batch that was refused, for one of its alerts. */
static void
divide(MdbReceiver *receiver, const Shipment *shipment)
{
	MemoryContext before = MemoryContextSwitchTo(receiver->queue_context);
	int half = shipment->count / 2;

	for (int i = 0; i < 2; i++)
	{
		MdbBatch *batch = palloc0(sizeof(MdbBatch));
		int from = i == 0 ? 0 : half;

		batch->count = i == 0 ? half : shipment->count - half;
		batch->keys = palloc(sizeof(MdbAlertKey) * batch->count);
		for (int k = 0; k < batch->count; k++)
		{
			batch->keys[k] = shipment->alerts[from + k].id;
			batch->keys[k].key = DatumGetByteaPCopy(PointerGetDatum(batch->keys[k].key));
		}
		receiver->halves = lcons(batch, receiver->halves);
	}
	MemoryContextSwitchTo(before);
}

static void
told_again(MdbReceiver *receiver)
{
	if (receiver->failures > 0 && receiver->logged_at != 0)
	{
		ereport(LOG, (errmsg("target of alerts \"%s\" can be told again", receiver->target->name)));
		receiver->logged_at = 0;
	}
	receiver->failures = 0;
	receiver->retry_at = 0;
	mdb_outbox_receiver(receiver->target->id, receiver->url, 0, 0, NULL);
}

static bool
may_log(MdbReceiver *receiver)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now - receiver->logged_at < LOG_EVERY)
		return false;
	receiver->logged_at = now;
	return true;
}

void
mdb_receiver_failed(MdbReceiver *receiver, TimestampTz began, int retry_after_s, const char *error)
{
	TimestampTz now = GetCurrentTimestamp();
	long ms;

	/* What else was on its way then fails for the same reason. */
	if (began >= receiver->failed_at)
	{
		receiver->failures++;
		receiver->failed_at = now;
		ms = Max(mdb_backoff_ms(receiver->failures), Min(retry_after_s, 300) * 1000L);
		receiver->retry_at = now + ms * 1000;
		if (may_log(receiver))
			ereport(LOG, (errmsg("target \"%s\" at %s could not be told of alerts", receiver->target->name,
								 receiver->http ? mdb_url_shown(receiver->url) : receiver->url),
						  errdetail("%s", error)));
	}
	mdb_outbox_receiver(receiver->target->id, receiver->url, receiver->failures, receiver->retry_at, error);
	forget_queue(receiver);
}

/* notify - tell all who listen, in the transaction that takes it down. */
static bool
notify(MdbReceiver *receiver)
{
	MemoryContext before = CurrentMemoryContext;
	MdbAlertKey *keys;
	MdbAlert *alerts;
	int n = take(receiver, BATCH, &keys);

	if (n == 0)
		return false;
	begin();
	n = mdb_outbox_read(receiver->target, n, keys, &alerts);
	for (int i = 0; i < n; i++)
		Async_Notify(receiver->url, mdb_payload_notify(receiver->target, &alerts[i]));
	if (n > 0 && mdb_outbox_record(receiver->target, receiver->url, n, alerts, MDB_TOLD, NULL))
		told_again(receiver);
	commit();
	MemoryContextSwitchTo(before);
	return true;
}

/* ship - send the next batch.  False if there is none. */
static bool
ship(MdbReceiver *receiver)
{
	const MdbAlertTarget *target = receiver->target;
	bool alertmanager = target->kind == MDB_TARGET_ALERTMANAGER;
	MemoryContext before = CurrentMemoryContext;
	MemoryContext context;
	Shipment *shipment;
	MdbAlertKey *keys;
	const char *error;
	char *body = NULL;
	List *headers = NIL;
	/* One that fails time after time is tried with less. */
	int n = take(receiver, alertmanager ? Max(1, BATCH >> Min(Max(receiver->failures - 2, 0), 8)) : 1, &keys);

	if (n == 0)
		return false;
	/* An error may have kept one from leaving. */
	if (receiver->packing != NULL)
		MemoryContextDelete(receiver->packing);
	receiver->packing = context =
		AllocSetContextCreate(receiver->context, "metricsdb alerts on their way", ALLOCSET_DEFAULT_SIZES);
	shipment = MemoryContextAllocZero(context, sizeof(Shipment));
	shipment->context = context;
	shipment->began = GetCurrentTimestamp();
	begin();
	MemoryContextSwitchTo(context);
	shipment->count = mdb_outbox_read(target, n, keys, &shipment->alerts);
	if (alertmanager && shipment->count > 0)
	{
		body = mdb_payload_alertmanager(target, shipment->count, shipment->alerts);
		headers = target->headers;
	}
	else if (shipment->count > 0)
	{
		body = mdb_payload_webhook(target, shipment->alerts);
		headers = mdb_webhook_headers(target, shipment->alerts, body);
	}
	commit();
	MemoryContextSwitchTo(before);
	if (shipment->count == 0)
		return true;
	if (mdb_http_post(receiver->http, receiver->full_url, body, strlen(body), headers, shipment, &error))
	{
		pfree(body);
		dlist_push_tail(&receiver->shipments, &shipment->node);
		receiver->packing = NULL;
	}
	else
	{
		begin();
		mdb_receiver_failed(receiver, shipment->began, 0, mdb_target_hide(target, error));
		commit();
	}
	return true;
}

bool
mdb_receiver_send(MdbReceiver *receiver, bool woken)
{
	int most = receiver->failures > 0 ? 1 : receiver->target->parallel;
	MdbBatch *queue = &receiver->queue;

	/* Until it is looked: what is on its way, or a pause, may be in between. */
	receiver->woken |= woken;
	if (receiver->retry_at > GetCurrentTimestamp())
		return false;
	if (receiver->http == NULL)
	{
		look(receiver);
		return notify(receiver);
	}
	if (mdb_http_pending(receiver->http) >= most)
		return false;
	look(receiver);
	while (receiver->retry_at <= GetCurrentTimestamp() && mdb_http_pending(receiver->http) < most &&
		   ship(receiver))
		;
	return queue->next == queue->count && receiver->halves == NIL &&
		   (receiver->woken || receiver->look_at <= GetCurrentTimestamp()) &&
		   mdb_http_pending(receiver->http) < most;
}

void
mdb_receiver_collect(MdbReceiver *receiver)
{
	MemoryContext before = CurrentMemoryContext;
	const MdbAlertTarget *target = receiver->target;
	MdbHttpAnswer answer;

	while (receiver->http != NULL && mdb_http_done(receiver->http, &answer))
	{
		Shipment *shipment = answer.request;
		MdbVerdict verdict;
		bool kept = true;
		char *why;

		dlist_delete(&shipment->node);
		receiver->woken |= receiver->passed_over;
		begin();
		verdict = mdb_answer_verdict(target, &answer, &why);
		if (verdict == MDB_BAD && shipment->count > 1)
			divide(receiver, shipment);
		else
		{
			kept = mdb_outbox_record(target, receiver->url, shipment->count, shipment->alerts,
									 verdict == MDB_GOOD  ? MDB_TOLD
									 : verdict == MDB_BAD ? MDB_REFUSED
														  : MDB_NOT_TOLD,
									 why);
			if (verdict == MDB_BAD && may_log(receiver))
				ereport(LOG, (errmsg("target \"%s\" refuses an alert of rule \"%s\"", target->name,
									 shipment->alerts[0].rule),
							  errdetail("%s", why)));
		}
		if (!kept)
			mdb_receiver_failed(receiver, shipment->began, 0, "the target is being changed");
		else if (verdict == MDB_TROUBLE)
			mdb_receiver_failed(receiver, shipment->began, answer.retry_after_s, why);
		else
			told_again(receiver);
		commit();
		MemoryContextSwitchTo(before);
		MemoryContextDelete(shipment->context);
	}
}
