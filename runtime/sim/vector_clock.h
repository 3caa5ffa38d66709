/* vector_clock.h: vector clocks, sparse and shared. A clock says up to which moment its owner knows the doings of
 * others. A CTA counts its synchronising events; a thread's accesses carry the count of its own last
 * one (its stamp). An entry (key, s) means: everything that key did with a stamp below s is known.
 * A key is a whole CTA, a warp, or a thread: (cta, 0, 0), (cta, warp + 1, 0), (cta, warp + 1, lane + 1). */
#ifndef QM_SIM_VECTOR_CLOCK_H
#define QM_SIM_VECTOR_CLOCK_H
#include <stdint.h>

typedef struct {
    uint64_t key;
    uint32_t below;
} vclock_entry;
typedef struct {
    uint32_t refs, n;
    vclock_entry e[]; /* [n], sorted by key */
} vclock;
#define VCLOCK_KEY(cta, warp1, lane1) ((uint64_t)(cta) << 16 | (uint64_t)(warp1) << 8 | (uint64_t)(lane1))

vclock *vclock_share(vclock *a); /* one more owner; NULL (knows nothing) stays NULL */
void vclock_drop(vclock *a);
/* *to becomes the join of *to and from. 0, or -1 out of memory. */
int vclock_join(vclock **to, const vclock *from);
int vclock_join_entries(vclock **to, const vclock_entry *e, uint32_t n); /* e sorted by key */
/* Is a doing of thread (cta, warp, lane) with this stamp known? several: of any lane of the warp. */
int vclock_knows(const vclock *a, uint32_t cta, uint32_t warp, uint32_t lane, int several, uint32_t stamp);
#endif
