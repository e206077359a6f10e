/*
 * notify.c
 *	  What who listens to a channel is told: one JSON object an alert, shorter than what NOTIFY allows.
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"

#include "deliver/payload.h"

/* NOTIFY takes less than 8,000 bytes. */
#define MAX_PAYLOAD 7900

/* Of a name that is itself too long */
#define MAX_NAME 500

static char *
payload(const MdbAlert *alert, const char *rule, bool with_labels, bool with_annotations)
{
	StringInfoData out;
	MdbLabel *labels;
	int n;

	initStringInfo(&out);
	appendStringInfoString(&out, "{\"rule\":");
	mdb_payload_string(&out, rule);
	appendStringInfo(&out,
					 ",\"status\":\"%s\",\"key\":\"%s\",\"startsAt\":", alert->firing ? "firing" : "resolved",
					 mdb_payload_key(alert));
	mdb_payload_time(&out, alert->starts_at);
	if (!alert->firing)
	{
		appendStringInfoString(&out, ",\"endsAt\":");
		mdb_payload_time(&out, alert->ends_at);
	}
	if (!alert->no_value && isfinite(alert->value))
		appendStringInfo(&out, ",\"value\":%.17g", alert->value);
	if (with_labels)
	{
		n = mdb_payload_labels(alert->labels, &labels);
		appendStringInfoString(&out, ",\"labels\":");
		mdb_payload_object(&out, n, labels);
	}
	if (with_annotations)
	{
		n = mdb_payload_labels(alert->annotations, &labels);
		appendStringInfoString(&out, ",\"annotations\":");
		mdb_payload_object(&out, n, labels);
	}
	appendStringInfoString(&out, with_annotations ? "}" : ",\"truncated\":true}");
	return out.data;
}

char *
mdb_payload_notify(const MdbAlertTarget *target, const MdbAlert *alert)
{
	char *text = payload(alert, alert->rule, true, true);

	if (strlen(text) > MAX_PAYLOAD)
		text = payload(alert, alert->rule, true, false);
	if (strlen(text) > MAX_PAYLOAD)
		text = payload(alert, pnstrdup(alert->rule, pg_mbcliplen(alert->rule, strlen(alert->rule), MAX_NAME)),
					   false, false);
	return text;
}
