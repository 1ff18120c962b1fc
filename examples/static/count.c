/* Counts lines, words and bytes of standard input; --describe tells what it was compiled for. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

static int describe(void) {
  struct utsname machine;
  if (uname(&machine) != 0) {
    return 1;
  }
  printf("count: %zu-bit, machine %s, static\n", sizeof(void *) * 8, machine.machine);
  return 0;
}

int main(int count, char **words) {
  if (count == 2 && strcmp(words[1], "--describe") == 0) {
    return describe();
  }
  if (count != 1) {
    fprintf(stderr, "usage: count [--describe] <FILE\n");
    return 2;
  }
  unsigned long lines = 0, in_words = 0, bytes = 0;
  int inside = 0;
  for (int byte = getchar(); byte != EOF; byte = getchar()) {
    bytes++;
    lines += byte == '\n';
    int blank = isspace(byte);
    in_words += !blank && !inside;
    inside = !blank;
  }
  printf("%lu lines, %lu words, %lu bytes\n", lines, in_words, bytes);
  return 0;
}
