"""What makes gshare a service of the machine: the files, as they are written, and what is run afterwards."""

import sys
from pathlib import Path
from typing import NamedTuple

from gshare.controller.identity import ADMINISTRATORS
from gshare.controller.paths import MACHINE_DIRECTORY, MACHINE_STATE, MACHINE_WIDE

SERVICE = "gshare.service"
USERS = "gshare"
"""The group of those who may run programs, where not everybody may."""

CONFIGURATION = "etc/gshare/gshare.toml"

WATCHDOG_S = 30
"""Ticks come every second; who misses so many is stuck, and started anew: tenants do not notice."""


class Wanted(NamedTuple):
    """A file to be written."""

    path: str
    """Below the root."""
    content: str
    keep: bool = False
    """Where there is one already, that one stays."""


def files() -> list[Wanted]:
    """Everything that `gshare controller install` writes."""
    return [
        Wanted(f"etc/systemd/system/{SERVICE}", service(sys.executable)),
        Wanted(CONFIGURATION, CONFIGURED, keep=True),
        Wanted("etc/sysusers.d/gshare.conf", SYSUSERS),
        Wanted("etc/tmpfiles.d/gshare.conf", TMPFILES),
    ]


def commands(root: Path) -> list[list[str]]:
    """What is to be run after the files are there; nothing for another root than the running system's."""
    if root != Path("/"):
        return []
    if not Path("/run/systemd/system").is_dir():
        return [["groupadd", "--system", "--force", group] for group in (USERS, ADMINISTRATORS)]
    return [
        ["systemd-sysusers", "gshare.conf"],
        ["systemd-tmpfiles", "--create", "gshare.conf"],
        ["systemctl", "daemon-reload"],
    ]


def service(python: str) -> str:
    """The unit.

    The keeper is not stopped with the controller: it holds the memory of tenants that go on running.  Nor
    does systemd ever give up: without a controller no run would be let in until somebody came to look.  The
    capabilities are for what /proc tells of other users' processes, and to end one where that is configured.
    """
    return f"""# Written by `gshare controller install`; changes belong into {SERVICE}.d/*.conf.
[Unit]
Description=gshare: GPUs shared under limits that hold
Documentation=man:gshare(1)
After=nvidia-persistenced.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={python} -m gshare.controller --machine-wide
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=500ms
WatchdogSec={WATCHDOG_S}
TimeoutStopSec=15
KillMode=process
RuntimeDirectory={Path(MACHINE_DIRECTORY).name}
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
StateDirectory={MACHINE_STATE.name}
StateDirectoryMode=0700
ConfigurationDirectory=gshare
Environment=HOME={MACHINE_STATE}
UMask=0077
LimitNOFILE=65536
OOMScoreAdjust=-500

CapabilityBoundingSet=CAP_SYS_PTRACE CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_KILL
CapabilityBoundingSet=CAP_SYS_RESOURCE CAP_SYS_ADMIN
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""


SYSUSERS = f"""# Who may run programs on the GPUs, where not everybody may; who may see and change everything.
g {USERS} - -
g {ADMINISTRATORS} - -
"""

TMPFILES = f"""# The file says to every `gshare run` that this machine has a controller for all.
d {MACHINE_DIRECTORY} 0755 root root -
f {MACHINE_DIRECTORY}/{MACHINE_WIDE} 0600 root root -
"""

CONFIGURED = f"""# gshare on this machine.  `gshare controller check-config` finds mistakes in this file.
# What is saved is in force two seconds later; a faulty file changes nothing.

[administrators]
# Who sees and changes everything, beside root.
groups = ["{ADMINISTRATORS}"]

[controller]
# Who may use it, beside administrators: the members of one group. Without this everybody may.
# group = "{USERS}"

[admission]
# How much of each GPU may be promised: 1.0 is all of it, once.
# memory-overcommit = 1.0
# compute-overcommit = 1.0

# What every run gets that asks for nothing:
# [defaults]
# mem = "8G"
# compute = "25%"

# The most that one user's tenants have together ("*": whoever is not named):
# [users."*"]
# mem = "50%"
# tenants = 8

# A permanent tenant and who may run in it:
# [tenants.team-a]
# mem = "16G"
# compute = "40%"
# members = ["alice", "@students"]
"""
