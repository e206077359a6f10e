/*
 * promql.h
 *	  Expressions of Prometheus, PromQL of 2.42, as a tree; the series of its unit tests.
 *
 * Plain C without PostgreSQL's types, like func/match.h, whose memory and errors it uses.  Times are milliseconds, as
 * they are in Prometheus.  What is parsed is all of the language; what of it becomes SQL is promql_sql.c's affair.
 */
#ifndef MDB_PROMQL_H
#define MDB_PROMQL_H

#include "func/match.h"

/* ---- promql_lex.c: tokens ---- */

typedef enum MdbPromToken
{
	MDB_TOK_END,
	MDB_TOK_NAME, /* of a metric, label, function, or a keyword */
	MDB_TOK_NUMBER,
	MDB_TOK_DURATION,
	MDB_TOK_STRING, /* at its quote */
	MDB_TOK_OP,     /* an operator or a bracket */
	MDB_TOK_BAD     /* the error is told */
} MdbPromToken;

typedef struct MdbPromLexer
{
	const MdbMatchMemory *memory;
	MdbMatchError *error;
	bool utf8;
	const char *begin;
	const char *end;
	const char *p; /* behind the token */
	/* the token */
	MdbPromToken token;
	MdbBytes text;
	double number;
	int64_t duration; /* milliseconds */
	MdbBytes string;  /* what a string says */
} MdbPromLexer;

extern void mdb_prom_next(MdbPromLexer *lexer);
extern bool mdb_prom_is(const MdbPromLexer *lexer, const char *text);
extern bool mdb_prom_fail(const MdbMatchMemory *memory, MdbMatchError *error, size_t at, const char *hint,
						  const char *format, ...) __attribute__((format(printf, 5, 6)));
extern bool mdb_prom_duration(const char *text, size_t len, int64_t *ms);
extern bool mdb_prom_number(const char *text, size_t len, double *value);

/* ---- promql_parse.c: the tree ---- */

typedef enum MdbPromType
{
	MDB_PROM_SCALAR,
	MDB_PROM_VECTOR,
	MDB_PROM_MATRIX, /* samples of a range of time */
	MDB_PROM_STRING
} MdbPromType;

typedef enum MdbPromKind
{
	MDB_PROM_NUMBER,
	MDB_PROM_TEXT,
	MDB_PROM_SELECTOR, /* of a vector; of a matrix if it has a range */
	MDB_PROM_SUBQUERY, /* of args[0] */
	MDB_PROM_NEGATE,   /* of args[0] */
	MDB_PROM_BINARY,   /* of args[0] and args[1] */
	MDB_PROM_CALL,
	MDB_PROM_AGGREGATE /* of the last argument; the one before is its parameter */
} MdbPromKind;

typedef enum MdbPromAt
{
	MDB_AT_EVALUATION, /* no @, or what is the same for an instant: @ start(), @ end() */
	MDB_AT_FIXED
} MdbPromAt;

typedef enum MdbPromCard
{
	MDB_ONE_TO_ONE,
	MDB_MANY_TO_ONE, /* group_left */
	MDB_ONE_TO_MANY  /* group_right */
} MdbPromCard;

typedef struct MdbNames
{
	int n;
	MdbBytes *v;
} MdbNames;

typedef struct MdbPromFunction MdbPromFunction;

typedef struct MdbProm
{
	MdbPromKind kind;
	MdbPromType type;
	size_t at;  /* its first byte */
	size_t end; /* behind its last */
	double number;
	MdbBytes text; /* of a string, an operator, an aggregate; of a selector without range and offset */
	MdbSelector *selector; /* what that says */
	int64_t range;
	int64_t step; /* of a subquery, 0 = the default */
	int64_t offset;
	MdbPromAt at_kind;
	int64_t at_time;
	bool returns_bool; /* comparison: 0 or 1 instead of a filter */
	bool by;           /* labels are those that count: by, on; else those that do not: without, ignoring */
	bool matched;      /* on or ignoring was said */
	MdbNames labels;
	MdbPromCard card;
	MdbNames include; /* of group_left and group_right */
	const MdbPromFunction *function;
	int nargs;
	struct MdbProm **args;
} MdbProm;

#define MDB_PROM_DEPTH 200 /* of nested expressions */

extern MdbProm *mdb_prom_parse(const MdbMatchMemory *memory, bool utf8, const char *text, size_t len,
							   MdbMatchError *error);

/* ---- promql_check.c: functions, and what is allowed where ---- */

/* How a function is computed. */
typedef enum MdbPromWay
{
	MDB_WAY_NONE,      /* not at all */
	MDB_WAY_MATH,      /* of each value, and of scalars behind it */
	MDB_WAY_CALENDAR,  /* of each value as a time, of the time of evaluation without an argument */
	MDB_WAY_VALUES,    /* an aggregate of the values of a range */
	MDB_WAY_SAMPLES,   /* an aggregate of their times and values */
	MDB_WAY_RANGE,     /* ... and of the range itself */
	MDB_WAY_QUANTILE,  /* quantile_over_time */
	MDB_WAY_PREDICT,   /* predict_linear */
	MDB_WAY_ABSENT,    /* absent, absent_over_time */
	MDB_WAY_HISTOGRAM, /* histogram_quantile */
	MDB_WAY_JOIN,      /* label_join */
	MDB_WAY_REPLACE,   /* label_replace */
	MDB_WAY_SAME,      /* sort, sort_desc: order is nothing here */
	MDB_WAY_SCALAR,
	MDB_WAY_TIME,
	MDB_WAY_TIMESTAMP,
	MDB_WAY_VECTOR,
	MDB_WAY_PI
} MdbPromWay;

struct MdbPromFunction
{
	const char *name;
	const char *args; /* a letter each: s(calar), v(ector), m(atrix), t(ext) */
	int optional;     /* how many of the last may be missing; -1: the last may come any number of times */
	MdbPromType type;
	MdbPromWay way;
};

extern const MdbPromFunction *mdb_prom_function(MdbBytes name);
extern bool mdb_prom_is_aggregate(MdbBytes name);
extern bool mdb_prom_has_parameter(MdbBytes aggregate);
extern bool mdb_prom_compares(MdbBytes op);
extern bool mdb_prom_is_set(MdbBytes op);
extern bool mdb_prom_check(const MdbMatchMemory *memory, MdbMatchError *error, const MdbProm *node);
extern bool mdb_bytes_are(MdbBytes bytes, const char *text);

/* ---- promql_series.c: series of unit tests ---- */

typedef struct MdbPromValues
{
	size_t n;
	double *v;
	bool *missing;
} MdbPromValues;

#define MDB_PROM_STALE      UINT64_C(0x7ff0000000000002) /* the NaN that marks the end of a series */
#define MDB_PROM_VALUES_MAX 1000000                      /* of one series of a test */

extern bool mdb_prom_values(const MdbMatchMemory *memory, const char *text, size_t len, MdbPromValues *values,
							MdbMatchError *error);

#endif /* MDB_PROMQL_H */
