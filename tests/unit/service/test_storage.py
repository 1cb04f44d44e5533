"""Files of jobs: complete or not there, inside the storage, gone when deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.service.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


def files_under(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_saved_pictures_are_found_by_their_relative_paths(storage: Storage, tmp_path: Path) -> None:
    assert storage.save("5-1", [b"one", b"two"]) == ("results/5-1/1.png", "results/5-1/2.png")
    assert [storage.read(path) for path in ("results/5-1/1.png", "results/5-1/2.png")] == [b"one", b"two"]
    assert files_under(tmp_path) == ["results/5-1/1.png", "results/5-1/2.png"]


def test_saving_again_replaces_the_pictures(storage: Storage, tmp_path: Path) -> None:
    storage.save("5-1", [b"old"])
    storage.save("5-1", [b"new"])
    assert storage.read("results/5-1/1.png") == b"new"
    assert files_under(tmp_path) == ["results/5-1/1.png"]


def test_staged_files_become_inputs_when_placed(storage: Storage, tmp_path: Path) -> None:
    staged = storage.stage({"picture.png": b"picture", "mask.png": b"mask"})
    assert storage.input_files("5-1") == {}
    storage.place(staged, "5-1")
    assert {name: path.read_bytes() for name, path in storage.input_files("5-1").items()} == {
        "picture.png": b"picture",
        "mask.png": b"mask",
    }
    assert files_under(tmp_path) == ["inputs/5-1/mask.png", "inputs/5-1/picture.png"]


def test_placing_replaces_what_a_killed_process_left(storage: Storage) -> None:
    storage.place(storage.stage({"original.png": b"left"}), "5-1")
    storage.place(storage.stage({"picture.png": b"new"}), "5-1")
    assert list(storage.input_files("5-1")) == ["picture.png"]


def test_discarded_and_cleared_files_are_gone(storage: Storage, tmp_path: Path) -> None:
    discarded = storage.stage({"picture.png": b"one"})
    storage.stage({"picture.png": b"two"})
    storage.discard(discarded)
    storage.discard(discarded)
    assert len(files_under(tmp_path)) == 1
    storage.clear_staging()
    assert files_under(tmp_path) == []


def test_linked_input_outlives_the_file_it_came_from(storage: Storage) -> None:
    storage.save("5-1", [b"picture"])
    storage.place(storage.stage({"picture.png": storage.path("results/5-1/1.png")}), "6-1")
    storage.delete("5-1")
    assert storage.input_files("6-1")["picture.png"].read_bytes() == b"picture"


def test_staging_a_missing_file_fails_and_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage.stage({"mask.png": b"mask", "picture.png": tmp_path / "gone.png"})
    assert files_under(tmp_path) == []


def test_delete_removes_inputs_and_results_of_that_job_alone(storage: Storage, tmp_path: Path) -> None:
    for job_id in ("5-1", "5-2"):
        storage.place(storage.stage({"picture.png": b"in"}), job_id)
        storage.save(job_id, [b"out"])
    storage.delete("5-1")
    storage.delete("5-1")
    assert files_under(tmp_path) == ["inputs/5-2/picture.png", "results/5-2/1.png"]


@pytest.mark.parametrize("job_id", ["../5-1", "5", "5-1/..", "", "a-1", "5-1\n", "٥-1"])
def test_unsafe_job_id_is_refused(storage: Storage, job_id: str) -> None:
    with pytest.raises(ValueError, match="not a safe file name"):
        storage.save(job_id, [b"x"])


@pytest.mark.parametrize("name", ["../mask.png", "mask.jpg", ".png", "Mask.png", "a/b.png"])
def test_unsafe_input_name_is_refused(storage: Storage, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a safe file name"):
        storage.stage({name: b"x"})
    assert files_under(tmp_path) == []


@pytest.mark.parametrize("relative", ["/etc/passwd", "../x.png", "results/../../x.png", ""])
def test_path_out_of_the_storage_is_refused(storage: Storage, relative: str) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        storage.read(relative)
