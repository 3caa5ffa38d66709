/* flags.h: a command line as people type it, llama.cpp's names included, into words that popt cannot misread. */
#ifndef QM_HOST_FLAGS_H
#define QM_HOST_FLAGS_H
#include <stdio.h>
#include "host.h"

/* argv[0] is "qmoe-gpu COMMAND"; table: the command's options, with --help. On -1 (go on) *words is a vector of *n
 * words and a NULL: argv[0], then every option as --name or --name=value by its name in `table`, then "--" and the
 * positional words. A value is whatever follows its option, also where it begins with '-'; a word of one dash and
 * several letters is one name and no bundle. What llama.cpp has and we pass over is told once, unless --quiet is
 * among the options. Otherwise returns 2, the one line said. The words live until the program ends. */
int qm_flags_read(int argc, char **argv, const struct poptOption *table, int *n, char ***words);
/* The table of llama.cpp's options (flags.def), for `qmoe-gpu help flags`. */
void qm_flags_print(FILE *f);
/* Whether an option of popt's takes a value. */
int qm_flags_takes_value(const struct poptOption *o);
#endif
