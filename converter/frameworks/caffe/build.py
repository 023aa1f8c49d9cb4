"""Builds real Caffe (BVLC 1.0.0 with the SSD layers, for the CPU) from its source distribution.

Run by the interpreter of the new environment, in an empty scratch folder:

    python build.py OUTPUT

OUTPUT receives the folder ``caffe``, ready for site-packages: the Python half, the messages that protoc generates,
and ``_caffe.so``, the whole library in one shared object. Needs the packages of ``[system_packages] build`` in
environment.toml, and pip, setuptools, wheel and numpy in the interpreter's environment. Takes one to two minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy

SOURCES = Path(__file__).with_name("sources.lock")
# Without OpenCV, cuDNN and CUDA the sources that need them compile to nothing.
DEFINES = """CPU_ONLY NDEBUG USE_LMDB USE_LEVELDB WITH_PYTHON_LAYER CAFFE_VERSION=1.0.0
    BOOST_BIND_GLOBAL_PLACEHOLDERS BOOST_ALLOW_DEPRECATED_HEADERS"""  # The last two: Boost talks less.
FLAGS = ["-std=c++14", "-O2", "-fPIC", "-w", *(f"-D{define}" for define in DEFINES.split())]
# Debian gives the serial HDF5 folders of its own, by the machine's triplet.
HDF5_INCLUDE = "/usr/include/hdf5/serial"
HDF5_LIBRARIES = f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/hdf5/serial"
BOOST_PYTHON = f"boost_python{sys.version_info.major}{sys.version_info.minor}"
LIBRARIES = f"""glog gflags protobuf boost_thread boost_system boost_filesystem {BOOST_PYTHON} hdf5_hl hdf5 openblas
    lmdb leveldb pthread"""
# The headers cost more than the code: joined into a few units it compiles in a third of the time.
JOINED_UNITS = 4
PEAK_BYTES_OF_A_COMPILER = 1_600_000_000


def run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True)


def fetch_sources(scratch: Path) -> Path:
    """Downloads the source distribution, checked against its locked hash, and returns its unpacked folder."""
    # Its own build step demands conda, so it is only downloaded; pip still asks its setup.py for metadata.
    run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"),
        *("--no-build-isolation", "--require-hashes", "-r", SOURCES, "-d", scratch),
    )
    (archive,) = scratch.glob("*.tar.gz")
    with tarfile.open(archive) as contents:
        contents.extractall(scratch)
    return scratch / archive.name.removesuffix(".tar.gz")


def generate_messages(source: Path, generated: Path) -> None:
    """Runs protoc on caffe.proto; the generated files that the archive ships are of another protobuf."""
    for stale in [*source.glob("src/caffe/proto/caffe.pb.*"), *source.glob("include/caffe/proto/caffe.pb.h")]:
        stale.unlink()
    generated.mkdir()
    run(
        *("protoc", f"--proto_path={source / 'src'}", f"--cpp_out={generated}", f"--python_out={generated}"),
        source / "src/caffe/proto/caffe.proto",
    )


def translation_units(source: Path, generated: Path, scratch: Path) -> list[Path]:
    """The files to compile, the slowest first: Caffe's sources joined by ``#include`` into a few."""
    folder = source / "src/caffe"
    layers = sorted([*folder.glob("layers/*.cpp"), *folder.glob("solvers/*.cpp")])
    # Its header has the include guard of annotated_data_layer's, so the two cannot share a unit.
    alone = folder / "layers/data_layer.cpp"
    layers.remove(alone)
    groups = [layers[first::JOINED_UNITS] for first in range(JOINED_UNITS)]
    # 3rdparty comes last: it defines macros with everyday names, which break the headers of whatever follows.
    groups.append([file for part in ("", "util/", "3rdparty/") for file in sorted(folder.glob(f"{part}*.cpp"))])
    joined = []
    for number, group in enumerate(groups):
        unit = scratch / f"joined_{number}.cpp"
        unit.write_text("".join(f'#include "{file}"\n' for file in group))
        joined.append(unit)
    return [*joined, source / "python/caffe/_caffe.cpp", generated / "caffe/proto/caffe.pb.cc", alone]


def compile_units(units: list[Path], include: list[Path | str], scratch: Path) -> list[Path]:
    """Compiles every unit, as many at a time as processors and memory allow; returns the objects."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    jobs = max(1, min(len(os.sched_getaffinity(0)), memory // PEAK_BYTES_OF_A_COMPILER))
    includes = [f"-I{folder}" for folder in include]
    objects = [scratch / f"{unit.stem}.o" for unit in units]

    def compile_one(unit: Path, product: Path) -> None:
        print(f"compiling {unit.name}", flush=True)
        run("g++", *FLAGS, *includes, "-c", unit, "-o", product)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(compile_one, units, objects))
    return objects


def main(output: Path) -> None:
    """Leaves the package ``caffe`` in ``output``."""
    scratch = Path.cwd()
    source = fetch_sources(scratch)
    generated = scratch / "generated"
    generate_messages(source, generated)
    # `generated` goes first: the archive's own headers must not win over it.
    include = [generated, source / "include", source / "src", HDF5_INCLUDE]
    include += [sysconfig.get_paths()["include"], numpy.get_include()]
    objects = compile_units(translation_units(source, generated, scratch), include, scratch)

    package = output / "caffe"
    shutil.copytree(source / "python/caffe", package, ignore=shutil.ignore_patterns("*.cpp", "test", "*.so"))
    (package / "proto").mkdir(exist_ok=True)
    (package / "proto/__init__.py").touch()
    shutil.copy(generated / "caffe/proto/caffe_pb2.py", package / "proto")
    print("linking _caffe.so", flush=True)
    library = package / "_caffe.so"
    run(
        "g++",
        "-shared",
        "-s",
        "-o",
        library,
        *objects,
        f"-L{HDF5_LIBRARIES}",
        *(f"-l{name}" for name in LIBRARIES.split()),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
