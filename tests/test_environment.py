"""pyproject.toml, constraints.txt, environment.yml and the workflows describe one environment."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIRED = [PROJECT["dependencies"], *EXTRAS.values()]
DIRECT = [Requirement(text) for texts in REQUIRED for text in texts]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
INSTALLS = [
    *WORKFLOWS,
    *(ROOT / name for name in ("pyproject.toml", "constraints.txt", "environment.yml", "Makefile")),
]
REGISTRY = re.compile(
    r"index-url|find-links|trusted-host|pypi\.org|pythonhosted|conda\.anaconda|https?://[^\s\"']*simple",
    re.IGNORECASE,
)


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def environment() -> dict[str, object]:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def commands(path: Path) -> list[str]:
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_every_direct_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_a_package_is_pinned_once() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert len(pins()) == sum(1 for line in lines if line and not line.startswith("#"))


def test_the_library_alone_needs_nothing_of_an_extra() -> None:
    core = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    for extra, requirements in EXTRAS.items():
        names = {canonicalize_name(Requirement(text).name) for text in requirements}
        assert not core & names, extra


def test_conda_installs_the_project_and_names_no_package_of_its_own() -> None:
    *conda, last = environment()["dependencies"]
    assert last == {"pip": ["-c constraints.txt", "-e .[book]"]}
    assert {re.split("[=<>]", entry)[0] for entry in conda} == {"python", "pip"}


def test_conda_brings_a_python_the_project_allows() -> None:
    python = next(str(d) for d in environment()["dependencies"] if str(d).startswith("python"))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.partition("=")[2])


def test_the_workflows_use_the_commands_of_the_readme() -> None:
    assert [commands(path)[0] for path in WORKFLOWS] == ["make book", ".ci/run"]


def test_the_workflow_pushes_the_notebooks_for_colab_to_their_branch(tmp_path: Path) -> None:
    _, push = commands(ROOT / ".github" / "workflows" / "book.yml")
    clone, origin = tmp_path / "clone", tmp_path / "origin"
    for folder, bare in ((origin, ["--bare"]), (clone, [])):
        subprocess.run(["git", "init", "-q", *bare, folder], check=True)
    notebook = clone / "_build" / "html" / "_sources" / "colab" / "12_gates.ipynb"
    notebook.parent.mkdir(parents=True)
    (clone / ".gitignore").write_text("_build\n")
    subprocess.run(["git", "remote", "add", "origin", origin], cwd=clone, check=True)
    for content in ("first", "second"):
        notebook.write_text(content)
        subprocess.run(["bash", "-e", "-c", push], cwd=clone, check=True)
        shown = ["git", "show", "colab:12_gates.ipynb"]
        assert subprocess.check_output(shown, cwd=origin, text=True) == content


def test_binder_opens_a_text_notebook_as_a_notebook(tmp_path: Path) -> None:
    there = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run([ROOT / "postBuild"], env=there, check=True)
    (settings,) = tmp_path.rglob("default_setting_overrides.json")
    assert '"python": "Jupytext Notebook"' in settings.read_text()


@pytest.mark.parametrize("path", INSTALLS, ids=lambda path: path.name)
def test_no_registry_is_named(path: Path) -> None:
    assert not REGISTRY.findall(path.read_text())
