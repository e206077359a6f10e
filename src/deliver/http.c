/*
 * http.c
 *	  The seam to libcurl.
 *
 * Invariants:
 *	1. No function of PostgreSQL is called by libcurl's callbacks, which may not be left by a longjmp, nor on another
 *	   thread: it starts some to look up names.
 *	2. Those threads take no signals: all are blocked whenever it runs.  A thread that took SIGURG would eat the wake-ups
 *	   of our latch; one that took SIGTERM would run our handler.
 *	3. It never waits.  A look-up that hangs is left alone when its request's time is over (CURLOPT_QUICK_EXIT), its
 *	   thread ends by itself.
 *	4. Only http and https are spoken, redirects are not followed, no proxy is taken from the environment, no cookie is
 *	   kept, certificates are verified.
 *	5. Of an answer no more is kept than ANSWER_KEPT bytes, nor read than ANSWER_MAX.
 *	6. Clients share nothing: no connection is used with another's credentials.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>

#include "lib/ilist.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "deliver/http.h"

#define ANSWER_KEPT 1000
#define ANSWER_MAX  (1024 * 1024)
#define SOCKETS     64 /* of a client; more are not waited for, but looked at each POLL_MS */
#define POLL_MS     50

typedef struct Request
{
	dlist_node node;
	MdbHttp *http;
	CURL *easy;
	struct curl_slist *headers;
	void *of_caller;
	size_t received; /* of headers and body */
	size_t kept;     /* of the body */
	bool overflow;   /* more came than we take */
	char error[CURL_ERROR_SIZE];
	char body[ANSWER_KEPT + 1];
} Request;

struct MdbHttp
{
	dlist_node node;
	MemoryContext context;
	MemoryContextCallback at_reset;
	const MdbHttpSettings *settings;
	CURLM *multi;
	dlist_head requests;
	int pending;
	bool has_timer;
	instr_time timer_from;
	long timer_ms;
	bool crowded; /* there are sockets that have no place in the list */
	int nsockets;
	struct
	{
		curl_socket_t socket;
		int what; /* of CURL_POLL_* */
	} sockets[SOCKETS];
	Request *ended; /* whose answer is being read */
};

/* All of this process, for its exit. */
static dlist_head clients = DLIST_STATIC_INIT(clients);

/* block_signals - before libcurl is called: what threads it makes inherit this. */
static void
block_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

static void
unblock_signals(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

static void
free_request(Request *request)
{
	dlist_delete(&request->node);
	curl_multi_remove_handle(request->http->multi, request->easy);
	curl_easy_cleanup(request->easy);
	curl_slist_free_all(request->headers);
	pfree(request);
}

/* release - what libcurl holds.  Called once: by hand, at the end of its memory, or of the process. */
static void
release(void *arg)
{
	MdbHttp *http = arg;
	sigset_t before;
	dlist_mutable_iter iter;

	if (http->multi == NULL)
		return;
	block_signals(&before);
	dlist_foreach_modify (iter, &http->requests)
		free_request(dlist_container(Request, node, iter.cur));
	curl_multi_cleanup(http->multi);
	http->multi = NULL;
	unblock_signals(&before);
	dlist_delete(&http->node);
}

static void
release_all(int code, Datum arg)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify (iter, &clients)
		release(dlist_container(MdbHttp, node, iter.cur));
}

static void
begin(void)
{
	static bool begun = false;
	sigset_t before;
	CURLcode rc;

	if (begun)
		return;
	block_signals(&before);
	rc = curl_global_init(CURL_GLOBAL_DEFAULT);
	unblock_signals(&before);
	if (rc != CURLE_OK)
		elog(ERROR, "libcurl cannot be used: %s", curl_easy_strerror(rc));
	before_shmem_exit(release_all, (Datum) 0);
	begun = true;
}

static int
on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *unused)
{
	MdbHttp *http = arg;
	int i;

	for (i = 0; i < http->nsockets && http->sockets[i].socket != socket; i++)
		;
	if (what == CURL_POLL_REMOVE)
	{
		if (i < http->nsockets)
			http->sockets[i] = http->sockets[--http->nsockets];
	}
	else if (i == SOCKETS)
		http->crowded = true;
	else
	{
		http->sockets[i].socket = socket;
		http->sockets[i].what = what;
		http->nsockets = Max(http->nsockets, i + 1);
	}
	return 0;
}

static int
on_timer(CURLM *multi, long ms, void *arg)
{
	MdbHttp *http = arg;

	http->has_timer = ms >= 0;
	http->timer_ms = ms;
	INSTR_TIME_SET_CURRENT(http->timer_from);
	return 0;
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	Request *request = arg;
	size_t length = size * n;
	size_t room = ANSWER_KEPT - request->kept;

	memcpy(request->body + request->kept, data, Min(length, room));
	request->kept += Min(length, room);
	request->received += length;
	request->overflow = request->received > ANSWER_MAX;
	return request->overflow ? 0 : length;
}

static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
	Request *request = arg;

	request->received += size * n;
	request->overflow = request->received > ANSWER_MAX;
	return request->overflow ? 0 : size * n;
}

MdbHttp *
mdb_http_create(const MdbHttpSettings *settings)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb HTTP client", ALLOCSET_SMALL_SIZES);
	MdbHttp *http = MemoryContextAllocZero(context, sizeof(MdbHttp));
	sigset_t before;

	begin();
	http->context = context;
	http->settings = settings;
	dlist_init(&http->requests);
	block_signals(&before);
	http->multi = curl_multi_init();
	if (http->multi != NULL)
	{
		curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
		curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
		curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
		curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
		curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, 16L);
		curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING);
	}
	unblock_signals(&before);
	if (http->multi == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	dlist_push_tail(&clients, &http->node);
	http->at_reset.func = release;
	http->at_reset.arg = http;
	MemoryContextRegisterResetCallback(context, &http->at_reset);
	return http;
}

void
mdb_http_destroy(MdbHttp *http)
{
	MemoryContextDelete(http->context);
}

/* A certificate or key as text. */
static CURLcode
set_blob(CURL *easy, CURLoption option, const char *text)
{
	struct curl_blob blob = {unconstify(char *, text), strlen(text), CURL_BLOB_COPY};

	return curl_easy_setopt(easy, option, &blob);
}

#define TRY(call)           \
	do                      \
	{                       \
		if (rc == CURLE_OK) \
			rc = (call);    \
	} while (0)
#define TRY_IF(value, call)  \
	do                       \
	{                        \
		if ((value) != NULL) \
			TRY(call);       \
	} while (0)

/* configure - all options of a request. */
static CURLcode
configure(Request *request, const char *url, const char *body, size_t length)
{
	const MdbHttpSettings *s = request->http->settings;
	CURL *easy = request->easy;
	CURLcode rc = CURLE_OK;

	/* What it may do, and how long that may take. */
	TRY(curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L));
	TRY(curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L));
	TRY(curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https"));
	TRY(curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L));
	TRY(curl_easy_setopt(easy, CURLOPT_PROXY, ""));
	TRY(curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED));
	TRY(curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1));
	TRY(curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L));
	TRY(curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) s->timeout_ms));
	TRY(curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) s->connect_timeout_ms));

	/* Who they are, and who we are. */
	TRY(curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2));
	TRY(curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L));
	TRY(curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L));
	TRY_IF(s->ca_file, curl_easy_setopt(easy, CURLOPT_CAINFO, s->ca_file));
	TRY_IF(s->ca_pem, set_blob(easy, CURLOPT_CAINFO_BLOB, s->ca_pem));
	TRY_IF(s->cert_file, curl_easy_setopt(easy, CURLOPT_SSLCERT, s->cert_file));
	TRY_IF(s->cert_pem, set_blob(easy, CURLOPT_SSLCERT_BLOB, s->cert_pem));
	TRY_IF(s->key_file, curl_easy_setopt(easy, CURLOPT_SSLKEY, s->key_file));
	TRY_IF(s->key_pem, set_blob(easy, CURLOPT_SSLKEY_BLOB, s->key_pem));
	/* Without one OpenSSL would ask for it on the terminal. */
	TRY(curl_easy_setopt(easy, CURLOPT_KEYPASSWD, s->key_password ? s->key_password : ""));
	TRY_IF(s->user, curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC));
	TRY_IF(s->user, curl_easy_setopt(easy, CURLOPT_USERNAME, s->user));
	TRY_IF(s->password, curl_easy_setopt(easy, CURLOPT_PASSWORD, s->password));

	/* What is said. */
	TRY(curl_easy_setopt(easy, CURLOPT_URL, url));
	TRY(curl_easy_setopt(easy, CURLOPT_USERAGENT, "metricsdb"));
	TRY(curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers));
	TRY(curl_easy_setopt(easy, CURLOPT_POST, 1L));
	TRY(curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) length));
	TRY(curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body));

	/* What is heard. */
	TRY(curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error));
	TRY(curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body));
	TRY(curl_easy_setopt(easy, CURLOPT_WRITEDATA, request));
	TRY(curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header));
	TRY(curl_easy_setopt(easy, CURLOPT_HEADERDATA, request));
	TRY(curl_easy_setopt(easy, CURLOPT_PRIVATE, request));
	return rc;
}

/* add_header - false if there is no memory. */
static bool
add_header(Request *request, const char *line)
{
	struct curl_slist *list = curl_slist_append(request->headers, line);

	if (list == NULL)
		return false;
	request->headers = list;
	return true;
}

bool
mdb_http_post(MdbHttp *http, const char *url, const char *body, size_t length, List *headers, void *of_caller,
			  const char **error)
{
	Request *request = MemoryContextAllocZero(http->context, sizeof(Request));
	CURLcode rc = CURLE_OUT_OF_MEMORY;
	CURLMcode mrc = CURLM_OK;
	sigset_t before;
	ListCell *lc;
	bool good;

	request->http = http;
	request->of_caller = of_caller;
	block_signals(&before);
	request->easy = curl_easy_init();
	good = request->easy != NULL && add_header(request, "Content-Type: application/json") &&
		   add_header(request, "Expect:");
	foreach (lc, headers)
		good = good && add_header(request, lfirst(lc));
	if (good)
		rc = configure(request, url, body, length);
	if (rc == CURLE_OK)
		mrc = curl_multi_add_handle(http->multi, request->easy);
	if (rc != CURLE_OK || mrc != CURLM_OK)
	{
		*error = rc != CURLE_OK ? curl_easy_strerror(rc) : curl_multi_strerror(mrc);
		if (request->easy)
			curl_easy_cleanup(request->easy);
		curl_slist_free_all(request->headers);
		pfree(request);
	}
	else
	{
		dlist_push_tail(&http->requests, &request->node);
		http->pending++;
	}
	unblock_signals(&before);
	return rc == CURLE_OK && mrc == CURLM_OK;
}

int
mdb_http_pending(const MdbHttp *http)
{
	return http->pending;
}

/* printable - control characters replaced, and what is not ASCII, which may be no text of this database. */
static void
printable(char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text > '~')
			*text = (*text == '\n' || *text == '\t') ? ' ' : '?';
}

bool
mdb_http_done(MdbHttp *http, MdbHttpAnswer *answer)
{
	sigset_t before;
	CURLMsg *message;
	Request *request = NULL;
	CURLcode rc = CURLE_OK;
	long status = 0;
	curl_off_t retry_after = 0;
	int left;

	block_signals(&before);
	if (http->ended != NULL)
		free_request(http->ended);
	http->ended = NULL;
	while (request == NULL && (message = curl_multi_info_read(http->multi, &left)) != NULL)
	{
		if (message->msg != CURLMSG_DONE)
			continue;
		rc = message->data.result;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
		curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_getinfo(message->easy_handle, CURLINFO_RETRY_AFTER, &retry_after);
	}
	unblock_signals(&before);
	if (request == NULL)
		return false;

	http->ended = request;
	http->pending--;
	request->body[request->kept] = '\0';
	printable(request->body);
	printable(request->error);
	memset(answer, 0, sizeof(*answer));
	answer->request = request->of_caller;
	answer->body = request->body;
	answer->retry_after_s = (int) Min(Max(retry_after, 0), INT_MAX);
	/* Who answers at great length has answered. */
	if (rc == CURLE_OK || (request->overflow && status >= 200))
		answer->status = (int) status;
	else
		answer->error = request->error[0] ? request->error : curl_easy_strerror(rc);
	return true;
}

/* drive - let a client go on: what has happened at a socket, or that time has passed. */
static void
drive(MdbHttp *http, curl_socket_t socket, int events)
{
	sigset_t before;
	int running;

	block_signals(&before);
	curl_multi_socket_action(http->multi, socket, events, &running);
	unblock_signals(&before);
}

/* remaining - until a client's timer, in milliseconds; at most ms. */
static long
remaining(const MdbHttp *http, long ms)
{
	instr_time now;

	if (http->crowded && http->pending > 0)
		ms = Min(ms, POLL_MS);
	if (!http->has_timer)
		return ms;
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, http->timer_from);
	return Max(0, Min(ms, http->timer_ms - (long) INSTR_TIME_GET_MILLISEC(now)));
}

/* run_timers - those that are over. */
static void
run_timers(MdbHttp **list, int n)
{
	for (int i = 0; i < n; i++)
	{
		MdbHttp *http = list[i];

		if (http->has_timer && remaining(http, LONG_MAX) == 0)
		{
			http->has_timer = false;
			drive(http, CURL_SOCKET_TIMEOUT, 0);
		}
		else if (http->crowded && http->pending > 0)
		{
			/* Rare: let it look for itself. */
			sigset_t before;
			int running;

			block_signals(&before);
			curl_multi_perform(http->multi, &running);
			unblock_signals(&before);
		}
	}
}

bool
mdb_http_wait(MdbHttp **list, int n, long ms)
{
	WaitEvent event;
	WaitEventSet *set;
	int nsockets = 0;

	run_timers(list, n);
	for (int i = 0; i < n; i++)
	{
		ms = remaining(list[i], ms);
		nsockets += list[i]->nsockets;
	}

	/* Sockets come and go, so the set is of this once. */
	set = mdb_wait_event_set(nsockets + 2);
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < n; i++)
		for (int k = 0; k < list[i]->nsockets; k++)
		{
			uint32 wanted = 0;

			if (list[i]->sockets[k].what & CURL_POLL_IN)
				wanted |= WL_SOCKET_READABLE;
			if (list[i]->sockets[k].what & CURL_POLL_OUT)
				wanted |= WL_SOCKET_WRITEABLE;
			if (wanted != 0)
				AddWaitEventToSet(set, wanted, list[i]->sockets[k].socket, NULL, list[i]);
		}
	if (WaitEventSetWait(set, ms, &event, 1, PG_WAIT_EXTENSION) == 0)
		event.events = 0;
	FreeWaitEventSet(set);

	if (event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (event.events & (WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE))
		drive(event.user_data, event.fd,
			  ((event.events & WL_SOCKET_READABLE) ? CURL_CSELECT_IN : 0) |
				  ((event.events & WL_SOCKET_WRITEABLE) ? CURL_CSELECT_OUT : 0));
	run_timers(list, n);
	return (event.events & WL_LATCH_SET) != 0;
}

/* part_of - one part of a URL, palloc'd, or NULL. */
static char *
part_of(CURLU *url, CURLUPart what)
{
	char *part = NULL;
	char *copy;

	if (curl_url_get(url, what, &part, 0) != CURLUE_OK || part == NULL)
		return NULL;
	copy = pstrdup(part);
	curl_free(part);
	return copy;
}

const char *
mdb_url_problem(const char *text)
{
	CURLU *url;
	CURLUcode rc;
	const char *problem = NULL;
	const char *scheme;

	if (strlen(text) > 2000)
		return "It is longer than 2000 bytes.";
	for (const char *c = text; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~')
			return "It has a blank or a character that is not printable ASCII.";
	if (strstr(text, "***") != NULL)
		return "It is a secret that is missing.";
	begin();
	url = curl_url();
	if (url == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	rc = curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME);
	scheme = rc == CURLUE_OK ? part_of(url, CURLUPART_SCHEME) : NULL;
	if (rc != CURLUE_OK)
		problem = "libcurl cannot read it.";
	else if (scheme == NULL || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
		problem = "It must begin with http:// or https://.";
	else if (part_of(url, CURLUPART_USER) != NULL || part_of(url, CURLUPART_PASSWORD) != NULL)
		problem = "User and password must not be part of it.";
	else if (part_of(url, CURLUPART_FRAGMENT) != NULL)
		problem = "It must not have a fragment.";
	curl_url_cleanup(url);
	return problem;
}

char *
mdb_url_shown(const char *text)
{
	const char *host = strstr(text, "://");
	size_t length;

	if (host == NULL)
		return pstrdup("***");
	host += 3;
	length = (host - text) + strcspn(host, "/?#");
	return psprintf("%.*s/***", (int) length, text);
}
