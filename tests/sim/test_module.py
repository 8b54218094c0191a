"""Module images: PTX, cubin and fat binary give their kernels and variables; anything else gives an error."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated import Machine

IMAGES = Path(__file__).parent / "images"
SHAPES = IMAGES / "shapes.ptx"
INVALID_IMAGE, NO_BINARY, INVALID_PTX, UNSUPPORTED_PTX, FILE_NOT_FOUND, NOT_FOUND = (
    200,
    209,
    218,
    222,
    301,
    500,
)

READ = """
import ctypes
def params(function):
    found, offset, bytes_ = [], size(), size()
    while not call("cuFuncGetParamInfo", function, len(found), ctypes.byref(offset), ctypes.byref(bytes_)):
        found.append([offset.value, bytes_.value])
    return found
def attribute(number, function):
    value = ctypes.c_int()
    must("cuFuncGetAttribute", ctypes.byref(value), number, function)
    return value.value
def read(module):
    count = ctypes.c_uint()
    must("cuModuleGetFunctionCount", ctypes.byref(count), module)
    functions = (u64 * count.value)()
    must("cuModuleEnumerateFunctions", functions, count.value, module)
    names = {}
    for function in functions:
        name = ctypes.c_char_p()
        must("cuFuncGetName", ctypes.byref(name), function)
        names[name.value.decode()] = params(function)
    return names
def variable(module, name):
    address, bytes_ = u64(), size()
    code = call("cuModuleGetGlobal_v2", ctypes.byref(address), ctypes.byref(bytes_), module, name)
    if code:
        return code
    data = (ctypes.c_ubyte * bytes_.value)()
    must("cuMemcpyDtoH_v2", data, address, bytes_.value)
    return list(data)
start()
"""


def test_ptx_gives_its_kernels_with_their_parameters(machine: Machine) -> None:
    kernels = machine.run(READ + f"out(read(new('cuModuleLoad', b{str(SHAPES)!r})[1]))")
    assert kernels == {
        "plain": [],
        "shapes": [[0, 8], [8, 4], [12, 1], [16, 20], [40, 8]],
        "hidden": [[0, 16]],
    }


def test_ptx_gives_what_a_kernel_takes(machine: Machine) -> None:
    threads, shared, local, ptx, binary, dynamic = machine.run(
        READ
        + f"_, m = new('cuModuleLoad', b{str(SHAPES)!r})\n"
        + "_, f = new('cuModuleGetFunction', m, b'shapes')\n"
        + "out([attribute(n, f) for n in (0, 1, 3, 5, 6, 8)])"
    )
    assert (threads, shared, local) == (128, 512, 40)
    assert (ptx, binary) == (75, 89)
    assert dynamic == 49152 - 512


def test_variables_hold_their_initial_values_and_zeros(machine: Machine) -> None:
    found = machine.run(
        READ
        + f"_, m = new('cuModuleLoad', b{str(SHAPES)!r})\n"
        + "names = b'counter', b'table', b'ratios', b'coefficients', b'elsewhere', b'no'\n"
        + "out([variable(m, n) for n in names])"
    )
    assert found == [
        [0, 0, 0, 0],
        [1, 2, 3, 255] + [0] * 20,
        [0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0],
        [0] * 64,
        NOT_FOUND,
        NOT_FOUND,
    ]


def test_a_module_takes_memory_until_it_is_unloaded(machine: Machine) -> None:
    before, during, after, gone = machine.run(
        READ
        + "start(); before = info()[0]\n"
        + f"_, m = new('cuModuleLoad', b{str(SHAPES)!r}); during = info()[0]\n"
        + "must('cuModuleUnload', m); out([before, during, info()[0], call('cuModuleUnload', m)])"
    )
    assert before > during
    assert before == after
    assert gone == 400


def test_bad_images_and_names_are_told_apart(make_machine: Callable[..., Machine]) -> None:
    head = ".version 7.0\\n.target sm_75\\n"
    cases = {
        "nonsense": INVALID_IMAGE,
        "": INVALID_IMAGE,
        head + ".visible .entry broken(": INVALID_PTX,
        head + ".visible .entry open() { ret;": INVALID_PTX,
        head + ".visible .entry no_body();": INVALID_PTX,
        head + "}": INVALID_PTX,
        ".version 7.0": INVALID_PTX,
        ".version 9.9\\n.target sm_75\\n": UNSUPPORTED_PTX,
        ".version 7.0\\n.target sm_90\\n": INVALID_PTX,
        head: 0,
    }
    loads = ", ".join(f"new('cuModuleLoadData', b'{text}')[0]" for text in cases)
    machine = make_machine("l4")
    assert machine.run(READ + f"out([{loads}])") == list(cases.values())
    assert machine.run(
        READ
        + "_, m = new('cuModuleLoadData', PTX)\n"
        + "out([new('cuModuleGetFunction', m, b'no')[0], new('cuModuleGetFunction', m, None)[0],\n"
        + " new('cuModuleGetFunction', 0, b'spin')[0], new('cuModuleLoad', b'/no/such')[0],\n"
        + " new('cuModuleLoadData', None)[0], call('cuModuleUnload', 0)])"
    ) == [NOT_FOUND, 1, 400, FILE_NOT_FOUND, 1, 400]


def test_the_compilers_log_says_what_was_wrong(machine: Machine) -> None:
    code, text, length = machine.run(
        READ
        + "log = ctypes.create_string_buffer(256)\n"
        + "options = (ctypes.c_int * 2)(5, 6); values = (ctypes.c_void_p * 2)(ctypes.addressof(log), 256)\n"
        + "c, _ = new('cuModuleLoadDataEx', b'.version 7.0 .target sm_75 }', 2, options, values)\n"
        + "out([c, log.value.decode(), values[1]])"
    )
    assert code == INVALID_PTX
    assert "PTX" in text
    assert length == len(text)


def test_a_library_gives_kernels_that_launch_in_any_context(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine("l4*2")
    answer = machine.run(
        READ
        + "_, lib = new('cuLibraryLoadData', PTX, None, None, 0, None, None, 0)\n"
        + "_, kernel = new('cuLibraryGetKernel', lib, b'spin'); ns = u64(1000)\n"
        + "params = (ctypes.c_void_p * 1)(ctypes.addressof(ns))\n"
        + "def go(): return cuda.cuLaunchKernel(u64(kernel), 1, 1, 1, 1, 1, 1, 0, None, params, None)\n"
        + "name = ctypes.c_char_p(); must('cuKernelGetName', ctypes.byref(name), kernel)\n"
        + "name = name.value.decode()\n"
        + "codes = [go()]; start(1); codes.append(go()); sync()\n"
        + "_, f = new('cuKernelGetFunction', kernel); _, missing = new('cuLibraryGetKernel', lib, b'no')\n"
        + "codes.append(new('cuLibraryGetKernel', lib, b'no')[0]); must('cuLibraryUnload', lib)\n"
        + "codes.append(go()); out([name, codes, f != 0])"
    )
    assert answer == ["spin", [0, 0, NOT_FOUND, 400], True]
    assert [machine.device(i)["processes"][0]["kernels"] for i in range(2)] == [1, 1]


def test_a_function_belongs_to_its_context(machine: Machine) -> None:
    assert (
        machine.run(
            READ
            + "f = function(); _, ctx = new('cuCtxCreate_v2', 0, 0); ns = u64(1000)\n"
            + "params = (ctypes.c_void_p * 1)(ctypes.addressof(ns))\n"
            + "out(cuda.cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, None, params, None))"
        )
        == 400
    )


def test_cuLink_passes_one_image_through(machine: Machine) -> None:
    assert machine.run(
        READ
        + "link = u64(); must('cuLinkCreate_v2', 0, None, None, ctypes.byref(link))\n"
        + "must('cuLinkAddData_v2', link, 1, PTX, len(PTX), b'x', 0, None, None)\n"
        + "image, n = ctypes.c_void_p(), size()\n"
        + "must('cuLinkComplete', link, ctypes.byref(image), ctypes.byref(n))\n"
        + "_, m = new('cuModuleLoadData', image.value); must('cuLinkDestroy', link); out(sorted(read(m)))"
    ) == ["other", "spin"]


def test_occupancy_follows_the_limits(make_machine: Callable[..., Machine]) -> None:
    code = (
        READ
        + """
f = function(); blocks, best = ctypes.c_int(), ctypes.c_int()
def active(threads, dynamic=0):
    must("cuOccupancyMaxActiveBlocksPerMultiprocessor", ctypes.byref(blocks), f, threads, dynamic)
    return blocks.value
found = [active(1024), active(256), active(32), active(64, 40 * 1024), active(64, 300 * 1024)]
must("cuOccupancyMaxPotentialBlockSize", ctypes.byref(blocks), ctypes.byref(best), f, None, 0, 0)
out([found, blocks.value, best.value])
"""
    )
    assert make_machine("h200").run(code) == [[2, 8, 32, 5, 0], 264, 1024]
    assert make_machine("l4").run(code) == [[1, 6, 24, 2, 0], 116, 768]


CODE = """
__device__ int counter;
__device__ float table[256] = {1, 2, 3};
struct big { char x[40]; };
extern "C" __global__ void spin(unsigned long long ns) { counter = ns; }
extern "C" __global__ void __launch_bounds__(256) shapes(float *a, const float *b, int n, big s)
{
    __shared__ float tile[128];
    tile[threadIdx.x % 128] = b[n];
    __syncthreads();
    a[n] = tile[n % 128] + s.x[n] + table[n];
}
"""
NVCC = shutil.which("nvcc")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("images")
    (folder / "code.cu").write_text(CODE)

    def build(name: str, *options: str) -> Path:
        if not NVCC:
            pytest.skip("nvcc is not installed")
        if not (folder / name).exists():  # the name says what the options are
            subprocess.run([NVCC, *options, "-o", folder / name, folder / "code.cu"], check=True)
        return folder / name

    return build


FAT = ("-fatbin", "-gencode=arch=compute_80,code=sm_80", "-gencode=arch=compute_80,code=compute_80")


@pytest.mark.parametrize(
    ("name", "options", "profile"),
    [
        ("code.ptx", ("-ptx", "-arch=compute_80"), "l4"),
        ("code80.cubin", ("-cubin", "-arch=sm_80"), "a100"),
        ("code80.cubin", ("-cubin", "-arch=sm_80"), "l4"),
        ("code90.cubin", ("-cubin", "-arch=sm_90"), "h200"),
        ("code75.cubin", ("-cubin", "-arch=sm_75"), "t4"),
        ("plain.fatbin", (*FAT, "-no-compress"), "a100"),
        ("lz4.fatbin", (*FAT, "--compress-mode=speed"), "h200"),
    ],
)
def test_what_nvcc_makes_is_understood(
    name: str,
    options: tuple[str, ...],
    profile: str,
    built: Callable[..., Path],
    make_machine: Callable[..., Machine],
) -> None:
    path = built(name, *options)
    kernels, counter, table = make_machine(profile).run(
        READ
        + f"_, m = new('cuModuleLoad', b{str(path)!r})\n"
        + "out([read(m), variable(m, b'counter'), variable(m, b'table')])"
    )
    assert kernels == {"spin": [[0, 8]], "shapes": [[0, 8], [8, 8], [16, 4], [20, 40]]}
    assert counter == [0] * 4
    assert table[:8] == [0, 0, 0x80, 0x3F, 0, 0, 0, 0x40]
    assert len(table) == 1024


def test_an_image_without_code_for_the_device_is_refused(
    built: Callable[..., Path], make_machine: Callable[..., Machine]
) -> None:
    cubin, fat = built("code90.cubin", "-cubin", "-arch=sm_90"), built("plain.fatbin", *FAT, "-no-compress")
    for path, profile in ((cubin, "a100"), (cubin, "t4"), (fat, "t4")):
        code = READ + f"out(new('cuModuleLoad', b{str(path)!r})[0])"
        assert make_machine(profile).run(code) == NO_BINARY


@pytest.fixture(scope="module")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image parser with AddressSanitizer: prints a result code for each file that it is given."""
    source = Path(__file__).resolve().parents[2] / "shim" / "sim"
    target = tmp_path_factory.mktemp("parser") / "parse"
    main = IMAGES / "parse.c"
    files = [str(source / "code" / f"{name}.c") for name in ("image", "ptx", "elf", "fatbin")]
    include = [f"-I{source / folder}" for folder in ("code", "driver", "core")]
    flags = ["-std=gnu17", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["gcc", *flags, *include, str(main), *files, "-ldl", "-o", str(target)], check=True)
    return target


def parse(parser: Path, folder: Path, images: list[bytes]) -> list[int]:
    paths = []
    for number, image in enumerate(images):
        paths.append(folder / f"{number}.image")
        paths[-1].write_bytes(image)
    done = subprocess.run([parser, *paths], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return [int(code) for code in done.stdout.split()]


CODES = {0, 2, INVALID_IMAGE, NO_BINARY, INVALID_PTX, UNSUPPORTED_PTX}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_ptx_never_hurts(data: st.DataObject, parser: Path, tmp_path: Path) -> None:
    text = SHAPES.read_bytes()
    images = []
    for _ in range(20):
        at = data.draw(st.integers(0, len(text)))
        to = data.draw(st.integers(at, min(len(text), at + 60)))
        images.append(text[:at] + data.draw(st.binary(max_size=20)) + text[to:])
    assert set(parse(parser, tmp_path, images)) <= CODES


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_binaries_never_hurt(
    data: st.DataObject, parser: Path, tmp_path: Path, built: Callable[..., Path]
) -> None:
    whole = [
        built("code80.cubin", "-cubin", "-arch=sm_80").read_bytes(),
        built("lz4.fatbin", *FAT, "--compress-mode=speed").read_bytes(),
    ]
    images = []
    for _ in range(20):
        image = bytearray(data.draw(st.sampled_from(whole)))
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.one_of(st.integers(0, 200), st.integers(0, len(image) - 9)))
            image[at : at + 4] = data.draw(st.one_of(st.binary(min_size=4, max_size=4), st.just(b"\xff" * 4)))
        images.append(bytes(image[: data.draw(st.integers(64, len(image)))]))
    assert set(parse(parser, tmp_path, images)) <= CODES


def test_a_modules_variables_cannot_be_freed_as_memory(machine: Machine) -> None:
    code = """
image = b".version 8.0\\n.target sm_80\\n.address_size 64\\n.global .align 4 .b8 data[64];\\n\\0"
start(); module = new("cuModuleLoadData", image)[1]
address = new("cuModuleGetGlobal_v2", None, module, b"data")[1]
codes = [free(address), call("cuMemFreeAsync", address, 0)]
pointer = alloc(64)[1]
out([*codes, pointer == address, call("cuModuleUnload", module), free(pointer)])
"""
    assert machine.run("import ctypes\n" + code) == [1, 1, False, 0, 0]
