#include "engine/chat/chat_loop.h"

#include "engine/chat/chat_access.h"
#include "engine/chat/chat_compare.h"

bool chat_loop_open(struct chat_run *r, const struct chat_node *node, struct chat_loop **out)
{
    struct chat_value over;
    struct chat_loop *l = *out = chat_alloc(r, 1, sizeof *l);
    if (!l || !chat_eval(r, node->b, &over)) return false;
    *l = (struct chat_loop){.node = node, .outer = r->scope};
    r->line = node->line;
    if (over.kind == CHAT_ITERATOR) return l->iterator = over.iterator, true;
    if (!chat_items(r, over, &l->source, &l->n_source)) return false;
    if (!node->c) l->kept = (struct chat_list){l->source, l->n_source, l->n_source};
    return true;
}

/* The next item of the source. */
static bool pull(struct chat_run *r, struct chat_loop *l, struct chat_value *item, bool *found)
{
    struct chat_iterator *it = l->iterator;
    if (!it) {
        *found = l->at_source < l->n_source;
        if (*found) *item = l->source[l->at_source++];
        return true;
    }
    *found = it->at < it->n;
    if (*found) *item = it->items[it->at++];
    else if (it->failure) return *r->err = *it->failure, false;
    return true;
}

static bool passes(struct chat_run *r, struct chat_loop *l, struct chat_value item, bool *pass)
{
    struct chat_scope *before = r->scope;
    struct chat_value v;
    if (!l->node->c) return *pass = true;
    if (!l->tested && !(l->tested = chat_scope_new(r, l->outer))) return false;
    r->scope = l->tested;
    r->scope->n = 0; /* nothing can hold on to it */
    bool ok = chat_assign(r, l->node->a, item) && chat_eval(r, l->node->c, &v);
    r->scope = before;
    *pass = ok && chat_truth(v);
    return ok;
}

bool chat_loop_at(struct chat_run *r, struct chat_loop *l, size_t index, struct chat_value *item, bool *found)
{
    bool more = l->iterator || l->node->c, pass;
    while (more && index >= l->kept.n) {
        struct chat_value v;
        if (!chat_charge(r, 0) || !pull(r, l, &v, &more)) return false;
        if (!more) break;
        if (!passes(r, l, v, &pass) || (pass && !chat_list_add(r, &l->kept, v))) return false;
    }
    *found = index < l->kept.n;
    if (*found) *item = l->kept.items[index];
    return true;
}

static bool neighbour(struct chat_run *r, struct chat_loop *l, bool next, struct chat_value *out)
{
    bool found = next || l->index0 > 0;
    if (found && !chat_loop_at(r, l, next ? l->index0 + 1 : l->index0 - 1, out, &found)) return false;
    if (!found) *out = chat_undefined(next ? "nextitem" : "previtem");
    return true;
}

static bool cycle(struct chat_run *r, struct chat_value self, const struct chat_call *call, struct chat_value *out)
{
    if (call->n == 0) return chat_fail(r, "loop.cycle without values");
    *out = call->args[self.loop->index0 % call->n];
    return true;
}

static bool changed(struct chat_run *r, struct chat_value self, const struct chat_call *call, struct chat_value *out)
{
    struct chat_value now;
    bool same = false;
    if (!chat_seq_make(r, CHAT_TUPLE, call->n, &now)) return false;
    for (size_t i = 0; i < call->n; i++) now.seq->items[i] = call->args[i];
    if (self.loop->changed.kind == CHAT_TUPLE && !chat_equal(r, self.loop->changed, now, &same)) return false;
    self.loop->changed = now;
    *out = chat_bool(!same);
    return true;
}

static const struct chat_callable methods[] = {{"cycle", NULL, NULL, cycle}, {"changed", NULL, NULL, changed}};

bool chat_loop_attribute(struct chat_run *r, struct chat_loop *l, const char *name, struct chat_value *out, bool *known)
{
    struct chat_value last;
    bool found;
    *known = true;
    if (strcmp(name, "index") == 0) return *out = chat_int((int64_t)l->index0 + 1), true;
    if (strcmp(name, "index0") == 0) return *out = chat_int((int64_t)l->index0), true;
    if (strcmp(name, "first") == 0) return *out = chat_bool(l->index0 == 0), true;
    if (strcmp(name, "depth") == 0) return *out = chat_int(1), true;
    if (strcmp(name, "depth0") == 0) return *out = chat_int(0), true;
    if (strcmp(name, "previtem") == 0) return neighbour(r, l, false, out);
    if (strcmp(name, "nextitem") == 0) return neighbour(r, l, true, out);
    if (strcmp(name, "last") == 0) {
        if (!chat_loop_at(r, l, l->index0 + 1, &last, &found)) return false;
        return *out = chat_bool(!found), true;
    }
    bool length = strcmp(name, "length") == 0, behind = strcmp(name, "revindex") == 0;
    if (length || behind || strcmp(name, "revindex0") == 0) {
        if (!chat_loop_at(r, l, SIZE_MAX, &last, &found)) return false;
        int64_t n = (int64_t)l->kept.n;
        return *out = chat_int(length ? n : n - (int64_t)l->index0 - !behind), true;
    }
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (strcmp(name, methods[i].name) != 0) continue;
        struct chat_method *m = chat_alloc(r, 1, sizeof *m);
        if (!m) return false;
        *m = (struct chat_method){{.kind = CHAT_LOOP, .loop = l}, &methods[i]};
        return *out = (struct chat_value){.kind = CHAT_METHOD, .method = m}, true;
    }
    return *known = false, true;
}
