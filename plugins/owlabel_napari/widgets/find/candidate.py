"""The object at hand: the current candidate or the pending region, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from owlabel.classes import UNSET
from owlabel_napari.canvas.keys import tip
from owlabel_napari.events.connections import Connections
from owlabel_napari.widgets.common.parts import button, hint, pixmap, tight, title
from owlabel_napari.widgets.find.thumbnails import SIDE, Thumbnails

if TYPE_CHECKING:
    from owlabel.session.session import Session
    from owlabel.view.queue_order import QueueItem


FROM = {"weak_shot": "Mask from tags", "cluster": "Mask from a cluster"}
"""Who proposes a mask."""
REASONS = 3
"""How many reasons of each kind are shown; the tooltip has all."""


class AtHand(Enum):
    """What the annotator can decide about now."""

    CORRECTION = auto()
    """A proposed mask that is being corrected."""
    REGION = auto()
    """A region that was clicked."""
    MASK = auto()
    """A candidate that is a proposed mask."""
    SEGMENT = auto()
    """A candidate that is a segment of the score map."""
    DONE = auto()
    """The current candidate has been decided."""
    NOTHING = auto()


@dataclass(frozen=True)
class Offer:
    """Which buttons can be pressed: those that name, and those that call known or ignore.

    `mask` says that the buttons speak of a proposed mask.
    """

    name: bool = False
    decide: bool = False
    mask: bool = False


OFFERS = {
    AtHand.CORRECTION: Offer(name=True, decide=True, mask=True),
    AtHand.REGION: Offer(name=True, decide=True),
    AtHand.MASK: Offer(name=True, decide=True, mask=True),
    AtHand.SEGMENT: Offer(decide=True),
    AtHand.DONE: Offer(),
    AtHand.NOTHING: Offer(),
}


class CandidateWidget(QFrame):
    """Show the current candidate large, with a button for each of its keys.

    Parameters
    ----------
    session : Session
        Whose candidate and region are shown.
    acts : mapping
        Key of `keys.NAMES` to what it does.
    thumbnails : Thumbnails
        Makes the picture.
    """

    def __init__(
        self,
        session: Session,
        acts: Mapping[str, Callable[[], Any]],
        thumbnails: Thumbnails,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = session
        self.picture, self.what, self.detail = QLabel(), title(""), hint()
        self.why = hint()
        self.name_button = button("Name it  ⏎", acts["Enter"], tip("Enter"))
        self.ignore_button = button("Ignore  U", acts["U"], tip("U"))
        self.known_button = button("Known  K", acts["K"], tip("K"))
        self.correct_button = button("Correct  R", acts["R"], tip("R"))
        self.back_button = button("‹ Back", acts["Shift-N"], tip("Shift-N"))
        self.next_button = button("Next  N ›", acts["N"], tip("N"))
        self.thumbnails = thumbnails
        self._connections = Connections()
        self._lay_out()
        self.thumbnails.ready.connect(self._put_picture)
        signals = (
            session.queue.changed, session.labels.region_changed, session.image_changed,
            session.labels.changed,
        )  # fmt: skip
        self._connections.add_later(signals, self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.picture.setFixedSize(SIDE, SIDE)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.what.setWordWrap(True)
        text = QVBoxLayout()
        tight(text)
        text.addWidget(self.what)
        text.addWidget(self.detail)
        text.addWidget(self.why)
        text.addStretch(1)
        top = QHBoxLayout()
        tight(top)
        top.addWidget(self.picture)
        top.addLayout(text, 1)
        buttons = QGridLayout()
        tight(buttons)
        for column, one in enumerate((self.name_button, self.ignore_button, self.known_button)):
            buttons.addWidget(one, 0, column)
        buttons.addWidget(self.correct_button, 0, 1)  # instead of "ignore" for a proposed mask
        buttons.addWidget(self.back_button, 1, 0)
        buttons.addWidget(self.next_button, 1, 1, 1, 2)
        layout = QVBoxLayout(self)
        tight(layout, 6)
        layout.addLayout(top)
        layout.addLayout(buttons)

    def close_widget(self) -> None:
        """Stop listening."""
        self._connections.close()

    def refresh(self, *_: Any) -> None:
        """Show what is at hand now."""
        item = self._open_candidate()
        state = self._state(item)
        what, detail = self._words(state, item)
        self.what.setText(what)
        self.detail.setText(detail)
        self._show_buttons(OFFERS[state])
        if item is None:
            self.picture.clear()
        else:
            self._show_picture(item)
        self._show_why(item if state in (AtHand.MASK, AtHand.SEGMENT) else None)

    def _state(self, item: QueueItem | None) -> AtHand:
        """Return what is at hand; `item` is the candidate if it is still open."""
        if self.session.labels.correction is not None:
            return AtHand.CORRECTION
        if self.session.labels.region is not None:
            return AtHand.REGION
        if item is not None:
            return AtHand.SEGMENT if item.proposal is None else AtHand.MASK
        return AtHand.NOTHING if self.session.queue.shown is None else AtHand.DONE

    def _words(self, state: AtHand, item: QueueItem | None) -> tuple[str, str]:
        """Return the heading, and below it what to do."""
        match state:
            case AtHand.CORRECTION:
                return self._correction(self.session.labels.correction)
            case AtHand.REGION:
                return self._region(self.session.labels.region)
            case AtHand.DONE:
                return "Done", "Press N for the next candidate, or click any object in the image."
        if item is None:  # AtHand.NOTHING
            return "No candidate selected", (
                "Press N for the best candidate, or click any object in the image."
            )
        heading = f"Is this {item.class_name}?" if item.class_name else "What is this?"
        return heading, self._describe(item)

    def _open_candidate(self) -> QueueItem | None:
        """Return the current candidate unless somebody has said already what it is."""
        item = self.session.queue.shown
        if item is None or item.record.id != self.session.image_id:
            return None
        if item.proposal is not None:
            return item if self.session.proposals.is_open(item.proposal.id) else None
        said = self.session.labels.human()[item.peak] != UNSET
        return None if said else item

    def _show_buttons(self, offer: Offer) -> None:
        """Name the buttons for a proposed mask, or for a segment or region."""
        self.name_button.setText("Accept  ⏎" if offer.mask else "Name it  ⏎")
        self.known_button.setText("Reject  K" if offer.mask else "Known  K")
        self.correct_button.setVisible(offer.mask)
        self.ignore_button.setVisible(not offer.mask)
        self.name_button.setEnabled(offer.name)
        self.ignore_button.setEnabled(offer.decide)
        self.known_button.setEnabled(offer.decide)

    def _correction(self, correction: Any) -> tuple[str, str]:
        region = self.session.labels.region
        name = self.session.classes.names.get(correction.class_id, "")
        return f"Correcting a mask of {name}", (
            f"{0 if region is None else region.area:,} px. Click adds, Shift+click removes, "
            "the brush paints. Enter accepts, Esc cancels."
        )

    def _region(self, region: Any) -> tuple[str, str]:
        clicks = len(self.session.labels.clicks)
        return "Your region", (
            f"{region.area:,} px from {clicks} click{'s' * (clicks != 1)}. "
            "Click adds, Shift+click removes, Enter names it."
        )

    def _describe(self, item: QueueItem) -> str:
        if item.proposal is not None:
            return (
                f"{FROM.get(item.proposal.source, item.proposal.source)}, "
                f"{100 * item.score:.0f} % sure, {item.area:,} px. Enter accepts it "
                "wherever you have not labelled."
            )
        likely = self.session.classes.names.get(item.likely_class, "?")
        return (
            f"The model predicts “{likely}”. Score {item.score:.2f}, "
            f"{item.area:,} px. Click the object."
        )

    def _show_why(self, item: QueueItem | None) -> None:
        """Say how likely the candidate is a false alarm, and what speaks for and against it."""
        why = None if item is None else self.session.queue.explain(item)
        self.why.setVisible(why is not None)
        if why is None:
            return
        percent, real = f"{100 * why.probability_false:.0f} % false", why.probability_false <= 0.5
        lines = [f"<b>Probably {'real' if real else 'a false alarm'} ({percent})</b>"]
        for head, reasons in (("For it", why.real), ("Against it", why.false)):
            if reasons:
                words = escape(", ".join(r.words for r in reasons[:REASONS]))
                lines.append(f"{head}: {words}")
        self.why.setText("<br>".join(lines))
        self.why.setToolTip(
            "Learned from the candidates you named and those you marked as known.\n"
            "Each reason with its weight:\n"
            + "\n".join(f"{r.weight:+.2f}  {r.words}" for r in (*why.false, *why.real))
        )

    def _show_picture(self, item: QueueItem) -> None:
        made = self.thumbnails.made.get(item.key)
        if made is None:
            self.picture.clear()
            self.thumbnails.ask(item.key, item.record.path, item.box)
        else:
            self.picture.setPixmap(pixmap(made))

    def _put_picture(self, key: str, picture: Any) -> None:
        item = self.session.queue.shown
        if item is not None and item.key == key:
            self.picture.setPixmap(pixmap(picture))
