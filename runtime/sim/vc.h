/* vc.h: vector clocks, sparse and shared. A clock says up to which moment its owner knows the doings of
 * others. A CTA counts its synchronising events; a thread's accesses carry the count of its own last
 * one (its stamp). An entry (key, s) means: everything that key did with a stamp below s is known.
 * A key is a whole CTA, a warp, or a thread: (cta, 0, 0), (cta, warp + 1, 0), (cta, warp + 1, lane + 1). */
#ifndef QM_SIM_VC_H
#define QM_SIM_VC_H
#include <stdint.h>

typedef struct {
    uint64_t key;
    uint32_t below;
} vc_entry;
typedef struct {
    uint32_t refs, n;
    vc_entry e[]; /* [n], sorted by key */
} vc;
#define VC_KEY(cta, warp1, lane1) ((uint64_t)(cta) << 16 | (uint64_t)(warp1) << 8 | (uint64_t)(lane1))

vc *vc_share(vc *a); /* one more owner; NULL (knows nothing) stays NULL */
void vc_drop(vc *a);
/* *to becomes the join of *to and from. 0, or -1 out of memory. */
int vc_join(vc **to, const vc *from);
int vc_join_entries(vc **to, const vc_entry *e, uint32_t n); /* e sorted by key */
/* Is a doing of thread (cta, warp, lane) with this stamp known? several: of any lane of the warp. */
int vc_knows(const vc *a, uint32_t cta, uint32_t warp, uint32_t lane, int several, uint32_t stamp);
#endif
