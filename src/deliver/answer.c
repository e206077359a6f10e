/*
 * answer.c
 *	  What an answer of a receiver means.
 *
 * An Alertmanager that refuses a batch for one alert has taken the others, so that all of them may be sent again: to
 * tell which one it is, in halves.
 */
#include "postgres.h"

#include "common/pg_prng.h"

#include "deliver/deliver_internal.h"

#define BACKOFF_MS     1000
#define BACKOFF_MAX_MS (300 * 1000)

/*
 * is_of_alertmanager - has an Alertmanager said this?  It says in JSON what is wrong with alerts.  What else answers 400 is
 * not about them: a server that speaks TLS and was not spoken to so, a proxy that knows no such host.
 */
static bool
is_of_alertmanager(const char *body)
{
	body += strspn(body, " \t\r\n");
	return *body == '"' || *body == '{';
}

MdbVerdict
mdb_answer_verdict(const MdbAlertTarget *target, const MdbHttpAnswer *answer, char **why)
{
	int status = answer->status;
	const char *text;

	*why = NULL;
	if (status >= 200 && status < 300)
		return MDB_GOOD;
	if (status == 0)
		text = answer->error;
	else if (status >= 300 && status < 400)
		text = psprintf("HTTP %d: redirects are not followed", status);
	else if (answer->body[0] == '\0')
		text = psprintf("HTTP %d", status);
	else
		text = psprintf("HTTP %d: %.200s", status, mdb_target_hide(target, answer->body));
	*why = mdb_target_hide(target, text);
	if (status == 400 && target->kind == MDB_TARGET_ALERTMANAGER && !is_of_alertmanager(answer->body))
		return MDB_TROUBLE;
	/* Not 401, 403, 404, 408, 429, which are not about what was said. */
	return status == 400 || status == 413 || status == 422 ? MDB_BAD : MDB_TROUBLE;
}

long
mdb_backoff_ms(int failures)
{
	long ms = Min((long) BACKOFF_MAX_MS, (long) BACKOFF_MS << Min(Max(failures - 1, 0), 9));

	return ms / 2 + (long) (pg_prng_double(&pg_global_prng_state) * (ms / 2));
}
