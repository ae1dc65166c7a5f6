/* A stand-in for NVIDIA's libnvidia-ml.so.1, for tests on machines without a card.
 *
 *   gcc -shared -fPIC -O1 -Wall -Wextra -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 fakenvml.c -lpthread
 *
 * The cards are files in the directory $FAKE_NVML_DIR (read at nvmlInit), looked at again in every call. Writers
 * replace files atomically. Sizes are bytes. tests/nvml/standin.py writes them; every key but those marked * may
 * be left out.
 *
 * cards.json:
 *   driver, cuda_version
 *   cards:   [{uuid*, name, total*, reserved, used, bus, cc: [8, 6], cores, temperature, power_mw, power_limit_mw, utilization, mig}]
 *   answers: [{call*, code*, card}]    that call answers that NVML code; call "*" is every call about a card;
 *                                      13 (function not found) is what the binding also says of a missing symbol
 *   hangs:   [{call*, card}]           that call does not return while the entry is here (60 s at most)
 *   events:  [{seq*, card*, type*, code}]  each is delivered once to every event set that was made before it
 *   grabs:   [{card*, after*, size*, pid*}]  from the (after + 1)th reading of the card's memory since this file was
 *                                      written, counted per process that reads, pid holds size bytes
 * procs/ANY.json, one per process and card:
 *   pid*, card*, used*                 used counts against the card while the process lives (a zombie does not)
 *   graphics                           true: in the list of graphics processes; "both": in both lists
 *   told                               what the driver says of its bytes instead of used; null: not available
 *   listed                             false: the driver lists its pid nowhere, as in some containers
 *   ghost                              true: counts as alive though there is no such pid here
 *   linger                             readings of memory for which it stays after the process; -1: for ever
 *   listed_after                       true: its pid is listed as long as its memory lingers
 *
 * watched-N is made here when events of card N are first asked for.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;

enum {
    OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, TIMEOUT = 10, VERSION_MISMATCH = 25
};
enum { MAX_CARDS = 16, MAX_PROCESSES = 256, MAX_RULES = 64, MAX_NODES = 8192, MAX_FILE = 262144 };
static const u64 NOT_AVAILABLE = ~0ULL;
static const u32 NO_INSTANCE = 0xffffffffu;
#define API __attribute__((visibility("default")))

/* ---- JSON: a file becomes an array of nodes -------------------------------------------------------------- */

typedef struct Node {
    char kind;               /* '{' '[' '"' or 'v' for numbers and words */
    const char *key, *text;  /* terminated inside the file's buffer */
    int child, next;         /* indexes of nodes, 0: none */
} Node;

static char buffer[MAX_FILE];
static Node nodes[MAX_NODES];
static int node_count;

static char *skip_blanks(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    return s;
}

/* Reads the string whose opening quote is at s; returns what follows it, NULL where it does not end. */
static char *read_string(char *s, const char **text)
{
    char *out = ++s;
    *text = out;
    for (; *s && *s != '"'; s++) {
        if (*s == '\\' && s[1])
            s++;
        *out++ = *s;
    }
    if (!*s)
        return NULL;
    *out = 0;
    return s + 1;
}

static char *read_value(char *s, int *index);

static char *read_members(char *s, int parent, char close)
{
    int last = 0, index;
    s = skip_blanks(s + 1);
    while (*s != close) {
        const char *key = "";
        if (close == '}') {
            if (*s != '"' || !(s = read_string(s, &key)))
                return NULL;
            s = skip_blanks(s);
            if (*s++ != ':')
                return NULL;
        }
        s = read_value(s, &index);
        if (!s)
            return NULL;
        nodes[index].key = key;
        if (last)
            nodes[last].next = index;
        else
            nodes[parent].child = index;
        last = index;
        s = skip_blanks(s);
        if (*s == ',')
            s = skip_blanks(s + 1);
        else if (*s != close)
            return NULL;
    }
    return s + 1;
}

static char *read_value(char *s, int *index)
{
    if (node_count >= MAX_NODES)
        return NULL;
    Node *node = &nodes[*index = node_count++];
    memset(node, 0, sizeof *node);
    s = skip_blanks(s);
    if (*s == '{' || *s == '[') {
        node->kind = *s;
        return read_members(s, *index, *s == '{' ? '}' : ']');
    }
    if (*s == '"') {
        node->kind = '"';
        return read_string(s, &node->text);
    }
    node->kind = 'v';
    node->text = s;
    while (*s && !strchr(",]} \t\r\n", *s))
        s++;
    return s > node->text ? s : NULL;
}

/* The file's root node, 0 where it cannot be read. Node 0 is "absent". */
static int read_json(const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    size_t size = fread(buffer, 1, sizeof buffer - 1, file);
    fclose(file);
    buffer[size] = 0;
    memset(&nodes[0], 0, sizeof nodes[0]);
    node_count = 1;
    int root = 0;
    return read_value(buffer, &root) ? root : 0;
}

static int get(int object, const char *key)
{
    for (int i = nodes[object].child; i; i = nodes[i].next)
        if (!strcmp(nodes[i].key, key))
            return i;
    return 0;
}

static int is_word(int node, const char *word)
{
    return nodes[node].kind == 'v' && !strncmp(nodes[node].text, word, strlen(word));
}

static long long number(int node, long long otherwise)
{
    return nodes[node].kind == 'v' && !is_word(node, "null") ? (long long)strtoull(nodes[node].text, NULL, 10)
         : otherwise;
}

static const char *text(int node, const char *otherwise)
{
    return nodes[node].kind == '"' ? nodes[node].text : otherwise;
}

/* ---- what the files say ------------------------------------------------------------------------------------ */

typedef struct Card {
    char uuid[96], name[96];
    u64 total, reserved, used;
    u32 bus, major, minor, cores, temperature, power, power_limit, utilization, mig;
} Card;
typedef struct Rule { char call[64]; int card, code; } Rule;  /* card -1: any */
typedef struct Event { u64 seq, type, code; int card; } Event;
typedef struct Grab { int card, after; u32 pid; u64 size; } Grab;
typedef struct Process { u32 pid; int card, compute, graphics, listed; u64 used, told; } Process;
typedef struct Lingering { char file[256]; int readings; } Lingering;
typedef struct Handle { int index; } Handle;
typedef struct EventSet { u64 seen; int registered[MAX_CARDS]; } EventSet;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char directory[512] = "/nonexistent", driver[80];
static int cuda_version, initialised;
static Card cards[MAX_CARDS];
static Rule answers[MAX_RULES], hangs[MAX_RULES];
static Event events[MAX_RULES];
static Grab grabs[MAX_RULES];
static Process processes[MAX_PROCESSES];
static Lingering lingering[MAX_PROCESSES];
static int card_count, answer_count, hang_count, event_count, grab_count, process_count, lingering_count;
static int readings[MAX_CARDS];  /* of memory since cards.json was written */
static Handle handles[MAX_CARDS];

static void copy(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from); }

static void read_card(int node)
{
    Card *card = &cards[card_count];
    int cc = nodes[get(node, "cc")].child;
    copy(card->uuid, sizeof card->uuid, text(get(node, "uuid"), ""));
    copy(card->name, sizeof card->name, text(get(node, "name"), "NVIDIA Stand-in"));
    card->total = (u64)number(get(node, "total"), 0);
    card->reserved = (u64)number(get(node, "reserved"), 0);
    card->used = (u64)number(get(node, "used"), 0);
    card->bus = (u32)number(get(node, "bus"), card_count + 1);
    card->major = (u32)number(cc, 8);
    card->minor = (u32)number(nodes[cc].next, 6);
    card->cores = (u32)number(get(node, "cores"), 10496);
    card->temperature = (u32)number(get(node, "temperature"), 40);
    card->power = (u32)number(get(node, "power_mw"), 25000);
    card->power_limit = (u32)number(get(node, "power_limit_mw"), 350000);
    card->utilization = (u32)number(get(node, "utilization"), 0);
    card->mig = (u32)number(get(node, "mig"), 0);
    handles[card_count].index = card_count;
    card_count++;
}

static int read_rules(int list, Rule *rules)
{
    int count = 0;
    for (int i = nodes[list].child; i && count < MAX_RULES; i = nodes[i].next, count++) {
        copy(rules[count].call, sizeof rules[count].call, text(get(i, "call"), ""));
        rules[count].card = (int)number(get(i, "card"), -1);
        rules[count].code = (int)number(get(i, "code"), 0);
    }
    return count;
}

static void read_cards_file(int root)
{
    copy(driver, sizeof driver, text(get(root, "driver"), "550.163.01"));
    cuda_version = (int)number(get(root, "cuda_version"), 12040);
    card_count = event_count = grab_count = 0;
    for (int i = nodes[get(root, "cards")].child; i && card_count < MAX_CARDS; i = nodes[i].next)
        read_card(i);
    answer_count = read_rules(get(root, "answers"), answers);
    hang_count = read_rules(get(root, "hangs"), hangs);
    for (int i = nodes[get(root, "events")].child; i && event_count < MAX_RULES; i = nodes[i].next)
        events[event_count++] = (Event){ (u64)number(get(i, "seq"), 0), (u64)number(get(i, "type"), 0),
                                         (u64)number(get(i, "code"), 0), (int)number(get(i, "card"), 0) };
    for (int i = nodes[get(root, "grabs")].child; i && grab_count < MAX_RULES; i = nodes[i].next)
        grabs[grab_count++] = (Grab){ (int)number(get(i, "card"), 0), (int)number(get(i, "after"), 0),
                                      (u32)number(get(i, "pid"), 0), (u64)number(get(i, "size"), 0) };
    memset(readings, 0, sizeof readings);
}

/* A leader that is a zombie while its threads live still holds its memory. */
static int alive(u32 pid)
{
    char path[64], line[1024], state = 'X';
    int threads = 0;
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    if (fgets(line, sizeof line, file)) {
        char *rest = strrchr(line, ')');
        if (rest)
            sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d", &state, &threads);
    }
    fclose(file);
    return (state != 'Z' && state != 'X') || threads > 1;
}

static int *lingered(const char *name)
{
    for (int i = 0; i < lingering_count; i++)
        if (!strcmp(lingering[i].file, name))
            return &lingering[i].readings;
    if (lingering_count == MAX_PROCESSES)
        lingering_count = 0;
    copy(lingering[lingering_count].file, sizeof lingering[0].file, name);
    lingering[lingering_count].readings = 0;
    return &lingering[lingering_count++].readings;
}

/* `memory_of`: the card whose memory is being read, or -1; only such readings use up a linger. */
static void read_process(const char *name, int root, int memory_of)
{
    Process process = { 0 };
    process.pid = (u32)number(get(root, "pid"), 0);
    process.card = (int)number(get(root, "card"), 0);
    process.used = process.told = (u64)number(get(root, "used"), 0);
    int told = get(root, "told"), graphics = get(root, "graphics"), linger = (int)number(get(root, "linger"), 0);
    if (told)
        process.told = is_word(told, "null") ? NOT_AVAILABLE : (u64)number(told, 0);
    process.graphics = is_word(graphics, "true") || nodes[graphics].kind == '"';
    process.compute = !process.graphics || nodes[graphics].kind == '"';
    process.listed = !is_word(get(root, "listed"), "false");
    if (!process.pid || process_count == MAX_PROCESSES)
        return;
    if (!is_word(get(root, "ghost"), "true") && !alive(process.pid)) {
        int *done = linger > 0 ? lingered(name) : NULL;
        if (!linger || (done && *done >= linger))
            return;
        if (done && memory_of == process.card)
            ++*done;
        process.listed = is_word(get(root, "listed_after"), "true");
    }
    processes[process_count++] = process;
}

static void read_processes(int memory_of)
{
    char folder[600], path[900];
    process_count = 0;
    snprintf(folder, sizeof folder, "%s/procs", directory);
    DIR *listing = opendir(folder);
    if (listing) {
        for (struct dirent *entry; (entry = readdir(listing));) {
            size_t length = strlen(entry->d_name);
            if (entry->d_name[0] == '.' || length < 6 || strcmp(entry->d_name + length - 5, ".json"))
                continue;
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            int root = read_json(path);
            if (root)
                read_process(entry->d_name, root, memory_of);
        }
        closedir(listing);
    }
    for (int i = 0; i < grab_count; i++)
        if (readings[grabs[i].card] > grabs[i].after && process_count < MAX_PROCESSES)
            processes[process_count++] =
                (Process){ grabs[i].pid, grabs[i].card, 1, 0, 1, grabs[i].size, grabs[i].size };
}

static int look(void)  /* lock held */
{
    static struct stat last;
    struct stat now;
    char path[600];
    snprintf(path, sizeof path, "%s/cards.json", directory);
    if (stat(path, &now))
        return DRIVER_NOT_LOADED;
    if (now.st_ino != last.st_ino || now.st_dev != last.st_dev || memcmp(&now.st_mtim, &last.st_mtim, sizeof now.st_mtim)) {
        int root = read_json(path);
        if (!root)
            return DRIVER_NOT_LOADED;
        read_cards_file(root);
        last = now;
    }
    return OK;
}

/* ---- entering and leaving a call ----------------------------------------------------------------------------- */

static void nap(long milliseconds)
{
    struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000L };
    nanosleep(&time, NULL);
}

static long long now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

static const Rule *match(const Rule *rules, int count, const char *call, int card)
{
    for (int i = 0; i < count; i++)
        if ((rules[i].card < 0 || rules[i].card == card) &&
            (!strcmp(rules[i].call, call) || (card >= 0 && !strcmp(rules[i].call, "*"))))
            return &rules[i];
    return NULL;
}

/* Takes the lock and keeps it where it answers OK. `card` -1: a call about the system. */
static int enter(const char *call, int card)
{
    pthread_mutex_lock(&lock);
    int result = look();
    for (long long end = now_ms() + 60000; !result && match(hangs, hang_count, call, card) && now_ms() < end;) {
        pthread_mutex_unlock(&lock);
        nap(2);
        pthread_mutex_lock(&lock);
        result = look();
    }
    const Rule *answer = match(answers, answer_count, call, card);
    if (!result && answer)
        result = answer->code;
    if (!result && !initialised)
        result = UNINITIALIZED;
    if (!result && card >= card_count)
        result = INVALID_ARGUMENT;
    if (result)
        pthread_mutex_unlock(&lock);
    return result;
}

static int leave(int result)
{
    pthread_mutex_unlock(&lock);
    return result;
}

static int index_of(const Handle *handle)
{
    return handle >= handles && handle < handles + MAX_CARDS ? handle->index : MAX_CARDS;
}

#define ENTER(card) do { int entered = enter(__func__, card); if (entered) return entered; } while (0)
#define ENTER_CARD ENTER(index_of(handle)); Card *card = &cards[index_of(handle)]; (void)card

static int put_text(char *out, u32 size, const char *value)
{
    if (strlen(value) >= size)
        return leave(INSUFFICIENT_SIZE);
    strcpy(out, value);
    return leave(OK);
}

/* ---- the library's calls: system ------------------------------------------------------------------------------- */

API int nvmlInitWithFlags(u32 flags)
{
    (void)flags;
    pthread_mutex_lock(&lock);
    const char *from = getenv("FAKE_NVML_DIR");
    copy(directory, sizeof directory, from ? from : "/nonexistent");
    int before = initialised;
    initialised = 1;
    pthread_mutex_unlock(&lock);
    int result = enter("nvmlInit", -1);
    if (result) {
        initialised = before;
        return result;
    }
    initialised = before + 1;
    return leave(OK);
}
API int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
API int nvmlInit(void) { return nvmlInitWithFlags(0); }

API int nvmlShutdown(void)
{
    pthread_mutex_lock(&lock);
    if (!initialised)
        return leave(UNINITIALIZED);
    initialised--;
    return leave(OK);
}

API const char *nvmlErrorString(int code)
{
    static const struct { int code; const char *words; } table[] = {
        { 0, "Success" }, { 1, "Uninitialized" }, { 2, "Invalid Argument" }, { 3, "Not Supported" },
        { 4, "Insufficient Permissions" }, { 6, "Not Found" }, { 7, "Insufficient Size" },
        { 9, "Driver Not Loaded" }, { 10, "Timeout" }, { 12, "NVML Shared Library Not Found" },
        { 13, "Function Not Found" }, { 15, "GPU is lost" }, { 16, "GPU requires reset" },
        { 18, "Driver/library version mismatch" }, { 25, "Argument version mismatch" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].code == code)
            return table[i].words;
    return "Unknown Error";
}

API int nvmlSystemGetDriverVersion(char *out, u32 size) { ENTER(-1); return put_text(out, size, driver); }
API int nvmlSystemGetNVMLVersion(char *out, u32 size) { ENTER(-1); return put_text(out, size, "12.550.163.01"); }
API int nvmlSystemGetCudaDriverVersion_v2(int *out) { ENTER(-1); *out = cuda_version; return leave(OK); }
API int nvmlSystemGetCudaDriverVersion(int *out) { return nvmlSystemGetCudaDriverVersion_v2(out); }
API int nvmlDeviceGetCount_v2(u32 *out) { ENTER(-1); *out = (u32)card_count; return leave(OK); }

API int nvmlDeviceGetHandleByIndex_v2(u32 index, Handle **out)
{
    ENTER(index < MAX_CARDS ? (int)index : MAX_CARDS);
    *out = &handles[index];
    return leave(OK);
}

API int nvmlDeviceGetHandleByUUID(const char *uuid, Handle **out)
{
    ENTER(-1);
    for (int i = 0; i < card_count; i++)
        if (!strcmp(cards[i].uuid, uuid)) {
            *out = &handles[i];
            return leave(OK);
        }
    return leave(NOT_FOUND);
}

/* ---- the library's calls: a card --------------------------------------------------------------------------------- */

typedef struct Pci { char legacy[16]; u32 domain, bus, device, device_id, subsystem_id; char id[32]; } Pci;
typedef struct Memory { u64 total, free, used; } Memory;
typedef struct MemoryV2 { u32 version; u64 total, reserved, free, used; } MemoryV2;
typedef struct ProcessInfo { u32 pid; u64 used; u32 gpu_instance, compute_instance; } ProcessInfo;
typedef struct Utilization { u32 gpu, memory; } Utilization;

API int nvmlDeviceGetUUID(Handle *handle, char *out, u32 size) { ENTER_CARD; return put_text(out, size, card->uuid); }
API int nvmlDeviceGetName(Handle *handle, char *out, u32 size) { ENTER_CARD; return put_text(out, size, card->name); }
API int nvmlDeviceGetIndex(Handle *handle, u32 *out) { ENTER_CARD; *out = (u32)index_of(handle); return leave(OK); }
API int nvmlDeviceGetTemperature(Handle *handle, int sensor, u32 *out)
{
    (void)sensor;
    ENTER_CARD;
    *out = card->temperature;
    return leave(OK);
}
API int nvmlDeviceGetPowerUsage(Handle *handle, u32 *out) { ENTER_CARD; *out = card->power; return leave(OK); }
API int nvmlDeviceGetEnforcedPowerLimit(Handle *handle, u32 *out)
{
    ENTER_CARD;
    *out = card->power_limit;
    return leave(OK);
}
API int nvmlDeviceGetUtilizationRates(Handle *handle, Utilization *out)
{
    ENTER_CARD;
    *out = (Utilization){ card->utilization, 0 };
    return leave(OK);
}
API int nvmlDeviceGetCudaComputeCapability(Handle *handle, int *major, int *minor)
{
    ENTER_CARD;
    *major = (int)card->major;
    *minor = (int)card->minor;
    return leave(OK);
}
API int nvmlDeviceGetNumGpuCores(Handle *handle, u32 *out) { ENTER_CARD; *out = card->cores; return leave(OK); }
API int nvmlDeviceGetMigMode(Handle *handle, u32 *current, u32 *pending)
{
    ENTER_CARD;
    *current = *pending = card->mig;
    return leave(OK);
}
API int nvmlDeviceGetPciInfo_v3(Handle *handle, Pci *out)
{
    ENTER_CARD;
    memset(out, 0, sizeof *out);
    out->bus = card->bus;
    out->device_id = 0x220410de;
    snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", card->bus & 0xff);
    snprintf(out->id, sizeof out->id, "00000000:%02X:00.0", card->bus & 0xff);
    return leave(OK);
}

static u64 used_on(int index)
{
    readings[index]++;
    read_processes(index);
    u64 sum = cards[index].used, most = cards[index].total - cards[index].reserved;
    for (int i = 0; i < process_count; i++)
        if (processes[i].card == index)
            sum += processes[i].used;
    return sum > most ? most : sum;
}

/* Version 1 counts the driver's reserve as used, version 2 tells it apart: as the real library does. */
API int nvmlDeviceGetMemoryInfo(Handle *handle, Memory *out)
{
    ENTER_CARD;
    u64 used = used_on(index_of(handle)) + card->reserved;
    *out = (Memory){ card->total, card->total - used, used };
    return leave(OK);
}

#ifndef WITHOUT_MEMORY_V2
API int nvmlDeviceGetMemoryInfo_v2(Handle *handle, MemoryV2 *out)
{
    ENTER_CARD;
    if (out->version != (sizeof *out | 2u << 24))
        return leave(VERSION_MISMATCH);
    u64 used = used_on(index_of(handle));
    out->total = card->total;
    out->reserved = card->reserved;
    out->used = used;
    out->free = card->total - card->reserved - used;
    return leave(OK);
}
#endif

static int list_processes(Handle *handle, u32 *count, ProcessInfo *out, int graphics)
{
    int index = index_of(handle);
    u32 found = 0, room = out ? *count : 0;
    read_processes(-1);
    for (int i = 0; i < process_count; i++) {
        const Process *process = &processes[i];
        if (process->card != index || !process->listed || !(graphics ? process->graphics : process->compute))
            continue;
        if (found < room)
            out[found] = (ProcessInfo){ process->pid, process->told, NO_INSTANCE, NO_INSTANCE };
        found++;
    }
    *count = found;
    return leave(found > room ? INSUFFICIENT_SIZE : OK);
}

API int nvmlDeviceGetComputeRunningProcesses_v3(Handle *handle, u32 *count, ProcessInfo *out)
{
    ENTER_CARD;
    return list_processes(handle, count, out, 0);
}
API int nvmlDeviceGetComputeRunningProcesses_v2(Handle *handle, u32 *count, ProcessInfo *out)
{
    ENTER_CARD;
    return list_processes(handle, count, out, 0);
}
API int nvmlDeviceGetGraphicsRunningProcesses_v3(Handle *handle, u32 *count, ProcessInfo *out)
{
    ENTER_CARD;
    return list_processes(handle, count, out, 1);
}
API int nvmlDeviceGetGraphicsRunningProcesses_v2(Handle *handle, u32 *count, ProcessInfo *out)
{
    ENTER_CARD;
    return list_processes(handle, count, out, 1);
}

/* ---- the library's calls: events ------------------------------------------------------------------------------------ */

typedef struct EventData { Handle *device; u64 type, data; u32 gpu_instance, compute_instance; } EventData;

API int nvmlEventSetCreate(EventSet **out)
{
    ENTER(-1);
    *out = calloc(1, sizeof **out);
    for (int i = 0; i < event_count; i++)
        if (events[i].seq > (*out)->seen)
            (*out)->seen = events[i].seq;
    return leave(OK);
}

API int nvmlEventSetFree(EventSet *set) { free(set); return OK; }
API int nvmlDeviceGetSupportedEventTypes(Handle *handle, u64 *out) { ENTER_CARD; *out = 1 | 2 | 8; return leave(OK); }

API int nvmlDeviceRegisterEvents(Handle *handle, u64 types, EventSet *set)
{
    char path[600];
    ENTER_CARD;
    set->registered[index_of(handle)] = (int)types;
    snprintf(path, sizeof path, "%s/watched-%d", directory, index_of(handle));
    FILE *mark = fopen(path, "we");
    if (mark)
        fclose(mark);
    return leave(OK);
}

/* The next event of a registered card; the files are looked at every 5 ms until the time is up. */
API int nvmlEventSetWait_v2(EventSet *set, EventData *out, u32 timeout_ms)
{
    for (long long end = now_ms() + timeout_ms;;) {
        ENTER(-1);
        for (int i = 0; i < event_count; i++) {
            Event *event = &events[i];
            if (event->seq <= set->seen)
                continue;
            set->seen = event->seq;
            if (event->card < card_count && (u64)set->registered[event->card] & event->type) {
                *out = (EventData){ &handles[event->card], event->type, event->code, NO_INSTANCE, NO_INSTANCE };
                return leave(OK);
            }
        }
        pthread_mutex_unlock(&lock);
        if (now_ms() >= end)
            return TIMEOUT;
        nap(5);
    }
}
