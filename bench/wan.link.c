/*
 * A link between two network namespaces, for `npm run bench -- wan`: a fixed delay each way, a bit
 * rate with a queue that drops at its end, and random loss. Packets come and go through a TUN
 * device in each namespace.
 *
 * wan.link NAMESPACE_A NAMESPACE_B DELAY_US BITS_PER_S LOSS_PER_MILLION QUEUE_US SEED
 *
 * Prints "ready" when both devices exist. SIGUSR1 turns all packets into lost ones, and back.
 * SIGTERM prints what went through as one line of JSON, and ends it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PACKET_MAX 2048
#define HELD_MAX 32768 /* a power of two: 500 Mbit/s for 0.7 s */
#define READS_MAX 32

typedef struct {
  uint64_t leaves_ns;
  uint16_t length;
  uint8_t bytes[PACKET_MAX];
} Packet;

typedef struct {
  int source, target;
  Packet *held;
  uint32_t first, last;
  uint64_t free_ns; /* when the wire has sent all that it was given */
  uint64_t taken, taken_bytes, sent, sent_bytes, lost, dropped;
} Way;

static volatile sig_atomic_t is_dark, is_over;

static void on_dark(int number) { (void)number; is_dark = !is_dark; }
static void on_over(int number) { (void)number; is_over = 1; }

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64 */
static uint64_t random_state;
static uint64_t next_random(void) {
  uint64_t bits = random_state += 0x9e3779b97f4a7c15u;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
  return bits ^ (bits >> 31);
}

/* The device belongs to the namespace in which it was made, wherever this process goes. */
static int open_device(const char *name_space) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", name_space);
  int place = open(path, O_RDONLY | O_CLOEXEC);
  if (place < 0 || setns(place, CLONE_NEWNET) != 0) fail(path);
  close(place);
  int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0) fail("/dev/net/tun");
  struct ifreq request;
  memset(&request, 0, sizeof request);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  strncpy(request.ifr_name, "link", IFNAMSIZ - 1);
  if (ioctl(device, TUNSETIFF, &request) != 0) fail("TUNSETIFF");
  return device;
}

typedef struct { uint64_t delay_ns, queue_ns, bits_per_s, loss_per_million; } Link;

static void take(Way *way, const Link *link) {
  for (int count = 0; count < READS_MAX; count++) {
    Packet *packet = &way->held[way->last % HELD_MAX];
    ssize_t length = read(way->source, packet->bytes, PACKET_MAX);
    if (length <= 0) return;
    way->taken++;
    way->taken_bytes += (uint64_t)length;
    if (is_dark || next_random() % 1000000u < link->loss_per_million) {
      way->lost++;
      continue;
    }
    uint64_t now = now_ns();
    if (way->free_ns < now) way->free_ns = now;
    if (way->free_ns - now > link->queue_ns || way->last - way->first == HELD_MAX - 1) {
      way->dropped++;
      continue;
    }
    way->free_ns += (uint64_t)length * 8u * 1000000000u / link->bits_per_s;
    packet->leaves_ns = way->free_ns + link->delay_ns;
    packet->length = (uint16_t)length;
    way->last++;
  }
}

static void give(Way *way, uint64_t now) {
  while (way->first != way->last) {
    Packet *packet = &way->held[way->first % HELD_MAX];
    if (packet->leaves_ns > now) return;
    if (write(way->target, packet->bytes, packet->length) == packet->length) {
      way->sent++;
      way->sent_bytes += packet->length;
    }
    way->first++;
  }
}

int main(int count, char **words) {
  if (count != 8) {
    fprintf(stderr, "wan.link: seven arguments are wanted\n");
    return 2;
  }
  Link link = {
    .delay_ns = strtoull(words[3], NULL, 10) * 1000u,
    .bits_per_s = strtoull(words[4], NULL, 10),
    .loss_per_million = strtoull(words[5], NULL, 10),
    .queue_ns = strtoull(words[6], NULL, 10) * 1000u,
  };
  random_state = strtoull(words[7], NULL, 10);
  int devices[2] = { open_device(words[1]), open_device(words[2]) };
  Way ways[2];
  memset(ways, 0, sizeof ways);
  for (int at = 0; at < 2; at++) {
    ways[at].source = devices[at];
    ways[at].target = devices[1 - at];
    ways[at].held = malloc(sizeof(Packet) * HELD_MAX);
    if (ways[at].held == NULL) fail("malloc");
  }
  signal(SIGUSR1, on_dark);
  signal(SIGTERM, on_over);
  /* What shares the processors with it must not make the link late. */
  struct sched_param urgent = { .sched_priority = 5 };
  sched_setscheduler(0, SCHED_RR, &urgent);
  puts("ready");
  fflush(stdout);
  while (!is_over) {
    uint64_t now = now_ns(), next = UINT64_MAX;
    for (int at = 0; at < 2; at++) {
      give(&ways[at], now);
      Way *way = &ways[at];
      if (way->first != way->last && way->held[way->first % HELD_MAX].leaves_ns < next) {
        next = way->held[way->first % HELD_MAX].leaves_ns;
      }
    }
    struct timespec wait = { 1, 0 };
    now = now_ns();
    uint64_t wait_ns = next > now ? next - now : 0;
    if (wait_ns < 1000000000u) wait = (struct timespec){ 0, (long)wait_ns };
    struct pollfd polled[2] = { { devices[0], POLLIN, 0 }, { devices[1], POLLIN, 0 } };
    if (ppoll(polled, 2, &wait, NULL) < 0 && errno != EINTR) fail("ppoll");
    for (int at = 0; at < 2; at++) if (polled[at].revents & POLLIN) take(&ways[at], &link);
  }
  printf("{");
  for (int at = 0; at < 2; at++) {
    printf("%s\"%s\":{\"taken\":%lu,\"takenBytes\":%lu,\"sent\":%lu,\"sentBytes\":%lu,"
           "\"lost\":%lu,\"dropped\":%lu}",
           at ? "," : "", at ? "back" : "forth", ways[at].taken, ways[at].taken_bytes,
           ways[at].sent, ways[at].sent_bytes, ways[at].lost, ways[at].dropped);
  }
  puts("}");
  return 0;
}
