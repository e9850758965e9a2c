"""Names fit, whatever the release is called, and two releases keep apart."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

from services.provision import __main__ as provision
from tests.chart import release
from tests.chart.release import CASES, merged

LONG = "a-release-whose-name-is-as-long-as-helm-allows-53-cha"
RELEASES = ("pixelpipe", "x", "web-pixelpipe", LONG, "shop.example.com", f"{LONG[:40]}.b")
# The shortest that Kubernetes leaves once it has put its own part behind the name.
LIMITS = {"CronJob": 52, "StatefulSet": 52, "ScaledObject": 54}
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@pytest.mark.parametrize("name", RELEASES)
def test_every_name_fits(name: str) -> None:
    assert len(LONG) == 53
    for case in CASES:
        values = merged(release.values_of(case), {"fullnameOverride": ""})
        for one in set(release.documents(values, name=name)) - {"NOTES"}:
            kind, own = one.split()
            assert len(own) <= LIMITS.get(kind, 63), one
            assert LABEL.fullmatch(own), one


@pytest.mark.parametrize("name", RELEASES)
def test_every_label_fits(name: str) -> None:
    for _, pod in release.release(release.values_of("minimal"), name=name).pods():
        for value in pod["metadata"]["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", value) and len(value) <= 63


LONGEST = (LONG, f"{LONG[:-1]}b")  # an object with a name of its own would be found with any pair


@pytest.mark.parametrize(
    ("case", "names"),
    [
        *((case, LONGEST) for case in CASES),
        *(("minimal", names) for names in (("shop", "blog"), ("a.b", "a-b"), ("pixelpipe", "pixelpipe2"))),
    ],
)
def test_two_releases_in_one_namespace_do_not_collide(case: str, names: tuple[str, str]) -> None:
    values = merged(release.values_of(case), {"fullnameOverride": ""})
    one, other = (
        {(doc["kind"], doc["metadata"]["name"]) for doc in release.release(values, name=name).docs} for name in names
    )
    assert len(one) == len(other)
    assert not one & other


@pytest.mark.parametrize("case", CASES)
def test_two_objects_of_a_release_have_two_names(case: str) -> None:
    for name in ("pixelpipe", LONG):
        docs = release.release(release.values_of(case), name=name).docs
        assert len({(doc["kind"], doc["metadata"]["name"]) for doc in docs}) == len(docs)


def test_no_selector_of_a_release_takes_anothers_pods() -> None:
    shop, blog = (release.release(release.values_of("minimal"), name=name) for name in ("shop", "blog"))
    for service in shop.of("Service"):
        for _, pod in blog.pods():
            assert not service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("name", ["pixelpipe", "shop", "web-pixelpipe", "shop.example.com"])
def test_the_command_in_the_notes_binds_the_releases_accounts(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {**release.values_of("minimal"), "bigquery": {"dataset": "shop"}}
    notes = release.render(values, name=name)["pixelpipe/templates/NOTES.txt"]
    (command,) = re.findall(r"python -m services\.provision (iam .*)", notes)
    monkeypatch.setattr(sys, "argv", ["provision", *shlex.split(command)])
    assert provision.main() == 0
    bound = set(re.findall(r"/subject/ns/web/sa/([-\w]+)", capsys.readouterr().out))
    found = release.release(values, name=name)
    assert bound == {doc["metadata"]["name"] for doc in found.of("ServiceAccount")}
