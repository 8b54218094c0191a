/* gaps.h -- PTX of a kernel that writes down when it did not run; runs on any GPU from sm_50 on.
 *
 * For `wall` nanoseconds it reads %globaltimer as fast as it can; a step above 10 us means that another process had
 * the GPU.  out[0] is the number of such gaps, out[1 + 2*i] when gap i began, out[2 + 2*i] how long it was. */
#ifndef GAPS_H
#define GAPS_H

#define GAPS                                                                                                 \
    ".version 6.0\n"                                                                                         \
    ".target sm_50\n"                                                                                        \
    ".address_size 64\n"                                                                                     \
    ".visible .entry gaps(.param .u64 out, .param .u64 wall, .param .u32 most)\n"                            \
    "{\n"                                                                                                    \
    " .reg .u64 %out, %next, %wall, %first, %before, %now, %step, %count;\n"                                 \
    " .reg .u32 %most, %n;\n"                                                                                \
    " .reg .pred %gap, %room, %more;\n"                                                                      \
    " ld.param.u64 %out, [out];\n"                                                                           \
    " ld.param.u64 %wall, [wall];\n"                                                                         \
    " ld.param.u32 %most, [most];\n"                                                                         \
    " cvta.to.global.u64 %out, %out;\n"                                                                      \
    " add.u64 %next, %out, 8;\n"                                                                             \
    " mov.u32 %n, 0;\n"                                                                                      \
    " mov.u64 %first, %globaltimer;\n"                                                                       \
    " mov.u64 %before, %first;\n"                                                                            \
    "LOOP:\n"                                                                                                \
    " mov.u64 %now, %globaltimer;\n"                                                                         \
    " sub.u64 %step, %now, %before;\n"                                                                       \
    " setp.gt.u64 %gap, %step, 10000;\n"                                                                     \
    " setp.lt.and.u32 %room, %n, %most, %gap;\n"                                                             \
    " @!%room bra ON;\n"                                                                                     \
    " st.global.u64 [%next], %before;\n"                                                                     \
    " st.global.u64 [%next+8], %step;\n"                                                                     \
    " add.u64 %next, %next, 16;\n"                                                                           \
    " add.u32 %n, %n, 1;\n"                                                                                  \
    "ON:\n"                                                                                                  \
    " mov.u64 %before, %now;\n"                                                                              \
    " sub.u64 %step, %now, %first;\n"                                                                        \
    " setp.lt.u64 %more, %step, %wall;\n"                                                                    \
    " @%more bra LOOP;\n"                                                                                    \
    " cvt.u64.u32 %count, %n;\n"                                                                             \
    " st.global.u64 [%out], %count;\n"                                                                       \
    " ret;\n"                                                                                                \
    "}\n"

#endif
