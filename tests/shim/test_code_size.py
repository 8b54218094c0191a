"""What a module will take is bounded from its image alone, whatever the image is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import CUBIN, HEAD, PTX, cubin, fatbin, part, ptx

GRAIN = 256
CODE_PER_TEXT = 4
UNKNOWN = 2 << 20

Sizes = Callable[..., "list[int]"]


@pytest.fixture(scope="module")
def sizes(build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Sizes:
    """Return a function that tells the bounds of images; `memory` for those that tell their own end."""
    shim = "../../shim/src/"
    program = build("code_size", "code_size.c", shim + "code_size.c", shim + "ptx_size.c")
    folder = tmp_path_factory.mktemp("images")

    def tell(*images: bytes, memory: bool = False) -> list[int]:
        paths = []
        for number, image in enumerate(images):
            paths.append(folder / str(number))
            paths[-1].write_bytes(image)
        command = [program, *(["memory"] if memory else []), *paths]
        output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        return [int(line) for line in output.split()]

    return tell


DECLARATIONS = [
    (".global .align 4 .b8 a[1000];", 1000, 1),
    (".visible .global .u32 a;", 4, 1),
    (".global .f64 a[3][5];", 120, 1),
    (".global .v4 .f32 a[10];", 160, 1),
    (".global .align 8 .u64 a[2], b, c[4];", 56, 3),
    (".const .align 4 .b8 table[65536];", 65536, 1),
    (".global .u16 a[] = {1, 2, 3, 4};", 8, 1),
    (".global .u8 a[100] = {1, 2};", 100, 1),
    (".global .u64 a[] = {generic(f), 0};", 16, 1),
    (".global .s32 a = 7; .global .s32 b = 8;", 8, 2),
    (".global .b8 a[0x400]; // .global .b8 b[9];", 1024, 1),
    ("/* .global .b8 no[9]; */ .global .b8 a[010];", 8, 1),
    (".global .attribute(.managed) .align 4 .u32 a[4];", 16, 1),
    (".global .attribute(.unified(19, 95), .managed) .u32 a;", 4, 1),
    (".extern .global .u32 a[];", 0, 1),
    (".weak .global .b128 a;", 16, 1),
    (".global .f16x2 a; .global .bf16 b;", 6, 2),
    (".global .texref t;", 64, 1),
    (".global\n.b8\n%a\n[\n7\n]\n;", 7, 1),
    (".global .b8 a[18446744073709551615];", 2**64, 0),
    (".global .b64 a[4294967296][4294967296];", 2**64, 0),
    (".file 1 \".global .b8 a[9];\"", 0, 0),
    (".visible .entry e(.param .u64 .ptr .global .align 8 p, .param .b8 q[64]) { ld.global.b8 %r; }", 0, 0),
    (".func f() { .shared .b8 s[4096]; .local .b8 l[4096]; st.global.v2.f32 [%rd1], {%f1, %f2}; }", 0, 0),
]  # fmt: skip


def test_the_variables_of_a_text_are_all_counted(sizes: Sizes) -> None:
    texts = [ptx(line) for line, _, _ in DECLARATIONS]
    expected = [
        min(CODE_PER_TEXT * len(text) + bytes_ + variables * GRAIN, 2**64 - 1)
        for text, (_, bytes_, variables) in zip(texts, DECLARATIONS, strict=True)
    ]

    assert sizes(*texts) == expected
    assert sizes(*texts, memory=True) == expected


def test_a_large_alignment_counts_too(sizes: Sizes) -> None:
    text = ptx(".global .align 4096 .b8 a[1];")

    assert sizes(text) == [CODE_PER_TEXT * len(text) + 4096 + 1]


VARIABLES = {
    "zeros": (".nv.global", 5 << 20),
    "set": (".nv.global.init", 100),
    "table": (".nv.constant3", 64),
}


@pytest.mark.parametrize("many_sections", [False, True])
def test_a_cubin_is_its_file_and_its_variables(sizes: Sizes, many_sections: bool) -> None:
    image = cubin(many_sections=many_sections, **VARIABLES)
    expected = len(image) + (5 << 20) + 100 + 64 + 3 * GRAIN

    assert sizes(image) == sizes(image, memory=True) == [expected]


def test_shared_memory_is_not_the_devices(sizes: Sizes) -> None:
    image = cubin(s=(".nv.shared.k", 1000))

    assert sizes(image) == [len(image) + GRAIN]


def test_one_part_of_a_fat_binary_is_loaded(sizes: Sizes) -> None:
    text, small, large = ptx(".global .b8 a[9];"), cubin(80), cubin(90, **VARIABLES)
    parts = [part(PTX, text), part(CUBIN, small, 80), part(CUBIN, large, 90)]
    (of_text, of_large) = sizes(text, large)

    assert of_large > of_text
    assert sizes(fatbin(*parts), memory=True) == sizes(fatbin(*parts)) == [of_large]
    assert sizes(fatbin(parts[0])) == [of_text]


def test_of_a_compressed_part_the_length_is_known(sizes: Sizes) -> None:
    packed = [part(PTX, b"x" * 100, unpacked=1000), part(CUBIN, b"x" * 100, unpacked=1000)]

    assert sizes(*map(fatbin, packed)) == [CODE_PER_TEXT * 1000, 2 * 1000]


def test_of_a_compressed_part_that_tells_nonsense_its_bytes_count(sizes: Sizes) -> None:
    short = [part(kind, b"x" * 100, unpacked=1) for kind in (PTX, CUBIN)]
    absurd = [
        part(kind, b"x" * 100, unpacked=unpacked) for kind in (PTX, CUBIN) for unpacked in (2**32, 2**64 - 1)
    ]

    assert sizes(*map(fatbin, short)) == [CODE_PER_TEXT * 100, 2 * 100]
    assert sizes(*map(fatbin, absurd)) == [UNKNOWN] * 4


def test_what_cannot_be_read_is_nothing(sizes: Sizes, build: Callable[..., Path], tmp_path: Path) -> None:
    program = build("code_size", "code_size.c", "../../shim/src/code_size.c", "../../shim/src/ptx_size.c")
    output = subprocess.run(
        [program, tmp_path / "none", "/dev/null", tmp_path], capture_output=True, check=True
    )

    assert [int(line) for line in output.stdout.split()] == [0, 0, UNKNOWN]


WHOLE = [cubin(**VARIABLES), fatbin(part(PTX, ptx(".global .b8 a[9];")), part(CUBIN, cubin(**VARIABLES)))]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(WHOLE),
            st.integers(0, 4096),
            st.lists(st.tuples(st.integers(0, 800), st.binary(max_size=8))),
        ),
        min_size=20,
        max_size=20,
    )
)
def test_damaged_files_do_no_harm(
    sizes: Sizes, damage: list[tuple[bytes, int, list[tuple[int, bytes]]]]
) -> None:
    images = []
    for image, cut, patches in damage:
        bad = bytearray(image)
        for at, patch in patches:
            bad[at : at + len(patch)] = patch
        images.append(bytes(bad[: max(len(bad) - cut, 0)]))

    assert len(sizes(*images)) == len(images)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.sampled_from('./*"[]{}(),;= \n.1x')) | st.binary(), min_size=20, max_size=20))
def test_any_text_does_no_harm(sizes: Sizes, texts: list[str | bytes]) -> None:
    bytes_ = [text if isinstance(text, bytes) else (HEAD + ".global .b8 " + text).encode() for text in texts]

    assert len(sizes(*bytes_)) == len(texts)
