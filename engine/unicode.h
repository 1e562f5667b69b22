/* What tokenizing must know of Unicode: UTF-8, a few properties, the normal forms. The one door to utf8proc (Unicode 14
 * or later; version 2.8 has the tables of 15.0). */
#ifndef ENGINE_UNICODE_H
#define ENGINE_UNICODE_H

#include "core/bytes.h"
#include "core/error.h"
#include "core/text.h"

/* Bytes of the character at p, or 0 when it is broken (overlong forms and surrogates are). n > 0. */
size_t utf8_size(const uint8_t *p, size_t n);
/* Bytes of the character that begins with this byte, in text known to be valid. */
static inline size_t utf8_lead_size(uint8_t lead)
{
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}
/* The character of `size` valid bytes. */
uint32_t utf8_char(const uint8_t *p, size_t size);
/* Offset of the first byte that begins no character; text.size when all is well. */
size_t utf8_broken(struct bytes text);
void utf8_put(struct text *out, uint32_t c);
/* Appends the text; of broken sequences, each longest beginning of a character (or else one byte) becomes U+FFFD, as
 * the Unicode standard recommends (3.9, "substitution of maximal subparts"). */
void utf8_put_lossy(struct text *out, struct bytes text);

/* U+2581, which stands for a space in vocabularies after SentencePiece's fashion. */
#define SPACE_MARK "\xe2\x96\x81"
#define SPACE_MARK_BYTES 3u

/* The property White_Space. */
bool unicode_is_space(uint32_t c);
/* Letters, marks, decimal digits, connectors, joiners: UTS #18's \w. */
bool unicode_is_word(uint32_t c);

/* One to one, as UnicodeData.txt has them. */
uint32_t unicode_upper(uint32_t c);
uint32_t unicode_lower(uint32_t c);
uint32_t unicode_title(uint32_t c);
/* Of a case, and transparent to the context of a case (Unicode 3.13, D135 and D136, by category). */
bool unicode_is_cased(uint32_t c);
bool unicode_is_case_ignorable(uint32_t c);
/* Categories: letters, L*; numbers, Nd and its kin; what may be shown as it is (not Z* but the space, not C*). */
bool unicode_is_letter(uint32_t c);
bool unicode_is_decimal(uint32_t c);
bool unicode_is_printable(uint32_t c);

/* Combining: the general categories Mn, Mc and Me. */
bool unicode_is_mark(uint32_t c);
/* Appends the small letters of a character: one, but for U+0130. */
void unicode_put_lower(struct text *out, uint32_t c);
/* Bytes of the extended grapheme cluster (UAX #29) that valid UTF-8 of n > 0 bytes begins with. */
size_t unicode_grapheme(const uint8_t *p, size_t n);

enum unicode_form { UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD };
/* Appends the normal form of valid UTF-8. Linear but for the sorting of combining marks. */
MUST_CHECK bool unicode_normalize(struct bytes text, enum unicode_form form, struct text *out, struct error *err);

#endif
