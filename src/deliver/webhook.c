/*
 * webhook.c
 *	  What a webhook is told: the payload of Alertmanager's, version 4, with groups of one alert.
 *
 * With hmac_key it is signed: X-Metricsdb-Signature is "v1=" and the HMAC-SHA256, in hexadecimal digits, of what
 * X-Metricsdb-Timestamp says (seconds since 1970), a full stop, and the body.  A receiver that compares the time with its
 * clock's is safe from who repeats a message.  X-Metricsdb-Delivery is the same whenever the same is told again,
 * so that who has heard it can tell.
 */
#include "postgres.h"

#include <math.h>
#include <time.h>

#include "common/hmac.h"
#include "common/sha2.h"
#include "utils/builtins.h"

#include "deliver/payload.h"

char *
mdb_payload_webhook(const MdbAlertTarget *target, const MdbAlert *alert)
{
	StringInfoData out;
	StringInfoData key;
	MdbLabel *labels;
	MdbLabel *annotations;
	int nlabels = mdb_payload_labels(alert->labels, &labels);
	int nannotations = mdb_payload_labels(alert->annotations, &annotations);
	MdbLabel group = {"alertname", alert->rule};
	const char *status = alert->firing ? "firing" : "resolved";

	initStringInfo(&key);
	appendStringInfoString(&key, "{}:{alertname=");
	mdb_payload_string(&key, alert->rule);
	appendStringInfo(&key, "}:%s", mdb_payload_key(alert));

	initStringInfo(&out);
	appendStringInfoString(&out, "{\"version\":\"4\",\"groupKey\":");
	mdb_payload_string(&out, key.data);
	appendStringInfo(&out, ",\"truncatedAlerts\":0,\"status\":\"%s\",\"receiver\":", status);
	mdb_payload_string(&out, target->name);
	appendStringInfoString(&out, ",\"groupLabels\":");
	mdb_payload_object(&out, 1, &group);
	appendStringInfoString(&out, ",\"commonLabels\":");
	mdb_payload_object(&out, nlabels, labels);
	appendStringInfoString(&out, ",\"commonAnnotations\":");
	mdb_payload_object(&out, nannotations, annotations);
	appendStringInfo(&out, ",\"externalURL\":\"\",\"alerts\":[{\"status\":\"%s\",\"labels\":", status);
	mdb_payload_object(&out, nlabels, labels);
	appendStringInfoString(&out, ",\"annotations\":");
	mdb_payload_object(&out, nannotations, annotations);
	appendStringInfoString(&out, ",\"startsAt\":");
	mdb_payload_time(&out, alert->starts_at);
	appendStringInfoString(&out, ",\"endsAt\":");
	if (alert->firing)
		appendStringInfoString(&out, "\"0001-01-01T00:00:00Z\"");
	else
		mdb_payload_time(&out, alert->ends_at);
	appendStringInfoString(&out, ",\"generatorURL\":");
	mdb_payload_string(&out, target->generator_url ? target->generator_url : "");
	appendStringInfo(&out, ",\"fingerprint\":\"%.16s\",\"value\":", mdb_payload_key(alert));
	if (alert->no_value)
		appendStringInfoString(&out, "null");
	else if (isfinite(alert->value))
		appendStringInfo(&out, "%.17g", alert->value);
	else
		appendStringInfoString(&out, isnan(alert->value) ? "\"NaN\""
									 : alert->value > 0  ? "\"+Inf\""
														 : "\"-Inf\"");
	appendStringInfoString(&out, "}]}");
	return mdb_payload_utf8(&out);
}

/* signature - of a body, at a time; hexadecimal digits. */
static char *
signature(const char *key, const char *timestamp, const char *body)
{
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	char *text = palloc0(2 * sizeof(digest) + 1);
	pg_hmac_ctx *hmac = pg_hmac_create(PG_SHA256);

	if (hmac == NULL || pg_hmac_init(hmac, (const uint8 *) key, strlen(key)) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) timestamp, strlen(timestamp)) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) ".", 1) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) body, strlen(body)) < 0 ||
		pg_hmac_final(hmac, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not sign a message");
	pg_hmac_free(hmac);
	hex_encode((const char *) digest, sizeof(digest), text);
	return text;
}

List *
mdb_webhook_headers(const MdbAlertTarget *target, const MdbAlert *alert, const char *body)
{
	List *headers = list_copy(target->headers);

	headers = lappend(headers, psprintf("X-Metricsdb-Delivery: %d-%s-" INT64_FORMAT "-%s", alert->id.rule_id,
										mdb_payload_key(alert), alert->starts_at,
										alert->firing ? "firing" : "resolved"));
	if (target->hmac_key)
	{
		char *timestamp = psprintf(INT64_FORMAT, (int64) time(NULL));

		headers = lappend(headers, psprintf("X-Metricsdb-Timestamp: %s", timestamp));
		headers = lappend(
			headers, psprintf("X-Metricsdb-Signature: v1=%s", signature(target->hmac_key, timestamp, body)));
	}
	return headers;
}
