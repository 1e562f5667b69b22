/* Files of an original with their digests, for provenance. */
#ifndef CLI_SOURCE_FILES_H
#define CLI_SOURCE_FILES_H

#include "cli/commands.h"

/* *out: [{"name", "bytes", "sha256"}] of every file of a model folder, in name order; each is read once, whole. */
MUST_CHECK bool source_files(const struct command_env *env, const char *folder, json_t **out, struct error *err);

#endif
