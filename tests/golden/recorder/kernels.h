/* kernels.h -- PTX of the kernels that a recording launches; runs on any GPU from sm_50 on. */
#ifndef KERNELS_H
#define KERNELS_H

/* spin: busy for `ns` nanoseconds of its own time (benchmarks/spin.ptx says how).  trap: ends in a fault. */
#define KERNELS                                                                                              \
    ".version 6.0\n.target sm_50\n.address_size 64\n"                                                        \
    ".visible .global .align 4 .b8 variable[4096];\n"                                                        \
    ".visible .const .align 4 .b8 constant[256];\n"                                                          \
    ".visible .entry spin(.param .u64 ns) {\n"                                                               \
    " .reg .u64 %want, %own, %before, %now, %step;\n .reg .pred %more;\n"                                    \
    " ld.param.u64 %want, [ns];\n mov.u64 %own, 0;\n mov.u64 %before, %globaltimer;\n"                       \
    "LOOP:\n mov.u64 %now, %globaltimer;\n sub.u64 %step, %now, %before;\n mov.u64 %before, %now;\n"         \
    " min.u64 %step, %step, 4096;\n add.u64 %own, %own, %step;\n setp.lt.u64 %more, %own, %want;\n"          \
    " @%more bra LOOP;\n ret;\n}\n"                                                                          \
    ".visible .entry many(.param .u64 a, .param .u32 b, .param .u8 c, .param .align 16 .b8 d[32]) { ret; "   \
    "}\n"                                                                                                    \
    ".visible .entry one(.param .u64 a) { ret; }\n"                                                          \
    ".visible .entry none() { ret; }\n"                                                                      \
    ".visible .entry narrow() .maxntid 64, 1, 1 { ret; }\n"                                                  \
    ".visible .entry shares(.param .u64 out) {\n"                                                            \
    " .shared .align 4 .b8 kept[8192];\n .reg .u64 %p;\n .reg .u32 %v;\n"                                    \
    " ld.param.u64 %p, [out];\n mov.u32 %v, 7;\n st.shared.u32 [kept], %v;\n ld.shared.u32 %v, [kept];\n"    \
    " cvta.to.global.u64 %p, %p;\n st.global.u32 [%p], %v;\n ret;\n}\n"                                      \
    ".visible .entry trap() { trap; }\n"

#endif
