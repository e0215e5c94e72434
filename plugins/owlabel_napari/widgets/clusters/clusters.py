"""Clusters of the folder: build them, see what each looks like, name one for many proposals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QCheckBox,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from owlabel.jobs.requests.clusters import CLASSES_FROM, ClusterRequest
from owlabel_napari.events.connections import Connections
from owlabel_napari.events.messages import attempt, refusal
from owlabel_napari.widgets.clusters.patches import ClusterPatches
from owlabel_napari.widgets.common.form import RequestForm
from owlabel_napari.widgets.common.parts import (
    LineEdit,
    button,
    completer,
    existing,
    hint,
    pixmap,
    row,
    say,
    tight,
    title,
)
from owlabel_napari.widgets.train.ood_training import tell

if TYPE_CHECKING:
    from owlabel.session.session import Session
    from owlabel.view.clusters.catalog import ClusterInfo, Example
    from owlabel_napari.canvas.cluster_layer import ClusterLayer

MOST_CLASSES = 160  # 1.5 times as many clusters fit into a byte
FIELDS = ("extractor", "network", "weights", "classes", "superpixels", "kinds")
ABOUT = (
    "Name this cluster to propose its masks in all images, then review the proposals in the queue. "
    "A cluster is not a class: it may mix several things."
)


class ClustersWidget(QWidget):
    """A form, a list of clusters, and the patches of the chosen one with a field for its name.

    Signals
    -------
    review_wanted : ()
        Somebody wants to see the masks that names have proposed.
    """

    review_wanted = Signal()

    def __init__(
        self, session: Session, layer: ClusterLayer, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.session, self.layer = session, layer
        self.browse = button("Choose …", self._browse, "Choose the file of weights")
        usual = min(max(len(session.classes.classes), CLASSES_FROM), MOST_CLASSES)
        self.form = RequestForm(ClusterRequest, *FIELDS, classes=usual)
        self.build = button("Build", self._build, "Group all pixels in the background")
        self.cancel = button("Cancel", self._cancel)
        self.visible = QCheckBox("Show as a layer")
        self.alone = QCheckBox("only the chosen one")
        self.progress, self.agreement, self.about = hint(), hint(), hint(ABOUT)
        self.list = QListWidget()
        self.list.setIconSize(QSize(44, 44))
        self.gallery = QLabel()
        self.name = LineEdit("name of this cluster, then Enter")
        self.give = button("Name", self._name, "Propose the masks of this cluster in all images")
        self.review = button("Review", self.review_wanted.emit, "Show them in the queue (Find)")
        self.patches = ClusterPatches(session, self)
        self.infos: list[ClusterInfo] = []
        self._seen: object = None
        self._job_id: int | None = None
        self._refused = ""
        self._connections = Connections()
        self._lay_out()
        self._connect()
        self._show_form()
        self.refresh()

    def _lay_out(self) -> None:
        self.list.setFixedHeight(190)
        self.gallery.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QVBoxLayout(self)
        tight(layout)
        layout.addWidget(title("Clusters: groups of similar pixels and objects"))
        layout.addWidget(self.form.native)
        layout.addLayout(row(self.browse, None, self.cancel, self.build))
        layout.addWidget(self.progress)
        layout.addLayout(row(self.visible, self.alone, None))
        layout.addWidget(self.list)
        layout.addLayout(row(self.name, self.give))
        layout.addWidget(self.gallery)
        layout.addWidget(self.review)
        layout.addWidget(self.about)
        layout.addWidget(self.agreement)

    def _connect(self) -> None:
        session = self.session
        signals = (session.worker.changed, session.history_changed, session.classes_changed)
        self._connections.add_later(signals, self.refresh)
        self.form["extractor"].changed.connect(self._show_form)
        self.visible.toggled.connect(self.layer.show)
        self.alone.toggled.connect(lambda _on: self._show_layer())
        self.list.currentRowChanged.connect(lambda _row: self._show_chosen())
        self.name.returnPressed.connect(self._name)
        self.patches.ready.connect(self._put_patch)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()
        self.layer.close()
        self.patches.close()

    # -- what is shown -----------------------------------------------------------------------

    def refresh(self, *_: Any) -> None:
        """Show the build that runs or ended last, and the clusters where they changed."""
        job = next((j for j in self.session.worker.jobs() if j.kind == "auxiliary_labels"), None)
        running = job is not None and job.state in ("queued", "running")
        self._job_id = job.id if running and job is not None else None
        self.cancel.setVisible(running)
        self.build.setEnabled(not running)
        failed = job is not None and job.state == "failed"
        told = self._refused or (tell(job) if running or failed else "")
        say(self.progress, told, failed=failed or bool(self._refused))
        self._show_agreement()
        self._show_review()
        found = self.session.clusters.current()
        done = max((j.id for j in self.session.worker.jobs() if j.state == "done" and j.kind in
                    ("auxiliary_labels", "pretrain")), default=0)  # fmt: skip
        names = self.session.clusters.names()
        seen = (found, done, names, tuple(self.session.classes.names.items()))
        if seen != self._seen:
            self._seen = seen
            self._show_list()
            self.layer.refresh()

    def _show_list(self) -> None:
        before = self.chosen
        self.infos = attempt(self.session, self.session.clusters.list_all) or []
        with signals_blocked(self.list):
            self.list.clear()
            for info in self.infos:
                self.list.addItem(QListWidgetItem(self._words(info)))
                self.patches.ask(info.examples)
            self._show_icons()
        wanted = [i for i, info in enumerate(self.infos) if before and info.name == before.name]
        self.list.setCurrentRow(wanted[0] if wanted else (0 if self.infos else -1))
        self._show_chosen()

    def _show_icons(self) -> None:
        """Put the first patch of each cluster beside it, where it is made."""
        for index, info in enumerate(self.infos):
            picture = self.patches.made(info.examples[0]) if info.examples else None
            if picture is not None and existing(self.list.item(index)).icon().isNull():
                existing(self.list.item(index)).setIcon(QIcon(pixmap(picture)))

    def _words(self, info: ClusterInfo) -> str:
        share, named = f"{100 * info.share:.1f} %", self._name_of(info)
        what = f"{info.count} unknown objects" if info.of_candidates else share
        text = f"{info.name}: {what}, {info.images} images"
        return f"{text} — {named}" if named else text

    def _name_of(self, info: ClusterInfo) -> str:
        names = self.session.classes.names
        return "" if info.class_id is None else names.get(info.class_id, "")

    def _show_agreement(self) -> None:
        """Tell what the last build measured against labels; to measure here would take a while."""
        jobs = (
            j
            for j in self.session.worker.jobs()
            if j.kind == "auxiliary_labels" and j.state == "done"
        )
        told = getattr(next(jobs, None), "result", None) or {}
        say(
            self.agreement,
            "" if "pmiou_hungarian" not in told else
            f"PmIoU {100 * told['pmiou_hungarian']:.1f} % (Hungarian), "
            f"{100 * told['pmiou_max']:.1f} % (max), on {told['pixels']:,} pixels labelled then."
        )  # fmt: skip

    def _show_review(self) -> None:
        """Offer the way to the masks that names have proposed, while any is open."""
        count = self.session.project.proposals.count("cluster")
        self.review.setVisible(count > 0)
        self.review.setText(f"Review {count:,} proposed mask{'s' * (count != 1)}")

    @property
    def chosen(self) -> ClusterInfo | None:
        """The cluster that is selected."""
        index = self.list.currentRow()
        return self.infos[index] if 0 <= index < len(self.infos) else None

    def _show_chosen(self) -> None:
        info = self.chosen
        for widget in (self.gallery, self.name, self.give, self.about):
            widget.setVisible(info is not None)
        self._show_gallery()
        self._show_layer()
        if info is None:
            return
        self.name.setText(self._name_of(info))
        self.name.setCompleter(completer(self.session.classes.names.values(), self.name))

    def _show_layer(self) -> None:
        info = self.chosen
        self.layer.show_only(info.name if self.alone.isChecked() and info is not None else None)

    def _show_gallery(self) -> None:
        """Put the patches of the chosen cluster together that are there already."""
        info = self.chosen
        sheet = None if info is None else self.patches.sheet(info.examples)
        if sheet is None:
            self.gallery.clear()
        else:
            self.gallery.setPixmap(pixmap(sheet))

    def _put_patch(self, example: Example) -> None:
        self._show_icons()
        if self.chosen is not None and example in self.chosen.examples:
            self._show_gallery()

    def _show_form(self, *_: Any) -> None:
        imagenet = self.form["extractor"].value == "imagenet"
        self.form["network"].visible = self.form["weights"].visible = imagenet
        self.browse.setVisible(imagenet)

    # -- what is asked for -------------------------------------------------------------------

    def request(self) -> ClusterRequest:
        """Return what the form says."""
        if self.form["extractor"].value == "imagenet":
            return self.form.request()
        return self.form.request(weights="")

    def _build(self) -> None:
        self._refused = refusal(self.session, lambda: self.session.clusters.build(self.request()))
        self.refresh()

    def _cancel(self) -> None:
        if self._job_id is not None:
            attempt(self.session, self.session.worker.cancel, self._job_id)

    def _name(self) -> None:
        """Name the chosen cluster; then letters are keys of the panel again."""
        if self.chosen is None:
            return
        act, text = self.session.clusters.name, self.name.text()
        if not refusal(self.session, act, self.chosen.name, text):
            self.list.setFocus()

    def _browse(self) -> None:
        self.form.choose_file("weights", "Weights", "Weights (*.safetensors *.pth)")
