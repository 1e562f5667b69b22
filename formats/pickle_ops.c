/* Globals, calls and states: the part of pickle that runs programs elsewhere. Here it makes values. */
#include "formats/pickle_impl.h"

bool pickle_global(struct pickle_machine *m, struct bytes module, struct bytes name)
{
    const struct pickle_global *g = pickle_global_find(module, name, m->where);
    if (!g) {
        int n = module.size < 128 ? (int)module.size : 128, k = name.size < 128 ? (int)name.size : 128;
        return error_set(m->err, ERR_UNSUPPORTED,
                         "'%.256s': the pickle asks for %.*s.%.*s, which is not part of a list of tensors; nothing is"
                         " executed here",
                         m->what, n, (const char *)module.data, k, (const char *)name.data);
    }
    struct pickle_value *v = pickle_new(m, PICKLE_GLOBAL);
    if (!v) return false;
    v->global = g;
    return pickle_push(m, v);
}

/* OrderedDict() or OrderedDict([(key, value), ...]). */
static bool call_dict(struct pickle_machine *m, const struct pickle_value *args)
{
    struct pickle_value *dict = pickle_new(m, PICKLE_DICT);
    if (!dict) return false;
    const struct pickle_value *list = args->n ? args->u.items[0] : NULL;
    if (args->n > 1 || (list && list->kind != PICKLE_LIST && list->kind != PICKLE_TUPLE))
        return pickle_bad(m, "OrderedDict is called with something else than a list");
    for (uint32_t i = 0; list && i < list->n; i++) {
        const struct pickle_value *pair = list->u.items[i];
        if ((pair->kind != PICKLE_TUPLE && pair->kind != PICKLE_LIST) || pair->n != 2)
            return pickle_bad(m, "OrderedDict is called with something else than pairs");
        if (!pickle_append(m, dict, pair->u.items[0]) || !pickle_append(m, dict, pair->u.items[1])) return false;
    }
    return pickle_push(m, dict);
}

/* (storage, offset, sizes, strides, ...), in version 3 with a dtype behind three more. */
static bool call_tensor(struct pickle_machine *m, const struct pickle_value *args, bool v3)
{
    if (args->n < (v3 ? 7u : 4u)) return pickle_bad(m, "a tensor is made of too few arguments");
    struct pickle_value **a = args->u.items;
    if (a[0]->kind != PICKLE_STORAGE || a[1]->kind != PICKLE_INT || a[2]->kind != PICKLE_TUPLE ||
        a[3]->kind != PICKLE_TUPLE || (v3 && (a[6]->kind != PICKLE_GLOBAL || a[6]->global->dtype == DTYPE_COUNT)))
        return pickle_bad(m, "a tensor is not made of a storage, an offset, sizes and strides");
    struct pickle_value *items[5] = {a[0], a[1], a[2], a[3], v3 ? a[6] : NULL};
    return pickle_push_items(m, PICKLE_TENSOR, items, 5);
}

bool pickle_reduce(struct pickle_machine *m)
{
    if (m->n_stack < 2) return pickle_bad(m, "a call without its arguments");
    struct pickle_value *args = m->stack[m->n_stack - 1], *callee = m->stack[m->n_stack - 2];
    m->n_stack -= 2;
    if (callee->kind != PICKLE_GLOBAL || args->kind != PICKLE_TUPLE)
        return pickle_bad(m, "a call of something that is not a global");
    switch (callee->global->call) {
    case PICKLE_CALL_DICT: return call_dict(m, args);
    case PICKLE_CALL_SAME:
        if (args->n != 1 || (args->u.items[0]->kind != PICKLE_TUPLE && args->u.items[0]->kind != PICKLE_LIST))
            return pickle_bad(m, "torch.Size is called with something else than a tuple");
        return pickle_push_items(m, PICKLE_TUPLE, args->u.items[0]->u.items, args->u.items[0]->n);
    case PICKLE_CALL_TENSOR: return call_tensor(m, args, false);
    case PICKLE_CALL_TENSOR_V3: return call_tensor(m, args, true);
    case PICKLE_CALL_PARAMETER:
        if (args->n < 1 || args->u.items[0]->kind != PICKLE_TENSOR)
            return pickle_bad(m, "a parameter is made of something else than a tensor");
        return pickle_push(m, args->u.items[0]);
    case PICKLE_CALL_OBJECT: {
        struct pickle_value *items[2] = {args, NULL};
        if (!pickle_push_items(m, PICKLE_OBJECT, items, 2)) return false;
        m->stack[m->n_stack - 1]->global = callee->global;
        return true;
    }
    case PICKLE_CALL_NEVER: break;
    }
    return error_set(m->err, ERR_FORMAT, "'%.256s': pickle, byte %zu: %s.%s is called", m->what, m->op_at,
                     callee->global->module, callee->global->name);
}

/* The state of an OrderedDict (a state dict's `_metadata`) says nothing about tensors. */
bool pickle_build(struct pickle_machine *m)
{
    if (m->n_stack < 2) return pickle_bad(m, "a state without an object");
    struct pickle_value *state = m->stack[--m->n_stack], *object = m->stack[m->n_stack - 1];
    if (object->kind == PICKLE_DICT) return true;
    if (object->kind != PICKLE_OBJECT) return pickle_bad(m, "a state for something that has none");
    object->u.items[1] = state;
    return true;
}

bool pickle_persistent(struct pickle_machine *m)
{
    if (m->n_stack < 1) return pickle_bad(m, "a persistent id without a value");
    struct pickle_value *id = m->stack[--m->n_stack];
    if (id->kind != PICKLE_TUPLE || id->n < 5 || !pickle_is_text(id->u.items[0], "storage"))
        return pickle_bad(m, "a persistent id that is not a storage");
    struct pickle_value *items[2] = {id, m->storages};
    if (!pickle_push_items(m, PICKLE_STORAGE, items, 2)) return false;
    m->storages = m->stack[m->n_stack - 1];
    return true;
}
