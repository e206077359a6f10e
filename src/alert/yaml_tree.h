/*
 * yaml_tree.h
 *	  YAML as a tree: documents of lists, maps and scalars, with their places.
 *
 * Plain C over libyaml, whose events are taken; memory as in func/match.h, whose check() is not called.
 */
#ifndef MDB_YAML_TREE_H
#define MDB_YAML_TREE_H

#include "func/match.h"

typedef enum MdbYamlKind
{
	MDB_YAML_SCALAR,
	MDB_YAML_LIST,
	MDB_YAML_MAP
} MdbYamlKind;

typedef struct MdbYaml
{
	MdbYamlKind kind;
	int line;      /* from 1 */
	MdbBytes text; /* of a scalar; has no zero in it, and has one behind it */
	bool plain;    /* a scalar without quotes */
	int n;         /* of a list or map */
	struct MdbYaml **keys;
	struct MdbYaml **values;
} MdbYaml;

typedef struct MdbYamlError
{
	int line;
	const char *what;
} MdbYamlError;

#define MDB_YAML_DEPTH 64
#define MDB_YAML_NODES 1000000
#define MDB_YAML_KEYS  1000 /* of a map */

extern bool mdb_yaml_read(const MdbMatchMemory *memory, const char *text, size_t len, int *ndocuments,
						  MdbYaml ***documents, MdbYamlError *error);
extern MdbYaml *mdb_yaml_get(const MdbYaml *map, const char *key);
extern bool mdb_yaml_is_null(const MdbYaml *node);

#endif /* MDB_YAML_TREE_H */
