/* units.h: sizes of files and memory are said in GiB and MiB everywhere; traffic and rates (MB a token, GB/s) are
 * decimal, as makers state bandwidth. */
#ifndef QM_UNITS_H
#define QM_UNITS_H
static inline double qm_gib(double bytes) { return bytes / 1073741824.0; }
static inline double qm_mib(double bytes) { return bytes / 1048576.0; }
#endif
