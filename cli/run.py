"""`gshare run`: become the program, under limits.  Every import here is paid by every run."""

import errno
import os
import signal
import stat

import click

from gshare.cli import program as programs
from gshare.cli import waiting
from gshare.cli.complete import files, tenants
from gshare.cli.options import json_option, limit_options, limits
from gshare.controller.client import Client, own_start_ticks
from gshare.controller.errors import ControllerUnreachable, GshareError, ProgramNotExecutable, UsageError
from gshare.controller.mounts import confined
from gshare.controller.protocol import MOST_OF_COMMAND, Admit, Limits, Simulated
from gshare.controller.replies import Admitted
from gshare.controller.units import PLACEMENTS, parse_choice, parse_gpus, parse_tenant, parse_wait
from gshare.shim import (
    TENANT_DIR_VARIABLE,
    TRACE_LINE_BYTES,
    TRACE_VARIABLE,
    PreloadError,
    preload_environment,
)

SH = "/bin/sh"
VISIBLE = "CUDA_VISIBLE_DEVICES"

MAY_STAND_ALONE = ("--sim", "--wait")
"""Or be `--sim=PROFILE`, `--wait=SEC`."""


class PrefixCommand(click.Command):
    """Options, then a program with arguments of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give a lone `--sim` an empty value: the next word may be the program."""
        with_value = {
            name for p in self.params if isinstance(p, click.Option) and not p.is_flag for name in p.opts
        }
        position = 0
        while position < len(args) and args[position].startswith("-") and args[position] != "--":
            if args[position] in MAY_STAND_ALONE:
                args[position] += "="
            elif args[position] in with_value:
                position += 1
            position += 1
        return super().parse_args(ctx, args)


@click.command(
    cls=PrefixCommand,
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS] [--]",
    epilog="Exit code: the program's own; 124 no room for so long, 125 gshare refused or failed,"
    " 126 not executable, 127 not found.",
)
@limit_options
@click.option("--share", metavar="F", help="A fraction of the GPU, as 0.3: sets --mem and --compute.")
@click.option("--gpu", metavar="IDX|UUID,...", help="Only these GPUs; limits hold on each.")
@click.option(
    "--placement", metavar="all|best-fit|spread", help="Every GPU, or one: the fullest, the emptiest."
)
@click.option("--wait", metavar="[=SEC]", help="Wait until there is room; exit code 124 after SEC.")
@click.option("--tenant", metavar="NAME", shell_complete=tenants, help="Share the quota of this tenant.")
@click.option("--sim", metavar="[=PROFILE]", help="On the simulated GPU (h200, a100, l4, t4; h200*2 is two).")
@click.option("--trace-memory", metavar="FILE", help="Append a line of JSON for every change of a charge.")
@click.option("--strict", is_flag=True, help="It cannot let go of gshare; needs root, which it drops.")
@click.option("--user", "as_user", metavar="NAME", help="With --strict, as root: run as this user.")
@click.option("--dry-run", is_flag=True, help="Print the decision and the environment; start nothing.")
@json_option
@click.argument(
    "command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="CMD [ARGS]...", shell_complete=files
)
def run(
    gpu: str | None,
    placement: str | None,
    wait: str | None,
    tenant: str | None,
    sim: str | None,
    trace_memory: str | None,
    strict: bool,
    as_user: str | None,
    dry_run: bool,
    as_json: bool,
    command: tuple[str, ...],
    **wanted: str | None,
) -> None:
    """Run a program under limits; signals, terminal and exit code are the program's own.

    Without --tenant the program and its children are a tenant of their own.  Without limits it just runs.
    """
    if as_json and not dry_run:
        raise UsageError("run --json", "the output is the program's", "with --dry-run it prints the decision")
    asked = limits(lift=False, **wanted)
    gpus = parse_gpus(gpu) if gpu is not None else []
    if tenant is not None:
        parse_tenant(tenant)
    if strict or as_user is not None:
        _be_strict(as_user, strict=strict, dry_run=dry_run)
    program = programs.find(command[0])
    if placement is not None:
        parse_choice(placement, PLACEMENTS, "--placement")
    wait_s = None if wait is None else parse_wait(wait)
    restricted = bool(asked != Limits() or gpus or tenant or placement or strict)
    traced = {} if trace_memory is None else {TRACE_VARIABLE: _ledger(trace_memory, make=not dry_run)}
    environment = own_environment()
    if confined():
        if restricted or sim is not None or traced:
            raise GshareError("run", "this program is confined to a tenant already", "which limits it")
        become(program.path, command, environment)
    if not os.path.isdir(environment.get(TENANT_DIR_VARIABLE, "")):
        environment.pop(TENANT_DIR_VARIABLE, None)  # of a tenant that has ended
    elif not restricted and sim is None and not dry_run:
        # Inside a tenant already, and nothing else is asked for.
        become(program.path, command, environment | traced)
    if programs.check_preload(program, limited=restricted or bool(traced)) or dry_run:
        simulated, changes = simulation(sim)
        request = Admit(
            pid=os.getpid(),
            start_ticks=own_start_ticks(),
            command=" ".join(command)[:MOST_OF_COMMAND],
            limits=asked,
            gpus=gpus,
            tenant=tenant or "",
            simulated=simulated,
            dry_run=dry_run,
            placement=placement or "",
        )
        decision = decide(request, wait_s, restricted=restricted or bool(traced) or sim is not None)
        if (traced or strict) and not decision.tenant:
            raise GshareError(
                f"--trace-memory {trace_memory}" if traced else "--strict",
                "there is no GPU on this machine",
                "--sim runs on a simulated one",
            )
        chosen = VISIBLE in environment  # by the user, among all; what is not granted has no memory
        restrict = bool(gpus) or (decision.restricted and not chosen)
        changes |= traced | tenant_environment(decision, environment, restrict_devices=restrict)
        if dry_run:
            _show(decision, changes, as_json=as_json)
            return
        environment |= changes
        if strict:
            from gshare.cli import strict as confinement

            environment = confinement.environment(environment)
            confinement.confine(decision.directory)
    become(program.path, command, environment)


def become(path: str, command: tuple[str, ...], environment: dict[str, str]) -> None:
    """Replace this process by the program; raise ProgramNotExecutable where the kernel refuses it."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and exec would hand that on
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # it only takes a note, and exec would forget that
    try:
        os.execve(path, command, environment)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise ProgramNotExecutable(path, f"cannot be executed: {error.strerror}") from None
    with open(path, "rb") as file:
        if file.read(4) == b"\x7fELF":
            raise ProgramNotExecutable(path, "cannot be executed: not for this machine")
    os.execve(SH, [SH, path, *command[1:]], environment)  # a script without #!, as execvp does


def own_environment() -> dict[str, str]:
    """The environment that we were started with: Python adds LC_CTYPE to it in the C locale."""
    environment = dict(os.environ)
    if "LC_CTYPE" in environment:
        with open("/proc/self/environ", "rb") as file:
            if b"LC_CTYPE=" not in b"".join(b"\0" + v[:9] for v in file.read().split(b"\0")):
                del environment["LC_CTYPE"]
    return environment


def _be_strict(named: str | None, *, strict: bool, dry_run: bool) -> None:
    """Become the user whose program it is, keeping what it takes to confine it."""
    from gshare.cli import strict as confinement

    if not strict:
        raise UsageError(f"--user {named}", "goes with --strict")
    whom = confinement.user(named)
    confinement.prepare(make=not dry_run)
    if whom:
        confinement.become(whom)
        os.environ.update(whom.environment)


def _ledger(path: str, *, make: bool) -> str:
    """The absolute path of the file that charges are written to; raise GshareError for one that cannot be."""
    what = f"--trace-memory {path}"
    if not path:
        raise UsageError(what, "is no file")
    try:
        status = os.stat(path) if os.path.lexists(path) else None
        if status and not stat.S_ISREG(status.st_mode):
            raise GshareError(what, "is not a file", "name a file that holds nothing else")
        if status and status.st_size % TRACE_LINE_BYTES:
            raise GshareError(what, "holds something else", "remove it, or name another")
        if make:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666))
    except OSError as error:
        raise GshareError(what, f"cannot be written: {error.strerror}") from None
    return os.path.abspath(path)


def simulation(profile: str | None) -> tuple[Simulated | None, dict[str, str]]:
    """The simulated machine that --sim means, which the controller starts, and how programs find it."""
    if profile is None:
        return None, {}
    from gshare.shim import sim

    try:
        environment = sim.environment(profile=profile or None)
    except sim.SimulationError as error:
        raise UsageError(f"--sim={profile}", str(error)) from None
    machine = environment["SIMGPU_MACHINE"]
    if not profile and not os.path.exists(machine):
        profile = os.environ.get("SIMGPU_PROFILE", "")  # of the machine that is about to be made
    return Simulated(machine, profile), environment


def decide(request: Admit, wait_s: float | None, *, restricted: bool) -> Admitted:
    """Ask the controller; a run that nothing restricts goes on without one, with one line of warning."""
    try:
        client = Client(start=not request.dry_run)
        decision = waiting.ask(client, request, wait_s)
    except ControllerUnreachable as error:
        if request.dry_run:
            from gshare.controller import offline

            return offline.decide(client.runtime, request)
        if restricted:
            raise
        click.echo(f"gshare: {error}; running unmanaged", err=True)
        return Admitted("", "", False, [])
    return decision


def tenant_environment(
    decision: Admitted, environment: dict[str, str], *, restrict_devices: bool
) -> dict[str, str]:
    """What makes the program a process of the tenant."""
    if not decision.tenant:
        return {}
    try:
        whole = preload_environment(decision.directory, environment)
    except PreloadError as error:
        raise GshareError("run", str(error)) from None
    changes = {name: whole[name] for name in ("LD_PRELOAD", TENANT_DIR_VARIABLE)}
    if restrict_devices:
        changes[VISIBLE] = ",".join(device.uuid for device in decision.devices)
    return changes


def _show(decision: Admitted, changes: dict[str, str], *, as_json: bool) -> None:
    from gshare.cli.render import print_admission

    print_admission(decision, changes, as_json=as_json)
