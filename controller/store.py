"""Permanent quotas: one JSON file in the state directory, read at each use so that a person may edit it."""

from pathlib import Path
from typing import Any

from gshare.controller.errors import GshareError
from gshare.controller.files import read_json, write_json
from gshare.controller.protocol import Limits
from gshare.controller.units import DIRECTIONS, FULL_PPM, MAX_BYTES, MAX_WEIGHT, MODES, PRIORITIES, Memory

SCHEMA = "gshare/quotas/v1"


class QuotaStore:
    """The quotas by tenant, as last written."""

    def __init__(self, state_directory: Path) -> None:
        self.path = state_directory / "quotas.json"

    def load(self) -> dict[str, Limits]:
        """Return all quotas; raise GshareError where the file cannot be understood."""
        content = read_json(self.path)
        if not content:
            return {}
        if content.get("schema") != SCHEMA:
            raise GshareError(
                str(self.path), f"is of schema {content.get('schema')}, this gshare writes {SCHEMA}"
            )
        quotas = content.get("quotas")
        if not isinstance(quotas, dict):
            raise GshareError(
                str(self.path), "damaged: no quotas in it", "mend it, or remove it to start afresh"
            )
        return {name: self._limits(name, row) for name, row in quotas.items()}

    def put(self, tenant: str, limits: Limits) -> None:
        """Write one quota; on failure the file stays as it was."""
        self._save({**self.load(), tenant: limits})

    def remove(self, tenant: str) -> None:
        """Forget one quota."""
        self._save({name: limits for name, limits in self.load().items() if name != tenant})

    def _save(self, quotas: dict[str, Limits]) -> None:
        rows: dict[str, Any] = {}
        for name, limits in sorted(quotas.items()):
            row = {
                **_amount(limits.memory),
                "compute_ppm": limits.compute_ppm,
                "ceiling_ppm": limits.ceiling_ppm,
                "weight": limits.weight,
                "priority": limits.priority,
                "mode": limits.mode,
                "host_memory_bytes": limits.host_memory_bytes,
                **{f"{way}_bytes_per_s": rate for way, rate in limits.copy_bytes_per_s.items()},
            }
            rows[name] = {key: value for key, value in row.items() if value is not None}
            if limits.memory_on:
                rows[name]["devices"] = {gpu: _amount(memory) for gpu, memory in limits.memory_on.items()}
        write_json(self.path, {"schema": SCHEMA, "quotas": rows})

    def _limits(self, name: str, row: object) -> Limits:
        damaged = GshareError(
            str(self.path), f"the quota of {name} is damaged: {row}", "mend it, or remove it"
        )
        if not isinstance(row, dict):
            raise damaged
        devices = row.get("devices", {})
        every = {key: value for key, value in row.items() if key not in ("devices", *_WORDS)}
        words = {key: row[key] for key in _WORDS if key in row}
        if not isinstance(devices, dict) or not all(
            _is_sound(amount, _AMOUNT) for amount in devices.values()
        ):
            raise damaged
        sound = _is_sound(every, _HIGHEST) and all(word in _WORDS[key] for key, word in words.items())
        if not sound or every.get("ceiling_ppm", FULL_PPM + 1) <= every.get("compute_ppm", FULL_PPM):
            raise damaged
        on = {gpu: _memory(amount) for gpu, amount in devices.items()}
        rates = {way: every[key] for key, way in _RATES.items() if key in every}
        return Limits(
            memory=_memory(every),
            memory_on=on,
            copy_bytes_per_s=rates,
            **{key: value for key, value in every.items() if key not in (*_AMOUNT, *_RATES)},
            **words,
        )


_AMOUNT = {"memory_bytes": MAX_BYTES, "memory_ppm": FULL_PPM}
_RATES = {f"{way}_bytes_per_s": way for way in DIRECTIONS}
_HIGHEST = {
    **_AMOUNT,
    **dict.fromkeys(_RATES, MAX_BYTES),
    "compute_ppm": FULL_PPM,
    "ceiling_ppm": FULL_PPM,
    "weight": MAX_WEIGHT,
    "host_memory_bytes": MAX_BYTES,
}
_WORDS = {"priority": PRIORITIES, "mode": MODES}


def _is_sound(row: object, highest: dict[str, int]) -> bool:
    return isinstance(row, dict) and all(
        key in highest and type(value) is int and 0 < value <= highest[key] for key, value in row.items()
    )


def _amount(memory: Memory | None) -> dict[str, int]:
    amount = {} if memory is None else {"memory_bytes": memory.bytes, "memory_ppm": memory.ppm}
    return {key: value for key, value in amount.items() if value is not None}


def _memory(row: dict[str, int]) -> Memory | None:
    size, ppm = row.get("memory_bytes"), row.get("memory_ppm")
    return Memory(size, ppm) if size or ppm else None
