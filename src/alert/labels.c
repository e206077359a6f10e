/*
 * labels.c
 *	  What identifies an instance.
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"

#include "alert/alert.h"

/* A length and so many bytes, so that no two lists of labels look alike. */
static void
put(StringInfo buf, const char *bytes, int len)
{
	for (int i = 0; i < 4; i++)
		appendStringInfoCharMacro(buf, (char) ((uint32) len >> (8 * i)));
	appendBinaryStringInfo(buf, bytes, len);
}

/*
 * mdb_labels_key - the 16 bytes that identify labels, whatever the order they were given in: jsonb has its own.  The same
 * on all machines, as they are dumped.
 */
void
mdb_labels_key(const Jsonb *labels, uint8 key[MDB_LABELS_KEY])
{
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	pg_cryptohash_ctx *hash;
	StringInfoData buf;
	JsonbIterator *it = JsonbIteratorInit(unconstify(JsonbContainer *, &labels->root));
	JsonbIteratorToken token;
	JsonbValue v;

	initStringInfo(&buf);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char *text;

		if (token != WJB_KEY && token != WJB_VALUE)
			continue;
		if (v.type == jbvString)
			put(&buf, v.val.string.val, v.val.string.len);
		else
		{
			text = mdb_json_scalar(&v);
			put(&buf, text ? text : "", text ? (int) strlen(text) : 0);
		}
	}
	hash = pg_cryptohash_create(PG_SHA256);
	if (hash == NULL || pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, (uint8 *) buf.data, buf.len) < 0 ||
		pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute the key of labels: %s", pg_cryptohash_error(hash));
	pg_cryptohash_free(hash);
	memcpy(key, digest, MDB_LABELS_KEY);
	pfree(buf.data);
}
