"""Reads what the end-to-end tests want to know of a results directory, with h5py alone."""

import pathlib

import h5py


def _fields(group):
    """Attributes, and datasets as lists."""
    fields = {name: value.item() if hasattr(value, "item") and value.ndim == 0 else value
              for name, value in group.attrs.items()}
    fields.update({name: item[()].tolist() for name, item in group.items() if isinstance(item, h5py.Dataset)})
    return fields


def counters(out):
    """One dictionary per rank: stage, replica, weight_bytes_read, and lists by layer."""
    ranks = []
    with h5py.File(pathlib.Path(out) / "run.h5", "r") as file:
        group = file["ranks"]
        for name in sorted(group, key=int):
            ranks.append(_fields(group[name]))
    return ranks


def timeline(out):
    """(cell, layer, started, finished) of every stored layer."""
    moments = []
    for path in sorted(pathlib.Path(out).glob("cells/*/layer-*.h5")):
        with h5py.File(path, "r") as file:
            fields = _fields(file)
            moments.append({"cell": path.parent.name, "layer": int(fields["layer"]),
                            "started": fields["started_s"], "finished": fields["finished_s"]})
    return moments


def tuning_losses(out):
    """(cell, layer) -> (loss before, loss after) of every layer that was tuned."""
    losses = {}
    for path in sorted(pathlib.Path(out).glob("cells/*/layer-*.h5")):
        with h5py.File(path, "r") as file:
            if "layer" in file and "tuning_loss" in file["layer"]:
                losses[path.parent.name, path.stem] = tuple(file["layer/tuning_loss"][()].tolist())
    return losses
