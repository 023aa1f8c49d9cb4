"""The worker's side of the protocol: the program that runs inside a runtime's own environment.

    python worker_protocol.py FOLDER PARENT

It answers requests on standard input, one JSON object a line, with one JSON object a line on standard output:

    {"id": 1, "verb": "hello"}                                  -> {"id": 1, "versions": {name: version}}
    {"id": 2, "verb": "load", "files": {role: path}, "options": {}}
                                    -> {"id": 2, "model": 1, "inputs": [name], "outputs": [name], "taps": [name]}
    {"id": 3, "verb": "run", "model": 1, "inputs": {name: ARRAY}, "fetch": "outputs", "all" or [name]}
                                                                -> {"id": 3, "arrays": {name: ARRAY}}
    {"id": 4, "verb": "close", "model": 1}                      -> {"id": 4}
    what went wrong in any of them                              -> {"id": 5, "error": "one line"}

ARRAY is {"file": name, "dtype": "<f4", "shape": [1, 3]}: a file of FOLDER that holds the array's bytes, little-endian,
in C order. The reader of an array deletes its file.

The framework's part is the module ``worker`` beside this file, with ``versions() -> dict`` and
``load(files, options) -> model``; a model has the lists of names ``inputs``, ``outputs`` and ``taps`` (what else can be
fetched) and ``run(inputs, names, lenient) -> {name: array}``, where a lenient run leaves out what is no array.

This file is copied next to the worker and run by Pythons from 3.6 on: standard library and numpy only.
"""

import ctypes
import json
import os
import resource
import shutil
import sys
import threading
import time
import traceback

import numpy

REMOVING = threading.Lock()
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # <linux/sched.h>


def main(folder: str, parent: int) -> None:
    """Serves requests until standard input ends; the exchange folder goes then: nobody else may be left to do it."""
    requests, replies = private_streams()
    cut_off_network()
    bound_memory()
    threading.Thread(target=end_with_parent, args=(folder, parent), daemon=True).start()
    server = Server(folder)
    try:
        for line in requests:
            request = json.loads(line)
            try:
                reply = getattr(server, "answer_" + request["verb"])(request)
            except (Exception, SystemExit) as error:
                traceback.print_exc()
                reply = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:2000]}
            replies.write(json.dumps(dict(reply, id=request["id"])) + "\n")
            replies.flush()
    finally:
        # Also when nobody is left to take the reply.
        remove(folder)


def private_streams() -> tuple:
    """Takes standard input and output for the protocol alone: what a library prints goes to standard error."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def cut_off_network() -> None:
    """Enters an empty network namespace, alone (root) or in a user namespace; where both are refused it goes on."""
    if not sys.platform.startswith("linux"):
        return
    user, group = os.getuid(), os.getgid()
    unshare = ctypes.CDLL(None).unshare
    if unshare(CLONE_NEWNET) == 0 or unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return
    # Without these maps (user_namespaces(7)) the process would see itself as nobody.
    for file, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open("/proc/self/" + file, "w") as stream:
            stream.write(text)


def bound_memory() -> None:
    """No more private data than the machine has memory, so that a hostile model fails alone; no core files.

    RLIMIT_DATA counts what can be written. RLIMIT_AS would also count what is only reserved or mapped from files,
    of which some frameworks take tens of gigabytes.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for kind, limit in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def end_with_parent(folder: str, parent: int) -> None:
    """Ends the process, and the exchange folder with it, soon after the caller died in the middle of a request."""
    while os.getppid() == parent:
        time.sleep(1)
    remove(folder)
    os._exit(1)


def remove(folder: str) -> None:
    """Removes the exchange folder. One thread at a time: of two, each would trip over what the other just removed."""
    with REMOVING:
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """The verbs. ``folder`` is the exchange folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.worker = None
        self.models = {}
        self.files_written = 0

    def answer_hello(self, request: dict) -> dict:
        # The framework is imported here, not at the top: where that fails, the caller hears why.
        import worker

        self.worker = worker
        return {"versions": worker.versions()}

    def answer_load(self, request: dict) -> dict:
        model = self.worker.load(request["files"], request["options"])
        number = request["id"]
        self.models[number] = model
        return {"model": number, "inputs": model.inputs, "outputs": model.outputs, "taps": model.taps}

    def answer_run(self, request: dict) -> dict:
        model = self.models[request["model"]]
        inputs = {name: self.read_array(entry) for name, entry in request["inputs"].items()}
        fetch = request["fetch"]
        if fetch == "outputs":
            names = list(model.outputs)
        elif fetch == "all":
            names = list(model.outputs) + [name for name in model.taps if name not in set(model.outputs)]
        else:
            names = fetch
        arrays = model.run(inputs, names, lenient=fetch == "all")
        return {"arrays": {name: self.write_array(name, array) for name, array in arrays.items()}}

    def answer_close(self, request: dict) -> dict:
        del self.models[request["model"]]
        return {}

    def read_array(self, entry: dict) -> numpy.ndarray:
        path = os.path.join(self.folder, entry["file"])
        shape = tuple(entry["shape"])
        if 0 in shape:
            array = numpy.zeros(shape, entry["dtype"])
        else:
            # Copy on write: frameworks want arrays that they may write to.
            array = numpy.asarray(numpy.memmap(path, entry["dtype"], "c", shape=shape))
        os.unlink(path)
        return array

    def write_array(self, name: str, array: numpy.ndarray) -> dict:
        array = numpy.asarray(array)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"the tensor {name} holds no numbers but {array.dtype}")
        dtype = array.dtype.newbyteorder("<")
        self.files_written += 1
        file = f"answer-{self.files_written}.bin"
        array.astype(dtype, order="C", copy=False).tofile(os.path.join(self.folder, file))
        return {"file": file, "dtype": dtype.str, "shape": list(array.shape)}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
