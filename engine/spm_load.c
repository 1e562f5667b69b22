#include "engine/spm_load.h"

#include "engine/spm_model.h"
#include "engine/token_config.h"
#include "engine/tokenizer_impl.h"

#include <stdlib.h>

#define WHAT "pieces"

static bool copy_bytes(struct buffer *to, struct bytes from, struct error *err)
{
    to->data = malloc(from.size + 1);
    if (!to->data) return error_memory(err, from.size);
    memcpy(to->data, from.data ? from.data : (const uint8_t *)"", from.size);
    to->data[from.size] = 0;
    to->size = from.size;
    return true;
}

static bool add_text(struct token_texts *t, uint32_t id, struct bytes text, struct error *err)
{
    if (!token_texts_grow(t, id, err)) return false;
    memcpy(t->pool + t->pool_size, text.data, text.size);
    t->texts[id] = (struct token_text){t->pool_size, (uint32_t)text.size};
    t->pool_size += (uint32_t)text.size;
    return true;
}

static bool open_vocab(struct vocab *v, const struct spm_file *f, struct error *err)
{
    size_t size = 0;
    for (uint32_t i = 0; i < f->n_pieces; i++) size += f->pieces[i].text.size;
    if (!token_texts_reserve(&v->texts, size, err)) return false;
    for (uint32_t i = 0; i < f->n_pieces; i++)
        if (!add_text(&v->texts, i, f->pieces[i].text, err)) return false;
    v->n_tokens = f->n_pieces;
    return token_index_build(&v->index, &v->texts, TWICE_FAILS, WHAT, err);
}

/* All 256 byte pieces, or none. */
static bool check_bytes(const struct spm_file *f, const struct vocab *v, struct error *err)
{
    uint32_t n = 0, want = f->byte_fallback ? 256 : 0;
    for (uint32_t i = 0; i < f->n_pieces; i++) n += f->pieces[i].type == SPM_BYTE;
    for (uint32_t i = 0; n == want && i < want; i++) {
        uint32_t id = vocab_byte(v, (uint8_t)i);
        if (id == ID_NONE || f->pieces[id].type != SPM_BYTE)
            return error_set(err, ERR_FORMAT, "there is no byte piece <0x%02X>", i);
    }
    return n == want ? true : error_set(err, ERR_FORMAT, "%u byte pieces, expected %u", n, want);
}

static bool open_text_rules(struct spm *s, const struct spm_file *f, struct error *err)
{
    struct added_tokens *user = &s->user;
    uint32_t n_user = 0;
    s->dummy_prefix = f->dummy_prefix;
    s->remove_extra_spaces = f->remove_extra_spaces;
    s->escape_spaces = f->escape_spaces;
    s->suffix = f->suffix;
    s->n_pieces = f->n_pieces;
    s->types = malloc(f->n_pieces);
    if (!s->types) return error_memory(err, f->n_pieces);
    for (uint32_t i = 0; i < f->n_pieces; i++) {
        s->types[i] = (uint8_t)f->pieces[i].type;
        n_user += f->pieces[i].type == SPM_USER_DEFINED;
    }
    if (!copy_bytes(&s->blob, f->charsmap, err) || !copy_bytes(&s->unk_surface, f->unk_surface, err) ||
        !charsmap_open(&s->map, buffer_view(&s->blob), err) || !added_tokens_begin(user, n_user, err))
        return false;
    for (uint32_t i = 0; i < f->n_pieces; i++) {
        struct added_token t = {.content = f->pieces[i].text, .id = i, .normalized = true};
        if (f->pieces[i].type == SPM_USER_DEFINED && !added_tokens_add(user, &t, err)) return false;
    }
    return added_tokens_finish(user, err);
}

/* The piece of this name, or ID_NONE when it is not there or is the unknown one. */
static uint32_t find_piece(const struct tokenizer *t, const struct spm_file *f, struct bytes name)
{
    uint32_t id = token_index_find(&t->vocab.index, name.data, name.size);
    return id == ID_NONE || f->pieces[id].type == SPM_UNKNOWN ? ID_NONE : id;
}

static bool open_around(struct tokenizer *t, const struct spm_file *f, const json_t *config, struct error *err)
{
    uint32_t bos = find_piece(t, f, f->bos), eos = find_piece(t, f, f->eos);
    bool add_bos = bos != ID_NONE, add_eos = false;
    if (config && (!json_opt_bool(config, "add_bos_token", "tokenizer_config.json", &add_bos, err) ||
                   !json_opt_bool(config, "add_eos_token", "tokenizer_config.json", &add_eos, err)))
        return false;
    if ((add_bos && bos == ID_NONE) || (add_eos && eos == ID_NONE))
        return error_set(err, ERR_FORMAT,
                         "tokenizer_config.json: a text is to begin or end with a token, and there is no piece '%.*s'",
                         (int)(add_bos && bos == ID_NONE ? f->bos : f->eos).size,
                         (const char *)(add_bos && bos == ID_NONE ? f->bos : f->eos).data);
    return (!add_bos || token_ids_add(&t->post.before, bos, err)) &&
           (!add_eos || token_ids_add(&t->post.after, eos, err));
}

/* Control pieces that tokenizer_config.json does not speak of, by id or by name. */
static bool add_controls(struct added_tokens *a, const struct spm_file *f, const struct vocab *v, struct error *err)
{
    CLEANUP(free) bool *named = calloc(f->n_pieces, sizeof *named);
    if (!named) return error_memory(err, f->n_pieces);
    for (uint32_t i = 0; i < a->n; i++) {
        const struct added_token *t = &a->tokens[i];
        uint32_t by_name = token_index_find(&v->index, t->content.data, t->content.size);
        if (t->id < f->n_pieces) named[t->id] = true;
        if (by_name != ID_NONE) named[by_name] = true;
    }
    for (uint32_t i = 0; i < f->n_pieces; i++) {
        struct added_token t = {.content = f->pieces[i].text, .id = i, .special = true, .in_prompts = true};
        if (f->pieces[i].type == SPM_CONTROL && !named[i] && !added_tokens_add(a, &t, err)) return false;
    }
    return true;
}

/* Tokens of tokenizer_config.json are looked for in every text, control pieces in prompts. */
static bool open_added(struct tokenizer *t, const struct spm_file *f, const json_t *config, struct error *err)
{
    size_t n = token_config_count(config);
    for (uint32_t i = 0; i < f->n_pieces; i++) n += f->pieces[i].type == SPM_CONTROL;
    return added_tokens_begin(&t->added, n, err) && token_config_add(&t->added, config, 0, true, err) &&
           add_controls(&t->added, f, &t->vocab, err) && added_tokens_finish(&t->added, err);
}

bool spm_open(struct tokenizer *t, struct bytes file, const json_t *config, struct error *err)
{
    struct spm_file f = {0};
    t->spm = calloc(1, sizeof *t->spm);
    if (!t->spm) return error_memory(err, sizeof *t->spm);
    bool ok = spm_file_read(&f, file, err) && open_vocab(&t->vocab, &f, err) && check_bytes(&f, &t->vocab, err) &&
              open_text_rules(t->spm, &f, err) && pretokenizer_open(&t->pre, NULL, err) &&
              (f.model == SPM_BPE ? spm_bpe_open(&t->bpe, &f, &t->vocab, err)
                                  : spm_unigram_open(&t->unigram, &f, &t->vocab, err)) &&
              open_added(t, &f, config, err) && open_around(t, &f, config, err);
    t->model = f.model == SPM_BPE ? MODEL_BPE : MODEL_UNIGRAM;
    spm_file_free(&f);
    return ok;
}
