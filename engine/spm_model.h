/* The two models of SentencePiece, from the pieces of a file. For spm_load.c. */
#ifndef ENGINE_SPM_MODEL_H
#define ENGINE_SPM_MODEL_H

#include "engine/bpe.h"
#include "engine/spm_file.h"
#include "engine/unigram.h"

/* The vocabulary holds the pieces and outlives the model. */
MUST_CHECK bool spm_bpe_open(struct bpe *b, const struct spm_file *f, const struct vocab *v, struct error *err);
MUST_CHECK bool spm_unigram_open(struct unigram *u, const struct spm_file *f, const struct vocab *v, struct error *err);

#endif
