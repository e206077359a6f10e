/*
 * json.c
 *	  Pieces of the JSON that targets are told.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "alert/alert.h"
#include "deliver/payload.h"

int
mdb_payload_labels(const Jsonb *object, MdbLabel **labels)
{
	Jsonb *source = unconstify(Jsonb *, object);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;
	char *name = NULL;
	int n = 0;

	*labels = palloc(sizeof(MdbLabel) * (JB_ROOT_COUNT(source) + 1));
	if (!JB_ROOT_IS_OBJECT(source))
		return 0;
	it = JsonbIteratorInit(&source->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE && v.type != jbvBinary)
		{
			char *text = mdb_json_scalar(&v);

			if (text == NULL || text[0] == '\0')
				continue;
			(*labels)[n].name = name;
			(*labels)[n].value = text;
			n++;
		}
	}
	return n;
}

void
mdb_payload_string(StringInfo out, const char *text)
{
	escape_json(out, text);
}

void
mdb_payload_time(StringInfo out, TimestampTz at)
{
	char buffer[MAXDATELEN + 1];
	int utc = 0;

	if (TIMESTAMP_NOT_FINITE(at))
		at = GetCurrentTimestamp();
	JsonEncodeDateTime(buffer, TimestampTzGetDatum(at), TIMESTAMPTZOID, &utc);
	appendStringInfo(out, "\"%s\"", buffer);
}

void
mdb_payload_object(StringInfo out, int n, const MdbLabel *labels)
{
	appendStringInfoChar(out, '{');
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		mdb_payload_string(out, labels[i].name);
		appendStringInfoChar(out, ':');
		mdb_payload_string(out, labels[i].value);
	}
	appendStringInfoChar(out, '}');
}

char *
mdb_payload_utf8(StringInfo payload)
{
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
	{
		/* Whatever it may be. */
		for (int i = 0; i < payload->len; i++)
			if (IS_HIGHBIT_SET(payload->data[i]))
				payload->data[i] = '?';
	}
	return pg_server_to_any(payload->data, payload->len, PG_UTF8);
}

char *
mdb_payload_key(const MdbAlert *alert)
{
	int length = VARSIZE_ANY_EXHDR(alert->id.key);
	char *text = palloc0(2 * length + 1);

	hex_encode(VARDATA_ANY(alert->id.key), length, text);
	return text;
}
