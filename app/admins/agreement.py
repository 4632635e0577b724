"""Whether a host would make the outputs that are asked for: with the same weights, program and libraries.

Outputs made with others would count as out of date, and be missing in the end.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.errors import DiscernError
from pipelines.study import Study
from pipelines.study_methods import External, Method
from pipelines.super_resolution import methods, record
from pipelines.super_resolution.method import fingerprint
from pipelines.workspace import Workspace


def keep(study: Study, workspace: Workspace, method_ids: Iterable[str]) -> dict[str, Any]:
    """What determines the outputs of some methods on this host; it is kept in the workspace, too.

    Raises:
        WeightsError: weights are not there, or not the expected ones.
    """
    made = {method_id: methods.make(study, _described(study, method_id)) for method_id in method_ids}
    for method in made.values():
        record.keep_facts(workspace, fingerprint(method), method)
    return {method_id: method.provenance for method_id, method in made.items()}


def check(study: Study, method_id: str, expected: Mapping[str, Any], here: str) -> None:
    """Compare what determines a method's outputs on this host with what did where the round was prepared.

    Args:
        study: names the method.
        method_id: which one.
        expected: from `keep`.
        here: this host, for the message.

    Raises:
        DiscernError: something is not here, or differs.
    """
    described = _described(study, method_id)
    _check_files(described, here)
    # As it is after a way through the database.
    found = json.loads(json.dumps(methods.make(study, described).provenance))
    different = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))
    if different:
        facts = "; ".join(f"{key} is {found.get(key)!r}, not {expected.get(key)!r}" for key in different)
        raise DiscernError(
            f"{method_id}: {here} would make other outputs than were asked for: {facts}; "
            "install the same on every host, or resume the pre-run if it was changed on all of them"
        )


def _check_files(method: Method, here: str) -> None:
    needed = [getattr(method, key) for key in method.files + method.folders]
    for path in [*needed, *(method.weights if isinstance(method, External) else ())]:
        if not path.exists():
            raise DiscernError(
                f"{path}: {here} does not see this, which {method.id} needs; "
                "put it at the same path on every host that makes its outputs"
            )


def _described(study: Study, method_id: str) -> Method:
    return next(method for method in study.methods if method.id == method_id)
