/*
 * alertmanager.c
 *	  What an Alertmanager is told: POST /api/v2/alerts.
 *
 * It wants names of labels to match [a-zA-Z_][a-zA-Z0-9_]*, takes empty values for none, and tells alerts apart by their
 * labels alone.  So names are made such, and where one was changed, or two have become one, the label metricsdb_id is
 * added, which is made of the labels as they were: no two of ours become one of its.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "deliver/payload.h"

#define ID_LABEL "metricsdb_id"

/* valid_name - a name that Alertmanager takes: the same if it does. */
static char *
valid_name(const char *name)
{
	StringInfoData out;

	initStringInfo(&out);
	if (name[0] == '\0' || (name[0] >= '0' && name[0] <= '9'))
		appendStringInfoChar(&out, '_');
	for (const unsigned char *c = (const unsigned char *) name; *c != '\0'; c++)
	{
		if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_')
			appendStringInfoChar(&out, (char) *c);
		/* One for each character of more than one byte */
		else if ((*c & 0xc0) != 0x80)
			appendStringInfoChar(&out, '_');
	}
	return out.data;
}

/* has - is there a label of that name among the first n? */
static bool
has(int n, const MdbLabel *labels, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(labels[i].name, name) == 0)
			return true;
	return false;
}

/* make_valid - names as Alertmanager takes them, each once; true if any was changed. */
static bool
make_valid(int n, MdbLabel *labels)
{
	MdbLabel *out = palloc(sizeof(MdbLabel) * Max(n, 1));
	int done = 0;
	bool changed = false;

	/* Those that are valid first, so that they keep their names. */
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < n; i++)
		{
			char *name = valid_name(labels[i].name);
			char *base = name;

			if ((strcmp(name, labels[i].name) != 0) != (pass == 1))
				continue;
			for (int k = 2; has(done, out, name); k++)
				name = psprintf("%s_%d", base, k);
			changed |= pass == 1;
			out[done].name = name;
			out[done].value = labels[i].value;
			done++;
		}
	memcpy(labels, out, sizeof(MdbLabel) * n);
	return changed;
}

char *
mdb_payload_alertmanager(const MdbAlertTarget *target, int n, const MdbAlert *alerts)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	for (int i = 0; i < n; i++)
	{
		const MdbAlert *alert = &alerts[i];
		MdbLabel *labels;
		MdbLabel *annotations;
		int nlabels = mdb_payload_labels(alert->labels, &labels);
		int nannotations = mdb_payload_labels(alert->annotations, &annotations);
		/* There is room for two more. */
		MdbLabel *all = palloc(sizeof(MdbLabel) * (nlabels + 2));
		bool changed;

		memcpy(all, labels, sizeof(MdbLabel) * nlabels);
		if (!has(nlabels, all, "alertname"))
			all[nlabels++] = (MdbLabel){"alertname", alert->rule};
		changed = make_valid(nlabels, all);
		if (changed && !has(nlabels, all, ID_LABEL))
			all[nlabels++] = (MdbLabel){ID_LABEL, mdb_payload_key(alert)};
		make_valid(nannotations, annotations);

		appendStringInfoString(&out, i > 0 ? ",{\"labels\":" : "{\"labels\":");
		mdb_payload_object(&out, nlabels, all);
		appendStringInfoString(&out, ",\"annotations\":");
		mdb_payload_object(&out, nannotations, annotations);
		appendStringInfoString(&out, ",\"startsAt\":");
		/* It refuses what begins after it ends, as one does that began when our clock was ahead. */
		mdb_payload_time(&out, Min(alert->starts_at, Min(alert->ends_at, GetCurrentTimestamp())));
		appendStringInfoString(&out, ",\"endsAt\":");
		mdb_payload_time(&out, alert->ends_at);
		if (target->generator_url)
		{
			appendStringInfoString(&out, ",\"generatorURL\":");
			mdb_payload_string(&out, target->generator_url);
		}
		appendStringInfoChar(&out, '}');
	}
	appendStringInfoChar(&out, ']');
	return mdb_payload_utf8(&out);
}
