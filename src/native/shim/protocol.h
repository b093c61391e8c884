/* The packets between daemon and shim: SOCK_SEQPACKET, one of these structs each, in host byte order.
 * src/runtime/shim-protocol.ts has the same layout. */
#ifndef LONGSHORE_PROTOCOL_H
#define LONGSHORE_PROTOCOL_H

#include <stdint.h>

#define SHIM_PROTOCOL 1

enum packet_type { PACKET_HELLO = 1, PACKET_RESULT = 2, PACKET_EXIT = 3, PACKET_OP = 16, PACKET_ABORT = 17, PACKET_ACK = 18, PACKET_QUIT = 19 };
enum shim_op { OP_NONE = 0, OP_CREATE = 1, OP_START = 2, OP_DELETE = 3, OP_DELETE_FORCE = 4 };
enum shim_state { STATE_CREATING = 1, STATE_CREATED = 2, STATE_RUNNING = 3, STATE_EXITED = 4, STATE_DELETED = 5, STATE_CREATE_FAILED = 6 };
enum shim_flag { FLAG_OUTPUT_COMPLETE = 1, FLAG_OOM_KNOWN = 2, FLAG_STARTED = 4 };

struct shim_packet {
  uint16_t type;
  uint16_t version;
  uint32_t tag;        /* of an op, given back in its result; 0 for create */
  int32_t op;
  int32_t pid;         /* init's, 0 while there is none */
  int32_t wait_status; /* as wait(2) gives it: of the runtime (result), of init (exit, hello) */
  int32_t error;       /* errno when the shim could not run the runtime */
  uint32_t state;
  uint32_t flags;
  uint64_t oom_kills;
  int64_t time_ns;     /* CLOCK_REALTIME of the fact */
  int64_t lost_bytes;  /* of output that could not be written so far */
  int32_t shim_pid;
  int32_t reserved;
};

_Static_assert(sizeof(struct shim_packet) == 64, "the daemon reads packets of 64 bytes");

#endif
