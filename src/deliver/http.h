/*
 * http.h
 *	  HTTP requests that nobody waits for.  The seam to libcurl: http.c alone knows it.
 */
#ifndef MDB_DELIVER_HTTP_H
#define MDB_DELIVER_HTTP_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* How a client talks to its receiver; strings are NULL where nothing is set. */
typedef struct MdbHttpSettings
{
	int timeout_ms;         /* of a request, with everything */
	int connect_timeout_ms; /* names, TCP and TLS */
	const char *user;       /* basic authentication */
	const char *password;
	const char *ca_file; /* whom to trust; text or file, else the system's */
	const char *ca_pem;
	const char *cert_file; /* who we are */
	const char *cert_pem;
	const char *key_file;
	const char *key_pem;
	const char *key_password;
} MdbHttpSettings;

/* What has become of a request. */
typedef struct MdbHttpAnswer
{
	void *request;     /* the caller's */
	int status;        /* of HTTP; 0 = there is none */
	const char *error; /* if there is no status: why */
	const char *body;  /* the beginning, what is not printable replaced */
	int retry_after_s; /* that the receiver asks for, 0 = it does not */
} MdbHttpAnswer;

typedef struct MdbHttp MdbHttp;

/*
 * mdb_http_create - a client with connections of its own, in a new child of the current memory context, with which it
 * ends.  Errors: what libcurl refuses of the settings shows when a request is made.
 */
extern MdbHttp *mdb_http_create(const MdbHttpSettings *settings);
extern void mdb_http_destroy(MdbHttp *http);

/*
 * mdb_http_post - start a request.  body (JSON) and headers ("Name: value") are copied; settings must live as long as
 * the client.  False, and *error, if it cannot be made.
 */
extern bool mdb_http_post(MdbHttp *http, const char *url, const char *body, size_t length, List *headers,
						  void *request, const char **error);

/* mdb_http_done - the next request that has come to an end; its strings live until the next call.  False: none. */
extern bool mdb_http_done(MdbHttp *http, MdbHttpAnswer *answer);

/*
 * mdb_http_wait - let requests of all clients go on, until one has ended, the process's latch is set, or ms have
 * passed.  Resets the latch, and says whether it was set.  Interrupts are looked for.
 */
extern bool mdb_http_wait(MdbHttp **clients, int nclients, long ms);

/* mdb_http_pending - requests that have not ended. */
extern int mdb_http_pending(const MdbHttp *http);

/*
 * mdb_url_problem - why this is no URL to send to: NULL if it is one.  Only http and https, without user and password,
 * which would be seen in views.
 */
extern const char *mdb_url_problem(const char *url);

/* mdb_url_shown - scheme and host of a URL that is a secret, and three stars: not a URL any more. */
extern char *mdb_url_shown(const char *url);

#endif /* MDB_DELIVER_HTTP_H */
