/*
 * promql_rules.h
 *	  Files of Prometheus: rules, and unit tests of rules.
 */
#ifndef MDB_PROMQL_RULES_H
#define MDB_PROMQL_RULES_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "alert/yaml_tree.h"
#include "compat.h"

typedef struct MdbPromRule
{
	bool records;
	char *name; /* of the alert, or of the metric that is recorded */
	char *expr;
	int64 hold; /* milliseconds */
	int64 keep_firing_for;
	Jsonb *labels;
	Jsonb *annotations;
	int line;
} MdbPromRule;

typedef struct MdbPromGroup
{
	char *name;
	int64 interval; /* milliseconds, 0 = that of the server */
	int64 limit;    /* of what a rule may tell, 0 = none */
	List *rules;    /* of MdbPromRule * */
} MdbPromGroup;

extern char *mdb_prom_try(void (*what)(void *arg), void *arg);
extern int mdb_prom_yaml(const char *text, const char *what, MdbYaml ***documents);
pg_noreturn extern void mdb_prom_bad_file(const char *what, int line, const char *problem);
extern void mdb_prom_known_keys(const MdbYaml *map, const char *what, const char *const *keys);
extern char *mdb_prom_string(const MdbYaml *map, const char *what, const char *key);
extern int64 mdb_prom_time(const MdbYaml *map, const char *what, const char *key, int64 otherwise);
extern const MdbYaml *mdb_prom_list(const MdbYaml *map, const char *what, const char *key);
extern Jsonb *mdb_prom_texts(const MdbYaml *map, const char *what, const char *key);
extern List *mdb_prom_rule_file(const char *text, const char *what);

#endif /* MDB_PROMQL_RULES_H */
