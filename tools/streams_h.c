/* streams_h: contracts/streams.def for PTX, whose preprocessor cannot make macros out of a table. The Makefile runs it.
 *
 *   streams_h defines    streams.h: <word>_* for each weight type, and its dot_<word>.inc (kernels/ptx/qm.inc)
 *   streams_h each       each_type.inc: entry.inc with W defined as each of them in turn; where WITH_LOADED is defined, also as
 *                        those that loading makes
 *   streams_h rows       each_rows.inc: the same for each width of products of many rows, G_WIDTH, up to WIDEST */
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *word, *act, *form;
    unsigned weights, bytes, step, chunk, paired, segment, part, staged, maxnreg, maxnreg2;
    int loaded;
} stream;
static const stream streams[] = {
#define STREAM(loaded, word, WORD, number, act, weights, bytes, pieces, piece_at, tail, tail_at, step, chunk, paired, \
               segment, part, form, staged, maxnreg, maxnreg2, ...)                                                   \
    {#word, #act, #form, weights, bytes, step, chunk, paired, segment, part, staged, maxnreg, maxnreg2, loaded},
#define QM_STREAM(...) STREAM(0, __VA_ARGS__)
#define QM_STREAM_LOADED(...) STREAM(1, __VA_ARGS__)
#include "contracts/streams.def"
#undef QM_STREAM
};
enum { N_STREAMS = sizeof streams / sizeof *streams };

static unsigned log2_of(unsigned n) {
    unsigned l = 0;
    while (n >> l > 1) l++;
    return l;
}

static void maxnreg(const char *word, const char *name, unsigned n) {
    if (n) printf("#define %s_%s .maxnreg %u\n", word, name, n);
    else printf("#define %s_%s\n", word, name);
}

static void defines(const stream *s) {
    const char *w = s->word;
    printf("#define %s_STEP_LOG %u\n", w, log2_of(s->step));
    printf("#define %s_STEP_BYTES %u\n", w, 32 * s->step / s->weights * s->bytes);
    printf("#define %s_UNROLL %u\n", w, s->chunk);
    printf("#define %s_UNROLL_LOG %u\n", w, log2_of(s->chunk));
    printf("#define %s_PAIRED %u\n", w, s->paired);
    printf("#define %s_STAGED %u\n", w, s->staged);
    printf("#define %s_SEGMENT_LOG %u\n", w, log2_of(s->segment));
    printf("#define %s_PART_LOG %u\n", w, log2_of(s->segment * s->part));
    printf("#define %s_ACT QM_ACT_%s\n", w, s->form);
    printf("#define %s_NAME %s_%s\n", w, w, s->act);
    maxnreg(w, "MAXNREG", s->maxnreg);
    maxnreg(w, "MAXNREG2", s->maxnreg2);
    printf("#include \"dot_%s.inc\"\n", w);
}

static void each(const stream *s) { printf("#define W %s\n#include \"entry.inc\"\n#undef W\n", s->word); }

/* Widths: contracts/kernels.def. Float weights take no tensor cores, so have no mma_<type>.inc. */
static void rows(const stream *s) {
    const int q16a = !strcmp(s->act, "q16a");
    if (q16a) printf("#include \"mma_%s.inc\"\n", s->word);
    for (unsigned width = 8; width <= (q16a ? 64 : 8); width *= 2)
        printf("#if %u <= WIDEST\n#define W %s\n#define G_WIDTH %u\n#include \"entry.inc\"\n#undef W\n#undef "
               "G_WIDTH\n#endif\n",
               width, s->word, width);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*write)(const stream *);
    } forms[] = {{"defines", defines}, {"each", each}, {"rows", rows}};
    unsigned form = 0;
    while (argc == 2 && form < 3 && strcmp(argv[1], forms[form].name) != 0) form++;
    if (argc != 2 || form == 3) {
        fprintf(stderr, "usage: streams_h defines|each|rows\n");
        return 2;
    }
    printf("/* written by tools/streams_h.c from contracts/streams.def */\n");
    for (int i = 0; i < N_STREAMS; i++) {
        const int apart = streams[i].loaded && forms[form].write != defines;
        if (apart) printf("#ifdef WITH_LOADED\n");
        forms[form].write(&streams[i]);
        if (apart) printf("#endif\n");
    }
    return fflush(stdout) || ferror(stdout);
}
