#include "cli/commands.h"

extern const struct command command_inspect, command_plan, command_convert, command_calibrate, command_search,
    command_quantize, command_profile, command_pack, command_sign, command_verify, command_push, command_pull,
    command_build, command_keygen, command_list, command_logits, command_eval, command_generate, command_render,
    command_tokenize, command_detokenize;

const struct command *const commands[] = {
    &command_inspect,    &command_plan,
    &command_convert,    &command_calibrate,
    &command_search,     &command_quantize,
    &command_profile,    &command_pack,
    &command_sign,       &command_verify,
    &command_push,       &command_pull,
    &command_build,      &command_keygen,
    &command_list,       &command_logits,
    &command_eval,       &command_generate,
    &command_render,     &command_tokenize,
    &command_detokenize, NULL,
};
