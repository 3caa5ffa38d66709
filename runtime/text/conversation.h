/* conversation.h: a conversation as chat APIs send it, checked and made into what templates take. */
#ifndef QM_CONVERSATION_H
#define QM_CONVERSATION_H
#include <jansson.h>
#include "../qmoe.h" /* qm_conversation, qm_message */

/* What a template sees of a conversation. All of it is data. */
typedef struct {
    json_t *messages; /* array of objects; role and content are there, and strings */
    json_t *tools;    /* array, not empty; or NULL */
    json_t *kwargs;   /* object; or NULL */
    int no_turn;
} qm_chat_values;
void qm_chat_values_free(qm_chat_values *v); /* it is empty again */
/* Of JSON text. Errors begin with the place: "messages[2].content[1]: ...". On failure v is empty. */
int qm_chat_values_read(qm_chat_values *v, const qm_conversation *c, qm_err *e);
/* Of plain messages, with the assistant's turn opened. */
int qm_chat_values_of(qm_chat_values *v, const qm_message *m, size_t n, qm_err *e);
/* Variables for a template: an object; what a conversation sets itself is refused. NULL: an empty one. */
int qm_chat_kwargs(json_t **out, const char *text, qm_err *e);
#endif
