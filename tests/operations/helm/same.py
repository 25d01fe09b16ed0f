"""Says where two files of manifests differ, object by object: nothing where they are the same.

    same.py CHART.yaml KUSTOMIZE.yaml     Helm's own labels are left out of the first
"""

import pathlib
import sys
from typing import Any

import yaml

HELMS = ("app.kubernetes.io/managed-by", "helm.sh/chart")


def read(path: str) -> dict[tuple[str, str], Any]:
    objects = {}
    for each in yaml.safe_load_all(pathlib.Path(path).read_text()):
        if each is None:
            continue
        labels = each["metadata"].get("labels", {})
        for label in HELMS:
            labels.pop(label, None)
        if not labels:
            each["metadata"].pop("labels", None)
        key = (each["kind"], each["metadata"]["name"])
        if key in objects:
            sys.exit(f"{path}: two of {key}")
        objects[key] = each
    return objects


def differences(place: str, one: Any, other: Any) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            line for key in sorted(one.keys() | other.keys()) for line in differences(f"{place}.{key}", one.get(key), other.get(key))
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [line for index, pair in enumerate(zip(one, other)) for line in differences(f"{place}[{index}]", *pair)]
    return [] if one == other else [f"{place}: {one!r} in the chart, {other!r} in deploy/kubernetes"]


def main() -> None:
    chart, kustomize = read(sys.argv[1]), read(sys.argv[2])
    found = [line for key in sorted(chart.keys() | kustomize.keys()) for line in differences("/".join(key), chart.get(key), kustomize.get(key))]
    print("\n".join(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
