/*
 * tans.c
 *	  Entropy coding of small symbols: table-driven asymmetric numeral systems (Duda 2013), as near to
 *	  the order-0 entropy as arithmetic coding, with one table look-up for each symbol.
 *
 * Bytes
 *
 *	byte		L, the table's logarithm, 5..12
 *	byte		symbols less one, A - 1: they are 0 .. A - 1
 *	bits		frequencies of the symbols but for the last, out of 2^L together: each in as many bits
 *				as what is left needs; behind a 0 two bits say how many more follow it (3: and two
 *				bits more)
 *	bits		LANES states of L bits, then what each symbol in turn leaves to read
 *
 * All bits are one stream from the low bit of the first byte, zero bits at its end.
 *
 * Symbol i belongs to lane i % LANES, and each lane is a coder of its own, so that a core has several
 * chains of look-ups under way, while one stream of bits serves them all: no lengths, no gaps.  A
 * state is a slot of the table: it says which symbol, how many bits to read, and what to add to them
 * for the lane's next state.  The encoder goes backwards, from slot 0, so the decoder must end there.
 *
 * Invariants
 *	1. Frequencies add up to 2^L, so each slot of the table is filled and no state can leave it.
 *	2. The reader looks at bytes of the input only; bits behind its end are zero, and the position is
 *	   compared with the end once they have been taken.
 *	3. Every lane ends at slot 0, in the last byte: else the bytes are corrupt.
 */
#include "codec_internal.h"

#define LOG_MIN   5
#define LOG_MAX   12
#define TABLE_MAX (1 << LOG_MAX)
#define LANES     8

/* What the encoder may write before it knows whether it fits: the states and 2 bytes a symbol. */
#define STREAM_MAX (2 * MDB_BLOCK_ROWS_MAX + 64)

/*
 * A slot of the decoding table: bits to read, the symbol, and what to add to the bits.  The bits stand lowest,
 * where shifts look, and where those of several slots add up in a byte.
 */
#define SLOT(bits, symbol, base) ((uint32_t) (bits) | (uint32_t) (symbol) << 8 | (uint32_t) (base) << 16)
#define SLOT_BITS(slot)          ((uint8_t) (slot))
#define SLOT_SYMBOL(slot)        ((uint8_t) ((slot) >> 8))
#define SLOT_BASE(slot)          ((slot) >> 16)

typedef struct BitSink
{
	uint8_t *p;
	uint64_t acc;
	unsigned used; /* below 8 after each flush */
} BitSink;

/* Append n bits, at most 48; the bytes behind p may be scribbled on. */
static inline void
put(BitSink *s, uint64_t x, unsigned n)
{
	s->acc |= x << s->used;
	s->used += n;
	mdb_store64(s->p, s->acc);
	s->p += s->used >> 3;
	s->acc >>= s->used & ~7u;
	s->used &= 7;
}

typedef struct BitSource
{
	const uint8_t *in;
	size_t len;
	uint64_t at; /* bits taken */
} BitSource;

/* The next bits, at least 56; zeros where the input has ended. */
static inline uint64_t
peek(const BitSource *s)
{
	size_t byte = s->at >> 3;
	uint64_t x = 0;

	if (likely_(byte + 8 <= s->len))
		x = mdb_load64(s->in + byte);
	else if (byte < s->len)
		memcpy(&x, s->in + byte, s->len - byte);
	return x >> (s->at & 7);
}

static inline uint32_t
get(BitSource *s, unsigned n)
{
	uint64_t x = peek(s);

	s->at += n;
	return (uint32_t) (x & ((UINT64_C(1) << n) - 1));
}

/*
 * mdb_log2 - the logarithm of x, in 65536ths, good to a hundredth.  Of integers alone, so that every
 * machine comes to the same choices.
 */
uint32_t
mdb_log2(uint32_t x)
{
	unsigned w = mdb_width(x) - 1;
	uint64_t f = ((uint64_t) x << 16 >> w) - 65536;

	return (w << 16) + (uint32_t) (f + ((f * (65536 - f) >> 16) * 22525 >> 16));
}

/* The logarithm of the table: an eighth to a sixteenth of the symbols, so that making it costs less than they do. */
static unsigned
table_log(uint32_t n, unsigned alphabet)
{
	int log = (int) mdb_width(n) - 4;
	int least = (int) mdb_width(alphabet - 1) + 2;

	if (log < least)
		log = least;
	return (unsigned) (log < LOG_MIN + 1 ? LOG_MIN + 1 : log > LOG_MAX - 1 ? LOG_MAX - 1 : log);
}

/*
 * mdb_tans_cost - bytes that mdb_tans_encode will take for so many of each symbol, nearly.
 */
size_t
mdb_tans_cost(const uint32_t *count, unsigned alphabet, uint32_t n)
{
	unsigned log = table_log(n, alphabet);
	uint32_t log_n = mdb_log2(n);
	uint64_t bits = 0;
	uint64_t head = 16 + LANES * log;
	uint32_t left = n;

	for (unsigned a = 0; a < alphabet; a++)
	{
		uint32_t c = count[a];

		if (c != 0)
		{
			/* a symbol has a slot of the table at least */
			uint32_t each = log_n - mdb_log2(c);

			bits += (uint64_t) c * (each < log << 16 ? each : log << 16);
			head += mdb_width((((uint64_t) left << log) / n)) + 1;
			left -= c;
		}
		else
			head += 1;
	}
	/* the approximations of states and frequencies */
	bits += bits >> 8;
	return ((bits >> 16) + head + 7) / 8;
}

/* Frequencies that add up to the table's size: of each symbol that occurs at least 1. */
static void
normalise(const uint32_t *count, unsigned alphabet, uint32_t n, unsigned log, uint16_t *freq)
{
	uint32_t size = 1u << log;
	uint32_t sum = 0;

	for (unsigned a = 0; a < alphabet; a++)
	{
		uint32_t f = (uint32_t) ((((uint64_t) count[a] << log) + n / 2) / n);

		freq[a] = (uint16_t) (count[a] == 0 ? 0 : f == 0 ? 1 : f);
		sum += freq[a];
	}
	/* one more or less for that symbol to which it means most, or least, as count / frequency says */
	while (sum != size)
	{
		unsigned best = alphabet;

		for (unsigned a = 0; a < alphabet; a++)
		{
			if (count[a] == 0 || (sum > size && freq[a] == 1))
				continue;
			if (best == alphabet)
				best = a;
			else if (sum > size ? (uint64_t) count[a] * (2u * freq[best] - 1) <
									  (uint64_t) count[best] * (2u * freq[a] - 1)
								: (uint64_t) count[a] * (2u * freq[best] + 1) >
									  (uint64_t) count[best] * (2u * freq[a] + 1))
				best = a;
		}
		freq[best] = (uint16_t) (sum > size ? freq[best] - 1 : freq[best] + 1);
		sum = sum > size ? sum - 1 : sum + 1;
	}
}

static void
put_frequencies(BitSink *s, const uint16_t *freq, unsigned alphabet, unsigned log)
{
	uint32_t left = 1u << log;

	for (unsigned a = 0; a + 1 < alphabet; a++)
	{
		put(s, freq[a], mdb_width(left));
		left -= freq[a];
		if (freq[a] == 0)
		{
			unsigned more = 0;

			while (a + more + 2 < alphabet && freq[a + more + 1] == 0)
				more++;
			a += more;
			for (; more >= 3; more -= 3)
				put(s, 3, 2);
			put(s, more, 2);
		}
	}
}

static bool
get_frequencies(BitSource *s, unsigned alphabet, unsigned log, uint16_t *freq)
{
	uint32_t left = 1u << log;

	for (unsigned a = 0; a + 1 < alphabet; a++)
	{
		uint32_t f = get(s, mdb_width(left));

		if (f > left)
			return false;
		freq[a] = (uint16_t) f;
		left -= f;
		if (f == 0)
		{
			uint32_t more;

			do
			{
				more = get(s, 2);
				for (uint32_t i = 0; i < more; i++)
				{
					if (a + 2 >= alphabet)
						return false;
					freq[++a] = 0;
				}
			} while (more == 3);
		}
	}
	freq[alphabet - 1] = (uint16_t) left;
	return s->at <= (uint64_t) s->len * 8;
}

/* Which symbol each slot of the table is of: each symbol's slots lie far apart. */
static void
spread(const uint16_t *freq, unsigned alphabet, unsigned log, uint8_t *symbols)
{
	uint32_t size = 1u << log;
	uint32_t step = (size >> 1) + (size >> 3) + 3;
	uint32_t slot = 0;

	for (unsigned a = 0; a < alphabet; a++)
	{
		for (uint32_t i = 0; i < freq[a]; i++)
		{
			symbols[slot] = (uint8_t) a;
			slot = (slot + step) & (size - 1);
		}
	}
}

/*
 * mdb_tans_encode - n symbols (at least 1), all below alphabet (1..256); count[] says how many there
 * are of each.  Returns the bytes, 0 if they do not fit into cap.
 */
size_t
mdb_tans_encode(const uint8_t *symbols, uint32_t n, const uint32_t *count, unsigned alphabet, uint8_t *out,
				size_t cap)
{
	unsigned log = table_log(n, alphabet);
	uint32_t size = 1u << log;
	uint16_t freq[256];
	uint16_t first[256]; /* of a symbol's slots in next[] */
	uint16_t next[TABLE_MAX];
	uint32_t threshold[256];
	uint8_t slots[TABLE_MAX];
	uint16_t bits[MDB_BLOCK_ROWS_MAX];
	uint8_t width[MDB_BLOCK_ROWS_MAX];
	uint8_t stream[STREAM_MAX];
	uint32_t state[LANES];
	uint32_t at = 0;
	BitSink s = {stream, 0, 0};

	normalise(count, alphabet, n, log, freq);
	spread(freq, alphabet, log, slots);
	for (unsigned a = 0; a < alphabet; a++)
	{
		unsigned most; /* bits that a state gives up before it takes the symbol in */

		first[a] = (uint16_t) at;
		at += freq[a];
		if (freq[a] == 0)
			continue;
		most = log - mdb_width(freq[a]) + 1;
		/* states from freq << most on give up that many, others one less */
		threshold[a] = (most << 16) - ((uint32_t) freq[a] << most);
		if (freq[a] == 1u << (mdb_width(freq[a]) - 1))
			threshold[a] = (most << 16) - size;
	}
	{
		uint16_t fill[256];

		memcpy(fill, first, sizeof(fill[0]) * alphabet);
		for (uint32_t slot = 0; slot < size; slot++)
			next[fill[slots[slot]]++] = (uint16_t) slot;
	}

	for (unsigned lane = 0; lane < LANES; lane++)
		state[lane] = size;
	for (uint32_t i = n; i-- > 0;)
	{
		uint32_t *x = &state[i % LANES];
		unsigned a = symbols[i];
		unsigned nb = (*x + threshold[a]) >> 16;

		bits[i] = (uint16_t) (*x & ((1u << nb) - 1));
		width[i] = (uint8_t) nb;
		*x = size + next[first[a] + (*x >> nb) - freq[a]];
	}

	put_frequencies(&s, freq, alphabet, log);
	for (unsigned lane = 0; lane < LANES; lane++)
		put(&s, state[lane] - size, log);
	for (uint32_t i = 0; i < n; i++)
		put(&s, bits[i], width[i]);
	s.p += s.used > 0;
	if ((size_t) (s.p - stream) + 2 > cap)
		return 0;
	out[0] = (uint8_t) log;
	out[1] = (uint8_t) (alphabet - 1);
	memcpy(out + 2, stream, (size_t) (s.p - stream));
	return (size_t) (s.p - stream) + 2;
}

/*
 * The symbols of all lanes, from the source's position on.  In the fast part a word of the stream
 * serves four symbols, which take at most 4 * LOG_MAX = 48 of its 57 bits.
 */
static inline __attribute__((always_inline)) void
decode_symbols(BitSource *s, const uint32_t *restrict table, uint32_t *state, uint32_t n,
			   uint8_t *restrict symbols)
{
	uint64_t x0 = state[0], x1 = state[1], x2 = state[2], x3 = state[3];
	uint64_t x4 = state[4], x5 = state[5], x6 = state[6], x7 = state[7];
	uint32_t i = 0;
	uint64_t at = s->at;
	/* two words can be loaded from here: the first takes 6 bytes at most */
	uint64_t end = s->len < 14 ? 0 : (uint64_t) (s->len - 14) * 8;
	const uint8_t *in = s->in;

#define STEP(x, k)                                                \
	do                                                            \
	{                                                             \
		uint32_t slot = table[x];                                 \
                                                                  \
		out[k] = SLOT_SYMBOL(slot);                               \
		x = SLOT_BASE(slot) + (w & ~(UINT64_MAX << (slot & 63))); \
		w >>= slot & 63;                                          \
		taken += slot;                                            \
	} while (0)
	for (; i + LANES <= n && at < end; i += LANES)
	{
		uint8_t *out = symbols + i;
		uint32_t taken = 0;
		uint64_t w = mdb_load64(in + (at >> 3)) >> (at & 7);

		STEP(x0, 0);
		STEP(x1, 1);
		STEP(x2, 2);
		STEP(x3, 3);
		at += SLOT_BITS(taken);
		taken = 0;
		w = mdb_load64(in + (at >> 3)) >> (at & 7);
		STEP(x4, 4);
		STEP(x5, 5);
		STEP(x6, 6);
		STEP(x7, 7);
		at += SLOT_BITS(taken);
	}
#undef STEP
	s->at = at;
	state[0] = (uint32_t) x0;
	state[1] = (uint32_t) x1;
	state[2] = (uint32_t) x2;
	state[3] = (uint32_t) x3;
	state[4] = (uint32_t) x4;
	state[5] = (uint32_t) x5;
	state[6] = (uint32_t) x6;
	state[7] = (uint32_t) x7;
	for (; i < n; i++)
	{
		uint32_t slot = table[state[i % LANES]];

		symbols[i] = SLOT_SYMBOL(slot);
		state[i % LANES] = SLOT_BASE(slot) + get(s, SLOT_BITS(slot));
	}
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(MDB_NO_CLONES)
#define HAVE_BMI2 __builtin_cpu_supports("bmi2")

/* Shifts by a variable and masks are one instruction each with BMI2. */
static __attribute__((target("bmi,bmi2"))) void
decode_symbols_bmi2(BitSource *s, const uint32_t *table, uint32_t *state, uint32_t n, uint8_t *symbols)
{
	decode_symbols(s, table, state, n, symbols);
}
#else
#define HAVE_BMI2           false
#define decode_symbols_bmi2 decode_symbols
#endif

static void
decode_symbols_plain(BitSource *s, const uint32_t *table, uint32_t *state, uint32_t n, uint8_t *symbols)
{
	decode_symbols(s, table, state, n, symbols);
}

/*
 * mdb_tans_decode - n symbols, of a stream that takes all of the input.  *alphabet: all are below it.
 */
bool
mdb_tans_decode(const uint8_t *in, size_t len, uint32_t n, unsigned *alphabet, uint8_t *symbols)
{
	uint32_t table[TABLE_MAX];
	uint16_t freq[256];
	uint8_t slots[TABLE_MAX];
	uint32_t state[LANES];
	BitSource s = {in + 2, len - 2, 0};
	unsigned log;

	if (len < 3 || in[0] < LOG_MIN || in[0] > LOG_MAX)
		return false;
	log = in[0];
	*alphabet = in[1] + 1u;
	if (!get_frequencies(&s, *alphabet, log, freq))
		return false;
	spread(freq, *alphabet, log, slots);
	for (uint32_t slot = 0; slot < 1u << log; slot++)
	{
		uint32_t x = freq[slots[slot]]++;
		unsigned nb = log + 1 - mdb_width(x);

		table[slot] = SLOT(nb, slots[slot], (x << nb) - (1u << log));
	}
	for (unsigned lane = 0; lane < LANES; lane++)
		state[lane] = get(&s, log);
	if (HAVE_BMI2)
		decode_symbols_bmi2(&s, table, state, n, symbols);
	else
		decode_symbols_plain(&s, table, state, n, symbols);
	for (unsigned lane = 0; lane < LANES; lane++)
	{
		if (state[lane] != 0)
			return false;
	}
	/* it ends in the last byte, whose rest is zero */
	return (s.at + 7) / 8 == s.len && (s.at % 8 == 0 || s.in[s.len - 1] >> (s.at % 8) == 0);
}
