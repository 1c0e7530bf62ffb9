/* A circuit breaker without locks: after `limit` failures in a row calls are refused for the cool-down, then one call
 * is let through as a probe; if that works the circuit closes, if not, the next probe comes one cool-down later. */
#ifndef TCSQL_BREAKER_H
#define TCSQL_BREAKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct breaker {
    atomic_uint failures;   /* in a row */
    atomic_llong next_probe; /* monotonic nanoseconds; means something while the circuit is open */
};

static inline bool breaker_is_open(struct breaker *breaker, unsigned limit) {
    return atomic_load(&breaker->failures) >= limit;
}

/* Whether this call may try. Of all the callers that come when a probe is due, one gets true. */
static inline bool breaker_admits(struct breaker *breaker, unsigned limit, int64_t now, int64_t cooldown) {
    if (!breaker_is_open(breaker, limit))
        return true;
    long long due = atomic_load(&breaker->next_probe);
    return now >= due && atomic_compare_exchange_strong(&breaker->next_probe, &due, now + cooldown);
}

/* Note a failure; true: this one has opened the circuit. */
static inline bool breaker_failed(struct breaker *breaker, unsigned limit, int64_t now, int64_t cooldown) {
    if (atomic_load(&breaker->failures) + 1 >= limit)
        atomic_store(&breaker->next_probe, now + cooldown); /* before it opens: nobody sees it open with an old date */
    return atomic_fetch_add(&breaker->failures, 1) + 1 == limit;
}

/* Note a success; true: this one has closed the circuit. */
static inline bool breaker_worked(struct breaker *breaker, unsigned limit) {
    return atomic_exchange(&breaker->failures, 0) >= limit;
}

#endif
