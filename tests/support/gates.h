/* gates.h: the parity gates against programs that share no code with us, and whether they see what they are for.
 *
 *   cosine        of the full logits with Hugging Face's, at least 0.999       F-QW3-MOE-PARITY-001
 *   arg max       is Hugging Face's, is llama.cpp's, at every position         F-QW3-MOE-PARITY-002
 *   KL            of our distribution from theirs, in the mean at most 0.02 nats (docs/logprobs.md)
 *
 * over 20 sequences of random ids for a model of random weights (tiny; 8 for dense, a Qwen3 without experts), 24 chats with the demo model (demo), and 2,048
 * tokens of text (text). The fixtures are made by tools/peers/fixtures.py.
 *
 * llama.cpp is asked twice: on the file's weights in F32, where it rounds activations nowhere ("llama32"), and on the file
 * as users have it, where it rounds them to 8 bits ("llama"). The first decides whether we compute what llama.cpp does;
 * there nothing is excused but near ties, where the peer's two likeliest tokens are as good as equal. The second bounds
 * what users see: the rounding now and then puts another token first, and where ours is both Hugging Face's and
 * llama32's, llama is alone. Both kinds are printed, counted, and bounded in number; any other difference is a failure.
 *
 * The faults of fault.h are put into the engine, and each gate is asked again (docs/parity.md has the table). The bars of
 * 0.02 would miss the mildest of them, so the KL gates are held lower. QMOE_FAULT_FULL=1 takes all sequences. */
#ifndef QM_TEST_GATES_H
#define QM_TEST_GATES_H
#include <stdint.h>

enum { PEERS = 3 }; /* Hugging Face, llama.cpp on the weights in F32, llama.cpp on the file */
typedef struct {
    const char *name;   /* tests/golden/peers/NAME_{hf,llama32,llama}.lp, NAME_hf.f32 */
    int demo;           /* models/demo.gguf, or what QMOE_DEMO names; else the small random model */
    int rows;           /* of NAME_hf.f32: logits of the last scored position of the first sequences */
    const char *preset; /* of the random model; NULL: tiny */
} gates_subject;

/* Every gate passes, over all sequences: at least so many positions. */
void gates_parity(const gates_subject *s, uint64_t at_least);
/* Every gate refuses every fault over the first n_seqs sequences, and passes the control. */
void gates_reject(const gates_subject *s, uint32_t n_seqs);
int gates_clean(void **state); /* a group's teardown: removes the random model */
#endif
