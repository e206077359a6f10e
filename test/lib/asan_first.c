/*
 * asan_first.c
 *	  Starts the address sanitizer before any other library's constructor runs (-z initfirst).
 *
 * Preloaded, it otherwise starts in the first malloc, which is one that p11-kit does inside
 * newlocale(); the sanitizer's own start calls dlerror(), which locks the locale again: a deadlock.
 */
extern void __asan_init(void);

static void __attribute__((constructor)) asan_first(void)
{
	__asan_init();
}
