/* Bytes and words. */
#include "kernel.h"

void *memcpy(void *to, const void *from, size_t size)
{
    void *start = to;

    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size)::"memory");
    return start;
}

void *memset(void *to, int byte, size_t size)
{
    void *start = to;

    __asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
    return start;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const unsigned char *x = a, *y = b;

    for (; size; size--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

size_t strlen(const char *text)
{
    size_t length = 0;

    while (text[length])
        length++;
    return length;
}

bool starts_with(const char *text, const char *prefix)
{
    while (*prefix)
        if (*text++ != *prefix++)
            return false;
    return true;
}

unsigned long number(const char *text)
{
    unsigned long value = 0;

    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (unsigned long)(*text - '0');
    return value;
}

const char *option(const char *command_line, const char *name)
{
    for (const char *word = command_line; *word; word++) {
        if (word != command_line && word[-1] != ' ')
            continue;
        if (!starts_with(word, name))
            continue;
        const char *after = word + strlen(name);
        if (*after == '=')
            return after + 1;
        if (*after == ' ' || *after == 0)
            return after;
    }
    return NULL;
}
