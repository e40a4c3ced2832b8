/* The guest of recorded migrations: /init of an initramfs. It dirties memory as the kernel's command
 * line says, d.KEY=NUMBER, and tells on the serial port how far it is.
 *
 *   d.wss    MiB of the working set, filled with random words
 *   d.fill   MiB besides, filled with random words and never touched again
 *   d.rate   page writes per second of guest time; 0 for an idle guest
 *   d.bytes  bytes changed by a write: words of 8 at even distances over the page
 *   d.pat    seq: pages in order, round and round; otherwise at random
 *   d.hot, d.hotp  with chance hotp a page of the first share `hot` of the working set
 *
 * "READY" is printed when the memory is filled, then every two seconds "OPS seconds writes": the
 * writes done, without those left out after a pause.
 * Recordings are only comparable as long as pacing, generator and layout of memory stay as they are.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8, PAGES_PER_MIB = 256 };

static uint64_t state[2] = {0x9E3779B97F4A7C15ull, 0xD1B54A32D192ED03ull};

/* xorshift128+: quick, and nothing that a codec could compress. */
static inline uint64_t draw(void)
{
    uint64_t a = state[0], b = state[1];
    state[0] = b;
    a ^= a << 23;
    state[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
    return state[1] + b;
}

static double draw_unit(void) { return (draw() >> 11) * 0x1.0p-53; }

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

static char command_line[4096];

static double option(const char *key)
{
    char text[64];
    snprintf(text, sizeof text, "d.%s=", key);
    const char *found = strstr(command_line, text);
    return found ? atof(found + strlen(text)) : 0;
}

static void read_command_line(void)
{
    mkdir("/proc", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    FILE *file = fopen("/proc/cmdline", "r");
    if (file) {
        if (fread(command_line, 1, sizeof command_line - 1, file) == 0)
            command_line[0] = 0;
        fclose(file);
    }
}

static uint64_t *page_of(uint8_t *memory, size_t number)
{
    return (uint64_t *)(memory + number * PAGE);
}

static uint8_t *filled(size_t pages)
{
    /* One page more, so that no pages at all are a mapping too. Populated before madvise, as in
     * the recordings given, so that physical addresses are as there. */
    uint8_t *memory = mmap(NULL, (pages + 1) * PAGE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        printf("NO MEMORY for %zu pages\n", pages);
        fflush(stdout);
        for (;;)
            pause();
    }
    madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < pages; i++)
        for (int j = 0; j < WORDS; j++)
            page_of(memory, i)[j] = draw();
    return memory;
}

static void dirty(uint8_t *memory, size_t pages)
{
    const double rate = option("rate"), hot_chance = option("hotp"), bytes = option("bytes");
    const int in_order = strstr(command_line, "d.pat=seq") != NULL;
    const size_t hot = (size_t)(pages * option("hot"));
    int words = (int)(bytes / 8);
    words = words < 1 ? 1 : words > WORDS ? WORDS : words;
    const double start = now();
    double done = 0, told = start; /* done: writes, and those left out */
    uint64_t written = 0;
    for (uint64_t turn = 0;;) {
        const double time = now(), due = (time - start) * rate;
        if (time - told > 2) {
            printf("OPS %.3f %lu\n", time - start, written);
            fflush(stdout);
            told = time;
        }
        if (due - done > rate * 0.25) /* after a pause it does not catch up */
            done = due - rate * 0.02;
        if (done >= due) {
            nanosleep(&(struct timespec){0, 500000}, NULL);
            continue;
        }
        size_t page;
        if (in_order)
            page = turn++ % pages;
        else if (hot && draw_unit() < hot_chance)
            page = draw() % hot;
        else
            page = hot + draw() % (pages - hot);
        uint64_t *target = page_of(memory, page);
        for (int j = 0; j < words; j++)
            target[j * (WORDS / words)] = draw();
        done++;
        written++;
    }
}

int main(void)
{
    read_command_line();
    size_t pages = (size_t)option("wss") * PAGES_PER_MIB;
    uint8_t *memory = filled(pages);
    filled((size_t)option("fill") * PAGES_PER_MIB);
    printf("READY\n");
    fflush(stdout);
    dirty(memory, pages);
}
