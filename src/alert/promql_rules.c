/*
 * promql_rules.c
 *	  Rule files of Prometheus: groups of rules, as model/rulefmt of 2.42 takes them, strictly.
 *
 * A key that is not known is an error, as it is there: what it says would not be done.  Several files may be in one text,
 * as documents of YAML.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/string.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

#include "alert/promql_rules.h"
#include "alert/promql_sql.h"

#define MAX_BYTES (4 * 1024 * 1024)

/* What was raised, in one line. */
static char *
reason_of(const ErrorData *error)
{
	if (error->hint)
		return psprintf("%s. %s", error->message, error->hint);
	return pstrdup(error->message);
}

/*
 * mdb_prom_try - call a function in a subtransaction; NULL, or why it failed, and nothing of it is left then.
 */
char *
mdb_prom_try(void (*what)(void *arg), void *arg)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char *volatile reason = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		what(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		/* What is not the function's fault is nothing to go on after. */
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_OUT_OF_MEMORY ||
			error->sqlerrcode == ERRCODE_INTERNAL_ERROR)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		reason = reason_of(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	return reason;
}

/*
 * mdb_prom_bad_file - raises ERRCODE_INVALID_PARAMETER_VALUE.
 */
void
mdb_prom_bad_file(const char *what, int line, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s, line %d: %s", what, line, problem)));
}

/*
 * mdb_prom_yaml - a text in the database's encoding to documents of YAML in CurrentMemoryContext; returns how many.
 */
int
mdb_prom_yaml(const char *text, const char *what, MdbYaml ***documents)
{
	MdbYamlError error;
	char *utf8 = pg_server_to_any(text, strlen(text), PG_UTF8);
	int n;

	if (strlen(utf8) > MAX_BYTES)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("%s has more than %d bytes", what, MAX_BYTES)));
	if (GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII && !pg_is_ascii(utf8))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("%s has characters that are not ASCII, and the database is not UTF8", what)));
	if (!mdb_yaml_read(mdb_prom_memory(), utf8, strlen(utf8), &n, documents, &error))
		mdb_prom_bad_file(what, error.line, error.what);
	return n;
}

/*
 * mdb_prom_known_keys - all keys of a map are in a list, which ends with NULL.
 */
void
mdb_prom_known_keys(const MdbYaml *map, const char *what, const char *const *keys)
{
	if (map->kind != MDB_YAML_MAP)
		mdb_prom_bad_file(what, map->line, "a map should be here");
	for (int i = 0; i < map->n; i++)
	{
		int j = 0;

		while (keys[j] && strcmp(keys[j], map->keys[i]->text.p) != 0)
			j++;
		if (keys[j] == NULL)
			mdb_prom_bad_file(what, map->keys[i]->line,
							  psprintf("key \"%s\" is not known", map->keys[i]->text.p));
	}
}

/*
 * mdb_prom_string - the text that a key has; NULL if it has none.
 */
char *
mdb_prom_string(const MdbYaml *map, const char *what, const char *key)
{
	const MdbYaml *node = mdb_yaml_get(map, key);

	if (node == NULL)
		return NULL;
	if (node->kind != MDB_YAML_SCALAR)
		mdb_prom_bad_file(what, node->line, psprintf("\"%s\" should be a text", key));
	return pstrdup(node->text.p);
}

/*
 * mdb_prom_time - the duration that a key has, in milliseconds.
 */
int64
mdb_prom_time(const MdbYaml *map, const char *what, const char *key, int64 otherwise)
{
	char *text = mdb_prom_string(map, what, key);
	int64 ms;

	if (text == NULL)
		return otherwise;
	if (!mdb_prom_duration(text, strlen(text), &ms))
		mdb_prom_bad_file(what, mdb_yaml_get(map, key)->line,
						  psprintf("\"%s\" should be a duration like 1h30m, and is \"%s\"", key, text));
	return ms;
}

/*
 * mdb_prom_list - the list that a key has; NULL if it has none.
 */
const MdbYaml *
mdb_prom_list(const MdbYaml *map, const char *what, const char *key)
{
	const MdbYaml *node = mdb_yaml_get(map, key);

	if (node && node->kind != MDB_YAML_LIST)
		mdb_prom_bad_file(what, node->line, psprintf("\"%s\" should be a list", key));
	return node;
}

static bool
is_name(const char *name, bool colons)
{
	if (name[0] == '\0' || (name[0] >= '0' && name[0] <= '9'))
		return false;
	for (const char *p = name; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '_' ||
			  (colons && *p == ':')))
			return false;
	return true;
}

/*
 * mdb_prom_texts - the map of names to texts that a key has, as jsonb; {} if it has none.
 */
Jsonb *
mdb_prom_texts(const MdbYaml *map, const char *what, const char *key)
{
	const MdbYaml *node = mdb_yaml_get(map, key);
	JsonbParseState *state = NULL;

	if (node && node->kind != MDB_YAML_MAP)
		mdb_prom_bad_file(what, node->line, psprintf("\"%s\" should be a map", key));
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; node && i < node->n; i++)
	{
		JsonbValue v = {.type = jbvString};
		const MdbYaml *value = node->values[i];

		if (!is_name(node->keys[i]->text.p, false) || strcmp(node->keys[i]->text.p, MDB_MATCH_NAME) == 0)
			mdb_prom_bad_file(what, node->keys[i]->line,
							  psprintf("\"%s\" is no name", node->keys[i]->text.p));
		if (value->kind != MDB_YAML_SCALAR)
			mdb_prom_bad_file(what, value->line, psprintf("\"%s\" should be a text", node->keys[i]->text.p));
		v.val.string.val = unconstify(char *, node->keys[i]->text.p);
		v.val.string.len = (int) node->keys[i]->text.len;
		(void) pushJsonbValue(&state, WJB_KEY, &v);
		v.val.string.val = unconstify(char *, mdb_yaml_is_null(value) ? "" : value->text.p);
		v.val.string.len = (int) strlen(v.val.string.val);
		(void) pushJsonbValue(&state, WJB_VALUE, &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static MdbPromRule *
read_rule(const MdbYaml *node, const char *what)
{
	static const char *const keys[] = {"record",          "alert",  "expr",        "for",
									   "keep_firing_for", "labels", "annotations", NULL};
	MdbPromRule *rule = palloc0(sizeof(MdbPromRule));
	char *alert, *record;

	mdb_prom_known_keys(node, what, keys);
	alert = mdb_prom_string(node, what, "alert");
	record = mdb_prom_string(node, what, "record");
	rule->line = node->line;
	if ((alert == NULL) == (record == NULL))
		mdb_prom_bad_file(what, node->line, "a rule has either \"alert\" or \"record\"");
	rule->records = record != NULL;
	rule->name = record ? record : alert;
	rule->expr = mdb_prom_string(node, what, "expr");
	if (rule->expr == NULL)
		mdb_prom_bad_file(what, node->line, "the rule has no \"expr\"");
	if (record && !is_name(record, true))
		mdb_prom_bad_file(what, node->line, psprintf("\"%s\" is no name of a metric", record));
	if (record && (mdb_yaml_get(node, "for") || mdb_yaml_get(node, "keep_firing_for") ||
				   mdb_yaml_get(node, "annotations")))
		mdb_prom_bad_file(
			what, node->line,
			"a rule that records has neither \"for\" nor \"keep_firing_for\" nor \"annotations\"");
	rule->hold = mdb_prom_time(node, what, "for", 0);
	rule->keep_firing_for = mdb_prom_time(node, what, "keep_firing_for", 0);
	rule->labels = mdb_prom_texts(node, what, "labels");
	rule->annotations = mdb_prom_texts(node, what, "annotations");
	return rule;
}

static MdbPromGroup *
read_group(const MdbYaml *node, const char *what)
{
	static const char *const keys[] = {"name", "interval", "limit", "rules", NULL};
	MdbPromGroup *group = palloc0(sizeof(MdbPromGroup));
	const MdbYaml *rules;
	char *limit;

	mdb_prom_known_keys(node, what, keys);
	group->name = mdb_prom_string(node, what, "name");
	if (group->name == NULL || group->name[0] == '\0')
		mdb_prom_bad_file(what, node->line, "the group has no \"name\"");
	group->interval = mdb_prom_time(node, what, "interval", 0);
	limit = mdb_prom_string(node, what, "limit");
	if (limit && (strlen(limit) > 9 || strspn(limit, "0123456789") != strlen(limit) || limit[0] == '\0'))
		mdb_prom_bad_file(what, mdb_yaml_get(node, "limit")->line, "\"limit\" should be a number");
	group->limit = limit ? atol(limit) : 0;
	rules = mdb_prom_list(node, what, "rules");
	for (int i = 0; rules && i < rules->n; i++)
		group->rules = lappend(group->rules, read_rule(rules->values[i], what));
	return group;
}

/*
 * mdb_prom_rule_file - a text of rule files to groups, of MdbPromGroup *.  Raises ERRCODE_INVALID_PARAMETER_VALUE.
 */
List *
mdb_prom_rule_file(const char *text, const char *what)
{
	static const char *const keys[] = {"groups", NULL};
	MdbYaml **documents;
	int n = mdb_prom_yaml(text, what, &documents);
	List *groups = NIL;

	for (int d = 0; d < n; d++)
	{
		const MdbYaml *list;
		int before = list_length(groups);

		if (mdb_yaml_is_null(documents[d]))
			continue;
		mdb_prom_known_keys(documents[d], what, keys);
		list = mdb_prom_list(documents[d], what, "groups");
		for (int i = 0; list && i < list->n; i++)
		{
			MdbPromGroup *group = read_group(list->values[i], what);

			/* In one file. */
			for (int j = before; j < list_length(groups); j++)
				if (strcmp(((MdbPromGroup *) list_nth(groups, j))->name, group->name) == 0)
					mdb_prom_bad_file(what, list->values[i]->line,
									  psprintf("group \"%s\" is there twice", group->name));
			groups = lappend(groups, group);
		}
	}
	return groups;
}
