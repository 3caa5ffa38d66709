#!/bin/sh
# embed.sh TABLE FILE...: an assembler file whose table TABLE[] holds each file's text, NUL-terminated, under its base
# name. The struct is declared where it is read (runtime/device/texts.c, host/serve/page.c):
#   struct { const char *name, *text; }, ended by a NULL name.
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
table=$1; shift
echo '.section .rodata'
i=0
for f in "$@"; do
    printf 'n%d: .asciz "%s"\nt%d: .incbin "%s"\n.byte 0\n' $i "$(basename "$f")" $i "$f"
    i=$((i + 1))
done
echo '.section .data.rel.ro,"aw"'
echo '.balign 8'
echo ".globl $table"
echo "$table:"
j=0
while [ $j -lt $i ]; do echo ".quad n$j, t$j"; j=$((j + 1)); done
echo '.quad 0, 0'
echo '.section .note.GNU-stack,"",%progbits'
