#include "engine/chat/chat_call.h"

#include "engine/chat/chat_compare.h"
#include "engine/chat/chat_eval.h"

/* The parameter that `at` begins with: its length; 0 at the end. */
static size_t parameter(const char **at, bool *optional)
{
    while (**at == ' ' || **at == '|') *optional |= *(*at)++ == '|';
    return strcspn(*at, " ");
}

static bool bind(struct chat_run *r, const struct chat_callable *c, const struct chat_call *call,
                 struct chat_value args[CHAT_PARAMETERS_MAX])
{
    size_t n = 0, used = 0, size;
    bool optional = false;
    for (const char *at = c->parameters; (size = parameter(&at, &optional)) > 0; at += size, n++) {
        args[n] = n < call->n ? call->args[n] : chat_of(CHAT_ABSENT);
        for (size_t i = 0; i < call->n_named; i++) {
            if (call->named[i].key.size != size || memcmp(call->named[i].key.text, at, size) != 0) continue;
            if (n < call->n) return chat_fail(r, "'%s': '%.*s' is given twice", c->name, (int)size, at);
            args[n] = call->named[i].value;
            used++;
        }
        if (args[n].kind == CHAT_ABSENT && !optional) return chat_fail(r, "'%s' needs '%.*s'", c->name, (int)size, at);
    }
    if (call->n > n) return chat_fail(r, "'%s' takes %zu arguments and is given %zu", c->name, n, call->n);
    if (used < call->n_named) return chat_fail(r, "'%s' is given an argument by a name that it does not have", c->name);
    return true;
}

bool chat_callable_run(struct chat_run *r, const struct chat_callable *c, struct chat_value self,
                       const struct chat_call *call, struct chat_value *out)
{
    struct chat_value args[CHAT_PARAMETERS_MAX];
    if (!chat_charge(r, 0)) return false;
    if (c->all) return c->all(r, self, call, out);
    if (!c->run) return chat_beyond(r, "'%s' is not supported", c->name);
    return bind(r, c, call, args) && c->run(r, self, args, out);
}

bool chat_call_value(struct chat_run *r, struct chat_value callee, const struct chat_call *call, struct chat_value *out)
{
    switch ((enum chat_kind)callee.kind) {
    case CHAT_UNDEFINED: return chat_fail_undefined(r, callee);
    case CHAT_MACRO: return chat_macro_run(r, callee.macro, call, out);
    case CHAT_FUNCTION: return chat_callable_run(r, callee.function, chat_of(CHAT_NONE), call, out);
    case CHAT_METHOD: return chat_callable_run(r, callee.method->callable, callee.method->self, call, out);
    default: return chat_fail(r, "%s cannot be called", chat_kind_name(callee));
    }
}

struct binding {
    const struct chat_macro *macro;
    const struct chat_call *call;
    struct chat_value rest; /* named arguments that no parameter has taken, a mapping */
    const char *name;
};

static struct chat_value named(const struct chat_call *call, const char *name)
{
    for (size_t i = 0; i < call->n_named; i++)
        if (chat_text_is(call->named[i].key, name)) return call->named[i].value;
    return chat_of(CHAT_ABSENT);
}

static bool is_parameter(const struct chat_node *first, size_t skip, struct chat_value key)
{
    for (const struct chat_node *p = first; p; p = p->next) {
        if (skip > 0) skip--;
        else if (chat_text_is(key, p->name)) return true;
    }
    return false;
}

/* What is left over: for `caller`, `varargs` and `kwargs` where the body reads them. */
static bool bind_rest(struct chat_run *r, struct binding *b, size_t n_parameters, struct chat_value *caller,
                      struct chat_value *varargs)
{
    const struct chat_node *node = b->macro->node;
    for (size_t i = 0; i < b->call->n_named; i++) {
        struct chat_pair given = b->call->named[i];
        if (is_parameter(node->args, b->call->n, given.key)) continue;
        if ((node->op & CHAT_USES_CALLER) && chat_text_is(given.key, "caller")) *caller = given.value;
        else if (!(node->op & CHAT_USES_KWARGS))
            return chat_fail(r, "macro '%s' takes no argument '%.*s'", b->name,
                             given.key.size > 64 ? 64 : (int)given.key.size, given.key.text);
        else if (!chat_dict_set(r, b->rest.dict, given.key, given.value)) return false;
    }
    if (b->call->n <= n_parameters) return chat_seq_make(r, CHAT_TUPLE, 0, varargs);
    if (!(node->op & CHAT_USES_VARARGS))
        return chat_fail(r, "macro '%s' takes %zu arguments and is given %zu", b->name, n_parameters, b->call->n);
    if (!chat_seq_make(r, CHAT_TUPLE, b->call->n - n_parameters, varargs)) return false;
    for (size_t i = 0; i < varargs->seq->n; i++) varargs->seq->items[i] = b->call->args[n_parameters + i];
    return true;
}

/* The special names are interned by the parser when the body reads them; they are the very pointers of its nodes. */
static bool set_special(struct chat_run *r, struct chat_scope *s, const char *name, struct chat_value v)
{
    const char *interned = chat_intern(r->names, NULL, name, strlen(name));
    return !interned || chat_scope_set(r, s, interned, v);
}

static bool macro_bind(struct chat_run *r, struct binding *b, struct chat_scope *scope)
{
    const struct chat_node *node = b->macro->node;
    struct chat_value caller = chat_undefined("caller"), varargs, v;
    size_t n = 0;
    for (const struct chat_node *p = node->args; p; p = p->next) n++;
    if (!chat_dict_make(r, 1, &b->rest) || !bind_rest(r, b, n, &caller, &varargs)) return false;
    n = 0;
    for (const struct chat_node *p = node->args; p; p = p->next, n++) {
        v = n < b->call->n ? b->call->args[n] : named(b->call, p->name);
        if (v.kind == CHAT_ABSENT && !p->a) v = chat_undefined(p->name);
        else if (v.kind == CHAT_ABSENT) {
            r->scope = scope; /* a default sees the parameters before it */
            if (!chat_eval(r, p->a, &v)) return false;
        }
        if (!chat_scope_set(r, scope, p->name, v)) return false;
    }
    if ((node->op & CHAT_USES_CALLER) && !is_parameter(node->args, 0, chat_words("caller")) &&
        !set_special(r, scope, "caller", caller))
        return false;
    return (!(node->op & CHAT_USES_VARARGS) || set_special(r, scope, "varargs", varargs)) &&
           (!(node->op & CHAT_USES_KWARGS) || set_special(r, scope, "kwargs", b->rest));
}

bool chat_macro_run(struct chat_run *r, const struct chat_macro *m, const struct chat_call *call,
                    struct chat_value *out)
{
    struct chat_scope *scope = chat_scope_new(r, m->scope), *before = r->scope;
    struct binding b = {.macro = m, .call = call, .name = m->node->kind == NODE_MACRO ? m->node->name : "caller"};
    uint32_t line = r->line;
    if (!scope || !chat_enter(r)) return false;
    bool ok = macro_bind(r, &b, scope);
    r->scope = before;
    ok = ok && chat_exec_text(r, m->node->body, scope, out);
    chat_leave(r);
    if (ok) r->line = line;
    return ok;
}
