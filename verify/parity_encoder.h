/* Parity of models that give one vector a text: embedders by the cosine of the two, rerankers by the difference of
 * their scores. Between verify/parity.c and verify/parity_encoder.c. */
#ifndef VERIFY_PARITY_ENCODER_H
#define VERIFY_PARITY_ENCODER_H

#include "verify/parity.h"

/* Behind the last block of both streams; e: their engines, the original's first. */
MUST_CHECK bool parity_encoded(struct parity *out, struct engine *const e[2], struct stream *original,
                               struct stream *quantized, const struct corpus *corpus, struct error *err);
/* parity_json of such a model; `layers` stays the caller's. */
MUST_CHECK bool parity_encoded_json(const struct parity *p, const char *data_sha256, json_t *layers, json_t **out,
                                    struct error *err);
/* A number of ten digits: what double arithmetic is sure of, on any machine; null when it is not finite. */
json_t *parity_figure(double v);

#endif
