/* A link between two network namespaces: each direction a drop-tail queue, a rate, a delay, a loss.
 *
 *   relay NS_A NS_B rate=BIT_PER_S delay=SECONDS_ONE_WAY queue=BYTES loss=CHANCE seed=N
 *
 * NS_A and NS_B are paths of network namespaces; in each a TUN device "link0" appears. Prints
 * "ready" when both are there, and on SIGTERM one line of counters per direction. For kernels
 * without netem. The devices take TCP segments of up to 64 KiB from the kernel (TSO), which is what
 * makes 1 Gbit/s possible on one core: the relay splits them to at most 8 packets, so that queue and
 * rate act nearly as on single packets, and draws the loss of each packet on its own.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef struct virtio_net_hdr header; /* what the kernel puts before each packet */

enum {
    LARGEST = 70000,   /* a header and 64 KiB */
    BURST = 8,         /* packets that stay together */
    FRAMING = 38,      /* Ethernet: header 14, preamble 8, checksum 4, gap 12 */
    RING = 256 << 20,  /* room for what is queued and under way in one direction */
};

static double rate = 1e9, loss, delay;
static u64 queue_limit, seed = 1;
static volatile sig_atomic_t stop;

struct record { /* a packet in the ring; length 0 sends the reader back to the ring's start */
    u64 due;
    u32 length, unused;
};

struct direction {
    int in, out;
    u8 *ring;
    u64 head, tail;  /* written and delivered, in bytes since the start */
    u64 free_at;     /* when the serialiser has sent all it holds */
    u64 random;
    u64 packets, queue_drops, lost;
};

static u64 now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int is_lost(struct direction *d)
{
    if (loss <= 0)
        return 0;
    u64 x = d->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    d->random = x;
    if ((x >> 11) * 0x1.0p-53 >= loss)
        return 0;
    d->lost++;
    return 1;
}

static u32 padded(u32 length) { return (sizeof(struct record) + length + 63) & ~63u; }

static int ring_push(struct direction *d, const u8 *packet, u32 length, u64 due)
{
    u32 need = padded(length);
    u64 at = d->head % RING;
    u64 skip = at + need > RING ? RING - at : 0;
    if (d->head + skip + need - d->tail > RING)
        return 0;
    if (skip) {
        ((struct record *)(d->ring + at))->length = 0;
        d->head += skip;
        at = 0;
    }
    struct record *record = (struct record *)(d->ring + at);
    *record = (struct record){.due = due, .length = length};
    memcpy(record + 1, packet, length);
    d->head += need;
    return 1;
}

static struct record *ring_first(struct direction *d)
{
    while (d->tail < d->head) {
        u64 at = d->tail % RING;
        struct record *record = (struct record *)(d->ring + at);
        if (record->length)
            return record;
        d->tail += RING - at;
    }
    return NULL;
}

/* Queues `count` packets that lie in one buffer with one set of headers. */
static void enqueue(struct direction *d, const u8 *buffer, u32 length, u64 now, u32 count,
                    u32 header_bytes)
{
    u64 wire = length - sizeof(header) + (u64)(count - 1) * header_bytes + (u64)count * FRAMING;
    u64 start = d->free_at > now ? d->free_at : now;
    double backlog = (start - now) * rate / 8e9;
    u64 free_at = start + (u64)(wire * 8e9 / rate);
    if ((queue_limit && backlog + wire > queue_limit)
        || !ring_push(d, buffer, length, free_at + (u64)(delay * 1e9))) {
        d->queue_drops += count;
        return;
    }
    d->free_at = free_at;
    d->packets += count;
}

static u32 sum16(u32 sum, const u8 *bytes, u32 length)
{
    for (u32 i = 0; i < length; i += 2)
        sum += bytes[i] << 8 | bytes[i + 1];
    return sum;
}

static u32 folded(u32 sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static void put16(u8 *at, u32 value)
{
    at[0] = value >> 8;
    at[1] = value;
}

/* Queues packets `first` to `last` - 1 of a large segment, as one smaller segment. */
static void enqueue_part(struct direction *d, const u8 *buffer, u32 length, u32 ip_bytes,
                         u32 header_bytes, u32 first, u32 last, u32 count, u64 now)
{
    static __thread u8 part[LARGEST];
    const u8 *from = buffer + sizeof(header);
    header head;
    memcpy(&head, buffer, sizeof head);
    u32 mss = head.gso_size, payload = length - sizeof(header) - header_bytes;
    u32 offset = first * mss, end = last == count ? payload : last * mss;
    u32 total = header_bytes + end - offset;
    u8 *ip = part + sizeof(header), *tcp = ip + ip_bytes;
    memcpy(ip, from, header_bytes);
    memcpy(ip + header_bytes, from + header_bytes + offset, end - offset);
    put16(ip + 2, total);
    put16(ip + 4, (ip[4] << 8 | ip[5]) + first); /* identification */
    put16(ip + 10, 0);
    put16(ip + 10, ~folded(sum16(0, ip, ip_bytes)));
    u32 sequence;
    memcpy(&sequence, tcp + 4, 4);
    sequence = htonl(ntohl(sequence) + offset);
    memcpy(tcp + 4, &sequence, 4);
    if (last != count)
        tcp[13] &= ~0x09; /* FIN and PSH on the last packet only */
    if (first != 0)
        tcp[13] &= ~0x80; /* CWR on the first only */
    /* The checksum over the pseudo header; the receiving kernel takes the rest as done. */
    put16(tcp + 16, folded(sum16(6 + total - ip_bytes, ip + 12, 8)));
    head.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    head.csum_start = ip_bytes;
    head.csum_offset = 16;
    head.hdr_len = header_bytes;
    head.gso_type = last - first > 1 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE;
    head.gso_size = last - first > 1 ? mss : 0;
    memcpy(part, &head, sizeof head);
    enqueue(d, part, sizeof head + total, now, last - first, header_bytes);
}

static void take(struct direction *d, const u8 *buffer, u32 length, u64 now)
{
    header head;
    memcpy(&head, buffer, sizeof head);
    if ((head.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) != VIRTIO_NET_HDR_GSO_TCPV4) {
        if (!is_lost(d))
            enqueue(d, buffer, length, now, 1, 0);
        return;
    }
    const u8 *ip = buffer + sizeof head;
    u32 ip_bytes = (ip[0] & 15) * 4, header_bytes = ip_bytes + (ip[ip_bytes + 12] >> 4) * 4;
    u32 payload = length - sizeof head - header_bytes;
    u32 count = (payload + head.gso_size - 1) / head.gso_size, first = 0;
    for (u32 i = 0; i < count; i++) {
        int gone = is_lost(d);
        if (!gone && i - first < BURST)
            continue;
        if (i > first)
            enqueue_part(d, buffer, length, ip_bytes, header_bytes, first, i, count, now);
        first = gone ? i + 1 : i;
    }
    if (first < count)
        enqueue_part(d, buffer, length, ip_bytes, header_bytes, first, count, count, now);
}

static void deliver(struct direction *d)
{
    u64 now = now_ns();
    for (struct record *record; (record = ring_first(d)) != NULL;) {
        if (record->due > now && record->due > (now = now_ns()))
            return;
        if (write(d->out, record + 1, record->length) < 0)
            d->queue_drops++; /* the device is down: the run is over */
        d->tail += padded(record->length);
    }
}

static void *carry(void *argument)
{
    struct direction *d = argument;
    static __thread u8 buffer[LARGEST];
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    /* Before other processes, or the delay would be that of the scheduler; fails without root. */
    pthread_setschedparam(pthread_self(), SCHED_FIFO, &(struct sched_param){.sched_priority = 10});
    while (!stop) {
        deliver(d);
        int taken = 0;
        for (ssize_t got; taken < 32 && (got = read(d->in, buffer, sizeof buffer)) > 0; taken++)
            take(d, buffer, got, now_ns());
        if (taken)
            continue;
        u64 now = now_ns(), wait = 50000000;
        struct record *next = ring_first(d);
        if (next && next->due <= now)
            continue;
        if (next && next->due - now < wait)
            wait = next->due - now;
        struct pollfd readable = {d->in, POLLIN, 0};
        ppoll(&readable, 1, &(struct timespec){0, wait}, NULL);
    }
    return NULL;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int open_device(const char *namespace)
{
    int own = open("/proc/self/ns/net", O_RDONLY), other = open(namespace, O_RDONLY);
    if (own < 0 || other < 0 || setns(other, CLONE_NEWNET))
        fail(namespace);
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    strcpy(request.ifr_name, "link0");
    int size = sizeof(header);
    if (device < 0 || ioctl(device, TUNSETIFF, &request)
        || ioctl(device, TUNSETVNETHDRSZ, &size)
        || ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4))
        fail("/dev/net/tun");
    if (setns(own, CLONE_NEWNET))
        fail("setns");
    close(own);
    close(other);
    return device;
}

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

int main(int count, char **arguments)
{
    if (count < 3) {
        fprintf(stderr, "usage: relay NS_A NS_B rate= delay= queue= loss= seed=\n");
        return 2;
    }
    for (int i = 3; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (!value) {
            fprintf(stderr, "%s: expected KEY=NUMBER\n", arguments[i]);
            return 2;
        }
        *value++ = 0;
        double number = atof(value);
        if (!strcmp(arguments[i], "rate")) rate = number;
        else if (!strcmp(arguments[i], "delay")) delay = number;
        else if (!strcmp(arguments[i], "queue")) queue_limit = number;
        else if (!strcmp(arguments[i], "loss")) loss = number;
        else if (!strcmp(arguments[i], "seed")) seed = number;
        else {
            fprintf(stderr, "%s: unknown\n", arguments[i]);
            return 2;
        }
    }
    signal(SIGTERM, on_signal);
    int ends[2] = {open_device(arguments[1]), open_device(arguments[2])};
    struct direction directions[2] = {0};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        struct direction *d = &directions[i];
        d->in = ends[i];
        d->out = ends[1 - i];
        d->random = seed * 2654435761u + 40503u * (i + 1);
        d->ring = malloc(RING);
        if (!d->ring)
            fail("malloc");
        memset(d->ring, 0, 48 << 20); /* no page faults while it matters */
    }
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, carry, &directions[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++)
        fprintf(stderr, "%d: packets=%lu queue_drops=%lu lost=%lu\n", i, directions[i].packets,
                directions[i].queue_drops, directions[i].lost);
}
