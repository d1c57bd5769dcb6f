#include "deploy/tool/view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void view_saved(struct view_line *line, const json_t *status)
{
    double sent = view_number(status, "bytes_pushed") + view_number(status, "bytes_updated");
    double float32 = 2.0 * view_number(status, "bytes_float32"); /* of each direction */

    if (!(sent > 0.0) || !(float32 >= sent)) {
        view_put(line, VIEW_PLAIN, "%s sent", view_amount(sent));
        return;
    }
    (void)(view_field(line, "", "%s sent, float32 would be %s: %s times less", view_amount(sent), view_amount(float32),
                      view_times(float32 / sent)) ||
           view_field(line, "", "%s, float32 %s: %s times less", view_amount(sent), view_amount(float32),
                      view_times(float32 / sent)) ||
           view_field(line, "", "%s times less than float32", view_times(float32 / sent)));
}

static const char *plain_ms(double ms)
{
    return ms < 0.995 ? view_small(ms) : view_count(ms);
}

void view_round_parts(struct view_line *line, const json_t *pace)
{
    (void)(view_field(line, "", "%s ms", plain_ms(view_number(pace, "round_ms"))) &&
           view_field(line, " = ", "%s waiting", plain_ms(view_number(pace, "waiting_ms"))) &&
           view_field(line, " + ", "%s tally", plain_ms(view_number(pace, "tally_ms"))) &&
           view_field(line, " + ", "%s sending", plain_ms(view_number(pace, "send_ms"))));
}

void view_traffic(struct view_page *page, const json_t *status)
{
    const json_t *pace = json_object_get(status, "pace");
    struct view_line *line = view_add_labelled(page, VIEW_RANK_PACE, "pace");

    (void)(view_field(line, "", "%s rounds/s", view_count(view_number(pace, "rounds_per_second"))) &&
           view_field(line, ", ", "%s/s up", view_amount(view_number(pace, "bytes_per_second_in"))) &&
           view_field(line, ", ", "%s/s down", view_amount(view_number(pace, "bytes_per_second_out"))));
    view_round_parts(view_add_labelled(page, VIEW_RANK_ROUND, "a round"), pace);
    view_saved(view_add_labelled(page, VIEW_RANK_BYTES, "bytes"), status);
}

static void warn_of_suspects(struct view_page *page, const json_t *slots)
{
    char text[400] = "suspected, opposed to more than half of the others: slot";
    size_t used = strlen(text), before = used, index;
    json_t *slot;

    json_array_foreach((json_t *)slots, index, slot)
    {
        if (view_true(slot, "suspected") && used + 8 < sizeof text)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s %.0f", used > before ? "," : "",
                                     view_number(slot, "slot"));
    }
    if (used > before)
        view_add_words(page, VIEW_RANK_TROUBLE, VIEW_ALERT, "warning", text);
}

void view_warnings(struct view_page *page, const json_t *status)
{
    const json_t *keep = json_object_get(status, "keep"), *journal = json_object_get(keep, "journal");
    const json_t *security = json_object_get(status, "security");

    if (view_true(keep, "failing"))
        view_add_words(page, VIEW_RANK_TROUBLE, VIEW_ALERT, "warning",
                       "the last checkpoint could not be written; the server's log says why");
    if (json_is_false(json_object_get(journal, "written")))
        view_add_words(page, VIEW_RANK_TROUBLE, VIEW_ALERT, "warning",
                       "the journal cannot be written; the server's log says why");
    warn_of_suspects(page, json_object_get(status, "slots"));
    if (view_true(security, "insecure"))
        view_add_words(page, VIEW_RANK_NOTE, VIEW_ALERT, "warning", view_text(security, "words"));
}
