/*
 * composite.h
 *	  Expressions over the states of rules: what they consist of.
 */
#ifndef MDB_COMPOSITE_H
#define MDB_COMPOSITE_H

#include "postgres.h"

#include "nodes/pg_list.h"

typedef enum MdbCompositeOp
{
	MDB_COMPOSITE_ALERT,  /* the instances of a rule that fire */
	MDB_COMPOSITE_AND,    /* those of the left that have a match on the right */
	MDB_COMPOSITE_UNLESS, /* those that have none: AND NOT */
	MDB_COMPOSITE_OR,     /* those of the left, and of the right those without a match */
	MDB_COMPOSITE_NOT     /* one without labels, if there is none */
} MdbCompositeOp;

typedef struct MdbComposite
{
	MdbCompositeOp op;
	struct MdbComposite *left;
	struct MdbComposite *right;

	/* of an alert */
	char *rule;
	char *matchers; /* NULL = all */
	List *states;   /* of char *; NIL = firing and recovering */

	/* of the others: which labels are compared */
	bool on;      /* only these; else all but these */
	List *labels; /* of char * */
} MdbComposite;

/*
 * mdb_composite_parse - the tree of an expression, palloc'd.  Raises ERRCODE_SYNTAX_ERROR.
 */
extern MdbComposite *mdb_composite_parse(const char *expression);

/*
 * mdb_composite_check_matchers - raises ERRCODE_SYNTAX_ERROR if an alert's matchers are none.
 */
extern void mdb_composite_check_matchers(const char *text);

#endif /* MDB_COMPOSITE_H */
