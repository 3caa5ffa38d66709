/* call_frame.c: what frames a call, in either format: its tags, the white space that touches it, the text beside it. */
#include "calls.h"

int qm_calls_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

size_t qm_calls_spaces(const char *s, size_t n) {
    size_t i = 0;
    while (i < n && i < QM_CALLS_SPACES && qm_calls_space(s[i])) i++;
    return i;
}

qm_tag qm_calls_tag(const qm_calls *c, const char *s, size_t n) {
    static const struct {
        const char *text;
        qm_tag_kind kind;
    } tags[] = {{"<tool_call>", QM_TAG_CALL},      {"</tool_call>", QM_TAG_CALL_END},
                {"<function=", QM_TAG_FUNCTION},   {"</function>", QM_TAG_FUNCTION_END},
                {"<parameter=", QM_TAG_PARAMETER}, {"</parameter>", QM_TAG_PARAMETER_END}};
    qm_tag t = {.kind = QM_TAG_NONE};
    for (size_t i = 0; i < sizeof tags / sizeof *tags && !t.kind; i++) {
        t.len = strlen(tags[i].text);
        if (!memcmp(s, tags[i].text, n < t.len ? n : t.len)) t.kind = n < t.len ? QM_TAG_MORE : tags[i].kind;
    }
    if (t.kind != QM_TAG_FUNCTION && t.kind != QM_TAG_PARAMETER) return t;
    const size_t most = t.kind == QM_TAG_FUNCTION ? c->tools.longest : QM_CALLS_KEY;
    t.name = s + t.len;
    while (t.len < n && t.n_name <= most && !strchr("<>\r\n", s[t.len])) t.len++, t.n_name++;
    if (t.n_name > most) t.kind = QM_TAG_NONE;
    else if (t.len == n) t.kind = QM_TAG_MORE;
    else if (s[t.len++] != '>' || !t.n_name) t.kind = QM_TAG_NONE;
    else if (t.kind == QM_TAG_FUNCTION && !qm_call_tool(&c->tools, t.name, t.n_name)) t.kind = QM_TAG_NONE;
    return t;
}

/* Text, with the white space before it, unless that follows a call. */
void qm_calls_text(qm_calls *c, const char *s, size_t n) {
    if (!c->touching) qm_parts_put(c->to, QM_PART_TEXT, c->space.s, c->space.n);
    c->space.n = 0;
    c->touching = c->fresh = 0;
    qm_parts_put(c->to, QM_PART_TEXT, s, n);
}

void qm_calls_after(qm_calls *c, int json) {
    c->state = QM_CALLS_AFTER;
    c->json = json;
    c->touching = c->fresh = 1;
    c->space.n = 0;
}
