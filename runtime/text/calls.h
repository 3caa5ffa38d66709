/* calls.h: calls of functions in an answer's text, in Qwen3's JSON and in Qwen3-Coder's XML (docs/answers.md). */
#ifndef QM_CALLS_H
#define QM_CALLS_H
#include "call_tools.h"
#include "loose_json.h"
#include "parts.h"

/* The tags that make up a call. */
typedef enum {
    QM_TAG_NONE,
    QM_TAG_MORE, /* the bytes so far may become one */
    QM_TAG_CALL,
    QM_TAG_CALL_END,
    QM_TAG_FUNCTION, /* with a name */
    QM_TAG_FUNCTION_END,
    QM_TAG_PARAMETER, /* with a name */
    QM_TAG_PARAMETER_END
} qm_tag_kind;
typedef struct {
    qm_tag_kind kind;
    size_t len; /* of the tag */
    const char *name;
    size_t n_name;
} qm_tag;

/* {"name": ..., "arguments": ...}, the object around a JSON call. */
typedef struct {
    int state, key;
    json_t *tool;
    int called, complete; /* the call has begun, its arguments have come */
    int live;             /* arguments go out as they come */
    qm_loose_json json;   /* of the key or value that is being read */
    qm_bytes text, args;  /* text: of it; args: arguments that came before the name, or in a string */
} qm_json_call;

/* A parameter's value in an XML call. */
typedef struct {
    unsigned types;
    int begun;  /* a line's end at its beginning has been seen, or something else */
    int stream; /* it is a string for certain: goes out as it comes */
    int decided;
    int opens;    /* <parameter ...> in it that is not closed */
    qm_bytes raw; /* what waits for its end */
} qm_value;

typedef struct {
    qm_call_tools tools;
    qm_parts *to;
    int state;
    qm_bytes in;    /* not decided yet */
    qm_bytes space; /* white space that may stand before a call */
    int touching;   /* it follows a call */
    int fresh;      /* nothing but white space since the beginning or a call */
    int json;       /* the last call was JSON, and its <tool_call> is open */
    qm_json_call call;
    qm_bytes raw; /* of a JSON call that has not begun: it may turn out to be text */
    json_t *tool; /* of the XML call */
    json_t *seen; /* its parameters so far, as keys */
    qm_value value;
} qm_calls;

int qm_calls_open(qm_calls *c, const char *tools, qm_parts *to, qm_err *e);
void qm_calls_close(qm_calls *c);
void qm_calls_push(qm_calls *c, const char *s, size_t n);
void qm_calls_end(qm_calls *c);
int qm_calls_failed(const qm_calls *c); /* no memory */

/* ---- between calls.c, call_json.c, call_xml.c and, below them, call_frame.c ----
 * A step takes bytes of s[0..n), n > 0: how many, 0 only where it has changed the state; or -1: it must see more. With end
 * there is no more. */
enum { QM_CALLS_TEXT, QM_CALLS_JSON, QM_CALLS_GAP, QM_CALLS_VALUE, QM_CALLS_AFTER };
enum { QM_CALLS_SPACES = 64, QM_CALLS_KEY = 256 }; /* white space between two tags, bytes of a name, at most */
int qm_calls_space(char c);
size_t qm_calls_spaces(const char *s, size_t n); /* white space at the beginning of s, QM_CALLS_SPACES at most */
qm_tag qm_calls_tag(const qm_calls *c, const char *s, size_t n);
void qm_calls_text(qm_calls *c, const char *s, size_t n);
void qm_calls_after(qm_calls *c, int json); /* a call is complete */

void qm_json_call_begin(qm_calls *c, const char *before, size_t n); /* `before` is text if it is no call */
long qm_json_call_step(qm_calls *c, const char *s, size_t n, int end);
void qm_json_call_cut(qm_calls *c);
void qm_json_call_free(qm_json_call *j);

void qm_xml_call_begin(qm_calls *c, const qm_tag *function);
long qm_xml_gap_step(qm_calls *c, const char *s, size_t n);
long qm_xml_value_step(qm_calls *c, const char *s, size_t n, int end);
void qm_xml_call_cut(qm_calls *c);
#endif
