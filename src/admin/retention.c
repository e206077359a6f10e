/*
 * retention.c
 *	  How long tables keep their rows: policies in the tables' labels, setting, applying and showing them.
 *
 *		"retention": {"keep": "30 days", "base": 4, "classes": {"audit_*": "2 years"}}
 *
 * "base" is in retention.h.  It is kept when a policy is removed, so that the numbers of classes that parts
 * have already do not come to stand for others.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "admin/admin.h"
#include "store/aggregates.h"
#include "store/elsewhere.h"
#include "write/write.h"

PG_FUNCTION_INFO_V1(mdb_set_retention);
PG_FUNCTION_INFO_V1(mdb_apply_retention);
PG_FUNCTION_INFO_V1(mdb_all_retention);

/* ---- policies as text ---- */

/* An interval as all settings of IntervalStyle read it. */
static char *
interval_text(const Interval *interval)
{
	char buf[MAXDATELEN + 1];
	struct pg_itm itm;

	interval2itm(*interval, &itm);
	EncodeInterval(&itm, INTSTYLE_POSTGRES, buf);
	return pstrdup(buf);
}

/*
 * mdb_retention_to_json - append a policy as a JSON object.
 */
void
mdb_retention_to_json(const MdbRetention *r, StringInfo buf)
{
	appendStringInfoChar(buf, '{');
	if (r->has_keep)
		appendStringInfo(buf, "\"keep\": \"%s\", ", interval_text(&r->keep));
	appendStringInfo(buf, "\"base\": %d", r->base);
	for (int i = 0; i < r->nclasses; i++)
	{
		appendStringInfoString(buf, i > 0 ? ", " : ", \"classes\": {");
		escape_json(buf, r->classes[i].metric);
		appendStringInfo(buf, ": \"%s\"", interval_text(&r->classes[i].keep));
	}
	appendStringInfoString(buf, r->nclasses > 0 ? "}}" : "}");
}

static Interval
interval_value(const char *json, const JsonbValue *v)
{
	Interval keep;
	Interval zero = {0};

	if (v->type != jbvString)
		mdb_options_malformed(json, "A time in \"retention\" is not a string.");
	keep = *DatumGetIntervalP(
		DirectFunctionCall3(interval_in, CStringGetDatum(pnstrdup(v->val.string.val, v->val.string.len)),
							ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (!DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(&keep), IntervalPGetDatum(&zero))))
		mdb_options_malformed(json, "A time in \"retention\" is not positive.");
	if (mdb_interval_is_infinite(&keep))
		mdb_options_malformed(json, "A time in \"retention\" is not finite.");
	/* May be out of range, which later nobody who looks at all tables could do anything about. */
	(void) DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(GetCurrentTimestamp()),
							   IntervalPGetDatum(&keep));
	return keep;
}

static void
read_classes(const char *json, const JsonbValue *object, MdbRetention *r)
{
	JsonbIterator *it = JsonbIteratorInit(object->val.binary.data);
	JsonbIteratorToken token;
	JsonbValue v;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		MdbRetentionClass *class = &r->classes[r->nclasses];

		if (token == WJB_KEY && r->nclasses == MDB_CLASSES_MAX)
			mdb_options_malformed(json, "There are too many classes in \"retention\".");
		if (token == WJB_KEY)
			class->metric = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE)
		{
			class->keep = interval_value(json, &v);
			r->nclasses++;
		}
	}
	mdb_retention_sort(r);
}

/*
 * mdb_retention_from_json - a policy from the value of "retention" in a label.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE if it is not what mdb_retention_to_json writes.
 */
MdbRetention *
mdb_retention_from_json(const char *json, const JsonbValue *object)
{
	MdbRetention *r = palloc0(sizeof(MdbRetention));
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;
	char *key = NULL;

	if (object->type != jbvBinary || !JsonContainerIsObject(object->val.binary.data))
		mdb_options_malformed(json, "\"retention\" is not an object.");
	r->classes = palloc0(sizeof(MdbRetentionClass) * (MDB_CLASSES_MAX + 1));
	it = JsonbIteratorInit(object->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = pnstrdup(v.val.string.val, v.val.string.len);
		if (token != WJB_VALUE)
			continue;
		if (strcmp(key, "keep") == 0)
		{
			r->has_keep = true;
			r->keep = interval_value(json, &v);
		}
		else if (strcmp(key, "base") == 0 && v.type == jbvNumeric)
			r->base = DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(v.val.numeric)));
		else if (strcmp(key, "classes") == 0 && v.type == jbvBinary &&
				 JsonContainerIsObject(v.val.binary.data))
			read_classes(json, &v, r);
		else
			mdb_options_malformed(json, psprintf("\"retention\" has no such \"%s\".", key));
	}
	if (r->base < 0 || r->base + r->nclasses > MDB_CLASS_MAX)
		mdb_options_malformed(json, "\"base\" in \"retention\" is out of range.");
	return r;
}

/* The policy of a table, or of that for which this is a rewrite. */
static MdbRetention *
load(Relation rel)
{
	MdbOptions options;
	Oid source;

	if (!mdb_options_load(RelationGetRelid(rel), &options) &&
		!(sscanf(RelationGetRelationName(rel), "pg_temp_%u", &source) == 1 &&
		  mdb_options_load(source, &options)))
		return NULL;
	if (options.days > 0)
	{
		if (options.retention == NULL)
			options.retention = palloc0(sizeof(MdbRetention));
		options.retention->days = options.days;
	}
	return options.retention;
}

/*
 * mdb_retention_init - at load: tell who writes and removes rows where policies are.
 */
void
mdb_retention_init(void)
{
	mdb_retention_loader = load;
}

/* ---- setting ---- */

/* Which numbers of classes rows of metricsdb.part have, whatever their state. */
static bool *
classes_in_use(Relation rel)
{
	bool *used = palloc0(sizeof(bool) * (MDB_CLASS_MAX + 1));
	MdbPartList *list = mdb_parts_recorded(mdb_table(rel), SnapshotAny, true);

	for (int i = 0; i < list->count; i++)
		if (list->parts[i].class >= 0)
			used[list->parts[i].class] = true;
	return used;
}

/*
 * Numbers for the classes of a policy whose patterns are new: such as no part has, nor the policy of before,
 * by which somebody may be writing.
 */
static int
new_base(Relation rel, const MdbRetention *before, int nclasses)
{
	bool *used = classes_in_use(rel);
	int start = before->base + before->nclasses + 1;
	int base = start;
	int n = 0; /* free ones from base on */

	for (int i = before->base; i < start; i++)
		used[i] = true;
	for (int looked = 0; looked <= 2 * MDB_CLASS_MAX && n <= nclasses; looked++)
	{
		if (base + n > MDB_CLASS_MAX)
		{
			base = n = 0;
			continue;
		}
		if (used[base + n])
		{
			base += n + 1;
			n = 0;
		}
		else
			n++;
	}
	if (n <= nclasses)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("retention classes of table \"%s\" have changed too often",
							   RelationGetRelationName(rel)),
						errdetail("Parts of the table have so many different ones that no numbers are left."),
						errhint("Run CALL metricsdb.compact() on the table.")));
	return base;
}

/*
 * mdb_retention_check_label - may a policy be given to a table by its label, as by pg_restore?
 *
 * Not if parts that are there already would be taken for others than they are.  Raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE.
 */
void
mdb_retention_check_label(Oid relid, const MdbRetention *r)
{
	Relation rel = relation_open(relid, NoLock);
	MdbOptions before;

	if (r != NULL && r->nclasses > 0 && mdb_is_metricsdb(rel) && !IsBinaryUpgrade &&
		!(mdb_options_load(relid, &before) && before.retention && before.retention->base == r->base &&
		  mdb_retention_same_classes(before.retention, r)))
	{
		bool *used = classes_in_use(rel);

		for (int i = r->base; i <= r->base + r->nclasses; i++)
			if (used[i])
				ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
								errmsg("cannot set retention classes of table \"%s\" by its label",
									   RelationGetRelationName(rel)),
								errdetail("It has rows already, which were written by other classes."),
								errhint("Use metricsdb.set_retention().")));
	}
	relation_close(rel, NoLock);
}

/* Of the view of a continuous aggregate, the table of its states; any other as it is. */
static Oid
states_of(Oid relid)
{
	if (get_rel_relkind(relid) == RELKIND_VIEW)
	{
		Snapshot snapshot = mdb_latest_snapshot();
		int n;
		MdbAggregate *list = mdb_aggregates_by(MDB_AGGREGATE_VIEW, relid, snapshot, &n);

		UnregisterSnapshot(snapshot);
		if (n > 0)
			return list[0].aggregate;
	}
	return relid;
}

/* Is this a table of ours, and the caller's?  Its OID, or that of the states of an aggregate. */
static Oid
check_table(Oid relid, bool setting)
{
	char *name = get_rel_name(relid);
	char kind;

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table with OID %u does not exist", relid)));
	kind = get_rel_relkind(relid);
	if (!mdb_owns_table(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(kind), name);
	relid = states_of(relid);
	if (!mdb_is_metricsdb_oid(relid) || kind == RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a metricsdb table", name),
						kind == RELKIND_PARTITIONED_TABLE
							? errhint("Set the retention of its partitions, or drop them.")
							: errhint("Convert it with ALTER TABLE ... SET ACCESS METHOD metricsdb.")));
	/* Of those of nodes it is set on each of them, too. */
	if (!setting || !mdb_is_distributed(relid))
		mdb_refuse_elsewhere(relid, "Each node does it by itself.");
	return relid;
}

/* Set or remove the class of a pattern. */
static void
set_class(MdbRetention *r, char *metric, const Interval *keep)
{
	int i = 0;

	while (i < r->nclasses && strcmp(r->classes[i].metric, metric) != 0)
		i++;
	if (keep == NULL)
	{
		if (i == r->nclasses)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no retention class \"%s\"", metric),
					 errhint("The view metricsdb.retention_policies shows those that there are.")));
		memmove(&r->classes[i], &r->classes[i + 1], sizeof(MdbRetentionClass) * (r->nclasses - i - 1));
		r->nclasses--;
		return;
	}
	if (i == MDB_CLASSES_MAX)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("a table has at most %d retention classes", MDB_CLASSES_MAX),
						errhint("A pattern may stand for many metrics: * for any characters.")));
	r->classes[i].metric = metric;
	r->classes[i].keep = *keep;
	r->nclasses = Max(r->nclasses, i + 1);
	mdb_retention_sort(r);
}

/* Of a continuous aggregate that nodes keep. */
static void
set_on_nodes(Oid view, Interval *keep, const char *metric)
{
	char *text = keep ? interval_text(keep) : NULL;

	if (!mdb_owns_table(view))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_VIEW, get_rel_name(view));
	mdb_elsewhere->change(
		psprintf("SELECT metricsdb.set_retention(%s, %s, %s)",
				 quote_literal_cstr(quote_qualified_identifier(get_namespace_name(get_rel_namespace(view)),
															   get_rel_name(view))),
				 text ? quote_literal_cstr(text) : "NULL", metric ? quote_literal_cstr(metric) : "NULL"));
}

/*
 * mdb_set_retention - metricsdb.set_retention("table" regclass, keep interval, metric text): see its COMMENT.
 *
 * Raises ERRCODE_WRONG_OBJECT_TYPE, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the table has no column that
 * says when or what, ERRCODE_INVALID_PARAMETER_VALUE, ERRCODE_FEATURE_NOT_SUPPORTED if foreign keys refer to
 * the table, and a permission error unless the caller owns it.
 */
Datum
mdb_set_retention(PG_FUNCTION_ARGS)
{
	Interval *keep = PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1);
	char *metric = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	MdbOptions options = {0};
	MdbRetention before = {0};
	Interval zero = {0};
	MdbRetention *r;
	MdbTable *table;
	Relation rel;
	Oid relid;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the table must not be NULL")));
	if (mdb_elsewhere->is_view(PG_GETARG_OID(0)))
	{
		set_on_nodes(PG_GETARG_OID(0), keep, metric);
		PG_RETURN_VOID();
	}
	relid = check_table(PG_GETARG_OID(0), true);
	if (keep &&
		!DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(keep), IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the time to keep rows must be positive"),
				 errhint("NULL removes the policy.")));
	if (keep && mdb_interval_is_infinite(keep))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the time to keep rows must be finite"), errhint("NULL removes the policy.")));
	if (metric && metric[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the pattern of metrics must not be empty"),
				 errhint("* stands for any characters, ? for one.")));
	rel = relation_open(relid, ShareUpdateExclusiveLock);
	table = mdb_table(rel);
	if (keep && !mdb_retention_dated(table))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" has no time column that tells how old its rows are",
					RelationGetRelationName(rel)),
			 errhint(
				 "It takes a time column of type timestamptz, timestamp or date; see metricsdb.describe().")));
	if (keep && metric && mdb_retention_column(rel, table) == 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" has no column with the name of a metric", RelationGetRelationName(rel)),
			 errdetail(
				 "Retention classes are for tables whose series columns are a text, the metric, and a jsonb, its tags."),
			 errhint(
				 "metricsdb.create_metrics_table() makes one; for other tables set one time for all rows.")));
	if (keep)
	{
		(void) mdb_refuse_referenced(rel, ERROR);
		/* May be out of range. */
		(void) mdb_retention_horizon(table, keep, GetCurrentTimestamp());
	}

	(void) mdb_options_load(relid, &options);
	if (options.retention == NULL)
		options.retention = palloc0(sizeof(MdbRetention));
	r = options.retention;
	if (r->classes == NULL)
		r->classes = palloc0(sizeof(MdbRetentionClass) * (MDB_CLASSES_MAX + 1));
	before = *r;
	before.classes = memcpy(palloc(sizeof(MdbRetentionClass) * (MDB_CLASSES_MAX + 1)), r->classes,
							sizeof(MdbRetentionClass) * (MDB_CLASSES_MAX + 1));
	if (metric)
		set_class(r, metric, keep);
	else
	{
		r->has_keep = keep != NULL;
		if (keep)
			r->keep = *keep;
		else
			r->nclasses = 0;
	}
	if (!mdb_retention_same_classes(&before, r))
		r->base = new_base(rel, &before, r->nclasses);
	if (!mdb_retention_has_keep(r) && r->base == 0)
		options.retention = NULL;
	mdb_options_store(relid, &options);
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}

/* ---- applying ---- */

static void
commit_procedure(void)
{
	SPI_commit();
}

/* The metricsdb tables that the caller owns, of all permanent ones and his own temporary ones. */
static List *
owned_tables(void)
{
	Oid am = mdb_am_oid(true);
	Relation pg_class = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(pg_class, InvalidOid, false, NULL, 0, NULL);
	HeapTuple tuple;
	List *relids = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relam == am && form->relkind != RELKIND_PARTITIONED_TABLE &&
			!(form->relpersistence == RELPERSISTENCE_TEMP && isOtherTempNamespace(form->relnamespace)) &&
			has_privs_of_role(GetUserId(), form->relowner))
			relids = lappend_oid(relids, form->oid);
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return relids;
}

/* Why not all went that should. */
static void
tell(Oid relid, const MdbExpired *expired)
{
	char *name = get_rel_name(relid);

	if (name && expired->needed > 0)
		ereport(
			WARNING,
			(errmsg(
				 "%lld old parts of table \"%s\" stay because a continuous aggregate has not taken them yet",
				 (long long) expired->needed, name),
			 errhint("They go once it has.")));
	if (name && expired->busy > 0)
		ereport(NOTICE, (errmsg("%lld old parts of table \"%s\" stay because transactions are at their rows",
								(long long) expired->busy, name),
						 errhint("They go when retention is applied the next time.")));
}

/* To one of many tables.  False if an error ended its transaction, which is told as a warning. */
static bool
apply_to_one(Oid relid, MdbExpired *expired)
{
	MemoryContext context = CurrentMemoryContext;
	char *volatile name = get_rel_name(relid);
	volatile bool done = false;

	PG_TRY();
	{
		(void) mdb_expire_relation(relid, true, true, EnsurePortalSnapshotExists, commit_procedure, expired);
		done = true;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->elevel > ERROR || ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();
		FlushErrorState();
		SPI_rollback();
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("retention was not applied to table \"%s\": %s", name ? name : "?", error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 error->hint ? errhint("%s", error->hint) : 0));
		FreeErrorData(error);
	}
	PG_END_TRY();
	return done;
}

/*
 * mdb_apply_retention - CALL metricsdb.apply_retention("table" regclass): remove what is older than the policy
 * of the table says; NULL: of each table of the caller's that has one.
 *
 * Raises ERRCODE_INVALID_TRANSACTION_STATE inside a transaction block, ERRCODE_WRONG_OBJECT_TYPE for another
 * kind of table, ERRCODE_FEATURE_NOT_SUPPORTED if foreign keys refer to it (of all tables: warns), and a
 * permission error unless the caller owns it.  Of all tables each is tried, whatever becomes of those before; at the end
 * ERRCODE_TRIGGERED_ACTION_EXCEPTION if some have failed.
 */
Datum
mdb_apply_retention(PG_FUNCTION_ARGS)
{
	bool nonatomic = fcinfo->context && IsA(fcinfo->context, CallContext) &&
					 !castNode(CallContext, fcinfo->context)->atomic;
	bool all = PG_ARGISNULL(0);
	Oid relid = all ? InvalidOid : check_table(PG_GETARG_OID(0), false);
	List *relids;
	ListCell *lc;
	int failed = 0;

	if (!nonatomic)
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("metricsdb.apply_retention() cannot run inside a transaction block"),
						errdetail("It commits after each table."), errhint("Call it on its own.")));
	mdb_decoding_hide_all();
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	relids = all ? owned_tables() : list_make1_oid(relid);
	/* CALL has come with a snapshot. */
	commit_procedure();
	foreach (lc, relids)
	{
		MdbExpired expired = {0};

		relid = lfirst_oid(lc);
		CHECK_FOR_INTERRUPTS();
		if (!all)
			(void) mdb_expire_relation(relid, true, false, EnsurePortalSnapshotExists, commit_procedure,
									   &expired);
		else if (!apply_to_one(relid, &expired))
		{
			failed++;
			continue;
		}
		tell(relid, &expired);
	}
	if (failed > 0)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
						errmsg_plural("retention was not applied to %d table",
									  "retention was not applied to %d tables", failed, failed),
						errdetail("Warnings say which, and why; it was applied to all others.")));
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---- showing ---- */

#define NCOLUMNS 10

/* Of the states of a continuous aggregate, its view; any other table as it is. */
static Oid
shown_as(Oid relid)
{
	MdbAggregate *a = mdb_aggregate_get(relid, GetActiveSnapshot());

	return a ? a->view : relid;
}

/* A row of the view: of a class, or with i < 0 of the rows that match none. */
static void
put_policy(ReturnSetInfo *rsinfo, Relation rel, const MdbTable *table, const MdbRetention *r, int i,
		   const MdbPartList *list, const MdbNeeds *needs, TimestampTz now, bool hide)
{
	const Interval *keep = i >= 0 ? &r->classes[i].keep : r->has_keep ? &r->keep : NULL;
	MdbHorizons *horizons = mdb_horizons(r, table, now);
	Datum v[NCOLUMNS] = {0};
	bool n[NCOLUMNS] = {0};
	int64 parts = 0, rows = 0, bytes = 0, due = 0, unsorted = 0, needed = 0;

	for (int p = 0; p < list->count; p++)
	{
		const MdbPartInfo *part = &list->parts[p];

		if (!mdb_retention_is_current(r, part->class))
			unsorted++;
		if (part->class != r->base + 1 + i)
			continue;
		parts++;
		rows += part->nrows;
		bytes += part->nbytes;
		if (part->days > 0 && part->time_max < mdb_horizon_of(horizons, part->class))
		{
			due++;
			needed += mdb_needs_part(needs, part);
		}
	}
	v[0] = ObjectIdGetDatum(shown_as(RelationGetRelid(rel)));
	if (i >= 0)
		v[1] = CStringGetTextDatum(r->classes[i].metric);
	n[1] = i < 0;
	if (keep)
	{
		v[2] = IntervalPGetDatum(keep);
		v[3] =
			DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(now), IntervalPGetDatum(keep));
	}
	n[2] = n[3] = keep == NULL;
	v[4] = Int64GetDatum(parts);
	v[5] = Int64GetDatum(rows);
	v[6] = Int64GetDatum(bytes);
	v[7] = Int64GetDatum(due);
	v[8] = Int64GetDatum(needed);
	v[9] = Int64GetDatum(unsorted);
	n[5] = n[7] = n[8] = hide;
	n[9] = i >= 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
}

/*
 * mdb_all_retention - rows of the view metricsdb.retention_policies: of tables that the caller may read.
 */
Datum
mdb_all_retention(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	ListCell *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach (lc, mdb_shown_tables())
	{
		Oid relid = lfirst_oid(lc);
		Relation rel = try_relation_open(relid, AccessShareLock);
		MdbRetention *r;

		CHECK_FOR_INTERRUPTS();
		if (rel == NULL)
			continue;
		/* Dropped, or converted, while we waited for the lock; or not ours to read. */
		if (mdb_is_metricsdb(rel) && !RELATION_IS_OTHER_TEMP(rel) &&
			rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE &&
			mdb_retention_has_keep(r = mdb_retention_load(rel)))
		{
			bool hide = check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED;
			MdbTable *table = mdb_table(rel);
			MdbPartList *list = mdb_parts_visible(table, GetActiveSnapshot());
			MdbNeeds *needs = mdb_needs_look(rel, table);

			for (int i = -1; i < r->nclasses; i++)
				put_policy(rsinfo, rel, table, r, i, list, needs, now, hide);
		}
		relation_close(rel, AccessShareLock);
	}
	return (Datum) 0;
}
