/* A printf with four conversions. */
#include "kernel.h"

#include <stdarg.h>

static void print_number(unsigned long value, unsigned base)
{
    char digits[24];
    unsigned i = sizeof(digits);

    do
        digits[--i] = "0123456789abcdef"[value % base];
    while (value /= base);
    while (i < sizeof(digits))
        console_write(digits[i++]);
}

void print(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    for (; *format; format++) {
        if (*format != '%') {
            console_write(*format);
            continue;
        }
        bool is_long = *++format == 'l';
        if (is_long)
            format++;
        switch (*format) {
        case 's':
            for (const char *text = va_arg(arguments, const char *); *text; text++)
                console_write(*text);
            break;
        case 'c':
            console_write((char)va_arg(arguments, int));
            break;
        case 'u':
        case 'x':
            print_number(is_long ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned),
                         *format == 'u' ? 10 : 16);
            break;
        default:
            console_write(*format);
        }
    }
    va_end(arguments);
}
