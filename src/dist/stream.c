/*
 * stream.c
 *	  The rows of one statement on one node, as they come; and their columns.
 *
 * Rows come by COPY TO STDOUT, binary where node and coordinator are of the same versions, as text otherwise: in one round
 * trip with the beginning of the transaction, and no faster than they are asked for, as nothing is read ahead.  A node works
 * for one stream at a time.  If a second one of the same query wants it, what is left of the first one is put aside.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/transam.h"
#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "dist/dist.h"

static const char binary_signature[] = "PGCOPY\n\377\r\n"; /* and the NUL at its end */

/* ---------- rows aside ---------- */

static TupleDesc
bytea_desc(void)
{
	TupleDesc desc = CreateTemplateTupleDesc(1);

	TupleDescInitEntry(desc, 1, "row", BYTEAOID, -1, 0);
	return desc;
}

static MdbStreamEvent read_next(MdbStream *s, const char **row, int *len);

/* Read the rest, so that the session is free. */
static void
drain(MdbStream *s)
{
	TupleDesc desc = bytea_desc();
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	const char *row;
	int len;

	for (;;)
	{
		MdbStreamEvent event = read_next(s, &row, &len);
		Datum value;
		bool isnull = false;

		CHECK_FOR_INTERRUPTS();
		if (event == MDB_STREAM_WAIT)
		{
			mdb_session_wait(s->session, -1);
			continue;
		}
		if (event != MDB_STREAM_ROW)
			break;
		value = PointerGetDatum(palloc(VARHDRSZ + len));
		SET_VARSIZE(DatumGetPointer(value), VARHDRSZ + len);
		memcpy(VARDATA(DatumGetPointer(value)), row, len);
		tuplestore_putvalues(store, desc, &value, &isnull);
		pfree(DatumGetPointer(value));
		s->rows--;
	}
	s->drained = store;
	s->drained_slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
}

/* ---------- the protocol ---------- */

/*
 * mdb_stream_start - send a query to a session that is ready.
 *
 * If that fails the first mdb_stream_next() tells.  The stream and what it is made of live in CurrentMemoryContext,
 * that of the reading or a shorter one.
 */
void
mdb_stream_start(MdbStream *s, MdbSession *session, const char *sql, bool binary)
{
	StringInfoData buf;
	const char *settings = mdb_session_settings();
	bool new_settings;

	memset(s, 0, sizeof(*s));
	s->session = session;
	/* Receive functions take strings for the client's. */
	s->binary = s->header = binary && session->alike && pg_get_client_encoding() == GetDatabaseEncoding();
	INSTR_TIME_SET_CURRENT(s->began);
	if (session->state == MDB_SESSION_READY)
		session->asked_at = GetCurrentTimestamp();
	if (session->state == MDB_SESSION_READY && session->stream)
		drain(session->stream);
	s->state = MDB_STREAM_FAILED;
	if (session->state != MDB_SESSION_READY)
		return;
	if (!mdb_session_settle(session))
	{
		mdb_session_fail(session, NULL);
		return;
	}
	initStringInfo(&buf);
	new_settings = session->settings == NULL || strcmp(session->settings, settings) != 0;
	/* In a transaction they may be what they were when it began. */
	if (new_settings)
		appendStringInfo(&buf, "%s; ", settings);
	if (!session->in_xact)
		appendStringInfoString(&buf, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ");
	appendStringInfo(&buf, "COPY (%s) TO STDOUT%s", sql, s->binary ? " (FORMAT binary)" : "");
	if (!PQsendQuery(session->conn, buf.data))
	{
		mdb_session_fail(session, NULL);
		return;
	}
	session->in_xact = true;
	if (new_settings)
	{
		if (session->settings)
			pfree(session->settings);
		session->settings = MemoryContextStrdup(session->mcxt, settings);
	}
	session->stream = s;
	s->bytes += buf.len;
	s->state = MDB_STREAM_SENT;
	pfree(buf.data);
}

static MdbStreamEvent
failed(MdbStream *s, const PGresult *res)
{
	mdb_session_fail(s->session, res);
	s->session->stream = NULL;
	s->state = MDB_STREAM_FAILED;
	return MDB_STREAM_ERROR;
}

/* Results up to the beginning of the rows, or behind their end. */
static MdbStreamEvent
read_results(MdbStream *s)
{
	MdbSession *session = s->session;
	PGresult *res;
	MdbStreamEvent event;

	for (;;)
	{
		if (PQisBusy(session->conn))
		{
			if (!PQconsumeInput(session->conn))
				return failed(s, NULL);
			if (PQisBusy(session->conn))
				return MDB_STREAM_WAIT;
		}
		res = PQgetResult(session->conn);
		if (res == NULL)
		{
			session->stream = NULL;
			s->state = MDB_STREAM_ENDED;
			INSTR_TIME_SET_CURRENT(s->took);
			INSTR_TIME_SUBTRACT(s->took, s->began);
			return MDB_STREAM_END;
		}
		switch (PQresultStatus(res))
		{
			case PGRES_COPY_OUT:
				PQclear(res);
				s->state = MDB_STREAM_ROWS;
				return MDB_STREAM_ROW;
			case PGRES_COMMAND_OK:
				PQclear(res);
				break;
			default:
				event = failed(s, res);
				PQclear(res);
				return event;
		}
	}
}

/* The next message, from the node. */
static MdbStreamEvent
read_next(MdbStream *s, const char **row, int *len)
{
	MdbSession *session = s->session;

	if (session->row)
		PQfreemem(session->row);
	session->row = NULL;
	while (s->state == MDB_STREAM_SENT || s->state == MDB_STREAM_TAIL)
	{
		MdbStreamEvent event = read_results(s);

		if (event != MDB_STREAM_ROW)
			return event;
	}
	while (s->state == MDB_STREAM_ROWS)
	{
		int n = PQgetCopyData(session->conn, &session->row, true);

		if (n == 0)
		{
			if (!PQconsumeInput(session->conn))
				return failed(s, NULL);
			n = PQgetCopyData(session->conn, &session->row, true);
			if (n == 0)
				return MDB_STREAM_WAIT;
		}
		if (n > 0)
		{
			s->bytes += n;
			*row = session->row;
			*len = n;
			if (s->header)
			{
				uint32 extension;

				if (n < 19 || memcmp(*row, binary_signature, sizeof(binary_signature)) != 0)
					ereport(ERROR,
							(errcode(ERRCODE_PROTOCOL_VIOLATION),
							 errmsg("node \"%s\": rows do not begin as binary rows do", session->node)));
				memcpy(&extension, *row + 15, sizeof(extension));
				extension = pg_ntoh32(extension);
				if (extension > n - 19)
					ereport(ERROR,
							(errcode(ERRCODE_PROTOCOL_VIOLATION),
							 errmsg("node \"%s\": rows do not begin as binary rows do", session->node)));
				*row += 19 + extension;
				*len -= 19 + extension;
				s->header = false;
			}
			/* A header alone, or the end of binary rows. */
			if (s->binary && (*len == 0 || (*len == 2 && memcmp(*row, "\377\377", 2) == 0)))
			{
				PQfreemem(session->row);
				session->row = NULL;
				continue;
			}
			s->rows++;
			return MDB_STREAM_ROW;
		}
		if (n == -2)
			return failed(s, NULL);
		/* They may not be here yet, and then are no rows that one could ask for. */
		s->state = MDB_STREAM_TAIL;
		return read_results(s);
	}
	return s->state == MDB_STREAM_ENDED ? MDB_STREAM_END : MDB_STREAM_ERROR;
}

/*
 * mdb_stream_next - the next row, which is there until the next call; or that there is none yet, or no other.
 */
MdbStreamEvent
mdb_stream_next(MdbStream *s, const char **row, int *len)
{
	Datum value;
	bool isnull;

	if (s->drained == NULL)
		return read_next(s, row, len);
	if (!tuplestore_gettupleslot(s->drained, true, false, s->drained_slot))
		return s->state == MDB_STREAM_FAILED ? MDB_STREAM_ERROR : MDB_STREAM_END;
	value = slot_getattr(s->drained_slot, 1, &isnull);
	*row = VARDATA_ANY(DatumGetPointer(value));
	*len = VARSIZE_ANY_EXHDR(DatumGetPointer(value));
	s->rows++;
	return MDB_STREAM_ROW;
}

/*
 * mdb_stream_discard - read and forget the rest, or so many rows of it, waiting so long for them (-1 = any).  True if
 * that was the end.
 */
bool
mdb_stream_discard(MdbStream *s, int64 rows, long milliseconds)
{
	TimestampTz until = GetCurrentTimestamp() + milliseconds * 1000;
	const char *row;
	int len;

	while (s->session && s->session->stream == s)
	{
		switch (read_next(s, &row, &len))
		{
			case MDB_STREAM_ROW:
				if (rows >= 0 && rows-- == 0)
					return false;
				break;
			case MDB_STREAM_WAIT:
				if (milliseconds >= 0 && GetCurrentTimestamp() >= until)
					return false;
				mdb_session_wait(s->session, milliseconds < 0 ? -1 : 1);
				break;
			case MDB_STREAM_END:
			case MDB_STREAM_ERROR:
				return s->state == MDB_STREAM_ENDED;
		}
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/*
 * mdb_stream_end - no more of it is wanted.  If there is more the connection cannot be kept.
 */
void
mdb_stream_end(MdbStream *s)
{
	if (s->drained)
	{
		ExecDropSingleTupleTableSlot(s->drained_slot);
		tuplestore_end(s->drained);
		s->drained = NULL;
	}
	if (s->session && s->session->stream == s)
		mdb_session_abandon(s->session);
	s->session = NULL;
}

/* ---------- columns ---------- */

/* Do binary values of a type mean the same on every node?  Those that name something by OID need not. */
static bool
is_binary_safe(Oid type)
{
	Oid base = get_element_type(type);

	if (OidIsValid(base))
		return base < FirstNormalObjectId && get_typtype(base) == TYPTYPE_BASE && is_binary_safe(base);
	switch (type)
	{
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGTYPEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case REGNAMESPACEOID:
		case REGROLEOID:
		case REGCOLLATIONOID:
			return false;
	}
	switch (get_typtype(type))
	{
		case TYPTYPE_DOMAIN:
			return is_binary_safe(getBaseType(type));
		case TYPTYPE_BASE:
		{
			HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
			bool has = HeapTupleIsValid(tuple) && OidIsValid(((Form_pg_type) GETSTRUCT(tuple))->typreceive) &&
					   OidIsValid(((Form_pg_type) GETSTRUCT(tuple))->typsend);

			if (HeapTupleIsValid(tuple))
				ReleaseSysCache(tuple);
			return has;
		}
		case TYPTYPE_ENUM:
			return true;
		default:
			return false;
	}
}

/*
 * mdb_row_reader - what reads rows of these columns.
 */
MdbRowReader *
mdb_row_reader(TupleDesc desc)
{
	MdbRowReader *r = palloc0(sizeof(MdbRowReader));
	int n = Max(1, desc->natts);

	r->desc = desc;
	r->binary = palloc0(sizeof(FmgrInfo) * n);
	r->binary_params = palloc0(sizeof(Oid) * n);
	r->text = palloc0(sizeof(FmgrInfo) * n);
	r->text_params = palloc0(sizeof(Oid) * n);
	r->binary_safe = true;
	for (int i = 0; i < desc->natts; i++)
	{
		Oid type = TupleDescAttr(desc, i)->atttypid;
		Oid function;

		getTypeInputInfo(type, &function, &r->text_params[i]);
		fmgr_info(function, &r->text[i]);
		if (!is_binary_safe(type))
		{
			r->binary_safe = false;
			continue;
		}
		getTypeBinaryInputInfo(type, &function, &r->binary_params[i]);
		fmgr_info(function, &r->binary[i]);
	}
	return r;
}

pg_noreturn static void
malformed(const MdbStream *s)
{
	ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
					errmsg("node \"%s\": a row has other columns than were asked for", s->session->node)));
}

static void
read_binary(const MdbRowReader *r, const MdbStream *s, const char *row, int len, Datum *values, bool *isnull)
{
	const char *end = row + len;
	uint16 n;

	if (pg_get_client_encoding() != GetDatabaseEncoding())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("client_encoding was changed while rows of nodes were being read"),
						errhint("Change it between queries.")));
	if (len < 2)
		malformed(s);
	memcpy(&n, row, 2);
	row += 2;
	if (pg_ntoh16(n) != r->desc->natts)
		malformed(s);
	for (int i = 0; i < r->desc->natts; i++)
	{
		StringInfoData buf;
		uint32 size;

		if (end - row < 4)
			malformed(s);
		memcpy(&size, row, 4);
		size = pg_ntoh32(size);
		row += 4;
		isnull[i] = size == PG_UINT32_MAX;
		if (isnull[i])
		{
			values[i] = ReceiveFunctionCall(&r->binary[i], NULL, r->binary_params[i],
											TupleDescAttr(r->desc, i)->atttypmod);
			continue;
		}
		if (size > end - row)
			malformed(s);
		/* Receive functions rely on a zero behind the value. */
		initStringInfo(&buf);
		appendBinaryStringInfo(&buf, row, size);
		values[i] = ReceiveFunctionCall(&r->binary[i], &buf, r->binary_params[i],
										TupleDescAttr(r->desc, i)->atttypmod);
		if (buf.cursor != size)
			malformed(s);
		row += size;
	}
	if (row != end)
		malformed(s);
}

static int
digit_value(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* A field of COPY's text, up to a tab or the end: without its escapes, or NULL for \N. */
static char *
unescape(const char **at, const char *end)
{
	const char *p = *at;
	char *result = palloc(end - p + 1), *out = result;
	bool is_null = end - p >= 2 && p[0] == '\\' && p[1] == 'N' && (p + 2 == end || p[2] == '\t');

	while (p < end && *p != '\t')
	{
		char c = *p++;

		if (c == '\\' && p < end)
		{
			c = *p++;
			switch (c)
			{
				case 'b':
					c = '\b';
					break;
				case 'f':
					c = '\f';
					break;
				case 'n':
					c = '\n';
					break;
				case 'r':
					c = '\r';
					break;
				case 't':
					c = '\t';
					break;
				case 'v':
					c = '\v';
					break;
				case 'x':
					if (p < end && isxdigit((unsigned char) *p))
					{
						c = digit_value(*p++);
						if (p < end && isxdigit((unsigned char) *p))
							c = c * 16 + digit_value(*p++);
					}
					break;
				default:
					break;
			}
		}
		*out++ = c;
	}
	*out = '\0';
	*at = p;
	return is_null ? NULL : result;
}

static void
read_text(const MdbRowReader *r, const MdbStream *s, const char *row, int len, Datum *values, bool *isnull)
{
	const char *end = row + len;

	if (len > 0 && end[-1] == '\n')
		end--;
	for (int i = 0; i < r->desc->natts; i++)
	{
		char *text = unescape(&row, end);

		isnull[i] = text == NULL;
		if (text)
			pg_verifymbstr(text, strlen(text), false);
		values[i] =
			InputFunctionCall(&r->text[i], text, r->text_params[i], TupleDescAttr(r->desc, i)->atttypmod);
		if ((row == end) != (i == r->desc->natts - 1))
			malformed(s);
		row++;
	}
}

/*
 * mdb_row_read - the columns of a row, in CurrentMemoryContext.
 */
void
mdb_row_read(const MdbRowReader *r, const MdbStream *s, const char *row, int len, Datum *values, bool *isnull)
{
	if (s->binary)
		read_binary(r, s, row, len, values, isnull);
	else
		read_text(r, s, row, len, values, isnull);
}
