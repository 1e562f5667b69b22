#include "engine/chat/chat_access.h"
#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_eval.h"
#include "engine/chat/chat_loop.h"
#include "engine/chat/chat_print.h"

static bool assign_member(struct chat_run *r, const struct chat_node *target, struct chat_value v)
{
    struct chat_value space;
    struct chat_node name = *target;
    name.kind = NODE_NAME;
    if (!chat_eval(r, &name, &space)) return false;
    if (space.kind != CHAT_NAMESPACE)
        return chat_fail(r, "cannot set '%.64s' of '%.64s': it is %s, not a namespace", target->b->name, target->name,
                         chat_kind_name(space));
    if (target->b->name[0] == '_') return chat_fail(r, "a namespace may not hold '%.64s'", target->b->name);
    return chat_dict_set(r, space.dict, chat_words(target->b->name), v);
}

bool chat_assign(struct chat_run *r, const struct chat_node *target, struct chat_value v)
{
    struct chat_value *items;
    size_t n, wanted = 0;
    if (target->kind == NODE_NAME) return chat_scope_set(r, r->scope, target->name, v);
    if (target->kind == NODE_MEMBER) return assign_member(r, target, v);
    if (v.kind == CHAT_UNDEFINED && v.size == 0 && v.text && target->a) return chat_fail_undefined(r, v);
    if (!chat_items(r, v, &items, &n)) return false;
    for (const struct chat_node *m = target->a; m; m = m->next) wanted++;
    if (n != wanted) return chat_fail(r, "%zu names are given %zu values", wanted, n);
    for (const struct chat_node *m = target->a; m; m = m->next)
        if (!chat_assign(r, m, *items++)) return false;
    return true;
}

bool chat_exec_text(struct chat_run *r, const struct chat_node *first, struct chat_scope *scope, struct chat_value *out)
{
    struct chat_text text = {0}, *outer = r->out;
    struct chat_scope *before = r->scope;
    enum chat_flow flow = CHAT_GO_ON;
    if (!scope) return false;
    r->out = &text;
    r->scope = scope;
    bool ok = chat_exec(r, first, &flow);
    r->out = outer;
    r->scope = before;
    *out = chat_text_value(&text);
    return ok;
}

/* `text` through a chain of filters whose innermost has no operand. */
static bool through_filters(struct chat_run *r, const struct chat_node *filters, struct chat_value text,
                            struct chat_value *out)
{
    struct chat_call call;
    struct chat_value self;
    if (!filters) return *out = text, true;
    if (!chat_enter(r)) return false;
    bool ok = through_filters(r, filters->a, text, &self) && chat_eval_arguments(r, filters->args, &call);
    r->line = filters->line;
    if (ok && !filters->callable) ok = chat_beyond(r, "the filter '%.64s' is not supported", filters->name);
    ok = ok && chat_callable_run(r, filters->callable, self, &call, out);
    chat_leave(r);
    return ok;
}

/* *end: what the else of the loop does to the loop around it. */
static bool exec_for(struct chat_run *r, const struct chat_node *n, enum chat_flow *end)
{
    struct chat_loop *loop;
    struct chat_scope *before = r->scope;
    enum chat_flow flow = CHAT_GO_ON;
    struct chat_value item;
    bool more, ok = true, whole = false;
    struct chat_scope *scope = NULL;
    uint32_t macros = r->macros;
    if (!chat_loop_open(r, n, &loop)) return false;
    for (loop->index0 = 0; flow != CHAT_BREAK; loop->index0++) {
        if (!chat_loop_at(r, loop, loop->index0, &item, &more)) return false;
        if (!more) break;
        if (!scope || r->macros != macros) scope = chat_scope_new(r, before);
        if (!(r->scope = scope)) return false;
        scope->n = 0;
        macros = r->macros;
        struct chat_value self = {.kind = CHAT_LOOP, .loop = loop};
        ok = chat_charge(r, 0) && chat_scope_set(r, r->scope, n->name, self) && chat_assign(r, n->a, item) &&
             chat_exec(r, n->body, &flow);
        r->scope = before;
        if (!ok) return false;
        whole |= flow == CHAT_GO_ON;
    }
    /* as Jinja2 compiles it: a turn that break or continue ended does not count */
    if (whole || !n->other) return true;
    if (!(r->scope = chat_scope_new(r, before))) return false;
    ok = chat_exec(r, n->other, end);
    r->scope = before;
    return ok;
}

static bool exec_with(struct chat_run *r, const struct chat_node *n, enum chat_flow *flow)
{
    struct chat_scope *before = r->scope, *inner = chat_scope_new(r, before);
    bool ok = inner != NULL;
    for (const struct chat_node *m = n->args; m && ok; m = m->next) {
        struct chat_value v;
        if (!(ok = chat_eval(r, m->b, &v))) break;
        r->scope = inner;
        ok = chat_assign(r, m->a, v);
        r->scope = before;
    }
    r->scope = inner;
    ok = ok && chat_exec(r, n->body, flow);
    r->scope = before;
    return ok;
}

static bool macro_make(struct chat_run *r, const struct chat_node *n, struct chat_value *out)
{
    struct chat_macro *m = chat_alloc(r, 1, sizeof *m);
    if (!m) return false;
    *m = (struct chat_macro){.node = n, .scope = r->scope};
    r->macros++;
    *out = (struct chat_value){.kind = CHAT_MACRO, .macro = m};
    return true;
}

static bool exec_call_block(struct chat_run *r, const struct chat_node *n)
{
    struct chat_value callee, caller, named, out;
    struct chat_call call;
    if (!chat_eval(r, n->a->a, &callee) || !chat_eval_arguments(r, n->a->args, &call) || !macro_make(r, n, &caller) ||
        !chat_dict_make(r, call.n_named + 1, &named))
        return false;
    for (size_t i = 0; i < call.n_named; i++)
        if (!chat_dict_set(r, named.dict, call.named[i].key, call.named[i].value)) return false;
    if (!chat_dict_set(r, named.dict, chat_words("caller"), caller)) return false;
    call.named = named.dict->pairs;
    call.n_named = named.dict->n;
    r->line = n->line;
    return chat_call_value(r, callee, &call, &out) && chat_put_str(r, r->out, out);
}

static bool exec_if(struct chat_run *r, const struct chat_node *n, enum chat_flow *flow)
{
    for (; n; n = n->other) { /* an elif is an if that stands alone in `other` */
        struct chat_value v;
        if (n->kind != NODE_IF || n->next) return chat_exec(r, n, flow);
        if (!chat_eval(r, n->a, &v)) return false;
        if (chat_truth(v)) return chat_exec(r, n->body, flow);
    }
    return true;
}

static bool exec_one(struct chat_run *r, const struct chat_node *n, enum chat_flow *flow)
{
    struct chat_value v;
    switch ((enum chat_node_kind)n->kind) {
    case NODE_TEXT: return chat_put(r, r->out, n->value.text, n->value.size);
    case NODE_PRINT: return chat_eval(r, n->a, &v) && (r->line = n->line, chat_put_str(r, r->out, v));
    case NODE_FOR: return exec_for(r, n, flow);
    case NODE_IF: {
        struct chat_node alone = *n;
        alone.next = NULL;
        return exec_if(r, &alone, flow);
    }
    case NODE_SET: return chat_eval(r, n->b, &v) && (r->line = n->line, chat_assign(r, n->a, v));
    case NODE_SET_BLOCK:
        return chat_exec_text(r, n->body, chat_scope_new(r, r->scope), &v) && through_filters(r, n->b, v, &v) &&
               chat_assign(r, n->a, v);
    case NODE_MACRO: return macro_make(r, n, &v) && chat_scope_set(r, r->scope, n->name, v);
    case NODE_CALL_BLOCK: return exec_call_block(r, n);
    case NODE_FILTER_BLOCK:
        return chat_exec_text(r, n->body, chat_scope_new(r, r->scope), &v) && through_filters(r, n->b, v, &v) &&
               chat_put_str(r, r->out, v);
    case NODE_WITH: return exec_with(r, n, flow);
    case NODE_SCOPE:
        return chat_exec_text(r, n->body, chat_scope_new(r, r->scope), &v) && chat_put(r, r->out, v.text, v.size);
    case NODE_BREAK: *flow = CHAT_BREAK; return true;
    case NODE_CONTINUE: *flow = CHAT_CONTINUE; return true;
    default: return chat_fail(r, "an expression stands where a statement is needed");
    }
}

bool chat_exec(struct chat_run *r, const struct chat_node *first, enum chat_flow *flow)
{
    bool ok = chat_enter(r);
    if (!ok) return false;
    *flow = CHAT_GO_ON;
    for (const struct chat_node *n = first; n && ok && *flow == CHAT_GO_ON; n = n->next) {
        r->line = n->line;
        ok = chat_charge(r, 0) && exec_one(r, n, flow);
    }
    chat_leave(r);
    return ok;
}
