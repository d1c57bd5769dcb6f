#include "worker/train/pace.h"

#include <stdio.h>

#define SHARE_LEAST 0.05 /* of communication in float32: less than that is not worth saving */
#define GAIN_LEAST 1.05

void sp_pace_gradient(struct sp_pace *pace, double now, double gradient_s)
{
    pace->since = now;
    pace->gradient_s = gradient_s;
}

void sp_pace_disturb(struct sp_pace *pace)
{
    pace->since = 0.0;
}

bool sp_pace_weights(struct sp_pace *pace, double now)
{
    double exchange_s = now - pace->since;

    if (pace->since <= 0.0 || pace->rounds >= SP_PACE_SKIPPED + SP_PACE_ROUNDS)
        return false;
    pace->since = 0.0;
    if (pace->rounds++ < SP_PACE_SKIPPED)
        return false;
    pace->gradient_sum += pace->gradient_s;
    if (pace->rounds == SP_PACE_SKIPPED + 1 || exchange_s < pace->exchange_least)
        pace->exchange_least = exchange_s;
    return pace->rounds == SP_PACE_SKIPPED + SP_PACE_ROUNDS;
}

void sp_pace_words(const struct sp_pace *pace, uint64_t coordinates, double rate, char *words, size_t bytes)
{
    double gradient = pace->gradient_sum / SP_PACE_ROUNDS, exchange = pace->exchange_least;
    double more = rate > 0.0 ? (4.0 - 1.0 / 8.0) * (double)coordinates / rate : 0.0;
    double share = (exchange + more) / (gradient + exchange + more);
    bool pays = share >= SHARE_LEAST && (gradient + exchange + more) / (gradient + exchange) >= GAIN_LEAST;
    int n = snprintf(words, bytes, "a round: gradient %.3g ms, exchange %.3g ms (%.0f %%)", 1e3 * gradient,
                     1e3 * exchange, 100.0 * exchange / (gradient + exchange));

    if (rate > 0.0 && n > 0 && (size_t)n < bytes)
        (void)snprintf(words + n, bytes - (size_t)n,
                       "; in float32 the exchange would take about %.3g ms (%.0f %%): compression %s",
                       1e3 * (exchange + more), 100.0 * share, pays ? "pays" : "is not worth it here");
}
