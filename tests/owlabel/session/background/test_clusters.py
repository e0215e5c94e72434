"""Clusters of a project: built by a job, looked at, named, proposed for review."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from owlabel.clusters.examples import EXAMPLES, Summary, patch, pieces
from owlabel.clusters.label_maps import AuxiliaryMap
from owlabel.jobs.job import JobContext, Progress, run_to_end
from owlabel.jobs.kinds.clusters import AuxiliaryLabelsJob, build_clusters
from owlabel.jobs.queue import JobQueue
from owlabel.jobs.requests.clusters import ClusterRequest
from owlabel.jobs.runner import Runner
from owlabel.ood.candidates import find_segments
from owlabel.project.cache_eviction import trim_cache
from owlabel.project.store import Project
from owlabel.session.recording import recording_lines, replay
from owlabel.session.session import Session
from owlabel.view.clusters import catalog
from owlabel.view.clusters.proposals import Proposer

SHAPE, GRID = (48, 64), (12, 16)
REQUEST = ClusterRequest(
    extractor="handmade", classes=3, clusters_per_class=1.0, samples=500, superpixels=0, kinds=4
)


def changed(**values: Any) -> ClusterRequest:
    return ClusterRequest(**{**REQUEST.model_dump(), **values})


def work(session: Session) -> None:
    runner = Runner(session.project)
    while runner.step():
        pass
    session.poll()


def give_candidates(project: Project) -> None:
    """Two candidates in every image, with masks: an upper and a lower square."""
    for record in project.images():
        score = np.zeros(GRID, np.float32)
        score[1:4, 2:6] = score[8:11, 8:12] = 0.9
        found, segments = find_segments(score, np.zeros(GRID, np.uint8), SHAPE)
        project.candidates.replace(record.id, "0" * 16, found, segments=segments)


@pytest.fixture
def built(session: Session) -> Session:
    give_candidates(session.project)
    session.clusters.build(REQUEST)
    work(session)
    return session


def job(session: Session, kind: str) -> Any:
    return next(row for row in session.worker.jobs() if row.kind == kind)


def cluster_of(session: Session, row: int, col: int) -> str:
    labels = session.clusters.auxiliary_labels()
    assert labels is not None
    return str(labels[row, col])


def test_sky_and_road_are_different_clusters_in_every_image(built: Session) -> None:
    seen = set()
    for record in built.records:
        built.go_to(record.id)
        seen.add((cluster_of(built, 4, 40), cluster_of(built, 44, 40)))
    assert len(seen) == 1, "the same clusters in all images"
    sky, road = seen.pop()
    assert sky != road


def test_the_list_tells_size_images_and_examples(built: Session) -> None:
    infos = built.clusters.list_all()
    pixels = [i for i in infos if not i.of_candidates]
    assert len(pixels) == 3
    assert [i.count for i in pixels] == sorted((i.count for i in pixels), reverse=True)
    assert sum(i.share for i in pixels) == pytest.approx(1)
    assert pixels[0].images == 4
    assert 1 <= len(pixels[0].examples) <= EXAMPLES
    assert len({e.image_id for e in pixels[0].examples}) == len(pixels[0].examples)


def test_candidates_are_grouped_as_they_look(built: Session) -> None:
    infos = [i for i in built.clusters.list_all() if i.of_candidates]
    assert sum(i.count for i in infos) == 8
    assert len(infos) == 2, "four were asked for; each needs three candidates"
    assert sorted(i.count for i in infos) == [4, 4]
    for info in infos:
        rows = {e.box[0] // 20 for e in info.examples}
        assert len(rows) == 1, "upper and lower squares lie on sky and on road"


def test_a_group_of_candidates_lies_where_they_lie(built: Session) -> None:
    built.go_to(built.records[0].id)
    maps = [
        built.clusters.unknown_objects(i.name) for i in built.clusters.list_all() if i.of_candidates
    ]
    assert all(m is not None and m.shape == built.image().shape[:2] and m.any() for m in maps)
    assert maps[0] is not None
    assert maps[1] is not None
    assert not (maps[0] & maps[1]).any()


def test_a_name_proposes_the_cluster_in_all_images_and_accepting_labels_it(
    built: Session,
) -> None:
    sky = cluster_of(built, 4, 40)
    named = built.clusters.name(sky, "heaven")
    work(built)
    assert named is not None
    assert built.classes.find("heaven") is not None
    proposals = built.project.proposals.open("cluster")
    assert {p.image_id for p in proposals} == {r.id for r in built.records}
    assert all(0 <= p.confidence <= 1 and p.class_id == named.id for p in proposals)
    assert next(i for i in built.clusters.list_all() if i.name == sky).class_id == named.id
    one = next(p for p in proposals if p.image_id == built.image_id and p.pixels > 500)
    built.proposals.accept(one.id)
    assert (built.labels.human()[:12] == named.id).mean() > 0.9


def test_a_named_group_of_candidates_proposes_each_of_them(built: Session) -> None:
    group = next(i for i in built.clusters.list_all() if i.of_candidates)
    built.clusters.name(group.name, "thing")
    work(built)
    proposals = built.project.proposals.open("cluster")
    assert len(proposals) == 4
    peaks = {r.image_id: r.candidate.peak for r in built.project.candidates.ranked("0" * 16, -1)
             if r.candidate.box in {e.box for e in group.examples}}  # fmt: skip
    for proposal in proposals:
        assert built.project.proposals.mask(proposal.id)[peaks[proposal.image_id]]
        assert 0 <= proposal.confidence <= 1


def test_an_object_with_two_candidates_is_proposed_once(
    built: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[10:30, 10:30] = True
    monkeypatch.setattr(Proposer, "_regions", lambda self, record: dict.fromkeys(range(1000), mask))
    for info in built.clusters.list_all():
        if info.of_candidates:
            built.clusters.name(info.name, "deer")
    work(built)
    assert len(built.project.proposals.open("cluster")) == 4


def test_undo_takes_name_class_and_proposals_back_and_redo_brings_them(built: Session) -> None:
    built.clusters.name("0", "something")
    work(built)
    assert built.project.proposals.open("cluster")
    built.undo()
    work(built)
    assert not built.project.proposals.open("cluster")
    assert built.classes.find("something") is None
    assert all(i.class_id is None for i in built.clusters.list_all())
    built.redo()
    work(built)
    assert built.project.proposals.open("cluster")


def test_a_second_name_keeps_the_first_and_no_name_takes_it_back(built: Session) -> None:
    built.clusters.name("0", "one")
    built.clusters.name("1", "two")
    work(built)
    classes = {p.class_id for p in built.project.proposals.open("cluster")}
    assert len(classes) == 2
    built.clusters.name("0", "")
    work(built)
    assert len({p.class_id for p in built.project.proposals.open("cluster")}) == 1


def test_what_was_rejected_or_said_is_not_proposed_again(built: Session) -> None:
    sky = cluster_of(built, 4, 40)
    built.clusters.name(sky, "heaven")
    work(built)
    here = [p for p in built.project.proposals.open("cluster") if p.image_id == built.image_id]
    for proposal in here:
        built.proposals.reject(proposal.id)
    other = built.records[1]
    built.go_to(other.id)
    built.labels.paint(np.zeros(SHAPE, np.uint8))
    built.clusters.propose()
    work(built)
    left = {p.image_id for p in built.project.proposals.open("cluster")}
    assert left == {r.id for r in built.records} - {built.records[0].id, other.id}


def test_what_was_built_is_not_built_again_and_new_images_join(
    built: Session, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    from owlabel.jobs.kinds import auxiliary_labels

    plain = auxiliary_labels.label_image
    monkeypatch.setattr(auxiliary_labels, "label_image", lambda *a: made.append(1) or plain(*a))
    built.clusters.build(REQUEST)
    work(built)
    assert made == []
    source = toy.images / "deer_1.png"
    Image.open(source).rotate(180).save(toy.images / "new.png")
    built.project.sync_images()
    built.clusters.build(REQUEST)
    work(built)
    assert made == [1]


def test_an_interrupted_build_goes_on(session: Session, tmp_path: Path) -> None:
    from owlabel.jobs.kinds.clusters import AuxiliaryLabelsJob

    made = AuxiliaryLabelsJob(**session.clusters.payload(REQUEST))
    context = JobContext(session.project.folder, tmp_path)
    steps = made.run(context)
    for progress in steps:
        if progress.message == "auxiliary labels" and progress.done == 2:
            break
    steps.close()
    assert session.clusters.current() is None, "not shown before it is whole"
    told = [p for p in made.run(context) if p.message in ("sampling pixels", "auxiliary labels")]
    assert [(p.message, p.done) for p in told] == [("auxiliary labels", 3), ("auxiliary labels", 4)]
    assert session.clusters.current() is not None


def test_agreement_is_measured_against_what_people_said(built: Session) -> None:
    assert built.clusters.agreement() is None
    sky = built.clusters.auxiliary_labels()
    assert sky is not None
    human = np.where(np.arange(48)[:, None] < 24, 1, 0).astype(np.uint8)
    built.labels.paint(np.broadcast_to(human, SHAPE).copy())
    found = built.clusters.agreement()
    assert found is not None
    assert found["pixels"] > 2000
    assert 0.5 < found["pmiou_hungarian"] <= found["pmiou_max"] <= 1


def test_clusters_not_in_use_may_go_where_the_cache_is_too_large(built: Session) -> None:
    old = built.clusters.current()
    built.clusters.build(changed(classes=2))
    work(built)
    new = built.clusters.current()
    assert old is not None
    assert new is not None
    assert old.key != new.key
    built.settings.set(cache_limit_gib=1e-9)
    trim_cache(built.project)
    assert catalog.read_map(built.project.cache, old.key, built.record().content_hash) is None
    assert built.clusters.auxiliary_labels() is not None
    assert built.clusters.current() == new


def test_a_recorded_session_with_names_is_done_again(
    built: Session, toy: Any, tmp_path: Path
) -> None:
    built.clusters.name(cluster_of(built, 4, 40), "heaven")
    work(built)
    for proposal in built.proposals.open("cluster"):
        built.proposals.accept(proposal.id)
    path = tmp_path / "session.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in recording_lines(built)))
    project = Project.create(tmp_path / "again.owlabel", toy.images, toy.checkpoint)
    toy.embed_all(project)
    session = Session(project, start_worker=False)
    assert replay(session, path, lambda: None) == []
    assert session.classes.find("heaven") is not None
    session.close()


def test_the_queue_is_asked_for_again_only_where_a_job_fills_it(session: Session) -> None:
    told: list[bool] = []
    session.poll()
    session.queue.changed.connect(lambda: told.append(True))
    queue = JobQueue(session.project)
    for kind, expected in (("auxiliary_labels", 0), ("pretrain", 0), ("cluster_proposals", 1)):
        row_id = queue.submit(kind, {}, priority=99)
        assert queue.claim(kind) is not None
        for step in (1, 2):
            queue.report(row_id, kind, [Progress(step, 9, "x")])
            session.poll()
        assert len(told) == expected, kind
        queue.end(row_id, kind, "cancelled")


def test_naming_without_clusters_or_a_wrong_one_is_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="build them first"):
        session.clusters.name("0", "x")
    give_candidates(session.project)
    session.clusters.build(REQUEST)
    work(session)
    for wrong in ("3", "c9", "x", "-1", ""):
        with pytest.raises(ValueError, match=r"pixels have 0 \.\. 2, candidates have c0 \.\. c1"):
            session.clusters.name(wrong, "x")
    assert session.clusters.auxiliary_labels() is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kinds": 999}, "kinds must be at least 0 and at most 200, got 999"),
        ({"extractor": "imagenet"}, "needs the path"),
        ({"extractor": "imagenet", "weights": "nowhere.pth"}, "nowhere.pth does not exist"),
        ({"classes": 300}, "clusters"),
        ({"samples": 1}, "samples must be at least 2"),
        ({"clusters_per_class": float("inf")}, "must be a finite number, got inf"),
        ({"outliers": float("nan")}, "outliers must be a finite number, got nan"),
        ({"network": "alexnet"}, "network must be one of"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_queued(
    session: Session, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        session.clusters.build(changed(**changes))
    assert all(row.kind != "auxiliary_labels" for row in session.worker.jobs())


def test_more_clusters_than_sampled_pixels_end_the_job_in_one_line(session: Session) -> None:
    session.clusters.build(changed(classes=100, samples=101, clusters_per_class=1.0))
    work(session)
    row = job(session, "auxiliary_labels")
    assert row.state == "failed"
    assert "fewer classes" in (row.error or "")
    again = Session(Project.open(session.project.folder), start_worker=False)
    told: list[tuple[str, str]] = []
    again.message.connect(lambda *said: told.append(said))
    again.poll()
    again.close()
    assert told == [], "the panel shows it; it does not pop up at every opening"


def test_m_is_the_number_of_classes_unless_said() -> None:
    assert ClusterRequest(extractor="handmade").settings(11)["classes"] == 11
    assert ClusterRequest(extractor="handmade").settings(2)["classes"] == 4
    assert ClusterRequest(extractor="handmade", classes=30).settings(2)["classes"] == 30


# -- arithmetic --------------------------------------------------------------------------------


def test_pieces_are_connected_large_enough_and_ordered() -> None:
    labels = np.full((100, 100), 255, np.uint8)
    labels[:10, :10] = labels[50:80, 50:80] = 3
    labels[99, 99] = 3
    found = pieces(labels, 3)
    assert [int(p.sum()) for p in found] == [900, 100]


def test_nearness_is_one_on_a_centre_and_zero_between_two() -> None:
    centres = np.array([[0, 0], [4, 0], [0, 9]], np.float32)
    features = np.array([[0, 0], [2, 0], [1, 0]], np.float32)
    made = catalog.nearness(features, centres)
    np.testing.assert_allclose(made, [1, 0, 2 / 3], rtol=1e-6)


def test_a_patch_lies_around_the_deepest_point() -> None:
    mask = np.zeros((200, 200), bool)
    mask[100:160, 20:180] = True
    row0, col0, row1, col1 = patch(mask)
    assert 100 <= (row0 + row1) / 2 <= 160
    assert 20 <= (col0 + col1) / 2 <= 180


def test_only_the_best_examples_are_kept() -> None:
    summary = Summary(2)
    for image in range(EXAMPLES + 5):
        labels = np.zeros((40, 40), np.uint8)
        labels[: 1 + image] = 1
        summary.update(image, AuxiliaryMap(labels, np.ones((40, 40), np.float32)))
    examples = summary.arrays()["examples"]
    assert examples.shape == (2, EXAMPLES, 6)
    assert examples[1, :, 0].tolist() == list(range(EXAMPLES + 4, 4, -1))
    assert summary.images.tolist() == [EXAMPLES + 5, EXAMPLES + 5]


def test_a_pre_training_leaves_named_clusters_alone(built: Session, tmp_path: Path) -> None:
    def key_built_and_key_shown(classes: int) -> tuple[str, str]:
        job = AuxiliaryLabelsJob(**built.clusters.payload(changed(classes=classes)))
        made = run_to_end(build_clusters(built.project, job, tmp_path, keep_named=True))
        shown = catalog.current(built.project.cache)
        assert shown is not None
        return made.key, shown.key

    four, shown = key_built_and_key_shown(4)
    assert four == shown, "nothing had a name"
    built.clusters.name(built.clusters.list_all()[0].name, "something")
    five, shown = key_built_and_key_shown(5)
    assert five != shown == four
