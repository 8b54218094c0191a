"""Everything that goes wrong in a way the user can act on: one tree, one line each, one exit code each."""

RUN_REFUSED = 125
"""Exit code of `gshare run` when gshare itself refused or failed: the program was not started."""


WAIT_OVER = 124
"""Exit code of `gshare run --wait=SEC` when there was no room for so long."""


class GshareError(Exception):
    """Something the user can act on; printed as `gshare: what: why (hint)`."""

    code = "failed"
    exit_code = 1
    run_exit_code = RUN_REFUSED

    def __init__(self, what: str, why: str, hint: str = "") -> None:
        super().__init__(what, why, hint)
        self.what, self.why, self.hint = what, why, hint

    def __str__(self) -> str:
        line = f"{self.what}: {self.why}" + (f" ({self.hint})" if self.hint else "")
        return " ".join(line.split())


class UsageError(GshareError):
    """The command line cannot be understood."""

    code = "usage"
    exit_code = 2


class ControllerUnreachable(GshareError):
    """There is no controller, or it does not answer in time."""

    code = "unreachable"
    exit_code = 3


class NotPermitted(GshareError):
    """Asked for something that belongs to somebody else."""

    code = "not-permitted"
    exit_code = 4


class NoSuchThing(GshareError):
    """No tenant, process, quota or GPU of that name."""

    code = "no-such-thing"
    exit_code = 5


class OverCapacity(GshareError):
    """More was asked for than the device has left to promise."""

    code = "over-capacity"
    exit_code = 6


class WaitedInVain(OverCapacity):
    """There was no room for as long as somebody wanted to wait."""

    code = "waited"
    run_exit_code = WAIT_OVER


class ProgramNotExecutable(GshareError):
    """The program is there and cannot be run, or cannot be run under a limit."""

    code = "not-executable"
    exit_code = run_exit_code = 126


class ProgramNotFound(GshareError):
    """There is no such program."""

    code = "not-found"
    exit_code = run_exit_code = 127


_BY_CODE: dict[str, type[GshareError]] = {
    cls.code: cls
    for cls in (
        GshareError,
        UsageError,
        ControllerUnreachable,
        NotPermitted,
        NoSuchThing,
        OverCapacity,
        WaitedInVain,
        ProgramNotExecutable,
        ProgramNotFound,
    )
}


def error_from_code(code: str, what: str, why: str, hint: str) -> GshareError:
    """Rebuild the error that a reply carried; a code of a newer controller becomes the plain class."""
    return _BY_CODE.get(code, GshareError)(what, why, hint)
