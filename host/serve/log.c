/* log.c: see log.h. */
#include "log.h"
#include "../json.h"
#include "api.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void stamp(char out[32]) {
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    const size_t n = strftime(out, 24, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 32 - n, ".%03ldZ", now.tv_nsec / 1000000);
}

static void put_json(json_t *j) {
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    if (text) fprintf(stderr, "%s\n", text);
    free(text);
    json_decref(j);
}

void log_line(const server *s, const char *level, const char *fmt, ...) {
    char at[32], text[1024], shown[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (s->quiet && !strcmp(level, "info")) return;
    stamp(at);
    if (s->log_json)
        put_json(json_pack("{s:s, s:s, s:o}", "time", at, "level", level, "message", qm_host_json_str(text)));
    else
        fprintf(stderr, "%s %s%s\n", at,
                !strcmp(level, "info") ? "" : "qmoe-gpu: ", qm_text_show(shown, sizeof shown, text, strlen(text)));
}

void log_task(const server *s, const char *id, const char *peer, const char *finish, const task_usage *u,
              const char *why) {
    char at[32], shown[768];
    if (s->quiet && !why) return;
    stamp(at);
    if (s->log_json) {
        json_t *j =
            json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:s, s:s, s:s}", "time", at, "level",
                      why ? "error" : "info", "id", id, "peer", peer, "prompt_tokens", (json_int_t)u->n_prompt,
                      "cached_tokens", (json_int_t)u->n_cached, "completion_tokens", (json_int_t)u->n_generated,
                      "queued_s", u->queued_s, "first_token_s", u->first_token_s, "total_s", u->total_s, "tokens_per_s",
                      u->tokens_per_s, "finish", finish, "device", s->info.device, "executor", s->info.executor);
        if (j && why) json_object_set_new(j, "error", qm_host_json_str(why));
        put_json(j);
        return;
    }
    fprintf(stderr, "%s %s %s: %u tokens in, %u cached, %u out, first %.3f s, %.1f tok/s, %.2f s, %s, %s (%s)%s%s\n",
            at, peer, id, u->n_prompt, u->n_cached, u->n_generated, u->first_token_s, u->tokens_per_s, u->total_s,
            finish, s->info.device, s->info.executor, why ? ": " : "",
            why ? qm_text_show(shown, sizeof shown, why, strlen(why)) : "");
}
