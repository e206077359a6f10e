/*
 * stop.h
 *	  Points at which a test can stop a process, see stop.c.  Without MDB_TESTING there are none.
 */
#ifndef MDB_STOP_H
#define MDB_STOP_H

#ifdef MDB_TESTING

extern bool mdb_stop_armed;
extern void mdb_stop(const char *name);
extern void mdb_stop_init(void);

#define MDB_STOP(name)      \
	do                      \
	{                       \
		if (mdb_stop_armed) \
			mdb_stop(name); \
	} while (0)

#else

#define MDB_STOP(name) ((void) 0)

#endif

#endif /* MDB_STOP_H */
