"""Reads a configuration from TOML, and says everything that is wrong with it, with line and key."""

import grp
import pwd
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gshare.controller import host, policy
from gshare.controller.config import (
    EVERYBODY,
    WHAT_TO_DO,
    Administrators,
    Admission,
    Audit,
    Ceiling,
    Config,
    Controller,
)
from gshare.controller.errors import GshareError
from gshare.controller.permanent import Permanent
from gshare.controller.protocol import Limits
from gshare.controller.replies import Wrong
from gshare.controller.toml_lines import Lines
from gshare.controller.units import (
    MODES,
    PLACEMENTS,
    PRIORITIES,
    MemoryAsked,
    parse_choice,
    parse_compute,
    parse_memory,
    parse_memory_each,
    parse_rates,
    parse_tenant,
    parse_weight,
)

MOST_BYTES = 1 << 20
MEMBER_OF_GROUP = "@"
"""Before a member's name that is a group's."""

Table = TypeVar("Table", bound=msgspec.Struct)
Keys = tuple[str, ...]
"""Where something is: the names of its tables, and its own."""


Named = list[tuple[Keys, str]]
"""Where somebody is named, and how."""


class LimitsTable(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """Limits as the options of `gshare run` have them."""

    mem: str | None = None
    compute: str | None = None
    weight: int | None = None
    priority: str | None = None
    mode: str | None = None
    host_mem: str | None = None
    pcie: str | None = None


class TenantTable(LimitsTable, forbid_unknown_fields=True, rename="kebab"):
    """A permanent tenant."""

    owner: str | None = None
    members: list[str] = []
    reserve: bool = False


class CeilingTable(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    """What somebody may have together."""

    mem: str | None = None
    compute: str | None = None
    tenants: int | None = None
    priority: str | None = None


def read(path: Path) -> tuple[Config | None, list[Wrong]]:
    """The configuration in a file, None where it cannot be used, and what is wrong with it."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            return None, [Wrong(0, "", f"is longer than {MOST_BYTES} bytes")]
        text = data.decode()
    except OSError as error:
        return None, [Wrong(0, "", f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError as error:
        return None, [Wrong(0, "", f"is not UTF-8: {error.reason} at byte {error.start}")]
    return parse(text)


def parse(text: str) -> tuple[Config | None, list[Wrong]]:
    """The same of a file's content."""
    try:
        content = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        return None, [Wrong(0, "", str(error))]
    except ImportError as error:
        return None, [Wrong(0, "", str(error))]
    reader = _Reader(Lines(text), content)
    config = msgspec.structs.replace(reader.config(), text=text)
    wrong = sorted(reader.wrong)
    return (None if any(one.fatal for one in wrong) else config), wrong


class _Reader:
    """Goes through the tables of one file, and notes what is wrong instead of stopping there."""

    def __init__(self, lines: Lines, content: dict[str, Any]) -> None:
        self.lines = lines
        self.content = content
        self.wrong: list[Wrong] = []

    def config(self) -> Config:
        known = [name for name in Config.__struct_fields__ if name != "text"]
        for name in self.content:
            if name not in known:
                self._tell((name,), f"no such table{_like(name, known)}")
        choices = dict.fromkeys(("unmanaged", "over_quota", "tampering", "over_share"), WHAT_TO_DO)
        audit = self._table(("audit",), Audit, choices)
        if audit.unmanaged == "pause":
            self._tell(("audit", "unmanaged"), "who is not managed cannot be paused: ignore, warn or stop")
        config = Config(
            admission=self._table(("admission",), Admission, {"placement": PLACEMENTS}),
            audit=audit,
            controller=self._table(("controller",), Controller),
            administrators=self._table(("administrators",), Administrators),
            defaults=self._limits(("defaults",), self._table(("defaults",), LimitsTable)),
            users={name: self._ceiling(path) for name, path in self._named("users")},
            groups={name: self._ceiling(path) for name, path in self._named("groups")},
            tenants={name: self._tenant(name, path) for name, path in self._named("tenants")},
        )
        self._check_names(config)
        return config

    def _named(self, kind: str) -> Iterator[tuple[str, Keys]]:
        """The tables `[KIND.NAME]`."""
        tables = self.content.get(kind, {})
        if not isinstance(tables, dict):
            self._tell((kind,), f"is tables, as [{kind}.NAME]")
            return
        for name in tables:
            yield name, (kind, name)

    def _table(
        self,
        path: Keys,
        kind: type[Table],
        choices: Mapping[str, Keys] | None = None,
    ) -> Table:
        """What is right in a table; what is not is told, and as if it were not there."""
        table: Any = self.content
        for name in path:
            table = table.get(name, {})
        if not isinstance(table, dict):
            self._tell(path, f"is a table, as [{'.'.join(path)}]")
            return kind()
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        found = {}
        for key, value in table.items():
            if key not in fields:
                self._tell((*path, key), f"no such key{_like(key, list(fields))}")
                continue
            try:
                found[fields[key].name] = msgspec.convert(value, fields[key].type)
            except msgspec.ValidationError as error:
                self._tell((*path, key), str(error))
        for name, words in (choices or {}).items():
            if name in found:
                self._parsed((*path, name.replace("_", "-")), found[name], _one_of(words))
        return kind(**found)

    def _limits(self, path: Keys, table: LimitsTable) -> Limits:
        each = self._parsed((*path, "mem"), table.mem, parse_memory_each) or MemoryAsked(None, {})
        share = self._parsed((*path, "compute"), table.compute, parse_compute)
        weight = None if table.weight is None else str(table.weight)
        pinned = self._parsed((*path, "host-mem"), table.host_mem, parse_memory)
        limits = Limits(
            memory=each.each,
            memory_on=each.on,
            compute_ppm=share.guarantee_ppm if share else None,
            ceiling_ppm=share.ceiling_ppm if share else None,
            weight=self._parsed((*path, "weight"), weight, parse_weight),
            priority=self._parsed((*path, "priority"), table.priority, _one_of(PRIORITIES)),
            mode=self._parsed((*path, "mode"), table.mode, _one_of(MODES)),
            host_memory_bytes=pinned.on(host.memory_bytes()) if pinned else None,
            copy_bytes_per_s={
                way: rate
                for way, rate in (self._parsed((*path, "pcie"), table.pcie, parse_rates) or {}).items()
                if rate is not None
            },
        )
        for check in (policy.check_weight, lambda limits: policy.check_host(limits, host.memory_bytes())):
            try:
                check(limits)
            except GshareError as error:
                key = error.what.split()[0].lstrip("-")
                self._tell((*path, key), f"{error.why}{f' ({error.hint})' if error.hint else ''}")
        return limits

    def _ceiling(self, path: Keys) -> Ceiling:
        table = self._table(path, CeilingTable)
        if table.tenants is not None and table.tenants < 0:
            self._tell((*path, "tenants"), "a number of tenants is 0 or more")
        share = self._parsed((*path, "compute"), table.compute, parse_compute)
        if share and share.ceiling_ppm:
            self._tell((*path, "compute"), "a ceiling is one percentage, as 50%")
        return Ceiling(
            memory=self._parsed((*path, "mem"), table.mem, parse_memory),
            compute_ppm=share.guarantee_ppm if share else None,
            tenants=table.tenants,
            priority=self._parsed((*path, "priority"), table.priority, _one_of(PRIORITIES)),
        )

    def _tenant(self, name: str, path: Keys) -> Permanent:
        self._parsed(path, name, parse_tenant)
        table = self._table(path, TenantTable)
        limits = self._limits(path, table)
        if limits == Limits():
            self._tell(path, 'has no limit (as mem = "8G" or compute = "30%")')
        owner = None if table.owner is None else uid_of(table.owner)
        if table.owner is not None and owner is None:
            self._tell((*path, "owner"), f"there is no user {table.owner} here")
        return Permanent(limits, owner, tuple(table.members), table.reserve)

    def _check_names(self, config: Config) -> None:
        """Who is named must be somebody: a ceiling of nobody would hold nobody."""
        users: Named = [(("users", name), name) for name in config.users if name != EVERYBODY]
        groups: Named = [(("groups", name), name) for name in config.groups]
        users += [(("administrators", "users"), name) for name in config.administrators.users]
        groups += [(("administrators", "groups"), name) for name in config.administrators.groups]
        groups += [(("controller", "group"), config.controller.group)] if config.controller.group else []
        for tenant, permanent in config.tenants.items():
            for member in permanent.members:
                is_group = member.startswith(MEMBER_OF_GROUP)
                whose = groups if is_group else users
                whose.append((("tenants", tenant, "members"), member.removeprefix(MEMBER_OF_GROUP)))
        for path, name in users:
            if uid_of(name) is None:
                self._tell(path, f"there is no user {name} here", fatal=False)
        for path, name in groups:
            if gid_of(name) is None:
                self._tell(path, f"there is no group {name} here", fatal=False)

    def _parsed(self, path: Keys, text: str | None, parser: Callable[..., Any]) -> Any:
        """What a text stands for, None where there is none, or where that has been told to be wrong."""
        if text is None:
            return None
        try:
            return parser(text, path[-1])
        except GshareError as error:
            said = error.what.removeprefix(path[-1]).strip()
            hint = f" ({error.hint})" if error.hint else ""
            self._tell(path, f"{said}: {error.why}{hint}")
        return None

    def _tell(self, path: Keys, why: str, *, fatal: bool = True) -> None:
        self.wrong.append(Wrong(self.lines.of(path), ".".join(path), why, fatal))


def _one_of(choices: Keys) -> Callable[[str, str], str]:
    return lambda text, option: parse_choice(text, choices, option)


def _like(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]})" if near else f" (there is {', '.join(known)})"


def uid_of(name: str) -> int | None:
    """A user's number, by name or as it is."""
    try:
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def gid_of(name: str) -> int | None:
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        return None
