/*
 * yaml_tree.c
 *	  A reader of YAML, over the events of libyaml.
 *
 * An alias is its anchor's node, not a copy of it, and cannot stand inside of it: a tree is never larger than its text.
 * Nothing of PostgreSQL's may be left by an error while libyaml has memory of its own, so it is not asked for interrupts.
 * A key may not come twice in a map; << brings in the keys of other maps that are not there.
 */
#include "alert/yaml_tree.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

typedef struct Anchor
{
	MdbBytes name;
	MdbYaml *node;
	bool open; /* its node is still being read */
} Anchor;

typedef struct Reader
{
	const MdbMatchMemory *memory;
	MdbYamlError *error;
	yaml_parser_t parser;
	int depth;
	int nodes;
	int nanchors;
	Anchor *anchors;
} Reader;

static MdbYaml *read_node(Reader *s, yaml_event_t *event);

static void *
fail(Reader *s, size_t line, const char *what)
{
	if (s->error->what == NULL)
		*s->error = (MdbYamlError){.line = (int) line + 1, .what = what};
	return NULL;
}

static void *
take(Reader *s, size_t size)
{
	return s->memory->alloc(s->memory->arg, size);
}

static MdbBytes
copy(Reader *s, const void *p, size_t len)
{
	char *to = take(s, len + 1);

	if (len > 0)
		memcpy(to, p, len);
	to[len] = '\0';
	return (MdbBytes){to, len};
}

static bool
next_event(Reader *s, yaml_event_t *event)
{
	if (yaml_parser_parse(&s->parser, event))
		return true;
	fail(s, s->parser.problem_mark.line ? s->parser.problem_mark.line : s->parser.context_mark.line,
		 s->parser.error == YAML_MEMORY_ERROR ? "out of memory"
		 : s->parser.problem ? (const char *) copy(s, s->parser.problem, strlen(s->parser.problem)).p
							 : "this is no YAML");
	return false;
}

static MdbYaml *
new_node(Reader *s, MdbYamlKind kind, size_t line, const yaml_char_t *anchor)
{
	MdbYaml *node;

	if (++s->nodes > MDB_YAML_NODES)
		return fail(s, line, "there is too much in it");
	node = take(s, sizeof(MdbYaml));
	memset(node, 0, sizeof(MdbYaml));
	node->kind = kind;
	node->line = (int) line + 1;
	if (anchor)
	{
		s->anchors = mdb_match_room(s->memory, s->anchors, s->nanchors, sizeof(Anchor));
		s->anchors[s->nanchors++] =
			(Anchor){.name = copy(s, anchor, strlen((const char *) anchor)), .node = node, .open = true};
	}
	return node;
}

static void
close_anchor(Reader *s, const MdbYaml *node)
{
	for (int i = s->nanchors - 1; i >= 0; i--)
		if (s->anchors[i].node == node)
			s->anchors[i].open = false;
}

static MdbYaml *
find_anchor(Reader *s, const yaml_event_t *event)
{
	const char *name = (const char *) event->data.alias.anchor;

	/* The last one of a name counts. */
	for (int i = s->nanchors - 1; i >= 0; i--)
		if (strcmp(s->anchors[i].name.p, name) == 0)
			return s->anchors[i].open
					   ? fail(s, event->start_mark.line, "an alias stands inside of its own anchor")
					   : s->anchors[i].node;
	return fail(s, event->start_mark.line, "there is no such anchor");
}

static bool
same_key(const MdbYaml *a, const MdbYaml *b)
{
	return a->text.len == b->text.len && memcmp(a->text.p, b->text.p, a->text.len) == 0;
}

static bool
has_key(const MdbYaml *map, const MdbYaml *key)
{
	for (int i = 0; i < map->n; i++)
		if (same_key(map->keys[i], key))
			return true;
	return false;
}

static void
add(Reader *s, MdbYaml *node, MdbYaml *key, MdbYaml *value)
{
	if (node->kind == MDB_YAML_MAP)
	{
		node->keys = mdb_match_room(s->memory, node->keys, node->n, sizeof(MdbYaml *));
		node->keys[node->n] = key;
	}
	node->values = mdb_match_room(s->memory, node->values, node->n, sizeof(MdbYaml *));
	node->values[node->n++] = value;
}

/* The keys of << that are not there. */
static bool
merge(Reader *s, MdbYaml *map, const MdbYaml *from, int line)
{
	if (from->kind == MDB_YAML_LIST)
	{
		for (int i = 0; i < from->n; i++)
			if (from->values[i]->kind != MDB_YAML_MAP || !merge(s, map, from->values[i], line))
				return fail(s, (size_t) line - 1, "<< takes maps"), false;
		return true;
	}
	if (from->kind != MDB_YAML_MAP)
		return fail(s, (size_t) line - 1, "<< takes maps"), false;
	for (int i = 0; i < from->n; i++)
	{
		/* Many times merged, much is made of little text. */
		if (++s->nodes > MDB_YAML_NODES)
			return fail(s, (size_t) line - 1, "there is too much in it"), false;
		if (map->n < MDB_YAML_KEYS && !has_key(map, from->keys[i]))
			add(s, map, from->keys[i], from->values[i]);
	}
	return true;
}

static MdbYaml *
read_scalar(Reader *s, const yaml_event_t *event)
{
	MdbYaml *node = new_node(s, MDB_YAML_SCALAR, event->start_mark.line, event->data.scalar.anchor);

	if (node == NULL)
		return NULL;
	if (memchr(event->data.scalar.value, 0, event->data.scalar.length))
		return fail(s, event->start_mark.line, "a text cannot have a zero in it");
	node->text = copy(s, event->data.scalar.value, event->data.scalar.length);
	node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	close_anchor(s, node);
	return node;
}

/* A list or a map, behind its begin. */
static MdbYaml *
read_members(Reader *s, MdbYaml *node, yaml_event_type_t end)
{
	MdbYaml *merged = NULL;

	if (++s->depth > MDB_YAML_DEPTH)
		return fail(s, (size_t) node->line - 1, "it is nested too deeply");
	for (;;)
	{
		yaml_event_t event;
		MdbYaml *key = NULL, *value;
		bool ends;

		if (!next_event(s, &event))
			return NULL;
		ends = event.type == end;
		value = ends ? NULL : read_node(s, &event);
		yaml_event_delete(&event);
		if (ends)
			break;
		if (value && node->kind == MDB_YAML_MAP)
		{
			key = value;
			if (key->kind != MDB_YAML_SCALAR)
				return fail(s, (size_t) key->line - 1, "a key is a text here");
			if (node->n >= MDB_YAML_KEYS)
				return fail(s, (size_t) key->line - 1, "the map has too many keys");
			if (has_key(node, key))
				return fail(s, (size_t) key->line - 1, "this key is there twice");
			if (!next_event(s, &event))
				return NULL;
			value = read_node(s, &event);
			yaml_event_delete(&event);
		}
		if (value == NULL)
			return NULL;
		if (key && key->plain && key->text.len == 2 && memcmp(key->text.p, "<<", 2) == 0)
			merged = value;
		else
			add(s, node, key, value);
	}
	if (merged && !merge(s, node, merged, node->line))
		return NULL;
	close_anchor(s, node);
	s->depth--;
	return node;
}

/* The node that begins with an event. */
static MdbYaml *
read_node(Reader *s, yaml_event_t *event)
{
	MdbYaml *node;

	switch (event->type)
	{
		case YAML_ALIAS_EVENT:
			return find_anchor(s, event);
		case YAML_SCALAR_EVENT:
			return read_scalar(s, event);
		case YAML_SEQUENCE_START_EVENT:
			node = new_node(s, MDB_YAML_LIST, event->start_mark.line, event->data.sequence_start.anchor);
			return node ? read_members(s, node, YAML_SEQUENCE_END_EVENT) : NULL;
		case YAML_MAPPING_START_EVENT:
			node = new_node(s, MDB_YAML_MAP, event->start_mark.line, event->data.mapping_start.anchor);
			return node ? read_members(s, node, YAML_MAPPING_END_EVENT) : NULL;
		default:
			return fail(s, event->start_mark.line, "this is no YAML");
	}
}

static bool
read_documents(Reader *s, int *ndocuments, MdbYaml ***documents)
{
	bool ended = false;

	while (!ended)
	{
		yaml_event_t event;
		MdbYaml *node = NULL;
		bool ignored;

		if (!next_event(s, &event))
			return false;
		ended = event.type == YAML_STREAM_END_EVENT;
		ignored = ended || event.type == YAML_STREAM_START_EVENT || event.type == YAML_DOCUMENT_START_EVENT ||
				  event.type == YAML_DOCUMENT_END_EVENT;
		/* Anchors are those of their document. */
		if (event.type == YAML_DOCUMENT_START_EVENT)
			s->nanchors = 0;
		if (!ignored)
			node = read_node(s, &event);
		yaml_event_delete(&event);
		if (ignored)
			continue;
		if (node == NULL)
			return false;
		*documents = mdb_match_room(s->memory, *documents, *ndocuments, sizeof(MdbYaml *));
		(*documents)[(*ndocuments)++] = node;
	}
	return true;
}

/*
 * mdb_yaml_read - a text, of UTF-8, to its documents; false: *error says why not.
 */
bool
mdb_yaml_read(const MdbMatchMemory *memory, const char *text, size_t len, int *ndocuments,
			  MdbYaml ***documents, MdbYamlError *error)
{
	Reader s = {.memory = memory, .error = error};
	bool done;

	*error = (MdbYamlError){0};
	*ndocuments = 0;
	*documents = NULL;
	if (!yaml_parser_initialize(&s.parser))
		return fail(&s, 0, "out of memory"), false;
	yaml_parser_set_input_string(&s.parser, (const unsigned char *) text, len);
	yaml_parser_set_encoding(&s.parser, YAML_UTF8_ENCODING);
	done = read_documents(&s, ndocuments, documents);
	yaml_parser_delete(&s.parser);
	return done;
}

/*
 * mdb_yaml_get - the value of a key of a map; NULL if there is none, or it is null, or this is no map.
 */
MdbYaml *
mdb_yaml_get(const MdbYaml *map, const char *key)
{
	for (int i = 0; map && map->kind == MDB_YAML_MAP && i < map->n; i++)
		if (strcmp(map->keys[i]->text.p, key) == 0)
			return mdb_yaml_is_null(map->values[i]) ? NULL : map->values[i];
	return NULL;
}

/*
 * mdb_yaml_is_null - is it nothing, as a value without quotes may be?
 */
bool
mdb_yaml_is_null(const MdbYaml *node)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

	for (size_t i = 0; node->kind == MDB_YAML_SCALAR && node->plain && i < sizeof(nulls) / sizeof(nulls[0]);
		 i++)
		if (strcmp(node->text.p, nulls[i]) == 0)
			return true;
	return false;
}
