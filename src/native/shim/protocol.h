/* The packets between daemon and shim: SOCK_SEQPACKET, one of these structs each, in host byte order, and behind it a
 * payload where the type has one. src/runtime/shim-protocol.ts has the same layout. */
#ifndef LONGSHORE_PROTOCOL_H
#define LONGSHORE_PROTOCOL_H

#include <stdint.h>

#define SHIM_PROTOCOL 2

enum {
  SLOTS = 256,           /* 0 is init, the others are for what is executed beside it */
  MOST_PAYLOAD = 16 * 1024,
  MOST_ID = 128
};

enum packet_type {
  /* from the shim */
  PACKET_HELLO = 1,         /* what is known of init; after the connection was taken, and after all PACKET_PROCESS */
  PACKET_RESULT = 2,        /* of an op */
  PACKET_EXIT = 3,          /* of the slot's process; told again to each connection until it is acknowledged */
  PACKET_PROCESS = 4,       /* a slot above 0 that is in use; payload: the process id */
  PACKET_FREE = 5,          /* the slot may be used again: its exit was acknowledged, and its output has ended */
  PACKET_NOTICE = 6,        /* answers follow: `count` is the end of the log, FLAG_ENDED that nothing will come any more */
  PACKET_INPUT_RESULT = 7,  /* answers input: all is written, or `error` */
  /* from the daemon */
  PACKET_OP = 16,           /* payload of OP_EXEC: struct exec_payload and the process id */
  PACKET_ABORT = 17,        /* end the slot's call of the runtime */
  PACKET_ACK = 18,          /* the exit of the slot's process is in the journal */
  PACKET_QUIT = 19,
  PACKET_FOLLOW = 20,       /* tell once when the slot's log is longer than `count`, or has ended; takes the place of an earlier one */
  PACKET_INPUT = 21,        /* payload: bytes for the process */
  PACKET_CLOSE_INPUT = 22,  /* after what is pending */
  PACKET_RESIZE = 23        /* payload: struct window */
};
enum shim_op { OP_NONE = 0, OP_CREATE = 1, OP_START = 2, OP_DELETE = 3, OP_DELETE_FORCE = 4, OP_EXEC = 5 };
enum shim_state { STATE_CREATING = 1, STATE_CREATED = 2, STATE_RUNNING = 3, STATE_EXITED = 4, STATE_DELETED = 5, STATE_CREATE_FAILED = 6 };
enum shim_flag {
  FLAG_OUTPUT_COMPLETE = 1,
  FLAG_OOM_KNOWN = 2,
  FLAG_STARTED = 4,
  FLAG_ENDED = 8,      /* notice: the output has ended for good; result: the process that was made has ended, its pid is nobody's, its exit follows */
  FLAG_TERMINAL = 16,  /* exec: with a terminal */
  FLAG_NO_INPUT = 32   /* exec: standard input is /dev/null */
};

struct shim_packet {
  uint16_t type;
  uint16_t version;
  uint32_t tag;        /* of an op, follow or input, given back in its answer; 0 for create */
  int32_t op;
  int32_t pid;         /* of the slot's process, 0 while there is none */
  int32_t wait_status; /* as wait(2) gives it: of the runtime (result), of the process (exit, hello, process) */
  int32_t error;       /* errno when the shim could not do what was asked */
  uint32_t state;      /* of the slot */
  uint32_t flags;
  uint64_t count;      /* OOM kills (exit, hello, process), or an offset in the log (follow, notice) */
  int64_t time_ns;     /* CLOCK_REALTIME of the fact */
  int64_t lost_bytes;  /* of the slot's output that could not be written so far */
  int32_t shim_pid;
  uint16_t slot;
  uint16_t reserved;
};

_Static_assert(sizeof(struct shim_packet) == 64, "the daemon reads packets of 64 bytes");

struct window {
  uint16_t width;
  uint16_t height;
};

struct exec_payload {
  struct window window;
};

#endif
