/* Experts in stacks: one stored tensor holds a projection, or several, of all experts of a layer. Each expert's part
 * becomes a tensor of the checkpoint under the name that separate experts have (a view, formats/checkpoint.h), so that
 * inventory, plan, calibration and engine know only separate experts. What is quantized goes back to the stack
 * (plan/plan_stack.h), and such a stack is read too: codes and block scales in its order, scalars of all experts. */
#ifndef MODELS_STACKS_H
#define MODELS_STACKS_H

#include "formats/checkpoint.h"
#include "models/arch.h"

/* Adds the views of every stack that the checkpoint has; ERR_FORMAT when a stack has another shape or type than the
 * configuration says. A stack that is not there adds nothing: then the experts are missing. cfg->root must be chosen.
 */
MUST_CHECK bool stacks_open(const struct model_config *cfg, struct checkpoint *ck, struct arena *arena,
                            struct error *err);

#endif
