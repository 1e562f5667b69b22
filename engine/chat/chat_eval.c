#include "engine/chat/chat_eval.h"

#include "engine/chat/chat_access.h"
#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_lexer.h"
#include "engine/chat/chat_math.h"
#include "engine/chat/chat_print.h"

struct chat_scope *chat_scope_new(struct chat_run *r, struct chat_scope *parent)
{
    struct chat_scope *s = chat_alloc(r, 1, sizeof *s);
    if (s) s->parent = parent;
    return s;
}

bool chat_scope_set(struct chat_run *r, struct chat_scope *s, const char *name, struct chat_value v)
{
    if (!chat_charge(r, s->n)) return false;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->variables[i].name == name) return s->variables[i].value = v, true;
    if (s->n == s->capacity) {
        uint32_t capacity = s->capacity ? 2 * s->capacity : 4;
        struct chat_variable *grown = chat_alloc(r, capacity, sizeof *grown);
        if (!grown) return false;
        if (s->n) memcpy(grown, s->variables, s->n * sizeof *grown);
        s->variables = grown;
        s->capacity = capacity;
    }
    s->variables[s->n++] = (struct chat_variable){name, v};
    return true;
}

static bool eval_name(struct chat_run *r, const char *name, struct chat_value *out)
{
    for (const struct chat_scope *s = r->scope; s; s = s->parent) {
        if (!chat_charge(r, s->n)) return false;
        for (uint32_t i = 0; i < s->n; i++)
            if (s->variables[i].name == name) return *out = s->variables[i].value, true;
    }
    *out = chat_undefined(name);
    return true;
}

static bool eval_list(struct chat_run *r, const struct chat_node *n, enum chat_kind kind, struct chat_value *out)
{
    struct chat_list list = {0};
    for (const struct chat_node *m = n->a; m; m = m->next) {
        struct chat_value v;
        if (!chat_eval(r, m, &v) || !chat_list_add(r, &list, v)) return false;
    }
    return chat_list_take(r, &list, kind, out);
}

static bool eval_dict(struct chat_run *r, const struct chat_node *n, struct chat_value *out)
{
    if (!chat_dict_make(r, 4, out)) return false;
    for (const struct chat_node *m = n->a; m; m = m->next->next) {
        struct chat_value key, value;
        if (!chat_eval(r, m, &key) || !chat_eval(r, m->next, &value) || !chat_dict_set(r, out->dict, key, value))
            return false;
    }
    return true;
}

static bool eval_item(struct chat_run *r, const struct chat_node *n, struct chat_value *out)
{
    struct chat_value of, key, bounds[3];
    const struct chat_node *parts[3] = {n->b->a, n->b->b, n->b->c};
    if (!chat_eval(r, n->a, &of)) return false;
    if (n->b->kind != NODE_SLICE) return chat_eval(r, n->b, &key) && (r->line = n->line, chat_item(r, of, key, out));
    for (int i = 0; i < 3; i++) {
        bounds[i] = chat_of(CHAT_NONE);
        if (parts[i] && !chat_eval(r, parts[i], &bounds[i])) return false;
    }
    r->line = n->line;
    return chat_slice(r, of, bounds, out);
}

static bool spread_named(struct chat_run *r, struct chat_value from, struct chat_dict *to)
{
    if (from.kind != CHAT_DICT) return chat_fail(r, "cannot spread %s as named arguments", chat_kind_name(from));
    for (uint32_t i = 0; i < from.dict->n; i++) {
        if (from.dict->pairs[i].key.kind != CHAT_STRING)
            return chat_fail(r, "cannot name an argument by %s", chat_kind_name(from.dict->pairs[i].key));
        if (!chat_dict_set(r, to, from.dict->pairs[i].key, from.dict->pairs[i].value)) return false;
    }
    return true;
}

bool chat_eval_arguments(struct chat_run *r, const struct chat_node *first, struct chat_call *out)
{
    struct chat_list plain = {0};
    struct chat_value named = chat_of(CHAT_NONE), v, *items;
    *out = (struct chat_call){0};
    for (const struct chat_node *m = first; m; m = m->next) {
        bool ok = chat_eval(r, m->a, &v);
        size_t n = 0;
        if (ok && m->kind >= NODE_NAMED && m->kind != NODE_SPREAD && named.kind == CHAT_NONE)
            ok = chat_dict_make(r, 2, &named);
        if (ok && m->kind == NODE_ARGUMENT) ok = chat_list_add(r, &plain, v);
        else if (ok && m->kind == NODE_NAMED) ok = chat_dict_set(r, named.dict, chat_words(m->name), v);
        else if (ok && m->kind == NODE_SPREAD_NAMED) ok = spread_named(r, v, named.dict);
        else if (ok) {
            ok = chat_items(r, v, &items, &n);
            for (size_t i = 0; i < n && ok; i++) ok = chat_list_add(r, &plain, items[i]);
        }
        if (!ok) return false;
    }
    *out = (struct chat_call){.args = plain.items, .n = plain.n};
    if (named.kind == CHAT_DICT) out->named = named.dict->pairs, out->n_named = named.dict->n;
    return true;
}

static bool eval_call(struct chat_run *r, const struct chat_node *n, struct chat_value *out)
{
    struct chat_value callee;
    struct chat_call call;
    if (!chat_eval(r, n->a, &callee) || !chat_eval_arguments(r, n->args, &call)) return false;
    r->line = n->line;
    return chat_call_value(r, callee, &call, out);
}

static bool eval_filter(struct chat_run *r, const struct chat_node *n, struct chat_value *out)
{
    struct chat_value self;
    struct chat_call call;
    if (!n->callable) {
        r->line = n->line;
        return chat_beyond(r, "the %s '%.64s' is not supported", n->kind == NODE_FILTER ? "filter" : "test", n->name);
    }
    if (!chat_eval(r, n->a, &self) || !chat_eval_arguments(r, n->args, &call)) return false;
    r->line = n->line;
    return chat_callable_run(r, n->callable, self, &call, out);
}

static bool eval_concat(struct chat_run *r, const struct chat_node *n, struct chat_value *out)
{
    struct chat_text t = {0};
    for (const struct chat_node *m = n->a; m; m = m->next) {
        struct chat_value v;
        if (!chat_eval(r, m, &v) || !chat_put_str(r, &t, v)) return false;
    }
    *out = chat_text_value(&t);
    return true;
}

static bool compare(struct chat_run *r, unsigned op, struct chat_value a, struct chat_value b, bool *out)
{
    int order = 0;
    switch (op) {
    case CHAT_OP2('=', '='): return chat_equal(r, a, b, out);
    case CHAT_OP2('!', '='): return chat_equal(r, a, b, out) && (*out = !*out, true);
    case OP_IN: return chat_contains(r, b, a, out);
    case OP_NOT_IN: return chat_contains(r, b, a, out) && (*out = !*out, true);
    default: break;
    }
    if (!chat_order(r, a, b, &order)) return false;
    *out = op == '<'                  ? order == -1
           : op == '>'                ? order == 1
           : op == CHAT_OP2('<', '=') ? order == -1 || order == 0
                                      : order == 1 || order == 0;
    return true;
}

static bool eval_compare(struct chat_run *r, const struct chat_node *n, struct chat_value *out)
{
    struct chat_value left, right;
    bool holds = true;
    if (!chat_eval(r, n->a, &left)) return false;
    for (const struct chat_node *m = n->b; m && holds; m = m->next, left = right) {
        if (!chat_eval(r, m->a, &right)) return false;
        r->line = n->line;
        if (!compare(r, m->op, left, right, &holds)) return false;
    }
    *out = chat_bool(holds);
    return true;
}

static bool eval_branch(struct chat_run *r, const struct chat_node *n, struct chat_value *out)
{
    struct chat_value v;
    if (!chat_eval(r, n->a, &v)) return false;
    bool truth = chat_truth(v);
    *out = v;
    switch (n->kind) {
    case NODE_NOT: *out = chat_bool(!truth); return true;
    case NODE_AND: return !truth || chat_eval(r, n->b, out);
    case NODE_OR: return truth || chat_eval(r, n->b, out);
    default: break;
    }
    if (truth) return chat_eval(r, n->b, out);
    *out = chat_undefined("an if without an else");
    return !n->c || chat_eval(r, n->c, out);
}

static bool eval_binary(struct chat_run *r, const struct chat_node *n, struct chat_value *out)
{
    struct chat_value a, b;
    if (!chat_eval(r, n->a, &a) || !chat_eval(r, n->b, &b)) return false;
    r->line = n->line;
    return chat_binary(r, n->op, a, b, out);
}

static bool eval(struct chat_run *r, const struct chat_node *n, struct chat_value *out)
{
    struct chat_value v;
    switch ((enum chat_node_kind)n->kind) {
    case NODE_CONSTANT: *out = n->value; return true;
    case NODE_NAME: return eval_name(r, n->name, out);
    case NODE_LIST: return eval_list(r, n, CHAT_LIST, out);
    case NODE_TUPLE: return eval_list(r, n, CHAT_TUPLE, out);
    case NODE_DICT: return eval_dict(r, n, out);
    case NODE_ATTRIBUTE: return chat_eval(r, n->a, &v) && (r->line = n->line, chat_attribute(r, v, n->name, out));
    case NODE_ITEM: return eval_item(r, n, out);
    case NODE_CALL: return eval_call(r, n, out);
    case NODE_FILTER:
    case NODE_TEST: return eval_filter(r, n, out);
    case NODE_NEGATE:
    case NODE_PLUS: return chat_eval(r, n->a, &v) && (r->line = n->line, chat_negate(r, v, n->kind == NODE_PLUS, out));
    case NODE_BINARY: return eval_binary(r, n, out);
    case NODE_CONCAT: return eval_concat(r, n, out);
    case NODE_COMPARE: return eval_compare(r, n, out);
    case NODE_NOT:
    case NODE_AND:
    case NODE_OR:
    case NODE_CHOICE: return eval_branch(r, n, out);
    default: return chat_fail(r, "a slice stands where a value is needed");
    }
}

bool chat_eval(struct chat_run *r, const struct chat_node *n, struct chat_value *out)
{
    r->line = n->line;
    if (!chat_enter(r)) return false;
    bool ok = chat_charge(r, 0) && eval(r, n, out);
    chat_leave(r);
    return ok;
}
