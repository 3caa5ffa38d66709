/* err.h: one error per failed call. Fallible functions return 0 or a negative qm_code and fill a
 * qm_err when given one: a message that stands alone on a line, and where (file, field, offset). Names from files
 * and paths may go in as they are: what would steer a terminal is escaped (text.h). */
#ifndef QM_ERR_H
#define QM_ERR_H
#ifdef __cplusplus
extern "C" {
#endif
enum {
    QM_OK = 0,
    QM_ERR_IO = -1,          /* open, read, write, map */
    QM_ERR_FORMAT = -2,      /* a file that breaks its format */
    QM_ERR_UNSUPPORTED = -3, /* well formed, but not something we run */
    QM_ERR_NOMEM = -4,       /* host or device memory; the message has the numbers */
    QM_ERR_DEVICE = -5,      /* the device or its driver failed */
    QM_ERR_ARG = -6,         /* a caller's argument is out of range */
    QM_ERR_LIMIT = -7,       /* a context, cache or size limit; the message has the numbers */
    QM_ERR_CANCELLED = -8    /* the caller asked to stop */
};
typedef struct qm_err {
    int code;
    char msg[512];
} qm_err;

/* Formats the message into e (which may be NULL) and returns code, so that a failure is one line:
 *   return qm_fail(e, QM_ERR_FORMAT, "%s: %s: ...", path, key); */
int qm_fail(qm_err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts "what: " before the message already in e; returns e's code. */
int qm_err_prefix(qm_err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#ifdef __cplusplus
}
#endif
#endif
