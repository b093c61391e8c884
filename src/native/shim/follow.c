/* Tells the daemon, once for each time that it asks, that a log has grown; all readers of a log share one question. */
#include "shim.h"

void follow_look(struct process *process) {
  struct follow *follow = &process->follow;
  if (!follow->armed) return;
  bool ended = output_ended(process);
  if (process->log.offset <= follow->offset && !ended) return;
  struct shim_packet packet = { .type = PACKET_NOTICE, .tag = follow->tag, .count = process->log.offset, .flags = ended ? FLAG_ENDED : 0 };
  follow->armed = false;
  connection_send(process, &packet, 0, NULL, 0);
}

void follow_ask(struct process *process, uint32_t tag, uint64_t offset) {
  process->follow = (struct follow) { .armed = true, .tag = tag, .offset = offset };
  follow_look(process);
}
