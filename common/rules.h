/* The rules of the key `tensors`: as text, and what they make of a layout. */
#pragma once

#include "common/job.h"

struct sp_layout;

/* A member of a rule ("match", "update", "decay") from text. SP_E_UNKNOWN if no rule has such a member, SP_E_MISMATCH
 * if this one has it already. On failure the rule is as it was. */
int sp_rule_set(struct sp_tensor_rule *rule, const char *member, const char *value, struct sp_error *error);

/* SP_E_MISSING if the rule has no pattern, or changes nothing. */
int sp_rule_check(const struct sp_tensor_rule *rule, struct sp_error *error);

/* `{match: "bn*", update: full}` */
void sp_rule_write(const struct sp_tensor_rule *rule, char *text, size_t bytes);

/* `[{match: "bn*", update: full}, {match: "*.bias", decay: true}]`. A pattern may stand without quotes if it has no
 * blank, comma, brace, bracket, colon or quote. On failure the rules are as they were. */
int sp_rules_parse(struct sp_tensor_rules *rules, const char *text, struct sp_error *error);
void sp_rules_write(const struct sp_tensor_rules *rules, char *text, size_t bytes);

/* The traits of each tensor of the layout that is trained, for sp_layout_set_traits(): whether it declares weight
 * decay, as the rules leave it, and whether it travels in full precision. Rules are taken in their order, a later one
 * prevails. Returns how many it wrote: layout->trained. */
uint32_t sp_job_traits(const struct sp_job *job, const struct sp_layout *layout, uint8_t *traits);

/* The rules that match no tensor that is trained, which the job's author will hardly have meant: the one of this index
 * among them, from 0, or NULL. */
const struct sp_tensor_rule *sp_job_idle_rule(const struct sp_job *job, const struct sp_layout *layout, unsigned index);
