/* The rules by name, for the list in profile_lint_quant.c. A new rule is a line here, its struct beside its function,
 * and a line in the list. */
#ifndef PACK_PROFILE_LINT_RULES_H
#define PACK_PROFILE_LINT_RULES_H

#include "pack/profile_lint.h"

extern const struct lint_rule rule_ssm_01, rule_ssm_02, rule_ssm_04, rule_ssm_05, rule_tp_01, rule_tp_02, rule_tp_03,
    rule_ctx_01, rule_ctx_02, rule_mtp_01, rule_mtp_02, rule_kv_01, rule_ver_01, rule_hw_02, rule_sec_01;

/* Linears whose input is cut among GPUs: each gets a share of the columns. */
bool role_input_is_cut(enum tensor_role role, bool expert_parallel);

#endif
