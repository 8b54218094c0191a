/* share.h -- what processes of one machine have in common: memory and events that one of them made for others too.
 *
 * A share has holders, and one of them is charged with its memory: the maker at first,
 * then, when that lets go or dies, the next.  When nobody holds it its memory is free, yet who still has its file
 * may take hold of it again, until the entry is needed for another.  All of it with the machine's lock held. */
#ifndef SIM_SHARE_H
#define SIM_SHARE_H

#include "machine.h"

/* `what` says file, offset, bytes, device, kind, purpose and the words of the purpose; its bytes are charged to the
 * process already.  The process is its first holder.  0: the machine has no room for more. */
uint32_t sim_share_open(struct sim_machine *, uint32_t process, const struct sim_share *what);

enum sim_share_result { SIM_SHARE_HELD, SIM_SHARE_NO_MEMORY, SIM_SHARE_NO_ROOM };

/* The process holds it, as many times as it said so; charged if nobody was. */
enum sim_share_result sim_share_hold(struct sim_machine *, uint32_t share, uint32_t process);
void sim_share_drop(struct sim_machine *, uint32_t share, uint32_t process);
bool sim_share_held_by_others(const struct sim_machine *, uint32_t share, uint32_t process);
/* The one of that number and purpose that was given that serial, or NULL. */
const struct sim_share *sim_share_find(const struct sim_machine *, uint32_t share, uint64_t serial,
                                       enum sim_share_purpose);
/* Memory was added to it or taken from it, and charged or released, by the process that pays for it. */
void sim_share_resize(struct sim_machine *, uint32_t share, uint64_t bytes);
/* The process ends: drops all that it holds. */
void sim_shares_leave(struct sim_machine *, uint32_t process);

#endif
