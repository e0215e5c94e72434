"""The object at hand: the current candidate or the pending region, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from owlabel.classes import UNSET
from owlabel_napari.events.connections import Connections
from owlabel_napari.widgets.common.parts import button, hint, pixmap, tight, title
from owlabel_napari.widgets.find.thumbnails import SIDE, Thumbnails

if TYPE_CHECKING:
    from owlabel.session.session import Session


FROM = {"weak_shot": "Mask from tags", "cluster": "Mask from a cluster"}
"""Who proposes a mask."""
REASONS = 3
"""How many reasons of each kind are shown; the tooltip has all."""


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
        self.name_button = button("Name it  ⏎", acts["Enter"], "Name the clicked region (Enter)")
        self.ignore_button = button("Ignore  U", acts["U"], "Nobody shall count it (U)")
        self.known_button = button("Known  K", acts["K"], "The model is right after all (K)")
        self.correct_button = button("Correct  R", acts["R"], "Change the mask, then Enter (R)")
        self.back_button = button("‹ Back", acts["Shift-N"], "Previous candidate (Shift+N)")
        self.next_button = button("Next  N ›", acts["N"], "Next candidate (N)")
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
        item, region = self._open_candidate(), self.session.labels.region
        proposed = item is not None and item.proposal is not None
        self._name_buttons(
            proposed and (region is None or self.session.labels.correction is not None)
        )
        if self.session.labels.correction is not None:
            self._tell_correction(self.session.labels.correction)
        elif region is not None:
            clicks = len(self.session.labels.clicks)
            self.what.setText("Your region")
            self.detail.setText(
                f"{region.area:,} px from {clicks} click{'s' * (clicks != 1)}. "
                "Click adds, Shift+click removes, Enter names it."
            )
        elif item is not None:
            self.what.setText(f"Is this {item.claimed}?" if item.claimed else "What is this?")
            self.detail.setText(self._describe(item))
        else:
            done = self.session.queue.shown is not None
            self.what.setText("Done" if done else "No candidate chosen")
            best = "the next one" if done else "the best one"
            self.detail.setText(f"N goes to {best}. Or click any object in the image.")
        if item is None:
            self.picture.clear()
        else:
            self._show_picture(item)
        self._tell_why(None if region is not None else item)
        at_hand = item is not None or region is not None
        self.name_button.setEnabled(region is not None or proposed)
        self.ignore_button.setEnabled(at_hand)
        self.known_button.setEnabled(at_hand)

    def _open_candidate(self) -> Any | None:
        """Return the current candidate unless somebody has said already what it is."""
        item = self.session.queue.shown
        if item is None or item.record.id != self.session.image_id:
            return None
        if item.proposal is not None:
            return item if self.session.proposals.is_open(item.proposal.id) else None
        said = self.session.labels.human()[item.peak] != UNSET
        return None if said else item

    def _name_buttons(self, proposed: bool) -> None:
        """Name the buttons for a proposed mask, or for a segment or region."""
        self.name_button.setText("Accept  ⏎" if proposed else "Name it  ⏎")
        self.known_button.setText("Reject  K" if proposed else "Known  K")
        self.correct_button.setVisible(proposed)
        self.ignore_button.setVisible(not proposed)

    def _tell_correction(self, correction: Any) -> None:
        name = self.session.classes.names.get(correction.class_id, "")
        area = 0 if self.session.labels.region is None else self.session.labels.region.area
        self.what.setText(f"Correcting a mask of {name}")
        self.detail.setText(
            f"{area:,} px. Click adds, Shift+click removes, the brush paints; Enter accepts, "
            "Esc leaves it."
        )

    def _describe(self, item: Any) -> str:
        if item.proposal is not None:
            return (
                f"{FROM.get(item.proposal.source, item.proposal.source)}, "
                f"{100 * item.score:.0f} % sure, {item.area:,} px. Enter accepts where "
                "nobody has labelled."
            )
        likely = self.session.classes.names.get(item.likely_class, "?")
        return (
            f"The model would say “{likely}”. Score {item.score:.2f}, {item.area:,} px. Click it."
        )

    def _tell_why(self, item: Any | None) -> None:
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
            "Learnt from what you named and what you called known; each reason with its weight:\n"
            + "\n".join(f"{r.weight:+.2f}  {r.words}" for r in (*why.false, *why.real))
        )

    def _show_picture(self, item: Any) -> None:
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
