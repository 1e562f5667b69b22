/* A template's text as tokens, as Jinja2's lexer cuts it with trim_blocks and lstrip_blocks: white space around tags,
 * the line break behind a block and a comment, raw blocks, and the last line break of the text are decided here. */
#ifndef ENGINE_CHAT_LEXER_H
#define ENGINE_CHAT_LEXER_H

#include "core/arena.h"
#include "engine/chat/chat_value.h"

enum chat_token_kind {
    TOKEN_END,
    TOKEN_DATA,  /* text between tags, in value */
    TOKEN_PRINT, /* {{ */
    TOKEN_PRINT_END,
    TOKEN_BLOCK, /* {% */
    TOKEN_BLOCK_END,
    TOKEN_NAME,     /* in value */
    TOKEN_CONSTANT, /* string, integer or number, in value */
    TOKEN_OPERATOR, /* in op */
};

/* Operators are written as their characters: 'a' << 8 | 'b' for those of two. */
#define CHAT_OP2(a, b) ((unsigned)(a) << 8 | (unsigned)(b))

struct chat_token {
    enum chat_token_kind kind;
    unsigned op;
    uint32_t line;
    struct chat_value value; /* strings in the arena or in the text */
};

/* *tokens: in the arena, ended by TOKEN_END. `text` is valid UTF-8 and is changed: its line breaks become \n. */
MUST_CHECK bool chat_lex(char *text, size_t size, const char *what, struct arena *arena, struct chat_token **tokens,
                         struct error *err);

#endif
