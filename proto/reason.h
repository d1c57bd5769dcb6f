/* Why a side says BYE: numbers on the wire, one list. */
#pragma once

/* X(name, number, words, whether the worker may try again) */
#define SP_REASON_LIST(X)                                                                                              \
    X(DONE, 0, "the job is done", 0)                                                                                   \
    X(STOPPED, 1, "the job was stopped", 0)                                                                            \
    X(PROTOCOL, 2, "the protocol was broken", 1)                                                                       \
    X(VERSION, 3, "the protocol versions differ", 0)                                                                   \
    X(JOB, 4, "the job's name differs", 0)                                                                             \
    X(LAYOUT, 5, "the model's layout differs", 0)                                                                      \
    X(DATA, 6, "the training data differ", 0)                                                                          \
    X(SLOT, 7, "the slot cannot be had", 0)                                                                            \
    X(INIT_TIMEOUT, 8, "the initial weights did not come in time", 1)                                                  \
    X(SILENT, 9, "nothing was heard for too long", 1)                                                                  \
    X(BACKLOG, 10, "frames were read too slowly", 1)                                                                   \
    X(LEAVING, 11, "the worker leaves", 0)                                                                             \
    X(REPLACED, 12, "another connection took over the slot with its ticket", 0)                                        \
    X(WEIGHTS, 13, "the weights are not usable", 0)                                                                    \
    X(BUSY, 14, "too many connections", 1)                                                                             \
    X(FAILED, 15, "the other side failed", 1)                                                                          \
    X(SECRET, 16, "the secrets differ, or one side has none", 0)                                                       \
    X(OPERATOR, 17, "the server takes no operators over the network", 0)

enum sp_reason {
#define SP_REASON_ENUM(name, number, words, again) SP_REASON_##name = number,
    SP_REASON_LIST(SP_REASON_ENUM)
#undef SP_REASON_ENUM
};

/* The words of a reason; never NULL. */
const char *sp_reason_text(unsigned reason);

/* Whether a worker that got this reason may connect again. An unknown reason may not. */
int sp_reason_may_retry(unsigned reason);
