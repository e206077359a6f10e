/*
 * machine_test.c
 *	  The state machine of alerts by tables: a policy, what is seen every ten seconds, and the states after it.
 *
 * Seen: H holds, N holds not, B between the thresholds, A absent, F failed.  States: i inactive, P pending, F firing,
 * K recovering, R resolved, D no data, E error.  Then a property: whatever is seen, invariants of all states hold.
 */
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert/machine.h"

/* The C library's, not the server's. */
#undef printf

#define S    INT64CONST(1000000)
#define STEP (10 * S)

static int passed, failed;

typedef struct Case
{
	const char *what;
	MdbPolicy policy;
	const char *seen;
	const char *states;
} Case;

static const Case cases[] = {
	/* Prometheus' own */
	{"without hold it fires at once", {.resolved_for = 900 * S}, "NHHN", "iFFR"},
	{"pending, then firing when it has held for as long",
	 {.hold = 30 * S, .resolved_for = 900 * S},
	 "HHHHHN",
	 "PPPFFR"},
	{"what does not hold while pending is gone, and begins anew", {.hold = 20 * S}, "HHNHHH", "PPiPPF"},
	{"a pending one that is absent is gone", {.hold = 20 * S}, "HHAHHH", "PPiPPF"},
	{"a firing one that is absent is resolved", {.resolved_for = 900 * S}, "HA", "FR"},
	{"keep_firing_for", {.keep_firing_for = 20 * S, .resolved_for = 900 * S}, "HNNNN", "FKKRR"},
	{"keep_firing_for begins anew when it holds again",
	 {.keep_firing_for = 20 * S, .resolved_for = 900 * S},
	 "HNHNNN",
	 "FKFKKR"},
	{"it is kept firing while absent, too",
	 {.keep_firing_for = 20 * S, .resolved_for = 900 * S},
	 "HAAA",
	 "FKKR"},
	{"resolved is forgotten after a time", {.resolved_for = 30 * S}, "HNNNNN", "FRRRii"},
	{"resolved, then it holds again", {.hold = 10 * S, .resolved_for = 900 * S}, "HHNHH", "PFRPF"},
	{"resolved, then it holds again, without hold", {.resolved_for = 900 * S}, "HNH", "FRF"},
	/* two thresholds */
	{"between the thresholds it has not recovered", {.resolved_for = 900 * S}, "HBBBN", "FKKKR"},
	{"between them it does not begin", {.hold = 10 * S}, "BBHB", "iiPi"},
	{"from between back to firing", {.resolved_for = 900 * S}, "HBHN", "FKFR"},
	{"keep_firing_for counts from when it has recovered",
	 {.keep_firing_for = 20 * S, .resolved_for = 900 * S},
	 "HBBBNNN",
	 "FKKKKKR"},
	{"and anew when it goes back between",
	 {.keep_firing_for = 20 * S, .resolved_for = 900 * S},
	 "HNBNNN",
	 "FKKKKR"},
	/* absence */
	{"absent is kept: pending goes on, and does not fire unseen",
	 {.hold = 20 * S, .absent = MDB_ABSENT_KEEP},
	 "HAAAH",
	 "PPPPF"},
	{"absent is kept: firing", {.absent = MDB_ABSENT_KEEP, .resolved_for = 900 * S}, "HAAAAN", "FFFFFR"},
	{"absent is kept for so long",
	 {.absent = MDB_ABSENT_KEEP, .absent_for = 30 * S, .resolved_for = 900 * S},
	 "HAAAA",
	 "FFFRR"},
	{"absent is kept: what was recovering recovers",
	 {.absent = MDB_ABSENT_KEEP, .keep_firing_for = 20 * S, .resolved_for = 900 * S},
	 "HNAA",
	 "FKKR"},
	{"absent is kept: between the thresholds it stays there",
	 {.absent = MDB_ABSENT_KEEP, .resolved_for = 900 * S},
	 "HBAAN",
	 "FKKKR"},
	{"absent fires", {.absent = MDB_ABSENT_FIRING, .resolved_for = 900 * S}, "NNAAN", "iiFFR"},
	{"absent fires when it has been so for as long",
	 {.absent = MDB_ABSENT_FIRING, .hold = 20 * S, .resolved_for = 900 * S},
	 "NAAAN",
	 "iPPFR"},
	{"absent fires, and is gone for good after a time",
	 {.absent = MDB_ABSENT_FIRING, .absent_for = 40 * S, .resolved_for = 20 * S},
	 "NAAAAAA",
	 "iFFFRRi"},
	{"absent is no data", {.absent = MDB_ABSENT_NODATA, .resolved_for = 900 * S}, "NAAN", "iDDR"},
	{"absent is no data after hold",
	 {.absent = MDB_ABSENT_NODATA, .hold = 20 * S, .resolved_for = 900 * S},
	 "NAAAN",
	 "iiDDR"},
	{"no data of what fired, which then fires on",
	 {.absent = MDB_ABSENT_NODATA, .resolved_for = 900 * S},
	 "HAHN",
	 "FDFR"},
	{"no data, then it holds: it fires on, whatever hold is",
	 {.absent = MDB_ABSENT_NODATA, .hold = 10 * S, .resolved_for = 900 * S},
	 "NAH",
	 "iDF"},
	{"no data, then between: it had not fired",
	 {.absent = MDB_ABSENT_NODATA, .resolved_for = 900 * S},
	 "NAB",
	 "iDR"},
	{"no data, then between: it had fired",
	 {.absent = MDB_ABSENT_NODATA, .resolved_for = 900 * S},
	 "HABN",
	 "FDKR"},
	{"pending is no data after hold",
	 {.absent = MDB_ABSENT_NODATA, .hold = 30 * S, .resolved_for = 900 * S},
	 "HAAAA",
	 "PPPDD"},
	/* failures */
	{"a failure leaves all as it is", {.hold = 20 * S, .resolved_for = 900 * S}, "FHFFHFNF", "iPPPFFRR"},
	{"a failure fires", {.error = MDB_ERROR_FIRING, .resolved_for = 900 * S}, "NFN", "iFR"},
	{"a failure is a state", {.error = MDB_ERROR_ERROR, .resolved_for = 900 * S}, "HFFHFN", "FEEFER"},
	{"a failure is a state after hold",
	 {.error = MDB_ERROR_ERROR, .hold = 20 * S, .resolved_for = 900 * S},
	 "HHHFFFH",
	 "PPFFEEF"},
	{"no data, then a failure: one alert",
	 {.absent = MDB_ABSENT_NODATA, .error = MDB_ERROR_ERROR, .resolved_for = 900 * S},
	 "HAFAN",
	 "FDEDR"},
	{"a failure, then absent, which is kept: as before",
	 {.absent = MDB_ABSENT_KEEP, .error = MDB_ERROR_ERROR, .resolved_for = 900 * S},
	 "HFAN",
	 "FEFR"},
	{"keeps recovering over a failure",
	 {.keep_firing_for = 30 * S, .resolved_for = 900 * S},
	 "HNFNN",
	 "FKKKR"},
	/* M of N */
	{"two of three", {.holds_of = 2, .of = 3, .resolved_for = 900 * S}, "HNHNNN", "PPFRRR"},
	{"three of three", {.holds_of = 3, .of = 3, .resolved_for = 900 * S}, "HHNHHHN", "PPPPPFR"},
	{"of 64",
	 {.holds_of = 1, .of = 64, .resolved_for = 900 * S},
	 "HNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNN",
	 "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFR"},
	{"pending is gone with the last that held", {.holds_of = 2, .of = 3}, "HNNNH", "PPPiP"},
	{"absent counts as not, failures not at all",
	 {.holds_of = 2, .of = 3, .resolved_for = 900 * S},
	 "HAFH",
	 "PPPF"},
	{"it keeps firing after M of N",
	 {.holds_of = 2, .of = 2, .keep_firing_for = 20 * S, .resolved_for = 900 * S},
	 "HHNNNN",
	 "PFKKRR"},
};

static MdbCondition
condition(char c)
{
	switch (c)
	{
		case 'H':
			return MDB_HOLDS;
		case 'N':
			return MDB_HOLDS_NOT;
		case 'B':
			return MDB_BETWEEN;
		case 'A':
			return MDB_ABSENT;
		default:
			return MDB_FAILED;
	}
}

static void
check(bool good, const char *what, const char *detail)
{
	if (good)
		passed++;
	else
	{
		failed++;
		printf("%s: %s\n", what, detail);
	}
}

static void
run_case(const Case *c)
{
	MdbInstance in = {0};
	char states[128] = {0};

	for (int i = 0; c->seen[i]; i++)
	{
		MdbState before = in.state;

		if (mdb_machine_step(&c->policy, &in, condition(c->seen[i]), i, (i + 1) * STEP) != before)
			check(false, c->what, "the state of before was not returned");
		states[i] = "iPFKRDE"[in.state];
	}
	check(strcmp(states, c->states) == 0, c->what, states);
}

/* ---- times, values, names ---- */

static void
test_times(void)
{
	MdbPolicy policy = {.hold = 20 * S, .keep_firing_for = 10 * S, .resolved_for = 900 * S};
	MdbInstance in = {0};

	mdb_machine_step(&policy, &in, MDB_HOLDS, 1, 100 * S);
	check(in.active_since == 100 * S && in.starts_at == 0 && in.ends_at == 0, "times", "pending");
	mdb_machine_step(&policy, &in, MDB_HOLDS, 2, 130 * S);
	check(in.active_since == 100 * S && in.starts_at == 130 * S && in.value == 2, "times", "firing");
	mdb_machine_step(&policy, &in, MDB_HOLDS_NOT, 3, 140 * S);
	check(in.keep_since == 140 * S && in.starts_at == 130 * S && in.value == 3, "times", "recovering");
	mdb_machine_step(&policy, &in, MDB_ABSENT, 9, 150 * S);
	check(in.ends_at == 150 * S && in.starts_at == 130 * S && in.value == 3 && in.last_seen == 140 * S,
		  "times", "resolved, of what was absent the value stays");
	mdb_machine_step(&policy, &in, MDB_HOLDS, 4, 160 * S);
	check(in.active_since == 160 * S && in.starts_at == 0 && in.ends_at == 0, "times", "pending again");
}

static void
test_rule_changed(void)
{
	MdbPolicy policy = {.resolved_for = 900 * S};
	MdbInstance in = {0};

	mdb_machine_step(&policy, &in, MDB_HOLDS, 1, 100 * S);
	policy.hold = 60 * S;
	mdb_machine_rule_changed(&policy, &in, 160 * S);
	check(in.state == MDB_STATE_FIRING && in.starts_at == 100 * S, "rule changed",
		  "it has held for long enough");
	policy.hold = 61 * S;
	mdb_machine_rule_changed(&policy, &in, 160 * S);
	check(in.state == MDB_STATE_PENDING && in.starts_at == 0, "rule changed", "it is pending again");
	mdb_machine_step(&policy, &in, MDB_HOLDS, 1, 161 * S);
	check(in.state == MDB_STATE_FIRING && in.starts_at == 161 * S, "rule changed",
		  "and fires when it has held");
}

static void
test_unseen(void)
{
	MdbPolicy policy = {.hold = 60 * S, .keep_firing_for = 60 * S, .resolved_for = 900 * S};
	MdbInstance in = {0};

	mdb_machine_step(&policy, &in, MDB_HOLDS, 1, 100 * S);
	mdb_machine_unseen(&in, 3600 * S);
	mdb_machine_step(&policy, &in, MDB_HOLDS, 1, 3720 * S);
	check(in.state == MDB_STATE_PENDING, "unseen", "pending for 20 seconds that were looked at");
	mdb_machine_step(&policy, &in, MDB_HOLDS, 1, 3760 * S);
	check(in.state == MDB_STATE_FIRING && in.starts_at == 3760 * S, "unseen", "and for 60");
	mdb_machine_unseen(&in, 3600 * S);
	mdb_machine_step(&policy, &in, MDB_HOLDS, 1, 7400 * S);
	check(in.state == MDB_STATE_FIRING && in.starts_at == 3760 * S && in.active_since == 3700 * S, "unseen",
		  "what fires does so since it did");
	mdb_machine_step(&policy, &in, MDB_HOLDS_NOT, 1, 7410 * S);
	mdb_machine_unseen(&in, 3600 * S);
	mdb_machine_step(&policy, &in, MDB_HOLDS_NOT, 1, 11050 * S);
	check(in.state == MDB_STATE_RECOVERING, "unseen", "recovering for 40");
	mdb_machine_step(&policy, &in, MDB_HOLDS_NOT, 1, 11070 * S);
	check(in.state == MDB_STATE_RESOLVED, "unseen", "and over");
	policy.absent = MDB_ABSENT_NODATA;
	memset(&in, 0, sizeof(in));
	mdb_machine_step(&policy, &in, MDB_HOLDS_NOT, 1, 100 * S);
	mdb_machine_unseen(&in, 3600 * S);
	mdb_machine_step(&policy, &in, MDB_ABSENT, 1, 3710 * S);
	check(in.state == MDB_STATE_INACTIVE, "unseen", "nobody has looked for data");
}

static void
test_names(void)
{
	for (int i = MDB_STATE_INACTIVE; i <= MDB_STATE_ERROR; i++)
	{
		MdbState state;

		check(mdb_alert_state_parse(mdb_alert_state_name(i), &state) && state == i, "names",
			  mdb_alert_state_name(i));
	}
	check(!mdb_alert_state_parse("normal", &(MdbState){0}), "names", "one that is none");
}

/* ---- whatever is seen ---- */

static int
dice(int n)
{
	static uint64 seed = UINT64CONST(88172645463325252);

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (int) ((seed >> 20) % n);
}

static void
test_random(void)
{
	bool good = true;

	for (int run = 0; run < 20000; run++)
	{
		MdbPolicy policy = {0};
		MdbInstance in = {0};
		TimestampTz at = 0;
		TimestampTz told_since = 0;
		policy.hold = dice(4) * STEP;
		policy.keep_firing_for = dice(3) * STEP;
		policy.absent = dice(4);
		policy.error = dice(3);
		policy.absent_for = dice(3) * 4 * STEP;
		policy.resolved_for = dice(5) * STEP;
		if (dice(4) == 0)
		{
			policy.of = 1 + dice(64);
			policy.holds_of = 1 + dice(policy.of);
			policy.hold = 0;
		}
		for (int i = 0; i < 60; i++)
		{
			bool was_told = mdb_state_told(in.state);
			bool told;

			at += STEP;
			mdb_machine_step(&policy, &in, dice(5), dice(100), at);
			told = mdb_state_told(in.state);
			/* While an alert is told its start stands; it is told from when it begins to be, and ended after. */
			if (told && !was_told)
				told_since = at;
			good = good && (!told || (in.starts_at == told_since && in.ends_at == 0));
			good = good && (told || !was_told || in.ends_at == at);
			good = good && (in.state != MDB_STATE_PENDING || (in.active_since != 0 && in.starts_at == 0));
			good = good && (in.state != MDB_STATE_FIRING || in.active_since != 0);
			good = good && (in.state != MDB_STATE_INACTIVE || (in.starts_at == 0 && in.keep_since == 0));
			good =
				good && (in.state != MDB_STATE_RESOLVED || (in.ends_at >= in.starts_at && in.starts_at != 0));
			good = good && (in.state == MDB_STATE_INACTIVE || mdb_machine_keeps(&policy, &in));
		}
		/* It ends, if all is well for long enough. */
		for (int i = 0; i < 80; i++)
			mdb_machine_step(&policy, &in, MDB_HOLDS_NOT, 0, at += STEP);
		good = good && in.state == MDB_STATE_INACTIVE;
	}
	check(good, "random", "an invariant does not hold");
}

int
main(void)
{
	for (int i = 0; i < lengthof(cases); i++)
		run_case(&cases[i]);
	test_times();
	test_rule_changed();
	test_unseen();
	test_names();
	test_random();
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
