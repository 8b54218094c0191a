"""Errors are one line, and survive the way from the controller to the command line."""

import pytest

from gshare.controller import errors
from gshare.controller.errors import GshareError, error_from_code

EXIT_CODES = {
    errors.GshareError: (1, 125),
    errors.UsageError: (2, 125),
    errors.ControllerUnreachable: (3, 125),
    errors.NotPermitted: (4, 125),
    errors.NoSuchThing: (5, 125),
    errors.OverCapacity: (6, 125),
    errors.ProgramNotExecutable: (126, 126),
    errors.ProgramNotFound: (127, 127),
}


@pytest.mark.parametrize("kind", EXIT_CODES)
def test_exit_codes_are_the_documented_ones(kind: type[GshareError]) -> None:
    assert (kind.exit_code, kind.run_exit_code) == EXIT_CODES[kind]


@pytest.mark.parametrize("kind", EXIT_CODES)
def test_the_code_names_the_class(kind: type[GshareError]) -> None:
    error = error_from_code(kind.code, "a", "b", "c")
    assert type(error) is kind
    assert str(error) == "a: b (c)"


def test_a_code_of_a_newer_controller_is_a_plain_error() -> None:
    assert type(error_from_code("of-tomorrow", "a", "b", "")) is GshareError


def test_the_line_is_one_line() -> None:
    assert str(GshareError("a\nb", "c\n\td", "")) == "a b: c d"
