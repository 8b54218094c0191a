/* report.c -- a recording as JSON, one row a line, in the order of the calls. */
#include "report.h"

void report_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c > 0x7e)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

void report_identity(FILE *out, const char *schema, const struct identity *identity)
{
    fprintf(out, "{\n\"schema\": \"%s\",\n\"device\": ", schema);
    report_text(out, identity->device);
    fprintf(out,
            ",\n\"init_code\": %d,\n\"driver_version\": %d,\n\"compute_capability\": [%d, "
            "%d],\n\"memory_bytes\": %llu,\n",
            identity->init_code, identity->driver_version, identity->major, identity->minor,
            (unsigned long long)identity->memory_bytes);
}

static void code(FILE *out, int code)
{
    if (code >= 0)
        fprintf(out, "%d", code);
    else if (code <= ROW_SIGNAL)
        fprintf(out, "\"signal %d\"", ROW_SIGNAL - code);
    else
        fprintf(out, "\"%s\"", code == ROW_ABSENT ? "absent" : "hangs");
}

static void values(FILE *out, const struct row *row, const char *title, bool of_device)
{
    unsigned written = 0;
    for (unsigned i = 0; i < row->values; i++) {
        const struct value *value = &row->value[i];
        if (value->of_device != of_device)
            continue;
        if (written++ == 0)
            fprintf(out, ", \"%s\": {", title);
        else
            fprintf(out, ", ");
        report_text(out, value->name);
        fprintf(out, ": ");
        if (value->is_text)
            report_text(out, value->text);
        else
            fprintf(out, "%lld", (long long)value->number);
    }
    if (written)
        fputc('}', out);
}

void report_rows(FILE *out, const struct identity *identity, const struct ending *endings)
{
    report_identity(out, "gshare/golden/v1", identity);
    fprintf(out, "\"groups\": [\n");
    for (unsigned i = 0; i < group_count; i++)
        fprintf(out, "{\"name\": \"%s\", \"end\": \"%s\", \"rows\": %u, \"restarts\": %u}%s\n",
                groups[i].name, endings[i].how, endings[i].rows, endings[i].restarts,
                i + 1 < group_count ? "," : "");
    fprintf(out, "],\n\"rows\": [\n");
    for (uint32_t i = 0; i < book->count; i++) {
        const struct row *row = &book->row[i];
        fprintf(out, "{\"group\": \"%s\", \"call\": \"%s\", \"case\": ", row->group, row->function);
        report_text(out, row->what);
        fprintf(out, ", \"code\": ");
        code(out, row->code);
        values(out, row, "values", false);
        values(out, row, "device_values", true);
        fprintf(out, "}%s\n", i + 1 < book->count ? "," : "");
    }
    fprintf(out, "]\n}\n");
}
