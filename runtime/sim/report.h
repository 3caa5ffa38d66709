/* report.h: the report of the last fault (qm_sim_last_report). */
#ifndef QM_SIM_REPORT_H
#define QM_SIM_REPORT_H

/* printf into the process-wide last report (thread-safe; first fault of a launch wins, until
 * sim_report_clear, which the driver calls before each launch). */
void sim_report(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sim_report_clear(void);
#endif
