/* Which files of a folder are a PyTorch checkpoint. */
#ifndef FORMATS_TORCH_FOLDER_H
#define FORMATS_TORCH_FOLDER_H

#include "formats/folder.h"

#define TORCH_INDEX_NAME "pytorch_model.bin.index.json"
#define TORCH_INDEX_MAX ((size_t)64 << 20)

/* A name that torch.save's files have: .bin, .pt, .pth, .ckpt, and not one of those that hold no model (optimizers,
 * random states, training arguments, adapters). */
bool torch_is_name(const char *name);
bool torch_probe(const struct folder *f);

#endif
