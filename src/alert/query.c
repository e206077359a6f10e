/*
 * query.c
 *	  Rules that are queries: each row is an observation.
 *
 * Plans are kept from one evaluation to the next, as long as there is room for them: first come, first kept, for all are
 * used in turn.  Rows are taken in as they come, so that one too many ends the query.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

#include "alert/define.h"
#include "alert/evaluate.h"

/* Bytes of all plans that are kept. */
#define PLANS_ROOM  (128 * 1024 * 1024)

#define LABELS_ROOM (64 * 1024 * 1024)

/* ---- columns ---- */

static void
bad_column(const Form_pg_attribute att, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
					errmsg("column \"%s\" of type %s is neither a label nor the value", NameStr(att->attname),
						   format_type_be(att->atttypid)),
					errhint("%s", hint)));
}

static bool
is_text(Oid type)
{
	return type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type == NAMEOID || type == BOOLOID ||
		   type == CHAROID || get_typtype(type) == TYPTYPE_ENUM;
}

/* What a column is; VALUE for each that is a number. */
static MdbColumnRole
role_of(const Form_pg_attribute att)
{
	Oid type = getBaseType(att->atttypid);
	const char *name = NameStr(att->attname);

	if (type == BOOLOID && strcmp(name, "firing") == 0)
		return MDB_COLUMN_FIRING;
	if (type == JSONBOID && (strcmp(name, "labels") == 0 || strcmp(name, "tags") == 0))
		return MDB_COLUMN_LABELS;
	if (mdb_is_number_type(type))
		return MDB_COLUMN_VALUE;
	/* A literal. */
	if (is_text(type) || type == UNKNOWNOID)
		return MDB_COLUMN_LABEL;
	bad_column(att, type == JSONBOID
						? "Labels as jsonb come in a column that is called \"labels\" or \"tags\"."
						: "Leave it out, or cast it to text if it is a label.");
	return MDB_COLUMN_LABEL;
}

/*
 * mdb_query_columns - what each column of a rule's query is: roles has room for all of them.
 *
 * Raises ERRCODE_DATATYPE_MISMATCH for a column that can be nothing, and if it is not clear which one is the value.
 */
void
mdb_query_columns(TupleDesc desc, MdbColumnRole *roles)
{
	int numbers = 0, named = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		roles[i] = role_of(TupleDescAttr(desc, i));
		if (roles[i] == MDB_COLUMN_VALUE)
		{
			numbers++;
			named += strcmp(NameStr(TupleDescAttr(desc, i)->attname), "value") == 0;
		}
	}
	if (numbers < 2)
		return;
	for (int i = 0; i < desc->natts; i++)
		if (roles[i] == MDB_COLUMN_VALUE &&
			(named != 1 || strcmp(NameStr(TupleDescAttr(desc, i)->attname), "value") != 0))
			bad_column(
				TupleDescAttr(desc, i),
				"One column has numbers, or one of them is called \"value\" and others that are labels are cast to text.");
}

/* ---- rows ---- */

typedef struct Receiver
{
	DestReceiver pub;
	const MdbRule *rule;
	MdbObservations *seen;
	MemoryContext context; /* of the observations */
	MemoryContext row;
	MdbColumnRole *roles;
	TupleDesc desc;
	bool compares;
	MdbComparison comparison;
	Size bytes; /* of labels */

	/* of the row */
	int count;
	int room;
	char **names;
	char **values;
} Receiver;

static void
start_up(DestReceiver *self, int operation, TupleDesc desc)
{
	Receiver *r = (Receiver *) self;

	r->desc = desc;
	r->roles = MemoryContextAlloc(r->context, sizeof(MdbColumnRole) * Max(1, desc->natts));
	mdb_query_columns(desc, r->roles);
}

static void
add_label(Receiver *r, char *name, char *value)
{
	if (r->count == r->room)
	{
		r->room = Max(32, r->room * 2);
		r->names = r->names ? repalloc(r->names, sizeof(char *) * r->room)
							: MemoryContextAlloc(r->context, sizeof(char *) * r->room);
		r->values = r->values ? repalloc(r->values, sizeof(char *) * r->room)
							  : MemoryContextAlloc(r->context, sizeof(char *) * r->room);
	}
	r->names[r->count] = name;
	r->values[r->count++] = value;
}

static void
add_labels(Receiver *r, const Jsonb *labels)
{
	JsonbIterator *it = JsonbIteratorInit(unconstify(JsonbContainer *, &labels->root));
	JsonbIteratorToken token;
	JsonbValue v;
	char *name = NULL;

	if (!JB_ROOT_IS_OBJECT(labels))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("labels are not an object of JSON")));
	(void) JsonbIteratorNext(&it, &v, true);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		if (token == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE)
			add_label(r, name, mdb_json_scalar(&v));
}

static char *
as_text(Oid type, Datum value)
{
	Oid output;
	bool varlena;

	if (type == BOOLOID)
		return DatumGetBool(value) ? "true" : "false";
	if (type == TEXTOID)
		return TextDatumGetCString(value);
	getTypeOutputInfo(type, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

static double
as_number(Oid type, Datum value)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return (double) DatumGetInt64(value);
		case FLOAT4OID:
			return DatumGetFloat4(value);
		case FLOAT8OID:
			return DatumGetFloat8(value);
		default:
			return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value));
	}
}

/* Does it hold, as its columns or the rule say? */
static void
conclude(Receiver *r, bool has_value, double value, bool has_firing, bool firing)
{
	MdbCondition holds;
	Jsonb *labels;

	/* A row without what is compared says nothing. */
	if (!has_firing && !has_value)
		return;
	if (has_firing)
		holds = firing ? MDB_HOLDS : MDB_HOLDS_NOT;
	else
		holds = r->compares ? mdb_compare(&r->comparison, value) : MDB_HOLDS;
	labels = mdb_labels_make(r->rule, r->count, r->names, r->values, value);
	r->bytes += VARSIZE(labels);
	if (r->bytes > LABELS_ROOM)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("labels of the rule's rows take more than %d MB", LABELS_ROOM / 1024 / 1024)));
	MemoryContextSwitchTo(r->context);
	labels = memcpy(palloc(VARSIZE(labels)), labels, VARSIZE(labels));
	mdb_observe(r->seen, labels, NULL, value, !has_value, holds);
}

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver *r = (Receiver *) self;
	MemoryContext before = MemoryContextSwitchTo(r->row);
	bool has_value = false, has_firing = false, firing = false;
	double value = NAN;

	if (r->seen->count >= r->rule->max_rows)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("the rule's query returns more than %d rows", r->rule->max_rows)));
	slot_getallattrs(slot);
	r->count = 0;
	for (int i = 0; i < r->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(r->desc, i);
		Oid type = getBaseType(att->atttypid);

		/* An unknown condition does not hold. */
		if (r->roles[i] == MDB_COLUMN_FIRING)
			has_firing = true;
		if (slot->tts_isnull[i])
			continue;
		switch (r->roles[i])
		{
			case MDB_COLUMN_FIRING:
				firing = DatumGetBool(slot->tts_values[i]);
				break;
			case MDB_COLUMN_VALUE:
				has_value = true;
				value = as_number(type, slot->tts_values[i]);
				break;
			case MDB_COLUMN_LABELS:
				add_labels(r, DatumGetJsonbP(slot->tts_values[i]));
				break;
			case MDB_COLUMN_LABEL:
				add_label(r, NameStr(att->attname), as_text(type, slot->tts_values[i]));
				break;
		}
	}
	conclude(r, has_value, value, has_firing, firing);
	MemoryContextSwitchTo(before);
	MemoryContextReset(r->row);
	return true;
}

static void
shut_down(DestReceiver *self)
{
}

static void
make_receiver(Receiver *r, const MdbRule *rule, MdbObservations *seen)
{
	memset(r, 0, sizeof(*r));
	r->pub.receiveSlot = receive;
	r->pub.rStartup = start_up;
	r->pub.rShutdown = shut_down;
	r->pub.rDestroy = shut_down;
	r->pub.mydest = DestTuplestore; /* as good as any that returns rows */
	r->rule = rule;
	r->seen = seen;
	r->context = CurrentMemoryContext;
	r->row = AllocSetContextCreate(CurrentMemoryContext, "metricsdb row of a rule", ALLOCSET_DEFAULT_SIZES);
	r->compares = mdb_comparison_read(rule->definition, &r->comparison) ||
				  mdb_comparison_read(rule->options, &r->comparison);
}

/* ---- plans ---- */

typedef struct KeptPlan
{
	int32 rule_id; /* hash key */
	int64 version;
	SPIPlanPtr plan;
	Size bytes;
} KeptPlan;

static HTAB *plans = NULL;
static Size plans_bytes = 0;

/*
 * mdb_query_forget - the plan of a rule that has gone, or changed.
 */
void
mdb_query_forget(int32 rule_id)
{
	KeptPlan *plan = plans ? hash_search(plans, &rule_id, HASH_FIND, NULL) : NULL;

	if (plan == NULL)
		return;
	plans_bytes -= plan->bytes;
	SPI_freeplan(plan->plan);
	(void) hash_search(plans, &rule_id, HASH_REMOVE, NULL);
}

static SPIPlanPtr
kept_plan(const MdbRule *rule)
{
	KeptPlan *plan = plans ? hash_search(plans, &rule->id, HASH_FIND, NULL) : NULL;

	if (plan != NULL && plan->version != rule->version)
	{
		mdb_query_forget(rule->id);
		plan = NULL;
	}
	return plan ? plan->plan : NULL;
}

/* Once it has been run it has all that it will have. */
static void
keep_plan(const MdbRule *rule, SPIPlanPtr spi)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(spi));
	Size bytes = MemoryContextMemAllocated(source->context, true) +
				 MemoryContextMemAllocated(source->query_context, true);
	KeptPlan *plan;

	if (source->gplan)
		bytes += MemoryContextMemAllocated(source->gplan->context, true);
	if (rule->id == 0 || plans_bytes + bytes > PLANS_ROOM || SPI_keepplan(spi) != 0)
		return;
	if (plans == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(int32), .entrysize = sizeof(KeptPlan)};

		plans = hash_create("metricsdb plans of rules", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	plan = hash_search(plans, &rule->id, HASH_ENTER, NULL);
	plan->version = rule->version;
	plan->plan = spi;
	plan->bytes = bytes;
	plans_bytes += bytes;
}

static SPIPlanPtr
make_plan(const MdbRule *rule)
{
	char *query = mdb_json_text(rule->definition, "query");
	SPIPlanPtr spi;

	if (query == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("rule \"%s\" has no query", rule->name)));
	spi = SPI_prepare_cursor(query, 0, NULL, 0);
	if (spi == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (!SPI_is_cursor_plan(spi) || list_length(SPI_plan_get_plan_sources(spi)) != 1)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
						errmsg("the query of rule \"%s\" is not one SELECT", rule->name)));
	return spi;
}

/* ---- evaluation ---- */

static void
run(const MdbRule *rule, MdbObservations *seen)
{
	SPIExecuteOptions options = {.read_only = true, .must_return_tuples = true};
	Receiver receiver;
	SPIPlanPtr spi;
	bool is_new;

	make_receiver(&receiver, rule, seen);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	spi = kept_plan(rule);
	is_new = spi == NULL;
	if (is_new)
		spi = make_plan(rule);
	options.dest = &receiver.pub;
	if (SPI_execute_plan_extended(spi, &options) != SPI_OK_SELECT)
		elog(ERROR, "SPI failed: %s", SPI_result_code_string(SPI_result));
	if (is_new)
		keep_plan(rule, spi);
	SPI_finish();
	MemoryContextDelete(receiver.row);
}

/*
 * mdb_query_evaluate - run the query of a rule, as its owner, at the tick seen->at.
 *
 * Errors are told in seen->error.
 */
void
mdb_query_evaluate(const MdbRule *rule, MdbObservations *seen)
{
	(void) mdb_run_as_owner(rule, seen, true, run);
}
