/* Parts of test_stream.c in files of their own, and what they share. */
#pragma once

#include "loopback.h"

#include <check.h>

void stream_add_hold(TCase *tests);
void stream_add_tls(TCase *tests); /* between tls_made_begin() and tls_made_end() */

#define STREAM_CHAIN_BYTES_MAX 50000

/* Reads of 1, 2, ... `longest`, 1, ... bytes, each asked for within the one before, as far as they fit into `bytes`. */
struct stream_chain {
    size_t bytes, longest;
    size_t at, next; /* where the next one goes, and its bytes */
    uint8_t got[STREAM_CHAIN_BYTES_MAX];
};

static inline void stream_chain_next(struct loopback *l, enum loopback_event event)
{
    struct stream_chain *chain = l->user;

    if (event != EVENT_FILLED)
        return;
    chain->at += chain->next;
    chain->next = chain->next % chain->longest + 1;
    if (chain->at + chain->next <= chain->bytes)
        sp_stream_read(l->stream, chain->got + chain->at, chain->next);
}

static inline void stream_chain_begin(struct loopback *l, struct stream_chain *chain)
{
    l->hook = stream_chain_next;
    l->user = chain;
    chain->next = 1;
    sp_stream_read(l->stream, chain->got, chain->next);
}
